//! Floods, and honest traffic that looks like them.

use hangu_codecs::http2::ErrorCode;
use hangu_codecs::http2::frame::Setting;
use hangu_codecs::message::End;
use hangu_codecs::{BodySize, Method, Reason, Status};

use crate::support::http2::{
    GET, OK, POST, Pair, Peer, Reader, Writer, data, get, goaway, padded, ping, post, raw, request,
    rst, said_settings, settings_ack, window,
};

/// Gives frames until the server has enough of them: how many, and why.
fn flooded(server: &mut Peer, mut frame: impl FnMut(u32) -> Vec<u8>) -> (u32, &'static str) {
    for count in 0..200_000 {
        server.give(&frame(count));
        if let Some(error) = server.error {
            let said = Reader::after_greeting().read(&server.sent());
            let last = said.last().expect("a last word");
            assert!(last.starts_with("goaway") && last.ends_with("EnhanceYourCalm"), "{last}");
            return (count, error.reason);
        }
    }
    panic!("no end of it");
}

/// A server with an open upload.
fn uploading() -> Peer {
    let mut server = Peer::server();
    server.give(&Writer::new().headers(1, POST, false).take());
    server.sent();
    server
}

#[test]
fn frames_that_carry_nothing_are_bounded() {
    let frames: [(&str, Vec<u8>); 11] = [
        ("ping_flood", ping(false, [0; 8])),
        ("ping_flood", ping(true, [0; 8])),
        ("settings_flood", said_settings(&[Setting::EnablePush(false)])),
        ("settings_flood", said_settings(&[])),
        ("settings_flood", settings_ack()),
        ("priority_flood", raw(2, 0, 99, &[0, 0, 0, 0, 5])),
        ("empty_data_flood", data(1, b"", false)),
        ("empty_data_flood", padded(1, b"", 0, false)),
        ("window_update_flood", window(0, 1)),
        ("unknown_frame_flood", raw(0xfa, 0, 0, b"")),
        ("goaway_flood", goaway(0, ErrorCode::NoError)),
    ];
    for (reason, frame) in frames {
        let (count, found) = flooded(&mut uploading(), |_| frame.clone());
        assert_eq!(found, reason);
        assert!((990..=1001).contains(&count), "{reason}: {count}");
    }
    let (_, found) = flooded(&mut uploading(), |_| window(1, 1));
    assert_eq!(found, "window_update_flood");
}

#[test]
fn a_flood_is_noticed_within_a_second_and_a_trickle_never() {
    let mut server = Peer::server();
    for _ in 0..60 * 60 {
        server.pass_time(1000);
        for _ in 0..200 {
            assert_eq!(server.give(&ping(false, [0; 8])).len(), 1);
        }
        server.sent();
    }
    assert_eq!(server.error, None);
    for _ in 0..3 {
        server.pass_time(1000);
        for _ in 0..700 {
            server.give(&ping(false, [0; 8]));
        }
    }
    assert_eq!(server.error.map(|it| it.reason), Some("ping_flood"));
}

#[test]
fn a_swap_does_not_take_what_time_has_forgiven() {
    let mut server = Peer::server();
    for _ in 0..990 {
        server.give(&ping(false, [0; 8]));
    }
    server.pass_time(60_000);
    server.swap();
    for _ in 0..900 {
        server.give(&ping(false, [0; 8]));
    }
    assert_eq!(server.error, None);
}

#[test]
fn requests_that_are_given_up_at_once_are_bounded() {
    // CVE-2023-44487, in one piece and in two.
    for cut in [false, true] {
        let mut server = Peer::server();
        let mut writer = Writer::new();
        let (count, reason) = flooded(&mut server, |count| {
            let stream = count / 2 * 2 + 1;
            match (cut, count % 2) {
                (false, 0) => {
                    let reset = rst(stream, ErrorCode::Cancel);
                    writer.headers(stream, GET, true).raw(&reset).take()
                }
                (true, 0) => writer.headers(stream, GET, true).take(),
                (true, _) => rst(stream, ErrorCode::Cancel),
                (false, _) => Vec::new(),
            }
        });
        assert_eq!(reason, "reset_flood");
        assert!(count <= 204, "{count}");
    }
}

