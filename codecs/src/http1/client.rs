//! The client role: sends requests, one at a time, and takes the responses to them.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::message::End;
use crate::{
    BodySize, Codec, Data, EncodeError, Error, Event, Fault, Fields, Frozen, Head, HttpRequest,
    Method, OpenError, Output, Part, Role, Scratch, Status, StreamId, ThawError, Time,
};

use super::body::{Body, Found};
use super::encode::{self, Length};
use super::limits::Limits;
use super::state::{Asked, Framing, Incoming, Outgoing, Reader, blame_upstream, end_if, malformed};
use super::websocket::{self, Key, is_websocket};
use super::{NAME, SNAPSHOT_VERSION, head};

/// A connection in client role; see the module's diagram.
pub(super) struct Client {
    core: Core,
    output: Output,
    limits: Limits,
}

/// All that a snapshot holds beside the pending output.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Core {
    state: State,
    reader: Reader,
    /// Of the current or last stream.
    generation: u32,
    /// Sets the keys of WebSockets apart from those of other connections.
    salt: u64,
    is_draining: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum State {
    /// Takes a request.
    Idle,
    /// A stream was opened and nothing of it is written.
    Open,
    /// A request head is written and the response is not at its end.
    Exchange(Exchange),
    /// Nothing more will come.
    Finished,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Exchange {
    asked: Asked,
    outgoing: Outgoing,
    incoming: Receiving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Receiving {
    /// The response's own head has not come.
    Head { informational: u8 },
    /// It has; `keep` says whether the connection may be used again.
    Rest { incoming: Incoming, keep: bool },
}

/// What a response begins with.
enum Begun {
    Informational,
    Final(End),
}

impl Client {
    pub(super) fn new(limits: &Limits, now: Time) -> Self {
        let core = Core {
            state: State::Idle,
            reader: Reader::default(),
            generation: 0,
            salt: now.as_micros(),
            is_draining: false,
        };
        Self { core, output: Output::default(), limits: limits.clone() }
    }

    pub(super) fn thaw(frozen: &Frozen, limits: &Limits) -> Result<Self, ThawError> {
        let (_, core) = frozen.read::<(Role, Core)>()?;
        let output = Output::of(&frozen.output);
        Ok(Self { core, output, limits: limits.clone() })
    }

    fn stream(&self) -> StreamId {
        StreamId { slot: 0, generation: self.core.generation }
    }

    /// Takes a response head off the input; `None` when it is not there yet.
    fn begin(
        &mut self,
        input: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Result<Option<Begun>, Error> {
        let State::Exchange(exchange) = &mut self.core.state else { return Ok(None) };
        let Receiving::Head { informational } = &mut exchange.incoming else { return Ok(None) };
        let scan = &mut self.core.reader.scan;
        let Some(bytes) = head::section(input, scan, self.limits.head_bytes_max)? else {
            return match (self.core.reader.has_ended, input.is_empty(), *informational) {
                (false, _, _) => Ok(None),
                (true, true, 0) => Err(NO_RESPONSE),
                (true, _, _) => Err(HEAD_TRUNCATED),
            };
        };
        let bytes_of_head = input.get(..bytes).unwrap_or_default();
        let response = &mut scratch.response;
        let read = head::read_response(bytes_of_head, exchange.asked, &self.limits, response)?;
        bytes::Buf::advance(input, bytes);
        if let (101, Some(key)) = (response.status, exchange.asked.websocket_key) {
            // RFC 6455 §4.1: else the connection is not taken for a WebSocket.
            if !is_websocket(&response.upgrade) || !key.is_answered(&response.fields) {
                return Err(ACCEPT_WRONG);
            }
            response.fields.remove(websocket::ACCEPT);
        }
        if response.status < 200 && read.incoming != Incoming::Raw {
            if *informational >= self.limits.informational_max {
                return Err(TOO_MANY_INFORMATIONAL);
            }
            *informational = informational.saturating_add(1);
            return Ok(Some(Begun::Informational));
        }
        match (read.incoming, exchange.outgoing) {
            (Incoming::Raw, Outgoing::Offered) => exchange.outgoing = Outgoing::Raw,
            (_, Outgoing::Offered) => exchange.outgoing = Outgoing::Ended,
            (_, Outgoing::Body(_) | Outgoing::Raw | Outgoing::Ended) => {}
        }
        exchange.incoming = Receiving::Rest { incoming: read.incoming, keep: read.keep };
        let is_end = read.incoming == Incoming::Ended;
        self.settle();
        Ok(Some(Begun::Final(end_if(is_end))))
    }

    /// What there is of the body of the response.
    fn read_body(&mut self, input: &mut BytesMut, trailers: &mut Fields) -> Result<Found, Error> {
        let State::Exchange(exchange) = &mut self.core.state else { return Ok(Found::Nothing) };
        let Receiving::Rest { incoming, .. } = &mut exchange.incoming else {
            return Ok(Found::Nothing);
        };
        let reader = &mut self.core.reader;
        let found = match incoming {
            Incoming::Body(body) => body.read(input, reader, trailers, &self.limits)?,
            Incoming::Raw => Body::UntilClose.read(input, reader, trailers, &self.limits)?,
            Incoming::Offered | Incoming::Ended => Found::Nothing,
        };
        match found {
            Found::Nothing | Found::Data { is_end: false, .. } => {}
            Found::Data { is_end: true, .. } | Found::Trailers | Found::End => {
                *incoming = Incoming::Ended;
                self.settle();
            }
        }
        Ok(found)
    }

    /// Moves on when the response is over. A request that was not sent to its end is given up with
    /// it, and the connection too: the server would take the rest for another request.
    fn settle(&mut self) {
        let State::Exchange(Exchange { outgoing, incoming, .. }) = self.core.state else { return };
        let Receiving::Rest { incoming: Incoming::Ended, keep } = incoming else { return };
        let may_be_reused =
            keep && outgoing.is_complete() && !self.core.is_draining && !self.core.reader.has_ended;
        self.core.state = match outgoing {
            // RFC 9110 §9.3.6: a tunnel is two directions, each with an end of its own.
            Outgoing::Raw => return,
            Outgoing::Body(_) | Outgoing::Offered | Outgoing::Ended if may_be_reused => State::Idle,
            Outgoing::Body(_) | Outgoing::Offered | Outgoing::Ended => State::Finished,
        };
    }

    fn write_head(
        &mut self,
        stream: StreamId,
        head: &HttpRequest,
        end: End,
    ) -> Result<(), EncodeError> {
        match self.core.state {
            State::Open if stream == self.stream() => {}
            State::Exchange(_) if stream == self.stream() => return Err(EncodeError::Unfit),
            State::Open | State::Exchange(_) | State::Idle | State::Finished => {
                return Err(EncodeError::UnknownStream);
            }
        }
        let is_connect = head.method == Method::Connect;
        let has_body = head.body != BodySize::None;
        let offers_upgrade = !head.upgrade.is_empty();
        // Neither offer goes together with a body (RFC 9110 §9.3.6).
        if has_body && (is_connect || offers_upgrade) {
            return Err(EncodeError::Unfit);
        }
        let (length, outgoing) = if is_connect || offers_upgrade {
            let outgoing = if end == End::Yes { Outgoing::Ended } else { Outgoing::Offered };
            (Length::Unsaid, outgoing)
        } else {
            framing(head.body, end)?
        };
        let has_no_key =
            || is_websocket(&head.upgrade) && head.fields.find(websocket::KEY).is_none();
        let new_key = || Key::new(self.core.salt, self.core.generation);
        let websocket_key = has_no_key().then(new_key);
        encode::request(head, length, websocket_key, &mut self.output)?;
        let asked = Asked {
            is_head: head.method == Method::Head,
            is_connect,
            offers_upgrade,
            is_http10: false,
            awaits_continue: head.expects_continue,
            websocket_key,
        };
        let incoming = Receiving::Head { informational: 0 };
        self.core.state = State::Exchange(Exchange { asked, outgoing, incoming });
        Ok(())
    }

    fn write_data(
        &mut self,
        stream: StreamId,
        data: &Data<'_>,
        end: End,
    ) -> Result<(), EncodeError> {
        let current = self.stream();
        match &mut self.core.state {
            State::Exchange(exchange) if stream == current => {
                let sent = exchange.outgoing.send(data, end, &mut self.output);
                match sent {
                    Ok(()) => self.settle(),
                    Err(EncodeError::WrongLength) => self.core.state = State::Finished,
                    Err(EncodeError::UnknownStream | EncodeError::Unfit) => {}
                }
                sent
            }
            State::Open if stream == current => Err(EncodeError::Unfit),
            State::Exchange(_) | State::Open | State::Idle | State::Finished => {
                Err(EncodeError::UnknownStream)
            }
        }
    }

    fn write_trailers(&mut self, stream: StreamId, fields: &Fields) -> Result<(), EncodeError> {
        let current = self.stream();
        match &mut self.core.state {
            State::Exchange(exchange)
                if stream == current && exchange.outgoing == Outgoing::Body(Framing::Chunked) =>
            {
                encode::trailers(fields, &mut self.output)?;
                exchange.outgoing = Outgoing::Ended;
                self.settle();
                Ok(())
            }
            // RFC 9110 §6.5.1: where they cannot be sent, trailers are dropped.
            State::Exchange(_) | State::Open | State::Idle | State::Finished => {
                self.write_data(stream, &Data::Borrowed(b""), End::Yes)
            }
        }
    }

    /// HTTP/1.1 has no word for giving up a request that was begun but to close the connection.
    fn give_up(&mut self, stream: StreamId) -> Result<(), EncodeError> {
        let is_current = stream == self.stream();
        self.core.state = match self.core.state {
            State::Open if is_current && self.core.is_draining => State::Finished,
            State::Open if is_current => State::Idle,
            State::Exchange(_) if is_current => State::Finished,
            State::Open | State::Exchange(_) | State::Idle | State::Finished => {
                return Err(EncodeError::UnknownStream);
            }
        };
        Ok(())
    }

    fn fail(&mut self, error: Error) -> Error {
        self.core.state = State::Finished;
        blame_upstream(error)
    }
}

/// RFC 9112 §6: how the body of a request is framed.
fn framing(body: BodySize, end: End) -> Result<(Length, Outgoing), EncodeError> {
    let ended_or =
        |framing| if end == End::Yes { Outgoing::Ended } else { Outgoing::Body(framing) };
    match body {
        BodySize::None => Ok((Length::Unsaid, ended_or(Framing::Sized { left: 0 }))),
        BodySize::Sized(left) if end == End::Yes && left > 0 => Err(EncodeError::WrongLength),
        BodySize::Sized(left) => Ok((Length::Bytes(left), ended_or(Framing::Sized { left }))),
        BodySize::Unknown if end == End::Yes => Ok((Length::Bytes(0), Outgoing::Ended)),
        BodySize::Unknown => Ok((Length::Chunked, Outgoing::Body(Framing::Chunked))),
    }
}

impl Codec for Client {
    fn decode<'a>(
        &mut self,
        input: &'a mut BytesMut,
        scratch: &'a mut Scratch,
        _now: Time,
    ) -> Result<Option<Event<'a>>, Error> {
        self.core.reader.advance(input);
        let stream = self.stream();
        match &self.core.state {
            State::Finished => Ok(None),
            // RFC 9112 §6.3: what comes without a request is no response.
            State::Idle | State::Open if !input.is_empty() => Err(self.fail(NOT_ASKED)),
            State::Open if self.core.reader.has_ended => Err(self.fail(NO_RESPONSE)),
            State::Idle if self.core.reader.has_ended => {
                self.core.state = State::Finished;
                Ok(None)
            }
            State::Idle | State::Open => Ok(None),
            State::Exchange(Exchange { incoming: Receiving::Head { .. }, .. }) => {
                let end = match self.begin(input, scratch) {
                    Ok(None) => return Ok(None),
                    Ok(Some(Begun::Informational)) => End::No,
                    Ok(Some(Begun::Final(end))) => end,
                    Err(error) => return Err(self.fail(error)),
                };
                let part = Part::Head(Head::HttpResponse(&mut scratch.response), end);
                Ok(Some(Event::Part(stream, part)))
            }
            State::Exchange(Exchange { incoming: Receiving::Rest { .. }, .. }) => {
                let part = match self.read_body(input, &mut scratch.trailers) {
                    Ok(Found::Nothing) => return Ok(None),
                    Ok(Found::Data { bytes, after, is_end }) => {
                        Part::Data(self.core.reader.data(input, bytes, after), end_if(is_end))
                    }
                    Ok(Found::Trailers) => Part::Trailers(&scratch.trailers),
                    Ok(Found::End) => Part::Data(Data::Borrowed(b""), End::Yes),
                    Err(error) => return Err(self.fail(error)),
                };
                Ok(Some(Event::Part(stream, part)))
            }
        }
    }

    fn end_input(&mut self) {
        self.core.reader.has_ended = true;
        if matches!(self.core.state, State::Idle) {
            self.core.state = State::Finished;
        }
    }

    fn wants_input(&self) -> bool {
        !self.core.reader.has_ended && !self.is_finished()
    }

    fn release(&mut self, _stream: StreamId, _bytes: usize) {}

    fn open(&mut self) -> Result<StreamId, OpenError> {
        if self.core.is_draining || self.core.reader.has_ended {
            return Err(OpenError::Closing);
        }
        match self.core.state {
            State::Idle => {}
            State::Open | State::Exchange(_) => return Err(OpenError::Full),
            State::Finished => return Err(OpenError::Closing),
        }
        self.core.generation = self.core.generation.wrapping_add(1);
        self.core.state = State::Open;
        Ok(self.stream())
    }

    fn capacity(&self, stream: StreamId) -> usize {
        match self.core.state {
            State::Open if stream == self.stream() => usize::MAX,
            State::Exchange(Exchange { outgoing: Outgoing::Body(_) | Outgoing::Raw, .. })
                if stream == self.stream() =>
            {
                usize::MAX
            }
            State::Open | State::Exchange(_) | State::Idle | State::Finished => 0,
        }
    }

    fn encode(&mut self, stream: StreamId, part: &Part<'_>) -> Result<(), EncodeError> {
        match part {
            Part::Head(Head::HttpRequest(head), end) => self.write_head(stream, head, *end),
            Part::Head(Head::HttpResponse(_) | Head::RpcRequest(_) | Head::RpcResponse(_), _) => {
                Err(EncodeError::Unfit)
            }
            Part::Data(data, end) => self.write_data(stream, data, *end),
            Part::Trailers(fields) => self.write_trailers(stream, fields),
            Part::Reset(_) => self.give_up(stream),
        }
    }

    fn reply(&mut self, _stream: StreamId, _status: Status) {}

    fn refuse(&mut self, _error: &Error) {
        self.core.state = State::Finished;
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn next_timeout(&self) -> Option<Time> {
        None
    }

    fn timeout(&mut self, _now: Time) -> Result<(), Error> {
        Ok(())
    }

    fn drain(&mut self) {
        self.core.is_draining = true;
        if matches!(self.core.state, State::Idle) {
            self.core.state = State::Finished;
        }
    }

    fn in_flight(&self) -> usize {
        usize::from(matches!(self.core.state, State::Open | State::Exchange(_)))
    }

    fn is_finished(&self) -> bool {
        matches!(self.core.state, State::Finished)
    }

    fn is_output_finished(&self) -> bool {
        match &self.core.state {
            State::Exchange(Exchange { outgoing, incoming, .. }) => {
                let is_raw = matches!(incoming, Receiving::Rest { incoming: Incoming::Raw, .. });
                is_raw && *outgoing == Outgoing::Ended
            }
            State::Finished => true,
            State::Idle | State::Open => false,
        }
    }

    fn freeze(&self, _now: Time) -> Frozen {
        Frozen::new(NAME, SNAPSHOT_VERSION, &(Role::Client, &self.core), &self.output)
    }
}

const ACCEPT_WRONG: Error = malformed("websocket_accept_wrong");
const HEAD_TRUNCATED: Error =
    Error::new(Fault::Truncated, Status::UpstreamFailed, "response_truncated");
/// Nothing of a response came: a request that may be repeated can be tried elsewhere.
const NO_RESPONSE: Error =
    Error::new(Fault::Truncated, Status::UpstreamFailed, "closed_before_response");
const NOT_ASKED: Error = malformed("response_not_asked");
const TOO_MANY_INFORMATIONAL: Error =
    Error::new(Fault::Limit, Status::UpstreamFailed, "too_many_informational");
