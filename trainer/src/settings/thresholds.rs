//! Confidences that serving cuts single classes off at. They are kept with the model, so that they change with it.

use std::str::FromStr;

use edgeloop_store::Metrics;

/// `bolt=0.4,nut=0.3`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClassThresholds(Vec<(String, f64)>);

impl FromStr for ClassThresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all: Vec<(String, f64)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.rsplit_once('=').ok_or_else(|| format!("{part:?} is not CLASS=CONFIDENCE, as in bolt=0.4"))?;
            let (name, value) = (name.trim(), value.trim());
            let value =
                value.parse().ok().filter(|v| (0.0..=1.0).contains(v)).ok_or_else(|| format!("{value:?} for {name} is not 0 to 1"))?;
            if all.iter().any(|(known, _)| known == name) {
                return Err(format!("{name} is there twice"));
            }
            all.push((name.to_owned(), value));
        }
        Ok(Self(all))
    }
}

impl ClassThresholds {
    /// Whether every class is one of `classes`.
    ///
    /// # Errors
    /// The one that is not, and those that there are.
    pub fn check(&self, classes: &[String]) -> Result<(), String> {
        match self.0.iter().find(|(name, _)| !classes.contains(name)) {
            None => Ok(()),
            Some((name, _)) => Err(format!("CLASS_THRESHOLDS names {name:?}, the images have: {}", classes.join(", "))),
        }
    }

    /// Puts them down beside each class's figures.
    pub fn keep(&self, metrics: &mut Metrics) {
        for class in &mut metrics.per_class {
            class.threshold = self.0.iter().find(|(name, _)| *name == class.name).map(|(_, value)| *value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn they_are_put_down_beside_their_classes() {
        let thresholds: ClassThresholds = "nut = 0.3, hex=bolt=1".parse().unwrap();
        let class = |name: &str| edgeloop_store::ClassMetrics { name: name.into(), ..Default::default() };
        let mut metrics = Metrics { per_class: vec![class("hex=bolt"), class("washer"), class("nut")], ..Metrics::default() };
        thresholds.keep(&mut metrics);
        assert_eq!(metrics.per_class.iter().map(|c| c.threshold).collect::<Vec<_>>(), [Some(1.0), None, Some(0.3)]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        for (text, says) in [("bolt", "CLASS=CONFIDENCE"), ("bolt=1.5", "0 to 1"), ("bolt=NaN", "0 to 1"), ("a=0,a=1", "twice")] {
            let error = text.parse::<ClassThresholds>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let thresholds: ClassThresholds = "blot=0.4".parse().unwrap();
        let error = thresholds.check(&["bolt".into(), "nut".into()]).unwrap_err();
        assert!(error.contains("\"blot\"") && error.contains("bolt, nut"), "{error}");
        assert_eq!("".parse::<ClassThresholds>().unwrap().check(&[]), Ok(()));
    }
}
