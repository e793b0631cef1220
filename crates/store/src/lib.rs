//! edgeloop-store