#[test]
fn resets_that_a_peer_makes_us_send_are_bounded_as_well() {
    // CVE-2025-8671, in each way that is known.
    type Provoke = fn(&mut Writer, u32) -> Vec<u8>;
    let ways: [(&str, Provoke); 8] = [
        ("a window that overflows", |writer, stream| {
            writer.headers(stream, POST, false).raw(&window(stream, 0x7fff_ffff)).take()
        }),
        ("a window update by zero", |writer, stream| {
            writer.headers(stream, POST, false).raw(&window(stream, 0)).take()
        }),
        ("data after the end", |writer, stream| {
            writer.headers(stream, GET, true).data(stream, b"x", false).take()
        }),
        ("fields after the end", |writer, stream| {
            writer.headers(stream, GET, true).headers(stream, &[("a", "b")], true).take()
        }),
        ("a priority of a wrong size", |writer, stream| {
            writer.headers(stream, GET, true).raw(&raw(2, 0, stream, b"")).take()
        }),
        ("a malformed request", |writer, stream| {
            writer.headers(stream, &[(":method", "GET")], true).take()
        }),
        ("a request that depends on itself", |writer, stream| {
            let payload = [&stream.to_be_bytes()[..], &[0], &writer.block(GET)].concat();
            raw(1, 0x25, stream, &payload)
        }),
        ("a body that does not have its length", |writer, stream| {
            let list = [POST, &[("content-length", "5")]].concat();
            writer.headers(stream, &list, false).data(stream, b"123", true).take()
        }),
    ];
    for (way, provoke) in ways {
        let mut server = Peer::server();
        let mut writer = Writer::new();
        let (count, reason) = flooded(&mut server, |count| provoke(&mut writer, count * 2 + 1));
        assert_eq!(reason, "reset_flood", "{way}");
        assert!(count <= 102, "{way}: {count}");
    }
}

#[test]
fn streams_above_the_limit_are_a_flood_in_the_end() {
    let mut server = Peer::server_with(|it| it.streams_max = 1);
    let mut writer = Writer::new();
    let (count, reason) =
        flooded(&mut server, |count| writer.headers(count * 2 + 1, GET, true).take());
    assert_eq!((count, reason), (101, "reset_flood"));
}

#[test]
fn bodies_that_are_too_large_are_a_flood_in_the_end() {
    for declared in [false, true] {
        let mut server = Peer::server_with(|it| it.body_bytes_max = 1);
        let mut writer = Writer::new();
        let list = [POST, &[("content-length", "2")]].concat();
        let (count, reason) = flooded(&mut server, |count| match declared {
            true => writer.headers(count * 2 + 1, &list, false).take(),
            false => {
                writer.headers(count * 2 + 1, POST, false).data(count * 2 + 1, b"12", false).take()
            }
        });
        assert_eq!(reason, "reset_flood");
        assert!(count <= 101, "{count}");
    }
}

#[test]
fn frames_for_streams_that_are_gone_are_bounded() {
    let mut server = uploading();
    server.reset(server.stream(1), Reason::Refused);
    let (_, reason) = flooded(&mut server, |_| rst(1, ErrorCode::Cancel));
    assert_eq!(reason, "reset_flood");
    let mut server = uploading();
    server.reset(server.stream(1), Reason::Refused);
    let (_, reason) = flooded(&mut server, |_| data(1, b"", false));
    assert_eq!(reason, "late_frame_flood");
    let mut server = uploading();
    server.reset(server.stream(1), Reason::Refused);
    let (_, reason) = flooded(&mut server, |_| window(1, 1));
    assert_eq!(reason, "window_update_flood");
}

#[test]
fn a_server_that_floods_its_client_is_left_too() {
    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    let mut count = 0;
    while client.error.is_none() {
        client.give(&ping(false, [0; 8]));
        count += 1;
    }
    assert_eq!(client.error.map(|it| it.reason), Some("ping_flood"));
    assert!(count <= 1010);
}

#[test]
fn streams_that_wait_for_a_window_and_are_given_up_leave_nothing_behind() {
    let mut server = Peer::server_with(|it| it.resets_per_second = 1000);
    let mut writer = Writer::new();
    // The window of the connection is shut.
    server.give(&writer.headers(1, GET, true).take());
    server.answer(server.stream(1), 200, End::No);
    server.data(server.stream(1), &[0; 65_535], End::No);
    server.sent();
    let before = server.frozen_bytes();
    for stream in 1..5_000 {
        server.pass_time(10);
        server.give(&writer.headers(stream * 2 + 1, GET, true).take());
        let down = *server.streams.last().unwrap();
        server.answer(down, 200, End::No);
        server.data(down, b"waits", End::Yes);
        server.give(&rst(stream * 2 + 1, ErrorCode::Cancel));
        server.sent();
    }
    assert!(server.frozen_bytes() < before + 100, "{before}, {}", server.frozen_bytes());
}

// ---- honest traffic ----------------------------------------------------------------------------

