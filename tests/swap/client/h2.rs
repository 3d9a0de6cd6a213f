//! Small requests over HTTP/2, many streams at once: half of them lead to HTTP/1.1, half to HTTP/2.

use std::collections::HashMap;

use hangu_codecs::StreamId;

use super::{
    http::ANSWER_BYTES,
    talk::{Around, Heard, Request, Room, Talk},
};
use crate::{
    content,
    h2::{Came, How, Malformed, Side, TO_HTTP2},
    tally::Fault,
};

/// Streams of a connection at most.
const STREAMS_MAX: usize = 64;

/// One client.
pub(super) struct Http2Talk {
    side: Side,
    came: Vec<Came>,
    in_flight: HashMap<StreamId, Asked>,
    /// Requests for which there was no stream.
    unsent: Vec<Request>,
    is_closed_next: bool,
}

struct Asked {
    request: Request,
    status: u16,
    content: Vec<u8>,
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Http2Talk {
    /// A client.
    pub(super) fn new() -> Self {
        Self {
            side: Side::client(),
            came: Vec::new(),
            in_flight: HashMap::new(),
            unsent: Vec::new(),
            is_closed_next: false,
        }
    }

    fn take(&mut self, came: Came, around: &mut Around<'_>) -> Result<(), Fault> {
        match came {
            Came::Response(stream, status) => {
                self.in_flight.get_mut(&stream).ok_or(Fault::Stray)?.status = status;
            }
            Came::Data(stream, bytes) => {
                self.side.release(stream, bytes.len());
                let asked = self.in_flight.get_mut(&stream).ok_or(Fault::Stray)?;
                asked.content.extend_from_slice(&bytes);
            }
            Came::End(stream) => {
                let asked = self.in_flight.remove(&stream).ok_or(Fault::Stray)?;
                let verdict = asked.verdict();
                around.heard.push(Heard { request: asked.request, verdict, is_timed: true });
            }
            Came::Reset(stream) => {
                let asked = self.in_flight.remove(&stream).ok_or(Fault::Stray)?;
                let verdict = Err(Fault::Reset);
                around.heard.push(Heard { request: asked.request, verdict, is_timed: true });
            }
            Came::GoAway => self.is_closed_next = true,
            Came::Request(..) | Came::Trailers(..) => return Err(Fault::Malformed),
        }
        Ok(())
    }
}

impl Asked {
    fn verdict(&self) -> Result<(), Fault> {
        let is_right = self.content.len() == ANSWER_BYTES
            && content::is_at(self.request.number, 0, &self.content);
        match self.status {
            200 if is_right => Ok(()),
            200 => Err(Fault::Content),
            status => Err(Fault::Status(status)),
        }
    }
}

impl Talk for Http2Talk {
    fn room(&self) -> Room {
        let is_free = self.in_flight.len() < STREAMS_MAX && !self.is_closed_next;
        if is_free { Room::Free } else { Room::Busy }
    }

    fn ask(&mut self, request: Request, out: &mut Vec<u8>) {
        let (number, ask) = (request.number, request.ask.to_text());
        let to = if number.is_multiple_of(2) { TO_HTTP2 } else { "" };
        match self.side.ask(&format!("{to}/one/{number}/{ask}"), How::Get) {
            Ok(stream) => {
                let asked = Asked { request, status: 0, content: Vec::new() };
                self.in_flight.insert(stream, asked);
            }
            Err(Malformed) => self.unsent.push(request),
        }
        self.side.take_output(out);
    }

    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Fault> {
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
        self.is_closed_next && self.in_flight.is_empty()
    }

    fn take_in_flight(&mut self) -> Vec<Request> {
        let asked = self.in_flight.drain().map(|(_, it)| it.request);
        asked.chain(self.unsent.drain(..)).collect()
    }

    fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }
}
