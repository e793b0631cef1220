//! Which anchors learn which box: the task-aligned assigner (Feng et al. 2021, «TOOD»).
//!
//! An anchor may learn a box if its centre lies inside. Of those the `top_k` with the highest alignment `score^α · overlap^β`
//! do; an anchor that several boxes want goes to the one that it overlaps best, of all whose inside it is in. The class target
//! is soft: the alignment, scaled so that a box's best anchor gets the best overlap that the box has.
//!
//! Very small boxes hold few centres or none, and would teach nothing. Ours is one rule: for the question «inside?» a box is
//! widened about its centre to at least two cells of the finest level a side, so that each has at least four candidates away
//! from the picture's edge. Boxes of 16 px and more are as in the paper.
//!
//! This runs on the host, over the few anchors under each box, and reads predictions as plain slices: 30 µs where dense
//! tensors of boxes × anchors take milliseconds.

use super::{anchors::Anchors, ciou::ciou};

/// Constants of the assigner.
#[derive(Debug, Clone, Copy)]
pub struct Assigner {
    /// Anchors per box, at most.
    pub top_k: usize,
    /// Exponent of the class score.
    pub alpha: f32,
    /// Exponent of the overlap.
    pub beta: f32,
}

impl Default for Assigner {
    fn default() -> Self {
        Self { top_k: 10, alpha: 0.5, beta: 6.0 }
    }
}

/// A labelled box of a batch, in pixels of the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// Position of its image in the batch.
    pub image: usize,
    /// Class number.
    pub class: usize,
    /// x1, y1, x2, y2
    pub bbox: [f32; 4],
}

/// What the network says now: image by image, anchor by anchor.
#[derive(Debug, Clone, Copy)]
pub struct Predicted<'a> {
    /// Distances of the four sides (left, top, right, bottom) from the anchor's centre, in strides: `[n, anchors, 4]`.
    pub sides: &'a [f32],
    /// Class logits: `[n, anchors, classes]`.
    pub logits: &'a [f32],
    /// Number of classes.
    pub classes: usize,
}

/// An anchor with something to learn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Positive {
    /// Position of the image in the batch.
    pub image: usize,
    /// Number of the anchor.
    pub anchor: usize,
    /// Which of the truths.
    pub truth: usize,
    /// Soft class target, 0 to 1; also the weight of its box loss.
    pub score: f32,
}

/// What an anchor is to the boxes of its image, while they compete.
#[derive(Debug, Clone, Copy)]
struct Claim {
    wanted: u32,
    by: usize,
    best: usize,
    best_overlap: f32,
}

const FREE: Claim = Claim { wanted: 0, by: 0, best: 0, best_overlap: -1.0 };

impl Assigner {
    /// Gives anchors to `truths` (grouped by image, images in rising order). Sorted by image, then anchor.
    pub fn assign(&self, anchors: &Anchors, predicted: Predicted<'_>, truths: &[Truth]) -> Vec<Positive> {
        let mut out = Vec::new();
        let mut claims = vec![FREE; anchors.len()];
        let mut from = 0;
        while from < truths.len() {
            let image = truths[from].image;
            let to = from + truths[from..].iter().take_while(|t| t.image == image).count();
            self.assign_image(anchors, predicted, truths, from..to, &mut claims, &mut out);
            from = to;
        }
        out
    }

