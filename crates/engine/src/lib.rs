//! edgeloop-engine
