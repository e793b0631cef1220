//! edgeloop-torch
