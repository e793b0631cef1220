//! A candidate beside other models: which classes can be compared, which limits hold, and all of it in words.

use edgeloop_store::{ComparedFigure, Comparison, RivalRole};

use super::{
    Candidate, Gate, Rival,
    bootstrap::{Figures, Paired, RESAMPLES, exceeded, figures},
    confidence::needed,
    rivals::LINEAGE,
};

/// The candidate beside each rival that knows a class which has a box in val.
pub fn compare(gate: &Gate, candidate: &Candidate<'_>, rivals: &[Rival], threads: usize) -> Vec<Comparison> {
    let shared: Vec<Vec<usize>> = rivals.iter().map(|rival| shared(candidate, rival)).collect();
    let pairs: Vec<(&Rival, Paired<'_>)> = rivals
        .iter()
        .zip(&shared)
        .filter(|(_, classes)| !classes.is_empty())
        .map(|(rival, classes)| {
            let Gate { gate_max_drop: max_drop, gate_max_class_drop: max_class_drop, .. } = *gate;
            (rival, Paired { ranking: &rival.ranking, classes, max_drop, max_class_drop })
        })
        .collect();
    let (rivals, pairs): (Vec<&Rival>, Vec<Paired<'_>>) = pairs.into_iter().unzip();
    let counts = exceeded(candidate.ranking, &pairs, RESAMPLES, threads);
    let compared = rivals.iter().zip(&pairs).zip(counts).map(|((rival, pair), exceeded)| {
        let figures = figures(candidate.ranking, pair);
        let look = Look { gate, candidate, role: rival.role };
        let (overall, per_class) = (look.overall(pair, &figures, exceeded.overall), look.per_class(pair, &figures, &exceeded.per_class));
        Comparison {
            rival: rival.version.clone(),
            role: rival.role,
            images: candidate.ranking.images() as u64,
            resamples: RESAMPLES,
            overall,
            per_class,
            new_classes: lacking(candidate.classes, &rival.classes),
            gone_classes: lacking(&rival.classes, candidate.classes),
        }
    });
    compared.collect()
}

/// Numbers of the classes that both know, by name, and that have a box in val.
fn shared(candidate: &Candidate<'_>, rival: &Rival) -> Vec<usize> {
    let known = |&class: &usize| rival.classes.contains(&candidate.classes[class]) && candidate.ranking.boxes(class) > 0;
    (0..candidate.classes.len()).filter(known).collect()
}

fn lacking(names: &[String], from: &[String]) -> Vec<String> {
    names.iter().filter(|name| !from.contains(name)).cloned().collect()
}

struct Look<'a> {
    gate: &'a Gate,
    candidate: &'a Candidate<'a>,
    role: RivalRole,
}

impl Look<'_> {
    /// The chance of being wrong that one kind of look may have: the two rivals share it.
    fn allowance(&self) -> f64 {
        let all = 1.0 - self.gate.gate_confidence;
        // The best of ten looks better than it is: as strict as if each of the ten were compared with.
        let best = all / LINEAGE as f64;
        match self.role {
            RivalRole::Promoted => all - best,
            RivalRole::Best => best,
        }
    }

    fn overall(&self, pair: &Paired<'_>, figures: &Figures, exceeded: u32) -> ComparedFigure {
        let boxes = pair.classes.iter().map(|&class| pair.ranking.boxes(class)).sum();
        let needed = needed(self.allowance(), 1, pair.ranking.images());
        figure("all", boxes, figures.overall, pair.max_drop, exceeded, needed)
    }

    fn per_class(&self, pair: &Paired<'_>, figures: &Figures, exceeded: &[u32]) -> Vec<ComparedFigure> {
        let enough = |class: usize| pair.ranking.boxes(class) >= self.gate.gate_min_class_boxes;
        let looks = pair.classes.iter().filter(|&&class| enough(class)).count();
        let rows = pair.classes.iter().zip(&figures.per_class).zip(exceeded).filter(|((class, _), _)| enough(**class));
        rows.filter_map(|((&class, figures), &exceeded)| {
            let needed = needed(self.allowance(), looks, pair.ranking.images_with(class));
            let name = &self.candidate.classes[class];
            figures.map(|figures| figure(name, pair.ranking.boxes(class), figures, pair.max_class_drop, exceeded, needed))
        })
        .collect()
    }
}

fn figure(name: &str, boxes: u64, (candidate, rival): (f64, f64), limit: f64, exceeded: u32, needed: f64) -> ComparedFigure {
    let confidence = f64::from(exceeded) / f64::from(RESAMPLES);
    let worse = rival - candidate > limit && confidence >= needed;
    ComparedFigure { name: name.to_owned(), boxes, candidate, rival, limit, confidence, needed, worse }
}

/// A clause for every figure that rejects the candidate.
pub fn worse(comparison: &Comparison) -> Vec<String> {
    let rows = std::iter::once(&comparison.overall).chain(&comparison.per_class).filter(|figure| figure.worse);
    rows.map(|figure| {
        format!(
            "{} fell to {:.3} from the {:.3} of {} on the same {} images: by more than {} with {:.1} % confidence",
            what(figure, comparison),
            figure.candidate,
            figure.rival,
            rival(comparison),
            comparison.images,
            figure.limit,
            figure.confidence * 100.0,
        )
    })
    .collect()
}

/// A clause that says why it is not worse.
pub fn not_worse(comparison: &Comparison) -> String {
    let Comparison { overall, images, .. } = comparison;
    let figures = format!(
        "{} {:.3} against the {:.3} of {} on the same {images} images",
        what(overall, comparison),
        overall.candidate,
        overall.rival,
        rival(comparison)
    );
    if overall.drop() <= overall.limit {
        return figures;
    }
    let (confidence, needed) = (overall.confidence * 100.0, overall.needed * 100.0);
    format!("{figures}: a drop by more than {} is not certain ({confidence:.1} %, {needed:.1} % needed)", overall.limit)
}

fn what(figure: &ComparedFigure, comparison: &Comparison) -> String {
    if !std::ptr::eq(figure, &comparison.overall) {
        format!("AP50-95 of {}", figure.name)
    } else if comparison.new_classes.is_empty() && comparison.gone_classes.is_empty() {
        "mAP50-95".to_owned()
    } else {
        "mAP50-95 over the classes that both know".to_owned()
    }
}

fn rival(comparison: &Comparison) -> String {
    match comparison.role {
        RivalRole::Promoted => comparison.rival.to_string(),
        RivalRole::Best => format!("{} (the best that served lately)", comparison.rival),
    }
}
