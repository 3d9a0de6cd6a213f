//! Answers of the gateway itself.

use bytes::BytesMut;

use crate::Status;

use super::encode::{Persistence, status_line};

/// Writes a whole response: a status, a short plain body, and what it says of the connection.
pub(super) fn write(status: Status, persistence: Persistence, is_head: bool, out: &mut BytesMut) {
    let (code, reason, body) = words(status);
    status_line(code, reason.as_bytes(), out);
    out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    out.extend_from_slice(match persistence {
        Persistence::Unsaid | Persistence::Upgrade { .. } => b"\r\n\r\n",
        Persistence::Close => &b"\r\nConnection: close\r\n\r\n"[..],
        Persistence::KeepAlive => b"\r\nConnection: keep-alive\r\n\r\n",
    });
    // RFC 9110 §9.3.2: the head as for GET, and no body.
    if !is_head {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Whether the connection ends with this answer whatever the client wanted, for one cannot tell
/// where its next request would begin.
pub(super) fn closes(status: Status) -> bool {
    match status {
        Status::RequestTimedOut
        | Status::BodyTooLarge
        | Status::TargetTooLong
        | Status::FieldsTooLarge
        | Status::VersionNotSupported => true,
        Status::BadRequest
        | Status::NoRoute
        | Status::MethodNotAllowed
        | Status::ExpectationFailed
        | Status::Internal
        | Status::NotImplemented
        | Status::UpstreamFailed
        | Status::NoUpstream
        | Status::Overloaded
        | Status::TimedOut => false,
    }
}

/// Status code, reason phrase (RFC 9110 §15, RFC 6585 §5) and body.
pub(crate) fn words(status: Status) -> (u16, &'static str, &'static str) {
    match status {
        Status::BadRequest => (400, "Bad Request", "the request is not well formed\n"),
        Status::NoRoute => (404, "Not Found", "no route matches the request\n"),
        Status::MethodNotAllowed => {
            (405, "Method Not Allowed", "the method is not one that is forwarded\n")
        }
        Status::RequestTimedOut => (408, "Request Timeout", "the request did not come in time\n"),
        Status::BodyTooLarge => (413, "Content Too Large", "the body is larger than the limit\n"),
        Status::TargetTooLong => (414, "URI Too Long", "the target is longer than the limit\n"),
        Status::ExpectationFailed => {
            (417, "Expectation Failed", "the expectation is not one that is known\n")
        }
        Status::FieldsTooLarge => {
            (431, "Request Header Fields Too Large", "the fields are larger than the limit\n")
        }
        Status::Internal => (500, "Internal Server Error", "the gateway failed\n"),
        Status::NotImplemented => {
            (501, "Not Implemented", "the request needs what is not implemented\n")
        }
        Status::UpstreamFailed => (502, "Bad Gateway", "the upstream failed\n"),
        Status::NoUpstream => (503, "Service Unavailable", "no upstream is available\n"),
        Status::Overloaded => (503, "Service Unavailable", "a limit of the gateway is reached\n"),
        Status::TimedOut => (504, "Gateway Timeout", "the upstream did not answer in time\n"),
        Status::VersionNotSupported => {
            (505, "HTTP Version Not Supported", "the version is not spoken here\n")
        }
    }
}
