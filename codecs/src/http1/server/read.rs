//! What the server role takes off the input.

use bytes::BytesMut;

use crate::message::End;
use crate::{Error, Fault, Fields, Scratch, Status};

use super::super::body::{Body, Found};
use super::super::head;
use super::super::scan::Scan;
use super::super::state::{Incoming, end_if, malformed};
use super::{Exchange, Server, State};

impl Server {
    /// Takes a request head off the input; `None` when it is not there yet.
    pub(super) fn begin(
        &mut self,
        input: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Result<Option<End>, Error> {
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
            self.core.reader.scan = Scan::default();
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
    pub(super) fn read_body(
        &mut self,
        input: &mut BytesMut,
        trailers: &mut Fields,
    ) -> Result<Found, Error> {
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
    pub(super) fn discard(
        &mut self,
        input: &mut BytesMut,
        trailers: &mut Fields,
    ) -> Result<bool, Error> {
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
}

const EMPTY_LINE: Error = malformed("empty_line_before_request");
const HEAD_TRUNCATED: Error = Error::new(Fault::Truncated, Status::BadRequest, "head_truncated");
