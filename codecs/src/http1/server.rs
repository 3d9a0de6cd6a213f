//! The server role: takes requests, one at a time, and sends the responses to them.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::message::End;
use crate::{
    BodySize, Codec, Data, EncodeError, Error, Event, Fault, Fields, Frozen, Head, HttpResponse,
    OpenError, Output, Part, Role, Scratch, Status, StreamId, ThawError, Time,
};

use super::body::{Body, Found};
use super::encode::{self, Length, Persistence};
use super::limits::Limits;
use super::state::{Asked, Framing, Incoming, Outgoing, Reader, end_if, malformed};
use super::{NAME, SNAPSHOT_VERSION, head, reply};

/// A connection in server role; see the module's diagram.
pub(super) struct Server {
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
    is_draining: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum State {
    /// Between two requests, or in the middle of a request head.
    Idle { empty_lines: u8 },
    /// A request is there and its response is not at its end.
    Exchange(Exchange),
    /// The response ended before the request did; what is left of that is dropped.
    Discard { body: Body, left: u32 },
    /// The peer broke the protocol; [`Codec::refuse`] may still say so.
    Failed { last_word: LastWord },
    /// Nothing more will come.
    Finished,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Exchange {
    asked: Asked,
    incoming: Incoming,
    /// `None` until the response's own head is written.
    outgoing: Option<Outgoing>,
    /// Whether another request may follow.
    keep: bool,
}

/// Whether an error can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum LastWord {
    /// A response has begun or is complete: another would be taken for the next one.
    Spoken,
    Free,
    FreeOfBody,
}

impl Server {
    pub(super) fn new(limits: &Limits) -> Self {
        let core = Core {
            state: State::Idle { empty_lines: 0 },
            reader: Reader::default(),
            generation: 0,
            is_draining: false,
        };
        Self { core, output: Output::default(), limits: limits.clone() }
    }

    pub(super) fn thaw(frozen: &Frozen, limits: &Limits) -> Result<Self, ThawError> {
        let (_, core, output) = frozen.read::<(Role, Core, Output)>()?;
        Ok(Self { core, output, limits: limits.clone() })
    }

    fn stream(&self) -> StreamId {
        StreamId { slot: 0, generation: self.core.generation }
    }

    fn exchange(&mut self, stream: StreamId) -> Option<&mut Exchange> {
        let is_current = stream == self.stream();
        match &mut self.core.state {
            State::Exchange(exchange) if is_current => Some(exchange),
            State::Exchange(_)
            | State::Idle { .. }
            | State::Discard { .. }
            | State::Failed { .. }
            | State::Finished => None,
        }
    }

    /// Takes a request head off the input; `None` when it is not there yet.
    fn begin(&mut self, input: &mut BytesMut, scratch: &mut Scratch) -> Result<Option<End>, Error> {
        if !self.skip_empty_lines(input)? {
            return Ok(None);
        }
        let found = head::request_section(input, &mut self.core.reader.scan, &self.limits)?;
        let Some(bytes) = found else {
            return if self.core.reader.has_ended { Err(HEAD_TRUNCATED) } else { Ok(None) };
        };
        let bytes_of_head = input.get(..bytes).unwrap_or_default();
        let read = head::read_request(bytes_of_head, &self.limits, &mut scratch.request)?;
        bytes::Buf::advance(input, bytes);
        self.core.generation = self.core.generation.wrapping_add(1);
        self.core.state = State::Exchange(Exchange {
            asked: read.asked,
            incoming: read.incoming,
            outgoing: None,
            keep: read.keep,
        });
        Ok(Some(end_if(read.incoming == Incoming::Ended)))
    }

    /// Drops the empty lines that are allowed; false when there is nothing to read.
    fn skip_empty_lines(&mut self, input: &mut BytesMut) -> Result<bool, Error> {
        let State::Idle { empty_lines } = &mut self.core.state else { return Ok(false) };
        while input.starts_with(b"\r\n") {
            if *empty_lines >= self.limits.empty_lines_max {
                return Err(EMPTY_LINE);
            }
            *empty_lines = empty_lines.saturating_add(1);
            bytes::Buf::advance(input, 2);
            self.core.reader.scan = super::scan::Scan::default();
        }
        if !input.is_empty() {
            return Ok(true);
        }
        // The peer has said all, or was told that nothing more is taken.
        if self.core.reader.has_ended || self.core.is_draining {
            self.core.state = State::Finished;
        }
        Ok(false)
    }

