//! A plain reading of SOFA-Bolt v1 and v2 that takes garbage for what it is.
//!
//! | v1 | v2 | bytes | what |
//! |--:|--:|--:|---|
//! | 0 | 0 | 1 | protocol code |
//! | | 1 | 1 | version: 2 may carry a checksum |
//! | 1 | 2 | 1 | type: 0 response, 1 request |
//! | 2 | 3 | 2 | command: 0 heartbeat, 1 request, 2 response |
//! | 4 | 5 | 1 | version of the command, 1 |
//! | 5 | 6 | 4 | id |
//! | 9 | 10 | 1 | serializer |
//! | | 11 | 1 | switch: 1 with a checksum |
//! | 10 | 12 | 4 or 2 | timeout of a request, or status of a response |
//! | 14 or 12 | 16 or 14 | 2, 2, 4 | bytes of class, fields, content; then these, and the checksum |

/// Byte layout of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Protocol code 1.
    V1,
    /// Protocol code 2, version 1, which has no checksum.
    V2,
    /// Protocol code 2, version 2, with a CRC-32 at the end.
    V2Crc,
    /// Protocol code 2, version 2, the checksum switched off.
    V2CrcOff,
}

/// Type and command of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request that is answered.
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

/// A frame at the front of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Byte layout.
    pub(crate) version: Version,
    /// Request, heartbeat or an answer to one.
    pub(crate) kind: Kind,
    /// Its id.
    pub(crate) id: u32,
    /// Responses: 0 is success.
    pub(crate) status: u16,
    /// What follows class and fields.
    pub(crate) content: &'a [u8],
    /// Bytes of the whole frame.
    pub(crate) bytes: usize,
}

/// Input that is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Nobody here sends longer ones.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Reads the frame at the front; `None` if it has not come whole.
pub(crate) fn frame(input: &[u8]) -> Result<Option<Frame<'_>>, Malformed> {
    let mut at = 0;
    let mut take = |count: usize| {
        let bytes = input.get(at..at + count)?;
        at += count;
        Some(bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)))
    };
    macro_rules! next {
        ($count:expr) => {
            match take($count) {
                Some(value) => value,
                None => return Ok(None),
            }
        };
    }
    let layout = match next!(1) {
        1 => 0,
        2 => next!(1),
        _ => return Err(Malformed),
    };
    let kind = match (next!(1), next!(2), next!(1)) {
        (1, 1, 1) => Kind::Request,
        (2, 1, 1) => Kind::Oneway,
        (0, 2, 1) => Kind::Response,
        (1, 0, 1) => Kind::Heartbeat,
        (0, 0, 1) => Kind::HeartbeatAnswer,
        _ => return Err(Malformed),
    };
    let id = next!(4) as u32;
    next!(1);
    let switch = if layout == 0 { 0 } else { next!(1) };
    let version = match (layout, switch) {
        (0, _) => Version::V1,
        (1, 0) => Version::V2,
        (2, 0) => Version::V2CrcOff,
        (2, 1) => Version::V2Crc,
        _ => return Err(Malformed),
    };
    let status = match kind {
        Kind::Response | Kind::HeartbeatAnswer => next!(2) as u16,
        Kind::Request | Kind::Oneway | Kind::Heartbeat => {
            next!(4);
            0
        }
    };
    let before_content = (next!(2) + next!(2)) as usize;
    let content_bytes = next!(4) as usize;
    let content_start = at + before_content;
    let content_end = content_start + content_bytes;
    let is_summed = version == Version::V2Crc;
    let bytes = content_end + if is_summed { 4 } else { 0 };
    if bytes > FRAME_BYTES_MAX {
        return Err(Malformed);
    }
    let Some(whole) = input.get(..bytes) else { return Ok(None) };
    if is_summed && whole[content_end..] != crc32fast::hash(&whole[..content_end]).to_be_bytes() {
        return Err(Malformed);
    }
    let content = &whole[content_start..content_end];
    Ok(Some(Frame { version, kind, id, status, content, bytes }))
}

