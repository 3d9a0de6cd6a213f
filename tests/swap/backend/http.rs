//! Answers HTTP/1.1: small requests, long bodies both ways, and connections upgraded to raw bytes.
//!
//! | target | answer |
//! |---|---|
//! | `GET /one/NUMBER/ASK` | 100 bytes, when asked for |
//! | `POST /up/NUMBER/PACE` | the SHA-256 of the body |
//! | `GET /down/NUMBER/PACE/BYTES/PIECE/FRAMING` | so many bytes |
//! | `GET /tunnel/NUMBER/PROTOCOL` | 101, then every byte comes back |
//! | `GET /events/NUMBER` | an event every 100 ms |

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{Around, Refused, Serve};
use crate::{
    ask::Ask,
    client::{ANSWER_BYTES, hex},
    content, events,
    group::Group,
    http::{self, Body, Framing, LAST_CHUNK},
    stream::Pace,
    tunnel::{BLOCK_BYTES, NUMBER_BYTES},
};

/// One connection.
#[derive(Default)]
pub(super) struct Http {
    state: State,
    /// The proxy wants the connection closed after the answer.
    closes: bool,
}

#[derive(Default)]
enum State {
    /// The next request comes.
    #[default]
    Head,
    /// An answer is to be given: nothing is read before.
    Answering,
    Up {
        number: u64,
        pace: Pace,
        body: Body,
        hash: Sha256,
        allowance: usize,
    },
    Down {
        number: u64,
        bytes: u64,
        sent: u64,
        piece: usize,
        is_chunked: bool,
    },
    Events {
        place: u64,
        ticks: u32,
    },
    /// Bytes of the block that is coming.
    Tunnel {
        block: Vec<u8>,
    },
    Done,
}

/// What a request wants.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    One { number: u64, ask: Ask },
    Up { number: u64, pace: Pace },
    Down { number: u64, bytes: u64, piece: usize, is_chunked: bool },
    Tunnel { number: u64, protocol: String },
    Events { number: u64 },
}

impl Serve for Http {
    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Refused> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            match &mut self.state {
                State::Head => {
                    let Some(head) = http::head(rest).map_err(|http::Malformed| Refused)? else {
                        return Ok(taken);
                    };
                    taken += head.bytes;
                    self.closes |= head.closes;
                    self.state = begin(&head, around)?;
                }
                State::Up { number, body, hash, allowance, .. } => {
                    let count = body
                        .take(rest, |piece| hash.update(piece))
                        .map_err(|http::Malformed| Refused)?;
                    taken += count;
                    *allowance = allowance.saturating_sub(count);
                    if !body.is_done() {
                        return Ok(taken);
                    }
                    around.ledger.see(*number);
                    let text = hex(&std::mem::take(hash).finalize());
                    around.answers.push((Ask::Now, ok(text.as_bytes())));
                    self.state = State::Answering;
                }
                State::Tunnel { block } => {
                    around.answers.push((Ask::Now, rest.to_vec()));
                    note_blocks(block, rest, around);
                    return Ok(input.len());
                }
                State::Answering | State::Down { .. } | State::Events { .. } | State::Done => {
                    return Ok(taken);
                }
            }
        }
    }

    fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
        if matches!(self.state, State::Answering) {
            self.state = if self.closes { State::Done } else { State::Head };
        }
    }

    fn is_streaming(&self) -> bool {
        match self.state {
            State::Up { pace, .. } => pace == Pace::Receiver,
            State::Down { .. } | State::Events { .. } => true,
            State::Head | State::Answering | State::Tunnel { .. } | State::Done => false,
        }
    }

    fn tick(&mut self, unsent: usize, around: &Around<'_>, out: &mut Vec<u8>) {
        match &mut self.state {
            State::Up { allowance, .. } => *allowance = SLOW_PIECE_BYTES,
            State::Down { number, bytes, sent, piece, is_chunked } => {
                let count = (*piece).min((*bytes - *sent) as usize);
                if unsent > 0 {
                    return;
                }
                let put = |out: &mut Vec<u8>| content::append(*number, *sent, count, out);
                match *is_chunked {
                    true => http::put_chunk(out, put, count),
                    false => put(out),
                }
                *sent += count as u64;
                if sent == bytes {
                    if *is_chunked {
                        out.extend_from_slice(LAST_CHUNK);
                    }
                    self.state = if self.closes { State::Done } else { State::Head };
                }
            }
            State::Events { place, ticks } => {
                *ticks += 1;
                let mut put = |text: String| {
                    http::put_chunk(out, |out| out.extend_from_slice(text.as_bytes()), text.len());
                };
                if around.is_ending {
                    put(events::last(*place));
                    out.extend_from_slice(LAST_CHUNK);
                    self.state = if self.closes { State::Done } else { State::Head };
                } else if ticks.is_multiple_of(events::TICKS)
                    && let Some(number) = around.ledger.open(Group::Events)
                {
                    around.ledger.see(number);
                    put(events::event(*place, number));
                    *place += 1;
                }
            }
            State::Head | State::Answering | State::Tunnel { .. } | State::Done => {}
        }
    }

    fn appetite(&self) -> usize {
        match self.state {
            State::Up { pace: Pace::Receiver, allowance, .. } => allowance,
            _ => usize::MAX,
        }
    }

    fn is_last(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

/// What is taken of a body in a tick that this end makes slow.
const SLOW_PIECE_BYTES: usize = 16 * 1024;

fn begin(head: &http::Head<'_>, around: &mut Around<'_>) -> Result<State, Refused> {
    match target(head.start).ok_or(Refused)? {
        Target::One { number, ask } => {
            around.ledger.see(number);
            let mut text = Vec::new();
            content::append(number, 0, ANSWER_BYTES, &mut text);
            around.answers.push((ask, ok(&text)));
            Ok(State::Answering)
        }
        Target::Up { number, pace } => {
            let (body, hash) = (Body::new(head.framing), Sha256::new());
            if head.framing == Framing::Unsaid {
                return Err(Refused);
            }
            Ok(State::Up { number, pace, body, hash, allowance: SLOW_PIECE_BYTES })
        }
        Target::Down { number, bytes, piece, is_chunked } => {
            around.ledger.see(number);
            let framing = match is_chunked {
                true => "Transfer-Encoding: chunked".to_owned(),
                false => format!("Content-Length: {bytes}"),
            };
            let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
            around.answers.push((Ask::Now, head.into_bytes()));
            Ok(State::Down { number, bytes, sent: 0, piece, is_chunked })
        }
        Target::Tunnel { number, protocol } => {
            around.ledger.see(number);
            let answer = head.websocket_key.map_or_else(String::new, |key| {
                format!("Sec-WebSocket-Accept: {}\r\n", accept(key))
            });
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n{answer}\r\n"
            );
            around.answers.push((Ask::Now, head.into_bytes()));
            Ok(State::Tunnel { block: Vec::new() })
        }
        Target::Events { number } => {
            around.ledger.see(number);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
                events::CONTENT_TYPE
            );
            around.answers.push((Ask::Now, head.into_bytes()));
            Ok(State::Events { place: 0, ticks: 0 })
        }
    }
}

