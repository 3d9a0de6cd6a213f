//! Server-sent events: one response that lasts for the whole run, over HTTP/1.1 or HTTP/2.

use super::talk::{Around, Heard, Request, Room, Talk};
use crate::{
    events::{Reader, Wrong},
    group::Group,
    h2::{Came, How, Side, TO_HTTP2},
    http::{self, Body},
    tally::Fault,
};

/// One client.
pub(super) struct Events {
    wire: Wire,
    request: Option<Request>,
    reader: Reader,
    numbers: Vec<u64>,
    is_over: bool,
    is_closed_next: bool,
}

enum Wire {
    Http1(Option<Body>),
    Http2 { side: Box<Side>, came: Vec<Came>, leads: &'static str },
}

/// Whether this client speaks HTTP/2.
pub(super) fn is_http2(index: usize) -> bool {
    !index.is_multiple_of(3)
}

impl Events {
    /// One of a number of clients: HTTP/1.1, HTTP/2 to HTTP/1.1 and HTTP/2 to HTTP/2 take turns.
    pub(super) fn new(index: usize) -> Self {
        let http2 = |leads| Wire::Http2 { side: Box::new(Side::client()), came: Vec::new(), leads };
        let wire = match index % 3 {
            _ if !is_http2(index) => Wire::Http1(None),
            1 => http2(""),
            _ => http2(TO_HTTP2),
        };
        Self {
            wire,
            request: None,
            reader: Reader::default(),
            numbers: Vec::new(),
            is_over: false,
            is_closed_next: false,
        }
    }

    fn take_http1(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let Wire::Http1(body) = &mut self.wire else { return Ok(0) };
        let mut taken = 0;
        if body.is_none() {
            let Some(head) = http::head(input)? else { return Ok(0) };
            let status = http::status(head.start)?;
            if status != 200 {
                return Err(Fault::Status(status));
            }
            taken += head.bytes;
            self.is_closed_next |= head.closes;
            *body = Some(Body::new(head.framing));
        }
        let Some(body) = body else { return Ok(taken) };
        let (reader, numbers) = (&mut self.reader, &mut self.numbers);
        let mut outcome = Ok(());
        taken += body.take(&input[taken..], |piece| {
            if outcome.is_ok() {
                outcome = reader.take(piece, numbers);
            }
        })?;
        self.is_over = body.is_done();
        outcome.map_err(|Wrong| Fault::Content)?;
        Ok(taken)
    }

    fn take_http2(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let Wire::Http2 { side, came, .. } = &mut self.wire else { return Ok(0) };
        side.receive(input, came)?;
        for came in came.drain(..) {
            match came {
                Came::Response(_, 200) => {}
                Came::Response(_, status) => return Err(Fault::Status(status)),
                Came::Data(stream, bytes) => {
                    side.release(stream, bytes.len());
                    let taken = self.reader.take(&bytes, &mut self.numbers);
                    taken.map_err(|Wrong| Fault::Content)?;
                }
                Came::End(_) => self.is_over = true,
                Came::Reset(_) => return Err(Fault::Reset),
                Came::GoAway => self.is_closed_next = true,
                Came::Request(..) | Came::Trailers(..) => return Err(Fault::Malformed),
            }
        }
        Ok(input.len())
    }
}

impl Talk for Events {
    fn room(&self) -> Room {
        Room::Streaming
    }

    fn ask(&mut self, _: Request, _: &mut Vec<u8>) {}

    fn tick(&mut self, around: &mut Around<'_>, _: usize, out: &mut Vec<u8>) {
        if self.request.is_some() || around.is_ending || self.is_over {
            return;
        }
        let Some(request) = around.request(Group::Events) else { return };
        let number = request.number;
        match &mut self.wire {
            Wire::Http1(_) => {
                let head = format!("GET /events/{number} HTTP/1.1\r\nHost: swap.test\r\n\r\n");
                out.extend_from_slice(head.as_bytes());
            }
            Wire::Http2 { side, leads, .. } => {
                // Without a stream the request stays without an answer, and is counted so.
                let _ = side.ask(&format!("{leads}/events/{number}"), How::Get);
                side.take_output(out);
            }
        }
        self.request = Some(request);
    }

    fn is_steady(&self) -> bool {
        self.request.is_some()
    }

    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Fault> {
        let taken = match self.wire {
            Wire::Http1(_) if self.request.is_none() => return Err(Fault::Stray),
            Wire::Http1(_) => self.take_http1(input)?,
            Wire::Http2 { .. } => self.take_http2(input)?,
        };
        for number in self.numbers.drain(..) {
            around.ledger.answer(number);
        }
        if self.is_over {
            let Some(request) = self.request.take() else { return Err(Fault::Stray) };
            let verdict = if self.reader.is_over() { Ok(()) } else { Err(Fault::Closed) };
            around.heard.push(Heard { request, verdict, is_timed: false });
        }
        Ok(taken)
    }

    fn take_output(&mut self, out: &mut Vec<u8>) {
        if let Wire::Http2 { side, .. } = &mut self.wire {
            side.take_output(out);
        }
    }

    fn is_closed_next(&self) -> bool {
        self.is_closed_next && self.request.is_none()
    }

    fn take_in_flight(&mut self) -> Vec<Request> {
        self.request.take().into_iter().collect()
    }

    fn is_quiet(&self) -> bool {
        self.request.is_none()
    }
}