    /// What there is of the body of the current request.
    fn read_body(&mut self, input: &mut BytesMut, trailers: &mut Fields) -> Result<Found, Error> {
        let State::Exchange(exchange) = &mut self.core.state else { return Ok(Found::Nothing) };
        let reader = &mut self.core.reader;
        let found = match &mut exchange.incoming {
            Incoming::Body(body) => body.read(input, reader, trailers, &self.limits)?,
            Incoming::Raw => Body::UntilClose.read(input, reader, trailers, &self.limits)?,
            Incoming::Offered | Incoming::Ended => Found::Nothing,
        };
        match found {
            Found::Nothing => return Ok(found),
            Found::Data { is_end: false, .. } => {}
            Found::Data { is_end: true, .. } | Found::Trailers | Found::End => {
                exchange.incoming = Incoming::Ended;
            }
        }
        exchange.asked.awaits_continue = false;
        self.settle();
        Ok(found)
    }

    /// Drops what is there of a body that nobody waits for; false when more input is needed.
    fn discard(&mut self, input: &mut BytesMut, trailers: &mut Fields) -> Result<bool, Error> {
        let State::Discard { body, left } = &mut self.core.state else { return Ok(true) };
        let before = input.len();
        let found = body.read(input, &mut self.core.reader, trailers, &self.limits)?;
        if let Found::Data { bytes, after, .. } = found {
            bytes::Buf::advance(input, bytes.saturating_add(after).min(input.len()));
        }
        let dropped = u32::try_from(before.saturating_sub(input.len())).unwrap_or(u32::MAX);
        let rest = left.checked_sub(dropped);
        *left = rest.unwrap_or(0);
        let next = match found {
            _ if rest.is_none() => State::Finished,
            Found::Nothing => return Ok(false),
            Found::Data { is_end: false, .. } => return Ok(true),
            Found::Data { is_end: true, .. } | Found::Trailers | Found::End => {
                State::Idle { empty_lines: 0 }
            }
        };
        self.core.state = next;
        Ok(true)
    }

    /// Moves on when the exchange is over.
    fn settle(&mut self) {
        let State::Exchange(Exchange { incoming, outgoing, keep, .. }) = self.core.state else {
            return;
        };
        let next = match (outgoing, incoming) {
            // RFC 9110 §9.3.6: a tunnel is two directions, each with an end of its own.
            (Some(Outgoing::Ended), Incoming::Raw) => return,
            (Some(Outgoing::Ended), _) if !keep => State::Finished,
            (Some(Outgoing::Ended), Incoming::Ended | Incoming::Offered) => {
                State::Idle { empty_lines: 0 }
            }
            (Some(Outgoing::Ended), Incoming::Body(body)) => {
                State::Discard { body, left: self.limits.discard_bytes_max }
            }
            (None | Some(Outgoing::Body(_) | Outgoing::Offered | Outgoing::Raw), _) => return,
        };
        self.core.state = next;
    }

    fn write_head(
        &mut self,
        stream: StreamId,
        head: &HttpResponse,
        end: End,
    ) -> Result<(), EncodeError> {
        let is_draining = self.core.is_draining;
        let discard_max = self.limits.discard_bytes_max;
        let current = self.stream();
        let State::Exchange(exchange) = &mut self.core.state else {
            return Err(EncodeError::UnknownStream);
        };
        if stream != current {
            return Err(EncodeError::UnknownStream);
        }
        if exchange.outgoing.is_some() {
            return Err(EncodeError::Unfit);
        }
        if exchange.asked.accepts_raw(head.status) {
            return self.write_raw_head(head, end);
        }
        if head.status < 200 {
            return self.write_informational(head, end);
        }
        let keep = exchange.keep && !is_draining && !exchange.leaves_too_much(end, discard_max);
        let (length, outgoing) = framing(exchange.asked, head, end)?;
        let keep = keep && outgoing != Outgoing::Body(Framing::UntilClose);
        let persistence = persistence(exchange.asked, keep);
        encode::response(head, length, persistence, &mut self.output)?;
        exchange.keep = keep;
        exchange.outgoing = Some(outgoing);
        self.settle();
        Ok(())
    }

