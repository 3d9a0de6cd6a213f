//! HTTP/2 against another implementation, the `h2` crate, over memory: what either side says by the
//! script in the input the other understands as it was meant, in both roles.
#![no_main]

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use hangu_codecs::message::End;
use hangu_codecs::{
    BodySize, Codec, Data, Event, Fields, Head, HttpRequest, HttpResponse, Limits, Method, Part,
    Reason, Role, Scratch, StreamId, Time, http2,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

const NOW: Time = Time::from_micros(1);

fuzz_target!(|input: &[u8]| {
    let Some((plan, script)) = input.split_first() else { return };
    match plan & 1 {
        0 => Client::run(script),
        _ => Server::run(script),
    }
});

/// One direction of an exchange, as it was meant and as it was understood.
#[derive(Clone, Default, PartialEq)]
struct Message {
    /// The number in the path or the status.
    head: Option<u16>,
    body: Vec<u8>,
    trailers: Option<Vec<u8>>,
    has_ended: bool,
    was_reset: bool,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { head, body, trailers, has_ended, was_reset } = self;
        let bytes = body.len();
        write!(formatter, "{head:?}, {bytes} bytes, {trailers:?}")?;
        write!(formatter, ", ended {has_ended}, reset {was_reset}")
    }
}

impl Message {
    /// What was understood of what was meant: all of it, or the beginning if it was given up.
    fn check(&self, heard: Option<&Self>, was_given_up: bool) {
        let nothing = Self::default();
        let heard = heard.unwrap_or(&nothing);
        if !was_given_up {
            assert_eq!(heard, self);
            return;
        }
        assert!(heard.head.is_none_or(|it| Some(it) == self.head), "{heard:?} {self:?}");
        assert!(self.body.starts_with(&heard.body), "{heard:?} {self:?}");
        assert!(heard.trailers.is_none() || heard.trailers == self.trailers);
        if heard.has_ended {
            assert!(self.has_ended && heard.body == self.body, "{heard:?} {self:?}");
        }
    }
}

/// Our side: a codec at one end of the line.
struct Ours {
    codec: Box<dyn Codec>,
    line: DuplexStream,
    input: BytesMut,
    scratch: Scratch,
    unsent: BytesMut,
    /// Streams by the number of the request.
    streams: Vec<StreamId>,
    numbers: HashMap<StreamId, usize>,
    heard: BTreeMap<usize, Message>,
    gave_up: Vec<usize>,
}

impl Ours {
    fn new(role: Role, line: DuplexStream, limits: &Limits) -> Self {
        Self {
            codec: (http2::PROTOCOL.codec)(role, limits, NOW),
            line,
            input: BytesMut::new(),
            scratch: Scratch::default(),
            unsent: BytesMut::new(),
            streams: Vec::new(),
            numbers: HashMap::new(),
            heard: BTreeMap::new(),
            gave_up: Vec::new(),
        }
    }

    /// Reads and writes what goes; says whether something did.
    fn turn(&mut self, context: &mut Context<'_>) -> bool {
        let mut room = [0; 16_384];
        let mut moved = 0;
        loop {
            let mut buffer = ReadBuf::new(&mut room);
            let read = Pin::new(&mut self.line).poll_read(context, &mut buffer);
            let Poll::Ready(Ok(())) = read else { break };
            if buffer.filled().is_empty() {
                break;
            }
            moved += buffer.filled().len();
            self.input.extend_from_slice(buffer.filled());
        }
        self.decode();
        let output = self.codec.output().take(BytesMut::new());
        self.unsent.extend_from_slice(&output);
        while !self.unsent.is_empty() {
            let written = Pin::new(&mut self.line).poll_write(context, &self.unsent);
            let Poll::Ready(Ok(bytes @ 1..)) = written else { break };
            moved += bytes;
            let _ = self.unsent.split_to(bytes);
        }
        moved > 0
    }

