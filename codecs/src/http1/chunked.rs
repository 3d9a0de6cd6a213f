//! The chunked coding, received (RFC 9112 §7.1). Extensions are checked, bounded and dropped.

use bytes::{Buf, BytesMut};
use memchr::memchr;
use serde::{Deserialize, Serialize};

use crate::http::name::is_token_byte;
use crate::{Error, Fault, Fields, Status};

use super::body::{BODY_TOO_LARGE, Found, take_most};
use super::head;
use super::limits::Limits;
use super::scan::Scan;
use super::state::malformed;

/// A body in chunks, or what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunked {
    step: Step,
    /// Bytes of extensions so far.
    extension_bytes: u32,
    /// Bytes that the body may still grow by.
    room_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    /// A line with the size of the next chunk.
    Size,
    /// The data of a chunk.
    Data { left: u64 },
    /// The line end after the data.
    DataEnd,
    /// Trailers and the last empty line.
    Trailers,
}

impl Chunked {
    /// The beginning of a body of at most that many bytes.
    pub(super) fn new(body_bytes_max: u64) -> Self {
        Self { step: Step::Size, extension_bytes: 0, room_bytes: body_bytes_max }
    }

    /// See [`super::body::Body::read`].
    pub(super) fn read(
        &mut self,
        input: &mut BytesMut,
        scan: &mut Scan,
        trailers: &mut Fields,
        limits: &Limits,
    ) -> Result<Found, Error> {
        loop {
            match &mut self.step {
                Step::Size => {
                    if !self.size(input, limits)? {
                        return Ok(Found::Nothing);
                    }
                }
                Step::Data { .. } if input.is_empty() => return Ok(Found::Nothing),
                Step::Data { left } => {
                    let bytes = take_most(left, input.len());
                    let is_whole = *left == 0;
                    return Ok(self.data(bytes, is_whole, input));
                }
                Step::DataEnd => {
                    let Some(end) = input.get(..2) else { return Ok(Found::Nothing) };
                    if end != b"\r\n" {
                        return Err(DATA_END);
                    }
                    input.advance(2);
                    self.step = Step::Size;
                }
                Step::Trailers => return read_trailers(input, scan, trailers, limits),
            }
        }
    }

    /// Takes a size line; false when it is not there yet.
    fn size(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<bool, Error> {
        let extension_max = limits.chunk_extension_bytes_max.saturating_sub(self.extension_bytes);
        let line_max = usize::from(limits.chunk_size_digits_max)
            .saturating_add(extension_max as usize)
            .saturating_add(2);
        let window = input.get(..line_max.min(input.len())).unwrap_or_default();
        let Some(end) = memchr(b'\n', window) else {
            return if input.len() >= line_max { Err(LINE_TOO_LONG) } else { Ok(false) };
        };
        let line = window.get(..end).and_then(|it| it.strip_suffix(b"\r")).ok_or(LINE_END)?;
        let (size, extension) = parse_size(line, usize::from(limits.chunk_size_digits_max))?;
        check_extension(extension)?;
        let extension_bytes = u32::try_from(extension.len()).unwrap_or(u32::MAX);
        if extension_bytes > extension_max {
            return Err(EXTENSION_TOO_LONG);
        }
        self.extension_bytes = self.extension_bytes.saturating_add(extension_bytes);
        self.room_bytes = self.room_bytes.checked_sub(size).ok_or(BODY_TOO_LARGE)?;
        self.step = if size == 0 { Step::Trailers } else { Step::Data { left: size } };
        input.advance(end.saturating_add(1));
        Ok(true)
    }

    /// Data, together with the framing behind it as far as that is plain to see: most chunks come
    /// whole, and the last one often with the end of the body.
    fn data(&mut self, bytes: usize, is_whole: bool, input: &BytesMut) -> Found {
        if !is_whole {
            return Found::Data { bytes, after: 0, is_end: false };
        }
        let behind = input.get(bytes..).unwrap_or_default();
        if behind.starts_with(b"\r\n0\r\n\r\n") {
            return Found::Data { bytes, after: 7, is_end: true };
        }
        let is_closed = behind.starts_with(b"\r\n");
        self.step = if is_closed { Step::Size } else { Step::DataEnd };
        Found::Data { bytes, after: if is_closed { 2 } else { 0 }, is_end: false }
    }
}

/// The size, and what stands behind its digits.
fn parse_size(line: &[u8], digits_max: usize) -> Result<(u64, &[u8]), Error> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // RFC 9112 §7.1: a recipient must guard against sizes that overflow.
    if digits == 0 || digits > digits_max {
        return Err(SIZE);
    }
    let (digits, extension) = line.split_at_checked(digits).ok_or(SIZE)?;
    let size = digits.iter().try_fold(0_u64, |size, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        size.checked_mul(16)?.checked_add(u64::from(digit))
    });
    // Beyond 63 bits some readers see a negative number.
    let size = size.filter(|it| i64::try_from(*it).is_ok()).ok_or(SIZE)?;
    Ok((size, extension))
}

