//! What the tests of HTTP/2 share: frames to build, a reader of frames, and a codec to drive.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses what it needs")]

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use hangu_codecs::http2::frame::{
    self, Continuation, Frame, FrameHeader, GoAway, HEADER_BYTES, Headers, Ping, RstStream,
    Setting, Settings, WindowUpdate, data, headers, settings,
};
use hangu_codecs::http2::hpack::{Decoder, Encoder};
use hangu_codecs::http2::{self, ErrorCode, PREFACE};
use hangu_codecs::message::End;
use hangu_codecs::{
    BodySize, Codec, Data, EncodeError, Error, Event, Fields, Frozen, Head, HttpRequest,
    HttpResponse, Limits, Method, Part, Protocol, Reason, Role, Scratch, StreamId, Time,
};

use super::seen::describe;

pub const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
pub const HEAD: &[(&str, &str)] =
    &[(":method", "HEAD"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
pub const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
pub const CONNECT: &[(&str, &str)] = &[(":method", "CONNECT"), (":authority", "a:1")];
pub const OK: &[(&str, &str)] = &[(":status", "200")];

/// One side of a connection: the codec, its unread input, what it gave and what it wrote.
pub struct Peer {
    pub codec: Box<dyn Codec>,
    pub role: Role,
    pub input: BytesMut,
    pub scratch: Scratch,
    pub limits: Limits,
    pub now: Time,
    /// Streams in the order in which they were first seen: the first is `#1` in lines.
    pub streams: Vec<StreamId>,
    pub error: Option<Error>,
    /// Whether the codec is replaced by its thawed snapshot before each step.
    pub freezes: bool,
    /// Whether data stands in lines as a whole; otherwise long data stands by its sum.
    pub quotes_all: bool,
    /// Whether received data is given back at once.
    pub releases: bool,
    last: Option<StreamId>,
}

impl Peer {
    pub fn new(role: Role) -> Self {
        Self::with(role, |_| {})
    }

    /// With other limits than the default ones.
    pub fn with(role: Role, change: impl FnOnce(&mut http2::Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits.http2);
        let now = Time::from_micros(1_000_000_000);
        Self {
            codec: (http2::PROTOCOL.codec)(role, &limits, now),
            role,
            input: BytesMut::new(),
            scratch: Scratch::default(),
            limits,
            now,
            streams: Vec::new(),
            error: None,
            freezes: false,
            quotes_all: false,
            releases: true,
            last: None,
        }
    }

    /// A server that has heard the first words of a client and said its own.
    pub fn server() -> Self {
        Self::server_with(|_| {})
    }

    pub fn server_with(change: impl FnOnce(&mut http2::Limits)) -> Self {
        let mut peer = Self::with(Role::Server, change);
        peer.give(&greeting(&[]));
        peer.sent();
        peer
    }

    /// A client that has heard the first words of a server and said its own.
    pub fn client() -> Self {
        Self::client_with(|_| {})
    }

    pub fn client_with(change: impl FnOnce(&mut http2::Limits)) -> Self {
        let mut peer = Self::with(Role::Client, change);
        peer.give(&said_settings(&[]));
        peer.sent();
        peer
    }

    /// Bytes come; tells all events as lines, and an error as the last of them.
    pub fn give(&mut self, bytes: &[u8]) -> Vec<String> {
        self.input.extend_from_slice(bytes);
        self.pump()
    }

    /// The peer will send no more.
    pub fn end(&mut self) -> Vec<String> {
        self.codec.end_input();
        self.pump()
    }

    /// Decodes all that can be decoded.
    pub fn pump(&mut self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut data_of: Option<(StreamId, Vec<u8>)> = None;
        while self.error.is_none() {
            self.freeze_and_thaw();
            let event = match self.codec.decode(&mut self.input, &mut self.scratch, self.now) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    self.error = Some(error);
                    finish(&mut data_of, &mut lines, &self.streams, "", self.quotes_all);
                    lines.push(format!("error {}", error.reason));
                    self.codec.refuse(&error);
                    break;
                }
            };
            let mut taken = None;
            let line = match event {
                Event::Part(stream, Part::Data(data, end)) => {
                    note_stream(&mut self.streams, stream);
                    if data_of.as_ref().is_some_and(|it| it.0 != stream) {
                        finish(&mut data_of, &mut lines, &self.streams, "", self.quotes_all);
                    }
                    let joined = data_of.get_or_insert_with(|| (stream, Vec::new()));
                    joined.1.extend_from_slice(data.as_slice());
                    taken = Some((stream, data.len()));
                    if end == End::Yes {
                        finish(&mut data_of, &mut lines, &self.streams, " end", self.quotes_all);
                    }
                    None
                }
                Event::Part(stream, _) | Event::Writable(stream) => {
                    if let Event::Part(_, Part::Head(..)) = event {
                        self.last = Some(stream);
                    }
                    let number = note_stream(&mut self.streams, stream);
                    Some(format!("#{number} {}", describe(&event)))
                }
                Event::GoAway | Event::Note(_) => Some(describe(&event)),
            };
            if let Some(line) = line {
                finish(&mut data_of, &mut lines, &self.streams, "", self.quotes_all);
                lines.push(line);
            }
            if let Some((stream, bytes)) = taken
                && self.releases
            {
                self.codec.release(stream, bytes);
            }
        }
        finish(&mut data_of, &mut lines, &self.streams, "", self.quotes_all);
        lines
    }

    /// Everything that is to be sent.
    pub fn sent(&mut self) -> Vec<u8> {
        self.freeze_and_thaw();
        self.codec.output().take(BytesMut::new()).to_vec()
    }

    /// The stream `#number`.
    pub fn stream(&self, number: usize) -> StreamId {
        self.streams[number - 1]
    }

    /// Client role: opens a stream and sends a head on it.
    pub fn ask(&mut self, mut head: HttpRequest, end: End) -> StreamId {
        self.freeze_and_thaw();
        let stream = self.codec.open().expect("a stream");
        note_stream(&mut self.streams, stream);
        let part = Part::Head(Head::HttpRequest(&mut head), end);
        self.codec.encode(stream, &part).expect("a good request");
        stream
    }

    pub fn encode(&mut self, stream: StreamId, part: Part<'_>) -> Result<(), EncodeError> {
        self.freeze_and_thaw();
        self.codec.encode(stream, &part)
    }

    /// Sends the head of a response.
    pub fn answer(&mut self, stream: StreamId, status: u16, end: End) {
        let mut head = response(status);
        self.encode(stream, Part::Head(Head::HttpResponse(&mut head), end)).expect("a response");
    }

    /// Sends data.
    pub fn data(&mut self, stream: StreamId, bytes: &[u8], end: End) {
        self.encode(stream, Part::Data(Data::Borrowed(bytes), end)).expect("data");
    }

    /// Sends data that is shared.
    pub fn shared_data(&mut self, stream: StreamId, bytes: Bytes, end: End) {
        self.encode(stream, Part::Data(Data::Owned(bytes), end)).expect("data");
    }

    /// Sends trailers.
    pub fn trailers(&mut self, stream: StreamId, pairs: &[(&str, &str)]) {
        self.encode(stream, Part::Trailers(&fields(pairs))).expect("trailers");
    }

    /// Gives a stream up.
    pub fn reset(&mut self, stream: StreamId, reason: Reason) {
        self.encode(stream, Part::Reset(reason)).expect("an open stream");
    }

    fn freeze_and_thaw(&mut self) {
        if self.freezes {
            self.swap();
        }
    }

    /// The codec moves to another process: through bytes.
    pub fn swap(&mut self) -> usize {
        let bytes = self.codec.freeze(self.now).to_bytes();
        let frozen = Frozen::from_bytes(&bytes).expect("a snapshot reads as bytes");
        self.codec = Protocol::thaw(&frozen, &self.limits, self.now).expect("a snapshot thaws");
        // How what waits is cut into pieces may change once.
        let again = self.codec.freeze(self.now);
        let thawed = Protocol::thaw(&again, &self.limits, self.now).expect("a snapshot thaws");
        assert_eq!(thawed.freeze(self.now), again, "a thawed codec freezes alike");
        bytes.len()
    }

    pub fn frozen_bytes(&self) -> usize {
        self.codec.freeze(self.now).to_bytes().len()
    }

    pub fn pass_time(&mut self, millis: u64) {
        self.now = Time::from_micros(self.now.as_micros() + millis * 1000);
    }
}

