//! What a pickle can make here: plain data, kept in one heap so that deep nesting cannot overflow the stack when it is
//! dropped, and cycles leak nothing.

use std::rc::Rc;

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
    /// A number of the heap's objects.
    Object(usize),
    /// Something that no weights depend on; only that it was there is kept.
    Opaque,
    Global(Global),
    Storage(Rc<Storage>),
    Tensor(Rc<Recipe>),
}

/// What the pickle may refer to by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    DefaultDict,
    /// A class of a module tree, of which objects may be made.
    Class(Rc<str>),
    /// Its result is [`Value::Opaque`].
    Plain,
    Reconstructor,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

/// An object as a bag of attributes.
#[derive(Debug)]
pub(super) struct Object {
    /// Its class, as `torch.nn.modules.conv.Conv2d`.
    pub class: Rc<str>,
    /// Its attributes: a dict of the heap.
    pub state: Option<usize>,
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
            Value::Object(_) => "an object",
            Value::Opaque => "a value that is not a tensor",
            Value::Global(_) => "a class",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}

/// All containers and objects of a pickle, and what it made in the end.
#[derive(Debug, Default)]
pub(super) struct Heap {
    /// Items of tuples and lists; keys and values of dicts in turn.
    pub containers: Vec<Vec<Value>>,
    pub objects: Vec<Object>,
    pub result: Option<Value>,
}

impl Heap {
    /// A new container, by number.
    pub fn add(&mut self, items: Vec<Value>) -> usize {
        self.containers.push(items);
        self.containers.len() - 1
    }

    /// Keys and values of a dict in order.
    pub fn pairs(&self, dict: usize) -> impl Iterator<Item = (&Value, &Value)> {
        self.containers[dict].as_chunks::<2>().0.iter().map(|[key, value]| (key, value))
    }

    /// The value of a text key; of the last one where it is there twice, as in Python.
    pub fn lookup(&self, dict: usize, key: &str) -> Option<&Value> {
        self.pairs(dict).filter(|(found, _)| matches!(found, Value::Text(text) if &**text == key)).last().map(|(_, value)| value)
    }

    /// An attribute of an object.
    pub fn attribute(&self, object: usize, name: &str) -> Option<&Value> {
        self.lookup(self.objects[object].state?, name)
    }
}

/// As much of a name from the file as a message should show.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    text.chars().take(SHOWN).collect()
}
