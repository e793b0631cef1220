//! A safetensors file. What is read must be written and read again as the same.
#![no_main]

use edgeloop_model::safetensors::{read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(weights) = read(bytes) {
        let again = write(&weights, &[]).expect("what was read can be written");
        assert_eq!(read(&again).expect("what was written can be read").len(), weights.len());
    }
});
