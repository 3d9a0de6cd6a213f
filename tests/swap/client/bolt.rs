//! Bolt requests, several at a time.

use std::collections::HashMap;

use super::talk::{Around, Heard, Request, Room, Talk};
use crate::{
    ask::ASK_BYTES,
    bolt::{self, Kind, Version},
    content,
    tally::Fault,
};

/// Bytes of number, [`crate::ask::Ask`] and text.
const CONTENT_BYTES: usize = 128;
/// Where the text begins.
const TEXT_OFFSET: usize = 8 + ASK_BYTES;

/// One client.
pub(super) struct BoltTalk {
    version: Version,
    in_flight_max: usize,
    next_id: u32,
    in_flight: HashMap<u32, Request>,
}

impl BoltTalk {
    /// A client that has at most so many requests in flight.
    pub(super) fn new(version: Version, in_flight_max: usize) -> Self {
        Self { version, in_flight_max, next_id: 1, in_flight: HashMap::new() }
    }
}

impl Talk for BoltTalk {
    fn room(&self) -> Room {
        if self.in_flight.len() < self.in_flight_max { Room::Free } else { Room::Busy }
    }

    fn ask(&mut self, request: Request, out: &mut Vec<u8>) {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        out.extend_from_slice(&bolt::request(self.version, id, &content_of(&request)));
        self.in_flight.insert(id, request);
    }

    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Fault> {
        let mut taken = 0;
        while let Some(frame) =
            bolt::frame(&input[taken..]).map_err(|bolt::Malformed| Fault::Malformed)?
        {
            taken += frame.bytes;
            if frame.kind != Kind::Response {
                return Err(Fault::Malformed);
            }
            let Some(request) = self.in_flight.remove(&frame.id) else { return Err(Fault::Stray) };
            let verdict = match frame.status {
                0 if frame.content == content_of(&request) => Ok(()),
                0 => Err(Fault::Content),
                status => Err(Fault::Status(status)),
            };
            around.heard.push(Heard { request, verdict, is_timed: true });
        }
        Ok(taken)
    }

    fn take_in_flight(&mut self) -> Vec<Request> {
        self.in_flight.drain().map(|(_, request)| request).collect()
    }

    fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }
}

fn content_of(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CONTENT_BYTES);
    bytes.extend_from_slice(&request.number.to_be_bytes());
    bytes.extend_from_slice(&request.ask.to_bytes());
    content::append(request.number, 0, CONTENT_BYTES - TEXT_OFFSET, &mut bytes);
    bytes
}
