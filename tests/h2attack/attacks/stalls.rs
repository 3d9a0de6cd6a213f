//! Streams that are held open with next to nothing.

use super::{Duration, End, Flow, Next, fixed, flag, frame, hpack, kind};

/// From one look at what the target ended to the next.
const LOOK: Duration = Duration::from_millis(100);
/// Streams opened at each look: 50 a second on each connection. What is held is to do the harm, not
/// that all of it begins at one instant.
const OPENED_MAX: usize = 5;
/// The length that is declared for a body that never ends.
const DECLARED: &[u8] = b"1073741824";

/// Answers for which there is no window.
pub(super) fn parked(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    open(flow, out, |flow| {
        let path = &flow.asked.large_path;
        (hpack::request(fixed::METHOD_GET, &flow.asked.authority, path), End::Stream)
    })
}

/// Answers that are taken byte by byte.
pub(super) fn slow_reader(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    let streams: Vec<u32> = flow.open.iter().copied().collect();
    for stream in streams {
        frame::window_update(out, stream, 1);
    }
    parked(flow, out)
}

/// Bodies that are sent byte by byte.
pub(super) fn slow_upload(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    let streams: Vec<u32> = flow.open.iter().copied().collect();
    for stream in streams {
        if flow.spend(stream, 1) {
            frame::frame(out, kind::DATA, flag::NONE, stream, b"x");
        }
    }
    open(flow, out, |flow| {
        let mut block = hpack::request(fixed::METHOD_POST, &flow.asked.authority, &flow.asked.path);
        hpack::named(&mut block, fixed::CONTENT_LENGTH, DECLARED);
        (block, End::Headers)
    })
}

/// Requests whose body never begins.
pub(super) fn idle(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    open(flow, out, |flow| {
        let block = hpack::request(fixed::METHOD_POST, &flow.asked.authority, &flow.asked.path);
        (block, End::Headers)
    })
}

/// Opens as many streams as the target allows, again and again if it ends them.
fn open(flow: &mut Flow, out: &mut Vec<u8>, request: impl Fn(&Flow) -> (Vec<u8>, End)) -> Next {
    for _ in 0..OPENED_MAX {
        if flow.has_room() {
            let (block, end) = request(flow);
            let stream = flow.open_stream();
            hpack::headers(out, stream, end, &block);
        }
    }
    Next::Wait(LOOK)
}
