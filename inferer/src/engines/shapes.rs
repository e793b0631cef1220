//! Which input shape fits an image, and which shape is worth an engine of its own.
//!
//! A square input spends two fifths of its work on the grey bars above and below a 16:9 image. With the bars left out the
//! boxes are the same and the work is 60 %. Shapes are counted over the last images; the most common one gets an engine, made
//! off the request path, and until that is warm the square one serves. One other shape at most is kept.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Height and width of an input in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Height in pixels, a multiple of 32.
    pub height: u32,
    /// Width in pixels, a multiple of 32.
    pub width: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// The network's largest stride: heights and widths are multiples of it.
const STRIDE: u32 = 32;
/// A shape must save at least this share of the square's pixels to be worth its memory, in percent.
const LEAST_GAIN: u64 = 15;
/// Images are coming while the last one is no older than this.
const LIVE: Duration = Duration::from_secs(1);
/// Images that are looked back on.
const WINDOW: usize = 64;
/// So many of them must want a shape: an odd image makes no engine.
const WANTED_BY: usize = 16;
/// Shapes that could not be made are not tried again for this version; more than this many and none is.
const MOST_REFUSED: usize = 8;

impl Shape {
    /// The square one.
    #[must_use]
    pub const fn square(side: u32) -> Shape {
        Shape { height: side, width: side }
    }

    /// The smallest that an upright image of `width` x `height` fits into as large as into the square of `side`.
    #[must_use]
    pub fn fit(side: u32, width: u32, height: u32) -> Shape {
        let (width, height) = (u64::from(width.max(1)), u64::from(height.max(1)));
        // Rounded up: half a pixel less than the image's short side and the letterbox would shrink its long side too.
        let short = |short: u64, long: u64| {
            let fitted = (u64::from(side) * short).div_ceil(long).max(1);
            (fitted.div_ceil(u64::from(STRIDE)) * u64::from(STRIDE)).min(u64::from(side)) as u32
        };
        let shape = if width >= height {
            Shape { height: short(height, width), width: side }
        } else {
            Shape { height: side, width: short(width, height) }
        };
        let saved = 100 - shape.pixels() * 100 / Shape::square(side).pixels().max(1);
        if saved >= LEAST_GAIN { shape } else { Shape::square(side) }
    }

    /// Pixels of it.
    #[must_use]
    pub fn pixels(self) -> u64 {
        u64::from(self.height) * u64::from(self.width)
    }
}

/// What the last images wanted.
#[derive(Debug, Default)]
pub struct Demand {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    recent: VecDeque<Shape>,
    last: Option<Instant>,
    refused: Vec<Shape>,
}

impl Demand {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image that wants `shape`.
    pub fn note(&self, shape: Shape) {
        let mut state = self.lock();
        if state.recent.len() == WINDOW {
            state.recent.pop_front();
        }
        state.recent.push_back(shape);
        state.last = Some(Instant::now());
    }

    /// The shape that is worth an engine now: wanted often, by more images than `resident` if that one is kept, and not refused.
    #[must_use]
    pub fn worth(&self, side: u32, resident: Option<Shape>) -> Option<Shape> {
        let state = self.lock();
        if state.refused.len() >= MOST_REFUSED {
            return None;
        }
        let count = |shape: Shape| state.recent.iter().filter(|s| **s == shape).count();
        let best = state.recent.iter().filter(|s| **s != Shape::square(side) && !state.refused.contains(s)).max_by_key(|s| count(**s))?;
        // Twice as many, so that two cameras do not make the engines take turns.
        let needed = resident.map_or(WANTED_BY, |shape| (2 * count(shape)).max(WANTED_BY));
        (Some(*best) != resident && count(*best) >= needed).then_some(*best)
    }

    /// Goes on from what the images before wanted.
    pub fn follow(&self, before: &Demand) {
        let (recent, last) = {
            let before = before.lock();
            (before.recent.clone(), before.last)
        };
        let mut state = self.lock();
        (state.recent, state.last) = (recent, last);
    }

    /// Whether images are coming.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.lock().last.is_some_and(|last| last.elapsed() < LIVE)
    }

    /// No engine can be had for `shape`.
    pub fn refuse(&self, shape: Shape) {
        let mut state = self.lock();
        if !state.refused.contains(&shape) && state.refused.len() < MOST_REFUSED {
            state.refused.push(shape);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeloop_vision::letterbox::Letterbox;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::hd(1280, 720, (384, 640))]
    #[case::full_hd(1920, 1080, (384, 640))]
    #[case::portrait(1080, 1920, (640, 384))]
    #[case::vga(640, 480, (480, 640))]
    #[case::square(500, 500, (640, 640))]
    #[case::nearly_square(640, 560, (640, 640))]
    #[case::line(5000, 1, (32, 640))]
    #[case::nothing(0, 0, (640, 640))]
    fn the_shape_of_an_image(#[case] width: u32, #[case] height: u32, #[case] expected: (u32, u32)) {
        assert_eq!(Shape::fit(640, width, height), Shape { height: expected.0, width: expected.1 });
    }

    proptest! {
        #[test]
        fn an_image_lies_in_its_shape_as_large_as_in_the_square(width in 1u32..8000, height in 1u32..8000, strides in 1u32..40) {
            let side = strides * 32;
            let shape = Shape::fit(side, width, height);
            let (square, other) = (Letterbox::fit(width, height, side, side), Letterbox::fit(width, height, shape.width, shape.height));
            prop_assert_eq!((square.fit_w, square.fit_h), (other.fit_w, other.fit_h));
            prop_assert!(shape.height.is_multiple_of(32) && shape.width.is_multiple_of(32));
        }
    }

    const WIDE: Shape = Shape { height: 384, width: 640 };
    const TALL: Shape = Shape { height: 640, width: 384 };

    #[test]
    fn a_shape_is_worth_an_engine_when_many_images_want_it() {
        let demand = Demand::default();
        (0..WANTED_BY - 1).for_each(|_| demand.note(WIDE));
        assert_eq!(demand.worth(640, None), None);
        demand.note(WIDE);
        assert_eq!(demand.worth(640, None), Some(WIDE));
        assert_eq!(demand.worth(640, Some(WIDE)), None, "it is there");
        (0..2 * WINDOW).for_each(|_| demand.note(Shape::square(640)));
        assert_eq!(demand.worth(640, None), None, "square images need none, and old ones are forgotten");
    }

    #[test]
    fn another_shape_replaces_it_only_when_it_is_much_more_common() {
        let demand = Demand::default();
        (0..WINDOW / 2).for_each(|_| (demand.note(WIDE), demand.note(TALL)).0);
        assert_eq!(demand.worth(640, Some(WIDE)), None);
        (0..WINDOW / 2).for_each(|_| demand.note(TALL));
        assert_eq!(demand.worth(640, Some(WIDE)), Some(TALL));
        demand.refuse(TALL);
        assert_eq!(demand.worth(640, Some(WIDE)), None, "what cannot be made is not asked for again");
    }
}
