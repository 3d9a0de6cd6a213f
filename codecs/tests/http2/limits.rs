//! Each limit of HTTP/2: reached, and passed.

use hangu_codecs::http2::frame::Setting;
use hangu_codecs::message::End;
use hangu_codecs::{OpenError, Role, Time};

use crate::support::http2::{
    GET, OK, POST, Peer, Reader, Writer, data, get, raw, said_settings, settings_ack,
};

/// What a server says to one request, and hears.
fn answered(server: &mut Peer, pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let heard = server.give(&Writer::new().headers(1, pairs, true).take());
    (heard, Reader::after_greeting().read(&server.sent()))
}

fn assert_refused(server: &mut Peer, pairs: &[(&str, &str)], status: &str) {
    let (heard, said) = answered(server, pairs);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].starts_with("note StreamError("), "{heard:?}");
    assert!(said[0].contains(&format!(":status={status}")), "{said:?}");
    assert_eq!(server.codec.in_flight(), 0);
    // The connection goes on.
    assert_eq!(server.give(&settings_ack()), [""; 0]);
}

fn assert_taken(server: &mut Peer, pairs: &[(&str, &str)]) {
    let (heard, said) = answered(server, pairs);
    assert!(heard.len() == 1 && heard[0].starts_with("#1 request"), "{heard:?}");
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn streams_of_a_client_are_bounded_by_our_own_limit_and_its_ceiling() {
    let mut client = Peer::client_with(|it| it.streams_max = 3);
    for _ in 0..3 {
        client.ask(get(), End::Yes);
    }
    assert_eq!(client.codec.open(), Err(OpenError::Full));
    let mut server = Peer::with(Role::Server, |it| it.streams_max = u32::MAX);
    server.give(&crate::support::http2::greeting(&[]));
    let said = Reader::of(Role::Server).read(&server.sent());
    assert!(said[0].contains("MaxConcurrentStreams(65536)"), "{said:?}");
    let mut server = Peer::with(Role::Server, |it| it.streams_max = 0);
    server.give(&crate::support::http2::greeting(&[]));
    let said = Reader::of(Role::Server).read(&server.sent());
    assert!(said[0].contains("MaxConcurrentStreams(1)"), "{said:?}");
}

#[test]
fn windows_are_announced_within_what_the_protocol_allows() {
    for (stream, connection, settings, update) in [
        (0, 0, 65_535, None),
        (70_000, 200_000, 70_000, Some("window 0 +134465")),
        (u32::MAX, u32::MAX, 0x7fff_ffff, Some("window 0 +2147418112")),
    ] {
        let mut client = Peer::with(Role::Client, |it| {
            it.stream_window_bytes = stream;
            it.connection_window_bytes = connection;
        });
        let said = Reader::of(Role::Client).read(&client.sent());
        assert!(said[0].contains(&format!("InitialWindowSize({settings})")), "{said:?}");
        assert_eq!(said.get(1).map(String::as_str), update);
    }
}

#[test]
fn a_field_block_that_is_too_large_ends_the_connection() {
    for cut in [false, true] {
        for (bytes, is_taken) in [(2000, true), (2001, false)] {
            let mut server = Peer::server_with(|it| it.block_bytes_max = 2000);
            let mut writer = Writer::new();
            let mut block = writer.block(GET).to_vec();
            // A field that is never indexed, of raw octets; its value takes what is left.
            let value = bytes - block.len() - 5;
            block.extend_from_slice(b"\x10\x01a");
            block.push(0x7f);
            let mut rest = value - 127;
            assert!((128..16_384).contains(&rest));
            block.push(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
            block.push(rest as u8);
            block.resize(bytes, b'x');
            block.truncate(bytes);
            // One length byte more than planned: the value is one shorter.
            let frames = match cut {
                false => raw(1, 5, 1, &block),
                true => [raw(1, 1, 1, &block[..1500]), raw(9, 4, 1, &block[1500..])].concat(),
            };
            let heard = server.give(&frames);
            if is_taken {
                assert_ne!(heard, ["error field_block_too_large"]);
            } else {
                assert_eq!(heard, ["error field_block_too_large"]);
                let said = Reader::after_greeting().read(&server.sent());
                assert!(said.last().unwrap().ends_with("EnhanceYourCalm"), "{said:?}");
            }
        }
    }
}

#[test]
fn continuations_are_bounded_though_they_are_empty() {
    for (count, is_taken) in [(16, true), (17, false)] {
        let mut server = Peer::server();
        let block = Writer::new().block(GET);
        let mut frames = raw(1, 1, 1, &block);
        for _ in 1..count {
            frames.extend_from_slice(&raw(9, 0, 1, b""));
        }
        frames.extend_from_slice(&raw(9, 4, 1, b""));
        let heard = server.give(&frames);
        match is_taken {
            true => assert_eq!(heard, ["#1 request GET a / HTTP/2 end"]),
            false => assert_eq!(heard, ["error continuation_flood"]),
        }
    }
}

#[test]
fn a_head_with_too_many_bytes_is_answered_by_431() {
    // 32 for each field (RFC 9113 §6.5.2).
    let bytes: usize = GET.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    let value = "v".repeat(1000 - bytes - 33);
    let list = [GET, &[("x", value.as_str())]].concat();
    assert_taken(&mut Peer::server_with(|it| it.fields_bytes_max = 1000), &list);
    assert_refused(&mut Peer::server_with(|it| it.fields_bytes_max = 999), &list, "431");
}

#[test]
fn a_head_with_too_many_fields_is_answered_by_431() {
    let list = [GET, &[("x", "1"); 10]].concat();
    let is_taken = |max| {
        let mut server = Peer::server_with(|it| it.fields_max = max);
        answered(&mut server, &list).0[0].starts_with("#1 request")
    };
    let least = (0..20).find(|it| is_taken(*it)).unwrap();
    assert!((10..=14).contains(&least), "{least}");
    assert_refused(&mut Peer::server_with(|it| it.fields_max = least - 1), &list, "431");
}

#[test]
fn a_head_with_too_many_cookies_is_answered_by_431() {
    let list = [GET, &[("cookie", "a=b"); 5]].concat();
    assert_taken(&mut Peer::server_with(|it| it.cookies_max = 5), &list);
    assert_refused(&mut Peer::server_with(|it| it.cookies_max = 4), &list, "431");
}

#[test]
fn a_long_method_is_answered_by_501() {
    let list = [&[(":method", "VERSION-CONTROL")], &GET[1..]].concat();
    assert_taken(&mut Peer::server_with(|it| it.method_bytes_max = 15), &list);
    assert_refused(&mut Peer::server_with(|it| it.method_bytes_max = 14), &list, "501");
}

#[test]
fn a_long_target_is_answered_by_414() {
    let path = format!("/{}", "p".repeat(99));
    let list =
        [(":method", "GET"), (":scheme", "http"), (":path", path.as_str()), (":authority", "a")];
    assert_taken(&mut Peer::server_with(|it| it.target_bytes_max = 100), &list);
    assert_refused(&mut Peer::server_with(|it| it.target_bytes_max = 99), &list, "414");
}

#[test]
fn trailers_with_too_many_bytes_reset_the_stream() {
    for (max, is_taken) in [(100, true), (99, false)] {
        let mut server = Peer::server_with(|it| it.trailer_bytes_max = max);
        let mut writer = Writer::new();
        server.give(&writer.headers(1, POST, false).take());
        let value = "v".repeat(67);
        let heard = server.give(&writer.headers(1, &[("x", &value)], true).take());
        match is_taken {
            true => assert!(heard[0].starts_with("#1 trailers"), "{heard:?}"),
            false => assert_eq!(heard[1], "#1 reset ProtocolError", "{heard:?}"),
        }
        assert!(server.error.is_none());
    }
}

#[test]
fn a_body_that_says_it_is_too_long_is_answered_by_413() {
    for (length, is_taken) in [("100", true), ("101", false)] {
        let mut server = Peer::server_with(|it| it.body_bytes_max = 100);
        let list = [POST, &[("content-length", length)]].concat();
        let heard = server.give(&Writer::new().headers(1, &list, false).take());
        let said = Reader::after_greeting().read(&server.sent());
        if is_taken {
            assert!(heard[0].starts_with("#1 request"), "{heard:?}");
            continue;
        }
        assert_eq!(heard, ["note StreamError(\"body_too_large\")"]);
        assert!(said[0].starts_with("headers 1 :status=413"), "{said:?}");
        assert_eq!(said[2..], ["reset 1 NoError"]);
        // What is under way of it is dropped.
        assert_eq!(server.give(&data(1, &[0; 50], true)), [""; 0]);
    }
}

#[test]
fn a_body_that_turns_out_too_long_is_answered_by_413() {
    let mut server = Peer::server_with(|it| it.body_bytes_max = 100);
    server.give(&Writer::new().headers(1, POST, false).take());
    assert_eq!(server.give(&data(1, &[b'x'; 100], false)).len(), 1);
    let heard = server.give(&data(1, b"x", false));
    assert_eq!(heard, ["note StreamError(\"body_too_large\")", "#1 reset TooLarge"]);
    let said = Reader::after_greeting().read(&server.sent());
    assert!(said[0].starts_with("headers 1 :status=413"), "{said:?}");
    assert_eq!(server.give(&data(1, &[0; 50], true)), [""; 0]);
    // A response that has begun cannot be taken back.
    let mut server = Peer::server_with(|it| it.body_bytes_max = 100);
    server.give(&Writer::new().headers(1, POST, false).take());
    server.answer(server.stream(1), 200, End::No);
    server.sent();
    server.give(&data(1, &[0; 101], false));
    let said = Reader::after_greeting().read(&server.sent());
    assert_eq!(said, ["reset 1 EnhanceYourCalm"]);
}

#[test]
fn the_body_of_a_response_has_no_limit() {
    let mut client = Peer::client_with(|it| it.body_bytes_max = 10);
    client.ask(get(), End::Yes);
    let heard =
        client.give(&Writer::new().headers(1, OK, false).data(1, &[b'x'; 100], true).take());
    assert_eq!(heard.len(), 2, "{heard:?}");
}

#[test]
fn informational_responses_without_end_reset_the_stream() {
    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    let mut writer = Writer::new();
    for _ in 0..16 {
        let heard = client.give(&writer.headers(1, &[(":status", "103")], false).take());
        assert_eq!(heard.len(), 1);
    }
    let heard = client.give(&writer.headers(1, &[(":status", "103")], false).take());
    assert_eq!(heard, ["note StreamError(\"informational_flood\")", "#1 reset ProtocolError"]);
}

#[test]
fn a_smaller_table_holds_once_the_peer_has_acknowledged_it() {
    let list = [GET, &[("x-new", "1")]].concat();
    let mut server = Peer::with(Role::Server, |it| it.table_bytes_max = 0);
    let mut writer = Writer::new();
    // Before it knows, the peer may use the table of the protocol's default.
    server.give(&crate::support::http2::greeting(&[]));
    server.give(&writer.headers(1, &list, true).take());
    let heard = server.give(&writer.headers(3, &list, true).take());
    assert_eq!(heard, ["#2 request GET a / HTTP/2 (x-new: 1) end"]);
    server.give(&settings_ack());
    let heard = server.give(&writer.headers(5, &list, true).take());
    assert!(heard[0].starts_with("error "), "{heard:?}");
    assert_eq!(server.error.map(|it| it.reason), Some("hpack_size_update_missing"));
}

#[test]
fn our_own_table_follows_what_the_peer_says() {
    let mut client = Peer::client();
    let mut reader = Reader::after_greeting();
    let with_field = || {
        let mut head = get();
        head.fields.push(b"x-new", b"0123456789");
        head
    };
    client.ask(with_field(), End::Yes);
    client.ask(with_field(), End::Yes);
    reader.read(&client.sent());
    for bytes in [0, 4096, 100, u32::MAX] {
        client
            .give(&said_settings(&[Setting::HeaderTableSize(64), Setting::HeaderTableSize(bytes)]));
        for _ in 0..3 {
            client.ask(with_field(), End::Yes);
        }
        let said = reader.read(&client.sent());
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[3].ends_with("x-new=0123456789"));
    }
}

#[test]
fn frames_are_cut_to_what_the_peer_takes() {
    let mut client = Peer::client();
    client.give(&said_settings(&[Setting::InitialWindowSize(1 << 20)]));
    client.give(&crate::support::http2::window(0, 1 << 20));
    let stream = client.ask(crate::support::http2::post(), End::No);
    client.data(stream, &[0; 40_000], End::No);
    let mut head = get();
    head.fields.push(b"x-long", "l".repeat(40_000).as_bytes());
    client.ask(head, End::Yes);
    let mut frames = Vec::new();
    let bytes = client.sent();
    let mut rest = &bytes[..];
    while let Some(header) = hangu_codecs::http2::frame::FrameHeader::read(rest) {
        frames.push(header.length);
        rest = &rest[9 + header.length as usize..];
    }
    assert!(frames.iter().all(|it| *it <= 16_384), "{frames:?}");
    assert!(frames.iter().filter(|it| **it == 16_384).count() >= 3, "{frames:?}");
    Reader::after_greeting().read(&bytes);
    client.give(&said_settings(&[Setting::MaxFrameSize(30_000)]));
    client.sent();
    client.data(stream, &[0; 40_000], End::No);
    let bytes = client.sent();
    let header = hangu_codecs::http2::frame::FrameHeader::read(&bytes).unwrap();
    assert_eq!(header.length, 30_000);
}

#[test]
fn time_that_never_comes_is_no_timeout() {
    let mut client = Peer::client();
    assert_eq!(client.codec.next_timeout(), None);
    client.codec.timeout(Time::from_micros(u64::MAX)).unwrap();
    assert!(client.codec.open().is_ok());
}
