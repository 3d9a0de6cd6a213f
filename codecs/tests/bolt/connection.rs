//! Dialogues: what one side of a connection does with what the other says.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hangu_codecs::bolt::{self, Frame, Header, Kind, Version, status};
use hangu_codecs::message::{End, Reason};
use hangu_codecs::{
    Data, EncodeError, Event, Fault, Head, HttpRequest, Limits, OpenError, Part, Role, RpcPayload,
    Scratch, Status, StreamId,
};

use crate::support::{CRC, Peer, V2, at, bytes, fields, heartbeat, parsed, request, response};

fn one(bytes: &[u8]) -> Frame<'_> {
    let (frame, length) = Frame::parse(bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len(), "one frame and nothing else");
    frame
}

/// Opens a call, sends it, and tells its stream and its id on the wire.
fn call(peer: &mut Peer, frame: &Frame<'_>) -> (StreamId, u32) {
    let stream = peer.codec.open().unwrap();
    peer.send(stream, frame);
    let sent = peer.sent();
    (stream, one(&sent).id)
}

#[test]
fn a_request_is_forwarded_as_it_came_but_for_its_id() {
    for version in [Version::V1, V2, CRC] {
        let mut peer = Peer::new(Role::Client);
        let frame = Frame { version, ..request(0xffff_fff0, b"content") };
        let stream = peer.codec.open().unwrap();
        peer.send(stream, &frame);
        let sent = peer.sent();
        let arrived = one(&sent);
        assert_eq!(arrived, Frame { id: arrived.id, ..frame });
        assert!((1..=0x7fff_ffff).contains(&arrived.id));
    }
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let mut peer = Peer::new(Role::Client);
    let calls: Vec<_> = (0..100).map(|_| call(&mut peer, &request(1, b"x"))).collect();
    assert_eq!(peer.codec.in_flight(), 100);
    for (stream, id) in calls.iter().rev() {
        assert_eq!(peer.streams(&bytes(&[response(*id, b"y")])), [*stream]);
        assert_eq!(peer.codec.capacity(*stream), 0);
    }
    assert_eq!(peer.codec.in_flight(), 0);
}

#[test]
fn the_answer_has_the_id_version_and_switches_of_its_request() {
    for asked in [Version::V1, V2, CRC] {
        for answered in [Version::V1, V2, CRC] {
            let mut peer = Peer::new(Role::Server);
            let frame = Frame { version: asked, ..request(0x8000_0007, b"x") };
            let stream = peer.streams(&bytes(&[frame]))[0];
            let header = fields(&[("rpc_resp_baggage.k", "v")]);
            let frame = Frame { version: answered, header, ..response(55, b"answer") };
            peer.send(stream, &frame);
            let sent = peer.sent();
            assert_eq!(one(&sent), Frame { version: asked, id: 0x8000_0007, ..frame });
            assert_eq!(peer.codec.in_flight(), 0);
        }
    }
}

#[test]
fn a_late_answer_is_dropped_and_its_id_is_not_used_meanwhile() {
    let mut peer = Peer::new(Role::Client);
    let (stream, id) = call(&mut peer, &request(1, b"x"));
    peer.codec.encode(stream, &Part::Reset(Reason::TimedOut)).unwrap();
    assert_eq!(peer.codec.in_flight(), 0);
    assert_eq!(peer.codec.capacity(stream), 0);
    for _ in 0..100 {
        let (other, other_id) = call(&mut peer, &request(1, b"x"));
        assert!(other_id != id && other != stream);
        peer.streams(&bytes(&[response(other_id, b"")]));
    }
    assert_eq!(peer.give(&bytes(&[response(id, b"late")])).unwrap(), ["note LateResponse"]);
    assert_eq!(peer.give(&bytes(&[response(id, b"again")])).unwrap(), ["note UnknownResponse"]);
}