    fn decode(&mut self) {
        loop {
            let event = self.codec.decode(&mut self.input, &mut self.scratch, NOW);
            let event = event.unwrap_or_else(|error| panic!("{error} in what h2 said"));
            match event {
                None => return,
                Some(Event::Part(stream, part)) => {
                    let mut released = 0;
                    if let Part::Head(Head::HttpRequest(head), _) = &part {
                        let number = number_of(&head.path);
                        assert_eq!(head.fields.find(b"x-number"), Some(&head.path[1..]));
                        self.numbers.insert(stream, number);
                        self.streams.resize(self.streams.len().max(number + 1), NOWHERE);
                        self.streams[number] = stream;
                    }
                    let number = self.numbers[&stream];
                    let heard = self.heard.entry(number).or_default();
                    match part {
                        Part::Head(Head::HttpRequest(_), end) => {
                            heard.head = Some(number as u16);
                            heard.has_ended = end == End::Yes;
                        }
                        Part::Head(Head::HttpResponse(head), end) => {
                            heard.head = Some(head.status);
                            heard.has_ended = end == End::Yes;
                        }
                        Part::Data(data, end) => {
                            heard.body.extend_from_slice(data.as_slice());
                            heard.has_ended = end == End::Yes;
                            released = data.len();
                        }
                        Part::Trailers(fields) => {
                            heard.trailers = fields.find(b"x-sum").map(<[u8]>::to_vec);
                            heard.has_ended = true;
                        }
                        Part::Reset(_) => heard.was_reset = true,
                        Part::Head(..) => panic!("an RPC"),
                    }
                    self.codec.release(stream, released);
                }
                Some(Event::Note(note)) => {
                    let note = format!("{note:?}");
                    let is_fine = ["Heartbeat", "LateResponse", "request_given_up_at_once"];
                    assert!(is_fine.iter().any(|it| note.contains(it)), "{note}");
                }
                Some(Event::Writable(_) | Event::GoAway) => {}
            }
        }
    }

    fn encode(&mut self, number: usize, part: &Part<'_>) -> bool {
        match self.streams.get(number) {
            Some(stream) => self.codec.encode(*stream, part).is_ok(),
            None => false,
        }
    }

    /// Sends a piece, an end, or gives up; `meant` keeps it.
    fn say(&mut self, number: usize, op: Op, meant: &mut Message) {
        match op {
            Op::Data(bytes, end) => {
                if self.encode(number, &Part::Data(Data::Borrowed(&bytes), end)) {
                    meant.body.extend_from_slice(&bytes);
                    meant.has_ended = end == End::Yes;
                }
            }
            Op::Trailers => {
                let mut fields = Fields::new();
                fields.push(b"x-sum", b"1");
                if self.encode(number, &Part::Trailers(&fields)) {
                    meant.trailers = Some(b"1".to_vec());
                    meant.has_ended = true;
                }
            }
            Op::Reset => {
                if self.encode(number, &Part::Reset(Reason::Cancelled)) {
                    self.gave_up.push(number);
                }
            }
        }
    }
}

/// A step of a message that has begun.
enum Op {
    Data(Vec<u8>, End),
    Trailers,
    Reset,
}

impl Op {
    fn of(kind: u8, size: u8) -> Self {
        match kind % 8 {
            0..=2 => Self::Data(vec![size; usize::from(size) * 300], End::No),
            3 => Self::Data(vec![size; usize::from(size)], End::Yes),
            4 => Self::Data(Vec::new(), End::Yes),
            5 | 6 => Self::Trailers,
            _ => Self::Reset,
        }
    }
}

/// What `h2` has of an exchange.
#[derive(Default)]
struct Theirs {
    sending: Option<SendStream<Bytes>>,
    receiving: Option<RecvStream>,
    heard: Message,
    meant: Message,
    gave_up: bool,
}

