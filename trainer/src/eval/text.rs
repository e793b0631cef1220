//! The figures as text.

use std::fmt;

use super::Evaluation;

/// Confusions that the text names.
const SHOWN: usize = 5;

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, engine, imgsz, images, .. } = self;
        writeln!(f, "{model} ({engine}) on {images} val images at {imgsz} px\n")?;
        let wide = self.classes.iter().map(|class| class.name.chars().count()).max().unwrap_or_default().clamp(5, 40);
        writeln!(f, "{:wide$}  {:>7} {:>9} {:>7} {:>7} {:>9}", "class", "boxes", "precision", "recall", "mAP50", "mAP50-95")?;
        let total: u64 = self.classes.iter().map(|class| class.boxes).sum();
        let Self { precision, recall, map50, map50_95, .. } = self;
        writeln!(f, "{:wide$}  {total:>7} {precision:>9.3} {recall:>7.3} {map50:>7.3} {map50_95:>9.3}", "all")?;
        for class in &self.classes {
            let name: String = class.name.chars().take(wide).collect();
            let super::Class { boxes, precision, recall, map50, map50_95, .. } = class;
            if *boxes == 0 {
                writeln!(f, "{name:wide$}  {boxes:>7} {:>9} {:>7} {:>7} {:>9}", "–", "–", "–", "–")?;
            } else {
                writeln!(f, "{name:wide$}  {boxes:>7} {precision:>9.3} {recall:>7.3} {map50:>7.3} {map50_95:>9.3}")?;
            }
        }
        write!(f, "\nprecision and recall at confidence {:.3}, where the mean F1 is highest", self.confidence)?;
        for line in self.confusions() {
            write!(f, "\n{line}")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote: {note}"))
    }
}

impl Evaluation {
    /// What is most often taken for something else, overlooked, or seen where nothing is.
    fn confusions(&self) -> Vec<String> {
        let nothing = self.confusion.classes;
        let name = |class: usize| self.classes.get(class).map_or("background", |class| class.name.as_str());
        let pairs = (0..=nothing).flat_map(|truth| (0..=nothing).map(move |found| (truth, found)));
        let mut wrong: Vec<(u64, usize, usize)> = pairs
            .filter(|(truth, found)| truth != found)
            .map(|(truth, found)| (self.confusion.count(truth, found), truth, found))
            .filter(|(count, ..)| *count > 0)
            .collect();
        wrong.sort_by_key(|&(count, truth, found)| (std::cmp::Reverse(count), truth, found));
        let words = |&(count, truth, found): &(u64, usize, usize)| match (truth, found) {
            (_, found) if found == nothing => format!("{count} × {} overlooked", name(truth)),
            (truth, _) if truth == nothing => format!("{count} × {} where none is labelled", name(found)),
            _ => format!("{count} × {} taken for {}", name(truth), name(found)),
        };
        wrong.iter().take(SHOWN).map(words).collect()
    }
}
