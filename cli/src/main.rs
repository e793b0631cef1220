//! Doorway of edgeloop.
fn main() {}
