//! Heads and chunks, written. Every byte of a head is written from parsed parts.

use bytes::BytesMut;

use crate::http::name::{is_token, is_written_by_codec};
use crate::http::sound::{are_sound, is_one_line, is_one_word};
use crate::message::End;
use crate::{Data, EncodeError, Fields, HttpRequest, HttpResponse, Method, Output};

use super::state::put;
use super::websocket::{ACCEPT, KEY, Key};

/// What a head says of the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Nothing.
    Unsaid,
    /// `Content-Length`
    Bytes(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
}

/// What a response head says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Nothing: the connection lasts, or the head is informational.
    Unsaid,
    /// `Connection: close`
    Close,
    /// `Connection: keep-alive`, for clients of HTTP/1.0.
    KeepAlive,
    /// `Connection: upgrade` and the protocol.
    Upgrade {
        /// The key whose answer is written beside them.
        answers: Option<Key>,
    },
}

/// Writes a request head, and the key of a WebSocket with it.
///
/// # Errors
/// [`EncodeError::Unfit`] when a part has bytes that no head can carry. Nothing was written.
pub(super) fn request(
    head: &HttpRequest,
    length: Length,
    websocket_key: Option<Key>,
    output: &mut Output,
) -> Result<(), EncodeError> {
    let target = match head.method {
        Method::Connect => &head.authority,
        _ if head.path.is_empty() => &b"/"[..],
        _ => &head.path,
    };
    let method = head.method.as_str().as_bytes();
    let is_sound = is_token(method)
        && is_one_word(target)
        && !target.is_empty()
        && is_one_word(&head.authority)
        && is_one_line(&head.upgrade)
        && are_sound(&head.fields);
    if !is_sound {
        return Err(EncodeError::Unfit);
    }
    let out = output.tail();
    out.reserve(bytes_about(&head.fields, target.len().saturating_add(head.authority.len())));
    out.extend_from_slice(method);
    out.extend_from_slice(b" ");
    out.extend_from_slice(target);
    // RFC 9112 §3.2: Host comes first, and is empty when the target has no authority.
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(&head.authority);
    out.extend_from_slice(b"\r\n");
    write_fields(&head.fields, out);
    write_length(length, out);
    if let Some(key) = websocket_key {
        write_field(KEY, |out| key.write(out), out);
    }
    if head.expects_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    // RFC 9110 §7.8, §10.1.4: both fields are named in Connection, too.
    match (!head.upgrade.is_empty(), head.takes_trailers) {
        (false, false) => {}
        (false, true) => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
        (true, takes_trailers) => {
            let connection = if takes_trailers {
                &b"TE: trailers\r\nConnection: upgrade, TE\r\nUpgrade: "[..]
            } else {
                b"Connection: upgrade\r\nUpgrade: "
            };
            out.extend_from_slice(connection);
            out.extend_from_slice(&head.upgrade);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes a response head.
///
/// # Errors
/// See [`request`].
pub(super) fn response(
    head: &HttpResponse,
    length: Length,
    persistence: Persistence,
    output: &mut Output,
) -> Result<(), EncodeError> {
    let is_sound = (100..1000).contains(&head.status)
        && is_one_line(&head.reason)
        && is_one_line(&head.upgrade)
        && are_sound(&head.fields);
    if !is_sound {
        return Err(EncodeError::Unfit);
    }
    let out = output.tail();
    out.reserve(bytes_about(&head.fields, head.reason.len()));
    status_line(head.status, &head.reason, out);
    write_fields(&head.fields, out);
    write_length(length, out);
    match persistence {
        Persistence::Unsaid => {}
        Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Persistence::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Persistence::Upgrade { answers } => {
            if let Some(key) = answers {
                write_field(ACCEPT, |out| key.write_accept(out), out);
            }
            out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
            out.extend_from_slice(&head.upgrade);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes `HTTP/1.1 200 OK` and its line end.
pub(super) fn status_line(status: u16, reason: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// Writes data as a chunk (RFC 9112 §7.1), and the last chunk if it is the end. An empty chunk
/// would be the end, so empty data is not written.
pub(super) fn chunk(data: &Data<'_>, end: End, output: &mut Output) {
    let is_empty = data.is_empty();
    if !is_empty {
        write_chunk_size(data.len(), output.tail());
        put(data, output);
    }
    output.put(match (is_empty, end) {
        (true, End::No) => b"",
        (true, End::Yes) => b"0\r\n\r\n",
        (false, End::No) => b"\r\n",
        (false, End::Yes) => b"\r\n0\r\n\r\n",
    });
}

/// Writes the last chunk and trailers.
///
/// # Errors
/// See [`request`].
pub(super) fn trailers(fields: &Fields, output: &mut Output) -> Result<(), EncodeError> {
    if !are_sound(fields) {
        return Err(EncodeError::Unfit);
    }
    let out = output.tail();
    out.extend_from_slice(b"0\r\n");
    write_fields(fields, out);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes fields, but for those that are the codec's own to write.
fn write_fields(fields: &Fields, out: &mut BytesMut) {
    for (name, value) in fields.iter() {
        if is_written_by_codec(name) {
            continue;
        }
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_field(name: &[u8], value: impl FnOnce(&mut BytesMut), out: &mut BytesMut) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    value(out);
    out.extend_from_slice(b"\r\n");
}

fn write_length(length: Length, out: &mut BytesMut) {
    match length {
        Length::Unsaid => {}
        Length::Bytes(bytes) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Length::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn write_chunk_size(bytes: usize, out: &mut BytesMut) {
    let digits = (usize::BITS - bytes.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (bytes >> (place * 4)) & 0xf;
        out.extend_from_slice(HEX.get(digit..=digit).unwrap_or_default());
    }
    out.extend_from_slice(b"\r\n");
}

/// An estimate, so that the buffer grows once.
fn bytes_about(fields: &Fields, other: usize) -> usize {
    let per_field = fields.len().saturating_mul(4);
    fields.bytes().saturating_add(per_field).saturating_add(other).saturating_add(192)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_size_has_no_needless_digit() {
        for (bytes, text) in
            [(1, "1"), (15, "f"), (16, "10"), (0x1a2b, "1a2b"), (1 << 40, "10000000000")]
        {
            let mut out = BytesMut::new();
            write_chunk_size(bytes, &mut out);
            assert_eq!(out, format!("{text}\r\n").as_bytes());
        }
    }

    #[test]
    fn a_field_cannot_split_a_head() {
        for (name, value) in [
            (&b"a"[..], &b"b\r\nc: d"[..]),
            (b"a\r\nb", b""),
            (b"a", b"\n"),
            (b"a", b"\0"),
            (b"a b", b""),
            (b"", b"x"),
            (b"a:", b"x"),
        ] {
            let mut head = HttpRequest { path: b"/".to_vec(), ..HttpRequest::default() };
            head.fields.push(name, value);
            let mut output = Output::default();
            let written = request(&head, Length::Unsaid, None, &mut output);
            assert_eq!((written, output.len()), (Err(EncodeError::Unfit), 0), "{name:?} {value:?}");
        }
    }

    #[test]
    fn a_target_cannot_split_a_request_line() {
        for path in [&b"/ HTTP/1.1\r\n"[..], b"/a b", b"/\t", b"/\n"] {
            let head = HttpRequest { path: path.to_vec(), ..HttpRequest::default() };
            let mut output = Output::default();
            assert_eq!(request(&head, Length::Unsaid, None, &mut output), Err(EncodeError::Unfit));
        }
    }

    #[test]
    fn framing_fields_from_elsewhere_are_not_written() {
        let mut head = HttpResponse { status: 200, ..HttpResponse::default() };
        head.fields.push(b"content-length", b"9");
        head.fields.push(b"Transfer-Encoding", b"chunked");
        head.fields.push(b"connection", b"close");
        head.fields.push(b"x", b"y");
        let mut output = Output::default();
        response(&head, Length::Bytes(0), Persistence::Unsaid, &mut output).unwrap();
        assert_eq!(&output.tail()[..], b"HTTP/1.1 200 \r\nx: y\r\nContent-Length: 0\r\n\r\n");
    }
}
