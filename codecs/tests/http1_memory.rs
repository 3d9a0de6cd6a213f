//! What HTTP/1.1 allocates: nothing per message once warm, nothing for what is only declared, and
//! little for a connection that idles.

mod support;

use bytes::BytesMut;
use hangu_codecs::{Codec, Event, Limits, Part, Protocol, Role, Scratch, StreamId, Time, http1};
use support::allocations::{Counting, counted};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[u8] = b"POST /orders/42?full=1 HTTP/1.1\r\nHost: shop.example.com\r\n\
    User-Agent: curl/8.5.0\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\nCookie: id=0123456789\r\n\
    X-Request-Id: 7f3c\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n\
    Content-Length: 15\r\n\r\n{\"hello\":\"all\"}";

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nETag: \"1\"\r\n\r\n\
    11\r\n{\"answer\":\"yes!\"}\r\n0\r\n\r\n";

/// A gateway in small: one connection of either role, and what the worker reuses.
struct Relay {
    server: Box<dyn Codec>,
    client: Box<dyn Codec>,
    scratch: Scratch,
    input: BytesMut,
    spare: BytesMut,
    upstream: StreamId,
    downstream: StreamId,
}

impl Relay {
    fn new() -> Self {
        let limits = Limits::default();
        let now = Time::default();
        let nowhere = StreamId { slot: 0, generation: 0 };
        Self {
            server: (http1::PROTOCOL.codec)(Role::Server, &limits, now),
            client: (http1::PROTOCOL.codec)(Role::Client, &limits, now),
            scratch: Scratch::default(),
            input: BytesMut::with_capacity(4096),
            spare: BytesMut::with_capacity(4096),
            upstream: nowhere,
            downstream: nowhere,
        }
    }

    /// One request there and its response back; says how many bytes went out on both sides.
    fn exchange(&mut self) -> usize {
        let now = Time::default();
        self.input.clear();
        self.input.reserve(4096);
        self.input.extend_from_slice(REQUEST);
        while let Some(event) =
            self.server.decode(&mut self.input, &mut self.scratch, now).expect("a good request")
        {
            let Event::Part(stream, part) = event else { panic!("{event:?}") };
            if matches!(part, Part::Head(..)) {
                self.downstream = stream;
                self.upstream = self.client.open().expect("a reusable connection");
            }
            self.client.encode(self.upstream, &part).expect("a fitting part");
        }
        let sent = self.flush(true);
        self.input.clear();
        self.input.reserve(4096);
        self.input.extend_from_slice(RESPONSE);
        while let Some(event) =
            self.client.decode(&mut self.input, &mut self.scratch, now).expect("a good response")
        {
            let Event::Part(_, part) = event else { panic!("{event:?}") };
            self.server.encode(self.downstream, &part).expect("a fitting part");
        }
        sent + self.flush(false)
    }

    fn flush(&mut self, upstream: bool) -> usize {
        let codec = if upstream { &mut self.client } else { &mut self.server };
        let spare = std::mem::take(&mut self.spare);
        self.spare = codec.output().take(spare);
        self.spare.len()
    }
}

#[test]
fn a_warm_exchange_allocates_nothing() {
    let mut relay = Relay::new();
    let bytes = relay.exchange();
    for _ in 0..10 {
        relay.exchange();
    }
    let (allocations, _) = counted(|| {
        for _ in 0..100 {
            assert_eq!(relay.exchange(), bytes);
        }
    });
    assert_eq!(allocations, 0);
}

