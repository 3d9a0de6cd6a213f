//! Whether parts of a head can be written: filters and other protocols may have put anything there.

use crate::Fields;

use super::name::is_token;

/// Whether names are tokens and values fit into a line.
pub(crate) fn are_sound(fields: &Fields) -> bool {
    is_one_line(fields.block()) && fields.iter().all(|(name, _)| is_token(name))
}

/// Whether the bytes fit into a line: no CR, LF or NUL.
pub(crate) fn is_one_line(bytes: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, bytes).is_none()
}

/// Whether the bytes fit into a line and have no spaces.
pub(crate) fn is_one_word(bytes: &[u8]) -> bool {
    is_one_line(bytes) && memchr::memchr2(b' ', b'\t', bytes).is_none()
}
