//! Over HTTP/2: answers `GET /BYTES` as over HTTP/1.1, and a gRPC call of `/bench.Echo/TIMES` with
//! its own message, so many times.

use std::io;
use std::net::TcpStream;

use hangu_codecs::message::End;
use hangu_codecs::{
    BodySize, Codec, Data, Fields, Head, HttpRequest, HttpResponse, Method, Part, Role, StreamId,
};

use super::Refused;
use crate::body::body;
use crate::http2::{Broken, Connection};
use crate::transfer::Outbox;
use crate::workload::{GRPC_SERVICE, GRPC_TIMES_MAX, HTTP_BODY_BYTES};

/// Longest message of a call.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Dialogue {
    connection: Connection,
    asked: Vec<Asked>,
    answers: Outbox,
}

/// What a stream, by its slot, asks for.
#[derive(Clone, Debug, Default)]
struct Asked {
    call: Option<Call>,
    message: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Page(usize),
    Echo { times: usize },
}

impl Default for Dialogue {
    fn default() -> Self {
        let connection = Connection::new(Role::Server);
        Self { connection, asked: Vec::new(), answers: Outbox::default() }
    }
}

impl Dialogue {
    pub(super) fn receive(&mut self, input: &[u8]) -> Result<usize, Refused> {
        let asked = &mut self.asked;
        let received = self.connection.receive(input, |codec, stream, part| {
            let slot = stream.slot as usize;
            if slot >= asked.len() {
                asked.resize(slot + 1, Asked::default());
            }
            take(codec, stream, part, &mut asked[slot])
        });
        received.map_err(|Broken| Refused)?;
        self.connection.take_output(self.answers.tail());
        Ok(input.len())
    }

    pub(super) fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        self.answers.flush(stream)
    }
}

fn take(
    codec: &mut dyn Codec,
    stream: StreamId,
    part: Part<'_>,
    asked: &mut Asked,
) -> Result<(), Broken> {
    let end = match part {
        Part::Head(Head::HttpRequest(head), end) => {
            asked.call = Some(call_of(head).ok_or(Broken)?);
            asked.message.clear();
            end
        }
        Part::Data(data, end) => {
            asked.message.extend_from_slice(data.as_slice());
            if asked.message.len() > MESSAGE_BYTES_MAX {
                return Err(Broken);
            }
            end
        }
        Part::Trailers(_) => End::Yes,
        Part::Head(..) => return Err(Broken),
        Part::Reset(_) => {
            asked.call = None;
            return Ok(());
        }
    };
    match (end, asked.call.take()) {
        (End::Yes, Some(call)) => answer(codec, stream, call, &asked.message),
        (End::No, call) => {
            asked.call = call;
            Ok(())
        }
        (End::Yes, None) => Err(Broken),
    }
}

fn call_of(head: &HttpRequest) -> Option<Call> {
    let path = std::str::from_utf8(&head.path).ok()?;
    if head.method == Method::Post {
        let times = path.strip_prefix(GRPC_SERVICE)?.parse().ok()?;
        return (times <= GRPC_TIMES_MAX).then_some(Call::Echo { times });
    }
    let bytes = path.strip_prefix('/')?.parse().ok()?;
    let is_known = head.method == Method::Get && HTTP_BODY_BYTES.contains(&bytes);
    is_known.then_some(Call::Page(bytes))
}

fn answer(
    codec: &mut dyn Codec,
    stream: StreamId,
    call: Call,
    message: &[u8],
) -> Result<(), Broken> {
    let mut head = HttpResponse { status: 200, ..HttpResponse::default() };
    head.fields.push(b"server", b"bench");
    head.fields.push(b"date", b"Sun, 22 Nov 2026 12:00:00 GMT");
    let kind: &[u8] = match call {
        Call::Page(_) => b"text/plain",
        Call::Echo { .. } => b"application/grpc",
    };
    head.fields.push(b"content-type", kind);
    head.body = match call {
        Call::Page(bytes) => BodySize::Sized(bytes as u64),
        Call::Echo { .. } => BodySize::Unknown,
    };
    let mut put = |part: &Part<'_>| codec.encode(stream, part).map_err(|_| Broken);
    put(&Part::Head(Head::HttpResponse(&mut head), End::No))?;
    match call {
        Call::Page(bytes) => put(&Part::Data(Data::Borrowed(body(bytes)), End::Yes)),
        // Each message is a frame of its own, as long as the windows take them.
        Call::Echo { times } => {
            for _ in 0..times {
                put(&Part::Data(Data::Borrowed(message), End::No))?;
            }
            let mut trailers = Fields::new();
            trailers.push(b"grpc-status", b"0");
            put(&Part::Trailers(&trailers))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, path: &str) -> HttpRequest {
        HttpRequest { method, path: path.into(), ..HttpRequest::default() }
    }

    #[test]
    fn pages_and_echoes_are_known_and_nothing_else_is() {
        assert!(matches!(call_of(&head(Method::Get, "/100")), Some(Call::Page(100))));
        let echo = call_of(&head(Method::Post, "/bench.Echo/7"));
        assert!(matches!(echo, Some(Call::Echo { times: 7 })));
        for (method, path) in
            [(Method::Get, "/101"), (Method::Post, "/100"), (Method::Post, "/bench.Echo/1000000")]
        {
            assert!(call_of(&head(method, path)).is_none(), "{path}");
        }
    }
}