#[test]
fn what_was_given_up_is_forgotten_after_its_age_or_beyond_its_number() {
    let mut limits = Limits::default();
    limits.rpc.given_up_max = 2;
    let mut peer = Peer::with(Role::Client, limits);
    let calls: Vec<_> = (0..3).map(|_| call(&mut peer, &request(1, b"x"))).collect();
    for (stream, _) in &calls {
        peer.codec.encode(*stream, &Part::Reset(Reason::TimedOut)).unwrap();
    }
    let first = peer.give(&bytes(&[response(calls[0].1, b"")])).unwrap();
    assert_eq!(first, ["note UnknownResponse"], "two are remembered, the third took its place");
    let second = peer.give(&bytes(&[response(calls[1].1, b"")])).unwrap();
    assert_eq!(second, ["note LateResponse"]);
    peer.now = at(1_000_000 + 59_999);
    call(&mut peer, &request(1, b"x"));
    peer.now = at(1_000_000 + 60_000);
    peer.give(b"").unwrap();
    call(&mut peer, &request(1, b"x"));
    let third = peer.give(&bytes(&[response(calls[2].1, b"")])).unwrap();
    assert_eq!(third, ["note UnknownResponse"]);
}

#[test]
fn the_age_of_what_was_given_up_begins_when_the_time_is_told() {
    let mut peer = Peer::new(Role::Client);
    let (stream, id) = call(&mut peer, &request(1, b"x"));
    // Ten minutes pass in which nothing told the codec the time.
    peer.codec.encode(stream, &Part::Reset(Reason::TimedOut)).unwrap();
    peer.now = at(1_600_000);
    peer.give(b"").unwrap();
    call(&mut peer, &request(1, b"x"));
    assert_eq!(peer.give(&bytes(&[response(id, b"")])).unwrap(), ["note LateResponse"]);
}

#[test]
fn a_call_that_was_never_sent_leaves_nothing_behind() {
    let mut peer = Peer::new(Role::Client);
    let stream = peer.codec.open().unwrap();
    assert_eq!(peer.codec.in_flight(), 1);
    peer.codec.encode(stream, &Part::Reset(Reason::Cancelled)).unwrap();
    assert_eq!(peer.codec.in_flight(), 0);
    assert!(peer.sent().is_empty());
    let again = peer.codec.encode(stream, &Part::Reset(Reason::Cancelled));
    assert_eq!(again, Err(EncodeError::UnknownStream));
}

#[test]
fn oneway_requests_end_at_once_on_both_sides() {
    let frame = Frame { kind: Kind::Oneway { timeout_ms: -1 }, ..request(9, b"x") };
    let mut server = Peer::new(Role::Server);
    assert_eq!(server.streams(&bytes(std::slice::from_ref(&frame))), [StreamId::ONEWAY]);
    assert_eq!(server.codec.in_flight(), 0);
    server.codec.reply(StreamId::ONEWAY, Status::NoRoute);
    server.codec.encode(StreamId::ONEWAY, &Part::Reset(Reason::Cancelled)).unwrap();
    assert!(server.sent().is_empty(), "a oneway request is never answered");

    let mut client = Peer::new(Role::Client);
    let stream = client.codec.open().unwrap();
    client.send(stream, &frame);
    assert_eq!(client.codec.in_flight(), 0);
    let sent = client.sent();
    let id = one(&sent).id;
    assert_eq!(one(&sent), Frame { id, ..frame });
    let events = client.give(&bytes(&[response(id, b"")])).unwrap();
    assert_eq!(events, ["note UnknownResponse"]);
}

#[test]
fn the_same_id_twice_in_flight_is_answered_twice() {
    let mut peer = Peer::new(Role::Server);
    let streams = peer.streams(&bytes(&[request(5, b"one"), request(5, b"two")]));
    assert_ne!(streams[0], streams[1]);
    for stream in streams {
        peer.send(stream, &response(1, b""));
        assert_eq!(one(&peer.sent()).id, 5);
    }
}

