//! The tables: text without borders, right for a terminal, a log and `grep`.

use std::fmt::Write as _;
use std::path::Path;

use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, Table};
use edgeloop_store::{Comparison, Forced, GateDecision, Metadata, RivalRole};

use super::view::{Check, Listing};

pub(super) fn listing(listing: &Listing, root: &Path) -> String {
    let Listing { promoted, pointer_error, versions, candidates, broken } = listing;
    let mut text = String::new();
    if versions.is_empty() && candidates.is_empty() {
        text = format!("no versions in {} yet\n", root.display());
    } else {
        let mut table = plain(&["", "version", "no.", "created (UTC)", "mAP50", "mAP50-95", "classes", "input", "size", "parent", "gate"]);
        for metadata in versions.iter().chain(candidates) {
            table.add_row([
                if promoted.as_ref() == Some(&metadata.version) { "*".to_owned() } else { String::new() },
                metadata.version.to_string(),
                metadata.sequence.to_string(),
                time(metadata.created),
                score(metadata.metrics.map50),
                score(metadata.metrics.map50_95),
                metadata.classes.len().to_string(),
                metadata.image_size.to_string(),
                size(metadata.bytes()),
                metadata.training.parent.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                metadata.gate.decision.to_string(),
            ]);
        }
        right(&mut table, &[2, 4, 5, 6, 7, 8]);
        line(&mut text, &table.trim_fmt());
    }
    if let Some(error) = pointer_error {
        line(&mut text, &format!("which one is promoted cannot be told: {error}"));
    }
    for broken in broken {
        line(&mut text, &format!("not usable: {}", broken.error));
    }
    text
}

pub(super) fn version(metadata: &Metadata) -> String {
    let Metadata { dataset, training, metrics, gate, producer, .. } = metadata;
    let mut facts = plain(&[]);
    let mut fact = |name: &str, value: String| {
        facts.add_row([name.to_owned(), value]);
    };
    fact("version", format!("{} (no. {})", metadata.version, metadata.sequence));
    fact("created", format!("{} UTC by {} {} on {}", time(metadata.created), producer.name, producer.version, producer.host));
    fact("network", format!("{}{}, input {} px", metadata.architecture.family, metadata.architecture.scale, metadata.image_size));
    fact("classes", metadata.classes.join(", "));
    fact(
        "data",
        format!(
            "{} images ({} train, {} val), {} boxes; {} unlabelled, {} skipped",
            dataset.images, dataset.train_images, dataset.val_images, dataset.boxes, dataset.unlabelled, dataset.skipped
        ),
    );
    fact("split", dataset.split.clone());
    fact("fingerprint", dataset.fingerprint.clone());
    fact(
        "training",
        format!(
            "{} of {} epochs in {:.0} s on {} ({}), seed {}",
            training.epochs_done, training.epochs, training.seconds, training.device, training.precision, training.seed
        ),
    );
    fact("parent", training.parent.as_ref().map_or_else(|| "none, from scratch".to_owned(), ToString::to_string));
    let replay = |key: &str| training.hyper.get("replay").and_then(|replay| replay.get(key)?.as_u64());
    if let (Some(new), Some(older), Some(replayed)) = (replay("new"), replay("older"), replay("replayed")) {
        fact("learnt from", format!("{new} new images, {replayed} of {older} that its parent had seen"));
    }
    let compared = gate.compared_with.as_ref().map(|version| format!(" (compared with {version})")).unwrap_or_default();
    fact("gate", format!("{}: {}{compared}", gate.decision, gate.reason));
    if let Some(Forced { by, reason }) = &gate.forced {
        fact("", format!("promoted all the same by {by}: {reason}"));
    } else if gate.decision == GateDecision::Rejected {
        fact("", format!("serve it anyway: edgeloop models promote --force {}", metadata.version));
    }

    let mut files = plain(&["file", "size", "SHA-256"]);
    for file in &metadata.files {
        files.add_row([file.name.clone(), size(file.bytes), file.sha256.clone()]);
    }
    right(&mut files, &[1]);

    let mut classes = plain(&["class", "boxes", "mAP50", "mAP50-95", "precision", "recall"]);
    let all = metrics.per_class.iter().map(|class| class.boxes).sum::<u64>();
    let rows = metrics
        .per_class
        .iter()
        .map(|class| (class.name.as_str(), class.boxes, class.map50, class.map50_95, class.precision, class.recall));
    for (name, boxes, map50, map50_95, precision, recall) in
        rows.chain([("all", all, metrics.map50, metrics.map50_95, metrics.precision, metrics.recall)])
    {
        classes.add_row([name.to_owned(), boxes.to_string(), score(map50), score(map50_95), score(precision), score(recall)]);
    }
    right(&mut classes, &[1, 2, 3, 4, 5]);

    let mut text = String::new();
    for table in [facts, files, classes] {
        if !text.is_empty() {
            text.push('\n');
        }
        line(&mut text, &table.trim_fmt());
    }
    gate.comparisons.iter().for_each(|comparison| beside(&mut text, comparison));
    text
}

/// What the gate looked at, for one other model.
fn beside(text: &mut String, comparison: &Comparison) {
    let Comparison { rival, role, images, resamples, overall, per_class, new_classes, gone_classes } = comparison;
    let role = match role {
        RivalRole::Promoted => "which served then",
        RivalRole::Best => "the best of those that had served lately",
    };
    line(text, &format!("\nmAP50-95 beside {rival}, {role}, on the same {images} images ({resamples} resamples)"));
    let mut table = plain(&["class", "boxes", "this", "that", "drop", "limit", "sure", "needed", ""]);
    for figure in std::iter::once(overall).chain(per_class) {
        table.add_row([
            figure.name.clone(),
            figure.boxes.to_string(),
            score(figure.candidate),
            score(figure.rival),
            score(figure.drop()),
            figure.limit.to_string(),
            percent(figure.confidence),
            percent(figure.needed),
            if figure.worse { "worse".to_owned() } else { String::new() },
        ]);
    }
    right(&mut table, &[1, 2, 3, 4, 5, 6, 7]);
    line(text, &table.trim_fmt());
    for (names, why) in [(new_classes, "new, not compared"), (gone_classes, "no labels any more, not compared")] {
        if !names.is_empty() {
            line(text, &format!("{why}: {}", names.join(", ")));
        }
    }
}

pub(super) fn checks(checks: &[Check]) -> String {
    if checks.is_empty() {
        return "no versions to verify\n".to_owned();
    }
    let mut table = plain(&[]);
    for Check { what, error, .. } in checks {
        table.add_row([what.clone(), error.clone().unwrap_or_else(|| "ok".to_owned())]);
    }
    let mut text = String::new();
    line(&mut text, &table.trim_fmt());
    text
}

/// No borders, and as wide as its content: a cut SHA-256 is of no use to anybody.
fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).force_no_tty();
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    table
}

fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn line(text: &mut String, table: &str) {
    // Cells are padded: the blanks at the ends of lines are nobody's.
    for row in table.lines() {
        writeln!(text, "{}", row.trim_end()).expect("writing into a String cannot fail");
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// NaN: not defined, as for a class without boxes.
fn score(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.4}") }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn size(bytes: u64) -> String {
    // Only for reading: the digits that f64 drops are far behind the one that is shown.
    #[allow(clippy::cast_precision_loss)]
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 0.1 { format!("{bytes} B") } else { format!("{mib:.1} MiB") }
}
