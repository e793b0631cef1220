//! What both sides of the comparison are fed with: weights, a batch with boxes, detections. All of it a function of names and
//! numbers, so that the golden file holds figures only.
#![allow(dead_code, reason = "the example that writes these and the test that uses them take different parts")]

use edgeloop_model::{Network, Role, Scale, Weights};
use edgeloop_vision::{boxes::Xyxy, map::Truth, nms::Detection};

/// Classes of networks and boxes.
pub const CLASSES: usize = 6;
/// Side of the batch's pictures, pixels.
pub const SIDE: usize = 320;
/// Pictures in the batch.
pub const IMAGES: usize = 2;

/// SplitMix64: short enough to be certain that it is the same everywhere and for ever.
pub struct Draws(u64);

impl Draws {
    pub fn new(name: &str) -> Self {
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// 0 to 1.
    pub fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f32) as usize).min(n - 1)
    }

    /// About normal, by twelve uniform draws.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}

/// Weights in which nothing is 0 or 1 that could be: kernels large enough that signals survive 22 layers of SiLU, norms with
/// statistics of their own.
pub fn weights(scale: Scale) -> Weights {
    let network = Network::yolov8(scale, CLASSES);
    let mut weights = Weights::init(&network, 0);
    for spec in network.params() {
        let mut draws = Draws::new(&spec.name);
        let fan_in: usize = spec.shape.iter().skip(1).product();
        let mut value = || match spec.role {
            // Variance 1 / fan-in after SiLU, whose mean square is 0.36 of its input's: 3 · 1/0.36 under the root.
            Role::Weight => draws.between(-1.0, 1.0) * (8.4 / fan_in as f32).sqrt(),
            Role::NormWeight => draws.between(0.8, 1.2),
            Role::RunningVar => draws.between(0.7, 1.6),
            Role::NormBias | Role::RunningMean => draws.between(-0.2, 0.2),
            Role::Bias => draws.between(-1.0, 1.0),
            Role::NumBatches | Role::Fixed => 0.0,
        };
        if matches!(spec.role, Role::NumBatches | Role::Fixed) {
            continue;
        }
        let array = weights.get_mut(&spec.name).expect("init makes every parameter");
        let values = (0..spec.len()).map(|_| value()).collect();
        *array = edgeloop_model::weights::Array::f32(spec.shape.clone(), values);
    }
    weights
}

/// `[IMAGES, 3, SIDE, SIDE]`, bytes: soft waves and noise.
pub fn images() -> Vec<u8> {
    let mut draws = Draws::new("images");
    let mut out = Vec::with_capacity(IMAGES * 3 * SIDE * SIDE);
    for plane in 0..IMAGES * 3 {
        let (fx, fy, phase) = (draws.between(0.01, 0.1), draws.between(0.01, 0.1), draws.between(0.0, 6.0));
        for at in 0..SIDE * SIDE {
            let (x, y) = ((at % SIDE) as f32, (at / SIDE) as f32);
            // No sine: its last bit differs between libraries. A triangle wave does as well.
            let t = (x * fx + y * fy + phase).fract();
            let wave = if t < 0.5 { t * 2.0 } else { 2.0 - t * 2.0 };
            let noise = draws.between(0.0, 60.0);
            out.push((20.0 + 170.0 * wave + noise + (plane % 3) as f32) as u8);
        }
    }
    out
}

/// `(image, class, cx, cy, w, h)` in fractions; sides of 16 px and more, where assigners agree (shared rule of the family).
pub fn targets() -> Vec<(u32, u32, f32, f32, f32, f32)> {
    let mut draws = Draws::new("targets");
    let px = |v: f32| v / SIDE as f32;
    let mut out = Vec::new();
    for image in 0..IMAGES as u32 {
        for _ in 0..9 {
            let (w, h) = (draws.between(18.0, 130.0), draws.between(18.0, 130.0));
            let (cx, cy) = (draws.between(w / 2.0, SIDE as f32 - w / 2.0), draws.between(h / 2.0, SIDE as f32 - h / 2.0));
            out.push((image, draws.below(CLASSES) as u32, px(cx), px(cy), px(w), px(h)));
        }
    }
    out
}

/// One picture of the comparison of mAP.
pub struct Picture {
    pub truths: Vec<Truth>,
    pub found: Vec<Detection>,
}

/// 200 pictures of 640 px: objects found more or less well, some missed, some twice, some of another class, some from nowhere.
pub fn pictures() -> Vec<Picture> {
    let mut draws = Draws::new("pictures");
    (0..200)
        .map(|_| {
            let (mut truths, mut found) = (Vec::new(), Vec::new());
            for _ in 0..draws.below(9) {
                let (w, h) = (draws.between(12.0, 200.0), draws.between(12.0, 200.0));
                let (x, y) = (draws.between(0.0, 640.0 - w), draws.between(0.0, 640.0 - h));
                let class = draws.below(CLASSES) as u32;
                truths.push(Truth { class, bbox: Xyxy::new(x, y, x + w, y + h) });
                let seen = [0usize, 1, 1, 1, 1, 2][draws.below(6)];
                for _ in 0..seen {
                    let blur = draws.between(0.0, 0.12);
                    let mut edge = |at: f32, side: f32| at + draws.normal() * blur * side;
                    let bbox = Xyxy::new(edge(x, w), edge(y, h), edge(x + w, w), edge(y + h, h));
                    let class = if draws.unit() < 0.07 { draws.below(CLASSES) as u32 } else { class };
                    let confidence = (0.85 - 3.0 * blur + 0.12 * draws.normal()).clamp(0.002, 0.999);
                    found.push(Detection { class, confidence, bbox });
                }
            }
            for _ in 0..draws.below(6) {
                let (x, y, w, h) =
                    (draws.between(0.0, 500.0), draws.between(0.0, 500.0), draws.between(10.0, 140.0), draws.between(10.0, 140.0));
                let (class, confidence) = (draws.below(CLASSES) as u32, draws.between(0.001, 0.5).powi(2));
                found.push(Detection { class, confidence, bbox: Xyxy::new(x, y, x + w, y + h) });
            }
            Picture { truths, found }
        })
        .collect()
}
