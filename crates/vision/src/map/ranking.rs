//! Average precision again and again: for the same pictures, each counted any number of times.
//!
//! Precision is highest at hits, so only they are walked; the misses between two hits enter as a count, and those below the
//! last hit not at all. A walk costs one addition a detection and one step a hit and threshold: 1,000 pictures with 5,000
//! truths take about a millisecond.

use super::{Class, THRESHOLDS};

/// One class.
struct Ranked {
    truths: u64,
    /// Pictures that have a truth, and how many.
    pictures: Vec<(u32, u32)>,
    /// The picture of each detection, most confident first, down to the last hit.
    shown: Vec<u32>,
    hits: Vec<Hit>,
}

/// A detection that took a truth.
struct Hit {
    /// Its place in [`Ranked::shown`].
    at: u32,
    /// Bit `i`: at threshold `i`.
    thresholds: u16,
}

/// Hits and misses by class and confidence, with the pictures that they are from.
pub struct Ranking {
    images: usize,
    classes: Vec<Ranked>,
}

/// Memory that is used again from one call to the next.
#[derive(Default)]
pub struct Scratch {
    walked: Vec<Walked>,
}

/// A hit, counted.
struct Walked {
    /// Detections down to this one.
    shown: u64,
    /// How often its picture counts.
    count: u64,
    thresholds: u16,
}

impl Ranking {
    pub(super) fn new(classes: &[Class], images: usize) -> Ranking {
        Ranking { images, classes: classes.iter().map(Ranked::new).collect() }
    }

    /// Pictures.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// Labelled objects of a class.
    pub fn boxes(&self, class: usize) -> u64 {
        self.classes[class].truths
    }

    /// Pictures that have an object of a class.
    pub fn images_with(&self, class: usize) -> usize {
        self.classes[class].pictures.len()
    }

    /// AP of a class at IoU .50, and its mean over the ten thresholds, where picture `i` is there `counts[i]` times: equal, to
    /// rounding, to those of an evaluator to which it was added as often. `None` where the class has no truth in them.
    ///
    /// # Panics
    /// When there is no such class, or not one count for each picture.
    pub fn average_precision(&self, class: usize, counts: &[u32], scratch: &mut Scratch) -> Option<(f64, f64)> {
        assert_eq!(counts.len(), self.images, "one count for each picture");
        let ap = self.classes[class].average_precision(counts, scratch)?;
        Some((ap[0], ap.iter().sum::<f64>() / THRESHOLDS as f64))
    }
}

impl Ranked {
    fn new(class: &Class) -> Ranked {
        let last = class.matched.iter().rposition(|m| m.hits != 0).map_or(0, |at| at + 1);
        let matched = &class.matched[..last];
        let hits = matched.iter().enumerate().filter(|(_, m)| m.hits != 0);
        Ranked {
            truths: class.truths,
            pictures: class.pictures.clone(),
            shown: matched.iter().map(|m| m.picture).collect(),
            hits: hits.map(|(at, m)| Hit { at: at as u32, thresholds: m.hits }).collect(),
        }
    }

    fn average_precision(&self, counts: &[u32], scratch: &mut Scratch) -> Option<[f64; THRESHOLDS]> {
        let count = |picture: u32| u64::from(counts[picture as usize]);
        let truths: u64 = self.pictures.iter().map(|&(picture, number)| count(picture) * u64::from(number)).sum();
        if truths == 0 {
            return None;
        }
        let walked = &mut scratch.walked;
        walked.clear();
        let (mut from, mut shown, mut found) = (0, 0, [0u64; THRESHOLDS]);
        for hit in &self.hits {
            let at = hit.at as usize;
            shown += self.shown[from..=at].iter().map(|&picture| count(picture)).sum::<u64>();
            from = at + 1;
            let count = count(self.shown[at]);
            if count > 0 {
                walked.push(Walked { shown, count, thresholds: hit.thresholds });
                for_each_bit(hit.thresholds, |i| found[i] += count);
            }
        }
        // Up again: the envelope is the best precision seen so far, and each hit adds the recalls that are reached with it and
        // not before: those of 0, .01, … 1 that are at most found / truths, in whole numbers (0.29 * 100 is not 29).
        let reached = |found: u64| found * 100 / truths;
        let (mut envelope, mut sums) = ([0f64; THRESHOLDS], [0f64; THRESHOLDS]);
        let mut points: [u64; THRESHOLDS] = found.map(reached);
        for Walked { shown, count, thresholds } in walked.iter().rev() {
            for_each_bit(*thresholds, |i| {
                envelope[i] = envelope[i].max(found[i] as f64 / *shown as f64);
                found[i] -= count;
                let before = reached(found[i]);
                // Recall 0 is reached with the first hit.
                let new = points[i] - before + u64::from(found[i] == 0);
                sums[i] += new as f64 * envelope[i];
                points[i] = before;
            });
        }
        Some(sums.map(|sum| sum / 101.0))
    }
}

fn for_each_bit(mut bits: u16, mut act: impl FnMut(usize)) {
    while bits != 0 {
        act(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}
