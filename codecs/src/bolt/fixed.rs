//! The fixed part of a frame; the tables stand in the module's documentation.

use bytes::BytesMut;
use nom::{Mode, OutputMode, PResult, Parser};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::codec::Fault;
use crate::message::Status;
use crate::rpc::malformed;

/// Version of a frame. Every frame says its own; both may stand on one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// Protocol code 1: without switches.
    #[default]
    V1,
    /// Protocol code 2.
    V2 {
        /// Protocol version, 1 or 2. Only 2 knows the checksum.
        minor: u8,
        /// Switches; bit 0 is [`SWITCH_CRC`], the others mean nothing yet and are kept.
        switches: u8,
    },
}

/// Switch of version 2.2: a CRC-32 ends the frame.
pub const SWITCH_CRC: u8 = 1;

impl Version {
    /// Whether a CRC-32 ends a frame of this version.
    pub fn has_checksum(self) -> bool {
        matches!(self, Self::V2 { minor: 2, switches } if switches & SWITCH_CRC != 0)
    }

    /// The same without a checksum.
    #[must_use]
    pub fn without_checksum(self) -> Self {
        match self {
            Self::V1 => Self::V1,
            Self::V2 { minor, switches } => Self::V2 { minor, switches: switches & !SWITCH_CRC },
        }
    }
}

/// What a frame is, with what only such a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Type 1, command 1: wants an answer.
    Request {
        /// How long the caller waits, in milliseconds; zero and below say nothing.
        timeout_ms: i32,
    },
    /// Type 2, command 1: wants none.
    Oneway {
        /// As in a request; Java sends −1.
        timeout_ms: i32,
    },
    /// Type 0, command 2.
    Response {
        /// See [`super::status`].
        status: u16,
    },
    /// Type 1, command 0.
    Heartbeat {
        /// As in a request; Java sends −1.
        timeout_ms: i32,
    },
    /// Type 0, command 0.
    HeartbeatAnswer {
        /// As in a response.
        status: u16,
    },
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Version of the frame.
    pub version: Version,
    /// What it is.
    pub kind: Kind,
    /// Version of the command, 1 in all known peers; means nothing and is kept.
    pub command_version: u8,
    /// Id of the request; Java counts from 1 and may turn negative.
    pub id: u32,
    /// How class, header and content are serialised: 1 is Hessian2.
    pub codec: u8,
    /// Bytes of the class name, at most 32,767.
    pub class_bytes: u16,
    /// Bytes of the header fields, at most 32,767.
    pub header_bytes: u16,
    /// Bytes of the content, at most 2³¹−1.
    pub content_bytes: u32,
}

impl Fixed {
    /// Reads the fixed part. `None`: more bytes are needed.
    ///
    /// # Errors
    /// An unknown protocol code, type or command, or a length that is negative to Java, which
    /// reads class and header lengths as signed shorts and the content length as a signed int.
    #[inline(always)]
    pub fn read(input: &[u8]) -> Result<Option<Self>, Error> {
        let begun = match input.first() {
            None => return Ok(None),
            Some(1) => first::<V1_BEGIN, _>(input, v1()),
            Some(2) => first::<V2_BEGIN, _>(input, v2()),
            Some(_) => return Err(PROTOCOL_CODE),
        };
        let Some((begin, rest)) = begun else { return Ok(None) };
        let version = match begin.version {
            Version::V2 { minor, .. } if !matches!(minor, 1 | 2) => return Err(PROTOCOL_VERSION),
            version => version,
        };
        let rest = match begin.kind {
            RESPONSE => first::<RESPONSE_REST, _>(rest, end_of_response()),
            REQUEST | ONEWAY => first::<REQUEST_REST, _>(rest, end_of_request()),
            _ => return Err(TYPE),
        };
        let command = begin.command;
        if !matches!(command, COMMAND_HEARTBEAT | COMMAND_REQUEST | COMMAND_RESPONSE) {
            return Err(COMMAND);
        }
        let Some((end, _)) = rest else { return Ok(None) };
        let kind = match (begin.kind, command, end.word) {
            (REQUEST, COMMAND_REQUEST, Word::Timeout(timeout_ms)) => Kind::Request { timeout_ms },
            (ONEWAY, COMMAND_REQUEST, Word::Timeout(timeout_ms)) => Kind::Oneway { timeout_ms },
            (REQUEST, COMMAND_HEARTBEAT, Word::Timeout(timeout_ms)) => {
                Kind::Heartbeat { timeout_ms }
            }
            (_, COMMAND_RESPONSE, Word::Status(status)) => Kind::Response { status },
            (_, COMMAND_HEARTBEAT, Word::Status(status)) => Kind::HeartbeatAnswer { status },
            _ => return Err(TYPE_AND_COMMAND),
        };
        Ok(Some(Self {
            version,
            kind,
            command_version: begin.command_version,
            id: begin.id,
            codec: begin.codec,
            class_bytes: u16::try_from(end.class_bytes).map_err(|_| CLASS_LENGTH)?,
            header_bytes: u16::try_from(end.header_bytes).map_err(|_| HEADER_LENGTH)?,
            content_bytes: u32::try_from(end.content_bytes).map_err(|_| CONTENT_LENGTH)?,
        }))
    }

