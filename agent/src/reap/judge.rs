//! Which nodes are gone: pure, without clock or socket. What the watches say goes in with the time it was seen, names come out.
//!
//! Times are the reaper's own, by a clock that never goes back; those that agents write are never looked at, so a clock that is wrong
//! by an hour, theirs or ours, moves nothing. A lease lives as long as its version is seen to change.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// What the label of a node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `online`: jobs are sent there.
    Online,
    /// Anything else.
    Other,
}

/// How patient the judge is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a node with the label but without a lease, and for a lease that does not say how long it lasts.
    pub lease: Duration,
    /// An agent that has been silent for so long is gone for good: its traces go too. Zero: never.
    pub forget: Duration,
    /// So large a share of the online nodes at once is more likely our mistake than theirs.
    pub mass_share: f64,
}

/// Fewer than this many are no mass, whatever their share: the one look that each gets must do.
const MASS_AT_LEAST: usize = 5;
/// What counts as at once.
const AT_ONCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Entry {
    label: Option<Label>,
    uid: Option<String>,
    lease: Option<Lease>,
    /// When it last showed a sign of life, or came into view.
    seen: Duration,
    /// Marks what a new list has confirmed.
    listed: (u64, u64),
}

#[derive(Debug)]
struct Lease {
    version: String,
    length: Duration,
}

/// What there is to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Nodes to turn offline.
    pub offline: Vec<String>,
    /// Nodes whose label, and lease, is to be removed.
    pub forget: Vec<String>,
}

/// Everything that is known of the fleet.
#[derive(Debug)]
pub struct Judge {
    patience: Patience,
    entries: HashMap<String, Entry>,
    /// Since when we have been in contact without a break; `None` while we are not.
    contact: Option<Duration>,
    recent: VecDeque<Duration>,
    list: (u64, u64),
}