fn finish(
    data: &mut Option<(StreamId, Vec<u8>)>,
    lines: &mut Vec<String>,
    streams: &[StreamId],
    mark: &str,
    quotes_all: bool,
) {
    if let Some((stream, bytes)) = data.take() {
        let text = match quotes_all {
            true => format!("\"{}\"", bytes.escape_ascii()),
            false => super::seen::quote(&bytes),
        };
        let number = streams.iter().position(|it| *it == stream).map_or(0, |it| it + 1);
        lines.push(format!("#{number} data {}{mark}", text));
    }
}

fn note_stream(streams: &mut Vec<StreamId>, stream: StreamId) -> usize {
    // Those of long ago are not looked for.
    if let Some(place) = streams.iter().rev().take(2000).position(|it| *it == stream) {
        return streams.len() - place;
    }
    streams.push(stream);
    streams.len()
}

/// Both sides of a connection, with nothing between them.
pub struct Pair {
    pub client: Peer,
    pub server: Peer,
}

impl Pair {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl Fn(&mut http2::Limits)) -> Self {
        let client = Peer::with(Role::Client, &change);
        let server = Peer::with(Role::Server, &change);
        let mut pair = Self { client, server };
        assert_eq!(pair.run(), (vec![], vec![]));
        pair
    }

    /// Passes on what both have to say until they are silent: what the client hears, and the
    /// server.
    pub fn run(&mut self) -> (Vec<String>, Vec<String>) {
        let mut heard = (Vec::new(), Vec::new());
        loop {
            let to_server = self.client.sent();
            heard.1.extend(self.server.give(&to_server));
            let to_client = self.server.sent();
            heard.0.extend(self.client.give(&to_client));
            if to_client.is_empty() && to_server.is_empty() {
                return heard;
            }
        }
    }

    /// What the server hears.
    pub fn tell_server(&mut self) -> Vec<String> {
        let bytes = self.client.sent();
        self.server.give(&bytes)
    }

    /// What the client hears.
    pub fn tell_client(&mut self) -> Vec<String> {
        let bytes = self.server.sent();
        self.client.give(&bytes)
    }
}

