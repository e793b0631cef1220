//! edgeloop-trainer
