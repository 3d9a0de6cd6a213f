//! The Bolt v1 frames that the bench sends and answers (SOFA-Bolt v1 protocol, header).
//!
//! | offset | request | response |
//! |--:|---|---|
//! | 0 | protocol 1 | protocol 1 |
//! | 1 | type 1, request | type 0, response |
//! | 2 | command: 0 heartbeat, 1 request | command: 0 heartbeat, 2 response |
//! | 4 | command version 1 | command version 1 |
//! | 5 | id, 4 bytes | id, 4 bytes |
//! | 9 | codec 1, Hessian 2 | codec 1 |
//! | 10 | timeout in ms, 4 bytes | status, 2 bytes |
//! | 14 / 12 | class bytes, 2 | class bytes, 2 |
//! | 16 / 14 | field bytes, 2 | field bytes, 2 |
//! | 18 / 16 | content bytes, 4 | content bytes, 4 |
//! | 22 / 20 | class, fields, content | class, fields, content |

/// Bytes before the class of a request.
pub const REQUEST_PREFIX_BYTES: usize = 22;
/// Bytes before the class of a response.
pub const RESPONSE_PREFIX_BYTES: usize = 20;
/// Offset of the id in both.
pub const ID_OFFSET: usize = 5;
/// The longest frame that the bench takes: far above what it sends.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Class of a request's content, as SOFA-RPC sends it.
pub const REQUEST_CLASS: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
/// Class of a response's content, as SOFA-RPC sends it.
pub const RESPONSE_CLASS: &[u8] = b"com.alipay.sofa.rpc.core.response.SofaResponse";
/// The service that the bench calls.
pub const SERVICE: &str = "com.example.bench.HelloService:1.0";

/// The header fields of a SOFA-RPC consumer's call, in the order in which it writes them: with the
/// class and the prefix some 500 bytes of head.
const FIELDS: &[(&str, &str)] = &[
    ("sofa_head_target_service", SERVICE),
    ("app", "bench-consumer"),
    ("rpc_trace_context.sofaRpcId", "0"),
    ("rpc_trace_context.samp", "true"),
    ("rpc_trace_context.sofaTraceId", "7f0000011795355667021102154990"),
    ("rpc_trace_context.sofaPenAttrs", ""),
    ("type", "sync"),
    ("protocol", "bolt"),
    ("rpc_req_baggage.userId", "u-1001"),
    ("service", SERVICE),
    ("rpc_trace_context.sysPenAttrs", ""),
    ("sofa_head_method_name", "sayHello"),
];

const TIMEOUT_MS: u32 = 3000;
const CODEC_HESSIAN2: u8 = 1;
const COMMAND_HEARTBEAT: u16 = 0;
const COMMAND_REQUEST: u16 = 1;
const COMMAND_RESPONSE: u16 = 2;

/// A frame at the front of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Request or response.
    pub kind: Kind,
    /// The id, as on the wire.
    pub id: u32,
    /// The name of the content's class.
    pub class: &'a [u8],
    /// What follows the header fields.
    pub content: &'a [u8],
    /// Bytes of the whole frame.
    pub bytes: usize,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that wants an answer.
    Request,
    /// A request for a sign of life.
    Heartbeat,
    /// An answer.
    Response {
        /// 0 is success.
        status: u16,
    },
    /// An answer to a heartbeat.
    HeartbeatAck,
}

/// Input that is no Bolt v1 frame, or one that the bench never sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Bolt v1 frame")]
pub struct Malformed;

/// Reads the frame at the front of `input`; `None` if it has not come whole.
///
/// # Errors
/// [`Malformed`]: the connection is of no more use.
pub fn frame(input: &[u8]) -> Result<Option<Frame<'_>>, Malformed> {
    let Some(head) = input.first_chunk::<RESPONSE_PREFIX_BYTES>() else { return Ok(None) };
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let kind = match (head[0], head[1], word(2), head[4]) {
        (1, 1, COMMAND_REQUEST, 1) => Kind::Request,
        (1, 1, COMMAND_HEARTBEAT, 1) => Kind::Heartbeat,
        (1, 0, COMMAND_RESPONSE, 1) => Kind::Response { status: word(10) },
        (1, 0, COMMAND_HEARTBEAT, 1) => Kind::HeartbeatAck,
        _ => return Err(Malformed),
    };
    let prefix_bytes = match kind {
        Kind::Request | Kind::Heartbeat => REQUEST_PREFIX_BYTES,
        Kind::Response { .. } | Kind::HeartbeatAck => RESPONSE_PREFIX_BYTES,
    };
    let Some(prefix) = input.get(..prefix_bytes) else { return Ok(None) };
    let lengths = &prefix[prefix_bytes - 8..];
    let class_bytes = usize::from(u16::from_be_bytes([lengths[0], lengths[1]]));
    let field_bytes = usize::from(u16::from_be_bytes([lengths[2], lengths[3]]));
    let content_bytes = u32::from_be_bytes([lengths[4], lengths[5], lengths[6], lengths[7]]);
    let content_start = prefix_bytes + class_bytes + field_bytes;
    let bytes = content_start + content_bytes as usize;
    if bytes > FRAME_BYTES_MAX {
        return Err(Malformed);
    }
    let Some(whole) = input.get(..bytes) else { return Ok(None) };
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let class = &whole[prefix_bytes..prefix_bytes + class_bytes];
    Ok(Some(Frame { kind, id, class, content: &whole[content_start..], bytes }))
}

