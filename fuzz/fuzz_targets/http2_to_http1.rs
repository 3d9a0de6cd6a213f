//! HTTP/2 to HTTP/1.1: of each request that is taken exactly one is written, which a parser that
//! shares nothing with the codec reads as the same: nothing is smuggled.
//!
//! The input is a list of records: a kind, a length and so many bytes; see [`write_record`].
#![no_main]

use std::collections::HashMap;

use bytes::BytesMut;
use hangu_codecs::http2::frame::{data, headers, settings};
use hangu_codecs::http2::{self, PREFACE};
use hangu_codecs::message::End;
use hangu_codecs::{
    Codec, EncodeError, Event, Head, HttpRequest, Limits, Method, Part, Role, Scratch, StreamId,
    Time, http1,
};
use libfuzzer_sys::fuzz_target;

const NOW: Time = Time::from_micros(1);

fuzz_target!(|input: &[u8]| {
    let mut bytes = BytesMut::from(&PREFACE[..]);
    settings::write(&[], &mut bytes);
    let mut rest = input;
    let mut stream = 1;
    while let [kind, length, after @ ..] = rest {
        let (payload, after) = after.split_at(usize::from(*length).min(after.len()));
        write_record(*kind, payload, &mut stream, &mut bytes);
        rest = after;
    }
    pass_on(bytes);
});

/// Appends the frame that a record stands for. The block of fields is written without compression,
/// so that names and values stand in the input as they are, each ended by 0xff.
fn write_record(kind: u8, payload: &[u8], stream: &mut u32, out: &mut BytesMut) {
    match kind {
        // A request, with or without more to come.
        b'h' | b'H' => {
            headers::write_block(*stream, kind == b'H', &block(payload), 16_384, out);
            *stream += 2;
        }
        // One whose field block is as it stands.
        b'r' | b'R' => {
            headers::write_block(*stream, kind == b'R', payload, 16_384, out);
            *stream += 2;
        }
        // Data and trailers of the last request.
        b'd' | b'D' => {
            let frame = data::Data {
                stream: stream.saturating_sub(2).max(1),
                end_stream: kind == b'D',
                data: payload,
                padding: None,
            };
            frame.write(out).expect("it is short");
        }
        b't' => {
            let stream = stream.saturating_sub(2).max(1);
            headers::write_block(stream, true, &block(payload), 16_384, out);
        }
        // Anything.
        _ => out.extend_from_slice(payload),
    }
}

fn block(payload: &[u8]) -> BytesMut {
    let mut block = BytesMut::new();
    let mut texts = payload.split(|it| *it == 0xff);
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        block.extend_from_slice(&[0]);
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(length @ 0..=126) => block.extend_from_slice(&[length]),
                Ok(length) => block.extend_from_slice(&[0x7f, length - 0x7f]),
                Err(_) => return block,
            }
            // Integers above 254 would take more octets; records are not that long.
            block.extend_from_slice(text);
        }
    }
    block
}

/// A request as it was taken, and how the other side wrote it.
struct Passed {
    head: HttpRequest,
    client: Box<dyn Codec>,
    stream: StreamId,
    body: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    has_ended: bool,
    is_refused: bool,
}

fn pass_on(mut input: BytesMut) {
    let limits = Limits::default();
    let mut server = (http2::PROTOCOL.codec)(Role::Server, &limits, NOW);
    let mut scratch = Scratch::default();
    let mut passed: HashMap<StreamId, Passed> = HashMap::new();
    while let Ok(Some(event)) = server.decode(&mut input, &mut scratch, NOW) {
        let Event::Part(stream, part) = event else { continue };
        match part {
            Part::Head(Head::HttpRequest(head), end) => {
                let mut client = (http1::PROTOCOL.codec)(Role::Client, &limits, NOW);
                let up = client.open().expect("a new connection takes a request");
                let mut request = Passed {
                    head: head.clone(),
                    client,
                    stream: up,
                    body: Vec::new(),
                    trailers: Vec::new(),
                    has_ended: end == End::Yes,
                    is_refused: false,
                };
                request.encode(&Part::Head(Head::HttpRequest(head), end));
                passed.insert(stream, request);
            }
            Part::Data(data, end) => {
                let request = passed.get_mut(&stream).expect("a head comes first");
                request.body.extend_from_slice(data.as_slice());
                request.has_ended |= end == End::Yes;
                request.encode(&Part::Data(data, end));
            }
            Part::Trailers(fields) => {
                let request = passed.get_mut(&stream).expect("a head comes first");
                let pairs = fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
                request.trailers = pairs.collect();
                request.has_ended = true;
                request.encode(&Part::Trailers(fields));
            }
            Part::Reset(_) => drop(passed.remove(&stream).expect("a head comes first")),
            Part::Head(..) => panic!("{part:?}"),
        }
    }
    passed.into_values().for_each(Passed::check);
}

impl Passed {
    fn encode(&mut self, part: &Part<'_>) {
        let before = self.client.output().len();
        if self.is_refused {
            return;
        }
        match self.client.encode(self.stream, part) {
            Ok(()) => {}
            Err(EncodeError::Unfit | EncodeError::UnknownStream) => {
                assert_eq!(self.client.output().len(), before, "an unfit part was written");
                self.is_refused = true;
            }
            Err(EncodeError::WrongLength) => self.is_refused = true,
        }
    }