    /// RFC 9110 §15.2: informational responses are passed on, but not to a client of HTTP/1.0.
    fn write_informational(&mut self, head: &HttpResponse, end: End) -> Result<(), EncodeError> {
        let State::Exchange(exchange) = &mut self.core.state else { return Ok(()) };
        if head.status == 101 || end == End::Yes {
            return Err(EncodeError::Unfit);
        }
        if exchange.asked.is_http10 {
            return Ok(());
        }
        encode::response(head, Length::Unsaid, Persistence::Unsaid, &mut self.output)?;
        if head.status == 100 {
            exchange.asked.awaits_continue = false;
        }
        Ok(())
    }

    /// RFC 9110 §7.8 and §9.3.6: from here on the bytes of another protocol.
    fn write_raw_head(&mut self, head: &HttpResponse, end: End) -> Result<(), EncodeError> {
        let State::Exchange(exchange) = &mut self.core.state else { return Ok(()) };
        let persistence = match head.status {
            101 if head.upgrade.is_empty() => return Err(EncodeError::Unfit),
            101 => Persistence::Upgrade,
            _ => Persistence::Unsaid,
        };
        encode::response(head, Length::Unsaid, persistence, &mut self.output)?;
        exchange.keep = false;
        exchange.incoming = Incoming::Raw;
        exchange.outgoing = Some(if end == End::Yes { Outgoing::Ended } else { Outgoing::Raw });
        self.settle();
        Ok(())
    }

