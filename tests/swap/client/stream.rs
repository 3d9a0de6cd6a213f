//! Long bodies over HTTP/1.1, one after the other on the same connection: up, hashed by the
//! backend, and down, hashed here.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::{
    http::Response,
    talk::{Around, Heard, Request, Room, Talk},
};
use crate::{
    content,
    group::Group,
    http::{self, Body, Framing, LAST_CHUNK},
    stream::{Pace, Shape},
    tally::Fault,
};

/// A client that sends long bodies.
pub(super) struct Upload {
    shape: Shape,
    sending: Option<Sending>,
    response: Option<Response>,
    is_closed_next: bool,
}

struct Sending {
    request: Request,
    sent: u64,
    hash: Sha256,
}

impl Upload {
    /// A client whose bodies are all of this shape.
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, sending: None, response: None, is_closed_next: false }
    }

    fn begin(&mut self, request: Request, out: &mut Vec<u8>) {
        let Shape { pace, bytes, is_chunked, .. } = self.shape;
        let framing = match is_chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {bytes}"),
        };
        let (number, pace) = (request.number, pace.name());
        // Writing to a vector does not fail.
        let head =
            format!("POST /up/{number}/{pace} HTTP/1.1\r\nHost: swap.test\r\n{framing}\r\n\r\n");
        out.extend_from_slice(head.as_bytes());
        self.sending = Some(Sending { request, sent: 0, hash: Sha256::new() });
    }
}

impl Sending {
    fn put(&mut self, shape: &Shape, out: &mut Vec<u8>, bytes: usize) {
        let mut piece = Vec::new();
        content::append(self.request.number, self.sent, bytes, &mut piece);
        self.hash.update(&piece);
        self.sent += bytes as u64;
        if !shape.is_chunked {
            out.extend_from_slice(&piece);
            return;
        }
        http::put_chunk(out, |out| out.extend_from_slice(&piece), bytes);
        if self.sent == shape.bytes {
            out.extend_from_slice(LAST_CHUNK);
        }
    }
}

impl Talk for Upload {
    fn room(&self) -> Room {
        Room::Streaming
    }

    fn ask(&mut self, _: Request, _: &mut Vec<u8>) {}

    fn tick(&mut self, around: &mut Around<'_>, unsent: usize, out: &mut Vec<u8>) {
        if self.sending.is_none() && !around.is_ending && !self.is_closed_next {
            let Some(request) = around.request(Group::Upload) else { return };
            self.begin(request, out);
        }
        let Some(sending) = &mut self.sending else { return };
        // Nothing is piled up here when nobody takes it.
        if unsent > 0 {
            return;
        }
        let piece = self.shape.piece(Pace::Sender).min((self.shape.bytes - sending.sent) as usize);
        if piece > 0 {
            sending.put(&self.shape, out, piece);
        }
    }

    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Fault> {
        let mut taken = 0;
        if self.sending.is_none() && !input.is_empty() {
            return Err(Fault::Stray);
        }
        if self.response.is_none() {
            let Some((response, bytes, closes)) = Response::begin(input)? else { return Ok(0) };
            taken += bytes;
            self.is_closed_next |= closes;
            self.response = Some(response);
        }
        let Some(response) = &mut self.response else { return Ok(taken) };
        taken += response.take(&input[taken..])?;
        if !response.is_done() {
            return Ok(taken);
        }
        let Some(sending) = self.sending.take() else { return Err(Fault::Stray) };
        let is_whole = sending.sent == self.shape.bytes;
        let expected = hex(&sending.hash.finalize());
        let verdict = match response.status() {
            200 if is_whole && response.content() == expected.as_bytes() => Ok(()),
            200 => Err(Fault::Content),
            status => Err(Fault::Status(status)),
        };
        around.heard.push(Heard { request: sending.request, verdict, is_timed: false });
        self.response = None;
        // The rest of a body that was answered early would be taken for the next request.
        if is_whole { Ok(taken) } else { Err(Fault::Closed) }
    }

    fn is_closed_next(&self) -> bool {
        self.is_closed_next && self.sending.is_none()
    }

    fn take_in_flight(&mut self) -> Vec<Request> {
        self.response = None;
        self.sending.take().map(|it| it.request).into_iter().collect()
    }

    fn is_quiet(&self) -> bool {
        self.sending.is_none()
    }
}

/// A client that receives long bodies.
pub(super) struct Download {
    shape: Shape,
    request: Option<Request>,
    receiving: Option<Receiving>,
    allowance: usize,
    is_closed_next: bool,
}

