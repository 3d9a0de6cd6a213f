//! What HTTP/2 allocates: nothing per exchange once warm, nothing for what is only declared, and
//! little for a connection that idles, however many streams it had.

mod support;

use bytes::BytesMut;
use hangu_codecs::http2::{self, frame::Setting};
use hangu_codecs::message::End;
use hangu_codecs::{Codec, Event, Head, Limits, Part, Role, Scratch, StreamId, Time};
use support::allocations::{Counting, counted};
use support::http2::{
    GET, OK, POST, Peer, Writer, data, get, greeting, raw, response, said_settings, settings_ack,
    window,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/orders/42?full=1"),
    (":authority", "shop.example.com"),
    ("user-agent", "curl/8.5.0"),
    ("accept", "*/*"),
    ("cookie", "id=0123456789"),
    ("x-request-id", "7f3c"),
    ("content-type", "application/json"),
    ("content-length", "15"),
];

const RESPONSE: &[(&str, &str)] = &[
    (":status", "200"),
    ("server", "nginx"),
    ("date", "Sun, 22 Nov 2026 12:00:00 GMT"),
    ("content-type", "application/json"),
    ("etag", "\"1\""),
];

/// A gateway in small: one connection of either role, and what the worker reuses.
struct Relay {
    server: Box<dyn Codec>,
    client: Box<dyn Codec>,
    scratch: Scratch,
    input: BytesMut,
    spare: BytesMut,
    asking: Writer,
    answering: Writer,
    number: u32,
    /// Exchanges that are under way at once.
    width: usize,
    /// Streams of a round: of the server and of the client.
    joined: Vec<(StreamId, StreamId)>,
    /// What the peers write, made before allocations are counted.
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Relay {
    fn new(width: usize) -> Self {
        let limits = Limits::default();
        let now = Time::default();
        let mut relay = Self {
            server: (http2::PROTOCOL.codec)(Role::Server, &limits, now),
            client: (http2::PROTOCOL.codec)(Role::Client, &limits, now),
            scratch: Scratch::default(),
            input: BytesMut::with_capacity(64 * 1024),
            spare: BytesMut::with_capacity(64 * 1024),
            asking: Writer::new(),
            answering: Writer::new(),
            number: 1,
            width,
            joined: Vec::with_capacity(width),
            to_server: Vec::new(),
            to_client: Vec::new(),
        };
        let mut first = greeting(&[]);
        first.extend_from_slice(&window(0, 1 << 30));
        relay.input.extend_from_slice(&first);
        let decoded = relay.server.decode(&mut relay.input, &mut relay.scratch, now);
        assert!(decoded.expect("a greeting").is_none());
        let mut first = said_settings(&[Setting::MaxConcurrentStreams(1000)]);
        first.extend_from_slice(&window(0, 1 << 30));
        relay.input.extend_from_slice(&first);
        let decoded = relay.client.decode(&mut relay.input, &mut relay.scratch, now);
        assert!(decoded.expect("a greeting").is_none());
        relay.flush(true);
        relay.flush(false);
        relay
    }

    /// What the peers are going to say in the next round.
    fn prepare(&mut self) {
        for place in 0..self.width as u32 {
            let stream = self.number + place * 2;
            self.asking.headers(stream, REQUEST, false);
            self.asking.data(stream, b"{\"hello\":\"all\"}", true);
            self.answering.headers(stream, RESPONSE, false);
            self.answering.data(stream, b"{\"answer\":\"yes!\"}", true);
        }
        self.number += self.width as u32 * 2;
        self.to_server = self.asking.take();
        self.to_client = self.answering.take();
    }

    /// Requests there and responses back.
    fn exchange(&mut self) {
        let now = Time::default();
        self.joined.clear();
        self.input.clear();
        self.input.extend_from_slice(&self.to_server);
        while let Some(event) =
            self.server.decode(&mut self.input, &mut self.scratch, now).expect("good requests")
        {
            let Event::Part(down, part) = event else { panic!("{event:?}") };
            if matches!(part, Part::Head(..)) {
                self.joined.push((down, self.client.open().expect("a stream")));
            }
            let up = self.joined.iter().find(|it| it.0 == down).expect("it has begun").1;
            let bytes = if let Part::Data(data, _) = &part { data.len() } else { 0 };
            self.client.encode(up, &part).expect("a fitting part");
            self.server.release(down, bytes);
        }
        self.flush(true);
        self.input.clear();
        self.input.extend_from_slice(&self.to_client);
        while let Some(event) =
            self.client.decode(&mut self.input, &mut self.scratch, now).expect("good responses")
        {
            let Event::Part(up, part) = event else { panic!("{event:?}") };
            let down = self.joined.iter().find(|it| it.1 == up).expect("it has begun").0;
            let bytes = if let Part::Data(data, _) = &part { data.len() } else { 0 };
            self.server.encode(down, &part).expect("a fitting part");
            self.client.release(up, bytes);
        }
        self.flush(false);
        assert_eq!((self.server.in_flight(), self.client.in_flight()), (0, 0));
    }

    fn flush(&mut self, upstream: bool) {
        let codec = if upstream { &mut self.client } else { &mut self.server };
        let spare = std::mem::take(&mut self.spare);
        self.spare = codec.output().take(spare);
        assert!(!self.spare.is_empty());
    }
}

#[test]
fn a_warm_exchange_allocates_nothing() {
    for width in [1, 10] {
        let mut relay = Relay::new(width);
        for _ in 0..20 {
            relay.prepare();
            relay.exchange();
        }
        let mut allocations = 0;
        for _ in 0..100 {
            relay.prepare();
            allocations += counted(|| relay.exchange()).0;
        }
        assert_eq!(allocations, 0, "in 100 rounds of {width} exchanges");
    }
}

#[test]
fn a_declared_length_allocates_nothing() {
    let list = [POST, &[("content-length", "9223372036854775807")]].concat();
    let mut writer = Writer::new();
    let mut bytes = writer.headers(1, &list, false).data(1, b"x", false).take();
    // A frame that says it is as long as one may be.
    bytes.extend_from_slice(&data(1, &[0; 16_384], false)[..9]);
    let mut server = Peer::server();
    let (_, allocated) = counted(|| assert_eq!(server.give(&bytes).len(), 2));
    assert!(allocated < 32 * 1024, "{allocated} bytes");
}

#[test]
fn a_field_block_that_never_ends_holds_what_came_up_to_its_limit() {
    let mut server = Peer::server();
    let mut held = 0;
    let mut frame = raw(1, 1, 1, &[0; 16_384]);
    let mut frames = 0;
    while server.error.is_none() {
        let before = server.frozen_bytes();
        assert!(before < 64 * 1024 + 1024, "{before}");
        held = held.max(before);
        server.give(&frame);
        frame = raw(9, 0, 1, &[0; 16_384]);
        frames += 1;
    }
    assert!(frames <= 5 && held > 60_000, "{frames}, {held}");
    assert_eq!(server.error.map(|it| it.reason), Some("field_block_too_large"));
    assert!(server.frozen_bytes() < 1024, "it is forgotten with the error");
}

#[test]
fn an_idle_connection_is_small_and_does_not_grow() {
    let mut relay = Relay::new(50);
    let frozen = |codec: &dyn Codec| codec.freeze(Time::default()).to_bytes().len();
    for _ in 0..5 {
        relay.prepare();
        relay.exchange();
    }
    let before = (frozen(&*relay.server), frozen(&*relay.client));
    for _ in 0..500 {
        relay.prepare();
        relay.exchange();
    }
    let after = (frozen(&*relay.server), frozen(&*relay.client));
    // Generations and ids, counted in varints, are all that may differ.
    assert!(after.0 <= before.0 + 300 && after.1 <= before.1 + 300, "{before:?} {after:?}");
    for codec in [&relay.server, &relay.client] {
        println!("{} bytes of state", size_of_val(&**codec));
    }
    let mut held = 0;
    for role in [Role::Server, Role::Client] {
        let (_, bytes) = counted(|| {
            std::mem::forget((http2::PROTOCOL.codec)(role, &Limits::default(), Time::default()));
        });
        held = held.max(bytes);
    }
    println!("{held} bytes for a new connection");
    assert!(held <= 2048, "{held} bytes");
}

#[test]
fn an_idle_connection_that_once_had_many_streams_gives_their_memory_back() {
    let mut server = Peer::server_with(|it| it.streams_max = 10_000);
    let mut writer = Writer::new();
    for stream in 0..10_000 {
        writer.headers(stream * 2 + 1, GET, true);
    }
    server.give(&writer.take());
    for stream in server.streams.clone() {
        server.answer(stream, 204, End::Yes);
    }
    assert_eq!(server.codec.in_flight(), 0);
    server.sent();
    let frozen = server.frozen_bytes();
    assert!(frozen <= 1_000, "{frozen} bytes");
}

#[test]
fn windows_at_zero_make_us_hold_no_more_than_was_encoded() {
    // Responses of which nothing can go: the relay asks for room, and there is none.
    let mut server = Peer::with(Role::Server, |_| {});
    server.give(&greeting(&[Setting::InitialWindowSize(0)]));
    server.sent();
    let mut writer = Writer::new();
    for stream in 0..256 {
        writer.headers(stream * 2 + 1, GET, true);
    }
    server.give(&writer.take());
    for stream in server.streams.clone() {
        assert_eq!(server.codec.capacity(stream), 0);
        let mut head = response(200);
        let part = Part::Head(Head::HttpResponse(&mut head), End::No);
        server.encode(stream, part).unwrap();
        assert_eq!(server.codec.capacity(stream), 0);
    }
    server.sent();
    let (_, bytes) = counted(|| {
        for stream in server.streams.clone() {
            server
                .codec
                .encode(stream, &Part::Data(hangu_codecs::Data::Borrowed(b"x"), End::No))
                .unwrap();
        }
    });
    assert!(bytes < 256 * 1024, "{bytes} bytes for 256 bytes that wait");
}

#[test]
fn answers_that_are_never_read_are_bounded_by_what_may_be_asked() {
    let mut server = Peer::server();
    let ping = support::http2::ping(false, [0; 8]);
    while server.error.is_none() {
        server.give(&ping);
    }
    assert!(server.codec.output().len() < 20_000, "{}", server.codec.output().len());
    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    client.give(&Writer::new().headers(1, OK, true).take());
    assert_eq!(client.give(&settings_ack()), [""; 0]);
}
