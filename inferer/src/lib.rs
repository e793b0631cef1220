//! edgeloop-inferer
