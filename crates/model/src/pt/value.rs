//! What a pickle can make here: plain data, kept in one heap so that deep nesting cannot overflow the stack when it is
//! dropped, and cycles leak nothing.

use std::rc::Rc;

use super::PtError;
use super::storage::Dtype;

/// A value of the pickle machine. Containers are numbers of the heap, so that copies are cheap and share.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Floats are in no state dict's tensors: kept as a fact only.
    Float,
    Text(Rc<str>),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Global(Global),
    Storage(Rc<Storage>),
    Tensor(Rc<Recipe>),
}

/// What the pickle may refer to by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

/// A raw file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub key: Rc<str>,
    pub dtype: Dtype,
    pub len: usize,
}

/// How a tensor lies in its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    pub storage: Rc<Storage>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float => "a float",
            Value::Text(_) => "text",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dict",
            Value::Global(_) => "a class",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}

/// All containers of a pickle, and what it made in the end.
#[derive(Debug, Default)]
pub(super) struct Heap {
    /// Items of tuples and lists; keys and values of dicts in turn.
    pub containers: Vec<Vec<Value>>,
    pub result: Option<Value>,
}

impl Heap {
    /// A new container, by number.
    pub fn add(&mut self, items: Vec<Value>) -> usize {
        self.containers.push(items);
        self.containers.len() - 1
    }

    /// The entries of the result, which must be a dict from names to tensors.
    pub fn state_dict(&self) -> Result<Vec<(String, Rc<Recipe>)>, PtError> {
        let refuse = |what: String| Err(PtError::NotAStateDict(what));
        let number = match &self.result {
            Some(Value::Dict(number)) => *number,
            Some(other) => return refuse(other.kind().to_owned()),
            None => return refuse("nothing".to_owned()),
        };
        let mut entries: Vec<(String, Rc<Recipe>)> = Vec::new();
        for pair in self.containers[number].chunks_exact(2) {
            match pair {
                [Value::Text(name), Value::Tensor(recipe)] => entries.push((name.to_string(), Rc::clone(recipe))),
                [Value::Text(name), other] => {
                    return refuse(format!("a dict in which {:?} is {}", shorten(name), other.kind()));
                }
                [key, _] => return refuse(format!("a dict with {} as a key", key.kind())),
                _ => {}
            }
        }
        Ok(entries)
    }
}

/// As much of a name from the file as a message should show.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    text.chars().take(SHOWN).collect()
}
