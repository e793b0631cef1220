//! What the API server tells about edgeloop's objects, and what is wrong with them.
//!
//! Everything is read once, by name of pod labels and object names that the chart gives; each check is a pure function of that.

mod nodes;
mod pods;
mod services;
mod snapshot;
mod storage;

use super::finding::Finding;
pub use snapshot::Snapshot;

/// All that can be said about the cluster.
pub fn look(snapshot: &Snapshot) -> Vec<Finding> {
    [nodes::look(snapshot), pods::look(snapshot), storage::look(snapshot), services::look(snapshot)].concat()
}
