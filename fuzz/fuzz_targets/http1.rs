//! HTTP/1.1, both roles: neither cuts nor a freeze in the middle change what a codec gives and
//! writes; and a second, plain reader sees the same message in the input and in what is passed on.
#![no_main]

#[path = "../../codecs/tests/support/reader.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the tests of the codecs")]
mod reader;

use bytes::BytesMut;
use hangu_codecs::message::End;
use hangu_codecs::{
    Codec, Event, Frozen, Head, HttpRequest, HttpResponse, Limits, Method, Part, Protocol, Role,
    Scratch, Status, StreamId, Time, http1,
};
use hangu_fuzz::Choices;
use libfuzzer_sys::fuzz_target;

const NOW: Time = Time::from_micros(1);

fuzz_target!(|input: &[u8]| {
    let (bytes, mut choices) = Choices::split(input);
    let plan = choices.byte();
    let role = if plan & 1 == 0 { Role::Server } else { Role::Client };
    let asked = plan >> 1;
    let whole = Run::new(role, asked).run(bytes, &mut Choices::split(&[]).1, Freeze::Never);
    let cut = Run::new(role, asked).run(bytes, &mut choices, Freeze::Often);
    assert_eq!(whole, cut, "cuts or freezing changed what was given");
    if role == Role::Server {
        compare_with_reader(bytes, &whole);
    }
});

/// What a connection gave and wrote.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    requests: Vec<Seen>,
    responses: Vec<(HttpResponse, Vec<u8>, bool)>,
    error: Option<&'static str>,
    written: Vec<u8>,
    is_finished: bool,
}

/// A request: its head, its body, whether it ended, and how a client codec wrote it.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    head: HttpRequest,
    body: Vec<u8>,
    trailers: usize,
    has_ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Freeze {
    Never,
    Often,
}

struct Run {
    codec: Box<dyn Codec>,
    role: Role,
    input: BytesMut,
    scratch: Scratch,
    stream: StreamId,
    outcome: Outcome,
    upgrades: bool,
}

impl Run {
    fn new(role: Role, asked: u8) -> Self {
        let mut run = Self {
            codec: (http1::PROTOCOL.codec)(role, &limits(), NOW),
            role,
            input: BytesMut::new(),
            scratch: Scratch::default(),
            stream: StreamId { slot: 0, generation: 0 },
            outcome: Outcome::default(),
            upgrades: asked & 1 == 1,
        };
        if role == Role::Client {
            run.ask(asked);
        }
        run
    }

    /// Sends a request whose response the input is.
    fn ask(&mut self, asked: u8) {
        let mut head = HttpRequest { authority: b"a:1".to_vec(), ..HttpRequest::default() };
        head.path = b"/".to_vec();
        let end = match asked & 3 {
            0 => End::Yes,
            1 => {
                head.upgrade = b"x".to_vec();
                End::No
            }
            2 => {
                head.method = Method::Connect;
                End::No
            }
            _ => {
                head.method = Method::Head;
                End::Yes
            }
        };
        self.stream = self.codec.open().expect("a new connection takes a stream");
        let part = Part::Head(Head::HttpRequest(&mut head), end);
        self.codec.encode(self.stream, &part).expect("the request is well formed");
        self.codec.output().clear();
    }

    fn run(mut self, bytes: &[u8], choices: &mut Choices<'_>, freeze: Freeze) -> Outcome {
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = if choices.is_empty() { rest.len() } else { 1 + choices.up_to(64) };
            let (piece, after) = rest.split_at(size.min(rest.len()));
            self.input.extend_from_slice(piece);
            rest = after;
            self.pump(freeze);
        }
        self.codec.end_input();
        self.pump(freeze);
        self.outcome.is_finished = self.codec.is_finished();
        self.outcome
    }

    fn pump(&mut self, freeze: Freeze) {
        while self.outcome.error.is_none() {
            if freeze == Freeze::Often {
                let bytes = self.codec.freeze(NOW).to_bytes();
                let frozen = Frozen::from_bytes(&bytes).expect("a snapshot reads as bytes");
                self.codec = Protocol::thaw(&frozen, &limits(), NOW).expect("a snapshot thaws");
            }
            let event = match self.codec.decode(&mut self.input, &mut self.scratch, NOW) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    self.outcome.error = Some(error.reason);
                    self.codec.refuse(&error);
                    break;
                }
            };
            let Event::Part(stream, part) = event else { panic!("{event:?}") };
            self.stream = stream;
            let has_ended = match (self.role, part) {
                (Role::Server, part) => note_request(&mut self.outcome.requests, part),
                (Role::Client, part) => {
                    note_response(&mut self.outcome.responses, part);
                    false
                }
            };
            if has_ended {
                self.answer();
            }
        }
        let output = self.codec.output().take(BytesMut::new());
        self.outcome.written.extend_from_slice(&output);
    }

    /// Accepts an upgrade where that is planned, and answers anything else in short.
    fn answer(&mut self) {
        let offers = self.outcome.requests.last().is_some_and(|it| !it.head.upgrade.is_empty());
        if !(offers && self.upgrades) {
            return self.codec.reply(self.stream, Status::NoRoute);
        }
        let mut head =
            HttpResponse { status: 101, upgrade: b"x".to_vec(), ..HttpResponse::default() };
        let part = Part::Head(Head::HttpResponse(&mut head), End::Yes);
        self.codec.encode(self.stream, &part).expect("an offer can be accepted");
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.http1.head_bytes_max = 600;
    limits.http1.target_bytes_max = 200;
    limits.http1.fields_max = 12;
    limits.http1.trailer_bytes_max = 100;
    limits.http1.chunk_extension_bytes_max = 40;
    limits.http1.discard_bytes_max = 100;
    limits
}

