//! Doorway of edgeloop-inferer.
fn main() {}
