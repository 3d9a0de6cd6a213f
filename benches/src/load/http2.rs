//! An HTTP/2 client: many streams at once, the body of each compared as it comes.

use std::time::Instant;

use hangu_codecs::message::End;
use hangu_codecs::{BodySize, Data, Head, HttpRequest, Method, Part, Role, StreamId};

use super::client::{Answer, Client, Fault};
use crate::body::body;
use crate::http2::{Broken, Connection, GRPC_PREFIX_BYTES, grpc_message};
use crate::workload::{Asks, GRPC_SERVICE};

/// Connection number and count, which make the message of each call its own.
const STAMP_BYTES: usize = 8;

/// One connection.
#[derive(Debug)]
pub(super) struct Http2Client {
    connection: Connection,
    number: u32,
    asks: Asks,
    head: HttpRequest,
    /// A page, or one message; its stamp is that of the last call.
    content: Vec<u8>,
    count: u32,
    in_flight_max: usize,
    in_flight: usize,
    /// By the slots of their streams.
    calls: Vec<Option<Call>>,
    /// The connection takes no more requests.
    is_over: bool,
}

/// A request that has not been answered.
#[derive(Clone, Copy, Debug)]
struct Call {
    stream: StreamId,
    due: Instant,
    stamp: [u8; STAMP_BYTES],
    /// Bytes of the body so far.
    received: usize,
    verdict: Result<(), Fault>,
}

impl Http2Client {
    /// The client of connection `number` with up to `in_flight` requests at once.
    pub(super) fn new(number: usize, in_flight: usize, asks: Asks) -> Self {
        let mut head = HttpRequest { authority: b"bench.example".to_vec(), ..Default::default() };
        let content = match asks {
            Asks::Page { body_bytes } => {
                head.path = format!("/{body_bytes}").into();
                head.fields.push(b"user-agent", b"hangu-bench");
                head.fields.push(b"accept", b"*/*");
                body(body_bytes).to_vec()
            }
            Asks::Grpc { message_bytes, times } => {
                head.method = Method::Post;
                head.path = format!("{GRPC_SERVICE}{times}").into();
                head.fields.push(b"content-type", b"application/grpc");
                head.fields.push(b"user-agent", b"hangu-bench");
                head.body = BodySize::Unknown;
                head.takes_trailers = true;
                grpc_message(body(message_bytes.max(STAMP_BYTES)))
            }
        };
        Self {
            connection: Connection::new(Role::Client),
            number: number as u32,
            asks,
            head,
            content,
            count: 0,
            in_flight_max: in_flight.max(1),
            in_flight: 0,
            calls: Vec::new(),
            is_over: false,
        }
    }

    fn begin(&mut self, due: Instant) -> Result<(), Broken> {
        self.count = self.count.wrapping_add(1);
        let stamp = ((u64::from(self.number) << 32) | u64::from(self.count)).to_be_bytes();
        let is_grpc = matches!(self.asks, Asks::Grpc { .. });
        let codec = self.connection.codec();
        let stream = codec.open().map_err(|_| Broken)?;
        let end = if is_grpc { End::No } else { End::Yes };
        let head = Part::Head(Head::HttpRequest(&mut self.head), end);
        codec.encode(stream, &head).map_err(|_| Broken)?;
        if is_grpc {
            let message = &mut self.content;
            message[GRPC_PREFIX_BYTES..GRPC_PREFIX_BYTES + STAMP_BYTES].copy_from_slice(&stamp);
            let message = Part::Data(Data::Borrowed(message), End::Yes);
            codec.encode(stream, &message).map_err(|_| Broken)?;
        }
        let slot = stream.slot as usize;
        if slot >= self.calls.len() {
            self.calls.resize(slot + 1, None);
        }
        self.calls[slot] = Some(Call { stream, due, stamp, received: 0, verdict: Ok(()) });
        self.in_flight += 1;
        Ok(())
    }
}

impl Client for Http2Client {
    fn has_room(&self) -> bool {
        self.in_flight < self.in_flight_max && !self.is_over
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn send(&mut self, due: Instant, output: &mut Vec<u8>) {
        // What was begun and could not be sent shows as the connection's end.
        self.is_over |= self.begin(due).is_err();
        self.connection.take_output(output);
    }

    fn receive(&mut self, input: &[u8], answers: &mut Vec<Answer>) -> Result<usize, Fault> {
        if self.is_over {
            return Err(Fault::Closed);
        }
        let (asks, content) = (self.asks, &self.content);
        let (calls, in_flight) = (&mut self.calls, &mut self.in_flight);
        let mut fault = Fault::Malformed;
        let received = self.connection.receive(input, |_, stream, part| {
            let place = calls.get_mut(stream.slot as usize);
            let place = place.filter(|it| it.is_some_and(|call| call.stream == stream));
            let Some((call, place)) = place.and_then(|it| Some(((*it)?, it))) else {
                fault = Fault::Unasked;
                return Err(Broken);
            };
            let (call, is_answered) = call.take(asks, content, &part);
            *place = Some(call).filter(|_| !is_answered);
            if is_answered {
                *in_flight -= 1;
                answers.push(Answer { due: call.due, verdict: call.verdict });
            }
            Ok(())
        });
        received.map_err(|Broken| fault)?;
        Ok(input.len())
    }

    fn settle(&mut self, output: &mut Vec<u8>) {
        self.connection.take_output(output);
    }
}

impl Call {
    /// The call after a part of its answer, and whether that was the last.
    fn take(mut self, asks: Asks, content: &[u8], part: &Part<'_>) -> (Self, bool) {
        let (found, is_last) = match part {
            Part::Head(Head::HttpResponse(head), end) => {
                let verdict = if head.status == 200 { Ok(()) } else { Err(Fault::Status) };
                (verdict, *end == End::Yes)
            }
            Part::Data(data, end) => {
                (self.compare(asks, content, data.as_slice()), *end == End::Yes)
            }
            Part::Trailers(fields) => {
                let is_right = fields.find(b"grpc-status") == Some(b"0");
                (if is_right { Ok(()) } else { Err(Fault::Status) }, true)
            }
            Part::Head(..) => (Err(Fault::Malformed), true),
            Part::Reset(_) => (Err(Fault::Reset), true),
        };
        self.verdict = self.verdict.and(found);
        if is_last {
            let has_trailers = matches!(part, Part::Trailers(_));
            let (bytes, wants_trailers) = match asks {
                Asks::Page { .. } => (content.len(), false),
                Asks::Grpc { times, .. } => (content.len() * times, true),
            };
            let is_whole = self.received == bytes && has_trailers == wants_trailers;
            self.verdict = self.verdict.and(if is_whole { Ok(()) } else { Err(Fault::Length) });
        }
        (self, is_last)
    }