/// Writes frames, with the state of field compression.
#[derive(Default)]
pub struct Writer {
    encoder: Encoder,
    pub out: BytesMut,
}

impl Writer {
    pub fn new() -> Self {
        Self { encoder: Encoder::new(), out: BytesMut::new() }
    }

    /// A field block.
    pub fn block(&mut self, pairs: &[(&str, &str)]) -> BytesMut {
        let mut block = BytesMut::new();
        self.encoder.begin(&mut block);
        for (name, value) in pairs {
            self.encoder.field(name.as_bytes(), value.as_bytes(), &mut block);
        }
        block
    }

    pub fn headers(&mut self, stream: u32, pairs: &[(&str, &str)], end: bool) -> &mut Self {
        let block = self.block(pairs);
        headers::write_block(stream, end, &block, 16_384, &mut self.out);
        self
    }

    pub fn data(&mut self, stream: u32, bytes: &[u8], end: bool) -> &mut Self {
        self.out.extend_from_slice(&data(stream, bytes, end));
        self
    }

    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// All that was written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        self.out.split().to_vec()
    }
}

pub fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

/// The first words of a client.
pub fn greeting(values: &[Setting]) -> Vec<u8> {
    [&PREFACE[..], &said_settings(values)].concat()
}

pub fn said_settings(values: &[Setting]) -> Vec<u8> {
    written(|out| settings::write(values, out))
}

pub fn settings_ack() -> Vec<u8> {
    written(settings::write_ack)
}

pub fn data(stream: u32, bytes: &[u8], end_stream: bool) -> Vec<u8> {
    written(|out| {
        data::Data { stream, end_stream, data: bytes, padding: None }.write(out).expect("fits");
    })
}

pub fn padded(stream: u32, bytes: &[u8], padding: usize, end_stream: bool) -> Vec<u8> {
    let padding = vec![0; padding];
    written(|out| {
        let frame = data::Data { stream, end_stream, data: bytes, padding: Some(&padding) };
        frame.write(out).expect("fits");
    })
}

pub fn rst(stream: u32, code: ErrorCode) -> Vec<u8> {
    written(|out| RstStream { stream, code }.write(out))
}

pub fn window(stream: u32, increment: u32) -> Vec<u8> {
    written(|out| WindowUpdate { stream, increment }.write(out))
}

pub fn ping(is_ack: bool, payload: [u8; 8]) -> Vec<u8> {
    written(|out| Ping { is_ack, payload }.write(out))
}

