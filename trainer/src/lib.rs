//! edgeloop-trainer

pub mod export;
pub mod net;