impl Theirs {
    fn say(&mut self, op: Op) {
        let Some(sending) = &mut self.sending else { return };
        if self.meant.has_ended || self.gave_up {
            return;
        }
        match op {
            Op::Data(bytes, end) => {
                if sending.send_data(bytes.clone().into(), end == End::Yes).is_ok() {
                    self.meant.body.extend_from_slice(&bytes);
                    self.meant.has_ended = end == End::Yes;
                }
            }
            Op::Trailers => {
                let mut fields = HeaderMap::new();
                fields.insert("x-sum", HeaderValue::from_static("1"));
                if sending.send_trailers(fields).is_ok() {
                    self.meant.trailers = Some(b"1".to_vec());
                    self.meant.has_ended = true;
                }
            }
            Op::Reset => {
                sending.send_reset(h2::Reason::CANCEL);
                self.gave_up = true;
            }
        }
    }

    fn hear(&mut self, context: &mut Context<'_>) -> bool {
        let Some(receiving) = &mut self.receiving else { return false };
        let mut moved = false;
        loop {
            match receiving.poll_data(context) {
                Poll::Ready(Some(Ok(bytes))) => {
                    moved = true;
                    self.heard.body.extend_from_slice(&bytes);
                    let _ = receiving.flow_control().release_capacity(bytes.len());
                }
                Poll::Ready(Some(Err(error))) => {
                    self.heard.was_reset = true;
                    assert!(error.is_reset(), "{error}");
                    self.receiving = None;
                    return true;
                }
                Poll::Ready(None) => break,
                Poll::Pending => return moved,
            }
        }
        match receiving.poll_trailers(context) {
            Poll::Ready(Ok(trailers)) => {
                let value = trailers.and_then(|it| it.get("x-sum").cloned());
                self.heard.trailers = value.map(|it| it.as_bytes().to_vec());
                self.heard.has_ended = true;
            }
            Poll::Ready(Err(error)) => {
                assert!(error.is_reset(), "{error}");
                self.heard.was_reset = true;
            }
            Poll::Pending => return moved,
        }
        self.receiving = None;
        true
    }
}

/// `h2` asks, and we answer.
struct Client;

impl Client {
    fn run(script: &[u8]) {
        let context = &mut Context::from_waker(Waker::noop());
        let (near, far) = tokio::io::duplex(40_000);
        let mut ours = Ours::new(Role::Server, far, &limits());
        let mut handshake = Box::pin(h2::client::Builder::new().handshake::<_, Bytes>(near));
        let Poll::Ready(Ok((mut asking, connection))) = handshake.as_mut().poll(context) else {
            panic!("h2 waits for nothing at first")
        };
        let mut connection = Box::pin(connection);
        let mut theirs: Vec<Theirs> = Vec::new();
        let mut answers = Vec::new();
        let mut meant: Vec<Message> = Vec::new();
        let mut turn = |ours: &mut Ours, theirs: &mut Vec<Theirs>, answers: &mut Vec<_>| {
            let mut quiet = 0;
            while quiet < 3 {
                if let Poll::Ready(Err(error)) = connection.as_mut().poll(context) {
                    panic!("{error} in what we said");
                }
                let mut moved = ours.turn(context);
                for (it, answer) in theirs.iter_mut().zip(answers.iter_mut()) {
                    moved |= hear_answer(it, answer, context);
                    moved |= it.hear(context);
                }
                // It may have asked to be woken.
                quiet = if moved { 0 } else { quiet + 1 };
            }
        };
        for step in script.chunks_exact(3).take(120) {
            let [kind, place, size] = step else { return };
            let number = usize::from(*place) % theirs.len().max(1);
            match kind >> 5 {
                0 | 1 if theirs.len() < 40 => {
                    let number = theirs.len();
                    let ready = asking.poll_ready(&mut Context::from_waker(Waker::noop()));
                    if !matches!(ready, Poll::Ready(Ok(()))) {
                        continue;
                    }
                    let request = Request::builder()
                        .method(if kind & 1 == 0 { "GET" } else { "POST" })
                        .uri(format!("http://a/{number}"))
                        .header("x-number", number.to_string())
                        .body(())
                        .expect("a request");
                    let ends = kind & 2 != 0;
                    let (answer, sending) = asking.send_request(request, ends).expect("sent");
                    let head = Some(number as u16);
                    let meant_there = Message { head, has_ended: ends, ..Message::default() };
                    theirs.push(Theirs {
                        sending: Some(sending),
                        meant: meant_there,
                        ..Theirs::default()
                    });
                    answers.push(Some(answer));
                    meant.push(Message::default());
                }
                2 | 3 => {
                    if let Some(it) = theirs.get_mut(number) {
                        it.say(Op::of(*kind, *size));
                    }
                }
                4 => answer(&mut ours, number, *size, &mut meant),
                5 | 6 => {
                    if let Some(meant) = meant.get_mut(number) {
                        ours.say(number, Op::of(*kind, *size), meant);
                    }
                }
                _ => turn(&mut ours, &mut theirs, &mut answers),
            }
        }
        turn(&mut ours, &mut theirs, &mut answers);
        for (number, it) in theirs.iter().enumerate() {
            let reset_here = ours.gave_up.contains(&number);
            // A whole answer ends what is left of the request (RFC 9113 §8.1).
            let was_cut = meant[number].has_ended;
            let was_given_up = it.gave_up || reset_here || was_cut || it.heard.was_reset;
            it.meant.check(ours.heard.get(&number).map(forget_reset).as_ref(), was_given_up);
            let is_late = it.gave_up || reset_here;
            let answer_is_whole = meant[number].has_ended && !is_late;
            if answer_is_whole {
                assert!(it.heard.has_ended, "a whole answer was lost: {:?}", it.heard);
            }
            meant[number].check(Some(&forget_reset(&it.heard)), is_late);
        }
    }
}

