//! What one request wants otherwise than the settings: thresholds, classes, number, time. The same names in JSON, in the query
//! string and as fields of a multipart body; where two say something, the body counts.

use std::sync::Arc;
use std::time::Duration;

use edgeloop_store::Metadata;
use serde::{Deserialize, Deserializer, de};

use super::error::ApiError;
use crate::infer::Rules;

/// Most detections that a request may ask for, where the setting does not allow more: at confidence 0 every anchor is a
/// candidate, and each is compared with all that are kept. 8,400 × 1,000 comparisons take some 10 ms.
const MOST_DETECTIONS: usize = 1000;
/// Most entries of `classes`.
const MOST_CLASSES: usize = 1024;
/// Longest deadline that a request may set.
const LONGEST: f64 = 600_000.0;
/// As much of the class names is shown to somebody who asked for another one.
const NAMES_SHOWN: usize = 400;

/// A class as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Its index, a JSON number.
    Index(u64),
    /// Its name, a JSON string.
    Name(String),
    /// Text of a query string or a form field: a name, or else names and indices with commas between.
    Text(String),
}

/// A request's own wishes; what is `None` is left to the model and the settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Detections below this score are left out, whatever their class.
    pub confidence: Option<f32>,
    /// Of two boxes of one class that overlap by more than this the weaker is left out.
    pub iou: Option<f32>,
    /// Only these classes.
    pub classes: Option<Vec<Class>>,
    /// At most so many detections.
    pub max_detections: Option<u64>,
    /// From the request's arrival to the answer.
    pub timeout: Option<Duration>,
}

