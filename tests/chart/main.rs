//! The Helm chart: what is generated from its values, what it renders, what it refuses, and what a real API server says to it.
//!
//! Without `EDGELOOP_TEST_CHART` only that runs which needs neither Helm nor a cluster (`make test`); with it all does (`make test-chart`).
//! `UPDATE=1` writes the generated files instead of comparing them (`scripts/chart generate`).
#![allow(clippy::unwrap_used)]

mod annotated;
mod generated;
mod refused;
mod rendered;
mod server;
mod settings;
mod tools;
