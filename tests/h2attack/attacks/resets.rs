//! Streams that are opened only to be reset, by us or, made to do so, by the target.

use super::{End, Flow, Next, error, fill, fixed, flag, frame, hpack, kind, pass_request};

/// Rapid reset: no stream is open for longer than it takes to read the next frame, so that no limit
/// of open streams is ever reached.
pub(super) fn rapid(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| {
        let stream = pass_request(flow, out);
        frame::reset(out, stream, error::CANCEL);
    })
}

/// A window beyond 2^31-1 is an error of the stream (RFC 9113 §6.9.1).
pub(super) fn window_overflow(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| {
        let stream = pass_request(flow, out);
        frame::window_update(out, stream, 0x7fff_ffff);
    })
}

/// An increment of 0 is an error of the stream (RFC 9113 §6.9).
pub(super) fn zero_increment(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| {
        let stream = pass_request(flow, out);
        frame::window_update(out, stream, 0);
    })
}

/// A stream that depends on itself was an error of the stream (RFC 7540 §5.3.1), and is none any
/// more (RFC 9113 §5.3).
pub(super) fn self_dependency(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| {
        let stream = flow.pass_stream();
        let mut payload = stream.to_be_bytes().to_vec();
        payload.push(0);
        payload.extend(hpack::request(fixed::METHOD_GET, &flow.asked.authority, &flow.asked.path));
        let flags = flag::END_HEADERS | flag::END_STREAM | flag::PRIORITY;
        frame::frame(out, kind::HEADERS, flags, stream, &payload);
    })
}

/// DATA after the end of the request is an error of the stream (RFC 9113 §5.1).
pub(super) fn half_closed(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| {
        let stream = flow.pass_stream();
        let block = hpack::request(fixed::METHOD_POST, &flow.asked.authority, &flow.asked.path);
        hpack::headers(out, stream, End::Stream, &block);
        frame::frame(out, kind::DATA, flag::NONE, stream, b"x");
    })
}