#[test]
fn heartbeats_are_answered_in_their_version_and_never_with_a_checksum() {
    for role in [Role::Server, Role::Client] {
        for (version, expected) in
            [(Version::V1, Version::V1), (V2, V2), (CRC, Version::V2 { minor: 2, switches: 0 })]
        {
            let mut peer = Peer::new(role);
            let frame = Frame { version, ..heartbeat(77) };
            assert_eq!(peer.give(&bytes(&[frame])).unwrap(), ["note HeartbeatReceived"]);
            let sent = peer.sent();
            let answer = one(&sent);
            assert_eq!((answer.id, answer.version), (77, expected));
            assert_eq!(answer.kind, Kind::HeartbeatAnswer { status: 0 });
        }
    }
}

#[test]
fn an_idle_client_sends_heartbeats_and_a_dead_peer_is_noticed() {
    let mut peer = Peer::new(Role::Client);
    let start = 1_000_000;
    assert_eq!(peer.codec.next_timeout(), Some(at(start + 15_000)));
    peer.codec.timeout(at(start + 15_000)).unwrap();
    let sent = peer.sent();
    let beat = one(&sent);
    assert_eq!(beat.kind, Kind::Heartbeat { timeout_ms: -1 });
    assert_eq!(peer.codec.next_timeout(), Some(at(start + 16_000)));
    let answer = Frame { kind: Kind::HeartbeatAnswer { status: 0 }, ..beat.clone() };
    peer.now = at(start + 15_500);
    assert_eq!(
        peer.give(&bytes(std::slice::from_ref(&answer))).unwrap(),
        ["note HeartbeatAnswered"]
    );
    assert_eq!(peer.give(&bytes(&[answer])).unwrap(), ["note UnknownResponse"]);
    let mut ids = vec![beat.id];
    let mut now = start + 15_500;
    for miss in 1..=3 {
        now += 15_000;
        assert_eq!(peer.codec.next_timeout(), Some(at(now)));
        peer.codec.timeout(at(now)).unwrap();
        ids.push(one(&peer.sent()).id);
        peer.swap();
        peer.now = at(now);
        match (miss, peer.codec.timeout(at(now + 1_000))) {
            (1 | 2, result) => assert_eq!(result, Ok(())),
            (_, result) => assert_eq!(result.unwrap_err().fault, Fault::Dead),
        }
    }
    assert!(peer.codec.is_finished());
    ids.dedup();
    assert_eq!(ids.len(), 4, "each has an id of its own");
    assert_eq!(Peer::new(Role::Server).codec.next_timeout(), None);
}

#[test]
fn heartbeat_ids_never_meet_those_of_streams() {
    let mut peer = Peer::new(Role::Client);
    let mut now = 1_000_000;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..50 {
        now += 15_000;
        let (_, id) = call(&mut peer, &request(1, b""));
        assert!(ids.insert(id));
        peer.codec.timeout(at(now)).unwrap();
        for frame in peer.sent().chunks(22) {
            assert!(ids.insert(one(frame).id));
            let answer = Frame { kind: Kind::HeartbeatAnswer { status: 0 }, ..one(frame) };
            peer.now = at(now);
            peer.give(&bytes(&[answer])).unwrap();
        }
    }
    assert!(ids.len() > 90);
}

