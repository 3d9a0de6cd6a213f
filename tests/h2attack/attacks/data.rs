//! Bodies in the smallest pieces.

use super::{Duration, Flow, Next, PIECE_BYTES, flag, frame, kind, upload};

/// How long to wait for a window to open again.
const WINDOW_WAIT: Duration = Duration::from_millis(2);

/// DATA without content costs no window (RFC 9113 §6.9.1).
pub(super) fn empty(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    let stream = upload(flow, out);
    super::fill(out, |out| frame::frame(out, kind::DATA, flag::NONE, stream, &[]))
}

/// Ten bytes on the wire for one of a body.
pub(super) fn one_byte(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    pieces(flow, out, flag::NONE, b"x")
}

/// Padding counts in the window and is no part of the body (RFC 9113 §6.1).
pub(super) fn padded(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    let mut payload = [0; 256];
    payload[0] = 255;
    pieces(flow, out, flag::PADDED, &payload)
}

/// As many pieces as the windows allow.
fn pieces(flow: &mut Flow, out: &mut Vec<u8>, flags: u8, payload: &[u8]) -> Next {
    let stream = upload(flow, out);
    while out.len() < PIECE_BYTES {
        if !flow.spend(stream, payload.len() as i64) {
            return Next::Wait(WINDOW_WAIT);
        }
        frame::frame(out, kind::DATA, flags, stream, payload);
    }
    Next::GoOn
}
