//! HTTP/1.1 upgraded to raw bytes: numbered blocks that must come back as they were.

use std::collections::VecDeque;

use super::{
    http::Response,
    talk::{Around, Heard, Request, Room, Talk},
};
use crate::{
    group::Group,
    tally::Fault,
    tunnel::{BLOCK_BYTES, PROTOCOL, block},
};

/// One client.
#[derive(Default)]
pub(super) struct Tunnel {
    state: State,
    blocks: VecDeque<Request>,
}

#[derive(Default)]
enum State {
    #[default]
    New,
    Asked(Request),
    Open(Request),
    Finished,
}

impl Talk for Tunnel {
    fn room(&self) -> Room {
        Room::Streaming
    }

    fn ask(&mut self, _: Request, _: &mut Vec<u8>) {}

    fn tick(&mut self, around: &mut Around<'_>, unsent: usize, out: &mut Vec<u8>) {
        let can_send = matches!(self.state, State::New | State::Open(_));
        if around.is_ending || unsent > 0 || !can_send {
            return;
        }
        let Some(request) = around.request(Group::Tunnel) else { return };
        if let State::Open(_) = self.state {
            out.extend_from_slice(&block(request.number));
            self.blocks.push_back(request);
            return;
        }
        let number = request.number;
        let head = format!(
            "GET /tunnel/{number}/{PROTOCOL} HTTP/1.1\r\nHost: swap.test\r\nConnection: upgrade\r\n\
             Upgrade: {PROTOCOL}\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        self.state = State::Asked(request);
    }

    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Fault> {
        let mut taken = 0;
        if let State::Asked(request) = self.state {
            let Some((response, bytes, _)) = Response::begin(input)? else { return Ok(0) };
            if response.status() != 101 {
                return Err(Fault::Status(response.status()));
            }
            taken += bytes;
            self.state = State::Open(request);
        }
        while let Some(bytes) = input.get(taken..taken + BLOCK_BYTES) {
            let Some(request) = self.blocks.pop_front() else { return Err(Fault::Stray) };
            taken += BLOCK_BYTES;
            let is_right = bytes == block(request.number);
            let verdict = if is_right { Ok(()) } else { Err(Fault::Content) };
            around.heard.push(Heard { request, verdict, is_timed: true });
        }
        Ok(taken)
    }

    fn take_in_flight(&mut self) -> Vec<Request> {
        let opening = match std::mem::replace(&mut self.state, State::New) {
            State::New | State::Finished => None,
            State::Asked(request) | State::Open(request) => Some(request),
        };
        opening.into_iter().chain(self.blocks.drain(..)).collect()
    }

    fn is_quiet(&self) -> bool {
        self.blocks.is_empty()
    }

    fn finish(&mut self, around: &mut Around<'_>) {
        if let State::Open(request) = std::mem::replace(&mut self.state, State::Finished) {
            around.heard.push(Heard { request, verdict: Ok(()), is_timed: false });
        }
    }
}