/// Notes a part of a request; says whether the request can be answered.
fn note_request(requests: &mut Vec<Seen>, part: Part<'_>) -> bool {
    let end = match part {
        Part::Head(Head::HttpRequest(head), end) => {
            requests.push(Seen { head: head.clone(), ..Seen::default() });
            let is_offer = !head.upgrade.is_empty() || head.method == Method::Connect;
            if is_offer {
                return true;
            }
            end
        }
        Part::Data(data, end) => {
            let request = requests.last_mut().expect("a head comes first");
            request.body.extend_from_slice(data.as_slice());
            // What follows an accepted upgrade needs no answer.
            if !request.head.upgrade.is_empty() {
                return false;
            }
            end
        }
        Part::Trailers(fields) => {
            requests.last_mut().expect("a head comes first").trailers = fields.len();
            End::Yes
        }
        Part::Head(..) | Part::Reset(_) => panic!("{part:?}"),
    };
    requests.last_mut().expect("a head comes first").has_ended = end == End::Yes;
    end == End::Yes
}

fn note_response(responses: &mut Vec<(HttpResponse, Vec<u8>, bool)>, part: Part<'_>) {
    match part {
        Part::Head(Head::HttpResponse(head), end) => {
            responses.push((head.clone(), Vec::new(), end == End::Yes));
        }
        Part::Data(data, end) => {
            let last = responses.last_mut().expect("a head comes first");
            last.1.extend_from_slice(data.as_slice());
            last.2 = end == End::Yes;
        }
        Part::Trailers(_) => responses.last_mut().expect("a head comes first").2 = true,
        Part::Head(..) | Part::Reset(_) => panic!("{part:?}"),
    }
}

/// Every request that was taken to its end is one that a plain reader sees in the same bytes, and
/// is passed on as a message that it reads in the same way.
fn compare_with_reader(bytes: &[u8], outcome: &Outcome) {
    let mut rest = bytes;
    for seen in &outcome.requests {
        let is_offer = !seen.head.upgrade.is_empty() || seen.head.method == Method::Connect;
        if !seen.has_ended || is_offer {
            return;
        }
        let (message, after) = match reader::request(rest) {
            Ok(read) => read,
            Err(error) => panic!("{error}, but the codec read {seen:?}"),
        };
        rest = after;
        assert_eq!(message.first[0], seen.head.method.as_str().as_bytes());
        assert!(
            // RFC 9112 §3.2.1: an absolute form may leave the slash of an empty path out.
            message.first[1]
                .ends_with(seen.head.path.strip_prefix(b"/").unwrap_or(&seen.head.path))
                || seen.head.path == b"*"
        );
        assert_eq!(message.body, seen.body);
        assert_eq!(message.trailers.len(), seen.trailers);
        for (name, value) in seen.head.fields.iter() {
            let pair = (name.to_vec(), value.to_vec());
            assert!(message.fields.contains(&pair), "{pair:?} is not in {message:?}");
        }
        let (passed, behind) = match pass_on(seen) {
            Some(written) => reader::request(&written).map(|(it, rest)| (it, rest.len())),
            None => return,
        }
        .expect("what is passed on is well formed");
        assert_eq!(behind, 0);
        assert_eq!((&passed.first[0], &passed.body), (&message.first[0], &message.body));
        assert_eq!(passed.first[1], seen.head.path);
    }
}

/// The request as a client codec writes it.
fn pass_on(seen: &Seen) -> Option<Vec<u8>> {
    let mut client = (http1::PROTOCOL.codec)(Role::Client, &limits(), NOW);
    let stream = client.open().ok()?;
    let mut head = seen.head.clone();
    let part = Part::Head(Head::HttpRequest(&mut head), End::No);
    client.encode(stream, &part).expect("what was read can be written");
    let data = hangu_codecs::Data::Borrowed(&seen.body);
    client.encode(stream, &Part::Data(data, End::Yes)).expect("so can its body");
    Some(client.output().take(BytesMut::new()).to_vec())
}