#[test]
fn what_remains_is_forwarded_where_the_frame_says_more() {
    let deadline =
        |value| fields(&[("a", "b"), ("sofa_head_deadline_remain_time", value), ("c", "")]);
    // timeout and deadline of the frame, what remains, timeout and deadline as they arrive
    let cases = [
        (3000, "2500", Some(2400), 2400, "2400"),
        (3000, "2500", Some(999), 999, "999"),
        (3000, "20000", Some(5), 5, "5"),
        (100, "2500", Some(2400), 100, "2400"),
        (3000, "100", Some(200), 200, "100"),
        (3000, "rubbish", Some(5), 5, "rubbish"),
        (0, "2500", Some(2400), 2400, "2400"),
        (-1, "2500", Some(2400), 2400, "2400"),
        (3000, "2500", Some(0), 1, "1"),
        (
            i32::MAX,
            "9223372036854775807",
            Some(u64::MAX / 1_000_000),
            i32::MAX,
            "9223372036854775807",
        ),
        (3000, "2500", None, 3000, "2500"),
    ];
    for (timeout_ms, said, left, expected_ms, expected) in cases {
        for version in [Version::V1, CRC] {
            let frame = Frame {
                version,
                kind: Kind::Request { timeout_ms },
                header: deadline(said),
                ..request(1, b"content")
            };
            let raw = bytes(std::slice::from_ref(&frame));
            let mut head = parsed(&raw, &frame);
            head.timeout = left.map(Duration::from_millis);
            let mut peer = Peer::new(Role::Client);
            let stream = peer.codec.open().unwrap();
            peer.codec.encode(stream, &Part::Head(Head::RpcRequest(head), End::Yes)).unwrap();
            let sent = peer.sent();
            let arrived = one(&sent);
            let kind = Kind::Request { timeout_ms: expected_ms };
            let expected = Frame { kind, header: deadline(expected), id: arrived.id, ..frame };
            if expected_ms == i32::MAX {
                // What remains is below the field's value, which is larger than any duration here.
                assert_eq!(arrived.kind, expected.kind);
                continue;
            }
            assert_eq!(arrived, expected, "{timeout_ms} {said} {left:?}");
        }
    }
}

#[test]
fn the_gateway_s_own_answers_say_their_status_and_nothing_else() {
    let cases = [
        (Status::NoRoute, status::NO_PROCESSOR),
        (Status::NoUpstream, status::NO_PROCESSOR),
        (Status::Overloaded, status::SERVER_BUSY),
        (Status::TimedOut, status::TIMEOUT),
        (Status::UpstreamFailed, status::ERROR_COMM),
        (Status::BadRequest, status::CODEC_EXCEPTION),
        (Status::Internal, status::SERVER_EXCEPTION),
    ];
    for (reason, expected) in cases {
        for version in [Version::V1, V2, CRC] {
            let mut peer = Peer::new(Role::Server);
            let frame = Frame { version, codec: 12, ..request(0xffff_ffff, b"x") };
            let stream = peer.streams(&bytes(&[frame]))[0];
            peer.codec.reply(stream, reason);
            peer.codec.reply(stream, reason);
            let sent = peer.sent();
            let answer = one(&sent);
            assert_eq!(answer.kind, Kind::Response { status: expected });
            assert_eq!((answer.id, answer.codec, answer.version), (0xffff_ffff, 12, version));
            assert!(answer.class_name.is_empty() && answer.content.is_empty());
        }
    }
}

#[test]
fn a_status_that_java_does_not_know_goes_on_as_unknown() {
    let mut peer = Peer::new(Role::Server);
    let stream = peer.streams(&bytes(&[request(5, b"x")]))[0];
    peer.send(stream, &Frame { kind: Kind::Response { status: 0x7777 }, ..response(1, b"y") });
    let sent = peer.sent();
    assert_eq!(one(&sent).kind, Kind::Response { status: status::UNKNOWN });
    assert_eq!(one(&sent).content, b"y");
}

#[test]
fn a_request_from_a_server_is_refused_and_the_connection_lives() {
    let mut peer = Peer::new(Role::Client);
    let (stream, id) = call(&mut peer, &request(1, b""));
    assert_eq!(peer.give(&bytes(&[request(8, b"x")])).unwrap(), ["note RequestFromServer"]);
    let sent = peer.sent();
    assert_eq!(one(&sent).kind, Kind::Response { status: status::NO_PROCESSOR });
    assert_eq!(one(&sent).id, 8);
    assert_eq!(peer.streams(&bytes(&[response(id, b"")])), [stream]);
    let mut server = Peer::new(Role::Server);
    assert_eq!(server.give(&bytes(&[response(1, b"")])).unwrap(), ["note UnknownResponse"]);
}

