//! What a head says of the content (RFC 9110 §6.4, §8.6).

use crate::{Error, Fault, Status};

/// Reads the value of `Content-Length`. RFC 9110 §8.6: digits, and nothing that anyone could read
/// as another number.
///
/// # Errors
/// It is something else, or has more than 63 bits.
pub(crate) fn read_length(digits: &[u8]) -> Result<u64, Error> {
    let has_leading_zero = digits.len() > 1 && digits.starts_with(b"0");
    if digits.is_empty() || has_leading_zero || !digits.iter().all(u8::is_ascii_digit) {
        return Err(LENGTH);
    }
    let length = digits.iter().try_fold(0_u64, |length, byte| {
        length.checked_mul(10)?.checked_add(u64::from(byte.wrapping_sub(b'0')))
    });
    // Beyond 63 bits some readers see a negative number.
    length.filter(|it| i64::try_from(*it).is_ok()).ok_or(LENGTH_OVERFLOW)
}

/// Whether the response to a request (of the method HEAD or not) with this status has content, which
/// may be empty (RFC 9110 §6.4.1).
pub(crate) fn allows_body(is_head: bool, status: u16) -> bool {
    !(is_head || status < 200 || status == 204 || status == 304)
}

const LENGTH: Error = Error::new(Fault::Malformed, Status::BadRequest, "content_length_malformed");
const LENGTH_OVERFLOW: Error =
    Error::new(Fault::Malformed, Status::BadRequest, "content_length_overflow");
