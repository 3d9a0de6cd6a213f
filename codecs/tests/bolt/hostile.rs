//! Bytes that no honest peer sends, and limits reached and passed.

use hangu_codecs::bolt::{Frame, Header, Kind, Version};
use hangu_codecs::message::Reason;
use hangu_codecs::{Fault, Limits, OpenError, Part, Role, Status};

use crate::support::{CRC, Peer, V2, bytes, fields, heartbeat, request, response};

fn v1() -> Vec<u8> {
    bytes(&[request(5, b"content")])
}

fn v2() -> Vec<u8> {
    bytes(&[Frame { version: V2, ..request(5, b"content") }])
}

fn checked() -> Vec<u8> {
    bytes(&[Frame { version: CRC, ..request(5, b"content") }])
}

fn put(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// A request whose header is these bytes.
fn headed(header: &[u8]) -> Vec<u8> {
    bytes(&[Frame { header: Header::Opaque(header), ..request(5, b"x") }])
}

#[test]
fn what_is_no_bolt_is_refused_with_its_reason() {
    let heartbeat_v1 = bytes(&[heartbeat(7)]);
    let mut without = checked();
    without.truncate(without.len() - 4);
    without.extend(v1());
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("protocol 0", put(v1(), 0, &[0]), "bolt_protocol_code"),
        ("protocol 3", put(v1(), 0, &[3]), "bolt_protocol_code"),
        ("protocol 2, version 0", put(v2(), 1, &[0]), "bolt_protocol_version"),
        ("protocol 2, version 3", put(v2(), 1, &[3]), "bolt_protocol_version"),
        ("type 3", put(v1(), 1, &[3]), "bolt_type"),
        ("type 255", put(v2(), 2, &[255]), "bolt_type"),
        (
            "heartbeat with content",
            put(heartbeat_v1.clone(), 21, &[1]),
            "bolt_heartbeat_with_content",
        ),
        (
            "heartbeat with a class",
            put(heartbeat_v1.clone(), 15, &[1]),
            "bolt_heartbeat_with_content",
        ),
        ("oneway heartbeat", put(heartbeat_v1, 1, &[2]), "bolt_type_and_command"),
        ("command 2 as a request", put(v1(), 2, &[0, 2]), "bolt_type_and_command"),
        ("command 1 as a response", put(v1(), 1, &[0]), "bolt_type_and_command"),
        ("command 3", put(v1(), 2, &[0, 3]), "bolt_command"),
        ("command 100, MOSN's GoAway", put(v1(), 2, &[0, 100]), "bolt_command"),
        ("command 65535", put(v1(), 2, &[0xff, 0xff]), "bolt_command"),
        ("class length 0x8000", put(v1(), 14, &[0x80, 0]), "bolt_class_length"),
        ("class length 0xffff", put(v1(), 14, &[0xff, 0xff]), "bolt_class_length"),
        ("header length 0x8000", put(v1(), 16, &[0x80, 0]), "bolt_header_length"),
        ("header length 0xffff", put(v1(), 16, &[0xff, 0xff]), "bolt_header_length"),
        ("content length -1", put(v1(), 18, &[0xff; 4]), "bolt_content_length"),
        ("content length 2^31-1", put(v1(), 18, &[0x7f, 0xff, 0xff, 0xff]), "frame_too_large"),
        (
            "all lengths at their most",
            put(v1(), 14, &[0x7f, 0xff, 0x7f, 0xff, 0x7f, 0xff, 0xff, 0xff]),
            "frame_too_large",
        ),
        ("name of length 2^31-1", headed(b"\x7f\xff\xff\xffabc"), "bolt_header_fields"),
        ("name past the end", headed(b"\0\0\0\x04abc"), "bolt_header_fields"),
        ("name without a value", headed(b"\0\0\0\x03abc"), "bolt_header_fields"),
        ("odd trailing bytes", headed(b"\0\0\0\x01a\0\0\0\x01b\0\0"), "bolt_header_fields"),
        ("too many tiny fields", headed(&[0; 8 * 1025]), "bolt_too_many_fields"),
        (
            "wrong checksum",
            {
                let l = checked().len();
                put(checked(), l - 1, &[!checked()[l - 1]])
            },
            "wrong_checksum",
        ),
        (
            "changed content under a checksum",
            {
                let l = checked().len();
                put(checked(), l - 6, b"!")
            },
            "wrong_checksum",
        ),
        ("checksum absent", without, "wrong_checksum"),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "bolt_protocol_code"),
        ("TLS", b"\x16\x03\x01\x02\0\x01".to_vec(), "bolt_protocol_code"),
        ("Dubbo", b"\xda\xbb\xc2\0\0\0\0\0".to_vec(), "bolt_protocol_code"),
    ];
    for (name, hostile, reason) in cases {
        for honest_before in [false, true] {
            let mut raw = if honest_before { bytes(&[request(1, b"honest")]) } else { Vec::new() };
            raw.extend_from_slice(&hostile);
            // Whole, and byte by byte: the same end, and what came before it is delivered.
            let mut whole = Peer::new(Role::Server);
            let (events, error) = whole.hear(&raw);
            let Some(error) = error else { panic!("{name} was taken") };
            let served = events.len();
            assert_eq!((error.reason, served), (reason, usize::from(honest_before)), "{name}");
            assert!(whole.codec.is_finished() && !whole.codec.wants_input(), "{name}");
            assert_eq!(whole.give(&v1()), Ok(vec![]), "{name}: nothing more is decoded");
            whole.codec.refuse(&error);
            assert!(whole.sent().is_empty(), "{name}: Bolt has no last words");
            let mut slow = Peer::new(Role::Server);
            let slow = raw.iter().find_map(|it| slow.give(std::slice::from_ref(it)).err());
            assert_eq!(slow, Some(error), "{name} byte by byte");
        }
    }
}