#[test]
fn parts_that_do_not_fit_are_refused_and_write_nothing() {
    let raw = bytes(&[request(1, b"")]);
    let as_request = || Part::Head(Head::RpcRequest(parsed(&raw, &request(1, b""))), End::Yes);
    let as_response = || Part::Head(Head::RpcResponse(parsed(&raw, &request(1, b""))), End::Yes);
    let mut http = HttpRequest::default();
    let mut client = Peer::new(Role::Client);
    let stream = client.codec.open().unwrap();
    let foreign = {
        let mut head = parsed(&raw, &request(1, b""));
        head.protocol = "another";
        Part::Head(Head::RpcRequest(head), End::Yes)
    };
    for part in [
        foreign,
        as_response(),
        Part::Head(Head::HttpRequest(&mut http), End::Yes),
        Part::Data(Data::Borrowed(b"x"), End::Yes),
    ] {
        assert_eq!(client.codec.encode(stream, &part), Err(EncodeError::Unfit));
    }
    for cut in 0..22 {
        let mut head = parsed(&raw, &request(1, b""));
        head.head = &head.head[..cut];
        let part = Part::Head(Head::RpcRequest(head), End::Yes);
        assert_eq!(
            client.codec.encode(stream, &part),
            Err(EncodeError::Unfit),
            "head of {cut} bytes"
        );
        assert!(client.codec.output().is_empty());
    }
    let unknown = StreamId { slot: stream.slot, generation: stream.generation + 1 };
    assert_eq!(client.codec.encode(unknown, &as_request()), Err(EncodeError::UnknownStream));
    client.codec.encode(stream, &as_request()).unwrap();
    let length = client.codec.output().len();
    assert_eq!(client.codec.encode(stream, &as_request()), Err(EncodeError::Unfit), "sent before");
    assert_eq!(client.codec.output().len(), length);

    let mut server = Peer::new(Role::Server);
    let stream = server.streams(&raw)[0];
    assert_eq!(server.codec.encode(stream, &as_request()), Err(EncodeError::Unfit));
    assert_eq!(server.codec.encode(stream, &as_response()), Err(EncodeError::Unfit), "no response");
    let answer = bytes(&[response(1, b"")]);
    for cut in 0..20 {
        let mut head = parsed(&answer, &response(1, b""));
        head.head = &head.head[..cut];
        let part = Part::Head(Head::RpcResponse(head), End::Yes);
        assert_eq!(
            server.codec.encode(stream, &part),
            Err(EncodeError::Unfit),
            "head of {cut} bytes"
        );
    }
    assert!(server.codec.output().is_empty());
    assert_eq!(server.codec.in_flight(), 1);
    assert_eq!(server.codec.open(), Err(OpenError::Closing));
}

#[test]
fn a_drained_client_opens_nothing_and_finishes_with_the_last_answer() {
    let mut peer = Peer::new(Role::Client);
    let (_, id) = call(&mut peer, &request(1, b""));
    peer.codec.drain();
    assert_eq!(peer.codec.open(), Err(OpenError::Closing));
    assert!(!peer.codec.is_finished());
    peer.give(&bytes(&[response(id, b"")])).unwrap();
    assert!(peer.codec.is_finished());

    let mut server = Peer::new(Role::Server);
    server.codec.drain();
    assert!(!server.codec.is_finished(), "Bolt has no word for it");
    assert_eq!(server.streams(&bytes(&[request(1, b"")])).len(), 1);
}

