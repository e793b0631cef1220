//! The pickle machine: a stack, a memo, and opcodes that make plain data. Nothing is ever called: `recipes` knows what a few
//! names stand for. Every step makes one value at most, so that the number of steps bounds the memory, and values that are
//! used again are shared, so that a pickle that doubles something twenty times makes twenty values.

mod globals;
mod recipes;

use std::collections::HashMap;
use std::rc::Rc;

use super::PtError;
use super::opcode as op;
use super::value::{Heap, Value};

/// Longest text in a pickle: names of arrays and storages are short, checkpoints carry some notes.
const MAX_TEXT: usize = 64 << 10;
/// Steps of a pickle: about 100 for each tensor of a pickled module (37,500 for scale n, measured). A checkpoint of scale x in
/// the middle of a training, with its average and its optimiser, stays under 400,000. At 100 bytes for a value, its memo and
/// its place this bounds memory to 100 MB.
const MAX_STEPS: usize = 1_000_000;

/// Runs a pickle to its end.
pub(super) fn run(pickle: &[u8]) -> Result<Heap, PtError> {
    let mut machine = Machine { pickle, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), heap: Heap::default() };
    for _ in 0..MAX_STEPS {
        machine.step()?;
        if machine.heap.result.is_some() {
            return Ok(machine.heap);
        }
    }
    Err(machine.error(format!("it takes more than {MAX_STEPS} steps")))
}

struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    heap: Heap,
}