#[test]
fn what_is_odd_but_clear_is_taken() {
    let empty_class =
        Frame { class_name: b"", header: fields(&[]), content: b"", ..request(0, b"") };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("command version 9", put(v1(), 4, &[9])),
        ("id 0", put(v1(), 5, &[0; 4])),
        ("id -1", put(v1(), 5, &[0xff; 4])),
        ("codec 0", put(v1(), 9, &[0])),
        ("codec 255", put(v1(), 9, &[255])),
        ("timeout 0", put(v1(), 10, &[0; 4])),
        ("timeout -5", put(v1(), 10, &[0xff, 0xff, 0xff, 0xfb])),
        ("timeout 2^31-1", put(v1(), 10, &[0x7f, 0xff, 0xff, 0xff])),
        ("unknown switches", put(v2(), 11, &[0xfe])),
        ("checksum switch in version 2.1", put(v2(), 11, &[1])),
        ("nothing but the fixed part", bytes(&[empty_class])),
        ("class with a NUL", bytes(&[Frame { class_name: b"a\0b", ..request(1, b"") }])),
        (
            "a gadget's class",
            bytes(&[Frame { class_name: b"javax.naming.ldap.Rdn", ..request(1, b"") }]),
        ),
        ("null name", headed(b"\xff\xff\xff\xff\0\0\0\x01v")),
        ("null value", headed(b"\0\0\0\x01n\xff\xff\xff\xff")),
        (
            "service with line ends",
            bytes(&[Frame { header: fields(&[("service", "a\r\nb: c")]), ..request(1, b"") }]),
        ),
        ("service that is no text", headed(b"\0\0\0\x07service\0\0\0\x02\xff\xfe")),
        ("no service", bytes(&[Frame { header: fields(&[("x", "y")]), ..request(1, b"") }])),
    ];
    for (name, raw) in cases {
        let mut peer = Peer::new(Role::Server);
        let streams = peer.streams(&raw);
        assert_eq!(streams.len(), 1, "{name}");
        // And goes on byte for byte, but for its id.
        let mut input = bytes::BytesMut::from(&raw[..]);
        let mut server = Peer::new(Role::Server);
        let mut client = Peer::new(Role::Client);
        let stream = client.codec.open().unwrap();
        let event = server.codec.decode(&mut input, &mut server.scratch, server.now).unwrap();
        let Some(hangu_codecs::Event::Part(_, part)) = event else { panic!("{name}") };
        client.codec.encode(stream, &part).unwrap();
        let at = if raw[0] == 1 { 5 } else { 6 };
        assert_eq!(client.sent(), put(raw, at, &stream.generation.to_be_bytes()), "{name}");
    }
}

