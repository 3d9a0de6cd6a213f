//! The engine of every multiplexed RPC protocol.
//!
//! It owns what is the same in all of them: whole frames out of a stream of bytes, the table of
//! streams and their ids, late and unordered answers, large frames, checksums, heartbeats, limits
//! and snapshots. What differs is a [`Wire`]: a few functions over bytes. To add a protocol in
//! Rust, write one `impl Wire` and one line in [`crate::PROTOCOLS`].
//!
//! # What it never does
//! It reads no payload, keeps no bytes of a frame that was delivered, and allocates nothing for a
//! frame below 64 KiB once its tables and the output are warm.
//!
//! # Streams
//! *Server role*: a request takes a slot that keeps its id and shape until it is answered
//! ([`Codec::encode`], [`Codec::reply`]) or forgotten ([`Part::Reset`]); at
//! [`Limits::streams_max`] nothing more is read. A oneway request comes as
//! [`StreamId::ONEWAY`], takes no slot, and cannot be answered. An id may be in flight twice:
//! each request gets its own answer.
//!
//! *Client role*: [`Codec::open`] takes a slot, and the generation of its stream is the id on the
//! wire, so an answer is matched by one index and one compare. Encoding a oneway request ends the
//! stream. A stream that is reset after its request was sent is *given up*: its id stays taken
//! until the late answer comes, which is dropped ([`Note::LateResponse`]), or until
//! [`Limits::given_up_ms`] have passed. Ids come back only after all [`Wire::ID_MAX`] others;
//! heartbeats take theirs from the same counter.
//!
//! # Draining
//! Multiplexed RPC protocols of the Bolt family have no word for it, so a drained server role goes
//! on taking requests; the gateway hands connections over instead. A drained client role opens
//! nothing and is finished when the last answer was there.

use std::marker::PhantomData;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::codec::{Fault, Note};
use crate::message::End;
use crate::output::SEGMENT_BYTES_MIN;
use crate::{
    Codec, EncodeError, Error, Event, Frozen, Head, OpenError, Output, Part, Role, RpcChecksum,
    RpcHead, RpcPayload, Scratch, Status, StreamId, ThawError, Time,
};

mod checksum;
mod client;
mod gather;
mod heartbeat;
mod limits;
mod state;
mod table;
mod wire;

pub use limits::Limits;
pub(crate) use state::SNAPSHOTS;
pub use wire::{Forms, FrameKind, Prefix, Wire, Written};

use client::{Answered, Call, Client, GivenUp};
use gather::{Gather, Gathered};
use heartbeat::{Due, Heartbeat};
use state::Request;
use table::Table;

/// One side of one connection of the protocol `W`.
#[derive(Debug)]
pub struct Rpc<W: Wire> {
    limits: Limits,
    now: Time,
    input: Input,
    /// Bytes at the front of the input that are done with, or are dropped as they come.
    skip: usize,
    /// The beginning of a frame whose rest has not come.
    pending: Option<Prefix<W::Shape>>,
    gather: Option<Box<Gather<W::Shape>>>,
    is_draining: bool,
    side: Side<W::Shape>,
    output: Output,
    wire: PhantomData<W>,
}

#[derive(Debug)]
enum Side<S> {
    Server { streams: Table<Request<S>> },
    Client(Client<S>),
}

/// How far the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Input {
    Open,
    /// The peer will send no more; what came is not all decoded.
    Ending,
    Ended,
    Failed,
}

/// What one look at the input gave. Borrows nothing, so that the event can.
enum Step<S> {
    Nothing,
    Note(Note),
    /// With the bytes of its head and its payload.
    Frame(StreamId, FrameKind, (usize, usize), Option<RpcChecksum>),
    LargeFrame(StreamId, Box<Gather<S>>, Option<RpcChecksum>),
}

impl<W: Wire> Rpc<W> {
    /// A codec for a new connection.
    pub fn new(role: Role, limits: &Limits, now: Time) -> Self {
        let side = match role {
            Role::Server => Side::Server { streams: Table::new(u32::MAX) },
            Role::Client => Side::Client(Client {
                calls: Table::new(W::ID_MAX),
                given_up: GivenUp::default(),
                heartbeat: Heartbeat::new(now, limits),
                shape: W::Shape::default(),
            }),
        };
        Self::with(side, limits, now)
    }

