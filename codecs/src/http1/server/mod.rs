//! The server role: takes requests, one at a time, and sends the responses to them.

mod read;
mod write;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::message::End;
use crate::{
    Codec, Data, EncodeError, Error, Event, Frozen, Head, OpenError, Output, Part, Role, Scratch,
    Status, StreamId, ThawError, Time,
};

use super::body::{Body, Found};
use super::encode::Persistence;
use super::limits::Limits;
use super::state::{Asked, Incoming, Outgoing, Reader, end_if};
use super::{NAME, SNAPSHOT_VERSION, reply};

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
        let (_, core) = frozen.read::<(Role, Core)>()?;
        let output = Output::of(&frozen.output);
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

    fn encode(&mut self, stream: StreamId, part: &Part<'_>) -> Result<(), EncodeError> {
        match part {
            Part::Head(Head::HttpResponse(head), end) => self.write_head(stream, head, *end),
            Part::Head(Head::HttpRequest(_) | Head::RpcRequest(_) | Head::RpcResponse(_), _) => {
                Err(EncodeError::Unfit)
            }
            Part::Data(data, end) => self.write_data(stream, data, *end),
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
        reply::write(status, write::persistence(asked, keep), asked.is_head, self.output.tail());
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
        Frozen::new(NAME, SNAPSHOT_VERSION, &(Role::Server, &self.core), &self.output)
    }
}
