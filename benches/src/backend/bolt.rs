//! Answers Bolt requests with their own content.

use std::io;
use std::net::TcpStream;

use super::Refused;
use crate::bolt::{self, Kind, Malformed};
use crate::transfer::Outbox;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    answers: Outbox,
}

impl Dialogue {
    pub(super) fn receive(&mut self, input: &[u8]) -> Result<usize, Refused> {
        let mut taken = 0;
        while let Some(frame) = bolt::frame(&input[taken..]).map_err(|Malformed| Refused)? {
            match frame.kind {
                Kind::Request => bolt::put_response(self.answers.tail(), frame.id, frame.content),
                Kind::Heartbeat => bolt::put_heartbeat_ack(self.answers.tail(), frame.id),
                Kind::Response { .. } | Kind::HeartbeatAck => return Err(Refused),
            }
            taken += frame.bytes;
        }
        Ok(taken)
    }

    pub(super) fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        self.answers.flush(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_whole_frames_of_a_read_are_answered_in_order_and_the_rest_is_left() {
        let mut input = bolt::request(b"first");
        input.extend(bolt::request(b"second"));
        let whole = input.len();
        input.extend_from_slice(&bolt::request(b"third")[..30]);
        let mut dialogue = Dialogue::default();
        assert_eq!(dialogue.receive(&input).unwrap(), whole);
        let mut expected = Vec::new();
        bolt::put_response(&mut expected, 0, b"first");
        bolt::put_response(&mut expected, 0, b"second");
        assert_eq!(*dialogue.answers.tail(), expected);
    }
}
