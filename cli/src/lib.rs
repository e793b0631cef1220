//! edgeloop
