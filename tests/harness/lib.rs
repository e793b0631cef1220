//! Starts the built binaries and watches them from outside, as a user would. Nothing here knows how they are made.

mod daemon;
mod http;
mod toy;
mod wait;

pub use daemon::{Daemon, binary, free_port, run_to_end};
pub use http::Http;
pub use toy::{toy_jpeg, write_toy_dataset};
pub use wait::wait_for;
