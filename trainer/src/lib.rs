//! edgeloop-trainer

pub mod data;
pub mod export;
pub mod fit;
pub mod gate;
pub mod judge;
pub mod loss;
pub mod machine;
pub mod net;
pub mod settings;