#[test]
fn a_service_that_stands_twice_is_the_last_one_as_in_java() {
    let header = fields(&[("service", "first:1.0"), ("x", "y"), ("service", "last:1.0")]);
    let events = Peer::new(Role::Server).give(&bytes(&[Frame { header, ..request(1, b"") }]));
    assert!(events.unwrap()[0].contains(" service=last:1.0 "));
}

#[test]
fn a_thousand_frames_in_one_segment_and_one_byte_at_a_time_are_the_same() {
    let frames: Vec<_> = (0..1_000).map(|id| request(id, b"content")).collect();
    let raw = bytes(&frames);
    let whole = Peer::new(Role::Server).give(&raw).unwrap();
    assert_eq!(whole.len(), 1_000);
    let mut peer = Peer::new(Role::Server);
    let slow: Vec<_> =
        raw.iter().flat_map(|it| peer.give(std::slice::from_ref(it)).unwrap()).collect();
    assert_eq!(slow, whole);
}

#[test]
fn frame_bytes_are_bounded() {
    let limit = |frame_bytes_max| {
        let mut limits = Limits::default();
        limits.rpc.frame_bytes_max = frame_bytes_max;
        limits
    };
    for version in [Version::V1, CRC] {
        for content in [10, 100_000] {
            let content = vec![0; content];
            let raw = bytes(&[Frame { version, ..request(1, &content) }]);
            let at_limit = Peer::with(Role::Server, limit(raw.len())).give(&raw);
            assert_eq!(at_limit.unwrap().len(), 1);
            // Refused as soon as its length is known.
            let beyond = Peer::with(Role::Server, limit(raw.len() - 1)).give(&raw[..24]);
            let error = beyond.unwrap_err();
            assert_eq!((error.reason, error.fault), ("frame_too_large", Fault::Limit));
        }
    }
}

#[test]
fn head_bytes_and_fields_are_bounded() {
    let raw = v1();
    let head = raw.len() - 7;
    let mut limits = Limits::default();
    limits.rpc.head_bytes_max = head;
    limits.rpc.fields_max = 4;
    assert_eq!(Peer::with(Role::Server, limits.clone()).give(&raw).unwrap().len(), 1);
    limits.rpc.head_bytes_max = head - 1;
    let error = Peer::with(Role::Server, limits.clone()).give(&raw).unwrap_err();
    assert_eq!((error.reason, error.status), ("head_too_large", Status::FieldsTooLarge));
    limits.rpc.head_bytes_max = head;
    limits.rpc.fields_max = 3;
    let error = Peer::with(Role::Server, limits).give(&raw).unwrap_err();
    assert_eq!((error.reason, error.fault), ("bolt_too_many_fields", Fault::Limit));
}

