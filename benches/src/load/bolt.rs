//! A Bolt client: many requests in flight, answers in any order.

use std::time::Instant;

use super::client::{Answer, Client, Fault};
use crate::body::body;
use crate::bolt::{self, Kind, Malformed};

/// Bits of an id that name the place in flight; the bits above count, below the sign bit of Java.
const PLACE_BITS: u32 = 10;
const PLACES_MAX: usize = 1 << PLACE_BITS;
const COUNT_MASK: u32 = (1 << (31 - PLACE_BITS)) - 1;
/// Connection number and id, which make the content of each request its own.
const STAMP_BYTES: usize = 8;

/// One connection.
#[derive(Debug)]
pub(super) struct BoltClient {
    number: u32,
    /// A whole request; id and stamp are patched in the copy that is sent.
    template: Vec<u8>,
    stamp_offset: usize,
    count: u32,
    places: Vec<Place>,
    free: Vec<u32>,
}

/// A place in flight.
#[derive(Clone, Copy, Debug)]
enum Place {
    Free,
    Taken { id: u32, due: Instant },
}

impl BoltClient {
    /// The client of connection `number` with up to `in_flight` requests at once, at most 1,024.
    pub(super) fn new(number: usize, in_flight: usize, content_bytes: usize) -> Self {
        let in_flight = in_flight.clamp(1, PLACES_MAX);
        let content = body(content_bytes.max(STAMP_BYTES));
        let template = bolt::request(content);
        Self {
            number: number as u32,
            stamp_offset: template.len() - content.len(),
            template,
            count: 0,
            places: vec![Place::Free; in_flight],
            free: (0..in_flight as u32).rev().collect(),
        }
    }

    fn stamp(&self, id: u32) -> [u8; STAMP_BYTES] {
        ((u64::from(self.number) << 32) | u64::from(id)).to_be_bytes()
    }

    fn verify(&self, frame: &bolt::Frame<'_>, status: u16) -> Result<(), Fault> {
        if status != 0 {
            return Err(Fault::Status);
        }
        let expected = &self.template[self.stamp_offset..];
        if frame.content.len() != expected.len() {
            return Err(Fault::Length);
        }
        let (stamp, filler) = frame.content.split_at(STAMP_BYTES);
        let is_right = stamp == self.stamp(frame.id)
            && filler == &expected[STAMP_BYTES..]
            && frame.class == bolt::RESPONSE_CLASS;
        if is_right { Ok(()) } else { Err(Fault::Content) }
    }
}

impl Client for BoltClient {
    fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    fn in_flight(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn send(&mut self, due: Instant, output: &mut Vec<u8>) {
        let Some(place) = self.free.pop() else { return };
        self.count = (self.count + 1) & COUNT_MASK;
        let id = (self.count << PLACE_BITS) | place;
        self.places[place as usize] = Place::Taken { id, due };
        let start = output.len();
        output.extend_from_slice(&self.template);
        let frame = &mut output[start..];
        frame[bolt::ID_OFFSET..bolt::ID_OFFSET + 4].copy_from_slice(&id.to_be_bytes());
        let stamp = self.stamp(id);
        frame[self.stamp_offset..self.stamp_offset + STAMP_BYTES].copy_from_slice(&stamp);
    }

    fn receive(&mut self, input: &[u8], answers: &mut Vec<Answer>) -> Result<usize, Fault> {
        let mut taken = 0;
        while let Some(frame) =
            bolt::frame(&input[taken..]).map_err(|Malformed| Fault::Malformed)?
        {
            taken += frame.bytes;
            let Kind::Response { status } = frame.kind else { return Err(Fault::Malformed) };
            let number = frame.id & (PLACES_MAX as u32 - 1);
            let Some(place) = self.places.get(number as usize) else { return Err(Fault::Unasked) };
            let due = match *place {
                Place::Taken { id, due } if id == frame.id => due,
                Place::Taken { .. } | Place::Free => return Err(Fault::Unasked),
            };
            answers.push(Answer { due, verdict: self.verify(&frame, status) });
            self.places[number as usize] = Place::Free;
            self.free.push(number);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// The requests of `client` that fill all its places, as (id, content).
    fn sent(client: &mut BoltClient) -> Vec<(u32, Vec<u8>)> {
        let mut output = Vec::new();
        while client.has_room() {
            client.send(clock::now(), &mut output);
        }
        let mut requests = Vec::new();
        let mut input = &output[..];
        while let Some(frame) = bolt::frame(input).unwrap() {
            requests.push((frame.id, frame.content.to_vec()));
            input = &input[frame.bytes..];
        }
        requests
    }

    fn verdicts(client: &mut BoltClient, input: &[u8]) -> Vec<Result<(), Fault>> {
        let mut answers = Vec::new();
        assert_eq!(client.receive(input, &mut answers), Ok(input.len()));
        answers.iter().map(|answer| answer.verdict).collect()
    }

    #[test]
    fn answers_in_any_order_are_right_and_free_their_places() {
        let mut client = BoltClient::new(3, 4, 128);
        let requests = sent(&mut client);
        let mut input = Vec::new();
        for (id, content) in requests.iter().rev() {
            bolt::put_response(&mut input, *id, content);
        }
        assert_eq!(verdicts(&mut client, &input), [Ok(()); 4]);
        assert_eq!(client.in_flight(), 0);
        let again = sent(&mut client);
        assert!(again.iter().all(|(id, _)| requests.iter().all(|(old, _)| old != id)));
    }

    #[test]
    fn an_answer_that_was_given_twice_or_to_another_request_is_a_fault() {
        let mut client = BoltClient::new(3, 2, 128);
        let requests = sent(&mut client);
        let mut input = Vec::new();
        bolt::put_response(&mut input, requests[0].0, &requests[1].1);
        assert_eq!(verdicts(&mut client, &input), [Err(Fault::Content)]);
        assert_eq!(client.receive(&input, &mut Vec::new()), Err(Fault::Unasked));
    }

    #[test]
    fn another_connections_answer_is_a_fault() {
        let (mut client, mut other) = (BoltClient::new(3, 1, 128), BoltClient::new(4, 1, 128));
        let (id, _) = sent(&mut client)[0];
        let (_, foreign) = &sent(&mut other)[0];
        let mut input = Vec::new();
        bolt::put_response(&mut input, id, foreign);
        assert_eq!(verdicts(&mut client, &input), [Err(Fault::Content)]);
    }

    #[test]
    fn a_failed_status_and_a_wrong_length_are_faults() {
        let mut client = BoltClient::new(3, 2, 128);
        let requests = sent(&mut client);
        let mut input = Vec::new();
        bolt::put_response(&mut input, requests[0].0, &requests[0].1);
        input[11] = 7;
        bolt::put_response(&mut input, requests[1].0, &requests[1].1[..127]);
        assert_eq!(verdicts(&mut client, &input), [Err(Fault::Status), Err(Fault::Length)]);
    }

    #[test]
    fn ids_stay_positive_for_java() {
        let mut client = BoltClient::new(0, 1, 128);
        client.count = COUNT_MASK - 1;
        for _ in 0..3 {
            let (id, content) = sent(&mut client)[0].clone();
            assert!(i32::try_from(id).is_ok());
            let mut input = Vec::new();
            bolt::put_response(&mut input, id, &content);
            assert_eq!(verdicts(&mut client, &input), [Ok(())]);
        }
    }
}
