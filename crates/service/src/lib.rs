//! What every edgeloop process does alike, and only this: logs, signals, the admin port, cgroup limits, exit codes, build facts.
//!
//! Nothing here knows models, stores or gateways. A second process must need it before something moves in.

pub mod admin;
pub mod build;
pub mod exit;
pub mod limits;
pub mod logs;
pub mod shutdown;