    /// Bytes of the fixed part itself: 20 and 22 in responses, 22 and 24 in requests.
    pub fn bytes(&self) -> usize {
        let version = match self.version {
            Version::V1 => 0,
            Version::V2 { .. } => 2,
        };
        match self.kind {
            Kind::Request { .. } | Kind::Oneway { .. } | Kind::Heartbeat { .. } => 22 + version,
            Kind::Response { .. } | Kind::HeartbeatAnswer { .. } => 20 + version,
        }
    }

    /// Bytes up to and including the header fields.
    pub fn head_bytes(&self) -> usize {
        self.bytes() + usize::from(self.class_bytes) + usize::from(self.header_bytes)
    }

    /// Appends the fixed part.
    pub fn write(&self, output: &mut BytesMut) {
        let mut buffer = Buffer { bytes: [0; FIXED_BYTES_MAX], len: 0 };
        let (kind, command) = match self.kind {
            Kind::Request { .. } => (REQUEST, COMMAND_REQUEST),
            Kind::Oneway { .. } => (ONEWAY, COMMAND_REQUEST),
            Kind::Response { .. } => (RESPONSE, COMMAND_RESPONSE),
            Kind::Heartbeat { .. } => (REQUEST, COMMAND_HEARTBEAT),
            Kind::HeartbeatAnswer { .. } => (RESPONSE, COMMAND_HEARTBEAT),
        };
        match self.version {
            Version::V1 => buffer.put([1]),
            Version::V2 { minor, .. } => buffer.put([2, minor]),
        }
        buffer.put([kind]);
        buffer.put(command.to_be_bytes());
        buffer.put([self.command_version]);
        buffer.put(self.id.to_be_bytes());
        buffer.put([self.codec]);
        if let Version::V2 { switches, .. } = self.version {
            buffer.put([switches]);
        }
        match self.kind {
            Kind::Request { timeout_ms }
            | Kind::Oneway { timeout_ms }
            | Kind::Heartbeat { timeout_ms } => buffer.put(timeout_ms.to_be_bytes()),
            Kind::Response { status } | Kind::HeartbeatAnswer { status } => {
                buffer.put(status.to_be_bytes());
            }
        }
        buffer.put(self.class_bytes.to_be_bytes());
        buffer.put(self.header_bytes.to_be_bytes());
        buffer.put(self.content_bytes.to_be_bytes());
        output.extend_from_slice(buffer.bytes.get(..buffer.len).unwrap_or_default());
    }
}

/// Where things stand in a head that was read before, to forward it with little changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) is_v2: bool,
    /// The id.
    pub(super) id: usize,
    /// Timeout or status.
    pub(super) word: usize,
    /// The three lengths.
    pub(super) lengths: usize,
    /// The class name.
    pub(super) class: usize,
}

impl Places {
    /// The places in the head of a request, oneway or not.
    #[inline]
    pub(super) fn of_request(head: &[u8]) -> Option<Self> {
        let places = match head {
            [1, REQUEST | ONEWAY, ..] => Self::new(false, 4),
            [2, _, REQUEST | ONEWAY, ..] => Self::new(true, 4),
            _ => return None,
        };
        (head.len() >= places.class).then_some(places)
    }

