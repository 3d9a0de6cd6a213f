//! The reader of the first object of a SOFA body: never panics, looks at no more than it says,
//! and more bytes behind never change what was found.
#![no_main]

use hangu_codecs::bolt::CLASS_REQUEST;
use hangu_codecs::hessian2::{BODY_BYTES_MAX, sofa_method};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check(input);
    // And as what stands before the method in a good request.
    let mut body = b"O\xbc".to_vec();
    body.extend_from_slice(CLASS_REQUEST);
    body.extend_from_slice(b"\x92\x01p\x0amethodNameo\x90");
    body.extend_from_slice(input);
    body.extend_from_slice(b"\x05hello");
    check(&body);
});

fn check(body: &[u8]) {
    let Some(method) = sofa_method(body) else { return };
    let end = method.as_ptr() as usize + method.len() - body.as_ptr() as usize;
    assert!(end <= body.len().min(BODY_BYTES_MAX) && !method.is_empty());
    assert_eq!(sofa_method(&body[..end]), Some(method));
    assert_eq!(sofa_method(&body[..end - 1]), None);
}
