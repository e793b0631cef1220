//! An assembler for pickles: what Python's `pickle` would write, and what it would never write.

use std::collections::BTreeMap;

use half::f16;

use edgeloop_model::{Array, Data, Weights};

/// A pickle in the making. Each method pushes one value.
#[derive(Default, Clone)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw((text.len() as u32).to_le_bytes()).raw(text)
    }

    pub fn int(self, value: i32) -> Self {
        self.raw(b"J").raw(value.to_le_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n"))
    }

    /// `callee(*arguments)`, where `arguments` pushes them.
    pub fn call(self, module: &str, name: &str, arguments: impl FnOnce(Self) -> Self) -> Self {
        arguments(self.global(module, name).raw(b"(")).raw(b"tR")
    }

    /// A dict; `entries` pushes keys and values.
    pub fn dict(self, entries: impl FnOnce(Self) -> Self) -> Self {
        entries(self.raw(b"}(")).raw(b"u")
    }

    /// An object of a class with these attributes, as protocol 2 writes it.
    pub fn object(self, module: &str, name: &str, attributes: impl FnOnce(Self) -> Self) -> Self {
        self.global(module, name).raw(b")\x81").dict(attributes).raw(b"b")
    }

    /// A tensor over storage `key` of `numbers` values.
    pub fn tensor(self, class: &str, key: &str, numbers: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Self {
        let list = |pickle: Self, sizes: &[i32]| sizes.iter().fold(pickle.raw(b"("), |pickle, &size| pickle.int(size)).raw(b"t");
        self.call("torch._utils", "_rebuild_tensor_v2", |pickle| {
            let pickle = pickle.raw(b"(").text("storage").global("torch", class).text(key).text("cpu").int(numbers).raw(b"tQ");
            let pickle = list(list(pickle.int(offset), shape), strides);
            pickle.raw(b"\x89").global("collections", "OrderedDict").raw(b")R")
        })
    }

    pub fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// What a module holds: tensors by name, children by name.
#[derive(Default)]
struct Module<'a> {
    own: Vec<(&'a str, usize, &'a Array)>,
    children: BTreeMap<(usize, &'a str), Module<'a>>,
}

/// `weights` as the module tree that they would come from, floats as halves, under the class that checkpoints have.
/// `attributes` pushes more attributes of the outermost module. Also gives the storages by key.
pub fn module_tree(pickle: Pickle, weights: &Weights, attributes: impl FnOnce(Pickle) -> Pickle) -> (Pickle, Vec<Vec<u8>>) {
    let mut root = Module::default();
    for (key, (name, array)) in weights.iter().enumerate() {
        let mut module = &mut root;
        let (path, own) = name.rsplit_once('.').unwrap_or(("", name));
        for part in path.split('.') {
            let next = module.children.len();
            let place = module.children.keys().find(|(_, known)| *known == part).copied().unwrap_or((next, part));
            module = module.children.entry(place).or_default();
        }
        module.own.push((own, key, array));
    }
    (push_module(pickle, &root, ("ultralytics.nn.tasks", "DetectionModel"), &attributes(Pickle::default())), storages(weights))
}

/// `weights` as a dict of tensors, floats as halves, and their storages by key.
pub fn state_dict(pickle: Pickle, weights: &Weights) -> (Pickle, Vec<Vec<u8>>) {
    let entries =
        |pickle| weights.iter().enumerate().fold(pickle, |pickle: Pickle, (key, (name, array))| push_array(pickle.text(name), key, array));
    (pickle.dict(entries), storages(weights))
}

fn storages(weights: &Weights) -> Vec<Vec<u8>> {
    let bytes = |(_, array): (&str, &Array)| match &array.data {
        Data::F32(values) => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        Data::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    weights.iter().map(bytes).collect()
}

fn push_module(pickle: Pickle, module: &Module<'_>, class: (&str, &str), more: &Pickle) -> Pickle {
    let is_buffer = |name: &str| name.starts_with("running") || name.starts_with("num_batches");
    pickle.object(class.0, class.1, |pickle| {
        let pickle = pickle.text("training").raw(b"\x89").text("_parameters").dict(|pickle| {
            let own = module.own.iter().filter(|(name, ..)| !is_buffer(name));
            let pickle = own.fold(pickle, |pickle, (name, key, array)| {
                pickle.text(name).call("torch._utils", "_rebuild_parameter", |pickle| {
                    push_array(pickle, *key, array).raw(b"\x88").global("collections", "OrderedDict").raw(b")R")
                })
            });
            pickle.text("nothing").raw(b"N")
        });
        let pickle = pickle.text("_buffers").call("collections", "OrderedDict", |pickle| pickle).raw(b"(");
        let own = module.own.iter().filter(|(name, ..)| is_buffer(name));
        let pickle = own.fold(pickle, |pickle, (name, key, array)| push_array(pickle.text(name), *key, array)).raw(b"u");
        let pickle = pickle.text("_non_persistent_buffers_set").call("__builtin__", "set", |pickle| pickle.raw(b"]"));
        let pickle = pickle.text("_modules").dict(|pickle| {
            module.children.iter().fold(pickle, |pickle, ((_, name), child)| {
                push_module(pickle.text(name), child, ("torch.nn.modules.container", "Sequential"), &Pickle::default())
            })
        });
        pickle.raw(&more.0)
    })
}

fn push_array(pickle: Pickle, key: usize, array: &Array) -> Pickle {
    let class = if array.as_f32().is_some() { "HalfStorage" } else { "LongStorage" };
    let shape: Vec<i32> = array.shape.iter().map(|&side| side as i32).collect();
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    pickle.tensor(class, &key.to_string(), array.len() as i32, 0, &shape, &strides)
}
