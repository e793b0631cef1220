//! Which models a candidate has to match: the one that serves, and the best of those that served lately.
//!
//! A hundredth a day would pass the first for ever and add up. But all ten on today's val would cost ten passes, so the record
//! says which one is best: each version was judged beside its predecessor on the same images, and those differences add up.
//! (Recorded figures alone would not do: val grows, and a model judged on last month's easy images would stay «the best».)

use std::collections::HashMap;

use edgeloop_store::{Metadata, RivalRole, Version};

/// How many promoted versions back, the one that serves included.
pub const LINEAGE: usize = 10;

/// The best of what served lately by the record; `None` where that is the one that serves. `lineage`: the promoted version,
/// then what served before it, newest first; more than [`LINEAGE`] are not looked at.
pub fn best(lineage: &[Metadata]) -> Option<&Metadata> {
    let lineage = &lineage[..lineage.len().min(LINEAGE)];
    let (promoted, earlier) = lineage.split_first()?;
    let standing = standings(lineage);
    let of = |metadata: &Metadata| standing.get(&metadata.version).copied().unwrap_or(f64::NEG_INFINITY);
    // Of equals the newest: `max_by` takes the last.
    let best = earlier.iter().rev().max_by(|a, b| of(a).total_cmp(&of(b)))?;
    (of(best) > of(promoted)).then_some(best)
}

/// mAP50-95 of each, made comparable: that of the version it was compared with plus the difference seen then, or its own
/// where it was compared with none of these.
fn standings(lineage: &[Metadata]) -> HashMap<&Version, f64> {
    let mut standings = HashMap::new();
    for metadata in lineage.iter().rev() {
        let mut compared = metadata.gate.comparisons.iter().filter(|comparison| comparison.role == RivalRole::Promoted);
        let chained = compared.find_map(|c| Some(standings.get(&c.rival)? - c.overall.drop()));
        let standing = chained.filter(|figure: &f64| figure.is_finite()).unwrap_or(metadata.metrics.map50_95);
        standings.insert(&metadata.version, if standing.is_finite() { standing } else { f64::NEG_INFINITY });
    }
    standings
}
