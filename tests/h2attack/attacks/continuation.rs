//! A block of fields that never ends (RFC 9113 §6.10): nothing else may come between its frames, and
//! no request ever comes of it.

use super::{End, Flow, Next, PIECE_BYTES, fill, fixed, flag, frame, hpack, kind};

/// The only stream of the connection.
const STREAM: u32 = 1;
/// A field of five bytes: `x: y`.
const FIELD: &[u8] = b"\0\x01x\x01y";
/// Bytes of a frame of whole fields.
const FIELDS_BYTES: usize = 1024;
/// A value so long that it never ends within a run.
const VALUE_BYTES: u32 = 1 << 30;

/// A request whose fields do not end.
pub(super) fn begin(flow: &mut Flow, out: &mut Vec<u8>) {
    let block = hpack::request(fixed::METHOD_GET, &flow.asked.authority, &flow.asked.path);
    hpack::headers(out, STREAM, End::Nothing, &block);
}

/// The same, in the middle of a value.
pub(super) fn begin_value(flow: &mut Flow, out: &mut Vec<u8>) {
    let mut block = hpack::request(fixed::METHOD_GET, &flow.asked.authority, &flow.asked.path);
    block.extend_from_slice(b"\0\x01x");
    hpack::integer(&mut block, 0, 7, VALUE_BYTES);
    hpack::headers(out, STREAM, End::Nothing, &block);
}

/// Frames without content.
pub(super) fn empty(_: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| frame::frame(out, kind::CONTINUATION, flag::NONE, STREAM, &[]))
}

/// One byte of a field in each frame.
pub(super) fn small(_: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| {
        for byte in FIELD {
            frame::frame(out, kind::CONTINUATION, flag::NONE, STREAM, &[*byte]);
        }
    })
}

/// As much of a value as a frame may hold.
pub(super) fn large(_: &mut Flow, out: &mut Vec<u8>) -> Next {
    let value = [b'a'; frame::PAYLOAD_BYTES_MAX];
    fill(out, |out| frame::frame(out, kind::CONTINUATION, flag::NONE, STREAM, &value))
}

/// Whole fields, each with a name of its own.
pub(super) fn fields(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    let mut block = Vec::with_capacity(PIECE_BYTES);
    fill(out, |out| {
        block.clear();
        while block.len() < FIELDS_BYTES {
            let name = format!("x-{}", flow.random.below(1_000_000));
            hpack::literal(&mut block, name.as_bytes(), b"value");
        }
        frame::frame(out, kind::CONTINUATION, flag::NONE, STREAM, &block);
    })
}
