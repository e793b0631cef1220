//! The store as its users see it: one folder, several processes, some of which die.
#![allow(clippy::unwrap_used, missing_docs)]

mod attempt;
mod child;
mod damage;
mod gate;
mod kill;
mod locks;
mod promote;
mod prune;
mod publish;
mod readonly;
mod schema;
mod shelf;
mod status;
mod stopped;