    /// A codec from a snapshot.
    ///
    /// # Errors
    /// See [`ThawError`].
    pub fn thaw(frozen: &Frozen, limits: &Limits, now: Time) -> Result<Self, ThawError> {
        if frozen.protocol != W::NAME {
            return Err(ThawError::UnknownProtocol);
        }
        if frozen.version != state::VERSION {
            return Err(ThawError::UnknownVersion);
        }
        let state: state::Connection<W::Shape> = frozen.read()?;
        let side = thaw_side::<W>(state.side, now).ok_or(ThawError::Damaged)?;
        let gather = state.gather.map(thaw_gather::<W>).transpose()?;
        Ok(Self {
            input: state.input,
            skip: state.skip,
            gather,
            is_draining: state.is_draining,
            output: Output::of(&frozen.output),
            ..Self::with(side, limits, now)
        })
    }

    fn with(side: Side<W::Shape>, limits: &Limits, now: Time) -> Self {
        Self {
            limits: limits.clone(),
            now,
            input: Input::Open,
            skip: 0,
            pending: None,
            gather: None,
            is_draining: false,
            side,
            output: Output::default(),
            wire: PhantomData,
        }
    }

    /// Looks at the front of the input once.
    #[inline]
    fn step(&mut self, input: &mut BytesMut) -> Result<Step<W::Shape>, Error> {
        if !self.has_skipped(input) || self.input == Input::Failed {
            return self.more(input);
        }
        if self.gather.is_some() {
            return self.gather(input);
        }
        let Some(prefix) = self.prefix(input)? else { return self.more(input) };
        if self.must_wait(prefix.kind) {
            self.pending = Some(prefix);
            return Ok(Step::Nothing);
        }
        if prefix.payload_bytes >= SEGMENT_BYTES_MIN {
            return self.begin_large(prefix, input);
        }
        let Some(frame) = input.get(..prefix.frame_bytes()) else {
            self.pending = Some(prefix);
            return self.more(input);
        };
        let checksum = match prefix.is_checked {
            true => Some(checksum::check(frame, prefix.head_bytes).ok_or(WRONG_CHECKSUM)?),
            false => None,
        };
        self.skip = frame.len();
        Ok(match self.admit(&prefix) {
            Ok(stream) => {
                let bytes = (prefix.head_bytes, prefix.payload_bytes);
                Step::Frame(stream, prefix.kind, bytes, checksum)
            }
            Err(note) => Step::Note(note),
        })
    }

    /// Takes off the input what is done with; says whether all of it was there.
    #[inline]
    fn has_skipped(&mut self, input: &mut BytesMut) -> bool {
        let there = self.skip.min(input.len());
        if there > 0 {
            input.advance(there);
            self.skip -= there;
        }
        self.skip == 0
    }

    /// The next frame's prefix, read once.
    #[inline]
    fn prefix(&mut self, input: &[u8]) -> Result<Option<Prefix<W::Shape>>, Error> {
        if let Some(known) = self.pending.take() {
            return Ok(Some(known));
        }
        let Some(prefix) = W::prefix(input)? else { return Ok(None) };
        if prefix.frame_bytes() > self.limits.frame_bytes_max {
            return Err(FRAME_TOO_LARGE);
        }
        if prefix.head_bytes > self.limits.head_bytes_max {
            return Err(HEAD_TOO_LARGE);
        }
        Ok(Some(prefix))
    }

    /// Whether a frame of this kind has to wait until a stream ends.
    fn must_wait(&self, kind: FrameKind) -> bool {
        match &self.side {
            Side::Server { streams } => {
                kind == FrameKind::Request && streams.len() >= self.limits.streams()
            }
            Side::Client(_) => false,
        }
    }

