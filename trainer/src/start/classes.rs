//! What can be taken over from weights that know other classes. Classes are matched by name, never by number: number 3 of one
//! list of names is something else in another.

use std::fmt;

use edgeloop_model::{Array, Network, Weights};

use super::Request;

/// What [`take_over`] could use.
#[derive(Debug)]
pub struct Taken {
    /// The network that the weights are for.
    pub network: Network,
    /// A whole set for it.
    pub weights: Weights,
    /// Entries taken from the old one, in whole or in part.
    pub fits: usize,
    /// Entries of the network.
    pub of: usize,
    /// What became of the class branch.
    pub branch: ClassBranch,
}

/// What became of the class branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassBranch {
    /// The same classes in the same order: everything is taken.
    Same,
    /// Some classes are known: the branch is kept as wide as it was, and their rows of its last layer are taken.
    Extended {
        /// Classes whose rows are taken.
        known: usize,
        /// Classes whose rows start anew.
        new: Vec<String>,
        /// Classes that the old weights knew and nobody asks for.
        gone: Vec<String>,
        /// Channels of the branch.
        width: usize,
    },
    /// No class is known by name: the branch is taken, its last layer starts anew.
    LastLayer {
        /// Whether the old weights name their classes at all.
        named: bool,
    },
    /// No class is known by name, and the branch has another width for so many classes: all of it starts anew.
    Whole {
        /// Whether the old weights name their classes at all.
        named: bool,
        /// Channels that it had.
        from: usize,
        /// Channels that it has.
        to: usize,
    },
}

impl fmt::Display for ClassBranch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = |named: &bool| if *named { "none of its classes has a name that is asked for" } else { "it does not name its classes" };
        match self {
            Self::Same => write!(f, "the classes are the same: the whole network is taken"),
            Self::Extended { known, new, gone, width } => {
                write!(f, "{known} classes are known by name and keep what they learnt, in a class branch still {width} wide")?;
                if !new.is_empty() {
                    write!(f, "; new: {}", list(new))?;
                }
                if !gone.is_empty() {
                    write!(f, "; no longer asked for: {}", list(gone))?;
                }
                Ok(())
            }
            Self::LastLayer { named } => {
                write!(f, "{}: the last layer of the class branch starts anew, everything else is taken", why(named))
            }
            Self::Whole { named, from, to } => {
                write!(f, "{}: the class branch starts anew, {to} channels wide instead of {from}, everything else is taken", why(named))
            }
        }
    }
}

/// As many names as a log line holds.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl Taken {
    /// Says what became of the class branch; as a warning where what was learnt about classes is lost for want of names.
    pub(super) fn say(&self) {
        let branch = &self.branch;
        match branch {
            ClassBranch::LastLayer { named: false } | ClassBranch::Whole { named: false, .. } => {
                tracing::warn!("{branch}; name them in the order of the file with INIT_CLASSES to keep what it knows");
            }
            _ => tracing::info!("{branch}"),
        }
    }
}

/// Weights for what is asked for, from those of a network that knew `old_classes` (`None`: nobody knows which).
///
/// Everything but the class branch is copied. With at least one class in common the branch keeps its width and its weights,
/// and its last layer gets a row for each class: the old row where the name is known, a row from the seed where it is not.
/// Without one, the branch is as wide as a new network's; where it was so already, only the last layer starts anew.
///
/// `old` are complete weights of a network of the scale asked for; entries that do not fit start from the seed.
pub fn take_over(old: &Weights, old_classes: Option<&[String]>, request: &Request<'_>) -> Taken {
    let Request { scale, classes, seed } = *request;
    let usual = Network::yolov8(scale, classes.len());
    let old_width = Network::infer(old).map_or(usual.class_width(), |network| network.class_width());
    let known = |name: &String| old_classes.is_some_and(|old| old.contains(name));
    let common = classes.iter().filter(|name| known(name)).count();
    let branch = match old_classes {
        Some(old) if old == classes => ClassBranch::Same,
        Some(old) if common > 0 => ClassBranch::Extended {
            known: common,
            new: classes.iter().filter(|name| !known(name)).cloned().collect(),
            gone: old.iter().filter(|name| !classes.contains(name)).cloned().collect(),
            width: old_width,
        },
        _ if usual.class_width() == old_width => ClassBranch::LastLayer { named: old_classes.is_some() },
        _ => ClassBranch::Whole { named: old_classes.is_some(), from: old_width, to: usual.class_width() },
    };
    let network = if common > 0 { Network::yolov8_with_class_width(scale, classes.len(), old_width) } else { usual };
    let (weights, fits, of) = copy(old, old_classes.unwrap_or_default(), &network, classes, seed);
    Taken { network, weights, fits, of, branch }
}

/// First weights of `network` with what fits of `old` in them; entries that were taken, and all.
fn copy(old: &Weights, old_classes: &[String], network: &Network, classes: &[String], seed: u64) -> (Weights, usize, usize) {
    let mut weights = Weights::init(network, seed);
    let detect = network.detect();
    let last: Vec<String> = detect.classes.iter().map(|[.., last]| format!("{}.", last.name)).collect();
    let (mut fits, mut of) = (0, 0);
    for spec in network.params() {
        of += 1;
        let (Some(from), Some(to)) = (old.get(&spec.name), weights.get_mut(&spec.name)) else { continue };
        let of_last = last.iter().any(|name| spec.name.starts_with(name));
        if of_last {
            fits += usize::from(copy_rows(from, old_classes, to, classes));
        } else if from.shape == to.shape && from.as_f32().is_some() == to.as_f32().is_some() {
            to.clone_from(from);
            fits += 1;
        }
    }
    (weights, fits, of)
}

/// Copies the rows of the classes that both know; false when there are none, or rows have different lengths.
fn copy_rows(from: &Array, from_classes: &[String], to: &mut Array, to_classes: &[String]) -> bool {
    if from.shape.get(1..) != to.shape.get(1..) || from.shape.first() != Some(&from_classes.len()) {
        return false;
    }
    let row = to.len() / to_classes.len().max(1);
    let (Some(source), Some(mut target)) = (from.as_f32(), to.as_f32().map(<[f32]>::to_vec)) else { return false };
    let mut copied = false;
    for (new, name) in to_classes.iter().enumerate() {
        if let Some(old) = from_classes.iter().position(|n| n == name) {
            target[new * row..(new + 1) * row].copy_from_slice(&source[old * row..(old + 1) * row]);
            copied = true;
        }
    }
    *to = Array::f32(to.shape.clone(), target);
    copied
}
