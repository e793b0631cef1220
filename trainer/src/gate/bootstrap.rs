//! A paired bootstrap by image: how often would the candidate be worse, had other images like these been in val?
//!
//! Each resample draws as many images as there are, with replacement, and all models are judged on that draw: what makes an
//! image hard for all of them cancels out. Draw `b` is a function of `b` alone, so that the verdict of a run is repeatable.

use edgeloop_vision::map::{Ranking, Scratch};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws. The share of them that exceeds a limit is known to 0.01 at 0.9 (√(0.9 · 0.1 / 1,000)).
pub const RESAMPLES: u32 = 1_000;

const SEED: u64 = 0x6564_6765_6c6f_6f70;

/// Another model on the same images, and from which drop on it counts.
pub struct Paired<'a> {
    pub ranking: &'a Ranking,
    /// Classes that enter the mean.
    pub classes: &'a [usize],
    /// In the mean.
    pub max_drop: f64,
    /// In one class.
    pub max_class_drop: f64,
}

/// The figures of a pair on one choice of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Candidate and rival: mean AP50-95 over the classes that have a box.
    pub overall: (f64, f64),
    /// The same by class; `None` without a box.
    pub per_class: Vec<Option<(f64, f64)>>,
}

/// In how many draws a drop exceeded its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    pub overall: u32,
    /// In the order of [`Paired::classes`].
    pub per_class: Vec<u32>,
}

/// The figures on all images.
pub fn figures(candidate: &Ranking, pair: &Paired<'_>) -> Figures {
    on(candidate, pair, &vec![1; candidate.images()], &mut Scratch::default())
}

/// Counts over `resamples` draws, for each pair.
pub fn exceeded(candidate: &Ranking, pairs: &[Paired<'_>], resamples: u32, threads: usize) -> Vec<Exceeded> {
    let threads = threads.clamp(1, resamples.max(1) as usize) as u32;
    let share = |first: u32| -> Vec<Exceeded> {
        let mut sums: Vec<Exceeded> = pairs.iter().map(|pair| Exceeded { overall: 0, per_class: vec![0; pair.classes.len()] }).collect();
        let (mut counts, mut scratch) = (Vec::new(), Scratch::default());
        for number in (first..resamples).step_by(threads as usize) {
            draw(number, candidate.images(), &mut counts);
            for (sum, pair) in sums.iter_mut().zip(pairs) {
                let Figures { overall: (new, old), per_class } = on(candidate, pair, &counts, &mut scratch);
                sum.overall += u32::from(old - new > pair.max_drop);
                for (sum, figure) in sum.per_class.iter_mut().zip(per_class) {
                    *sum += u32::from(figure.is_some_and(|(new, old)| old - new > pair.max_class_drop));
                }
            }
        }
        sums
    };
    let shares: Vec<Vec<Exceeded>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|first| scope.spawn(move || share(first))).collect();
        let own = share(0);
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        std::iter::once(own).chain(others.into_iter().map(join)).collect()
    });
    shares.into_iter().reduce(|sum, more| sum.into_iter().zip(more).map(add).collect()).unwrap_or_default()
}

fn add((a, b): (Exceeded, Exceeded)) -> Exceeded {
    let per_class = a.per_class.iter().zip(&b.per_class).map(|(a, b)| a + b).collect();
    Exceeded { overall: a.overall + b.overall, per_class }
}

fn on(candidate: &Ranking, pair: &Paired<'_>, counts: &[u32], scratch: &mut Scratch) -> Figures {
    let mut per_class = Vec::with_capacity(pair.classes.len());
    let (mut sums, mut classes) = ((0.0, 0.0), 0u32);
    for &class in pair.classes {
        let mut ap = |ranking: &Ranking| ranking.average_precision(class, counts, scratch).map(|(_, map50_95)| map50_95);
        let figure = ap(candidate).zip(ap(pair.ranking));
        if let Some((new, old)) = figure {
            sums = (sums.0 + new, sums.1 + old);
            classes += 1;
        }
        per_class.push(figure);
    }
    let mean = |sum: f64| sum / f64::from(classes.max(1));
    Figures { overall: (mean(sums.0), mean(sums.1)), per_class }
}

fn draw(number: u32, images: usize, counts: &mut Vec<u32>) {
    counts.clear();
    counts.resize(images, 0);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    rng.set_stream(u64::from(number));
    for _ in 0..images {
        // The upper half of a product: every image with a chance of 1 / images to one part in 2³².
        let at = (u64::from(rng.next_u32()) * images as u64) >> 32;
        counts[at as usize] += 1;
    }
}