#[test]
fn the_end_of_input_finishes_when_the_last_request_is_answered() {
    let mut peer = Peer::new(Role::Server);
    let stream = peer.streams(&bytes(&[request(1, b"")]))[0];
    peer.codec.end_input();
    peer.give(b"").unwrap();
    assert!(!peer.codec.wants_input() && !peer.codec.is_finished());
    peer.codec.reply(stream, Status::NoRoute);
    assert!(peer.codec.is_finished());

    let mut cut = Peer::new(Role::Server);
    let frame = bytes(&[request(1, b"")]);
    cut.give(&frame[..frame.len() - 1]).unwrap();
    cut.codec.end_input();
    assert_eq!(cut.give(b"").unwrap_err().fault, Fault::Truncated);

    let mut client = Peer::new(Role::Client);
    client.codec.end_input();
    client.give(b"").unwrap();
    assert!(client.codec.is_finished());
    assert_eq!(client.codec.open(), Err(OpenError::Closing));
}

#[test]
fn a_large_frame_is_gathered_and_passed_on_without_a_copy() {
    const MEBIBYTE: usize = 1 << 20;
    let content: Vec<u8> = (0..5 * MEBIBYTE).map(|it| (it / 7) as u8).collect();
    for version in [Version::V1, CRC] {
        let frame = Frame { version, ..request(3, &content) };
        let raw = bytes(std::slice::from_ref(&frame));
        let mut server = Peer::new(Role::Server);
        let mut client = Peer::new(Role::Client);
        let stream = client.codec.open().unwrap();
        let mut scratch = Scratch::default();
        let mut input = BytesMut::new();
        let mut passed = false;
        for piece in raw.chunks(100_000) {
            input.extend_from_slice(piece);
            let event = server.codec.decode(&mut input, &mut scratch, at(1)).unwrap();
            let Some(Event::Part(_, part)) = event else { continue };
            let Part::Head(Head::RpcRequest(head), End::Yes) = &part else { panic!("no request") };
            let RpcPayload::Segments(segments) = head.payload else { panic!("not gathered") };
            let (last, others) = segments.split_last().unwrap();
            assert!(others.iter().all(|it| it.len() >= 64 * 1024) && !last.is_empty());
            let places: Vec<_> =
                others.iter().map(|it: &Bytes| (it.as_ptr() as usize, it.len())).collect();
            client.codec.encode(stream, &part).unwrap();
            let mut sent = Vec::new();
            client.codec.output().take_segments(&mut sent, 1000);
            let there = |(at, len): &(usize, usize)| {
                sent.iter().any(|it| (it.as_ptr() as usize, it.len()) == (*at, *len))
            };
            assert!(places.iter().all(there), "segments are handed over as they came");
            let sent = sent.concat();
            let arrived = one(&sent);
            assert!(arrived == Frame { id: arrived.id, ..frame.clone() });
            passed = true;
        }
        assert!(passed && input.is_empty());
    }
}

#[test]
fn a_large_frame_stands_cuts_and_snapshots() {
    let content = vec![7_u8; 200_000];
    let frames = [
        Frame { version: CRC, ..request(3, &content) },
        request(4, b"small"),
        Frame { version: V2, ..request(5, &content[..64 * 1024]) },
    ];
    let raw = bytes(&frames);
    let whole = Peer::new(Role::Server).give(&raw).unwrap();
    assert_eq!(whole.len(), 3);
    for step in [1_000, 4_096, 65_536, 70_000, 199_999] {
        for swaps in [false, true] {
            let mut peer = Peer::new(Role::Server);
            let mut events = Vec::new();
            for piece in raw.chunks(step) {
                events.extend(peer.give(piece).unwrap());
                if swaps {
                    peer.swap();
                }
            }
            assert_eq!(events, whole, "in pieces of {step}");
        }
    }
    let mut corrupt = raw.clone();
    corrupt[150_000] ^= 1;
    assert_eq!(Peer::new(Role::Server).give(&corrupt).unwrap_err().reason, "wrong_checksum");
}

