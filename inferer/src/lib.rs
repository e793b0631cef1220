//! edgeloop-inferer: the newest good model in, detections out.
//!
//! ```text
//! MODEL_DIR ─► watch ─► reload (decide ─► load ─► tried by a child ─► engines ─► check) ─► slot ◄─┐ one Arc a request
//!                                                                                            │
//! POST /infer ─► api (admit, read) ─► pipeline (decode ─► engine thread ─► detections) ──────┤
//! IMAGES_DIR  ─► folder (one at a time, after HTTP) ─────────────────────────────────────────┘ ─► JSON lines
//! ```
//!
//! It never moves the store's pointer, never writes there, and never serves a version that did not reproduce the outputs
//! it was published with. A version that cannot be loaded changes nothing but the metrics, the log and `/readyz`.

pub mod api;
pub mod engines;
pub mod folder;
pub mod infer;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod pace;
pub mod pipeline;
pub mod record;
pub mod reload;
pub mod run;
pub mod serve;
pub mod settings;
pub mod slot;
pub mod trial;
pub mod watch;

pub use settings::Settings;