#[test]
fn a_declared_length_allocates_nothing() {
    let lengths = [
        "Content-Length: 1152921504606846976\r\n\r\nx",
        "Content-Length: 9223372036854775807\r\n\r\nx",
        "Transfer-Encoding: chunked\r\n\r\n10000000000\r\nx",
        "Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nx",
    ];
    for length in lengths {
        let request = format!("PUT / HTTP/1.1\r\nHost: a\r\n{length}");
        let response = format!("HTTP/1.1 200 OK\r\n{length}");
        let (_, bytes) = counted(|| {
            let mut side =
                support::driver::Side::new(&http1::PROTOCOL, Role::Server, &Limits::default());
            side.feed(request.as_bytes());
            assert_eq!(side.events.0.len(), 2, "{length}");
            // Passed on, a head with such a length costs no more.
            let mut side =
                support::driver::Side::new(&http1::PROTOCOL, Role::Client, &Limits::default());
            side.stream = side.codec.open().unwrap();
            let (mut head, end) = support::script::request("GET a / end");
            side.encode(Part::Head(hangu_codecs::Head::HttpRequest(&mut head), end)).unwrap();
            side.feed(response.as_bytes());
            assert_eq!(side.events.0.len(), 2, "{length}");
        });
        assert!(bytes < 64 * 1024, "{bytes} bytes for {length}");
    }
}

#[test]
fn a_large_piece_is_taken_out_of_the_buffer_without_a_copy() {
    let mut server = (http1::PROTOCOL.codec)(Role::Server, &Limits::default(), Time::default());
    let mut client = (http1::PROTOCOL.codec)(Role::Client, &Limits::default(), Time::default());
    let mut scratch = Scratch::default();
    let mut input =
        BytesMut::from(&b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"[..]);
    input.resize(input.len() + 1_000_000, b'x');
    let at = input.as_ptr_range();
    let up = client.open().unwrap();
    let event = server.decode(&mut input, &mut scratch, Time::default()).unwrap();
    let Some(Event::Part(_, head)) = event else { panic!("{event:?}") };
    client.encode(up, &head).unwrap();
    let (_, bytes) = counted(|| {
        let event = server.decode(&mut input, &mut scratch, Time::default()).unwrap();
        let Some(Event::Part(_, data)) = event else { panic!("{event:?}") };
        client.encode(up, &data).unwrap();
    });
    assert!(bytes < 4096, "{bytes} bytes");
    let mut segments = Vec::new();
    client.output().take_segments(&mut segments, 8);
    let body = segments.last().unwrap();
    assert_eq!(body.len(), 1_000_000);
    assert!(at.contains(&body.as_ptr()), "the body stands where it was read");
}

#[test]
fn an_idle_connection_is_small_and_does_not_grow() {
    let mut relay = Relay::new();
    let frozen = |codec: &dyn Codec| codec.freeze(Time::default()).to_bytes().len();
    let before = (frozen(&*relay.server), frozen(&*relay.client));
    assert!(before.0 <= 64 && before.1 <= 64, "{before:?}");
    for _ in 0..10_000 {
        relay.exchange();
    }
    let after = (frozen(&*relay.server), frozen(&*relay.client));
    // The generation of the stream, counted in a varint, is all that may differ.
    assert!(after.0 <= before.0 + 4 && after.1 <= before.1 + 4, "{before:?} {after:?}");
    for codec in [&mut relay.server, &mut relay.client] {
        codec.output().clear();
        codec.output().shrink();
        let state = size_of_val(&**codec);
        assert!(state <= 256, "{state} bytes");
        println!("{state} bytes of state");
    }
    let (_, held) = counted(|| {
        std::mem::forget((http1::PROTOCOL.codec)(
            Role::Server,
            &Limits::default(),
            Time::default(),
        ));
    });
    assert!(held <= 256, "{held} bytes");
}

#[test]
fn a_head_that_trickles_in_is_not_read_again_and_again() {
    // 64 KiB byte by byte: were each cut to be read from the beginning, this would be 2 GiB.
    let mut server = (http1::PROTOCOL.codec)(Role::Server, &Limits::default(), Time::default());
    let mut scratch = Scratch::default();
    let mut input = BytesMut::with_capacity(70_000);
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    head.resize(65_000, b'x');
    head.extend_from_slice(b"\r\n\r\n");
    let mut heads = 0;
    let (allocations, _) = counted(|| {
        for byte in &head {
            input.extend_from_slice(std::slice::from_ref(byte));
            let decoded = server.decode(&mut input, &mut scratch, Time::default()).unwrap();
            heads += usize::from(decoded.is_some());
        }
    });
    assert_eq!(heads, 1);
    assert!(allocations < 20, "{allocations}");
    assert!(Protocol::find("http1").is_some());
}
