//! The Bolt upstream of the demo: answers every request with its own content.
//!
//! It reads and writes the frames itself, from the table below alone, so that the gateway's codec
//! is not its own judge.
//!
//! | bytes v1 | bytes v2 | what |
//! |---|---|---|
//! | 1 | 1 | protocol: 1 or 2 |
//! | - | 1 | protocol version: 2 means that a CRC may follow |
//! | 1 | 1 | type: 0 response, 1 request, 2 oneway |
//! | 2 | 2 | command: 0 heartbeat, 1 request, 2 response |
//! | 1 | 1 | command version |
//! | 4 | 4 | id |
//! | 1 | 1 | codec |
//! | - | 1 | switches: bit 0 says that a CRC-32 of the frame follows it |
//! | 4 or 2 | 4 or 2 | request: timeout in ms; response: status |
//! | 2, 2, 4 | 2, 2, 4 | lengths of class, header and content, which follow |

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a frame; far above what the gateway lets through.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// The class that SOFA-RPC consumers expect in an answer.
const RESPONSE_CLASS: &[u8] = b"com.alipay.sofa.rpc.core.response.SofaResponse";

/// Answers the requests of one connection; all that one read brought in one write.
pub(super) async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut input = BytesMut::new();
    let mut output = BytesMut::new();
    loop {
        input.reserve(READ_BYTES);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while let Some(bytes) = answer_one(&input, &mut output)? {
            input.advance(bytes);
        }
        stream.write_all(&output).await?;
        output.clear();
    }
}

/// What stands in the fixed part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fixed {
    is_v2: bool,
    protocol_version: u8,
    kind: u8,
    command: u16,
    command_version: u8,
    id: u32,
    codec: u8,
    switches: u8,
    /// Bytes before the content.
    content_at: usize,
    content_bytes: usize,
    has_crc: bool,
}

const KIND_ONEWAY: u8 = 2;
const KIND_RESPONSE: u8 = 0;
const COMMAND_HEARTBEAT: u16 = 0;
const COMMAND_REQUEST: u16 = 1;
const COMMAND_RESPONSE: u16 = 2;
const CRC_BYTES: usize = 4;

/// Answers the frame at the front of the input; gives its bytes, `None` when it is not whole.
fn answer_one(input: &[u8], output: &mut BytesMut) -> io::Result<Option<usize>> {
    let Some(fixed) = read_fixed(input)? else { return Ok(None) };
    let content_end = fixed.content_at + fixed.content_bytes;
    let frame_bytes = content_end + if fixed.has_crc { CRC_BYTES } else { 0 };
    let Some(frame) = input.get(..frame_bytes) else { return Ok(None) };
    let (signed, mut crc) = frame.split_at(content_end);
    if fixed.has_crc && crc.get_u32() != checksum(signed) {
        return Err(invalid("the checksum is wrong"));
    }
    match (fixed.command, fixed.kind) {
        (COMMAND_REQUEST, KIND_ONEWAY) => {}
        (COMMAND_REQUEST, _) => {
            let content = &signed[fixed.content_at..];
            write_response(fixed, COMMAND_RESPONSE, RESPONSE_CLASS, content, output);
        }
        (COMMAND_HEARTBEAT, _) => write_response(fixed, COMMAND_HEARTBEAT, b"", b"", output),
        _ => return Err(invalid("neither a request nor a heartbeat")),
    }
    Ok(Some(frame_bytes))
}

fn read_fixed(input: &[u8]) -> io::Result<Option<Fixed>> {
    let is_v2 = match input.first() {
        None => return Ok(None),
        Some(1) => false,
        Some(2) => true,
        Some(_) => return Err(invalid("neither Bolt v1 nor v2")),
    };
    let fixed_bytes = if is_v2 { 24 } else { 22 };
    let Some(mut rest) = input.get(1..fixed_bytes) else { return Ok(None) };
    let protocol_version = if is_v2 { rest.get_u8() } else { 1 };
    let kind = rest.get_u8();
    let command = rest.get_u16();
    let command_version = rest.get_u8();
    let id = rest.get_u32();
    let codec = rest.get_u8();
    let switches = if is_v2 { rest.get_u8() } else { 0 };
    let _timeout_ms = rest.get_u32();
    let class_bytes = usize::from(rest.get_u16());
    let header_bytes = usize::from(rest.get_u16());
    let content_bytes = rest.get_u32() as usize;
    if kind == KIND_RESPONSE || content_bytes > FRAME_BYTES_MAX {
        return Err(invalid("no request, or one that is too large"));
    }
    Ok(Some(Fixed {
        is_v2,
        protocol_version,
        kind,
        command,
        command_version,
        id,
        codec,
        switches,
        content_at: fixed_bytes + class_bytes + header_bytes,
        content_bytes,
        has_crc: is_v2 && protocol_version == 2 && switches & 1 == 1,
    }))
}

