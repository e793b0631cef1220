//! The loop on one box: the built binaries, talking through a store and HTTP.

#![allow(clippy::unwrap_used)]

mod handoff;
mod orphans;
mod training;
mod up;
