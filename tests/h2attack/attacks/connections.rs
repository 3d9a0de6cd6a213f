//! Connections that are not used as they are meant.

use super::{Duration, Flow, Next, error, flag, frame, kind, pass_request};

/// Long enough for the target to read what was sent; connections are begun as often as any attack
/// may.
const CHURN: Duration = Duration::from_millis(2);
/// For each of four connections: 500 requests a second.
const REQUEST: Duration = Duration::from_millis(8);
/// Nothing is to happen for as long as the run lasts; looked at now and then.
const IDLE: Duration = Duration::from_millis(200);

/// Closes as soon as the preface and SETTINGS are sent.
pub(super) fn churn(_: &mut Flow, _: &mut Vec<u8>) -> Next {
    Next::Close(CHURN)
}

/// Never says more.
pub(super) fn wait(_: &mut Flow, _: &mut Vec<u8>) -> Next {
    Next::Wait(IDLE)
}

/// Whoever sends GOAWAY wants no streams of the other side any more (RFC 9113 §6.8).
pub(super) fn goaway(_: &mut Flow, out: &mut Vec<u8>) {
    let mut payload = [0; 8];
    payload[4..].copy_from_slice(&error::NO_ERROR.to_be_bytes());
    frame::frame(out, kind::GOAWAY, flag::NONE, 0, &payload);
}

/// Opens streams all the same.
pub(super) fn requests(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    pass_request(flow, out);
    Next::Wait(REQUEST)
}
