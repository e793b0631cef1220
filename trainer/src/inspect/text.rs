//! The findings as text.

use std::{fmt, path::Path};

use super::Inspection;

/// Findings of each kind that the text names; the JSON has more.
const SHOWN: usize = 10;

/// Classes that the text lists.
const CLASSES: usize = 100;

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, labelled, background, unlabelled, train, val, boxes, .. } = self;
        writeln!(
            f,
            "{images} images: {labelled} labelled ({background} background), {unlabelled} without labels, {} unusable",
            self.skipped_count
        )?;
        writeln!(f, "labels: {}", self.labels)?;
        writeln!(f, "split:  {} · train {train} · val {val}", self.split)?;
        writeln!(
            f,
            "boxes:  {boxes}; {:.1} an image, at most {}; cut at the edge {}, without area {}, given twice {}",
            *boxes as f64 / (*labelled).max(1) as f64,
            self.most_boxes,
            self.clipped,
            self.without_area,
            self.repeated_rows
        )?;
        self.classes(f)?;
        self.sizes(f)?;
        self.named(f)?;
        if self.warnings.is_empty() {
            return write!(f, "\nnothing to worry about");
        }
        write!(f, "\nlook at:")?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\n  {warning}"))
    }
}

impl Inspection {
    fn classes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.classes.iter().take(CLASSES).map(|class| class.name.chars().count()).max().unwrap_or_default().clamp(5, 40);
        writeln!(f, "\n{:wide$}  {:>8} {:>8} {:>8} {:>8}", "class", "train", "val", "images", "< 8 px")?;
        for class in self.classes.iter().take(CLASSES) {
            let name: String = class.name.chars().take(wide).collect();
            writeln!(f, "{name:wide$}  {:>8} {:>8} {:>8} {:>8}", class.train_boxes, class.val_boxes, class.images, class.small)?;
        }
        if self.classes.len() > CLASSES {
            writeln!(f, "and {} more (--json has all)", self.classes.len() - CLASSES)?;
        }
        Ok(())
    }

    fn sizes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> =
            self.image_sizes.iter().take(5).map(|size| format!("{} × {} ({})", size.width, size.height, size.images)).collect();
        let more = self.distinct_image_sizes.saturating_sub(sizes.len());
        let more = if more > 0 { format!(" and {more} more sizes") } else { String::new() };
        writeln!(f, "\nimages: {}{more}", sizes.join(", "))?;
        let sizes = &self.box_sizes;
        writeln!(
            f,
            "boxes at IMGSZ {}: median {:.0} px, a tenth under {:.0}, a tenth over {:.0}; {} ({:.0} %) with a side under 8 px",
            self.imgsz,
            sizes.median,
            sizes.p10,
            sizes.p90,
            sizes.small,
            sizes.small as f64 * 100.0 / self.boxes.max(1) as f64
        )
    }

    fn named(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broken: Vec<String> = self
            .broken
            .iter()
            .take(SHOWN)
            .map(|row| match row.line {
                0 => format!("{}: {}", row.file.display(), row.message),
                line => format!("{}:{line}: {}", row.file.display(), row.message),
            })
            .collect();
        block(f, "broken label rows", self.broken_count, &broken)?;
        let skipped: Vec<String> =
            self.skipped.iter().take(SHOWN).map(|image| format!("{}: {}", image.path.display(), image.why)).collect();
        block(f, "unusable images", self.skipped_count, &skipped)?;
        let duplicates = &self.duplicates;
        for (what, count, pairs) in [
            ("images given twice", duplicates.exact, &duplicates.exact_pairs),
            ("near duplicates", duplicates.near, &duplicates.near_pairs),
        ] {
            let words = |path: &Path| path.display().to_string();
            let lines: Vec<String> = pairs
                .iter()
                .take(SHOWN)
                .map(|pair| {
                    let across = if pair.across_sides { "  (one in train, one in val)" } else { "" };
                    format!("{} = {}{across}", words(&pair.second), words(&pair.first))
                })
                .collect();
            block(f, what, count, &lines)?;
        }
        if !duplicates.complete {
            writeln!(f, "\nnot all images were compared for near duplicates: too many look alike")?;
        }
        Ok(())
    }
}

fn block(f: &mut fmt::Formatter<'_>, what: &str, count: usize, lines: &[String]) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    writeln!(f, "\n{what}: {count}")?;
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
    if count > lines.len() { writeln!(f, "  and {} more", count - lines.len()) } else { Ok(()) }
}