struct Receiving {
    status: u16,
    body: Body,
    received: u64,
    hash: Sha256,
    expected: Sha256,
}

impl Download {
    /// A client whose bodies are all of this shape.
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, request: None, receiving: None, allowance: 0, is_closed_next: false }
    }

    fn begin(&mut self, request: Request, out: &mut Vec<u8>) {
        let Shape { pace, bytes, is_chunked, .. } = self.shape;
        let framing = if is_chunked { "chunked" } else { "sized" };
        let (number, pace) = (request.number, pace.name());
        let target =
            format!("/down/{number}/{pace}/{bytes}/{}/{framing}", self.shape.piece(Pace::Sender));
        let head = format!("GET {target} HTTP/1.1\r\nHost: swap.test\r\n\r\n");
        out.extend_from_slice(head.as_bytes());
        self.request = Some(request);
    }
}

impl Receiving {
    fn begin(input: &[u8]) -> Result<Option<(Self, usize, bool)>, Fault> {
        let Some(head) = http::head(input)? else { return Ok(None) };
        let status = http::status(head.start)?;
        if head.framing == Framing::Unsaid {
            return Err(Fault::Malformed);
        }
        let body = Body::new(head.framing);
        let (hash, expected) = (Sha256::new(), Sha256::new());
        Ok(Some((Self { status, body, received: 0, hash, expected }, head.bytes, head.closes)))
    }

    fn take(&mut self, number: u64, input: &[u8]) -> Result<usize, Fault> {
        let (received, hash, expected) = (&mut self.received, &mut self.hash, &mut self.expected);
        let mut own = Vec::new();
        let taken = self.body.take(input, |piece| {
            own.clear();
            content::append(number, *received, piece.len(), &mut own);
            expected.update(&own);
            hash.update(piece);
            *received += piece.len() as u64;
        })?;
        Ok(taken)
    }

    fn verdict(self, bytes: u64) -> Result<(), Fault> {
        match self.status {
            200 if self.received == bytes && self.hash.finalize() == self.expected.finalize() => {
                Ok(())
            }
            200 => Err(Fault::Content),
            status => Err(Fault::Status(status)),
        }
    }
}

impl Talk for Download {
    fn room(&self) -> Room {
        Room::Streaming
    }

    fn ask(&mut self, _: Request, _: &mut Vec<u8>) {}

    fn tick(&mut self, around: &mut Around<'_>, _: usize, out: &mut Vec<u8>) {
        self.allowance = self.shape.piece(Pace::Receiver);
        if self.request.is_none() && !around.is_ending && !self.is_closed_next {
            let Some(request) = around.request(Group::Download) else { return };
            self.begin(request, out);
        }
    }

    fn appetite(&mut self) -> usize {
        // Between two bodies all is read, so that an end of the connection is noticed.
        if self.request.is_none() { usize::MAX } else { self.allowance }
    }

    fn is_steady(&self) -> bool {
        self.shape.pace == Pace::Sender && self.receiving.is_some()
    }

    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Fault> {
        let Some(request) = self.request else { return Err(Fault::Stray) };
        let mut taken = 0;
        if self.receiving.is_none() {
            let Some((receiving, bytes, closes)) = Receiving::begin(input)? else { return Ok(0) };
            taken += bytes;
            self.is_closed_next |= closes;
            self.receiving = Some(receiving);
        }
        let Some(receiving) = &mut self.receiving else { return Ok(taken) };
        taken += receiving.take(request.number, &input[taken..])?;
        self.allowance = self.allowance.saturating_sub(taken);
        if !receiving.body.is_done() {
            return Ok(taken);
        }
        let verdict = self.receiving.take().map_or(Ok(()), |it| it.verdict(self.shape.bytes));
        around.heard.push(Heard { request, verdict, is_timed: false });
        self.request = None;
        if taken == input.len() { Ok(taken) } else { Err(Fault::Stray) }
    }

    fn is_closed_next(&self) -> bool {
        self.is_closed_next && self.request.is_none()
    }

    fn take_in_flight(&mut self) -> Vec<Request> {
        self.receiving = None;
        self.request.take().into_iter().collect()
    }

    fn is_quiet(&self) -> bool {
        self.request.is_none()
    }
}

/// A hash as text.
pub(crate) fn hex(hash: &[u8]) -> String {
    let mut text = String::new();
    for byte in hash {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
