//! edgeloop: the loop on one box. Starts the other components as children, and shows what they do.

pub mod children;
pub mod demo;
pub mod doctor;
pub mod models;
pub mod schedule;
pub mod status;
pub mod up;