fn hear_answer(
    it: &mut Theirs,
    answer: &mut Option<h2::client::ResponseFuture>,
    context: &mut Context<'_>,
) -> bool {
    let Some(future) = answer else { return false };
    match Pin::new(future).poll(context) {
        Poll::Ready(Ok(response)) => {
            it.heard.head = Some(response.status().as_u16());
            it.receiving = Some(response.into_body());
        }
        Poll::Ready(Err(error)) => {
            assert!(error.is_reset(), "{error}");
            it.heard.was_reset = true;
        }
        Poll::Pending => return false,
    }
    *answer = None;
    true
}

fn answer(ours: &mut Ours, number: usize, size: u8, meant: &mut [Message]) {
    let mut head = HttpResponse {
        status: 200 + u16::from(size) % 4,
        body: BodySize::Unknown,
        ..HttpResponse::default()
    };
    let end = if size & 0x80 == 0 { End::No } else { End::Yes };
    let status = head.status;
    if ours.encode(number, &Part::Head(Head::HttpResponse(&mut head), end)) {
        meant[number].head = Some(status);
        meant[number].has_ended = end == End::Yes;
    }
}

/// We ask, and `h2` answers.
struct Server;

impl Server {
    fn run(script: &[u8]) {
        let context = &mut Context::from_waker(Waker::noop());
        let (near, far) = tokio::io::duplex(40_000);
        let mut ours = Ours::new(Role::Client, far, &limits());
        ours.turn(context);
        let mut handshake = Box::pin(h2::server::Builder::new().handshake::<_, Bytes>(near));
        let Poll::Ready(Ok(mut connection)) = handshake.as_mut().poll(context) else {
            panic!("h2 has the preface")
        };
        let mut theirs: BTreeMap<usize, (Theirs, h2::server::SendResponse<Bytes>)> =
            BTreeMap::new();
        let mut meant: Vec<Message> = Vec::new();
        let mut turn = |ours: &mut Ours, theirs: &mut BTreeMap<usize, (Theirs, _)>| {
            let mut quiet = 0;
            while quiet < 3 {
                let mut moved = false;
                while let Poll::Ready(accepted) = connection.poll_accept(context) {
                    let Some(accepted) = accepted else { break };
                    let (request, answering) =
                        accepted.unwrap_or_else(|error| panic!("{error} in what we said"));
                    let number = number_of(request.uri().path().as_bytes());
                    assert_eq!(request.headers()["x-number"], number.to_string());
                    let has_ended = request.body().is_end_stream();
                    let heard =
                        Message { head: Some(number as u16), has_ended, ..Message::default() };
                    let receiving = Some(request.into_body());
                    let it = Theirs { receiving, heard, ..Theirs::default() };
                    theirs.insert(number, (it, answering));
                    moved = true;
                }
                moved |= ours.turn(context);
                for (it, _) in theirs.values_mut() {
                    moved |= it.hear(context);
                }
                // It may have asked to be woken.
                quiet = if moved { 0 } else { quiet + 1 };
            }
        };
        for step in script.chunks_exact(3).take(120) {
            let [kind, place, size] = step else { return };
            let number = usize::from(*place) % meant.len().max(1);
            match kind >> 5 {
                0 | 1 if meant.len() < 40 => ask(&mut ours, *kind, &mut meant),
                2 | 3 => {
                    if let Some(meant) = meant.get_mut(number) {
                        ours.say(number, Op::of(*kind, *size), meant);
                    }
                }
                4 => {
                    let Some((it, answering)) = theirs.get_mut(&number) else { continue };
                    let status = 200 + u16::from(*size) % 4;
                    let ends = size & 0x80 != 0;
                    let response = Response::builder().status(status).body(()).expect("a response");
                    if it.gave_up || it.meant.head.is_some() {
                        continue;
                    }
                    if let Ok(sending) = answering.send_response(response, ends) {
                        it.meant.head = Some(status);
                        it.meant.has_ended = ends;
                        it.sending = Some(sending);
                    }
                }
                5 | 6 => {
                    if let Some((it, _)) = theirs.get_mut(&number) {
                        it.say(Op::of(*kind, *size));
                    }
                }
                _ => turn(&mut ours, &mut theirs),
            }
        }
        turn(&mut ours, &mut theirs);
        for (number, meant) in meant.iter().enumerate() {
            let gave_up = ours.gave_up.contains(&number);
            let Some((it, _)) = theirs.get(&number) else {
                assert!(gave_up, "request {number} was not heard");
                continue;
            };
            // A whole answer ends what is left of the request.
            let was_cut = it.meant.has_ended;
            let was_given_up = gave_up || it.gave_up;
            meant.check(Some(&forget_reset(&it.heard)), was_given_up || was_cut);
            it.meant.check(ours.heard.get(&number).map(forget_reset).as_ref(), was_given_up);
        }
    }
}

