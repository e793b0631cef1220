//! A store that an older release left.

use super::{FIRST, OldBox, SECOND, serves, succeeded};

#[test]
fn what_an_older_release_left_is_served_listed_trained_on_and_taken_back() {
    let old = OldBox::new();
    let (mut inferer, http) = old.serve();
    serves(&http, SECOND);

    let listed = succeeded(&old.models(&["list"]));
    assert!(listed.contains(FIRST) && listed.contains(SECOND), "{listed}");
    succeeded(&old.models(&["verify"]));

    succeeded(&old.train());
    let third = old.promoted();
    assert_eq!(third.sequence, 3, "numbers go on");
    assert_eq!(third.training.parent.as_ref().map(ToString::to_string).as_deref(), Some(SECOND), "it goes on from the old weights");
    serves(&http, &third.version.to_string());

    succeeded(&old.models(&["rollback", "--reason", "test"]));
    serves(&http, SECOND);
    assert!(inferer.terminate().success(), "{}", inferer.log());
}