    /// What follows from too little input.
    fn more(&mut self, input: &BytesMut) -> Result<Step<W::Shape>, Error> {
        if self.input != Input::Ending {
            return Ok(Step::Nothing);
        }
        if !input.is_empty() || self.skip > 0 || self.gather.is_some() {
            return Err(CUT_OFF);
        }
        self.input = Input::Ended;
        Ok(Step::Nothing)
    }

    fn begin_large(
        &mut self,
        prefix: Prefix<W::Shape>,
        input: &mut BytesMut,
    ) -> Result<Step<W::Shape>, Error> {
        if matches!(prefix.kind, FrameKind::Heartbeat | FrameKind::HeartbeatAnswer) {
            return Err(HEARTBEAT_TOO_LARGE);
        }
        if !self.wants(&prefix) {
            // Dropped as it comes, so that what nobody waits for takes no memory.
            self.skip = prefix.frame_bytes();
            return Ok(match self.admit(&prefix) {
                Ok(_) => Step::Nothing,
                Err(note) => Step::Note(note),
            });
        }
        if input.len() < prefix.head_bytes {
            self.pending = Some(prefix);
            return self.more(input);
        }
        self.gather = Some(Box::new(Gather::begin(prefix, input)));
        self.gather(input)
    }

    fn gather(&mut self, input: &mut BytesMut) -> Result<Step<W::Shape>, Error> {
        let Some(mut gather) = self.gather.take() else { return Ok(Step::Nothing) };
        if let Side::Client(client) = &mut self.side {
            client.heartbeat.frame_came(self.now, &self.limits);
        }
        match gather.take(input) {
            Gathered::More => {
                self.gather = Some(gather);
                self.more(input)
            }
            Gathered::Corrupt => Err(WRONG_CHECKSUM),
            Gathered::Whole(checksum) => Ok(match self.admit(&gather.prefix) {
                Ok(stream) => Step::LargeFrame(stream, gather, checksum),
                Err(note) => Step::Note(note),
            }),
        }
    }

    /// Whether a frame that begins here will be delivered, as far as can be told now.
    fn wants(&self, prefix: &Prefix<W::Shape>) -> bool {
        match (&self.side, prefix.kind) {
            (Side::Server { .. }, FrameKind::Request | FrameKind::Oneway) => true,
            (Side::Client(client), FrameKind::Response) => client.waits_for(prefix.id),
            _ => false,
        }
    }

    /// What a whole frame is to us: a part of this stream, or something that is only counted.
    #[inline]
    fn admit(&mut self, prefix: &Prefix<W::Shape>) -> Result<StreamId, Note> {
        let Prefix { kind, id, shape, .. } = *prefix;
        match &mut self.side {
            Side::Server { streams } => match kind {
                FrameKind::Request => Ok(streams.insert(Request { id, shape })),
                FrameKind::Oneway => Ok(StreamId::ONEWAY),
                FrameKind::Heartbeat => {
                    answer_heartbeat::<W>(&mut self.output, id, shape, &self.limits);
                    Err(Note::HeartbeatReceived)
                }
                FrameKind::Response | FrameKind::HeartbeatAnswer => Err(Note::UnknownResponse),
            },
            Side::Client(client) => {
                client.heartbeat.frame_came(self.now, &self.limits);
                match kind {
                    FrameKind::Response => match client.answered(id) {
                        Answered::Call(stream) => Ok(stream),
                        Answered::Late => Err(Note::LateResponse),
                        Answered::Unknown => Err(Note::UnknownResponse),
                    },
                    FrameKind::HeartbeatAnswer => match client.heartbeat.answered(id) {
                        true => Err(Note::HeartbeatAnswered),
                        false => Err(Note::UnknownResponse),
                    },
                    FrameKind::Heartbeat => {
                        answer_heartbeat::<W>(&mut self.output, id, shape, &self.limits);
                        Err(Note::HeartbeatReceived)
                    }
                    FrameKind::Request => {
                        if self.output.len() <= self.limits.unsent_bytes_max {
                            status::<W>(&mut self.output, id, shape, Status::NoRoute);
                        }
                        Err(Note::RequestFromServer)
                    }
                    FrameKind::Oneway => Err(Note::RequestFromServer),
                }
            }
        }
    }

