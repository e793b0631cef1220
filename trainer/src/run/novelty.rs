//! Is there anything that the last attempt did not have? Pure.

use edgeloop_store::Attempt;

use crate::unattended::Unattended;

/// What a training would be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Material {
    /// Digest of images, labels and split.
    pub(super) data: String,
    /// Digest of the settings.
    pub(super) settings: String,
    /// Of each image with its labels.
    pub(super) images: Vec<String>,
}

/// Why there is nothing to train on that the last attempt did not have; `None` when there is, or somebody insists.
pub(super) fn nothing_new(last: Option<&Attempt>, now: &Material, wanted: &Unattended) -> Option<String> {
    let last = last.filter(|last| !wanted.force && last.settings == now.settings)?;
    // One that was cut off is gone on with.
    let ended = last.ended.as_ref()?;
    let version = ended.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let before = format!("the last attempt ({}{version}, {})", ended.result, ended.at.format("%Y-%m-%d %H:%M UTC"));
    if last.data == now.data {
        return Some(format!("images, labels and settings are those of {before}; FORCE=true trains all the same"));
    }
    let (new, least) = (last.unseen(&now.images), wanted.min_new_images);
    (new < least).then(|| format!("{new} images are new or labelled anew since {before}, MIN_NEW_IMAGES is {least}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use edgeloop_store::{Ended, OutcomeKind};
    use rstest::rstest;

    use super::*;

    fn wanted(args: &[&str]) -> Unattended {
        crate::unattended::parse(args).unwrap()
    }

    fn images(names: &str) -> Vec<String> {
        names.chars().map(String::from).collect()
    }

    fn last(result: Option<OutcomeKind>) -> Attempt {
        let at = "2026-11-21T03:12:45Z".parse().unwrap();
        let ended = result.map(|result| Ended { at, result, version: Some("20261121_031244".parse().unwrap()) });
        Attempt { began: at, after: 0, data: "abc".to_owned(), settings: "s".to_owned(), images: images("abc"), ended }
    }

    fn now(settings: &str, names: &str) -> Material {
        Material { data: names.to_owned(), settings: settings.to_owned(), images: images(names) }
    }

    #[rstest]
    #[case::promoted(Some(OutcomeKind::Promoted), "s", "abc", &[], true)]
    #[case::rejected(Some(OutcomeKind::Rejected), "s", "abc", &[], true)]
    #[case::diverged(Some(OutcomeKind::Failed), "s", "abc", &[], true)]
    #[case::cut_off(None, "s", "abc", &[], false)]
    #[case::other_settings(Some(OutcomeKind::Promoted), "t", "abc", &[], false)]
    #[case::forced(Some(OutcomeKind::Promoted), "s", "abc", &["--force"], false)]
    #[case::one_more(Some(OutcomeKind::Promoted), "s", "abcd", &[], false)]
    #[case::one_gone(Some(OutcomeKind::Promoted), "s", "ab", &[], false)]
    #[case::too_few_new(Some(OutcomeKind::Promoted), "s", "abcd", &["--min-new-images", "2"], true)]
    #[case::enough_new(Some(OutcomeKind::Promoted), "s", "abcde", &["--min-new-images", "2"], false)]
    #[case::too_few_new_but_forced(Some(OutcomeKind::Promoted), "s", "abcd", &["--min-new-images", "2", "--force"], false)]
    #[case::too_few_new_but_other_settings(Some(OutcomeKind::Promoted), "t", "abcd", &["--min-new-images", "2"], false)]
    fn cases(#[case] ended: Option<OutcomeKind>, #[case] settings: &str, #[case] data: &str, #[case] args: &[&str], #[case] nothing: bool) {
        let found = nothing_new(Some(&last(ended)), &now(settings, data), &wanted(args));
        assert_eq!(found.is_some(), nothing, "{found:?}");
    }

    #[test]
    fn the_first_time_everything_is_new() {
        assert_eq!(nothing_new(None, &now("s", "abc"), &wanted(&["--min-new-images", "50"])), None);
    }

    #[test]
    fn it_says_what_the_last_attempt_was_and_what_to_do() {
        let why = nothing_new(Some(&last(Some(OutcomeKind::Rejected))), &now("s", "abc"), &wanted(&[])).unwrap();
        assert!(why.contains("rejected 20261121_031244, 2026-11-21 03:12 UTC") && why.contains("FORCE=true"), "{why}");
    }
}