/// RFC 9112 §7.1.1, without the white space that it calls bad.
fn check_extension(mut rest: &[u8]) -> Result<(), Error> {
    while !rest.is_empty() {
        rest = rest.strip_prefix(b";").and_then(token).ok_or(EXTENSION)?;
        if let Some(value) = rest.strip_prefix(b"=") {
            rest = match value.strip_prefix(b"\"") {
                Some(quoted) => quoted_end(quoted).ok_or(EXTENSION)?,
                None => token(value).ok_or(EXTENSION)?,
            };
        }
    }
    Ok(())
}

/// What stands behind a token.
fn token(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().take_while(|byte| is_token_byte(**byte)).count();
    if length == 0 { None } else { bytes.get(length..) }
}

/// What stands behind the closing quote.
fn quoted_end(bytes: &[u8]) -> Option<&[u8]> {
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            0..=8 | 10..=31 | 127.. => return None,
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return bytes.get(at.saturating_add(1)..),
            _ => {}
        }
    }
    None
}

/// RFC 9112 §7.1.2.
fn read_trailers(
    input: &mut BytesMut,
    scan: &mut Scan,
    trailers: &mut Fields,
    limits: &Limits,
) -> Result<Found, Error> {
    if input.starts_with(b"\r\n") {
        input.advance(2);
        *scan = Scan::default();
        return Ok(Found::End);
    }
    let Some(bytes) = head::section(input, scan, limits.trailer_bytes_max)? else {
        return Ok(Found::Nothing);
    };
    head::read_trailers(input.get(..bytes).unwrap_or_default(), limits, trailers)?;
    input.advance(bytes);
    Ok(if trailers.is_empty() { Found::End } else { Found::Trailers })
}

const SIZE: Error = malformed("chunk_size");
const LINE_END: Error = malformed("chunk_line_end");
const LINE_TOO_LONG: Error = Error::new(Fault::Limit, Status::BadRequest, "chunk_line_too_long");
const EXTENSION: Error = malformed("chunk_extension");
const EXTENSION_TOO_LONG: Error =
    Error::new(Fault::Limit, Status::BadRequest, "chunk_extension_too_long");
const DATA_END: Error = malformed("chunk_data_end");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_hexadecimal_digits_and_nothing_else() {
        assert_eq!(parse_size(b"1aF", 16), Ok((0x1af, &b""[..])));
        assert_eq!(parse_size(b"0000000000000005;a", 16), Ok((5, &b";a"[..])));
        assert_eq!(parse_size(b"7fffffffffffffff", 16), Ok((i64::MAX as u64, &b""[..])));
        for line in ["", "-1", "+1", "0x", " 1", "8000000000000000", "00000000000000005", "g"] {
            let read = parse_size(line.as_bytes(), 16);
            let whole = read.and_then(|(_, rest)| check_extension(rest));
            assert!(whole.is_err(), "{line}");
        }
    }

    #[test]
    fn extensions_follow_the_grammar() {
        for line in ["", ";a", ";a=b", ";a=\"b;c\\\"\"", ";a;b=\"\";c=1"] {
            assert_eq!(check_extension(line.as_bytes()), Ok(()), "{line}");
        }
        for line in
            [" ", ";", ";;", ";a=", ";a =b", " ;a", ";a=\"b", ";a=\"\r\"", ";a\r", ";\0", "a"]
        {
            assert_eq!(check_extension(line.as_bytes()), Err(EXTENSION), "{line:?}");
        }
    }
}
