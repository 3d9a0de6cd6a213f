//! Answers HTTP/2: small requests, calls with messages both ways, WebSocket, and events.
//!
//! | path, `/two` before it or not | answer |
//! |---|---|
//! | `/one/NUMBER/ASK` | 100 bytes, when asked for |
//! | `/call/NUMBER` | every message comes back, then the SHA-256 of all in the trailers |
//! | `/socket/NUMBER` | every byte comes back |
//! | `/events/NUMBER` | an event every 100 ms |

use std::collections::HashMap;

use hangu_codecs::{Fields, StreamId};
use sha2::{Digest, Sha256};

use super::{Around, Refused, Serve};
use crate::{
    ask::Ask,
    client::{ANSWER_BYTES, hex},
    content, events,
    exchange::{self, HASH_FIELD, Kind},
    group::Group,
    h2::{Came, Malformed, Side, TO_HTTP2},
};

/// One connection.
pub(super) struct Http2 {
    side: Side,
    came: Vec<Came>,
    /// Small requests that are not answered yet, by number.
    asked: HashMap<u64, StreamId>,
    echoes: HashMap<StreamId, Echo>,
    events: HashMap<StreamId, u64>,
    ticks: u32,
}

struct Echo {
    kind: Kind,
    came: Vec<u8>,
    hash: Sha256,
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Self
    }
}

impl Http2 {
    /// A connection on which nothing has come.
    pub(super) fn new() -> Self {
        Self {
            side: Side::server(),
            came: Vec::new(),
            asked: HashMap::new(),
            echoes: HashMap::new(),
            events: HashMap::new(),
            ticks: 0,
        }
    }

    fn take(&mut self, came: Came, around: &mut Around<'_>) -> Result<(), Refused> {
        match came {
            Came::Request(stream, path) => self.begin(stream, &path, around),
            Came::Data(stream, bytes) => {
                self.side.release(stream, bytes.len());
                let echo = self.echoes.get_mut(&stream).ok_or(Refused)?;
                echo.hash.update(&bytes);
                echo.came.extend_from_slice(&bytes);
                while let Some(message) = exchange::take(echo.kind, &mut echo.came) {
                    let number = exchange::number(echo.kind, &message).ok_or(Refused)?;
                    around.ledger.see(number);
                }
                Ok(self.side.send(stream, &bytes)?)
            }
            Came::End(stream) => {
                let Some(echo) = self.echoes.remove(&stream) else { return Ok(()) };
                if echo.kind == Kind::Socket {
                    return Ok(self.side.end(stream)?);
                }
                let mut fields = Fields::new();
                fields.push(b"grpc-status", b"0");
                fields.push(HASH_FIELD, hex(&echo.hash.finalize()).as_bytes());
                Ok(self.side.end_with(stream, &fields)?)
            }
            // Nobody here gives up a stream.
            Came::Reset(_) | Came::GoAway | Came::Trailers(..) | Came::Response(..) => Err(Refused),
        }
    }

    fn begin(
        &mut self,
        stream: StreamId,
        path: &[u8],
        around: &mut Around<'_>,
    ) -> Result<(), Refused> {
        let path = std::str::from_utf8(path).map_err(|_| Refused)?;
        // Without a proxy between all come here.
        let path = path.strip_prefix(TO_HTTP2).unwrap_or(path);
        let mut parts = path.strip_prefix('/').ok_or(Refused)?.split('/');
        let kind = parts.next().ok_or(Refused)?;
        let number = parts.next().and_then(|it| it.parse().ok()).ok_or(Refused)?;
        around.ledger.see(number);
        let echo = |kind| Echo { kind, came: Vec::new(), hash: Sha256::new() };
        match kind {
            "one" => {
                let ask = parts.next().and_then(Ask::from_text).ok_or(Refused)?;
                self.asked.insert(number, stream);
                around.answers.push((ask, number.to_be_bytes().to_vec()));
            }
            "call" => {
                self.side.answer(stream, 200, "application/grpc")?;
                self.echoes.insert(stream, echo(Kind::Call));
            }
            "socket" | "tunnel" => {
                match self.side.answer(stream, 101, "") {
                    Ok(()) => drop(self.echoes.insert(stream, echo(Kind::Socket))),
                    // It does not ask for one.
                    Err(Malformed) => {
                        self.side.answer(stream, 400, "text/plain")?;
                        self.side.end(stream)?;
                    }
                }
            }
            "events" => {
                self.side.answer(stream, 200, events::CONTENT_TYPE)?;
                self.events.insert(stream, 0);
            }
            _ => return Err(Refused),
        }
        Ok(())
    }

    fn answer_one(&mut self, number: u64) -> Result<(), Malformed> {
        let Some(stream) = self.asked.remove(&number) else { return Ok(()) };
        let mut text = Vec::new();
        content::append(number, 0, ANSWER_BYTES, &mut text);
        self.side.answer(stream, 200, "application/octet-stream")?;
        self.side.send(stream, &text)?;
        self.side.end(stream)
    }
}

impl Serve for Http2 {
    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Refused> {
        let mut came = std::mem::take(&mut self.came);
        self.side.receive(input, &mut came)?;
        for came in came.drain(..) {
            self.take(came, around)?;
        }
        self.came = came;
        Ok(input.len())
    }

    fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        // What cannot be sent is missed by the client.
        if let Some(number) = bytes.first_chunk() {
            let _ = self.answer_one(u64::from_be_bytes(*number));
        }
        self.side.take_output(out);
    }

    fn take_output(&mut self, out: &mut Vec<u8>) {
        self.side.take_output(out);
    }

    fn is_streaming(&self) -> bool {
        !self.events.is_empty()
    }

    fn tick(&mut self, _: usize, around: &Around<'_>, out: &mut Vec<u8>) {
        self.ticks = self.ticks.wrapping_add(1);
        if around.is_ending {
            for (stream, count) in std::mem::take(&mut self.events) {
                let _ = self.side.send(stream, events::last(count).as_bytes());
                let _ = self.side.end(stream);
            }
        } else if self.ticks.is_multiple_of(events::TICKS) {
            for (stream, place) in &mut self.events {
                let Some(number) = around.ledger.open(Group::Events) else { break };
                around.ledger.see(number);
                let _ = self.side.send(*stream, events::event(*place, number).as_bytes());
                *place += 1;
            }
        }
        self.side.take_output(out);
    }
}
