//! A store to try clients on: `random_store FOLDER [VERSIONS]` publishes YOLOv8n with random weights at 320, the last one promoted.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/random_model.rs"]
mod random_model;

use edgeloop_store::Store;

const SIDE: usize = 320;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("random_store FOLDER [VERSIONS]");
    let versions = arguments.next().map_or(2, |number| number.parse().unwrap());
    let store = Store::create(folder).unwrap();
    for seed in 0..versions {
        println!("{}", random_model::publish(&store, SIDE, seed));
    }
}
