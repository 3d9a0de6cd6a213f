//! HTTP/2, frame by frame (RFC 9113): a peer that decides itself what it allows, refuses and takes.
//!
//! Frames are written out and read here. Only field blocks of the gateway are read by its own
//! [`Decoder`], which has judges of its own; what is sent needs no compression.

use std::collections::{HashMap, VecDeque};

use hangu_codecs::http2::hpack::Decoder;

use crate::Peer;

/// What a peer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The head of a request or a response, or trailers; whether the stream ends with it.
    Head(u32, Vec<(String, String)>, bool),
    /// Data; whether the stream ends with it.
    Data(u32, Vec<u8>, bool),
    /// A stream was given up, with this code.
    Reset(u32, u32),
    /// The other side takes no more streams above this one.
    GoAway(u32),
    /// More may be sent than before. Not told by [`Http2::told`].
    Credit,
    /// The connection has ended.
    End,
}

/// NO_ERROR.
pub const NO_ERROR: u32 = 0;
/// REFUSED_STREAM.
pub const REFUSED: u32 = 7;
/// CANCEL.
pub const CANCEL: u32 = 8;
/// SETTINGS_MAX_CONCURRENT_STREAMS.
pub const STREAMS_MAX: u16 = 3;
/// SETTINGS_INITIAL_WINDOW_SIZE.
pub const STREAM_WINDOW: u16 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_BYTES: usize = 16_384;
const WINDOW: i64 = 65_535;

/// One end of a connection of HTTP/2.
pub struct Http2 {
    peer: Peer,
    decoder: Decoder,
    next_stream: u32,
    /// What came while something else was waited for.
    told: VecDeque<Told>,
    /// Whether every byte that comes is given back at once.
    gives_credit: bool,
    window: i64,
    stream_window: i64,
    windows: HashMap<u32, i64>,
}

impl Http2 {
    /// The client's end, with these settings.
    pub fn client(mut peer: Peer, settings: &[(u16, u32)]) -> Self {
        peer.send(PREFACE);
        Self::begin(peer, settings)
    }

    /// The server's end, with these settings.
    ///
    /// # Panics
    /// When the client does not begin as it has to.
    pub fn server(mut peer: Peer, settings: &[(u16, u32)]) -> Self {
        assert_eq!(peer.read_exactly(PREFACE.len()), PREFACE);
        Self::begin(peer, settings)
    }

    fn begin(peer: Peer, settings: &[(u16, u32)]) -> Self {
        let mut it = Self {
            peer,
            decoder: Decoder::new(4096),
            next_stream: 1,
            told: VecDeque::new(),
            gives_credit: true,
            window: WINDOW,
            stream_window: WINDOW,
            windows: HashMap::new(),
        };
        let pairs = settings.iter();
        let payload: Vec<u8> = pairs
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        it.send_frame(SETTINGS, 0, 0, &payload);
        it
    }

    /// From now on gives nothing back of what comes.
    pub fn stingy(mut self) -> Self {
        self.gives_credit = false;
        self
    }

    /// Asks for a path without a body; gives the id of the stream.
    pub fn get(&mut self, path: &str) -> u32 {
        self.ask("GET", path, &[], true)
    }

    /// Asks for a path with a body that follows.
    pub fn post(&mut self, path: &str) -> u32 {
        self.ask("POST", path, &[], false)
    }

