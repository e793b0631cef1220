//! edgeloop-agent: is the gateway reachable from this node? `probe` asks, `verdict` decides (pure), `sink` tells.

pub mod jitter;
pub mod metrics;
pub mod probe;
pub mod run;
pub mod settings;
pub mod sink;
pub mod status;
pub mod verdict;