fn ask(ours: &mut Ours, kind: u8, meant: &mut Vec<Message>) {
    let number = meant.len();
    let Ok(stream) = ours.codec.open() else { return };
    let mut head = HttpRequest {
        method: if kind & 1 == 0 { Method::Get } else { Method::Post },
        authority: b"a".to_vec(),
        path: format!("/{number}").into_bytes(),
        body: BodySize::Unknown,
        ..HttpRequest::default()
    };
    head.fields.push(b"x-number", number.to_string().as_bytes());
    let end = if kind & 2 == 0 { End::No } else { End::Yes };
    let part = Part::Head(Head::HttpRequest(&mut head), end);
    ours.codec.encode(stream, &part).expect("a good request");
    ours.streams.push(stream);
    ours.numbers.insert(stream, number);
    let head = Some(number as u16);
    meant.push(Message { head, has_ended: end == End::Yes, ..Message::default() });
}

fn forget_reset(message: &Message) -> Message {
    Message { was_reset: false, ..message.clone() }
}

fn number_of(path: &[u8]) -> usize {
    std::str::from_utf8(&path[1..]).expect("digits").parse().expect("a number")
}

/// Small windows, so that they matter.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.http2.stream_window_bytes = 65_535;
    limits.http2.connection_window_bytes = 65_535;
    limits
}

const NOWHERE: StreamId = StreamId { slot: u32::MAX, generation: 0 };