    /// The time is told.
    fn see(&mut self, now: Time) {
        self.now = now;
        if let Side::Client(client) = &mut self.side {
            client.given_up.see(now, self.limits.given_up_for());
        }
    }

    /// Nothing can be decoded any more.
    fn fail(&mut self, error: Error) -> Error {
        self.input = Input::Failed;
        self.pending = None;
        self.gather = None;
        self.skip = 0;
        match &self.side {
            Side::Server { .. } => error,
            Side::Client(_) => Error { status: Status::UpstreamFailed, ..error },
        }
    }

    fn encode_request(&mut self, stream: StreamId, frame: &RpcHead<'_>) -> Result<(), EncodeError> {
        let Side::Client(client) = &mut self.side else { return Err(EncodeError::Unfit) };
        let call = client.calls.get_mut(stream).ok_or(EncodeError::UnknownStream)?;
        if *call != Call::Opened {
            return Err(EncodeError::Unfit);
        }
        let start = self.output.tail().len();
        let written = W::write_request(frame, u64::from(stream.generation), self.output.tail())
            .inspect_err(|_| self.output.tail().truncate(start))?;
        match frame.two_way {
            true => *call = Call::Sent,
            false => drop(client.calls.remove(stream)),
        }
        client.shape = written.shape;
        client.heartbeat.frame_went(self.now, &self.limits);
        finish(&mut self.output, start, frame, written.is_checked);
        Ok(())
    }

    fn encode_response(
        &mut self,
        stream: StreamId,
        frame: &RpcHead<'_>,
    ) -> Result<(), EncodeError> {
        let Side::Server { streams } = &mut self.side else { return Err(EncodeError::Unfit) };
        let request = streams.get(stream).ok_or(EncodeError::UnknownStream)?;
        let start = self.output.tail().len();
        let written = W::write_response(frame, request.id, request.shape, self.output.tail())
            .inspect_err(|_| self.output.tail().truncate(start))?;
        streams.remove(stream);
        finish(&mut self.output, start, frame, written.is_checked);
        Ok(())
    }

    fn reset(&mut self, stream: StreamId) -> Result<(), EncodeError> {
        let was_there = match &mut self.side {
            Side::Server { streams } => streams.remove(stream).is_some(),
            Side::Client(client) => client.give_up(stream, &self.limits, self.now),
        };
        if was_there || stream == StreamId::ONEWAY {
            Ok(())
        } else {
            Err(EncodeError::UnknownStream)
        }
    }
}

