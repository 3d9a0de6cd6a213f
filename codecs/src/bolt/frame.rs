//! A frame as a value, for those who want to read and write Bolt and nothing else.

use bytes::BytesMut;

use super::fixed::{Fixed, Kind, Version};
use super::header::{self, Field};
use crate::rpc::malformed;
use crate::{EncodeError, Error};

/// A whole frame, understood. Everything is borrowed from where it was read.
///
/// What [`Frame::parse`] read, [`Frame::write`] writes again byte for byte, except that a null in
/// the header is always written as length −1 and the checksum is computed anew.
///
/// ```
/// use bytes::BytesMut;
/// use hangu_codecs::bolt::{Frame, Header, Kind, Version};
///
/// let heartbeat = Frame {
///     version: Version::V1,
///     kind: Kind::Heartbeat { timeout_ms: -1 },
///     command_version: 1,
///     id: 7,
///     codec: 1,
///     class_name: b"",
///     header: Header::Fields(Vec::new()),
///     content: b"",
/// };
/// let mut bytes = BytesMut::new();
/// heartbeat.write(&mut bytes)?;
/// assert_eq!(Frame::parse(&bytes), Ok(Some((heartbeat, 22))));
/// # Ok::<(), hangu_codecs::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Version of the frame.
    pub version: Version,
    /// What it is.
    pub kind: Kind,
    /// Version of the command, 1 in all known peers.
    pub command_version: u8,
    /// Id of the request, the same in its answer.
    pub id: u32,
    /// How class, header and content are serialised: 1 is Hessian2.
    pub codec: u8,
    /// Name of the class of the content.
    pub class_name: &'a [u8],
    /// The header.
    pub header: Header<'a>,
    /// The content.
    pub content: &'a [u8],
}

/// The header of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header<'a> {
    /// Fields, as SOFA writes them, in their order.
    Fields(Vec<Field<'a>>),
    /// Anything else: its form is that of a serialiser of the application's own.
    Opaque(&'a [u8]),
}

impl<'a> Frame<'a> {
    /// Reads the frame at the front of `input` and says how many bytes it has. `None`: more bytes
    /// are needed. Holds no limit but those of the format; to read from a network use the codec.
    ///
    /// # Errors
    /// The bytes are no frame of Bolt, or the checksum is wrong.
    pub fn parse(input: &'a [u8]) -> Result<Option<(Self, usize)>, Error> {
        let Some(fixed) = Fixed::read(input)? else { return Ok(None) };
        let Some((class_name, header, content, rest)) = split(&fixed, input) else {
            return Ok(None);
        };
        let checked = input.len() - rest.len();
        let bytes = if fixed.version.has_checksum() {
            let Some(stated) = rest.first_chunk::<4>() else { return Ok(None) };
            let content = input.get(..checked).unwrap_or_default();
            if crc32fast::hash(content) != u32::from_be_bytes(*stated) {
                return Err(malformed("wrong_checksum"));
            }
            checked + stated.len()
        } else {
            checked
        };
        let frame = Self {
            version: fixed.version,
            kind: fixed.kind,
            command_version: fixed.command_version,
            id: fixed.id,
            codec: fixed.codec,
            class_name,
            header: Header::read(header),
            content,
        };
        Ok(Some((frame, bytes)))
    }

    /// Appends the frame, its checksum included where its version has one.
    ///
    /// # Errors
    /// [`EncodeError::WrongLength`]: class name, header or content are longer than the format
    /// can say; nothing was written.
    pub fn write(&self, output: &mut BytesMut) -> Result<(), EncodeError> {
        let mut header = Vec::new();
        self.header.write(&mut header);
        let fixed = Fixed {
            version: self.version,
            kind: self.kind,
            command_version: self.command_version,
            id: self.id,
            codec: self.codec,
            class_bytes: short(self.class_name)?,
            header_bytes: short(&header)?,
            content_bytes: i32::try_from(self.content.len())
                .map(i32::cast_unsigned)
                .map_err(|_| EncodeError::WrongLength)?,
        };
        let start = output.len();
        fixed.write(output);
        output.extend_from_slice(self.class_name);
        output.extend_from_slice(&header);
        output.extend_from_slice(self.content);
        if self.version.has_checksum() {
            let checksum = crc32fast::hash(output.get(start..).unwrap_or_default());
            output.extend_from_slice(&checksum.to_be_bytes());
        }
        Ok(())
    }

    /// The value of a header field; where a name stands twice the last one counts.
    pub fn field(&self, name: &[u8]) -> Option<&'a [u8]> {
        let Header::Fields(fields) = &self.header else { return None };
        fields.iter().rev().find(|it| it.name == Some(name) && it.value.is_some())?.value
    }
}

impl<'a> Header<'a> {
    fn read(block: &'a [u8]) -> Self {
        let (mut fields, mut rest) = (Vec::new(), block);
        while !rest.is_empty() {
            let Some((field, after)) = header::field(rest) else { return Self::Opaque(block) };
            fields.push(field);
            rest = after;
        }
        Self::Fields(fields)
    }

    fn write(&self, output: &mut Vec<u8>) {
        match self {
            Self::Opaque(block) => output.extend_from_slice(block),
            Self::Fields(fields) => fields
                .iter()
                .for_each(|field| header::write(*field, |it| output.extend_from_slice(it))),
        }
    }
}

type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8], &'a [u8]);

/// Class name, header, content, and what follows.
fn split<'a>(fixed: &Fixed, input: &'a [u8]) -> Option<Parts<'a>> {
    let rest = input.get(fixed.bytes()..)?;
    let (class_name, rest) = rest.split_at_checked(usize::from(fixed.class_bytes))?;
    let (header, rest) = rest.split_at_checked(usize::from(fixed.header_bytes))?;
    let (content, rest) = rest.split_at_checked(fixed.content_bytes as usize)?;
    Some((class_name, header, content, rest))
}

/// Java reads these lengths as signed shorts.
fn short(bytes: &[u8]) -> Result<u16, EncodeError> {
    i16::try_from(bytes.len()).map(i16::cast_unsigned).map_err(|_| EncodeError::WrongLength)
}