    /// Compares data with what is to stand at its place: the page, or the message again and again.
    fn compare(&mut self, asks: Asks, content: &[u8], data: &[u8]) -> Result<(), Fault> {
        let stamp = match asks {
            Asks::Page { .. } => 0..0,
            Asks::Grpc { .. } => GRPC_PREFIX_BYTES..GRPC_PREFIX_BYTES + STAMP_BYTES,
        };
        let mut rest = data;
        while !rest.is_empty() {
            let place = self.received % content.len();
            // The stamp is the call's own; what is around it is the same for all.
            let (expected, end) = match place {
                _ if place < stamp.start => (content, stamp.start),
                _ if place < stamp.end => (&self.stamp[..], stamp.end),
                _ => (content, content.len()),
            };
            let start = if stamp.contains(&place) { place - stamp.start } else { place };
            let bytes = rest.len().min(end - place);
            let (piece, behind) = rest.split_at(bytes);
            if piece != &expected[start..start + bytes] {
                self.received += rest.len();
                return Err(Fault::Content);
            }
            self.received += bytes;
            rest = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn call(stamp: u8) -> Call {
        let stream = StreamId { slot: 0, generation: 0 };
        let stamp = [stamp; STAMP_BYTES];
        Call { stream, due: clock::now(), stamp, received: 0, verdict: Ok(()) }
    }

    fn trailers(status: &[u8]) -> hangu_codecs::Fields {
        let mut fields = hangu_codecs::Fields::new();
        fields.push(b"grpc-status", status);
        fields
    }

    const TWICE: Asks = Asks::Grpc { message_bytes: 20, times: 2 };

    fn verdict(asks: Asks, content: &[u8], data: &[u8], status: &[u8]) -> Result<(), Fault> {
        let mut all = Vec::new();
        for cut in 0..=data.len() {
            let (first, second) = data.split_at(cut);
            let mut call = call(7);
            for piece in [first, second] {
                let part = Part::Data(Data::Borrowed(piece), End::No);
                (call, _) = call.take(asks, content, &part);
            }
            let (call, is_last) = call.take(asks, content, &Part::Trailers(&trailers(status)));
            assert!(is_last);
            all.push(call.verdict);
        }
        assert!(all.iter().all(|it| *it == all[0]), "the same however it is cut");
        all[0]
    }

    #[test]
    fn messages_are_right_if_each_is_the_one_that_was_sent_however_they_are_cut() {
        let content = grpc_message(body(20));
        let mut own = content.clone();
        own[GRPC_PREFIX_BYTES..GRPC_PREFIX_BYTES + STAMP_BYTES].fill(7);
        assert_eq!(verdict(TWICE, &content, &own.repeat(2), b"0"), Ok(()));
        assert_eq!(verdict(TWICE, &content, &own, b"0"), Err(Fault::Length));
        assert_eq!(verdict(TWICE, &content, &own.repeat(3), b"0"), Err(Fault::Length));
        assert_eq!(verdict(TWICE, &content, &content.repeat(2), b"0"), Err(Fault::Content));
        assert_eq!(verdict(TWICE, &content, &own.repeat(2), b"14"), Err(Fault::Status));
        let mut wrong = own.repeat(2);
        wrong[40] ^= 1;
        assert_eq!(verdict(TWICE, &content, &wrong, b"0"), Err(Fault::Content));
    }

    #[test]
    fn a_call_without_trailers_is_not_whole() {
        let content = grpc_message(&[7; STAMP_BYTES]);
        let asks = Asks::Grpc { message_bytes: STAMP_BYTES, times: 1 };
        let part = Part::Data(Data::Borrowed(&content), End::Yes);
        let (call, is_last) = call(7).take(asks, &content, &part);
        assert_eq!((call.verdict, is_last), (Err(Fault::Length), true));
    }

    #[test]
    fn a_reset_and_bytes_that_are_not_http2_are_faults() {
        let asks = Asks::Page { body_bytes: 100 };
        let reset = Part::Reset(hangu_codecs::Reason::Refused);
        assert_eq!(call(0).take(asks, body(100), &reset).0.verdict, Err(Fault::Reset));
        let mut client = Http2Client::new(0, 1, asks);
        client.send(clock::now(), &mut Vec::new());
        let received = client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n", &mut Vec::new());
        assert_eq!(received, Err(Fault::Malformed));
    }
}
