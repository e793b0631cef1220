//! edgeloop-trainer: images in, a better model out.
//!
//! ```text
//! data ─► net ─► fit (loss) ─► judge ─► gate ─► export ─► publish
//! ```
//!
//! [`run::run`] is the whole of it, top to bottom. Nothing here serves; the inferer only sees what the store holds.

pub mod commands;
pub mod data;
mod digest;
pub mod eval;
pub mod export;
pub mod fit;
pub mod gate;
pub mod inspect;
pub mod judge;
pub mod loss;
pub mod machine;
pub mod net;
pub mod notify;
pub mod publish;
pub mod replay;
pub mod report;
pub mod run;
pub mod settings;
pub mod start;
pub mod unattended;