    /// The places in the head of a response.
    #[inline]
    pub(super) fn of_response(head: &[u8]) -> Option<Self> {
        let places = match head {
            [1, RESPONSE, ..] => Self::new(false, 2),
            [2, _, RESPONSE, ..] => Self::new(true, 2),
            _ => return None,
        };
        (head.len() >= places.class).then_some(places)
    }

    #[inline]
    const fn new(is_v2: bool, word_bytes: usize) -> Self {
        let (id, word) = if is_v2 { (6, 12) } else { (5, 10) };
        let lengths = word + word_bytes;
        Self { is_v2, id, word, lengths, class: lengths + 8 }
    }

    /// The version of the head.
    #[inline]
    pub(super) fn version(&self, head: &[u8]) -> Option<Version> {
        if !self.is_v2 {
            return Some(Version::V1);
        }
        Some(Version::V2 { minor: *head.get(1)?, switches: *head.get(11)? })
    }

    /// Class name and header block of the head.
    #[inline]
    pub(super) fn class_and_block<'a>(&self, head: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let lengths = head.get(self.lengths..)?;
        let class_bytes = u16::from_be_bytes(*lengths.first_chunk()?);
        head.get(self.class..)?.split_at_checked(usize::from(class_bytes))
    }
}

/// What stands before the word that only one direction has.
struct Begin {
    version: Version,
    kind: u8,
    command: u16,
    command_version: u8,
    id: u32,
    codec: u8,
}

/// The rest of the fixed part.
struct Rest {
    word: Word,
    class_bytes: i16,
    header_bytes: i16,
    content_bytes: i32,
}

/// What a request says where a response says its status.
enum Word {
    Timeout(i32),
    Status(u16),
}

/// Bytes of the parts that [`Fixed::read`] takes one after the other.
const V1_BEGIN: usize = 10;
const V2_BEGIN: usize = 12;
const REQUEST_REST: usize = 12;
const RESPONSE_REST: usize = 10;

/// A number, the most significant byte first. Nom's own parsers of numbers loop over the bytes and
/// are called one by one; with these a fixed part becomes a few loads.
struct Number<const N: usize, T>(fn([u8; N]) -> T);

const U8: Number<1, u8> = Number(u8::from_be_bytes);
const U16: Number<2, u16> = Number(u16::from_be_bytes);
const U32: Number<4, u32> = Number(u32::from_be_bytes);
const I16: Number<2, i16> = Number(i16::from_be_bytes);
const I32: Number<4, i32> = Number(i32::from_be_bytes);

impl<'a, const N: usize, T> Parser<&'a [u8]> for Number<N, T> {
    type Output = T;
    type Error = ();

    /// Too few bytes are the only way in which it fails.
    #[inline(always)]
    fn process<M: OutputMode>(&mut self, input: &'a [u8]) -> PResult<M, &'a [u8], T, ()> {
        match input.split_first_chunk() {
            Some((bytes, rest)) => Ok((rest, M::Output::bind(|| (self.0)(*bytes)))),
            None => Err(nom::Err::Error(M::Error::bind(|| ()))),
        }
    }
}

#[inline(always)]
fn v1<'a>() -> impl Parser<&'a [u8], Output = Begin, Error = ()> {
    (U8, U8, U16, U8, U32, U8).map(|(_, kind, command, command_version, id, codec)| Begin {
        version: Version::V1,
        kind,
        command,
        command_version,
        id,
        codec,
    })
}

#[inline(always)]
fn v2<'a>() -> impl Parser<&'a [u8], Output = Begin, Error = ()> {
    (U8, U8, U8, U16, U8, U32, U8, U8).map(
        |(_, minor, kind, command, command_version, id, codec, switches)| Begin {
            version: Version::V2 { minor, switches },
            kind,
            command,
            command_version,
            id,
            codec,
        },
    )
}

#[inline(always)]
fn end_of_request<'a>() -> impl Parser<&'a [u8], Output = Rest, Error = ()> {
    (I32.map(Word::Timeout), I16, I16, I32).map(rest)
}

#[inline(always)]
fn end_of_response<'a>() -> impl Parser<&'a [u8], Output = Rest, Error = ()> {
    (U16.map(Word::Status), I16, I16, I32).map(rest)
}

#[inline(always)]
fn rest((word, class_bytes, header_bytes, content_bytes): (Word, i16, i16, i32)) -> Rest {
    Rest { word, class_bytes, header_bytes, content_bytes }
}

/// Parses the first `N` bytes, if there are so many: one look at the length instead of one for
/// each number. The parser takes them all.
#[inline(always)]
fn first<'a, const N: usize, T>(
    input: &'a [u8],
    mut parser: impl Parser<&'a [u8], Output = T, Error = ()>,
) -> Option<(T, &'a [u8])> {
    let (first, after) = input.split_first_chunk::<N>()?;
    let (_, parsed) = parser.parse(first).ok()?;
    Some((parsed, after))
}