/// The bytes of a request as SOFA-RPC sends it.
pub(crate) fn request(version: Version, id: u32, content: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in FIELDS {
        for text in [name, value] {
            fields.extend_from_slice(&(text.len() as u32).to_be_bytes());
            fields.extend_from_slice(text.as_bytes());
        }
    }
    let mut bytes = prefix(version, Kind::Request, id);
    bytes.extend_from_slice(&TIMEOUT_MS.to_be_bytes());
    put_rest(version, REQUEST_CLASS, &fields, content, bytes)
}

/// The bytes of the successful answer to a frame, with this content.
pub(crate) fn answer(to: &Frame<'_>, content: &[u8]) -> Vec<u8> {
    let (kind, class) = match to.kind {
        Kind::Heartbeat => (Kind::HeartbeatAnswer, ""),
        _ => (Kind::Response, RESPONSE_CLASS),
    };
    let mut bytes = prefix(to.version, kind, to.id);
    bytes.extend_from_slice(&[0, 0]);
    put_rest(to.version, class, &[], content, bytes)
}

fn prefix(version: Version, kind: Kind, id: u32) -> Vec<u8> {
    let (kind, command) = match kind {
        Kind::Request => (1, 1),
        Kind::Oneway => (2, 1),
        Kind::Response => (0, 2),
        Kind::Heartbeat => (1, 0),
        Kind::HeartbeatAnswer => (0, 0),
    };
    let mut bytes = Vec::with_capacity(512);
    match version {
        Version::V1 => bytes.push(1),
        Version::V2 => bytes.extend_from_slice(&[2, 1]),
        Version::V2Crc | Version::V2CrcOff => bytes.extend_from_slice(&[2, 2]),
    }
    bytes.extend_from_slice(&[kind, 0, command, 1]);
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.push(HESSIAN2);
    match version {
        Version::V1 => {}
        Version::V2 | Version::V2CrcOff => bytes.push(0),
        Version::V2Crc => bytes.push(1),
    }
    bytes
}

/// The lengths, what they are of, and the checksum. All is of this program's own making and short.
fn put_rest(
    version: Version,
    class: &str,
    fields: &[u8],
    content: &[u8],
    mut bytes: Vec<u8>,
) -> Vec<u8> {
    bytes.extend_from_slice(&(class.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&(fields.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&(content.len() as u32).to_be_bytes());
    bytes.extend_from_slice(class.as_bytes());
    bytes.extend_from_slice(fields);
    bytes.extend_from_slice(content);
    if version == Version::V2Crc {
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_be_bytes());
    }
    bytes
}

const SERVICE: &str = "com.example.swap.EchoService:1.0";
const FIELDS: [(&str, &str); 3] = [
    ("sofa_head_target_service", SERVICE),
    ("sofa_head_method_name", "echo"),
    ("service", SERVICE),
];
const REQUEST_CLASS: &str = "com.alipay.sofa.rpc.core.request.SofaRequest";
const RESPONSE_CLASS: &str = "com.alipay.sofa.rpc.core.response.SofaResponse";
const HESSIAN2: u8 = 1;
/// Longer than any request is kept in flight: a caller's own patience is not what is tested.
const TIMEOUT_MS: u32 = 120_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_version_read_back_and_every_part_asks_for_more() {
        for version in [Version::V1, Version::V2, Version::V2Crc, Version::V2CrcOff] {
            let bytes = request(version, 7, b"content");
            let request = frame(&bytes).unwrap().unwrap();
            assert_eq!((request.version, request.kind, request.id), (version, Kind::Request, 7));
            assert_eq!((request.content, request.bytes), (&b"content"[..], bytes.len()));
            for cut in 0..bytes.len() {
                assert_eq!(frame(&bytes[..cut]), Ok(None), "{version:?} cut at {cut}");
            }
            let bytes = answer(&request, b"other");
            let answer = frame(&bytes).unwrap().unwrap();
            assert_eq!((answer.version, answer.kind), (version, Kind::Response));
            assert_eq!((answer.id, answer.status, answer.content), (7, 0, &b"other"[..]));
        }
    }

    #[test]
    fn garbage_and_a_wrong_checksum_are_malformed() {
        assert_eq!(frame(b"GET / HTTP/1.1\r\n\r\n"), Err(Malformed));
        let mut bytes = request(Version::V2Crc, 7, b"content");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(frame(&bytes), Err(Malformed));
    }
}
