//! A picture file, whole and reduced. Whatever the bytes, what comes out has the size that the header announced, and no more
//! memory is taken than the limits allow (libFuzzer watches that).
#![no_main]

use edgeloop_vision::decode::{Limits, decode, decode_reduced, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_bytes: 1 << 20, max_pixels: 1 << 20 };
    let announced = header(bytes);
    if let Ok(image) = decode(bytes, &limits) {
        let header = announced.as_ref().expect("what can be decoded has a header");
        assert!(image.is_whole() && (image.width, image.height) == (header.width, header.height), "{image:?} {header:?}");
    }
    if let Ok(reduced) = decode_reduced(bytes, &limits, |width, height| (width.min(64), height.min(64))) {
        let header = announced.expect("what can be decoded has a header");
        assert_eq!((reduced.width, reduced.height), (header.width, header.height));
        assert!(reduced.image.is_whole());
    }
});