    fn write_data(
        &mut self,
        stream: StreamId,
        data: Data<'_>,
        end: End,
    ) -> Result<(), EncodeError> {
        let current = self.stream();
        let State::Exchange(exchange) = &mut self.core.state else {
            return Err(EncodeError::UnknownStream);
        };
        if stream != current {
            return Err(EncodeError::UnknownStream);
        }
        let outgoing = exchange.outgoing.as_mut().ok_or(EncodeError::Unfit)?;
        match outgoing.send(data, end, &mut self.output) {
            Ok(()) => self.settle(),
            Err(EncodeError::WrongLength) => {
                self.core.state = State::Finished;
                return Err(EncodeError::WrongLength);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn write_trailers(&mut self, stream: StreamId, fields: &Fields) -> Result<(), EncodeError> {
        let exchange = self.exchange(stream).ok_or(EncodeError::UnknownStream)?;
        if exchange.outgoing != Some(Outgoing::Body(Framing::Chunked)) {
            // RFC 9110 §6.5.1: where they cannot be sent, trailers are dropped.
            return self.write_data(stream, Data::Borrowed(b""), End::Yes);
        }
        exchange.outgoing = Some(Outgoing::Ended);
        if let Err(error) = encode::trailers(fields, &mut self.output) {
            if let Some(exchange) = self.exchange(stream) {
                exchange.outgoing = Some(Outgoing::Body(Framing::Chunked));
            }
            return Err(error);
        }
        self.settle();
        Ok(())
    }

    /// What may still be said after a failure here.
    fn last_word(&self) -> LastWord {
        match &self.core.state {
            State::Idle { .. } => LastWord::Free,
            State::Exchange(Exchange { outgoing: None, asked, .. }) if asked.is_head => {
                LastWord::FreeOfBody
            }
            State::Exchange(Exchange { outgoing: None, .. }) => LastWord::Free,
            State::Failed { last_word } => *last_word,
            State::Exchange(_) | State::Discard { .. } | State::Finished => LastWord::Spoken,
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.core.state = State::Failed { last_word: self.last_word() };
        error
    }
}

impl Exchange {
    /// Whether a response that begins now (and perhaps ends) leaves the connection unusable,
    /// because of what is left of the request.
    fn leaves_too_much(&self, end: End, discard_bytes_max: u32) -> bool {
        // RFC 9110 §10.1.1: a client that was not told to go on may or may not send the body.
        if self.asked.awaits_continue {
            return true;
        }
        match self.incoming {
            Incoming::Body(Body::Sized { left }) => {
                end == End::Yes && left > u64::from(discard_bytes_max)
            }
            Incoming::Body(Body::Chunked(_) | Body::UntilClose)
            | Incoming::Offered
            | Incoming::Raw
            | Incoming::Ended => false,
        }
    }
}

/// RFC 9112 §6: how the body of a response is framed.
fn framing(asked: Asked, head: &HttpResponse, end: End) -> Result<(Length, Outgoing), EncodeError> {
    let ended_or =
        |framing| if end == End::Yes { Outgoing::Ended } else { Outgoing::Body(framing) };
    if !asked.allows_body(head.status) {
        // RFC 9110 §8.6: no Content-Length in a 204; else that of the response to a GET.
        let length = match head.body {
            BodySize::Sized(bytes) if head.status != 204 => Length::Bytes(bytes),
            BodySize::Sized(_) | BodySize::None | BodySize::Unknown => Length::Unsaid,
        };
        return Ok((length, ended_or(Framing::Sized { left: 0 })));
    }
    match head.body {
        BodySize::Sized(left) if end == End::Yes && left > 0 => Err(EncodeError::WrongLength),
        BodySize::Sized(left) => Ok((Length::Bytes(left), ended_or(Framing::Sized { left }))),
        BodySize::None => Ok((Length::Bytes(0), ended_or(Framing::Sized { left: 0 }))),
        BodySize::Unknown if end == End::Yes => Ok((Length::Bytes(0), Outgoing::Ended)),
        // RFC 9112 §6.1: no chunks for HTTP/1.0.
        BodySize::Unknown if asked.is_http10 => {
            Ok((Length::Unsaid, Outgoing::Body(Framing::UntilClose)))
        }
        BodySize::Unknown => Ok((Length::Chunked, Outgoing::Body(Framing::Chunked))),
    }
}

/// RFC 9112 §9.3, §9.6.
fn persistence(asked: Asked, keep: bool) -> Persistence {
    match (keep, asked.is_http10) {
        (false, _) => Persistence::Close,
        (true, true) => Persistence::KeepAlive,
        (true, false) => Persistence::Unsaid,
    }
}

impl Codec for Server {
    fn decode<'a>(
        &mut self,
        input: &'a mut BytesMut,
        scratch: &'a mut Scratch,
        _now: Time,
    ) -> Result<Option<Event<'a>>, Error> {
        self.core.reader.advance(input);
        loop {
            match &self.core.state {
                State::Failed { .. } | State::Finished => return Ok(None),
                State::Discard { .. } => match self.discard(input, &mut scratch.trailers) {
                    Ok(true) => {}
                    Ok(false) => return Ok(None),
                    Err(error) => return Err(self.fail(error)),
                },
                State::Idle { .. } => {
                    let end = match self.begin(input, scratch) {
                        Ok(Some(end)) => end,
                        Ok(None) => return Ok(None),
                        Err(error) => return Err(self.fail(error)),
                    };
                    let part = Part::Head(Head::HttpRequest(&mut scratch.request), end);
                    return Ok(Some(Event::Part(self.stream(), part)));
                }
                State::Exchange(_) => {
                    let part = match self.read_body(input, &mut scratch.trailers) {
                        Ok(Found::Nothing) => return Ok(None),
                        Ok(Found::Data { bytes, after, is_end }) => {
                            let data = self.core.reader.data(input, bytes, after);
                            Part::Data(data, end_if(is_end))
                        }
                        Ok(Found::Trailers) => Part::Trailers(&scratch.trailers),
                        Ok(Found::End) => Part::Data(Data::Borrowed(b""), End::Yes),
                        Err(error) => return Err(self.fail(error)),
                    };
                    return Ok(Some(Event::Part(self.stream(), part)));
                }
            }
        }
    }

    fn end_input(&mut self) {
        self.core.reader.has_ended = true;
    }

    fn wants_input(&self) -> bool {
        if self.core.reader.has_ended {
            return false;
        }
        match &self.core.state {
            State::Idle { .. } | State::Discard { .. } => true,
            State::Exchange(exchange) => match exchange.incoming {
                Incoming::Body(_) | Incoming::Raw => true,
                // The next request waits for the response to this one.
                Incoming::Offered | Incoming::Ended => false,
            },
            State::Failed { .. } | State::Finished => false,
        }
    }

    fn release(&mut self, _stream: StreamId, _bytes: usize) {}

    fn open(&mut self) -> Result<StreamId, OpenError> {
        Err(OpenError::Closing)
    }

    fn capacity(&self, stream: StreamId) -> usize {
        match &self.core.state {
            State::Exchange(exchange)
                if stream == self.stream() && exchange.outgoing != Some(Outgoing::Ended) =>
            {
                usize::MAX
            }
            State::Exchange(_)
            | State::Idle { .. }
            | State::Discard { .. }
            | State::Failed { .. }
            | State::Finished => 0,
        }
    }

    fn encode(&mut self, stream: StreamId, part: Part<'_>) -> Result<(), EncodeError> {
        match part {
            Part::Head(Head::HttpResponse(head), end) => self.write_head(stream, head, end),
            Part::Head(Head::HttpRequest(_) | Head::RpcRequest(_) | Head::RpcResponse(_), _) => {
                Err(EncodeError::Unfit)
            }
            Part::Data(data, end) => self.write_data(stream, data, end),
            Part::Trailers(fields) => self.write_trailers(stream, fields),
            Part::Reset(_) => {
                // There is no word for it: what was begun is left without its end.
                self.exchange(stream).ok_or(EncodeError::UnknownStream)?;
                self.core.state = State::Finished;
                Ok(())
            }
        }
    }

    fn reply(&mut self, stream: StreamId, status: Status) {
        let is_draining = self.core.is_draining;
        let discard_max = self.limits.discard_bytes_max;
        let Some(exchange) = self.exchange(stream) else { return };
        if exchange.outgoing.is_some() {
            return;
        }
        exchange.keep &= !is_draining
            && !reply::closes(status)
            && !exchange.leaves_too_much(End::Yes, discard_max);
        exchange.outgoing = Some(Outgoing::Ended);
        let (asked, keep) = (exchange.asked, exchange.keep);
        reply::write(status, persistence(asked, keep), asked.is_head, self.output.tail());
        self.settle();
    }

    fn refuse(&mut self, error: &Error) {
        match self.last_word() {
            LastWord::Spoken => {}
            last_word @ (LastWord::Free | LastWord::FreeOfBody) => {
                let is_head = last_word == LastWord::FreeOfBody;
                reply::write(error.status, Persistence::Close, is_head, self.output.tail());
            }
        }
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
        if matches!(self.core.state, State::Idle { .. }) && !self.core.reader.scan.has_begun() {
            self.core.state = State::Finished;
        }
    }

    fn in_flight(&self) -> usize {
        usize::from(matches!(self.core.state, State::Exchange(_)))
    }

    fn is_finished(&self) -> bool {
        matches!(self.core.state, State::Failed { .. } | State::Finished)
    }

    fn is_output_finished(&self) -> bool {
        match &self.core.state {
            State::Exchange(exchange) => exchange.outgoing == Some(Outgoing::Ended),
            State::Failed { .. } | State::Finished => true,
            State::Idle { .. } | State::Discard { .. } => false,
        }
    }

    fn freeze(&self, _now: Time) -> Frozen {
        Frozen::new(NAME, SNAPSHOT_VERSION, &(Role::Server, &self.core, &self.output))
    }
}

const EMPTY_LINE: Error = malformed("empty_line_before_request");
const HEAD_TRUNCATED: Error = Error::new(Fault::Truncated, Status::BadRequest, "head_truncated");
