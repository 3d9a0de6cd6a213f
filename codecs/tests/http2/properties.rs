//! Properties: neither cuts nor swaps matter, what is written is read back, credit never leaks,
//! and no order of calls breaks anything.

use std::collections::HashMap;

use hangu_codecs::message::End;
use hangu_codecs::{
    BodySize, Data, Frozen, Head, Limits, Part, Protocol, Reason, Role, Status, StreamId, Time,
};
use proptest::prelude::*;

use crate::support::http2::{
    GET, POST, Pair, Peer, Reader, Writer, conversation, data, fields, get, greeting, padded, ping,
    post, raw, request, response, run, said_settings, window,
};
use hangu_codecs::http2::frame::Setting;

/// A frame on one of some streams.
fn frame() -> impl Strategy<Value = (u8, u32, u16)> {
    (0_u8..20, 0_u32..6, any::<u16>())
}

/// What a peer found wrong with a stream, other than that it was given up early or late.
fn faults(heard: &[String]) -> Option<&String> {
    heard.iter().find(|it| it.contains("StreamError") && !it.contains("request_given_up_at_once"))
}

fn head_request() -> hangu_codecs::HttpRequest {
    request(hangu_codecs::Method::Head, BodySize::None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn neither_cuts_nor_swaps_change_what_is_given_and_written(
        is_server in any::<bool>(),
        frames in prop::collection::vec(frame(), 1..30),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        sizes in prop::collection::vec(1_usize..400, 1..6),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let mut bytes = conversation(role, &frames);
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = run(role, &bytes, &[bytes.len()], false);
        if whole.0.iter().any(|it| it.contains("request_given_up_at_once")) {
            return Ok(());
        }
        let cut = run(role, &bytes, &sizes, false);
        prop_assert_eq!(&cut.0, &whole.0);
        prop_assert_eq!(&cut.1, &whole.1);
        prop_assert_eq!(&run(role, &bytes, &sizes, true), &cut, "frozen");
    }

    #[test]
    fn credit_never_leaks_whatever_becomes_of_the_streams(
        steps in prop::collection::vec((0_u8..12, any::<prop::sample::Index>(), 1_usize..40_000), 1..120),
        unreleased_max in 0_u32..300_000,
    ) {
        let mut pair = Pair::with(|it| {
            it.unreleased_bytes_max = unreleased_max;
            it.connection_window_bytes = 100_000;
            it.stream_window_bytes = 70_000;
            it.resets_max = 10_000;
        });
        pair.server.releases = false;
        let mut open: Vec<StreamId> = Vec::new();
        let mut held: HashMap<usize, usize> = HashMap::new();
        for (step, index, bytes) in steps {
            let pick = (!open.is_empty()).then(|| index.index(open.len()));
            match (step, pick) {
                (0..=1, _) if open.len() < 20 => open.push(pair.client.ask(post(), End::No)),
                (2..=6, Some(at)) => {
                    let _ = pair.client.encode(open[at], Part::Data(Data::Borrowed(&vec![0; bytes]), End::No));
                }
                (7, Some(at)) => {
                    let _ = pair.client.encode(open.remove(at), Part::Data(Data::Borrowed(b""), End::Yes));
                }
                (8, Some(at)) => {
                    let _ = pair.client.encode(open.remove(at), Part::Reset(Reason::Cancelled));
                }
                (9, _) if !pair.server.streams.is_empty() => {
                    let at = index.index(pair.server.streams.len());
                    let stream = pair.server.streams[at];
                    let _ = pair.server.encode(stream, Part::Reset(Reason::TooLarge));
                }
                (10, _) if !pair.server.streams.is_empty() => {
                    let at = index.index(pair.server.streams.len());
                    pair.server.codec.reply(pair.server.streams[at], Status::NoRoute);
                }
                _ if !pair.server.streams.is_empty() => {
                    let at = index.index(pair.server.streams.len());
                    let stream = pair.server.streams[at];
                    let has = held.entry(at).or_default();
                    pair.server.codec.release(stream, bytes);
                    *has = has.saturating_sub(bytes);
                }
                _ => {}
            }
            pair.run();
            prop_assert_eq!((pair.client.error, pair.server.error), (None, None));
        }
        // Everything is given back in the end, and a whole upload goes through.
        for _ in 0..20 {
            for stream in pair.server.streams.clone() {
                pair.server.codec.release(stream, usize::MAX);
            }
            pair.run();
        }
        for stream in open {
            let _ = pair.client.encode(stream, Part::Reset(Reason::Cancelled));
        }
        pair.run();
        for stream in pair.server.streams.clone() {
            let _ = pair.server.encode(stream, Part::Reset(Reason::Cancelled));
        }
        pair.run();
        prop_assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
        let up = pair.client.ask(post(), End::No);
        pair.run();
        let capacity = pair.client.codec.capacity(up);
        prop_assert!(capacity >= 50_000, "{}", capacity);
    }

    #[test]
    fn no_order_of_calls_panics_or_writes_what_the_peer_cannot_read(
        is_server in any::<bool>(),
        calls in prop::collection::vec((0_u8..18, any::<prop::sample::Index>(), any::<u16>()), 1..60),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let mut pair = Pair::new();
        for (call, index, number) in calls {
            let mut request = if number % 2 == 0 { get() } else { post() };
            if number % 5 == 0 {
                request.body = BodySize::Sized(u64::from(number) % 100);
            }
            if number % 7 == 0 {
                request = head_request();
            }
            let statuses = [200, 204, 304, 100, 101, 404];
            let mut head = response(statuses[usize::from(number) % 6]);
            let bytes = vec![7; usize::from(number)];
            let end = if number % 3 == 0 { End::Yes } else { End::No };
            let side = if is_server == (call % 2 == 0) { &mut pair.server } else { &mut pair.client };
            side.freezes = number % 11 == 0;
            let stream = match side.streams.len() {
                0 => StreamId { slot: 0, generation: 1 },
                count => side.streams[index.index(count)],
            };
            let before = side.codec.output().len();
            let encoded = match call {
                0..=2 if side.role == Role::Client => {
                    if let Ok(stream) = side.codec.open() {
                        side.streams.push(stream);
                        side.encode(stream, Part::Head(Head::HttpRequest(&mut request), end))
                    } else {
                        Ok(())
                    }
                }
                0..=3 => side.encode(stream, Part::Head(Head::HttpResponse(&mut head), end)),
                4 => side.encode(stream, Part::Head(Head::HttpRequest(&mut request), end)),
                5..=8 => side.encode(stream, Part::Data(Data::Borrowed(&bytes), end)),
                9 => side.encode(stream, Part::Trailers(&fields(&[("x", "y")]))),
                10 => side.encode(stream, Part::Trailers(&fields(&[]))),
                11 => side.encode(stream, Part::Reset(Reason::Cancelled)),
                12 => { side.codec.reply(stream, Status::NoRoute); Ok(()) }
                13 => { side.codec.release(stream, usize::from(number)); Ok(()) }
                14 if number % 10 == 0 => { side.codec.drain(); Ok(()) }
                15 => {
                    side.pass_time(u64::from(number));
                    let now = side.now;
                    side.codec.timeout(now).unwrap();
                    Ok(())
                }
                _ => {
                    let heard = pair.run();
                    prop_assert_eq!(faults(&heard.0).or(faults(&heard.1)), None);
                    Ok(())
                }
            };
            if matches!(encoded, Err(error) if error != hangu_codecs::EncodeError::WrongLength) {
                let side = if is_server == (call % 2 == 0) { &mut pair.server } else { &mut pair.client };
                prop_assert_eq!(side.codec.output().len(), before);
            }
            prop_assert_eq!((pair.client.error, pair.server.error), (None, None), "{:?}", role);
        }
        let heard = pair.run();
        prop_assert_eq!(faults(&heard.0).or(faults(&heard.1)), None);
        prop_assert_eq!((pair.client.error, pair.server.error), (None, None));
    }

    #[test]
    fn a_damaged_snapshot_does_not_panic(
        frames in prop::collection::vec(frame(), 1..30),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_server in any::<bool>(),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let mut peer = Peer::new(role);
        peer.releases = false;
        if role == Role::Client {
            for _ in 0..5 {
                peer.ask(post(), End::No);
            }
        }
        let bytes = conversation(role, &frames);
        peer.give(&bytes[..cut.index(bytes.len())]);
        for stream in peer.streams.clone() {
            let mut head = response(200);
            let _ = peer.encode(stream, Part::Head(Head::HttpResponse(&mut head), End::No));
            let _ = peer.encode(stream, Part::Data(Data::Borrowed(&[0; 70_000]), End::No));
        }
        let mut frozen = peer.codec.freeze(peer.now);
        let mut state = frozen.state.to_vec();
        for (at, byte) in damage {
            let at = at.index(state.len());
            state[at] = byte;
        }
        frozen.state = state.into();
        let now = Time::from_micros(7);
        let Ok(codec) = Protocol::thaw(&frozen, &Limits::default(), now) else { return Ok(()) };
        let mut damaged = Peer::new(role);
        damaged.codec = codec;
        damaged.streams = peer.streams.clone();
        damaged.give(&bytes[cut.index(bytes.len())..]);
        for stream in damaged.streams.clone() {
            let _ = damaged.codec.capacity(stream);
            let _ = damaged.encode(stream, Part::Data(Data::Borrowed(&[0; 70_000]), End::Yes));
            damaged.codec.release(stream, 10);
            let _ = damaged.encode(stream, Part::Reset(Reason::Cancelled));
        }
        for _ in 0..10 {
            let _ = damaged.codec.open();
        }
        damaged.give(&[window(0, 1 << 20), said_settings(&[Setting::InitialWindowSize(7)])].concat());
        let _ = Frozen::from_bytes(&damaged.codec.freeze(now).to_bytes());
    }
}

#[test]
fn every_single_cut_gives_the_same() {
    let mut writer = Writer::new();
    let list = [POST, &[("content-length", "8")]].concat();
    let mut bytes = greeting(&[Setting::InitialWindowSize(100_000)]);
    bytes.extend_from_slice(&writer.headers(1, &list, false).take());
    for piece in [&b"one"[..], b"two", b"x"] {
        bytes.extend_from_slice(&data(1, piece, false));
    }
    bytes.extend_from_slice(&padded(1, b"y", 3, true));
    bytes.extend_from_slice(&writer.headers(3, POST, false).take());
    bytes.extend_from_slice(&[data(3, b"a", false), data(3, b"b", false)].concat());
    bytes.extend_from_slice(&writer.headers(3, &[("x-sum", "1")], true).take());
    let block = writer.block(GET);
    bytes.extend_from_slice(&[raw(1, 1, 5, &block[..1]), raw(9, 4, 5, &block[1..])].concat());
    bytes.extend_from_slice(&[window(0, 5), ping(false, [7; 8]), data(7, b"x", false)].concat());
    let whole = run(Role::Server, &bytes, &[bytes.len()], false);
    assert_eq!(whole.0.last().unwrap(), "error frame_on_idle_stream");
    assert_eq!(whole.0.len(), 8, "{:?}", whole.0);
    for cut in 1..bytes.len() {
        assert_eq!(run(Role::Server, &bytes, &[cut, bytes.len()], false), whole, "{cut}");
    }
    assert_eq!(run(Role::Server, &bytes, &[1], true), whole);
    Reader::of(Role::Server).read(&whole.1);
}