#[test]
fn a_large_answer_that_nobody_wants_is_dropped_as_it_comes() {
    let content = vec![7_u8; 1 << 20];
    let mut peer = Peer::new(Role::Client);
    let (stream, id) = call(&mut peer, &request(1, b""));
    let (_, next) = call(&mut peer, &request(1, b""));
    peer.codec.encode(stream, &Part::Reset(Reason::TimedOut)).unwrap();
    let raw = bytes(&[response(id, &content), response(9_999, &content), response(next, b"")]);
    let mut events = Vec::new();
    for piece in raw.chunks(3_000) {
        events.extend(peer.give(piece).unwrap());
        assert!(peer.input.len() <= 3_000, "nothing is kept");
        assert!(peer.swap() < 512);
    }
    assert_eq!(events[..2], ["note LateResponse", "note UnknownResponse"]);
    assert!(events[2].starts_with("response success"));
}

#[test]
fn an_idle_connection_is_small_however_much_it_carried() {
    for role in [Role::Server, Role::Client] {
        let mut peer = Peer::new(role);
        assert!(peer.swap() <= 64, "new: {}", peer.swap());
        for round in 0..200_u32 {
            let mut streams = Vec::new();
            for _ in 0..round % 60 {
                match role {
                    Role::Server => streams.extend(peer.streams(&bytes(&[request(round, b"x")]))),
                    Role::Client => streams.push(call(&mut peer, &request(1, b"x")).0),
                }
            }
            for stream in streams {
                match role {
                    Role::Server => peer.send(stream, &response(1, b"")),
                    Role::Client => {
                        peer.streams(&bytes(&[response(stream.generation, b"")]));
                    }
                }
            }
            peer.sent();
        }
        peer.give(b"").unwrap();
        assert_eq!(peer.codec.in_flight(), 0);
        let size = peer.swap();
        assert!(size <= 64, "{role:?}: {size} bytes");
    }
}

#[test]
fn a_request_in_flight_costs_some_ten_bytes_of_a_snapshot() {
    let mut peer = Peer::new(Role::Server);
    let empty = peer.swap();
    for id in 0..1_000_u32 {
        let version = if id % 2 == 0 { Version::V1 } else { CRC };
        peer.streams(&bytes(&[Frame { version, ..request(i32::MAX as u32 - id, b"x") }]));
    }
    let each = (peer.swap() - empty) / 1_000;
    assert!((5..=16).contains(&each), "{each} bytes each");
}

#[test]
fn streams_and_late_answers_survive_a_move_to_another_process() {
    let mut peer = Peer::new(Role::Client);
    let (wanted, wanted_id) = call(&mut peer, &request(1, b""));
    let (given_up, given_up_id) = call(&mut peer, &request(1, b""));
    let opened = peer.codec.open().unwrap();
    peer.codec.encode(given_up, &Part::Reset(Reason::TimedOut)).unwrap();
    // The other process has a clock of its own.
    let frozen = peer.codec.freeze(peer.now).to_bytes();
    peer.now = at(3);
    let frozen = hangu_codecs::Frozen::from_bytes(&frozen).unwrap();
    peer.codec = hangu_codecs::Protocol::thaw(&frozen, &peer.limits, peer.now).unwrap();
    assert_eq!(peer.codec.next_timeout(), Some(at(15_003)));
    peer.send(opened, &request(1, b"x"));
    assert_eq!(one(&peer.sent()).id, opened.generation);
    let late = peer.give(&bytes(&[response(given_up_id, b"")])).unwrap();
    assert_eq!(late, ["note LateResponse"]);
    assert_eq!(peer.streams(&bytes(&[response(wanted_id, b"")])), [wanted]);
}

#[test]
fn an_opaque_header_goes_on_untouched() {
    let frame = Frame {
        class_name: b"com.example.Request",
        header: Header::Opaque(b"\xff\xff of my own"),
        ..request(1, b"x")
    };
    let mut peer = Peer::new(Role::Client);
    let stream = peer.codec.open().unwrap();
    peer.send(stream, &frame);
    let sent = peer.sent();
    assert_eq!(one(&sent), Frame { id: stream.generation, ..frame });
    assert_eq!(bolt::status::of(Status::NoRoute), 6);
}