/// A request with `content`, under id 0.
#[must_use]
pub fn request(content: &[u8]) -> Vec<u8> {
    let fields = fields();
    let mut frame = prefix(1, COMMAND_REQUEST, 0);
    frame.extend_from_slice(&TIMEOUT_MS.to_be_bytes());
    put_lengths(&mut frame, REQUEST_CLASS, &fields, content);
    frame.extend_from_slice(REQUEST_CLASS);
    frame.extend_from_slice(&fields);
    frame.extend_from_slice(content);
    frame
}

/// Appends the answer to a request: status 0, the same id and content.
pub fn put_response(output: &mut Vec<u8>, id: u32, content: &[u8]) {
    put_head(output, COMMAND_RESPONSE, id);
    put_lengths(output, RESPONSE_CLASS, &[], content);
    output.extend_from_slice(RESPONSE_CLASS);
    output.extend_from_slice(content);
}

/// Appends the answer to a heartbeat.
pub fn put_heartbeat_ack(output: &mut Vec<u8>, id: u32) {
    put_head(output, COMMAND_HEARTBEAT, id);
    put_lengths(output, &[], &[], &[]);
}

fn put_head(output: &mut Vec<u8>, command: u16, id: u32) {
    let mut head = [0; 12];
    head[0] = 1;
    head[2..4].copy_from_slice(&command.to_be_bytes());
    head[4] = 1;
    head[ID_OFFSET..ID_OFFSET + 4].copy_from_slice(&id.to_be_bytes());
    head[9] = CODEC_HESSIAN2;
    output.extend_from_slice(&head);
}

fn prefix(kind: u8, command: u16, id: u32) -> Vec<u8> {
    let mut prefix = vec![1, kind];
    prefix.extend_from_slice(&command.to_be_bytes());
    prefix.push(1);
    prefix.extend_from_slice(&id.to_be_bytes());
    prefix.push(CODEC_HESSIAN2);
    prefix
}

fn fields() -> Vec<u8> {
    let mut fields = Vec::new();
    for text in FIELDS.iter().flat_map(|(name, value)| [name, value]) {
        fields.extend_from_slice(&(text.len() as u32).to_be_bytes());
        fields.extend_from_slice(text.as_bytes());
    }
    fields
}

/// The lengths are of the bench's own making and small.
fn put_lengths(output: &mut Vec<u8>, class: &[u8], fields: &[u8], content: &[u8]) {
    output.extend_from_slice(&(class.len() as u16).to_be_bytes());
    output.extend_from_slice(&(fields.len() as u16).to_be_bytes());
    output.extend_from_slice(&(content.len() as u32).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_and_its_head_has_the_size_of_a_real_one() {
        let bytes = request(b"hello");
        let frame = frame(&bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.id, frame.content), (Kind::Request, 0, &b"hello"[..]));
        assert_eq!((frame.class, frame.bytes), (REQUEST_CLASS, bytes.len()));
        assert!((480..=560).contains(&(bytes.len() - 5)), "head of {} bytes", bytes.len() - 5);
    }

    #[test]
    fn a_response_reads_back() {
        let mut bytes = Vec::new();
        put_response(&mut bytes, 77, b"hello");
        let frame = frame(&bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.id), (Kind::Response { status: 0 }, 77));
        assert_eq!((frame.class, frame.content), (RESPONSE_CLASS, &b"hello"[..]));
    }

    #[test]
    fn every_part_of_a_frame_asks_for_more() {
        let bytes = request(b"hello");
        for cut in 0..bytes.len() {
            assert_eq!(frame(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn a_length_over_the_limit_and_a_foreign_byte_are_malformed() {
        let mut bytes = request(b"");
        bytes[18] = 0x7f;
        assert_eq!(frame(&bytes), Err(Malformed));
        assert_eq!(frame(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), Err(Malformed));
    }
}