#[test]
fn many_thousand_requests_at_full_speed_are_no_flood() {
    // As curl and nghttp do: WINDOW_UPDATE for stream and connection, now and then a PING.
    let mut server = Peer::server();
    let mut writer = Writer::new();
    for count in 0..100_000_u32 {
        let stream = count * 2 + 1;
        server.give(&writer.headers(stream, GET, true).take());
        let down = *server.streams.last().unwrap();
        server.streams.clear();
        server.answer(down, 200, End::No);
        server.data(down, &[0; 100], End::Yes);
        server.sent();
        server.give(&[window(0, 100), window(stream, 100)].concat());
        if count % 10 == 0 {
            server.give(&[ping(false, [0; 8]), raw(2, 0, stream, &[0, 0, 0, 0, 5])].concat());
        }
        assert_eq!(server.error, None, "{count}");
    }
    assert_eq!(server.codec.in_flight(), 0);
}

#[test]
fn streams_of_small_messages_for_hours_are_no_flood() {
    // gRPC: a message each way, WINDOW_UPDATE for both, a PING that measures the line.
    let mut pair = Pair::new();
    let up = pair.client.ask(post(), End::No);
    pair.run();
    let down = pair.server.stream(1);
    pair.server.answer(down, 200, End::No);
    pair.run();
    for count in 0..100_000_u32 {
        pair.client.data(up, b"\0\0\0\0\x05hello", End::No);
        let mut bytes = pair.client.sent();
        bytes.extend_from_slice(&ping(false, *b"measures"));
        bytes.extend_from_slice(&window(1, 10));
        bytes.extend_from_slice(&window(0, 10));
        pair.server.give(&bytes);
        pair.server.data(down, b"\0\0\0\0\x05world", End::No);
        let mut bytes = pair.server.sent();
        bytes.extend_from_slice(&window(1, 10));
        bytes.extend_from_slice(&window(0, 10));
        pair.client.give(&bytes);
        assert_eq!((pair.server.error, pair.client.error), (None, None), "{count}");
    }
}

#[test]
fn a_receiver_that_acknowledges_every_small_piece_of_an_upload_is_no_flood() {
    let mut client = Peer::client();
    let stream = client.ask(post(), End::No);
    for count in 0..20_000 {
        client.data(stream, &[0; 16_384], End::No);
        client.sent();
        for _ in 0..2 {
            client.give(&[window(0, 8_192), window(1, 8_192)].concat());
        }
        assert_eq!(client.error, None, "{count}");
    }
}

#[test]
fn a_client_that_cancels_a_tenth_of_its_calls_is_no_flood() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    for count in 0..100_000_u32 {
        let stream = count * 2 + 1;
        server.give(&writer.headers(stream, GET, true).take());
        let down = *server.streams.last().unwrap();
        server.streams.clear();
        if count % 10 == 0 {
            server.give(&rst(stream, ErrorCode::Cancel));
        } else {
            server.codec.reply(down, Status::NoRoute);
        }
        server.sent();
        server.give(&window(0, 29));
        assert_eq!(server.error, None, "{count}");
    }
}

#[test]
fn a_page_that_is_left_takes_its_requests_with_it() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    for page in 0..10_u32 {
        let streams = (0..100).map(|it| (page * 100 + it) * 2 + 1);
        for stream in streams.clone() {
            writer.headers(stream, GET, true);
        }
        server.give(&writer.take());
        for stream in streams {
            server.give(&rst(stream, ErrorCode::Cancel));
        }
        assert_eq!(server.error, None, "{page}");
        server.pass_time(2_000);
    }
}

#[test]
fn a_caller_that_leaves_many_downloads_hears_what_is_late_of_them() {
    let mut client = Peer::client();
    let streams: Vec<_> = (0..100).map(|_| client.ask(get(), End::Yes)).collect();
    let mut writer = Writer::new();
    for number in 0..100 {
        writer.headers(number * 2 + 1, OK, false);
    }
    client.give(&writer.take());
    streams.iter().for_each(|it| client.reset(*it, Reason::Cancelled));
    for _ in 0..100 {
        for number in 0..100 {
            writer.data(number * 2 + 1, &[0; 50], false);
        }
    }
    for number in 0..100 {
        writer.headers(number * 2 + 1, &[("grpc-status", "0")], true);
    }
    client.give(&writer.take());
    assert_eq!(client.error, None);
}

#[test]
fn uploads_of_a_known_length_are_no_flood() {
    let mut pair = Pair::new();
    for _ in 0..300 {
        let head = request(Method::Post, BodySize::Sized(5));
        let up = pair.client.ask(head, End::No);
        for byte in b"hello" {
            pair.client.data(up, &[*byte], End::No);
        }
        pair.client.data(up, b"", End::Yes);
        pair.tell_server();
        let down = *pair.server.streams.last().unwrap();
        pair.server.answer(down, 204, End::Yes);
        let (heard, _) = pair.run();
        assert_eq!(heard.len(), 1);
    }
    assert_eq!((pair.client.error, pair.server.error), (None, None));
}
