//! What the pickle asks to be made: tensors from storages, ordered dicts, and objects as bags of attributes. Each request is
//! recognised by its name and the shape of its arguments; nothing is called for any of them.

use std::rc::Rc;

use super::super::PtError;
use super::super::value::{Global, Object, Recipe, Storage, Value};
use super::Machine;

impl Machine<'_> {
    /// `callee(*arguments)`, for the few callees that are known.
    pub(super) fn reduce(&mut self) -> Result<(), PtError> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let items = self.items(&arguments)?;
        let made = match callee {
            Value::Global(Global::OrderedDict) if items.is_empty() => Value::Dict(self.heap.add(Vec::new())),
            Value::Global(Global::OrderedDict) => return Err(self.error("an ordered dict that is made from something")),
            Value::Global(Global::DefaultDict) => Value::Dict(self.heap.add(Vec::new())),
            Value::Global(Global::RebuildTensor) => Value::Tensor(self.tensor(&arguments)?),
            Value::Global(Global::RebuildParameter) => match items.first() {
                Some(Value::Tensor(recipe)) => Value::Tensor(Rc::clone(recipe)),
                _ => return Err(self.error("a parameter without a tensor")),
            },
            Value::Global(Global::Plain) => Value::Opaque,
            // `copyreg._reconstructor(class, object, None)` makes an object whose attributes follow.
            Value::Global(Global::Reconstructor) => match items {
                [Value::Global(Global::Class(class)), Value::Opaque, Value::None] => {
                    let class = Rc::clone(class);
                    self.object(class)
                }
                _ => return Err(self.error("a reconstruction of something else than an object")),
            },
            // A namespace is made empty and gets its attributes afterwards. With arguments it would be a call.
            Value::Global(Global::Class(class)) if items.is_empty() => self.object(class),
            Value::Global(Global::Class(class)) => return Err(PtError::Foreign(format!("a call of {class}"))),
            other => return Err(self.error(format!("{} is called", other.kind()))),
        };
        self.push(made);
        Ok(())
    }

    /// `class.__new__(class)`: an object without attributes yet.
    pub(super) fn new_object(&mut self) -> Result<(), PtError> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        let Value::Global(Global::Class(class)) = class else {
            return Err(self.error(format!("a new object of {}", class.kind())));
        };
        if !self.items(&arguments)?.is_empty() {
            return Err(PtError::Foreign(format!("a call of {class}")));
        }
        let object = self.object(class);
        self.push(object);
        Ok(())
    }

    fn object(&mut self, class: Rc<str>) -> Value {
        self.heap.objects.push(Object { class, state: None });
        Value::Object(self.heap.objects.len() - 1)
    }

    /// Attributes for the value on the stack. Python would call `__setstate__`; here an object keeps a reference to its
    /// attributes, and containers and place-holders need none of theirs.
    pub(super) fn build(&mut self) -> Result<(), PtError> {
        let state = self.pop()?;
        match *self.top()? {
            Value::Dict(_) | Value::Opaque => Ok(()),
            Value::Object(number) => {
                // (attributes, slots) where a class has slots
                let attributes = match &state {
                    Value::Dict(dict) => Some(*dict),
                    Value::Tuple(_) => {
                        self.items(&state)?.iter().find_map(|item| if let Value::Dict(dict) = item { Some(*dict) } else { None })
                    }
                    _ => None,
                };
                let object = &mut self.heap.objects[number];
                if object.state.is_some() {
                    return Err(self.error("an object gets its attributes twice"));
                }
                object.state = attributes;
                Ok(())
            }
            ref other => {
                let kind = other.kind();
                Err(self.error(format!("{kind} gets attributes")))
            }
        }
    }

    /// `(storage, offset, shape, strides, requires_grad, hooks[, metadata])`
    fn tensor(&self, arguments: &Value) -> Result<Rc<Recipe>, PtError> {
        let [Value::Storage(storage), Value::Int(offset), shape, strides, ..] = self.items(arguments)? else {
            return Err(self.error("a tensor is not made from storage, offset, shape and strides"));
        };
        let sizes = |value: &Value| -> Result<Vec<usize>, PtError> {
            let size = |item: &Value| match item {
                Value::Int(size) => usize::try_from(*size).map_err(|_| self.error("a size below zero")),
                other => Err(self.error(format!("{} as a size", other.kind()))),
            };
            let items = self.items(value)?;
            if items.len() > MAX_DIMS {
                return Err(self.error(format!("a tensor of {} dimensions", items.len())));
            }
            items.iter().map(size).collect()
        };
        let offset = usize::try_from(*offset).map_err(|_| self.error("an offset below zero"))?;
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        Ok(Rc::new(Recipe { storage: Rc::clone(storage), offset, shape, strides }))
    }

    /// `("storage", class, key, device, numbers)`; the device does not matter here.
    pub(super) fn storage(&mut self) -> Result<(), PtError> {
        let id = self.pop()?;
        let storage = match self.items(&id)? {
            [Value::Text(tag), Value::Global(Global::Storage(dtype)), Value::Text(key), Value::Text(_), Value::Int(len)]
                if &**tag == "storage" =>
            {
                let len = usize::try_from(*len).map_err(|_| self.error("a storage of a size below zero"))?;
                Storage { key: Rc::clone(key), dtype: *dtype, len }
            }
            _ => return Err(self.error("a persistent id that is not a storage")),
        };
        self.push(Value::Storage(Rc::new(storage)));
        Ok(())
    }
}

/// Dimensions of a tensor; a convolution's kernel has four.
const MAX_DIMS: usize = 8;
