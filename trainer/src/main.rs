//! Doorway of edgeloop-trainer.
fn main() {}