#[test]
fn at_its_limit_of_streams_a_server_waits_and_a_client_is_full() {
    let mut limits = Limits::default();
    limits.rpc.streams_max = 3;
    let mut server = Peer::with(Role::Server, limits.clone());
    let frames: Vec<_> = (0..5).map(|id| request(id, b"x")).collect();
    let mut streams = server.streams(&bytes(&frames));
    assert_eq!((streams.len(), server.codec.wants_input()), (3, false));
    server.swap();
    server.codec.reply(streams.remove(0), Status::NoRoute);
    assert!(server.codec.wants_input());
    assert_eq!(server.streams(b"").len(), 1);
    server.codec.encode(streams.remove(0), &Part::Reset(Reason::Cancelled)).unwrap();
    assert_eq!(server.streams(b"").len(), 1);
    assert!(server.input.is_empty());

    let mut client = Peer::with(Role::Client, limits);
    let opened: Vec<_> = (0..3).map(|_| client.codec.open().unwrap()).collect();
    assert_eq!(client.codec.open(), Err(OpenError::Full));
    assert!(client.codec.wants_input(), "a client reads on, or it would never be free");
    client.send(opened[0], &request(1, b""));
    client.codec.encode(opened[0], &Part::Reset(Reason::Cancelled)).unwrap();
    assert!(client.codec.open().is_ok(), "what was given up does not count");
}

#[test]
fn heartbeats_and_oneway_requests_pass_a_full_server() {
    let mut limits = Limits::default();
    limits.rpc.streams_max = 1;
    let mut server = Peer::with(Role::Server, limits);
    let oneway = Frame { kind: Kind::Oneway { timeout_ms: -1 }, ..request(2, b"x") };
    let events = server.give(&bytes(&[request(1, b"x"), heartbeat(7), oneway, request(3, b"x")]));
    assert_eq!(events.unwrap().len(), 3);
}

#[test]
fn a_peer_that_takes_no_answers_is_not_read_any_more() {
    let mut limits = Limits::default();
    limits.rpc.unsent_bytes_max = 200;
    let mut server = Peer::with(Role::Server, limits);
    let heartbeats: Vec<_> = (0..10).map(heartbeat).collect();
    server.give(&bytes(&heartbeats)).unwrap();
    assert!(server.codec.wants_input(), "200 bytes wait");
    server.give(&bytes(&[heartbeat(11)])).unwrap();
    assert!(!server.codec.wants_input());
    assert_eq!(server.give(&bytes(&[heartbeat(12)])).unwrap(), ["note HeartbeatReceived"]);
    assert_eq!(server.sent().len(), 220, "the last one was not answered");
    assert!(server.codec.wants_input());
}

#[test]
fn garbage_from_an_upstream_is_an_upstream_failure() {
    let error = Peer::new(Role::Client).give(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
    assert_eq!((error.fault, error.status), (Fault::Malformed, Status::UpstreamFailed));
    let half = bytes(&[response(1, b"content")]);
    let mut cut = Peer::new(Role::Client);
    cut.give(&half[..30]).unwrap();
    cut.codec.end_input();
    assert_eq!(cut.give(b"").unwrap_err().status, Status::UpstreamFailed);
}

#[test]
fn a_damaged_snapshot_is_refused_and_never_panics() {
    let mut peer = Peer::new(Role::Client);
    for _ in 0..5 {
        let stream = peer.codec.open().unwrap();
        peer.send(stream, &request(1, b"x"));
        peer.codec.encode(stream, &Part::Reset(Reason::TimedOut)).unwrap();
    }
    let good = peer.codec.freeze(peer.now);
    for at in 0..good.state.len() {
        for change in [1, 0x80, 0xff] {
            let mut state = good.state.to_vec();
            state[at] ^= change;
            let frozen = hangu_codecs::Frozen { state: state.into(), ..good.clone() };
            let thawed = hangu_codecs::Protocol::thaw(&frozen, &peer.limits, peer.now);
            if let Ok(mut codec) = thawed {
                assert!(codec.open().is_ok() || codec.is_finished() || codec.in_flight() == 0);
                codec.freeze(peer.now);
            }
        }
        let mut short = good.clone();
        short.state.truncate(at);
        assert!(hangu_codecs::Protocol::thaw(&short, &peer.limits, peer.now).is_err());
    }
    let newer = hangu_codecs::Frozen { version: 2, ..good };
    let refused = hangu_codecs::Protocol::thaw(&newer, &peer.limits, peer.now);
    assert_eq!(refused.err(), Some(hangu_codecs::ThawError::UnknownVersion));
}
