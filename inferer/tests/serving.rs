//! The inferer as its users see it: through its ports, its folder and its store, with real engines on a toy model.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "serving/bad_input.rs"]
mod bad_input;
#[path = "serving/chaos.rs"]
mod chaos;
#[path = "serving/drain.rs"]
mod drain;
#[path = "serving/engines.rs"]
mod engines;
#[path = "serving/first_minute.rs"]
mod first_minute;
#[path = "serving/folder.rs"]
mod folder;
#[path = "serving/folders.rs"]
mod folders;
#[path = "serving/hostile.rs"]
mod hostile;
#[path = "serving/mutants.rs"]
mod mutants;
#[path = "serving/mutated.rs"]
mod mutated;
#[path = "serving/options.rs"]
mod options;
#[path = "serving/overload.rs"]
mod overload;
#[path = "serving/program.rs"]
mod program;
#[path = "serving/rights.rs"]
mod rights;
#[path = "serving/slow_clients.rs"]
mod slow_clients;
#[path = "serving/store_faults.rs"]
mod store_faults;
#[path = "serving/support.rs"]
mod support;
#[path = "serving/swap.rs"]
mod swap;
#[path = "serving/wire.rs"]
mod wire;
