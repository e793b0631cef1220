//! edgeloop-model
