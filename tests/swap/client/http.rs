//! Small HTTP/1.1 requests, one at a time.

use super::talk::{Around, Heard, Request, Room, Talk};
use crate::{
    ask::Ask,
    content,
    http::{self, Body, Framing},
    tally::Fault,
};

/// Bytes of a small answer.
pub(crate) const ANSWER_BYTES: usize = 100;

/// One client.
#[derive(Default)]
pub(super) struct HttpTalk {
    in_flight: Option<Request>,
    response: Option<Response>,
    is_closed_next: bool,
}

/// A response that is coming.
pub(super) struct Response {
    status: u16,
    body: Body,
    content: Vec<u8>,
}

impl Response {
    /// Reads its head, if that has come; gives it with the bytes of the head, and whether the
    /// connection is closed afterwards.
    pub(super) fn begin(input: &[u8]) -> Result<Option<(Self, usize, bool)>, Fault> {
        let Some(head) = http::head(input)? else { return Ok(None) };
        let status = http::status(head.start)?;
        if head.framing == Framing::Unsaid && status != 101 {
            return Err(Fault::Malformed);
        }
        let response = Self { status, body: Body::new(head.framing), content: Vec::new() };
        Ok(Some((response, head.bytes, head.closes)))
    }

    /// Takes of its body; gives how much.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<usize, Fault> {
        Ok(self.body.take(input, |it| self.content.extend_from_slice(it))?)
    }

    /// Whether it has come whole.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_done()
    }

    /// Its status code.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Its body so far.
    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }
}

impl From<http::Malformed> for Fault {
    fn from(_: http::Malformed) -> Self {
        Self::Malformed
    }
}

impl Talk for HttpTalk {
    fn room(&self) -> Room {
        match self.in_flight.map(|it| it.ask) {
            None if self.is_closed_next => Room::Busy,
            None => Room::Free,
            Some(Ask::Now) => Room::Busy,
            Some(Ask::After(_) | Ask::PastSwap(_)) => Room::Kept,
        }
    }

    fn ask(&mut self, request: Request, out: &mut Vec<u8>) {
        let (number, ask) = (request.number, request.ask.to_text());
        let head = format!("GET /one/{number}/{ask} HTTP/1.1\r\nHost: swap.test\r\n\r\n");
        out.extend_from_slice(head.as_bytes());
        self.in_flight = Some(request);
    }

    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Fault> {
        let mut taken = 0;
        while taken < input.len() {
            let Some(request) = self.in_flight else { return Err(Fault::Stray) };
            if self.response.is_none() {
                let Some((response, bytes, closes)) = Response::begin(&input[taken..])? else {
                    break;
                };
                taken += bytes;
                self.is_closed_next |= closes;
                self.response = Some(response);
            }
            let Some(response) = &mut self.response else { break };
            taken += response.take(&input[taken..])?;
            if !response.is_done() {
                break;
            }
            let verdict = verdict(request.number, response);
            around.heard.push(Heard { request, verdict, is_timed: true });
            (self.in_flight, self.response) = (None, None);
        }
        Ok(taken)
    }

    fn is_closed_next(&self) -> bool {
        self.is_closed_next && self.in_flight.is_none()
    }

    fn take_in_flight(&mut self) -> Vec<Request> {
        self.in_flight.take().into_iter().collect()
    }

    fn is_quiet(&self) -> bool {
        self.in_flight.is_none()
    }
}

fn verdict(number: u64, response: &Response) -> Result<(), Fault> {
    if response.status() != 200 {
        return Err(Fault::Status(response.status()));
    }
    let content = response.content();
    let is_right = content.len() == ANSWER_BYTES && content::is_at(number, 0, content);
    if is_right { Ok(()) } else { Err(Fault::Content) }
}
