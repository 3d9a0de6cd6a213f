//! The limits of HTTP/1.1 and the switches of its leniencies.

use serde::{Deserialize, Serialize};

/// Limits of HTTP/1.1, each with its default and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request or response head, its last empty line included. Passed: 431, or 414
    /// while the request line has not ended. 64 KiB: what most servers take at the utmost.
    pub head_bytes_max: u32,
    /// Fields of a head or of trailers, at most [`FIELDS_CEILING`]. Passed: 431. 100: as in most
    /// servers; real requests carry some 30.
    pub fields_max: u16,
    /// Bytes of a method. Passed: 501. 24: the longest registered one has 17.
    pub method_bytes_max: u8,
    /// Bytes of a request target. Passed: 414. 8 KiB: RFC 9112 §3 asks for at least 8,000.
    pub target_bytes_max: u32,
    /// Options in the `Connection` fields of a head together. Passed: 431. 16: each unknown one
    /// costs a walk over the fields, and real heads carry one or two.
    pub connection_options_max: u8,
    /// Bytes of the body of a request (server role). Passed: 413. Unlimited: bodies are streamed,
    /// so their length costs no memory.
    pub body_bytes_max: u64,
    /// Bytes of all chunk extensions of a body together. Passed: 400. 4 KiB: they are dropped, and
    /// one byte of data per large extension would be work for nothing.
    pub chunk_extension_bytes_max: u32,
    /// Digits of a chunk size, leading zeros included. Passed: 400. 16: as many as 64 bits have.
    pub chunk_size_digits_max: u8,
    /// Bytes of a trailer section. Passed: 431. 8 KiB: trailers carry a checksum or a status.
    pub trailer_bytes_max: u32,
    /// Informational responses (1xx) before a response. Passed: 502. 16: more is a loop.
    pub informational_max: u8,
    /// Empty lines before a request line, which are dropped. Passed: 400. None: RFC 9112 §2.2
    /// allows them for clients of the last century, and they hide a second request.
    pub empty_lines_max: u8,
    /// Bytes of a request body that are read and dropped after the response to it has ended, so
    /// that the connection can be kept. Passed: the connection ends. 64 KiB: costs about as much
    /// as a new connection.
    pub discard_bytes_max: u32,
    /// What is read although it could be refused.
    pub lenient: Lenient,
}

/// What is read although it could be refused: one switch each, all off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lenient {
    /// `Content-Length` repeated, or as a list, with equal numbers (RFC 9110 §8.6).
    pub equal_content_lengths: bool,
    /// A target in absolute form (or of CONNECT) beside a `Host` that names another authority:
    /// the target wins (RFC 9112 §3.2.2).
    pub other_host_in_target: bool,
    /// Bytes above 0x7f in a request target, as far as they are UTF-8.
    pub target_above_ascii: bool,
    /// Folded field lines in a response: a fold counts as spaces (RFC 9112 §5.2).
    pub response_folds: bool,
    /// Spaces between name and colon in a response: they are dropped (RFC 9112 §5.1).
    pub response_space_before_colon: bool,
}

/// The most fields that [`Limits::fields_max`] can allow: they are found in an array on the stack.
pub const FIELDS_CEILING: usize = 256;

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 64 * 1024,
            fields_max: 100,
            method_bytes_max: 24,
            target_bytes_max: 8 * 1024,
            connection_options_max: 16,
            body_bytes_max: u64::MAX,
            chunk_extension_bytes_max: 4 * 1024,
            chunk_size_digits_max: 16,
            trailer_bytes_max: 8 * 1024,
            informational_max: 16,
            empty_lines_max: 0,
            discard_bytes_max: 64 * 1024,
            lenient: Lenient::default(),
        }
    }
}

impl Limits {
    /// Fields that a head may have.
    pub(super) fn fields(&self) -> usize {
        usize::from(self.fields_max).min(FIELDS_CEILING)
    }

    /// Bytes of a request line without its line end: method, target, `HTTP/1.1`, two spaces.
    pub(super) fn request_line_bytes_max(&self) -> usize {
        usize::from(self.method_bytes_max)
            .saturating_add(self.target_bytes_max as usize)
            .saturating_add(10)
    }
}