fn target(start: &str) -> Option<Target> {
    let (method, rest) = start.split_once(' ')?;
    let mut parts = rest.split(' ').next()?.strip_prefix('/')?.split('/');
    let kind = parts.next()?;
    let number = parts.next()?.parse().ok()?;
    match (method, kind) {
        ("GET", "one") => Some(Target::One { number, ask: Ask::from_text(parts.next()?)? }),
        ("POST", "up") => Some(Target::Up { number, pace: Pace::from_name(parts.next()?)? }),
        ("GET", "down") => {
            Pace::from_name(parts.next()?)?;
            let bytes = parts.next()?.parse().ok()?;
            let piece = parts.next()?.parse().ok()?;
            Some(Target::Down { number, bytes, piece, is_chunked: parts.next()? == "chunked" })
        }
        ("GET", "tunnel") => Some(Target::Tunnel { number, protocol: parts.next()?.to_owned() }),
        ("GET", "events") => Some(Target::Events { number }),
        _ => None,
    }
}

/// The answer to the key of a WebSocket (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut text = String::new();
    // Twenty bytes: six groups of three, and two.
    for group in hash.finalize().chunks(3) {
        let mut bytes = [0; 4];
        bytes[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bytes);
        let letters = [18, 12, 6, 0].map(|it| char::from(ALPHABET[(bits >> it & 0x3f) as usize]));
        text.extend(&letters[..=group.len()]);
    }
    text + "="
}

/// Enters each whole block into the ledger.
fn note_blocks(block: &mut Vec<u8>, mut input: &[u8], around: &mut Around<'_>) {
    while !input.is_empty() {
        let count = input.len().min(BLOCK_BYTES - block.len());
        block.extend_from_slice(&input[..count]);
        input = &input[count..];
        if block.len() < BLOCK_BYTES {
            return;
        }
        if let Some(number) = block.first_chunk::<NUMBER_BYTES>() {
            around.ledger.see(u64::from_be_bytes(*number));
        }
        block.clear();
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_in_the_example_of_rfc_6455() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn targets_are_read() {
        let one = target("GET /one/7/s3 HTTP/1.1");
        assert_eq!(one, Some(Target::One { number: 7, ask: Ask::PastSwap(3) }));
        let down = target("GET /down/7/sender/1000/10/chunked HTTP/1.1");
        let expected = Target::Down { number: 7, bytes: 1000, piece: 10, is_chunked: true };
        assert_eq!(down, Some(expected));
        assert_eq!(target("GET /up/7/sender HTTP/1.1"), None);
        assert_eq!(target("POST /up/x/sender HTTP/1.1"), None);
    }
}