impl<W: Wire> Codec for Rpc<W> {
    fn decode<'a>(
        &mut self,
        input: &'a mut BytesMut,
        scratch: &'a mut Scratch,
        now: Time,
    ) -> Result<Option<Event<'a>>, Error> {
        self.see(now);
        if !scratch.segments.is_empty() {
            scratch.segments.clear();
            scratch.frame_head = Bytes::new();
        }
        let (stream, kind, checksum, head, payload) = match self.step(input) {
            Err(error) => return Err(self.fail(error)),
            Ok(Step::Nothing) => return Ok(None),
            Ok(Step::Note(note)) => return Ok(Some(Event::Note(note))),
            Ok(Step::Frame(stream, kind, (head_bytes, payload_bytes), checksum)) => {
                let (head, rest) = input.split_at_checked(head_bytes).unwrap_or_default();
                let payload = rest.get(..payload_bytes).unwrap_or_default();
                (stream, kind, checksum, head, RpcPayload::Slice(payload))
            }
            Ok(Step::LargeFrame(stream, gather, checksum)) => {
                scratch.frame_head = gather.head;
                scratch.segments = gather.segments;
                let payload = RpcPayload::Segments(&scratch.segments);
                (stream, gather.prefix.kind, checksum, &scratch.frame_head[..], payload)
            }
        };
        let fields_max = self.limits.fields_max;
        let frame = match W::head(head, payload, checksum, fields_max, &mut scratch.forms) {
            Ok(frame) => frame,
            Err(error) => return Err(self.fail(error)),
        };
        let head = match kind {
            FrameKind::Response => Head::RpcResponse(frame),
            _ => Head::RpcRequest(frame),
        };
        Ok(Some(Event::Part(stream, Part::Head(head, End::Yes))))
    }

    fn end_input(&mut self) {
        if self.input == Input::Open {
            self.input = Input::Ending;
        }
    }

    fn wants_input(&self) -> bool {
        let is_taken = match &self.side {
            Side::Server { streams } => {
                streams.len() < self.limits.streams()
                    && self.output.len() <= self.limits.unsent_bytes_max
            }
            Side::Client(_) => true,
        };
        is_taken && self.input == Input::Open
    }

    fn release(&mut self, _: StreamId, _: usize) {}

    fn open(&mut self) -> Result<StreamId, OpenError> {
        if self.is_draining || self.input != Input::Open {
            return Err(OpenError::Closing);
        }
        match &mut self.side {
            Side::Server { .. } => Err(OpenError::Closing),
            Side::Client(client) => client.open(&self.limits, self.now),
        }
    }

    fn capacity(&self, stream: StreamId) -> usize {
        let is_open = match &self.side {
            Side::Server { streams } => streams.get(stream).is_some(),
            Side::Client(client) => client.calls.get(stream).is_some_and(|it| *it != Call::GivenUp),
        };
        if is_open { usize::MAX } else { 0 }
    }

    fn encode(&mut self, stream: StreamId, part: &Part<'_>) -> Result<(), EncodeError> {
        match part {
            Part::Head(Head::RpcRequest(frame), _) if frame.protocol == W::NAME => {
                self.encode_request(stream, frame)
            }
            Part::Head(Head::RpcResponse(frame), _) if frame.protocol == W::NAME => {
                self.encode_response(stream, frame)
            }
            Part::Reset(_) => self.reset(stream),
            Part::Head(..) | Part::Data(..) | Part::Trailers(_) => Err(EncodeError::Unfit),
        }
    }

    fn reply(&mut self, stream: StreamId, reason: Status) {
        let Side::Server { streams } = &mut self.side else { return };
        if let Some(request) = streams.remove(stream) {
            status::<W>(&mut self.output, request.id, request.shape, reason);
        }
    }

    fn refuse(&mut self, _: &Error) {}

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn next_timeout(&self) -> Option<Time> {
        match &self.side {
            Side::Client(client) if self.input == Input::Open => {
                client.heartbeat.next_timeout(&self.limits)
            }
            Side::Client(_) | Side::Server { .. } => None,
        }
    }

    fn timeout(&mut self, now: Time) -> Result<(), Error> {
        self.see(now);
        let Side::Client(client) = &mut self.side else { return Ok(()) };
        if self.input != Input::Open {
            return Ok(());
        }
        match client.heartbeat.due(now, &self.limits) {
            Due::Nothing => {}
            Due::Send => {
                let id = client.calls.number();
                client.heartbeat.sent(id, now, &self.limits);
                W::write_heartbeat(u64::from(id), client.shape, self.output.tail());
            }
            Due::Dead => return Err(self.fail(DEAD)),
        }
        Ok(())
    }

    fn drain(&mut self) {
        self.is_draining = true;
    }

    fn in_flight(&self) -> usize {
        match &self.side {
            Side::Server { streams } => streams.len(),
            Side::Client(client) => client.in_flight(),
        }
    }

    fn is_finished(&self) -> bool {
        match (&self.side, self.input) {
            (_, Input::Failed) | (Side::Client(_), Input::Ended) => true,
            (Side::Server { streams }, Input::Ended) => streams.len() == 0,
            (Side::Client(client), Input::Open) => self.is_draining && client.in_flight() == 0,
            (Side::Server { .. }, Input::Open) | (_, Input::Ending) => false,
        }
    }

    fn freeze(&self, now: Time) -> Frozen {
        let gather = self
            .gather
            .as_ref()
            .map(|it| state::Gather { head: it.head.clone(), segments: it.segments.clone() });
        let state = state::Connection {
            skip: self.skip,
            input: self.input,
            is_draining: self.is_draining,
            gather,
            side: freeze_side(&self.side, now),
        };
        Frozen::new(W::NAME, state::VERSION, &state, &self.output)
    }
}