pub fn goaway(last_stream: u32, code: ErrorCode) -> Vec<u8> {
    written(|out| GoAway { last_stream, code, debug: b"bye" }.write(out).expect("fits"))
}

/// Any frame, well formed or not.
pub fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    written(|out| {
        let length = payload.len() as u32;
        FrameHeader { length, kind: kind.into(), flags, stream }.write(out);
        out.extend_from_slice(payload);
    })
}

pub fn request(method: Method, body: BodySize) -> HttpRequest {
    HttpRequest {
        method,
        authority: b"a".to_vec(),
        path: b"/".to_vec(),
        body,
        ..HttpRequest::default()
    }
}

pub fn get() -> HttpRequest {
    request(Method::Get, BodySize::None)
}

pub fn post() -> HttpRequest {
    request(Method::Post, BodySize::Unknown)
}

pub fn response(status: u16) -> HttpResponse {
    HttpResponse { status, body: BodySize::Unknown, ..HttpResponse::default() }
}

pub fn fields(pairs: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    pairs.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

/// Reads frames that a codec wrote, strictly, as its peer would.
pub struct Reader {
    decoder: Decoder,
    left: Vec<u8>,
    block: Option<(u32, bool, Vec<u8>)>,
    preface: bool,
    /// Data bytes by stream.
    pub data: HashMap<u32, usize>,
}

impl Reader {
    /// `role` is that of the writer.
    pub fn of(role: Role) -> Self {
        Self {
            decoder: Decoder::new(4096),
            left: Vec::new(),
            block: None,
            preface: role == Role::Client,
            data: HashMap::new(),
        }
    }

    /// For a writer whose first words were read already.
    pub fn after_greeting() -> Self {
        Self { preface: false, ..Self::of(Role::Server) }
    }

    /// The frames as lines.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        self.left.extend_from_slice(bytes);
        if self.preface && self.left.len() >= PREFACE.len() {
            assert_eq!(self.left.drain(..PREFACE.len()).as_slice(), PREFACE);
            self.preface = false;
        }
        let left = std::mem::take(&mut self.left);
        let mut rest = &left[..];
        let mut lines = Vec::new();
        while let Some(header) = FrameHeader::read(rest) {
            let Some(payload) = rest.get(HEADER_BYTES..HEADER_BYTES + header.length as usize)
            else {
                break;
            };
            assert!(header.length <= frame::PAYLOAD_BYTES_MIN || self.takes_long(), "{header:?}");
            let frame = frame::read(&header, payload).expect("a good frame");
            lines.extend(self.line(&frame));
            rest = &rest[HEADER_BYTES + header.length as usize..];
        }
        self.left = rest.to_vec();
        lines
    }

    fn takes_long(&self) -> bool {
        false
    }

    fn line(&mut self, frame: &Frame<'_>) -> Option<String> {
        if !matches!(frame, Frame::Continuation(_)) {
            assert!(self.block.is_none(), "{frame:?} within a field block");
        }
        Some(match frame {
            Frame::Data(data) => {
                assert_eq!(data.padding, None);
                *self.data.entry(data.stream).or_default() += data.data.len();
                format!("data {} {}{}", data.stream, data.data.len(), end(data.end_stream))
            }
            Frame::Headers(Headers { stream, end_stream, end_headers, fragment, .. }) => {
                if !end_headers {
                    self.block = Some((*stream, *end_stream, fragment.to_vec()));
                    return None;
                }
                self.fields(*stream, *end_stream, fragment)
            }
            Frame::Continuation(Continuation { stream, end_headers, fragment }) => {
                let (begun, end_stream, mut block) = self.block.take().expect("a begun block");
                assert_eq!(begun, *stream);
                block.extend_from_slice(fragment);
                if !end_headers {
                    self.block = Some((begun, end_stream, block));
                    return None;
                }
                self.fields(begun, end_stream, &block)
            }
            Frame::RstStream(reset) => format!("reset {} {:?}", reset.stream, reset.code),
            Frame::WindowUpdate(it) => format!("window {} +{}", it.stream, it.increment),
            Frame::Settings(Settings::Ack) => "settings ack".to_owned(),
            Frame::Settings(Settings::Values(values)) => {
                format!("settings {:?}", values.iter().collect::<Vec<_>>())
            }
            Frame::Ping(ping) if ping.is_ack => format!("pong {}", ping.payload.escape_ascii()),
            Frame::Ping(ping) => format!("ping {}", ping.payload.escape_ascii()),
            Frame::GoAway(it) => format!("goaway {} {:?}", it.last_stream, it.code),
            Frame::Priority(_) | Frame::PushPromise(_) | Frame::Unknown => {
                panic!("never written: {frame:?}")
            }
        })
    }

    fn fields(&mut self, stream: u32, end_stream: bool, block: &[u8]) -> String {
        let mut line = format!("headers {stream}{}", end(end_stream));
        let each = |it: hangu_codecs::http2::hpack::Found<'_>| {
            line += &format!(" {}={}", it.name.escape_ascii(), it.value.escape_ascii());
        };
        self.decoder.decode(block, each).expect("a good block");
        line
    }
}

