//! What the pickle made, taken as weights: a dict of tensors, one inside another dict, or a tree of modules.

use std::rc::Rc;

use super::tree;
use super::value::{Heap, Recipe, Value, shorten};
use super::{Limits, PtError};

/// Keys under which checkpoints keep weights, best first: the average of a training is what people judge and serve.
const KEYS: [&str; 6] = ["ema", "model", "state_dict", "model_state_dict", "weights", "net"];
/// Bytes of the name of a tensor or a class.
pub(super) const MAX_NAME: usize = 512;
/// Class names that are read.
const MAX_CLASSES: usize = 10_000;

/// In what form a file has its weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A dict from names to tensors: what we write, and what `torch.save(model.state_dict(), path)` writes.
    StateDict,
    /// Such a dict under this key of another one.
    NestedStateDict {
        /// The key.
        key: String,
    },
    /// A whole model, as checkpoints of a training have it.
    ModuleTree {
        /// Where in the outermost dict; empty for a model that was saved by itself.
        key: String,
        /// Class of the model, as `ultralytics.nn.tasks.DetectionModel`. A name, no more.
        class: String,
    },
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StateDict => write!(f, "a plain state dict"),
            Self::NestedStateDict { key } => write!(f, "a state dict under {key:?}"),
            Self::ModuleTree { key, class } if key.is_empty() => write!(f, "a pickled model ({class})"),
            Self::ModuleTree { key, class } => write!(f, "a pickled model ({class}) under {key:?}"),
        }
    }
}

/// Tensors by name, and what else is worth knowing.
pub(super) struct Content {
    pub form: Form,
    pub names: Option<Vec<String>>,
    pub entries: Vec<(String, Rc<Recipe>)>,
}

/// A dict of tensors and nothing else.
pub(super) fn state_dict(heap: &Heap, limits: &Limits) -> Result<Vec<(String, Rc<Recipe>)>, PtError> {
    match heap.result {
        Some(Value::Dict(dict)) => tensors(heap, dict, limits),
        ref other => Err(not_weights(other.as_ref().map_or("nothing", Value::kind))),
    }
}

/// The weights of whatever this is.
pub(super) fn find(heap: &Heap, limits: &Limits) -> Result<Content, PtError> {
    let root = match heap.result {
        Some(Value::Object(object)) => return module(heap, object, "", None, limits),
        Some(Value::Dict(dict)) => dict,
        ref other => return Err(not_weights(other.as_ref().map_or("nothing", Value::kind))),
    };
    let names = heap.lookup(root, "names").and_then(|names| class_names(heap, names));
    for key in KEYS {
        match heap.lookup(root, key) {
            Some(Value::Object(object)) => return module(heap, *object, key, names, limits),
            Some(Value::Dict(dict)) => {
                let entries = tensors(heap, *dict, limits)?;
                return Ok(Content { form: Form::NestedStateDict { key: key.to_owned() }, names, entries });
            }
            _ => {}
        }
    }
    Ok(Content { form: Form::StateDict, names, entries: tensors(heap, root, limits)? })
}

fn module(heap: &Heap, object: usize, key: &str, names: Option<Vec<String>>, limits: &Limits) -> Result<Content, PtError> {
    let entries = tree::flatten(heap, object, limits)?;
    let names = heap.attribute(object, "names").and_then(|names| class_names(heap, names)).or(names);
    let form = Form::ModuleTree { key: key.to_owned(), class: shorten(&heap.objects[object].class) };
    Ok(Content { form, names, entries })
}

fn tensors(heap: &Heap, dict: usize, limits: &Limits) -> Result<Vec<(String, Rc<Recipe>)>, PtError> {
    let count = heap.pairs(dict).count();
    if count > limits.max_tensors {
        return Err(PtError::TooLarge { what: "tensors", found: count, limit: limits.max_tensors });
    }
    let entry = |(key, value): (&Value, &Value)| match (key, value) {
        (Value::Text(name), Value::Tensor(recipe)) if name.len() <= MAX_NAME => Ok((name.to_string(), Rc::clone(recipe))),
        (Value::Text(name), Value::Tensor(_)) => Err(not_weights(&format!("a tensor with a name of {} bytes", name.len()))),
        (Value::Text(name), other) => Err(not_weights(&format!("a dict in which {:?} is {}", shorten(name), other.kind()))),
        (key, _) => Err(not_weights(&format!("a dict with {} as a key", key.kind()))),
    };
    heap.pairs(dict).map(entry).collect()
}

fn not_weights(what: &str) -> PtError {
    PtError::NotAStateDict(what.to_owned())
}

/// `{0: "bolt", 1: "nut"}`, in any order but complete, or a list or tuple. Anything else names no classes.
fn class_names(heap: &Heap, value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::Text(name) if name.len() <= MAX_NAME => Some(name.to_string()),
        _ => None,
    };
    match value {
        Value::List(items) | Value::Tuple(items) => {
            let items = &heap.containers[*items];
            if items.len() > MAX_CLASSES { None } else { items.iter().map(text).collect() }
        }
        Value::Dict(dict) => {
            let count = heap.pairs(*dict).count();
            let mut names = vec![None; if count > MAX_CLASSES { 0 } else { count }];
            for (key, value) in heap.pairs(*dict) {
                let Value::Int(number) = key else { return None };
                *names.get_mut(usize::try_from(*number).ok()?)? = Some(text(value)?);
            }
            names.into_iter().collect()
        }
        _ => None,
    }
}
