//! edgeloop-service
