//! The loop shown from beginning to end on made data.

pub mod scene;
