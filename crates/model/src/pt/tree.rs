//! A tree of pickled modules as the state dict that PyTorch would give for it: a module's own parameters, its buffers, then its
//! children, names joined by dots.

use std::rc::Rc;

use super::content::MAX_NAME;
use super::value::{Heap, Recipe, Value, shorten};
use super::{Limits, PtError};

/// Modules inside modules. A detector has seven levels.
const MAX_DEPTH: usize = 32;
/// Entries of dicts that are looked at. A module that is its own grandchild twice over has endless paths: their number is
/// what must be bounded, not that of modules. A detector of scale x needs 20,000.
const MAX_VISITS: usize = 2_000_000;

/// Every tensor below `root` by name.
pub(super) fn flatten(heap: &Heap, root: usize, limits: &Limits) -> Result<Vec<(String, Rc<Recipe>)>, PtError> {
    let mut walker = Walker { heap, limit: limits.max_tensors, visits: MAX_VISITS, entries: Vec::new() };
    walker.module(root, "", 0)?;
    Ok(walker.entries)
}

struct Walker<'a> {
    heap: &'a Heap,
    limit: usize,
    visits: usize,
    entries: Vec<(String, Rc<Recipe>)>,
}

impl<'a> Walker<'a> {
    fn module(&mut self, object: usize, prefix: &str, depth: usize) -> Result<(), PtError> {
        if depth > MAX_DEPTH {
            return Err(PtError::TooLarge { what: "modules inside modules", found: depth, limit: MAX_DEPTH });
        }
        let heap = self.heap;
        let class = &heap.objects[object].class;
        let Some(state) = heap.objects[object].state else {
            return Err(PtError::NotAStateDict(format!("an object of {} without attributes", shorten(class))));
        };
        self.spend(heap.pairs(state).count())?;
        let part = |name: &str| match heap.lookup(state, name) {
            Some(Value::Dict(dict)) => Ok(*dict),
            _ => Err(PtError::NotAStateDict(format!("an object of {}, which is no module: it has no {name}", shorten(class)))),
        };
        for part in [part("_parameters")?, part("_buffers")?] {
            for (key, value) in self.named(part)? {
                match value {
                    Value::Tensor(recipe) => self.add(join(prefix, key)?, recipe)?,
                    Value::None => {}
                    other => return Err(PtError::NotAStateDict(format!("a module whose {:?} is {}", shorten(key), other.kind()))),
                }
            }
        }
        for (key, value) in self.named(part("_modules")?)? {
            match value {
                Value::Object(child) => self.module(*child, &join(prefix, key)?, depth + 1)?,
                Value::None => {}
                other => return Err(PtError::NotAStateDict(format!("a module with {} as a part", other.kind()))),
            }
        }
        Ok(())
    }

    /// The named entries of a dict.
    fn named(&mut self, dict: usize) -> Result<impl Iterator<Item = (&'a str, &'a Value)> + use<'a>, PtError> {
        self.spend(self.heap.pairs(dict).count())?;
        Ok(self.heap.pairs(dict).filter_map(|(key, value)| if let Value::Text(name) = key { Some((&**name, value)) } else { None }))
    }

    fn spend(&mut self, entries: usize) -> Result<(), PtError> {
        self.visits = self.visits.checked_sub(entries + 1).ok_or(PtError::TooLarge {
            what: "parts of modules",
            found: MAX_VISITS + 1,
            limit: MAX_VISITS,
        })?;
        Ok(())
    }

    fn add(&mut self, name: String, recipe: &Rc<Recipe>) -> Result<(), PtError> {
        if self.entries.len() >= self.limit {
            return Err(PtError::TooLarge { what: "tensors", found: self.limit + 1, limit: self.limit });
        }
        self.entries.push((name, Rc::clone(recipe)));
        Ok(())
    }
}

fn join(prefix: &str, name: &str) -> Result<String, PtError> {
    let len = prefix.len() + 1 + name.len();
    if len > MAX_NAME {
        return Err(PtError::TooLarge { what: "bytes of a tensor's name", found: len, limit: MAX_NAME });
    }
    Ok(if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") })
}