/// Gathers the fixed part, so that it is appended at once.
struct Buffer {
    bytes: [u8; FIXED_BYTES_MAX],
    len: usize,
}

impl Buffer {
    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + N) {
            place.copy_from_slice(&bytes);
            self.len += N;
        }
    }
}

/// Bytes of the longest fixed part, that of a request in version 2.
pub const FIXED_BYTES_MAX: usize = 24;

const RESPONSE: u8 = 0;
pub(super) const REQUEST: u8 = 1;
pub(super) const ONEWAY: u8 = 2;

const COMMAND_HEARTBEAT: u16 = 0;
const COMMAND_REQUEST: u16 = 1;
const COMMAND_RESPONSE: u16 = 2;

const PROTOCOL_CODE: Error = malformed("bolt_protocol_code");
const PROTOCOL_VERSION: Error = malformed("bolt_protocol_version");
const TYPE: Error = malformed("bolt_type");
const TYPE_AND_COMMAND: Error = malformed("bolt_type_and_command");
const CLASS_LENGTH: Error = malformed("bolt_class_length");
const HEADER_LENGTH: Error = malformed("bolt_header_length");
const CONTENT_LENGTH: Error = malformed("bolt_content_length");
const COMMAND: Error = Error::new(Fault::Unsupported, Status::BadRequest, "bolt_command");

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Fixed {
        Fixed {
            version: Version::V1,
            kind: Kind::Request { timeout_ms: 3000 },
            command_version: 1,
            id: 0x0102_0304,
            codec: 1,
            class_bytes: 5,
            header_bytes: 6,
            content_bytes: 7,
        }
    }

    fn written(fixed: &Fixed) -> BytesMut {
        let mut bytes = BytesMut::new();
        fixed.write(&mut bytes);
        bytes
    }

    #[test]
    fn every_kind_in_every_version_is_read_as_it_was_written() {
        let versions = [
            Version::V1,
            Version::V2 { minor: 1, switches: 0 },
            Version::V2 { minor: 2, switches: SWITCH_CRC },
            Version::V2 { minor: 2, switches: 0xfe },
        ];
        let kinds = [
            Kind::Request { timeout_ms: i32::MAX },
            Kind::Oneway { timeout_ms: -1 },
            Kind::Response { status: 18 },
            Kind::Heartbeat { timeout_ms: -1 },
            Kind::HeartbeatAnswer { status: 0 },
        ];
        for version in versions {
            for kind in kinds {
                let fixed = Fixed { version, kind, ..request() };
                let bytes = written(&fixed);
                assert_eq!(bytes.len(), fixed.bytes());
                assert_eq!(Fixed::read(&bytes), Ok(Some(fixed)));
                for cut in 0..bytes.len() {
                    assert_eq!(Fixed::read(&bytes[..cut]), Ok(None));
                }
            }
        }
    }

    #[test]
    fn lengths_that_are_negative_to_java_are_refused() {
        for (at, error) in [(14, CLASS_LENGTH), (16, HEADER_LENGTH), (18, CONTENT_LENGTH)] {
            let mut bytes = written(&request());
            bytes[at] = 0x80;
            assert_eq!(Fixed::read(&bytes), Err(error));
            bytes[at] = 0xff;
            assert_eq!(Fixed::read(&bytes), Err(error));
            bytes[at] = 0x7f;
            assert!(Fixed::read(&bytes).unwrap().is_some());
        }
    }
}
