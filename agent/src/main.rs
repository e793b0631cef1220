//! Doorway of edgeloop-agent.
fn main() {}