    /// Asks for a path with these fields.
    pub fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)], end: bool) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut all =
            vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "t")];
        all.extend_from_slice(fields);
        self.send_head(stream, &all, end);
        stream
    }

    /// Answers with 200 and a body, as the windows allow it.
    pub fn answer(&mut self, stream: u32, body: &[u8]) {
        self.send_head(stream, &[(":status", "200")], body.is_empty());
        if !body.is_empty() {
            self.send_body(stream, body);
        }
    }

    /// Sends a head or trailers.
    pub fn send_head(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                let bytes = u8::try_from(text.len()).ok().filter(|it| *it < 127);
                block.push(bytes.expect("a short text"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send_frame(HEADERS, flags, stream, &block);
    }

    /// Sends data whatever the windows say.
    pub fn send_data(&mut self, stream: u32, data: &[u8], end: bool) {
        self.send_frame(DATA, if end { END_STREAM } else { 0 }, stream, data);
    }

    /// Sends a whole body, as the windows allow it; what comes meanwhile is told later. Says
    /// whether all of it went: not when the stream was given up.
    pub fn send_body(&mut self, stream: u32, body: &[u8]) -> bool {
        let mut rest = body;
        loop {
            let sent = self.send_some(stream, rest, true);
            rest = &rest[sent..];
            if rest.is_empty() {
                return true;
            }
            match self.read() {
                None | Some(Told::Credit) => {}
                Some(told) => {
                    let is_over =
                        matches!(told, Told::Reset(it, _) if it == stream) || told == Told::End;
                    self.told.push_back(told);
                    if is_over {
                        return false;
                    }
                }
            }
        }
    }

    /// Sends as much as the windows allow; says how much that was.
    pub fn send_some(&mut self, stream: u32, data: &[u8], end: bool) -> usize {
        let mut sent = 0;
        while sent < data.len() {
            let own = *self.windows.entry(stream).or_insert(self.stream_window);
            let window = usize::try_from(own.min(self.window)).unwrap_or(0);
            let count = (data.len() - sent).min(window).min(FRAME_BYTES);
            if count == 0 {
                break;
            }
            let is_last = sent + count == data.len();
            self.send_data(stream, &data[sent..sent + count], end && is_last);
            self.window -= count as i64;
            *self.windows.entry(stream).or_insert(0) -= count as i64;
            sent += count;
        }
        sent
    }

    /// Serves any number of streams at once, as far as their windows go: `answer` gives the body of
    /// the answer to a path and a body that came, or `None` for none.
    ///
    /// # Panics
    /// Never for what the other end does.
    pub fn serve(mut self, mut answer: impl FnMut(&str, Vec<u8>) -> Option<Vec<u8>>) {
        let mut asked = HashMap::<u32, (String, Vec<u8>)>::new();
        let mut answers = HashMap::<u32, (Vec<u8>, usize)>::new();
        loop {
            let whole = match self.next_or_credit() {
                Told::Head(stream, fields, end) => {
                    if let Some(path) = fields.into_iter().find(|it| it.0 == ":path") {
                        asked.insert(stream, (path.1, Vec::new()));
                    }
                    end.then_some(stream)
                }
                Told::Data(stream, data, end) => {
                    if let Some((_, body)) = asked.get_mut(&stream) {
                        body.extend_from_slice(&data);
                    }
                    end.then_some(stream)
                }
                Told::Reset(stream, _) => {
                    asked.remove(&stream);
                    answers.remove(&stream);
                    None
                }
                Told::Credit | Told::GoAway(_) => None,
                Told::End => return,
            };
            if let Some((stream, (path, body))) = whole.and_then(|it| asked.remove_entry(&it))
                && let Some(body) = answer(&path, body)
            {
                self.send_head(stream, &[(":status", "200")], body.is_empty());
                answers.insert(stream, (body, 0));
            }
            for (stream, (body, sent)) in &mut answers {
                *sent += self.send_some(*stream, &body[*sent..], true);
            }
            answers.retain(|_, (body, sent)| *sent < body.len());
        }
    }

    /// Gives credit for so many bytes: for a stream, or for the connection (0).
    pub fn credit(&mut self, stream: u32, bytes: u32) {
        self.send_frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// Gives a stream up.
    pub fn reset(&mut self, stream: u32, code: u32) {
        self.send_frame(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Takes no more streams above this one.
    pub fn go_away(&mut self, last: u32) {
        self.send_frame(GOAWAY, 0, 0, &[last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat());
    }

    /// Allows other streams or windows from now on.
    pub fn set(&mut self, id: u16, value: u32) {
        let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        self.send_frame(SETTINGS, 0, 0, &payload);
    }

    /// What comes next.
    pub fn told(&mut self) -> Told {
        if let Some(told) = self.told.pop_front() {
            return told;
        }
        loop {
            match self.read() {
                None | Some(Told::Credit) => {}
                Some(told) => return told,
            }
        }
    }

    /// What comes next, or that more may be sent.
    fn next_or_credit(&mut self) -> Told {
        if let Some(told) = self.told.pop_front() {
            return told;
        }
        loop {
            if let Some(told) = self.read() {
                return told;
            }
        }
    }

    /// The next request: its stream, its path, and whether it ends with its head. Streams that are
    /// given up meanwhile are not told.
    ///
    /// # Panics
    /// When data comes.
    pub fn next_request(&mut self) -> Option<(u32, String, bool)> {
        loop {
            match self.told() {
                Told::Head(stream, fields, end) => {
                    let path = fields.iter().find(|it| it.0 == ":path").expect("a path");
                    return Some((stream, path.1.clone(), end));
                }
                Told::End => return None,
                Told::Reset(..) | Told::GoAway(_) | Told::Credit => {}
                data @ Told::Data(..) => panic!("no request: {data:?}"),
            }
        }
    }

    /// The response on a stream, read to its end: status and body. What is told of other streams
    /// is told later.
    ///
    /// # Panics
    /// When the stream or the connection ends before.
    pub fn response(&mut self, stream: u32) -> (u16, Vec<u8>) {
        let (status, body, is_whole) = self.try_response(stream);
        assert!(is_whole, "stream {stream} was cut off after {status:?}, {} bytes", body.len());
        (status.expect("a status"), body)
    }

    /// What there is of the response on a stream, and whether it was whole.
    pub fn try_response(&mut self, stream: u32) -> (Option<u16>, Vec<u8>, bool) {
        let (mut status, mut body, mut others) = (None, Vec::new(), VecDeque::new());
        let is_whole = loop {
            match self.told() {
                Told::Head(it, fields, end) if it == stream => {
                    let found = fields.iter().find(|it| it.0 == ":status");
                    status = found.map(|it| it.1.parse().expect("a status")).or(status);
                    if end {
                        break true;
                    }
                }
                Told::Data(it, data, end) if it == stream => {
                    body.extend_from_slice(&data);
                    if end {
                        break true;
                    }
                }
                Told::Reset(it, _) if it == stream => break false,
                Told::End => {
                    others.push_back(Told::End);
                    break false;
                }
                other => others.push_back(other),
            }
        };
        others.append(&mut self.told);
        self.told = others;
        (status, body, is_whole)
    }

    /// Reads a frame; `None` when there is nothing to be told of it.
    fn read(&mut self) -> Option<Told> {
        let Some((kind, flags, stream, payload)) = self.read_frame() else {
            return Some(Told::End);
        };
        let end = flags & END_STREAM != 0;
        match kind {
            DATA => {
                if self.gives_credit && !payload.is_empty() {
                    let bytes = u32::try_from(payload.len()).expect("a frame");
                    self.credit(0, bytes);
                    if !end {
                        self.credit(stream, bytes);
                    }
                }
                Some(Told::Data(stream, payload, end))
            }
            HEADERS => {
                assert!(flags & END_HEADERS != 0, "a head in several frames");
                let mut fields = Vec::new();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                self.decoder
                    .decode(&payload, |it| fields.push((text(it.name), text(it.value))))
                    .expect("a field block");
                Some(Told::Head(stream, fields, end))
            }
            RST_STREAM => Some(Told::Reset(stream, number(&payload))),
            SETTINGS if flags & 1 == 0 => {
                for pair in payload.chunks_exact(6) {
                    if pair[..2] == STREAM_WINDOW.to_be_bytes() {
                        let window = i64::from(number(&pair[2..]));
                        let change = window - self.stream_window;
                        self.stream_window = window;
                        self.windows.values_mut().for_each(|it| *it += change);
                    }
                }
                self.send_frame(SETTINGS, 1, 0, &[]);
                Some(Told::Credit)
            }
            PING if flags & 1 == 0 => {
                self.send_frame(PING, 1, 0, &payload);
                None
            }
            GOAWAY => Some(Told::GoAway(number(&payload))),
            WINDOW_UPDATE => {
                let bytes = i64::from(number(&payload));
                match stream {
                    0 => self.window += bytes,
                    _ => *self.windows.entry(stream).or_insert(self.stream_window) += bytes,
                }
                Some(Told::Credit)
            }
            _ => None,
        }
    }

    fn read_frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        self.peer.read_until_some("a frame", |unread| {
            let (length, rest) = (unread.get(..3)?, unread.get(3..9)?);
            let length = length.iter().fold(0, |sum, it| sum << 8 | usize::from(*it));
            let payload = unread.get(9..9 + length)?.to_vec();
            let stream = number(&rest[2..]) & 0x7fff_ffff;
            Some(((rest[0], rest[1], stream, payload), 9 + length))
        })
    }

    fn send_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        // Whoever has gone is noticed when reading.
        let _ = self.peer.try_send([&head[..], payload].concat());
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}