    fn check(mut self) {
        let written = self.client.output().take(BytesMut::new());
        if self.is_refused {
            return;
        }
        let mut room = [httparse::EMPTY_HEADER; 256];
        let mut parsed = httparse::Request::new(&mut room);
        let status = parsed.parse(&written).expect("a head that is well formed");
        let httparse::Status::Complete(head_bytes) = status else {
            panic!("a head is written whole")
        };
        assert_eq!(parsed.method, Some(self.head.method.as_str()));
        assert_eq!(parsed.version, Some(1));
        let target = match self.head.method {
            Method::Connect => &self.head.authority,
            _ => &self.head.path,
        };
        assert_eq!(parsed.path.map(str::as_bytes), Some(&target[..]));
        assert!(!target.iter().any(|it| *it <= b' ' || *it == 0x7f), "{target:?}");
        let mut left: Vec<_> = self.head.fields.iter().collect();
        let mut framing = Framing::default();
        for field in parsed.headers.iter() {
            let name = field.name.to_ascii_lowercase();
            let value = field.value;
            assert!(!value.iter().any(|it| matches!(it, 0 | b'\r' | b'\n')));
            match name.as_str() {
                "host" => {
                    assert_eq!(value, &self.head.authority[..]);
                    framing.hosts += 1;
                }
                "content-length" => framing.lengths.push(value.to_vec()),
                "transfer-encoding" => framing.codings.push(value.to_vec()),
                // What is written for this connection alone.
                "connection" | "te" | "upgrade" | "expect" | "trailer" => {}
                // Extended CONNECT has no key; the upgrade that it becomes must have one.
                "sec-websocket-key" if !self.head.upgrade.is_empty() => {}
                _ => {
                    let place = left
                        .iter()
                        .position(|it| it.0.eq_ignore_ascii_case(name.as_bytes()) && it.1 == value);
                    let place =
                        place.unwrap_or_else(|| panic!("{name}: {value:?} is not in {left:?}"));
                    left.remove(place);
                }
            }
        }
        assert_eq!(framing.hosts, 1);
        assert!(left.iter().all(|(name, _)| *name == b"trailer"), "fields were lost");
        let is_offer = !self.head.upgrade.is_empty() || self.head.method == Method::Connect;
        if is_offer {
            assert!(framing.lengths.is_empty() && framing.codings.is_empty());
            return;
        }
        let rest = &written[head_bytes..];
        let (body, trailers, behind) = match framing.read(rest) {
            Some(read) => read,
            None if self.has_ended => panic!("the message has no end: {:?}", rest.escape_ascii()),
            None => return,
        };
        assert!(behind.is_empty(), "something stands behind the message");
        assert_eq!(body, self.body);
        if self.has_ended && !framing.codings.is_empty() {
            let lower = |list: Vec<(Vec<u8>, Vec<u8>)>| -> Vec<_> {
                list.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
            };
            assert_eq!(lower(trailers), lower(self.trailers));
        }
    }
}

/// What the head says of the body.
#[derive(Default)]
struct Framing {
    hosts: usize,
    lengths: Vec<Vec<u8>>,
    codings: Vec<Vec<u8>>,
}

type Read<'a> = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, &'a [u8]);

impl Framing {
    /// The body, the trailers, and what stands behind; `None` when it is not whole.
    fn read<'a>(&self, bytes: &'a [u8]) -> Option<Read<'a>> {
        match (&self.lengths[..], &self.codings[..]) {
            ([], []) => Some((Vec::new(), Vec::new(), bytes)),
            ([length], []) => {
                assert!(!length.is_empty() && length.iter().all(u8::is_ascii_digit));
                let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
                let (body, behind) = bytes.split_at_checked(length)?;
                Some((body.to_vec(), Vec::new(), behind))
            }
            ([], [coding]) => {
                assert_eq!(&coding[..], b"chunked");
                read_chunks(bytes)
            }
            other => panic!("framed twice: {other:?}"),
        }
    }
}

fn read_chunks(mut bytes: &[u8]) -> Option<Read<'_>> {
    let mut body = Vec::new();
    loop {
        let (line, after) = read_line(bytes)?;
        assert!(!line.is_empty() && line.iter().all(u8::is_ascii_hexdigit), "{line:?}");
        let size = usize::from_str_radix(std::str::from_utf8(line).ok()?, 16).expect("a size");
        bytes = after;
        if size == 0 {
            break;
        }
        let (chunk, after) = bytes.split_at_checked(size)?;
        body.extend_from_slice(chunk);
        bytes = after.strip_prefix(b"\r\n").or_else(|| {
            assert!(b"\r\n".starts_with(after), "no line end behind a chunk");
            None
        })?;
    }
    let mut trailers = Vec::new();
    loop {
        let (line, after) = read_line(bytes)?;
        bytes = after;
        if line.is_empty() {
            return Some((body, trailers, bytes));
        }
        let colon = line.iter().position(|it| *it == b':').expect("a field");
        let (name, value) = line.split_at(colon);
        trailers.push((name.to_vec(), value[1..].trim_ascii().to_vec()));
    }
}

fn read_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|it| it == b"\r\n")?;
    let line = &bytes[..end];
    assert!(!line.iter().any(|it| matches!(it, b'\r' | b'\n' | 0)), "{line:?}");
    Some((line, &bytes[end + 2..]))
}