impl Options {
    /// Reads a query string. Parameters that are none of ours are left alone: a proxy may have added them.
    ///
    /// # Errors
    /// 400 for a value that makes no sense.
    pub fn from_query(query: Option<&str>) -> Result<Self, ApiError> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            options.field(&name, &value)?;
        }
        Ok(options)
    }

    /// Takes a field of text; one that is none of ours changes nothing.
    ///
    /// # Errors
    /// 400 for a value that makes no sense.
    pub fn field(&mut self, name: &str, value: &str) -> Result<(), ApiError> {
        let number = || value.trim().parse::<f64>().map_err(|_| bad(format!("{name} is {value:?}, expected a number")));
        match name {
            "confidence" => self.confidence = Some(share(name, number()?)?),
            "iou" => self.iou = Some(share(name, number()?)?),
            "max_detections" => {
                let number = value.trim().parse().map_err(|_| bad(format!("{name} is {value:?}, expected a whole number from 1")))?;
                self.max_detections = Some(number);
            }
            "timeout_ms" => self.timeout = Some(timeout(number()?)?),
            "classes" => {
                let classes = self.classes.get_or_insert_default();
                if classes.len() >= MOST_CLASSES {
                    return Err(bad(format!("classes has more than {MOST_CLASSES} entries")));
                }
                classes.push(Class::Text(value.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    /// These wishes, and `other`'s where there is none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            confidence: self.confidence.or(other.confidence),
            iou: self.iou.or(other.iou),
            classes: self.classes.or(other.classes),
            max_detections: self.max_detections.or(other.max_detections),
            timeout: self.timeout.or(other.timeout),
        }
    }

    /// The rules for one image: the request's wishes, then the thresholds kept with the model, then the settings.
    ///
    /// # Errors
    /// 400 for a class that the model does not have and for more detections than may be asked for.
    pub fn rules(&self, settings: &Rules, model: &Metadata) -> Result<Rules, ApiError> {
        let mut rules = settings.clone();
        let nms = &mut rules.nms;
        nms.iou = self.iou.unwrap_or(nms.iou);
        if let Some(wanted) = self.max_detections {
            let most = nms.max_detections.max(MOST_DETECTIONS);
            nms.max_detections = usize::try_from(wanted)
                .ok()
                .filter(|wanted| (1..=most).contains(wanted))
                .ok_or_else(|| bad(format!("max_detections is {wanted}, expected 1 to {most}")))?;
        }
        let kept = kept_thresholds(model).filter(|_| self.confidence.is_none());
        nms.confidence = self.confidence.unwrap_or(nms.confidence);
        let mut floors = kept.map(|kept| kept.into_iter().map(|floor| floor.unwrap_or(nms.confidence)).collect::<Vec<_>>());
        if let Some(classes) = &self.classes {
            let chosen = chosen(classes, &model.classes)?;
            let floors = floors.get_or_insert_with(|| vec![nms.confidence; model.classes.len()]);
            floors.iter_mut().zip(chosen).filter(|(_, chosen)| !chosen).for_each(|(floor, _)| *floor = f32::INFINITY);
        }
        if let Some(floors) = floors {
            nms.confidence = floors.iter().copied().fold(f32::INFINITY, f32::min).min(1.0);
            rules.floors = Some(Arc::from(floors));
        }
        Ok(rules)
    }
}

/// Thresholds kept with the model, by class; `None` when it has none.
fn kept_thresholds(model: &Metadata) -> Option<Vec<Option<f32>>> {
    let per_class = &model.metrics.per_class;
    if per_class.iter().all(|class| class.threshold.is_none()) {
        return None;
    }
    let of = |name: &String| per_class.iter().find(|class| class.name == *name).and_then(|class| class.threshold);
    // What is no share means nothing; the metadata's schema refuses it, a foreign publisher may not.
    let sound = |threshold: f64| (0.0..=1.0).contains(&threshold).then_some(threshold as f32);
    Some(model.classes.iter().map(|name| of(name).and_then(sound)).collect())
}

/// Which of the model's classes are wanted.
fn chosen(wanted: &[Class], names: &[String]) -> Result<Vec<bool>, ApiError> {
    let mut chosen = vec![false; names.len()];
    let unknown = |class: &str| {
        let mut all = names.join(", ");
        if let Some((cut, _)) = all.char_indices().nth(NAMES_SHOWN) {
            all.truncate(cut);
            all.push('…');
        }
        let shown: String = class.chars().take(80).collect();
        ApiError::bad_request("unknown_class", format!("the model has no class {shown:?}; it has {all}"))
    };
    let index = |index: u64| usize::try_from(index).ok().filter(|index| *index < names.len());
    let named = |name: &str| names.iter().position(|known| known == name);
    for class in wanted {
        match class {
            Class::Index(number) => chosen[index(*number).ok_or_else(|| unknown(&number.to_string()))?] = true,
            Class::Name(name) => chosen[named(name).ok_or_else(|| unknown(name))?] = true,
            Class::Text(text) => match named(text.trim()) {
                Some(at) => chosen[at] = true,
                None => {
                    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                        let found = named(part).or_else(|| part.parse().ok().and_then(index));
                        chosen[found.ok_or_else(|| unknown(part))?] = true;
                    }
                }
            },
        }
    }
    if chosen.contains(&true) { Ok(chosen) } else { Err(bad("classes is empty; name one, or leave it out for all".into())) }
}

fn bad(message: String) -> ApiError {
    ApiError::bad_request("bad_option", message)
}

pub(super) fn share(name: &str, value: f64) -> Result<f32, ApiError> {
    if (0.0..=1.0).contains(&value) { Ok(value as f32) } else { Err(bad(format!("{name} is {value}, expected a share from 0 to 1"))) }
}

pub(super) fn timeout(ms: f64) -> Result<Duration, ApiError> {
    if (1.0..=LONGEST).contains(&ms) {
        Ok(Duration::from_secs_f64(ms / 1e3))
    } else {
        Err(bad(format!("timeout_ms is {ms}, expected 1 to {LONGEST}")))
    }
}

/// What the message of a bad option in JSON begins with.
pub(super) const BAD_OPTION: &str = "bad option: ";

/// Deserializes an option, so that its errors can be told from those of the image.
pub(super) fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer).map_err(|error| de::Error::custom(format_args!("{BAD_OPTION}{error}")))
}

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Class;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a class name or index")
            }

            fn visit_u64<E>(self, index: u64) -> Result<Class, E> {
                Ok(Class::Index(index))
            }

            fn visit_str<E>(self, name: &str) -> Result<Class, E> {
                Ok(Class::Name(name.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A list that is refused when it is longer than [`MOST_CLASSES`]: twenty megabytes of `1,1,1` must not become ten million values.
#[derive(Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = List<T>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(out, "a list of at most {MOST_CLASSES} entries")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut entries: A) -> Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = entries.next_element()? {
                    if list.len() == MOST_CLASSES {
                        return Err(de::Error::invalid_length(MOST_CLASSES + 1, &self));
                    }
                    list.push(entry);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Visitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests;
