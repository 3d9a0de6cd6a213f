//! Streams of HTTP/2 that last for the whole run, several on each connection: calls with messages
//! both ways, and WebSocket.

use std::collections::VecDeque;

use hangu_codecs::StreamId;
use sha2::{Digest, Sha256};

use super::{
    stream::hex,
    talk::{Around, Heard, Request, Room, Talk},
};
use crate::{
    exchange::{self, HASH_FIELD, Kind},
    group::Group,
    h2::{Came, How, Malformed, Side, TO_HTTP2},
    tally::Fault,
};

/// Streams of a connection.
const STREAMS: usize = 4;
/// Bytes of a message's content; every second client has large ones.
const SMALL_BYTES: usize = 100;
const LARGE_BYTES: usize = 8 * 1024;
/// A client with large messages lets more come so often only: longer than what its windows take,
/// so that proxy and backend have to wait with what they have.
const RELEASE_TICKS: u32 = 200;

/// WebSockets are asked for after so many ticks.
const WARM_TICKS: u32 = 25;

/// One client.
pub(super) struct Exchange {
    kind: Kind,
    index: usize,
    side: Side,
    came: Vec<Came>,
    streams: Vec<Stream>,
    turn: usize,
    ticks: u32,
    /// The peer has said what it takes.
    has_heard: bool,
    is_closed_next: bool,
}

struct Stream {
    id: StreamId,
    opening: Request,
    messages: VecDeque<Request>,
    /// Bytes of the message that is coming.
    came: Vec<u8>,
    sent: Sha256,
    unreleased: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked,
    Open,
    /// Nothing more is sent.
    Ending,
    Ended,
}

impl Exchange {
    /// A client with streams of this kind.
    pub(super) fn new(kind: Kind, index: usize) -> Self {
        Self {
            kind,
            index,
            side: Side::client(),
            came: Vec::new(),
            streams: Vec::new(),
            turn: 0,
            ticks: 0,
            has_heard: false,
            is_closed_next: false,
        }
    }

    fn is_large(&self) -> bool {
        self.kind == Kind::Call && !self.index.is_multiple_of(2)
    }

    fn bytes(&self) -> usize {
        if self.is_large() { LARGE_BYTES } else { SMALL_BYTES }
    }

    fn group(&self) -> Group {
        match self.kind {
            Kind::Call => Group::Call,
            Kind::Socket => Group::Socket,
        }
    }

    fn open(&mut self, around: &Around<'_>) -> Result<(), Malformed> {
        let Some(opening) = around.request(self.group()) else { return Ok(()) };
        let number = opening.number;
        let (path, how) = match self.kind {
            Kind::Call => (format!("{TO_HTTP2}/call/{number}"), How::Call),
            Kind::Socket if self.index.is_multiple_of(2) => {
                (format!("{TO_HTTP2}/socket/{number}"), How::WebSocket)
            }
            Kind::Socket => (format!("/tunnel/{number}/websocket"), How::WebSocket),
        };
        let id = self.side.ask(&path, how)?;
        self.streams.push(Stream {
            id,
            opening,
            messages: VecDeque::new(),
            came: Vec::new(),
            sent: Sha256::new(),
            unreleased: 0,
            state: State::Asked,
        });
        Ok(())
    }

    /// The next message, on the stream whose turn it is.
    fn send(&mut self, around: &Around<'_>) -> Result<(), Malformed> {
        let (kind, bytes, group) = (self.kind, self.bytes(), self.group());
        let turn = self.turn % STREAMS;
        self.turn += 1;
        let Some(stream) = self.streams.get_mut(turn) else { return Ok(()) };
        if stream.state != State::Open || self.side.capacity(stream.id) <= 2 * bytes {
            return Ok(());
        }
        let Some(request) = around.request(group) else { return Ok(()) };
        let message = exchange::message(kind, request.number, bytes);
        stream.sent.update(&message);
        stream.messages.push_back(request);
        self.side.send(stream.id, &message)
    }

    fn end_all(&mut self) -> Result<(), Malformed> {
        for stream in self.streams.iter_mut().filter(|it| it.state == State::Open) {
            stream.state = State::Ending;
            self.side.end(stream.id)?;
        }
        Ok(())
    }

    fn release(&mut self) {
        for stream in &mut self.streams {
            self.side.release(stream.id, std::mem::take(&mut stream.unreleased));
        }
    }

    /// Whether the proxy has had time to learn what the backend takes: a WebSocket that is asked
    /// for on a new connection to it is refused.
    fn is_warm(&self) -> bool {
        self.kind == Kind::Call || self.ticks >= WARM_TICKS
    }

