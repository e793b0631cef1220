//! edgeloop-trainer

pub mod export;
pub mod net;
pub mod data;
pub mod judge;
