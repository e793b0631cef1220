//! The text of a `data.yaml`.
#![no_main]

use edgeloop_fuzz::data::data_yaml::parse;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    let _ = parse(Path::new("data.yaml"), text);
});