    fn go_on(&mut self, around: &Around<'_>) -> Result<(), Malformed> {
        self.ticks = self.ticks.wrapping_add(1);
        if around.is_ending || self.ticks.is_multiple_of(RELEASE_TICKS) || !self.is_large() {
            self.release();
        }
        match () {
            () if !self.has_heard || !self.is_warm() || self.is_closed_next => Ok(()),
            // With a WebSocket its connection to an HTTP/1.1 backend would end: it lasts.
            () if around.is_ending && self.kind == Kind::Socket => Ok(()),
            () if around.is_ending => self.end_all(),
            () if self.streams.len() < STREAMS => self.open(around),
            () => self.send(around),
        }
    }

    fn take(&mut self, came: Came, around: &mut Around<'_>) -> Result<(), Fault> {
        let kind = self.kind;
        let bytes_of_content = self.bytes();
        let find = |streams: &mut Vec<Stream>, id| {
            streams.iter().position(|it| it.id == id && it.state != State::Ended)
        };
        let id = match &came {
            Came::GoAway => {
                self.is_closed_next = true;
                return Ok(());
            }
            Came::Request(..) => return Err(Fault::Malformed),
            Came::Response(id, _)
            | Came::Data(id, _)
            | Came::Trailers(id, _)
            | Came::End(id)
            | Came::Reset(id) => *id,
        };
        let at = find(&mut self.streams, id).ok_or(Fault::Stray)?;
        let stream = &mut self.streams[at];
        match came {
            Came::Response(_, status) => {
                let expected = if kind == Kind::Call { 200 } else { 101 };
                if status != expected {
                    return Err(Fault::Status(status));
                }
                stream.state = State::Open;
            }
            Came::Data(_, bytes) => {
                stream.unreleased += bytes.len();
                stream.came.extend_from_slice(&bytes);
                while let Some(message) = exchange::take(kind, &mut stream.came) {
                    let request = stream.messages.pop_front().ok_or(Fault::Stray)?;
                    let is_right =
                        message == exchange::message(kind, request.number, bytes_of_content);
                    let verdict = if is_right { Ok(()) } else { Err(Fault::Content) };
                    around.heard.push(Heard { request, verdict, is_timed: true });
                }
            }
            Came::Trailers(_, fields) => {
                let hash = hex(&std::mem::take(&mut stream.sent).finalize());
                let is_right = fields.find(b"grpc-status") == Some(b"0")
                    && fields.find(HASH_FIELD) == Some(hash.as_bytes());
                if kind != Kind::Call || !is_right {
                    return Err(Fault::Content);
                }
            }
            Came::End(_) => {
                let is_whole = stream.state == State::Ending
                    && stream.messages.is_empty()
                    && stream.came.is_empty();
                if !is_whole {
                    return Err(Fault::Closed);
                }
                stream.state = State::Ended;
                let request = stream.opening;
                around.heard.push(Heard { request, verdict: Ok(()), is_timed: false });
            }
            _ => return Err(Fault::Reset),
        }
        Ok(())
    }
}

impl Talk for Exchange {
    fn room(&self) -> Room {
        Room::Streaming
    }

    fn ask(&mut self, _: Request, _: &mut Vec<u8>) {}

    fn tick(&mut self, around: &mut Around<'_>, unsent: usize, out: &mut Vec<u8>) {
        // Nothing is piled up here when nobody takes it.
        if unsent > 0 {
            return;
        }
        if self.go_on(around).is_err() {
            // Shows as streams that do not end.
            self.is_closed_next = true;
        }
        self.side.take_output(out);
    }

    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Fault> {
        self.has_heard = true;
        let mut came = std::mem::take(&mut self.came);
        self.side.receive(input, &mut came)?;
        for came in came.drain(..) {
            self.take(came, around)?;
        }
        self.came = came;
        Ok(input.len())
    }

    fn take_output(&mut self, out: &mut Vec<u8>) {
        self.side.take_output(out);
    }

    fn is_closed_next(&self) -> bool {
        self.is_closed_next && self.is_quiet()
    }

    fn take_in_flight(&mut self) -> Vec<Request> {
        let open = self.streams.drain(..).filter(|it| it.state != State::Ended);
        open.flat_map(|it| std::iter::once(it.opening).chain(it.messages)).collect()
    }

    fn is_quiet(&self) -> bool {
        let is_quiet = |it: &Stream| match (self.kind, it.state) {
            (_, State::Ended) => true,
            (Kind::Socket, State::Open) => it.messages.is_empty(),
            _ => false,
        };
        self.streams.iter().all(is_quiet)
    }

    fn finish(&mut self, around: &mut Around<'_>) {
        let open = |it: &&mut Stream| self.kind == Kind::Socket && it.state == State::Open;
        for stream in self.streams.iter_mut().filter(open) {
            stream.state = State::Ended;
            let request = stream.opening;
            around.heard.push(Heard { request, verdict: Ok(()), is_timed: false });
        }
    }
}
