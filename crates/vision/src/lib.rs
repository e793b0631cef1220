//! edgeloop-vision