fn write_response(
    request: Fixed,
    command: u16,
    class: &'static [u8],
    content: &[u8],
    output: &mut BytesMut,
) {
    let begin = output.len();
    output.put_u8(if request.is_v2 { 2 } else { 1 });
    if request.is_v2 {
        output.put_u8(request.protocol_version);
    }
    output.put_u8(KIND_RESPONSE);
    output.put_u16(command);
    output.put_u8(request.command_version);
    output.put_u32(request.id);
    output.put_u8(request.codec);
    if request.is_v2 {
        output.put_u8(request.switches);
    }
    let (status, header_bytes) = (0, 0);
    output.put_u16(status);
    output.put_u16(class.len() as u16);
    output.put_u16(header_bytes);
    output.put_u32(content.len() as u32);
    output.put_slice(class);
    output.put_slice(content);
    if request.has_crc {
        let crc = checksum(&output[begin..]);
        output.put_u32(crc);
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request as its bytes, after the table above.
    fn request(is_v2: bool, kind: u8, command: u16, with_crc: bool, content: &[u8]) -> Vec<u8> {
        let mut frame = vec![if is_v2 { 2 } else { 1 }];
        if is_v2 {
            frame.push(2);
        }
        frame.push(kind);
        frame.extend(command.to_be_bytes());
        frame.extend([1, 0x12, 0x34, 0x56, 0x78, 11]);
        if is_v2 {
            frame.push(u8::from(with_crc));
        }
        frame.extend(3000_u32.to_be_bytes());
        frame.extend([0, 1, 0, 2]);
        frame.extend((content.len() as u32).to_be_bytes());
        frame.extend(b"Chh");
        frame.extend(content);
        if with_crc {
            frame.extend(crc32fast::hash(&frame).to_be_bytes());
        }
        frame
    }

    #[test]
    fn a_v1_request_gets_its_content_back_under_its_id_and_codec() {
        let frame = request(false, 1, 1, false, b"content");
        let mut output = BytesMut::new();
        assert_eq!(answer_one(&frame, &mut output).unwrap(), Some(frame.len()));
        let mut expected = vec![1, 0, 0, 2, 1, 0x12, 0x34, 0x56, 0x78, 11, 0, 0];
        expected.extend((RESPONSE_CLASS.len() as u16).to_be_bytes());
        expected.extend([0, 0, 0, 0, 0, 7]);
        expected.extend(RESPONSE_CLASS);
        expected.extend(b"content");
        assert_eq!(output, expected);
    }

    #[test]
    fn a_v2_request_with_a_checksum_gets_an_answer_with_one() {
        let frame = request(true, 1, 1, true, b"content");
        let mut output = BytesMut::new();
        assert_eq!(answer_one(&frame, &mut output).unwrap(), Some(frame.len()));
        let (signed, crc) = output.split_at(output.len() - 4);
        assert_eq!(crc, crc32fast::hash(signed).to_be_bytes());
        assert_eq!(signed[..2], [2, 2]);
        assert!(signed.ends_with(b"content"));
    }

    #[test]
    fn a_wrong_checksum_is_an_error() {
        let mut frame = request(true, 1, 1, true, b"content");
        *frame.last_mut().unwrap() ^= 1;
        assert!(answer_one(&frame, &mut BytesMut::new()).is_err());
    }

    #[test]
    fn a_oneway_request_gets_no_answer_and_a_heartbeat_an_empty_one() {
        let mut output = BytesMut::new();
        let oneway = request(false, 2, 1, false, b"content");
        assert_eq!(answer_one(&oneway, &mut output).unwrap(), Some(oneway.len()));
        assert!(output.is_empty());
        let heartbeat = request(false, 1, 0, false, b"");
        answer_one(&heartbeat, &mut output).unwrap();
        assert_eq!(
            output[..],
            [1, 0, 0, 0, 1, 0x12, 0x34, 0x56, 0x78, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_frame_that_is_cut_anywhere_is_waited_for() {
        let frame = request(true, 1, 1, true, b"content");
        for at in 0..frame.len() {
            let mut output = BytesMut::new();
            assert_eq!(answer_one(&frame[..at], &mut output).unwrap(), None, "cut at {at}");
            assert!(output.is_empty());
        }
    }

    #[test]
    fn responses_unknown_commands_and_foreign_bytes_are_errors() {
        for frame in [
            request(false, 0, 2, false, b""),
            request(false, 1, 100, false, b""),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ] {
            assert!(answer_one(&frame, &mut BytesMut::new()).is_err(), "{frame:?}");
        }
    }
}
