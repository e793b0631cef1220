//! An ONNX file as the inferer looks at it before anything native does.
#![no_main]

use edgeloop_model::onnx::inspect_with;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(info) = inspect_with(bytes, 1 << 20) {
        // Whatever it says about itself has a size that somebody may print.
        let _ = info.check_contract();
        assert!(info.metadata.len() <= 1_000 && info.inputs.len() <= 64 && info.outputs.len() <= 64);
    }
});
