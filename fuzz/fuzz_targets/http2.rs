//! HTTP/2, both roles: neither cuts nor a freeze in the middle change what a codec gives and
//! writes; and whatever two of them are asked to do, each reads what the other wrote.
#![no_main]

#[path = "../../codecs/tests/support"]
#[allow(unreachable_pub, dead_code, reason = "shared with the tests of the codecs")]
mod support {
    pub mod http2;
    pub mod seen;
}

use hangu_codecs::message::End;
use hangu_codecs::{BodySize, Data, Head, Method, Part, Reason, Role, Status, StreamId};
use hangu_fuzz::Choices;
use libfuzzer_sys::fuzz_target;
use support::http2::{
    Pair, Peer, Reader, conversation, fields, get, greeting, post, request, response, run,
    said_settings,
};

fuzz_target!(|input: &[u8]| {
    let (bytes, mut choices) = Choices::split(input);
    let plan = choices.byte();
    let role = if plan & 1 == 0 { Role::Server } else { Role::Client };
    match plan >> 1 & 3 {
        0 => cut_and_frozen(role, bytes, &mut choices),
        1 => {
            let first = if role == Role::Server { greeting(&[]) } else { said_settings(&[]) };
            cut_and_frozen(role, &[&first, bytes].concat(), &mut choices);
        }
        2 => {
            let frames: Vec<_> = bytes.chunks_exact(3).map(frame).collect();
            cut_and_frozen(role, &conversation(role, &frames), &mut choices);
        }
        _ => calls(bytes),
    }
});

fn frame(bytes: &[u8]) -> (u8, u32, u16) {
    let [kind, place, number] = bytes else { return (0, 0, 0) };
    (kind % 20, u32::from(place % 6), u16::from(*number) * 257)
}

fn cut_and_frozen(role: Role, bytes: &[u8], choices: &mut Choices<'_>) {
    let whole = run(role, bytes, &[bytes.len()], false);
    if whole.0.iter().any(|it| it.contains("request_given_up_at_once")) {
        return;
    }
    let sizes: Vec<_> = (0..4).map(|_| 1 + choices.up_to(600)).collect();
    // Byte by byte, with a swap each, is for what is short.
    let freezes = bytes.len() < 4096;
    let cut = run(role, bytes, &sizes, freezes);
    assert_eq!(whole.0, cut.0, "cuts or freezing changed what was given");
    assert_eq!(whole.1, cut.1, "cuts or freezing changed what was written");
    Reader::of(role).read(&whole.1);
}

/// Both roles, joined, do what the bytes say.
fn calls(bytes: &[u8]) {
    let mut pair = Pair::with(|it| {
        it.stream_window_bytes = 65_535;
        it.connection_window_bytes = 65_535;
        it.unreleased_bytes_max = 10_000;
    });
    pair.server.releases = false;
    for step in bytes.chunks_exact(4) {
        let [call, place, high, low] = step else { return };
        let number = u16::from_be_bytes([*high, *low]);
        let of_server = call & 0x80 != 0;
        let peer = if of_server { &mut pair.server } else { &mut pair.client };
        peer.freezes = call & 0x40 != 0;
        let stream = match peer.streams.len() {
            0 => StreamId { slot: 0, generation: 1 },
            count => peer.streams[usize::from(*place) % count],
        };
        let before = peer.codec.output().len();
        let error = call_one(peer, stream, call & 0x0f, number);
        let peer = if of_server { &mut pair.server } else { &mut pair.client };
        if error.is_some_and(|it| it != hangu_codecs::EncodeError::WrongLength) {
            assert_eq!(peer.codec.output().len(), before, "a part that does not fit was written");
        }
        if call & 0x20 != 0 {
            exchange(&mut pair);
        }
    }
    exchange(&mut pair);
}

fn exchange(pair: &mut Pair) {
    let heard = pair.run();
    assert_eq!((pair.client.error, pair.server.error), (None, None));
    let fault = heard.0.iter().chain(&heard.1).find(|it| it.contains("StreamError"));
    assert!(fault.is_none_or(|it| it.contains("request_given_up_at_once")), "{fault:?}");
}

fn call_one(
    peer: &mut Peer,
    stream: StreamId,
    call: u8,
    number: u16,
) -> Option<hangu_codecs::EncodeError> {
    let end = if number & 1 == 0 { End::No } else { End::Yes };
    let data = vec![7; usize::from(number) % 40_000];
    let part = match call {
        0..=2 if peer.role == Role::Client => {
            let mut head = match number % 7 {
                0 | 1 => get(),
                2 => request(Method::Head, BodySize::None),
                3 => request(Method::Post, BodySize::Sized(u64::from(number) % 100)),
                4 => hangu_codecs::HttpRequest { upgrade: b"websocket".to_vec(), ..get() },
                5 => hangu_codecs::HttpRequest {
                    authority: b"a:1".to_vec(),
                    path: Vec::new(),
                    ..request(Method::Connect, BodySize::None)
                },
                _ => post(),
            };
            let stream = peer.codec.open().ok()?;
            peer.streams.push(stream);
            return peer.encode(stream, Part::Head(Head::HttpRequest(&mut head), end)).err();
        }
        0..=3 => {
            let statuses = [200, 204, 304, 100, 101, 404, 206, 103];
            let mut head = response(statuses[usize::from(number >> 1) % 8]);
            if number & 0x100 != 0 {
                head.body = BodySize::Sized(u64::from(number) % 100);
            }
            return peer.encode(stream, Part::Head(Head::HttpResponse(&mut head), end)).err();
        }
        4..=7 => Part::Data(Data::Borrowed(&data), end),
        8 => return peer.encode(stream, Part::Trailers(&fields(&[("x", "y")]))).err(),
        9 => Part::Reset(if end == End::Yes { Reason::Cancelled } else { Reason::Refused }),
        10 => {
            peer.codec.reply(stream, Status::NoRoute);
            return None;
        }
        11 | 12 => {
            peer.codec.release(stream, usize::from(number));
            return None;
        }
        13 if number.is_multiple_of(8) => {
            peer.codec.drain();
            return None;
        }
        _ => {
            peer.pass_time(u64::from(number));
            let now = peer.now;
            peer.codec.timeout(now).expect("nothing dies of time");
            return None;
        }
    };
    peer.encode(stream, part).err()
}
