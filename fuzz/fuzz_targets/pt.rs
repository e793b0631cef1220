//! A `.pt` file: the zip, and the pickle in it. After an odd first byte the rest is a pickle alone and is put into an archive, so
//! that mutations reach the unpickler and are not spent on the zip's checksums.
#![no_main]

use edgeloop_fuzz::archive;
use edgeloop_model::{
    import::import,
    pt::{Limits, read, read_checkpoint},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_bytes: 1 << 20, max_pickle_bytes: 1 << 16, max_tensors: 64, max_values: 1 << 16 };
    match bytes {
        [first, rest @ ..] if first % 2 == 1 => {
            let archive = archive::with_pickle(rest);
            drop(read_checkpoint(&archive, &limits));
            drop(read(&archive, &limits));
        }
        bytes => drop(import(bytes)),
    }
});