impl Judge {
    /// Knows nothing and is not in contact.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Judge { patience, entries: HashMap::new(), contact: None, recent: VecDeque::new(), list: (0, 0) }
    }

    fn entry(&mut self, name: &str, now: Duration) -> &mut Entry {
        self.entries.entry(name.to_owned()).or_insert_with(|| Entry { seen: now, ..Entry::default() })
    }

    /// A node with our label.
    pub fn node(&mut self, name: &str, uid: Option<&str>, label: Label, now: Duration) {
        let list = self.list.0;
        let entry = self.entry(name, now);
        if entry.uid.as_deref() != uid {
            // Another node of the same name: whatever we knew is not about it.
            entry.seen = now;
        }
        (entry.label, entry.uid, entry.listed.0) = (Some(label), uid.map(str::to_owned), list);
    }

    /// It has gone, or its label has.
    pub fn node_gone(&mut self, name: &str) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.label = None;
        }
        self.drop_if_empty(name);
    }

    /// A lease; whether it has moved since it was last seen.
    pub fn lease(&mut self, node: &str, version: &str, length: Option<Duration>, now: Duration) -> bool {
        let (list, patience) = (self.list.1, self.patience.lease);
        let entry = self.entry(node, now);
        let moved = entry.lease.as_ref().is_none_or(|lease| lease.version != version);
        if moved {
            entry.seen = now;
            entry.lease =
                Some(Lease { version: version.to_owned(), length: length.filter(|length| !length.is_zero()).unwrap_or(patience) });
        }
        entry.listed.1 = list;
        moved
    }

    /// It has gone. Its last sign of life stays what it was.
    pub fn lease_gone(&mut self, node: &str) {
        if let Some(entry) = self.entries.get_mut(node) {
            entry.lease = None;
        }
        self.drop_if_empty(node);
    }

    fn drop_if_empty(&mut self, name: &str) {
        if self.entries.get(name).is_some_and(|entry| entry.label.is_none() && entry.lease.is_none()) {
            self.entries.remove(name);
        }
    }

    /// A new list of nodes begins.
    pub fn nodes_begin(&mut self) {
        self.list.0 += 1;
    }

    /// It was complete: what it did not name is gone.
    pub fn nodes_end(&mut self) {
        let list = self.list.0;
        self.entries.values_mut().filter(|entry| entry.listed.0 != list).for_each(|entry| entry.label = None);
        self.entries.retain(|_, entry| entry.label.is_some() || entry.lease.is_some());
    }

    /// A new list of leases begins.
    pub fn leases_begin(&mut self) {
        self.list.1 += 1;
    }

    /// It was complete: what it did not name is gone, and we are in contact.
    pub fn leases_end(&mut self, now: Duration) {
        let list = self.list.1;
        self.entries.values_mut().filter(|entry| entry.listed.1 != list).for_each(|entry| entry.lease = None);
        self.entries.retain(|_, entry| entry.label.is_some() || entry.lease.is_some());
        self.contact.get_or_insert(now);
    }

    /// We see nothing any more: what stands still may only be us.
    pub fn lost(&mut self) {
        self.contact = None;
    }

    /// Whether we see anything.
    #[must_use]
    pub fn in_contact(&self) -> bool {
        self.contact.is_some()
    }

    /// Nodes with our label, online and other, and leases.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |filter: fn(&Entry) -> bool| self.entries.values().filter(|entry| filter(entry)).count();
        (count(|e| e.label == Some(Label::Online)), count(|e| e.label == Some(Label::Other)), count(|e| e.lease.is_some()))
    }

    /// The node's UID, for a write that must not hit another node of the same name.
    #[must_use]
    pub fn uid(&self, name: &str) -> Option<String> {
        self.entries.get(name)?.uid.clone()
    }

    /// For how long a node has been silent.
    #[must_use]
    pub fn silence(&self, name: &str, now: Duration) -> Duration {
        self.entries.get(name).map_or(Duration::ZERO, |entry| now.saturating_sub(entry.seen))
    }

    /// What there is to do: nothing while we are out of contact, and for one whole lease after it.
    #[must_use]
    pub fn due(&self, now: Duration) -> Due {
        let Some(contact) = self.contact else { return Due::default() };
        let mut due = Due::default();
        for (name, entry) in &self.entries {
            let length = entry.lease.as_ref().map_or(self.patience.lease, |lease| lease.length);
            let silence = now.saturating_sub(entry.seen.max(contact));
            if !self.patience.forget.is_zero() && silence > length.max(self.patience.forget) {
                due.forget.push(name.clone());
            } else if entry.label == Some(Label::Online) && silence > length {
                due.offline.push(name.clone());
            }
        }
        due.offline.sort_unstable();
        due.forget.sort_unstable();
        due
    }

    /// Whether so many at once ask for a second look; what was turned offline just now counts too.
    #[must_use]
    pub fn is_mass(&self, offline: usize, now: Duration) -> bool {
        let recent = self.recent.iter().filter(|at| now.saturating_sub(**at) <= AT_ONCE).count();
        let (gone, all) = (offline + recent, self.counts().0 + recent);
        gone >= MASS_AT_LEAST && gone as f64 > self.patience.mass_share * all as f64
    }

    /// It was turned offline.
    pub fn turned_offline(&mut self, name: &str, now: Duration) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.label = Some(Label::Other);
        }
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) > AT_ONCE) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const PATIENCE: Patience = Patience { lease: Duration::from_secs(45), forget: Duration::from_secs(1000), mass_share: 0.3 };

    /// In contact since 0, with the nodes `a`, `b`, … online and their leases of 45 s seen at 0.
    fn fleet(nodes: usize) -> Judge {
        let mut judge = Judge::new(PATIENCE);
        judge.leases_begin();
        for i in 0..nodes {
            judge.node(&name(i), Some("u"), Label::Online, seconds(0));
            judge.lease(&name(i), "1", Some(seconds(45)), seconds(0));
        }
        judge.leases_end(seconds(0));
        judge
    }

    fn name(i: usize) -> String {
        format!("n{i:03}")
    }

    #[test]
    fn a_lease_that_stands_still_is_seen_when_it_has_run_out() {
        let mut judge = fleet(2);
        assert!(judge.lease("n001", "2", Some(seconds(45)), seconds(30)));
        assert_eq!(judge.due(seconds(45)), Due::default());
        assert_eq!(judge.due(seconds(46)).offline, ["n000"]);
        judge.turned_offline("n000", seconds(46));
        assert_eq!(judge.due(seconds(47)).offline, [""; 0], "once is enough");
        assert_eq!(judge.due(seconds(76)).offline, ["n001"]);
    }

    #[test]
    fn the_same_version_seen_again_is_no_sign_of_life() {
        let mut judge = fleet(1);
        assert!(!judge.lease("n000", "1", Some(seconds(45)), seconds(40)));
        assert_eq!(judge.due(seconds(46)).offline, ["n000"]);
    }

    #[test]
    fn an_agent_that_was_stopped_has_longer() {
        let mut judge = fleet(1);
        judge.lease("n000", "2", Some(seconds(300)), seconds(10));
        assert_eq!(judge.due(seconds(310)), Due::default());
        assert_eq!(judge.due(seconds(311)).offline, ["n000"]);
    }

    #[test]
    fn out_of_contact_nobody_is_judged_and_after_it_each_has_a_whole_lease() {
        let mut judge = fleet(3);
        judge.lost();
        assert_eq!(judge.due(seconds(10_000)), Due::default());
        judge.leases_begin();
        for i in 0..3 {
            judge.lease(&name(i), "1", Some(seconds(45)), seconds(500));
        }
        judge.leases_end(seconds(500));
        assert_eq!(judge.due(seconds(545)), Due::default());
        assert_eq!(judge.due(seconds(546)).offline.len(), 3);
    }

    #[test]
    fn a_label_without_a_lease_is_believed_for_as_long_as_a_lease_would_last() {
        let mut judge = fleet(0);
        judge.node("x", Some("u"), Label::Online, seconds(100));
        assert_eq!(judge.due(seconds(145)), Due::default());
        assert_eq!(judge.due(seconds(146)).offline, ["x"]);
    }

    #[test]
    fn a_lease_that_somebody_deletes_is_not_the_end_of_its_node() {
        let mut judge = fleet(1);
        judge.lease("n000", "2", Some(seconds(45)), seconds(40));
        judge.lease_gone("n000");
        assert_eq!(judge.due(seconds(85)), Due::default());
        judge.lease("n000", "3", Some(seconds(45)), seconds(60));
        assert_eq!(judge.due(seconds(105)), Due::default());
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone() {
        let mut judge = fleet(2);
        judge.nodes_begin();
        judge.node("n001", Some("u"), Label::Online, seconds(5));
        judge.nodes_end();
        judge.leases_begin();
        judge.lease("n001", "1", None, seconds(5));
        judge.leases_end(seconds(5));
        assert_eq!(judge.counts(), (1, 0, 1));
        assert_eq!(judge.due(seconds(46)).offline, ["n001"]);
    }

    #[test]
    fn a_node_made_anew_begins_anew() {
        let mut judge = fleet(1);
        judge.node("n000", Some("another"), Label::Online, seconds(44));
        assert_eq!(judge.due(seconds(60)), Due::default());
        assert_eq!(judge.uid("n000").unwrap(), "another");
    }

    #[test]
    fn traces_of_an_agent_that_is_gone_for_good_go_too() {
        let mut judge = fleet(1);
        judge.turned_offline("n000", seconds(46));
        assert_eq!(judge.due(seconds(1000)), Due::default());
        assert_eq!(judge.due(seconds(1001)), Due { offline: vec![], forget: vec!["n000".to_owned()] });
    }

    #[test]
    fn many_at_once_ask_for_a_second_look_also_when_they_trickle() {
        let mut judge = fleet(10);
        assert!(!judge.is_mass(3, seconds(50)) && !judge.is_mass(4, seconds(50)) && judge.is_mass(5, seconds(50)));
        for i in 0..3 {
            judge.turned_offline(&name(i), seconds(50));
        }
        assert!(judge.is_mass(2, seconds(51)), "five of ten within a minute");
        assert!(!judge.is_mass(2, seconds(111)));
        assert!(!fleet(100).is_mass(30, seconds(50)));
    }

    proptest! {
        /// Whatever the order of renewals, breaks and lists: an online node is due exactly when neither it nor we have been heard of for
        /// longer than its lease.
        #[test]
        fn due_is_silence(steps in prop::collection::vec((0_u8..6, 0_usize..3, 1_u64..30), 0..100)) {
            let mut judge = fleet(3);
            let mut now = seconds(0);
            let (mut seen, mut version) = ([seconds(0); 3], 1_u64);
            let mut contact = Some(seconds(0));
            for (what, i, pause) in steps {
                now += seconds(pause);
                match what {
                    0..=2 => {
                        version += 1;
                        prop_assert!(judge.lease(&name(i), &version.to_string(), Some(seconds(45)), now));
                        seen[i] = now;
                    }
                    3 => prop_assert!(!judge.lease(&name(i), &judge.entries[&name(i)].lease.as_ref().unwrap().version.clone(), None, now)),
                    4 => { judge.lost(); contact = None; }
                    _ => {
                        judge.leases_begin();
                        for i in 0..3 {
                            let version = judge.entries[&name(i)].lease.as_ref().unwrap().version.clone();
                            judge.lease(&name(i), &version, None, now);
                        }
                        judge.leases_end(now);
                        contact = contact.or(Some(now));
                    }
                }
                let expected: Vec<_> = (0..3)
                    .filter(|i| contact.is_some_and(|contact| now - seen[*i].max(contact) > seconds(45)))
                    .map(name).collect();
                let due = judge.due(now);
                // Long silences forget.
                let mut all = [due.offline, due.forget].concat();
                all.sort();
                prop_assert_eq!(all, expected);
            }
        }
    }
}
