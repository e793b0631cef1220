//! edgeloop-agent: is the gateway reachable from this node? `probe` asks, `verdict` decides (pure), `sink` tells.
//!
//! In a cluster there is a second half, off the node: `reap` turns a node offline that cannot say so itself, and `uninstall` removes
//! what both have left. `cluster` is what they share.

pub mod cluster;
pub mod jitter;
pub mod metrics;
pub mod probe;
pub mod reap;
pub mod run;
pub mod settings;
pub mod sink;
pub mod status;
pub mod uninstall;
pub mod verdict;
