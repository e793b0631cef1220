//! The trainer as a process: what it publishes, how it ends, what it tells, what it leaves behind.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod bad_data;
mod disk;
mod kill;
mod left_alone;
mod notify;
mod support;
mod training;
