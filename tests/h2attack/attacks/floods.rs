//! Frames that are allowed one by one and cost the target more than us.

use super::{End, Flow, Next, fill, fixed, flag, frame, hpack, kind, setting, upload};

/// A parameter for every setting that there is, none of which forbids anything.
const PARAMETERS: &[(u16, u32)] = &[
    (setting::HEADER_TABLE_SIZE, 4096),
    (2, 0),
    (setting::MAX_CONCURRENT_STREAMS, 100),
    (setting::INITIAL_WINDOW_SIZE, 65_535),
    (5, 16_384),
    (6, 65_536),
];
/// Streams whose windows change at once.
const STREAMS: usize = 100;
/// Numbers of streams that PRIORITY names.
const PRIORITY_STREAMS: u32 = 1 << 20;

/// Each SETTINGS is to be acknowledged (RFC 9113 §6.5.3).
pub(super) fn settings(_: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| frame::settings(out, PARAMETERS))
}

/// Each SETTINGS changes the windows of all open streams (RFC 9113 §6.9.2), which hold answers
/// larger than them. One more stream is opened with each piece.
pub(super) fn settings_window(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    if flow.open.len() < STREAMS && flow.has_room() {
        let stream = flow.open_stream();
        let path = &flow.asked.large_path;
        let block = hpack::request(fixed::METHOD_GET, &flow.asked.authority, path);
        hpack::headers(out, stream, End::Stream, &block);
    }
    fill(out, |out| {
        frame::settings(out, &[(setting::INITIAL_WINDOW_SIZE, 1)]);
        frame::settings(out, &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    })
}

/// Each PING is to be answered (RFC 9113 §6.7).
pub(super) fn ping(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| {
        let opaque = flow.random.next().to_be_bytes();
        frame::frame(out, kind::PING, flag::NONE, 0, &opaque);
    })
}

/// The least that a window can grow by.
pub(super) fn window_update_connection(_: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| frame::window_update(out, 0, 1))
}

/// The same for a stream that stays open.
pub(super) fn window_update_stream(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    let stream = upload(flow, out);
    fill(out, |out| frame::window_update(out, stream, 1))
}

/// Allowed for streams in any state, and deprecated (RFC 9113 §5.3.2).
pub(super) fn priority(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| {
        let stream = flow.random.below(PRIORITY_STREAMS) * 2 + 1;
        // An even number, so that none depends on itself.
        let mut payload = (flow.random.below(PRIORITY_STREAMS) * 2).to_be_bytes().to_vec();
        payload.push(flow.random.next() as u8);
        frame::frame(out, kind::PRIORITY, flag::NONE, stream, &payload);
    })
}

/// Frames of unknown types are to be ignored (RFC 9113 §4.1).
pub(super) fn unknown(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    fill(out, |out| {
        let length = flow.random.below(64) as usize;
        let kind = 0xb0 + flow.random.below(0x40) as u8;
        let flags = flow.random.next() as u8;
        frame::frame(out, kind, flags, 0, &[0; 64][..length]);
    })
}
