//! A second, plain reading of SOFA-Bolt.

use crate::Peer;

/// Byte layout of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Protocol code 1.
    #[default]
    V1,
    /// Protocol code 2, version 1, which has no checksum.
    V2,
    /// Protocol code 2, version 2, with a CRC-32 at the end.
    V2Crc,
    /// Protocol code 2, version 2, the checksum switched off.
    V2CrcOff,
}

/// Type and command of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A request that is answered.
    #[default]
    Request,
    /// A request that is not.
    Oneway,
    /// An answer.
    Response,
    /// A heartbeat.
    Heartbeat,
    /// The answer to one.
    HeartbeatAnswer,
}

/// One frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Byte layout.
    pub version: Version,
    /// Type and command.
    pub kind: Kind,
    /// Request id.
    pub id: u32,
    /// Serializer id; 1 is Hessian 2.
    pub codec: u8,
    /// Requests: milliseconds.
    pub timeout: i32,
    /// Responses: 0 is success.
    pub status: u16,
    /// Class name.
    pub class: Vec<u8>,
    /// Names and values in order.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Content.
    pub content: Vec<u8>,
}

/// Class of SOFA requests.
pub const REQUEST_CLASS: &str = "com.alipay.sofa.rpc.core.request.SofaRequest";
/// Class of SOFA responses.
pub const RESPONSE_CLASS: &str = "com.alipay.sofa.rpc.core.response.SofaResponse";
/// Time that [`request`] lets a caller wait.
pub const TIMEOUT_MS: i32 = 25_000;

/// A request as SOFA-RPC sends it.
pub fn request(id: u32, service: &str, method: &str, content: &[u8]) -> Frame {
    Frame {
        id,
        codec: 1,
        timeout: TIMEOUT_MS,
        class: REQUEST_CLASS.into(),
        fields: vec![
            ("sofa_head_target_service".into(), service.into()),
            ("sofa_head_method_name".into(), method.into()),
            ("service".into(), service.into()),
        ],
        content: content.to_vec(),
        ..Frame::default()
    }
}

impl Frame {
    /// The successful answer to this request, with the same content.
    pub fn echo(&self) -> Self {
        Self {
            kind: match self.kind {
                Kind::Heartbeat => Kind::HeartbeatAnswer,
                _ => Kind::Response,
            },
            timeout: 0,
            class: if self.kind == Kind::Heartbeat { Vec::new() } else { RESPONSE_CLASS.into() },
            fields: Vec::new(),
            ..self.clone()
        }
    }

    /// A heartbeat.
    pub fn heartbeat(id: u32) -> Self {
        Self { kind: Kind::Heartbeat, id, codec: 1, timeout: 1000, ..Self::default() }
    }

