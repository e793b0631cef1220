//! edgeloop-agent