/// Appends payload and checksum behind a head that begins at `start` of the tail.
#[inline]
fn finish(output: &mut Output, start: usize, frame: &RpcHead<'_>, is_checked: bool) {
    let checksum = is_checked.then(|| {
        let head = output.tail().get(start..).unwrap_or_default();
        checksum::of_frame(head, frame.payload, frame.checksum)
    });
    match frame.payload {
        RpcPayload::Slice(bytes) => output.put(bytes),
        RpcPayload::Segments(segments) => {
            segments.iter().for_each(|it| output.put_bytes(it.clone()))
        }
    }
    if let Some(checksum) = checksum {
        output.put(&checksum.to_be_bytes());
    }
}

/// Answers a heartbeat, unless too much waits for a peer that takes nothing: it would not see the
/// answer either.
fn answer_heartbeat<W: Wire>(output: &mut Output, id: u64, shape: W::Shape, limits: &Limits) {
    if output.len() <= limits.unsent_bytes_max {
        W::write_heartbeat_answer(id, shape, output.tail());
    }
}

/// Appends a response of our own.
fn status<W: Wire>(output: &mut Output, id: u64, shape: W::Shape, status: Status) {
    let tail = output.tail();
    let start = tail.len();
    if W::write_status(id, shape, status, tail).is_checked {
        let checksum = crc32fast::hash(tail.get(start..).unwrap_or_default());
        tail.extend_from_slice(&checksum.to_be_bytes());
    }
}

fn freeze_side<S: Copy>(side: &Side<S>, now: Time) -> state::Side<S> {
    match side {
        Side::Server { streams } => state::Side::Server { streams: state::Table::freeze(streams) },
        Side::Client(client) => state::Side::Client {
            calls: state::Table::freeze(&client.calls),
            given_up: client.waiting(now).collect(),
            heartbeat: client.heartbeat.freeze(now),
            shape: client.shape,
        },
    }
}

fn thaw_side<W: Wire>(side: state::Side<W::Shape>, now: Time) -> Option<Side<W::Shape>> {
    Some(match side {
        state::Side::Server { streams } => Side::Server { streams: streams.thaw(u32::MAX)? },
        state::Side::Client { calls, given_up, heartbeat, shape } => {
            let calls = calls.thaw(W::ID_MAX)?;
            let given_up = client::thaw_given_up(&calls, &given_up, now)?;
            Side::Client(Client {
                calls,
                given_up,
                heartbeat: Heartbeat::thaw(&heartbeat, now),
                shape,
            })
        }
    })
}

fn thaw_gather<W: Wire>(gather: state::Gather) -> Result<Box<Gather<W::Shape>>, ThawError> {
    let prefix = W::prefix(&gather.head).ok().flatten().ok_or(ThawError::Damaged)?;
    let gather = Gather::resume(prefix, gather.head, gather.segments);
    gather.map(Box::new).ok_or(ThawError::Damaged)
}

const WRONG_CHECKSUM: Error = malformed("wrong_checksum");
const HEARTBEAT_TOO_LARGE: Error = malformed("heartbeat_too_large");
const FRAME_TOO_LARGE: Error = Error::new(Fault::Limit, Status::BodyTooLarge, "frame_too_large");
const HEAD_TOO_LARGE: Error = Error::new(Fault::Limit, Status::FieldsTooLarge, "head_too_large");
const CUT_OFF: Error = Error::new(Fault::Truncated, Status::BadRequest, "frame_cut_off");
const DEAD: Error = Error::new(Fault::Dead, Status::UpstreamFailed, "heartbeat_unanswered");

/// An error of a [`Wire`]: the bytes are not what the protocol allows.
pub(crate) const fn malformed(reason: &'static str) -> Error {
    Error::new(Fault::Malformed, Status::BadRequest, reason)
}