    /// With this version.
    #[must_use]
    pub fn version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// The value of the last field of that name.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let found = self.fields.iter().rev().find(|(it, _)| it == name.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, command) = match self.kind {
            Kind::Request => (1, 1),
            Kind::Oneway => (2, 1),
            Kind::Response => (0, 2),
            Kind::Heartbeat => (1, 0),
            Kind::HeartbeatAnswer => (0, 0),
        };
        let mut fields = Vec::new();
        for (name, value) in &self.fields {
            for text in [name, value] {
                fields.extend_from_slice(&(text.len() as u32).to_be_bytes());
                fields.extend_from_slice(text);
            }
        }
        let mut bytes = match self.version {
            Version::V1 => vec![1, kind],
            Version::V2 => vec![2, 1, kind],
            Version::V2Crc | Version::V2CrcOff => vec![2, 2, kind],
        };
        bytes.extend_from_slice(&[0, command, 1]);
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.push(self.codec);
        match self.version {
            Version::V1 => {}
            Version::V2 | Version::V2CrcOff => bytes.push(0),
            Version::V2Crc => bytes.push(1),
        }
        match self.kind {
            Kind::Response | Kind::HeartbeatAnswer => {
                bytes.extend_from_slice(&self.status.to_be_bytes());
            }
            _ => bytes.extend_from_slice(&self.timeout.to_be_bytes()),
        }
        bytes.extend_from_slice(&(self.class.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&(fields.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&(self.content.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&self.class);
        bytes.extend_from_slice(&fields);
        bytes.extend_from_slice(&self.content);
        if self.version == Version::V2Crc {
            let sum = crc32(&bytes);
            bytes.extend_from_slice(&sum.to_be_bytes());
        }
        bytes
    }
}

/// The frame at the front of the bytes and its length; `None` when it is not whole.
///
/// # Panics
/// When it is no frame, or its checksum is wrong.
pub fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let mut reader = Reader { bytes, at: 0 };
    let mut frame = Frame::default();
    let layout = match reader.u8()? {
        1 => Version::V1,
        2 => match reader.u8()? {
            1 => Version::V2,
            2 => Version::V2CrcOff,
            other => panic!("no version of Bolt v2: {other}"),
        },
        other => panic!("no protocol code of Bolt: {other}"),
    };
    let kind = reader.u8()?;
    let command = reader.u16()?;
    frame.kind = match (kind, command) {
        (1, 1) => Kind::Request,
        (2, 1) => Kind::Oneway,
        (0, 2) => Kind::Response,
        (1, 0) => Kind::Heartbeat,
        (0, 0) => Kind::HeartbeatAnswer,
        other => panic!("no type and command of Bolt: {other:?}"),
    };
    assert_eq!(reader.u8()?, 1, "version of the command");
    frame.id = reader.u32()?;
    frame.codec = reader.u8()?;
    let switch = if layout == Version::V1 { 0 } else { reader.u8()? };
    frame.version = match (layout, switch) {
        (Version::V2CrcOff, 1) => Version::V2Crc,
        (layout, 0) => layout,
        other => panic!("no switch: {other:?}"),
    };
    match frame.kind {
        Kind::Response | Kind::HeartbeatAnswer => frame.status = reader.u16()?,
        Kind::Request | Kind::Oneway | Kind::Heartbeat => frame.timeout = reader.u32()? as i32,
    }
    let class_bytes = reader.u16()? as usize;
    let field_bytes = reader.u16()? as usize;
    let content_bytes = reader.u32()? as usize;
    frame.class = reader.take(class_bytes)?.to_vec();
    frame.fields = parse_fields(reader.take(field_bytes)?);
    frame.content = reader.take(content_bytes)?.to_vec();
    if frame.version == Version::V2Crc {
        let expected = crc32(&bytes[..reader.at]);
        assert_eq!(reader.u32()?, expected, "checksum of {frame:?}");
    }
    Some((frame, reader.at))
}

fn parse_fields(block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut reader = Reader { bytes: block, at: 0 };
    let mut fields = Vec::new();
    while reader.at < block.len() {
        let mut text = || {
            let bytes = reader.u32()? as usize;
            Some(reader.take(bytes)?.to_vec())
        };
        let pair = text().and_then(|name| Some((name, text()?)));
        fields.push(pair.unwrap_or_else(|| panic!("fields are cut off: {block:?}")));
    }
    fields
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

/// CRC-32 (IEEE 802.3), bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let mask = (sum & 1).wrapping_neg();
            sum = (sum >> 1) ^ (0xedb8_8320 & mask);
        }
    }
    !sum
}

impl Peer {
    /// The next frame; `None` when the connection ended before it was whole.
    ///
    /// # Panics
    /// When it is none, or its checksum is wrong.
    pub fn try_read_frame(&mut self) -> Option<Frame> {
        self.read_until_some("a frame", parse)
    }

    /// The next frame.
    ///
    /// # Panics
    /// When the connection ended before.
    pub fn read_frame(&mut self) -> Frame {
        self.try_read_frame().expect("a frame, but the connection ended")
    }

    /// Sends a frame.
    pub fn send_frame(&mut self, frame: &Frame) {
        self.send(frame.to_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_as_it_was_written() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        for version in [Version::V1, Version::V2, Version::V2Crc, Version::V2CrcOff] {
            let request = request(7, "a.B:1.0", "m", b"content").version(version);
            for frame in [request.echo(), Frame::heartbeat(1).version(version), request] {
                let bytes = frame.to_bytes();
                assert_eq!(parse(&bytes), Some((frame, bytes.len())));
                assert_eq!(parse(&bytes[..bytes.len() - 1]), None);
            }
        }
    }
}