    fn assign_image(
        &self,
        anchors: &Anchors,
        predicted: Predicted<'_>,
        truths: &[Truth],
        of_image: std::ops::Range<usize>,
        claims: &mut [Claim],
        out: &mut Vec<Positive>,
    ) {
        claims.fill(FREE);
        let at_least = 2.0 * anchors.finest() as f32;
        let mut candidates: Vec<(usize, f32)> = Vec::new();
        for truth in of_image.clone() {
            candidates.clear();
            anchors.inside(widened(truths[truth].bbox, at_least), |anchor, centre, stride| {
                let (overlap, alignment) = self.match_of(predicted, anchors.len(), &truths[truth], anchor, centre, stride);
                candidates.push((anchor, alignment));
                let claim = &mut claims[anchor];
                if overlap > claim.best_overlap {
                    (claim.best, claim.best_overlap) = (truth, overlap);
                }
            });
            if candidates.len() > self.top_k {
                // Highest first; equals by number, so that the choice is the same everywhere.
                candidates.select_nth_unstable_by(self.top_k, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                candidates.truncate(self.top_k);
            }
            for &(anchor, _) in &candidates {
                claims[anchor].wanted += 1;
                claims[anchor].by = truth;
            }
        }

        let first = out.len();
        // Per truth of this image: highest alignment and highest overlap among the anchors that it got.
        let mut best = vec![(0.0f32, 0.0f32); of_image.len()];
        for (anchor, claim) in claims.iter().enumerate().filter(|(_, c)| c.wanted > 0) {
            let truth = if claim.wanted == 1 { claim.by } else { claim.best };
            let (centre, stride) = anchors.at(anchor);
            let (overlap, alignment) = self.match_of(predicted, anchors.len(), &truths[truth], anchor, centre, stride);
            let of_truth = &mut best[truth - of_image.start];
            *of_truth = (of_truth.0.max(alignment), of_truth.1.max(overlap));
            out.push(Positive { image: truths[truth].image, anchor, truth, score: alignment });
        }
        for positive in &mut out[first..] {
            let (alignment, overlap) = best[positive.truth - of_image.start];
            positive.score *= overlap / (alignment + 1e-9);
        }
    }

    /// Overlap (complete IoU, not below 0) and alignment of an anchor with a box.
    fn match_of(
        &self,
        predicted: Predicted<'_>,
        anchors: usize,
        truth: &Truth,
        anchor: usize,
        centre: [f32; 2],
        stride: f32,
    ) -> (f32, f32) {
        let row = truth.image * anchors + anchor;
        let side = &predicted.sides[row * 4..row * 4 + 4];
        let bbox = [centre[0] - side[0] * stride, centre[1] - side[1] * stride, centre[0] + side[2] * stride, centre[1] + side[3] * stride];
        let overlap = ciou(truth.bbox, bbox).max(0.0);
        if overlap == 0.0 {
            return (0.0, 0.0);
        }
        let logit = predicted.logits[row * predicted.classes + truth.class];
        let score = 1.0 / (1.0 + (-logit).exp());
        (overlap, score.powf(self.alpha) * overlap.powf(self.beta))
    }
}

/// `bbox` with sides of at least `at_least`, about the same centre.
fn widened(bbox: [f32; 4], at_least: f32) -> [f32; 4] {
    let [x1, y1, x2, y2] = bbox;
    let (dx, dy) = ((at_least - (x2 - x1)).max(0.0) / 2.0, (at_least - (y2 - y1)).max(0.0) / 2.0);
    [x1 - dx, y1 - dy, x2 + dx, y2 + dy]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::anchors::Grid;

    /// 4×4 cells of 8 px; every anchor predicts a box of 16×16 about its centre, with logit 0 (score ½) for both classes.
    struct Scene {
        anchors: Anchors,
        sides: Vec<f32>,
        logits: Vec<f32>,
    }

    impl Scene {
        fn new() -> Self {
            Self { anchors: Anchors::new(vec![Grid { h: 4, w: 4, stride: 8 }]), sides: vec![1.0; 16 * 4], logits: vec![0.0; 16 * 2] }
        }

        fn assign(&self, top_k: usize, truths: &[Truth]) -> Vec<Positive> {
            let predicted = Predicted { sides: &self.sides, logits: &self.logits, classes: 2 };
            Assigner { top_k, ..Assigner::default() }.assign(&self.anchors, predicted, truths)
        }
    }

    fn truth(class: usize, bbox: [f32; 4]) -> Truth {
        Truth { image: 0, class, bbox }
    }

    fn anchors_of(positives: &[Positive], truth: usize) -> Vec<usize> {
        positives.iter().filter(|p| p.truth == truth).map(|p| p.anchor).collect()
    }

    #[test]
    fn anchors_inside_a_box_learn_it_with_soft_targets() {
        // Box 4,4–20,20: the centre of anchor 5 (12, 12) is its centre: the prediction is the box, overlap 1.
        // Centres 4, 12, 20 are not all strictly inside 4 < c < 20: only anchor 5 is. Score: its alignment is
        // ½^½ · 1 = 0.707, the box's best; times best overlap 1 over best alignment: 1.
        let got = Scene::new().assign(10, &[truth(0, [4.0, 4.0, 20.0, 20.0])]);
        assert_eq!(anchors_of(&got, 0), [5]);
        assert!((got[0].score - 1.0).abs() < 1e-6);
    }

    #[test]
    fn scores_follow_alignment_and_the_best_gets_the_best_overlap() {
        // Box 4,4–21,20 (17×16) also holds centre (20, 12): anchor 6, whose box is 12,4–28,20.
        // Anchor 5: cut 16·16, union 272, IoU 0.941176; centres ½ apart, around 17×16: 0.25 / 545 = 0.000459;
        //   v = 4/π² (atan 1 − atan 17/16)² = 0.405285 · 0.030296² = 0.000372, α·v < 3e-6. CIoU 0.940715.
        // Anchor 6: cut 9·16 = 144, union 272 + 256 − 144 = 384, IoU 0.375; centres 7.5 apart, around 24×16:
        //   56.25 / 832 = 0.067608; CIoU 0.307392. Logits are equal, so the scores are as the overlaps^6:
        //   0.940715 and 0.940715 · (0.307392 / 0.940715)^6 = 0.940715 · 0.001217 = 0.001145.
        let got = Scene::new().assign(10, &[truth(1, [4.0, 4.0, 21.0, 20.0])]);
        assert_eq!(anchors_of(&got, 0), [5, 6]);
        assert!((got[0].score - 0.940_715).abs() < 1e-5, "{}", got[0].score);
        assert!((got[1].score - 0.001_145).abs() < 1e-5, "{}", got[1].score);
    }

    #[test]
    fn only_the_best_k_learn() {
        // 0,0–32,32 holds all 16 centres; the four in the middle (5, 6, 9, 10) overlap it best: 256 of 1024 px as all do,
        // but nearer its centre than the others, and not outside it like those at the rim.
        let whole = [0.0, 0.0, 32.0, 32.0];
        assert_eq!(anchors_of(&Scene::new().assign(4, &[truth(0, whole)]), 0), [5, 6, 9, 10]);
        assert_eq!(Scene::new().assign(10, &[truth(0, whole)]).len(), 10);
    }

    #[test]
    fn the_score_of_the_right_class_decides_between_equal_overlaps() {
        let mut scene = Scene::new();
        scene.logits[10 * 2 + 1] = 3.0;
        scene.logits[6 * 2] = 9.0; // another class: of no help
        let got = scene.assign(1, &[truth(1, [0.0, 0.0, 32.0, 32.0])]);
        assert_eq!(anchors_of(&got, 0), [10]);
    }

    #[test]
    fn an_anchor_wanted_twice_goes_to_the_box_it_overlaps_best() {
        // Both boxes hold centre (12, 12), whose prediction 4,4–20,20 is the second box; the first keeps (20, 12).
        let got = Scene::new().assign(10, &[truth(0, [4.0, 4.0, 22.0, 20.0]), truth(1, [4.0, 4.0, 20.0, 20.0])]);
        assert_eq!((anchors_of(&got, 0), anchors_of(&got, 1)), (vec![6], vec![5]));
    }

    #[test]
    fn a_box_between_the_centres_still_has_four_anchors() {
        // 15,15–17,17 holds no centre; widened to 16 px it is 8,8–24,24, with 12 and 20 inside in both directions.
        let got = Scene::new().assign(10, &[truth(0, [15.0, 15.0, 17.0, 17.0])]);
        assert_eq!(anchors_of(&got, 0), [5, 6, 9, 10]);
        // The prediction 4,4–20,20: IoU 4/256 = 0.015625, centres 4·√2 apart: 32 / 512 = 0.0625: CIoU below 0. So far off,
        // nothing is aligned yet, and nothing counts as found.
        assert!(got.iter().all(|p| p.score == 0.0));
    }

    #[test]
    fn images_are_kept_apart() {
        let mut scene = Scene::new();
        scene.sides.extend_from_within(..);
        scene.logits.extend_from_within(..);
        let bbox = [4.0, 4.0, 20.0, 20.0];
        let truths = [truth(0, bbox), Truth { image: 1, class: 1, bbox }];
        let got = scene.assign(10, &truths);
        assert_eq!(got.iter().map(|p| (p.image, p.anchor, p.truth)).collect::<Vec<_>>(), [(0, 5, 0), (1, 5, 1)]);
    }

    #[test]
    fn no_boxes_no_positives() {
        assert!(Scene::new().assign(10, &[]).is_empty());
    }
}
