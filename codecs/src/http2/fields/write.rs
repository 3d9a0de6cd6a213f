//! Heads and trailers as field lists. Each field is given to `put`, which compresses it and writes
//! names in lower case.

use crate::http::name::{is_token, is_written_by_codec};
use crate::http::sound::{are_sound, is_one_word};
use crate::{BodySize, EncodeError, Fields, HttpRequest, HttpResponse, Method};

use super::{Asked, WEBSOCKET};

/// What of the peer that a request goes to decides how it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http2) struct Peer {
    /// `:scheme` is `https` instead of `http`.
    pub(in crate::http2) is_https: bool,
    /// It has said `SETTINGS_ENABLE_CONNECT_PROTOCOL` (RFC 8441 §3).
    pub(in crate::http2) takes_extended_connect: bool,
}

/// Writes a request head, and says what its response depends on.
///
/// An offer to change to WebSocket becomes an extended CONNECT (RFC 8441 §5) if the peer takes it.
/// Any other offer is left out (RFC 9110 §7.8: a server may always ignore it), and the request then
/// ends with its head.
///
/// # Errors
/// [`EncodeError::Unfit`] when a part has bytes that no field can carry, or when a CONNECT has no
/// authority. Nothing was written.
pub(in crate::http2) fn write_request(
    head: &HttpRequest,
    peer: Peer,
    put: &mut impl FnMut(&[u8], &[u8]),
) -> Result<Asked, EncodeError> {
    let is_connect = head.method == Method::Connect;
    let is_extended_connect = peer.takes_extended_connect
        && head.method == Method::Get
        && head.upgrade.eq_ignore_ascii_case(WEBSOCKET);
    let path = if head.path.is_empty() { &b"/"[..] } else { &head.path };
    let method = head.method.as_str().as_bytes();
    let is_sound = is_token(method)
        && is_one_word(path)
        && is_one_word(&head.authority)
        && !(head.authority.is_empty() && (is_connect || is_extended_connect))
        && are_sound(&head.fields);
    if !is_sound {
        return Err(EncodeError::Unfit);
    }
    put(b":method", if is_extended_connect { b"CONNECT" } else { method });
    // RFC 9113 §8.5: CONNECT names an authority and nothing else.
    if !is_connect {
        put(b":scheme", if peer.is_https { b"https" } else { b"http" });
    }
    // RFC 9113 §8.3.1: none rather than an empty one.
    if !head.authority.is_empty() {
        put(b":authority", &head.authority);
    }
    if !is_connect {
        put(b":path", path);
    }
    if is_extended_connect {
        put(b":protocol", WEBSOCKET);
    }
    // RFC 8441 §5: without the key, whose answer is that of HTTP/1.1.
    let left_out = if is_extended_connect { &b"sec-websocket-key"[..] } else { b"" };
    write_fields(&head.fields, left_out, put);
    if !is_connect && !is_extended_connect {
        write_length(head.body, put);
    }
    if head.expects_continue {
        put(b"expect", b"100-continue");
    }
    if head.takes_trailers {
        put(b"te", b"trailers");
    }
    Ok(Asked { is_head: head.method == Method::Head, is_connect, is_extended_connect })
}

/// Writes a response head. The 101 that accepts an extended CONNECT becomes the 200 that it is here
/// (RFC 8441 §5).
///
/// # Errors
/// [`EncodeError::Unfit`]: a part has bytes that no field can carry; a 101 was not asked for; or a
/// 2xx answers an extended CONNECT without having accepted it, which would be taken for that.
/// Nothing was written.
pub(in crate::http2) fn write_response(
    head: &HttpResponse,
    asked: Asked,
    put: &mut impl FnMut(&[u8], &[u8]),
) -> Result<(), EncodeError> {
    let is_sound = (100..1000).contains(&head.status) && are_sound(&head.fields);
    if !is_sound {
        return Err(EncodeError::Unfit);
    }
    let is_success = (200..300).contains(&head.status);
    let accepts_upgrade = asked.is_extended_connect && head.status == 101;
    let status = match head.status {
        101 if accepts_upgrade => 200,
        101 => return Err(EncodeError::Unfit),
        _ if asked.is_extended_connect && is_success => return Err(EncodeError::Unfit),
        status => status,
    };
    put(b":status", itoa::Buffer::new().format(status).as_bytes());
    let left_out = if accepts_upgrade { &b"sec-websocket-accept"[..] } else { b"" };
    write_fields(&head.fields, left_out, put);
    // RFC 9110 §8.6: not in 1xx and 204, and not where a tunnel begins.
    let is_tunnel = accepts_upgrade || (asked.is_connect && is_success);
    if !is_tunnel && head.status >= 200 && head.status != 204 {
        write_length(head.body, put);
    }
    Ok(())
}

/// Writes trailers.
///
/// # Errors
/// [`EncodeError::Unfit`] when they have bytes that no field can carry. Nothing was written.
pub(in crate::http2) fn write_trailers(
    fields: &Fields,
    put: &mut impl FnMut(&[u8], &[u8]),
) -> Result<(), EncodeError> {
    if !are_sound(fields) {
        return Err(EncodeError::Unfit);
    }
    write_fields(fields, b"", put);
    Ok(())
}

/// Writes fields, but for those that are the codec's own to write, and one more.
fn write_fields(fields: &Fields, left_out: &[u8], put: &mut impl FnMut(&[u8], &[u8])) {
    for (name, value) in fields.iter() {
        if is_written_by_codec(name) || name.eq_ignore_ascii_case(left_out) {
            continue;
        }
        // RFC 9113 §8.2.1: no spaces around a value.
        put(name, value.trim_ascii());
    }
}

fn write_length(body: BodySize, put: &mut impl FnMut(&[u8], &[u8])) {
    match body {
        BodySize::Sized(bytes) => {
            put(b"content-length", itoa::Buffer::new().format(bytes).as_bytes());
        }
        BodySize::None | BodySize::Unknown => {}
    }
}