fn end(is_end: bool) -> &'static str {
    if is_end { " end" } else { "" }
}

/// Frames as a client (or server) might send them, right and wrong.
pub fn conversation(role: Role, frames: &[(u8, u32, u16)]) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut out = match role {
        Role::Server => greeting(&[]),
        Role::Client => said_settings(&[]),
    };
    let mut was_head = false;
    for (kind, place, number) in frames {
        let stream = place * 2 + 1;
        let bytes = vec![b'x'; usize::from(*number) % 3000];
        let (first, other): (&[(&str, &str)], _) = match role {
            Role::Server => (POST, GET),
            Role::Client => (OK, &[(":status", "103")][..]),
        };
        // A request that is given up in the same breath is not begun: what that gives depends on
        // the cut, on purpose.
        if was_head && matches!(kind, 9) {
            out.extend_from_slice(&ping(false, [1; 8]));
        }
        was_head = matches!(kind, 0..=2);
        out.extend_from_slice(&match kind {
            0 | 1 => writer.headers(stream, first, false).take(),
            2 => writer.headers(stream, other, number % 2 == 0).take(),
            3..=6 => data(stream, &bytes, number % 7 == 0),
            7 => data(stream, &vec![0; 16_384], false),
            8 => padded(stream, &bytes, usize::from(*number) % 256, number % 5 == 0),
            9 => rst(stream, ErrorCode::Cancel),
            10 => window(0, u32::from(*number) + 1),
            11 => window(stream, u32::from(*number) + 1),
            12 => writer.headers(stream, &[("x-sum", "1")], true).take(),
            13 => said_settings(&[Setting::InitialWindowSize(u32::from(*number))]),
            14 => ping(number % 2 == 0, *b"goodbye!"),
            15 => raw(0xfa, 0, stream, b"unknown"),
            16 => settings_ack(),
            17 if number % 4 == 0 => goaway(stream, ErrorCode::NoError),
            18 if number % 8 == 0 => window(stream, 0x7fff_ffff),
            19 if number % 16 == 0 => raw(5, 4, stream, &[0; 8]),
            _ => data(stream, b"", false),
        });
    }
    out
}

/// What a codec gives and writes for input in pieces. Nothing is released, so that what is written
/// does not depend on when.
pub fn run(role: Role, bytes: &[u8], sizes: &[usize], freezes: bool) -> (Vec<String>, Vec<u8>) {
    let mut peer = Peer::new(role);
    peer.releases = false;
    peer.quotes_all = true;
    peer.freezes = freezes;
    if role == Role::Client {
        for _ in 0..5 {
            peer.ask(post(), End::No);
        }
    }
    let mut lines: Vec<String> = Vec::new();
    let mut written = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).max(1).min(rest.len()));
        rest = after;
        for line in peer.give(piece) {
            join(&mut lines, line);
        }
        written.extend_from_slice(&peer.sent());
        if rest.is_empty() {
            break;
        }
    }
    for line in peer.end() {
        join(&mut lines, line);
    }
    written.extend_from_slice(&peer.sent());
    (lines, written)
}

/// Data that was cut is one piece.
fn join(lines: &mut Vec<String>, line: String) {
    let parts = |it: &str| {
        let (stream, data) = it.split_once(" data \"")?;
        let (data, mark) = data.split_once('"')?;
        Some((stream.to_owned(), data.to_owned(), mark.to_owned()))
    };
    if let Some(last) = lines.last_mut()
        && let (Some((stream, data, mark)), Some((next, more, end))) = (parts(last), parts(&line))
        && stream == next
        && mark.is_empty()
    {
        *last = format!("{stream} data \"{data}{more}\"{end}");
        return;
    }
    lines.push(line);
}