impl Machine<'_> {
    fn step(&mut self) -> Result<(), PtError> {
        let [opcode] = self.take_array()?;
        match opcode {
            op::PROTO => {
                let [version] = self.take_array()?;
                if version > 5 {
                    return Err(self.error(format!("pickle protocol {version} is unknown")));
                }
            }
            op::FRAME => drop(self.take_array::<8>()?),
            op::STOP => self.heap.result = Some(self.pop()?),
            op::MARK => self.marks.push(self.stack.len()),
            op::POP => drop(self.pop()?),
            op::POP_MARK => drop(self.pop_to_mark()?),
            op::DUP => self.push(self.top()?.clone()),
            op::NONE => self.push(Value::None),
            op::NEWTRUE => self.push(Value::Bool(true)),
            op::NEWFALSE => self.push(Value::Bool(false)),
            op::BININT => {
                let value = i32::from_le_bytes(self.take_array()?);
                self.push(Value::Int(value.into()));
            }
            op::BININT1 => {
                let [value] = self.take_array()?;
                self.push(Value::Int(value.into()));
            }
            op::BININT2 => {
                let value = u16::from_le_bytes(self.take_array()?);
                self.push(Value::Int(value.into()));
            }
            op::LONG1 => self.long()?,
            op::BINFLOAT => {
                let _: [u8; 8] = self.take_array()?;
                self.push(Value::Float);
            }
            op::BINUNICODE => {
                let len = u32::from_le_bytes(self.take_array()?);
                self.text(len as usize)?;
            }
            op::SHORT_BINUNICODE => {
                let [len] = self.take_array()?;
                self.text(len.into())?;
            }
            op::EMPTY_TUPLE => self.tuple(0)?,
            op::TUPLE1 => self.tuple(1)?,
            op::TUPLE2 => self.tuple(2)?,
            op::TUPLE3 => self.tuple(3)?,
            op::TUPLE => {
                let items = self.pop_to_mark()?;
                let tuple = Value::Tuple(self.heap.add(items));
                self.push(tuple);
            }
            op::EMPTY_LIST | op::EMPTY_SET => {
                let list = Value::List(self.heap.add(Vec::new()));
                self.push(list);
            }
            op::EMPTY_DICT => self.push_empty_dict(),
            op::APPEND => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            op::APPENDS | op::ADDITEMS => {
                let items = self.pop_to_mark()?;
                self.extend_list(items)?;
            }
            op::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(vec![key, value])?;
            }
            op::SETITEMS => {
                let items = self.pop_to_mark()?;
                self.extend_dict(items)?;
            }
            op::BINPUT => {
                let [slot] = self.take_array()?;
                self.memo.insert(slot.into(), self.top()?.clone());
            }
            op::LONG_BINPUT => {
                let slot = u32::from_le_bytes(self.take_array()?);
                self.memo.insert(slot, self.top()?.clone());
            }
            op::MEMOIZE => {
                let slot = self.memo.len() as u32;
                self.memo.insert(slot, self.top()?.clone());
            }
            op::BINGET => {
                let [slot] = self.take_array()?;
                self.recall(slot.into())?;
            }
            op::LONG_BINGET => {
                let slot = u32::from_le_bytes(self.take_array()?);
                self.recall(slot)?;
            }
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(globals::resolve(&module, &name)?);
            }
            op::STACK_GLOBAL => {
                let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                    return Err(self.error("a name of text is expected"));
                };
                self.push(globals::resolve(&module, &name)?);
            }
            op::REDUCE => self.reduce()?,
            op::NEWOBJ => self.new_object()?,
            op::BUILD => self.build()?,
            op::BINPERSID => self.storage()?,
            other => return Err(self.error(format!("opcode {other:#04x} is not one that weights need"))),
        }
        Ok(())
    }

    fn error(&self, reason: impl Into<String>) -> PtError {
        PtError::Pickle { reason: reason.into(), at: self.at }
    }

    fn take(&mut self, len: usize) -> Result<&[u8], PtError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.pickle.len());
        let end = end.ok_or_else(|| self.error("it ends too early"))?;
        let taken = &self.pickle[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn take_array<const LEN: usize>(&mut self) -> Result<[u8; LEN], PtError> {
        let mut array = [0; LEN];
        array.copy_from_slice(self.take(LEN)?);
        Ok(array)
    }

    fn line(&mut self) -> Result<String, PtError> {
        let rest = &self.pickle[self.at..];
        let end = rest.iter().take(MAX_TEXT).position(|byte| *byte == b'\n');
        let line = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok()).map(str::to_owned);
        let line = line.ok_or_else(|| self.error("a line of text is expected"))?;
        self.at += line.len() + 1;
        Ok(line)
    }

    fn text(&mut self, len: usize) -> Result<(), PtError> {
        if len > MAX_TEXT {
            return Err(self.error(format!("a text of {len} bytes is longer than any name")));
        }
        let text = std::str::from_utf8(self.take(len)?).map(Rc::from);
        let text = text.map_err(|_| self.error("text that is not UTF-8"))?;
        self.push(Value::Text(text));
        Ok(())
    }

    /// An integer of any length, of which 8 bytes are enough for every size.
    fn long(&mut self) -> Result<(), PtError> {
        let [len] = self.take_array()?;
        let bytes = self.take(len.into())?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        if bytes.len() > wide.len() {
            return Err(self.error("an integer of more than 64 bits"));
        }
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn push_empty_dict(&mut self) {
        let dict = Value::Dict(self.heap.add(Vec::new()));
        self.push(dict);
    }

    fn top(&self) -> Result<&Value, PtError> {
        self.stack.last().ok_or_else(|| self.error("the stack is empty"))
    }

    fn pop(&mut self) -> Result<Value, PtError> {
        if self.marks.last().is_some_and(|mark| *mark >= self.stack.len()) {
            return Err(self.error("nothing is left above the mark"));
        }
        self.stack.pop().ok_or_else(|| self.error("the stack is empty"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, PtError> {
        let mark = self.marks.pop().ok_or_else(|| self.error("no mark was set"))?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, len: usize) -> Result<(), PtError> {
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.pop()?);
        }
        items.reverse();
        let tuple = Value::Tuple(self.heap.add(items));
        self.push(tuple);
        Ok(())
    }

    fn extend_list(&mut self, items: Vec<Value>) -> Result<(), PtError> {
        let Value::List(list) = *self.top()? else { return Err(self.error("a list is expected")) };
        self.heap.containers[list].extend(items);
        Ok(())
    }

    fn extend_dict(&mut self, items: Vec<Value>) -> Result<(), PtError> {
        let Value::Dict(dict) = *self.top()? else { return Err(self.error("a dict is expected")) };
        if !items.len().is_multiple_of(2) {
            return Err(self.error("a key without a value"));
        }
        self.heap.containers[dict].extend(items);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), PtError> {
        let value = self.memo.get(&slot).cloned().ok_or_else(|| self.error(format!("memo {slot} was never filled")))?;
        self.push(value);
        Ok(())
    }

    fn items(&self, value: &Value) -> Result<&[Value], PtError> {
        match value {
            Value::Tuple(number) => Ok(&self.heap.containers[*number]),
            other => Err(self.error(format!("a tuple is expected, not {}", other.kind()))),
        }
    }
}
