//! Requests and responses between both roles.

use hangu_codecs::message::End;
use hangu_codecs::{BodySize, EncodeError, Method, OpenError, Part, Reason, Role, Status};

use crate::support::http2::{
    GET, HEAD, OK, POST, Pair, Peer, Reader, Writer, data, fields, get, greeting, post, request,
    rst, said_settings, settings_ack,
};

#[test]
fn the_first_words_of_both_sides_are_their_settings() {
    let mut client = Peer::new(Role::Client);
    let mut reader = Reader::of(Role::Client);
    let first = client.sent();
    assert_eq!(
        reader.read(&first),
        [
            "settings [EnablePush(false), HeaderTableSize(4096), InitialWindowSize(262144), \
             MaxHeaderListSize(65536)]",
            "window 0 +983041",
        ]
    );
    let mut server = Peer::new(Role::Server);
    assert!(server.sent().is_empty(), "a server waits for the preface");
    server.give(&first);
    let mut reader = Reader::of(Role::Server);
    assert_eq!(
        reader.read(&server.sent()),
        [
            "settings [MaxConcurrentStreams(256), HeaderTableSize(4096), \
             InitialWindowSize(262144), MaxHeaderListSize(65536), EnableConnectProtocol(true)]",
            "window 0 +983041",
            "settings ack",
        ]
    );
}

#[test]
fn a_request_may_come_in_the_same_breath_as_the_preface() {
    let mut server = Peer::new(Role::Server);
    let mut writer = Writer::new();
    let all = [greeting(&[]), writer.headers(1, GET, true).take()].concat();
    assert_eq!(server.give(&all), ["#1 request GET a / HTTP/2 end"]);
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    let mut pair = Pair::new();
    let stream = pair.client.ask(post(), End::No);
    pair.client.data(stream, b"hello ", End::No);
    pair.client.data(stream, b"world", End::No);
    pair.client.trailers(stream, &[("x-sum", "1")]);
    assert_eq!(
        pair.tell_server(),
        ["#1 request POST a / HTTP/2 unknown", "#1 data \"hello world\"", "#1 trailers (x-sum: 1)"]
    );
    let down = pair.server.stream(1);
    pair.server.answer(down, 200, End::No);
    pair.server.data(down, b"yes", End::No);
    pair.server.trailers(down, &[("grpc-status", "0")]);
    assert_eq!(
        pair.tell_client(),
        ["#1 response 200 \"\" HTTP/2 unknown", "#1 data \"yes\"", "#1 trailers (grpc-status: 0)"]
    );
    assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
    assert_eq!(pair.run(), (vec![], vec![]));
}

#[test]
fn trailers_without_a_field_are_an_end() {
    let mut pair = Pair::new();
    let stream = pair.client.ask(post(), End::No);
    pair.client.trailers(stream, &[]);
    assert_eq!(pair.tell_server(), ["#1 request POST a / HTTP/2 unknown", "#1 data \"\" end"]);
}

#[test]
fn many_exchanges_are_under_way_at_once_and_are_answered_in_any_order() {
    let mut pair = Pair::new();
    let streams: Vec<_> = (0..100).map(|_| pair.client.ask(get(), End::Yes)).collect();
    assert_eq!(pair.tell_server().len(), 100);
    for number in (1..=100).rev() {
        let down = pair.server.stream(number);
        pair.server.answer(down, 200, End::No);
        pair.server.data(down, number.to_string().as_bytes(), End::Yes);
    }
    let heard = pair.tell_client();
    for (number, place) in (1..=100).rev().zip(0..) {
        assert_eq!(heard[place * 2 + 1], format!("#{number} data \"{number}\" end"));
    }
    assert_eq!(pair.client.streams, streams);
    assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
}

#[test]
fn informational_responses_come_before_the_response() {
    let mut pair = Pair::new();
    pair.client.ask(post(), End::No);
    pair.run();
    let down = pair.server.stream(1);
    pair.server.answer(down, 100, End::No);
    pair.server.answer(down, 103, End::No);
    assert_eq!(pair.tell_client().len(), 2);
    pair.server.answer(down, 204, End::Yes);
    let heard = pair.tell_client();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].starts_with("#1 response 204") && heard[0].ends_with("end"));
}

#[test]
fn an_informational_response_has_no_end() {
    let mut pair = Pair::new();
    pair.client.ask(get(), End::Yes);
    pair.run();
    let down = pair.server.stream(1);
    let mut head = crate::support::http2::response(100);
    let part = Part::Head(hangu_codecs::Head::HttpResponse(&mut head), End::Yes);
    assert_eq!(pair.server.encode(down, part), Err(EncodeError::Unfit));
    let mut head = crate::support::http2::response(101);
    let part = Part::Head(hangu_codecs::Head::HttpResponse(&mut head), End::No);
    assert_eq!(pair.server.encode(down, part), Err(EncodeError::Unfit));
    assert!(pair.server.sent().is_empty());

    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    let mut writer = Writer::new();
    let bytes = writer.headers(1, &[(":status", "103")], true).take();
    assert_eq!(
        client.give(&bytes),
        ["note StreamError(\"informational_ends_stream\")", "#1 reset ProtocolError"]
    );
}

#[test]
fn the_response_to_a_head_request_has_a_length_and_no_body() {
    let mut pair = Pair::new();
    pair.client.ask(request(Method::Head, BodySize::None), End::Yes);
    pair.run();
    let down = pair.server.stream(1);
    let mut head = crate::support::http2::response(200);
    head.body = BodySize::Sized(1000);
    let part = Part::Head(hangu_codecs::Head::HttpResponse(&mut head), End::Yes);
    pair.server.encode(down, part).unwrap();
    let heard = pair.tell_client();
    assert!(heard[0].ends_with("end"), "{heard:?}");
    assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
}

#[test]
fn a_response_that_has_no_body_takes_none() {
    for (method, status) in [(Method::Head, 200), (Method::Get, 204), (Method::Get, 304)] {
        let mut pair = Pair::new();
        pair.client.ask(request(method, BodySize::None), End::Yes);
        pair.run();
        let down = pair.server.stream(1);
        pair.server.answer(down, status, End::No);
        let part = Part::Data(hangu_codecs::Data::Borrowed(b"x"), End::No);
        assert_eq!(pair.server.encode(down, part), Err(EncodeError::WrongLength));
        let heard = pair.tell_client();
        assert_eq!(heard[1..], ["#1 reset ConnectionLost"], "{heard:?}");
    }
}

#[test]
fn a_reply_of_our_own_ends_the_stream() {
    for (fields, expected) in [(GET, 2), (HEAD, 1)] {
        let mut server = Peer::server();
        let mut writer = Writer::new();
        server.give(&writer.headers(1, fields, true).take());
        server.codec.reply(server.stream(1), Status::NoRoute);
        let said = Reader::after_greeting().read(&server.sent());
        assert_eq!(said.len(), expected, "{said:?}");
        assert!(said[0].contains(":status=404"));
        assert!(said[expected - 1].contains(" end"));
        assert_eq!(server.codec.in_flight(), 0);
        // Nothing of it can be said twice.
        server.codec.reply(server.stream(1), Status::NoRoute);
        assert!(server.sent().is_empty());
    }
}

#[test]
fn a_whole_response_before_the_end_of_the_request_asks_for_no_more_of_it() {
    let mut pair = Pair::new();
    let stream = pair.client.ask(post(), End::No);
    pair.run();
    let down = pair.server.stream(1);
    pair.server.answer(down, 403, End::No);
    pair.server.data(down, b"no", End::Yes);
    let said = pair.server.sent();
    // RFC 9113 §8.1.
    let lines = Reader::after_greeting().read(&said);
    assert_eq!(lines[1..], ["data 1 2 end", "reset 1 NoError"]);
    // What is under way is dropped without a word, and its credit is given back.
    pair.client.data(stream, b"more", End::No);
    assert_eq!(pair.tell_server(), [""; 0]);
    // The response is not lost by the reset behind it.
    assert_eq!(
        pair.client.give(&said),
        ["#1 response 403 \"\" HTTP/2 unknown", "#1 data \"no\" end"]
    );
    assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
    assert_eq!(pair.run(), (vec![], vec![]));
}

#[test]
fn a_reset_of_the_client_reaches_the_server_in_each_state() {
    for state in 0..4 {
        let mut pair = Pair::new();
        let stream = pair.client.ask(post(), End::No);
        pair.run();
        let down = pair.server.stream(1);
        if state >= 1 {
            pair.client.data(stream, b"x", if state == 3 { End::Yes } else { End::No });
        }
        if state >= 2 {
            pair.server.answer(down, 200, End::No);
            pair.server.data(down, b"y", End::No);
        }
        pair.run();
        pair.client.reset(stream, Reason::Cancelled);
        assert_eq!(pair.tell_server(), ["#1 reset Cancelled"], "{state}");
        assert_eq!(pair.server.encode(down, Part::Trailers(&fields(&[]))), UNKNOWN);
        assert_eq!(pair.client.encode(stream, Part::Reset(Reason::Cancelled)), UNKNOWN);
        assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
        assert_eq!(pair.run(), (vec![], vec![]));
    }
}

#[test]
fn a_reset_of_the_server_reaches_the_client_in_each_state() {
    for (state, reason) in [
        (0, Reason::Refused),
        (1, Reason::TooLarge),
        (2, Reason::ConnectionLost),
        (3, Reason::Cancelled),
    ] {
        let mut pair = Pair::new();
        let stream = pair.client.ask(post(), End::No);
        pair.run();
        let down = pair.server.stream(1);
        if state >= 1 {
            pair.client.data(stream, b"x", if state == 3 { End::Yes } else { End::No });
        }
        if state >= 2 {
            pair.server.answer(down, 200, End::No);
            pair.server.data(down, b"y", End::No);
        }
        pair.run();
        pair.server.reset(down, reason);
        assert_eq!(pair.tell_client(), [format!("#1 reset {reason:?}")]);
        assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
        assert_eq!(pair.run(), (vec![], vec![]));
    }
}

#[test]
fn resets_that_cross_are_no_fault() {
    let mut pair = Pair::new();
    let stream = pair.client.ask(post(), End::No);
    pair.run();
    pair.client.data(stream, b"late", End::No);
    pair.client.reset(stream, Reason::Cancelled);
    pair.server.reset(pair.server.stream(1), Reason::Refused);
    let (to_server, to_client) = (pair.client.sent(), pair.server.sent());
    assert_eq!(pair.server.give(&to_server), [""; 0]);
    assert_eq!(pair.client.give(&to_client), [""; 0]);
    assert_eq!(pair.run(), (vec![], vec![]));
}

#[test]
fn a_length_that_does_not_hold_gives_the_stream_up() {
    let mut pair = Pair::new();
    let stream = pair.client.ask(request(Method::Post, BodySize::Sized(5)), End::No);
    let part = Part::Data(hangu_codecs::Data::Borrowed(b"123456"), End::No);
    assert_eq!(pair.client.encode(stream, part), Err(EncodeError::WrongLength));
    let stream = pair.client.ask(request(Method::Post, BodySize::Sized(5)), End::No);
    pair.client.data(stream, b"123", End::No);
    let part = Part::Data(hangu_codecs::Data::Borrowed(b"4"), End::Yes);
    assert_eq!(pair.client.encode(stream, part), Err(EncodeError::WrongLength));
    let stream = pair.client.ask(request(Method::Post, BodySize::Sized(5)), End::No);
    pair.client.data(stream, b"123", End::No);
    assert_eq!(
        pair.client.encode(stream, Part::Trailers(&fields(&[("x", "y")]))),
        Err(EncodeError::WrongLength)
    );
    let heard = pair.tell_server();
    let resets = heard.iter().filter(|it| it.ends_with("reset ConnectionLost")).count();
    let notes = heard.iter().filter(|it| it.contains("request_given_up_at_once")).count();
    assert_eq!(resets + notes, 3, "{heard:?}");
    assert_eq!(pair.client.codec.in_flight(), 0);
}

#[test]
fn parts_that_do_not_fit_write_nothing() {
    let mut client = Peer::client();
    let stream = client.codec.open().unwrap();
    let data = || Part::Data(hangu_codecs::Data::Borrowed(b"x"), End::No);
    assert_eq!(client.encode(stream, data()), Err(EncodeError::Unfit), "data before a head");
    let mut head = crate::support::http2::response(200);
    let part = Part::Head(hangu_codecs::Head::HttpResponse(&mut head), End::No);
    assert_eq!(client.encode(stream, part), Err(EncodeError::Unfit), "a response of a client");
    assert!(client.sent().is_empty());
    let mut head = get();
    let part = Part::Head(hangu_codecs::Head::HttpRequest(&mut head), End::Yes);
    client.encode(stream, part).unwrap();
    client.sent();
    let part = Part::Head(hangu_codecs::Head::HttpRequest(&mut head), End::Yes);
    assert_eq!(client.encode(stream, part), Err(EncodeError::Unfit), "a second head");
    assert_eq!(client.encode(stream, data()), Err(EncodeError::Unfit), "data after the end");
    assert_eq!(client.encode(stream, Part::Trailers(&fields(&[]))), Err(EncodeError::Unfit));
    assert!(client.sent().is_empty());
}

#[test]
fn a_refused_stream_may_be_sent_elsewhere() {
    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    let reset = rst(1, hangu_codecs::http2::ErrorCode::RefusedStream);
    assert_eq!(client.give(&reset), ["#1 reset Refused"]);
}

#[test]
fn a_client_opens_as_many_streams_as_the_server_takes() {
    use hangu_codecs::http2::frame::Setting::MaxConcurrentStreams;
    let mut client = Peer::with(Role::Client, |it| it.streams_max = 5);
    client.give(&said_settings(&[MaxConcurrentStreams(2)]));
    client.ask(get(), End::Yes);
    client.ask(get(), End::Yes);
    assert_eq!(client.codec.open(), Err(OpenError::Full));
    client.give(&said_settings(&[MaxConcurrentStreams(3)]));
    client.ask(get(), End::Yes);
    assert_eq!(client.codec.open(), Err(OpenError::Full));
    // Fewer than are open: none is taken back.
    assert_eq!(client.give(&said_settings(&[MaxConcurrentStreams(0)])), [""; 0]);
    assert_eq!(client.codec.in_flight(), 3);
    let mut writer = Writer::new();
    for stream in [1, 3, 5] {
        client.give(&writer.headers(stream, OK, true).take());
        assert_eq!(client.codec.open(), Err(OpenError::Full));
    }
    client.give(&said_settings(&[MaxConcurrentStreams(100)]));
    for _ in 0..5 {
        client.ask(get(), End::Yes);
    }
    assert_eq!(client.codec.open(), Err(OpenError::Full), "our own limit");
}

#[test]
fn streams_above_the_limit_are_refused_and_the_others_go_on() {
    let mut server = Peer::server_with(|it| it.streams_max = 2);
    let mut writer = Writer::new();
    let bytes = writer.headers(1, GET, true).headers(3, POST, false).headers(5, GET, true).take();
    assert_eq!(
        server.give(&bytes),
        [
            "#1 request GET a / HTTP/2 end",
            "#2 request POST a / HTTP/2 unknown",
            "note StreamError(\"too_many_streams\")"
        ]
    );
    let mut reader = Reader::after_greeting();
    assert_eq!(reader.read(&server.sent()), ["reset 5 RefusedStream"]);
    server.answer(server.stream(1), 204, End::Yes);
    assert_eq!(
        server.give(&writer.headers(7, GET, true).take()),
        ["#3 request GET a / HTTP/2 end"]
    );
}

#[test]
fn the_state_of_field_compression_outlives_streams_that_are_refused() {
    let mut server = Peer::server_with(|it| it.streams_max = 1);
    let mut writer = Writer::new();
    let with_new_field = |value| [GET, &[("x-same", value)]].concat();
    server.give(&writer.headers(1, &with_new_field("one"), true).take());
    server.give(&writer.headers(3, &with_new_field("two"), true).take());
    server.give(&writer.headers(5, &with_new_field("two"), true).take());
    server.codec.reply(server.stream(1), Status::NoRoute);
    // It refers to entries that were made by refused streams.
    assert_eq!(
        server.give(&writer.headers(7, &with_new_field("two"), true).take()),
        ["#2 request GET a / HTTP/2 (x-same: two) end"]
    );
}

#[test]
fn acknowledged_settings_are_no_event() {
    let mut server = Peer::server();
    assert_eq!(server.give(&settings_ack()), [""; 0]);
    assert!(server.sent().is_empty());
}

#[test]
fn data_with_an_empty_last_frame_ends_the_request() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    assert_eq!(server.give(&data(1, b"x", false)), ["#1 data \"x\""]);
    assert_eq!(server.give(&data(1, b"", true)), ["#1 data \"\" end"]);
}

const UNKNOWN: Result<(), EncodeError> = Err(EncodeError::UnknownStream);

#[test]
fn a_reply_of_our_own_needs_no_window() {
    use hangu_codecs::http2::frame::Setting::InitialWindowSize;
    let mut server = Peer::with(Role::Server, |it| it.body_bytes_max = 10);
    server.give(&greeting(&[InitialWindowSize(0)]));
    server.sent();
    let mut writer = Writer::new();
    let mut reader = Reader::after_greeting();
    server.give(&writer.headers(1, GET, true).take());
    server.codec.reply(server.stream(1), Status::NoRoute);
    let said = reader.read(&server.sent());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("headers 1 end :status=404"), "{said:?}");
    assert_eq!(server.codec.in_flight(), 0);
    // Nor is anything heard of a request that was answered here.
    let too_long = [POST, &[("content-length", "11")]].concat();
    let heard = server.give(&writer.headers(3, &too_long, false).data(3, b"x", false).take());
    assert_eq!(heard, ["note StreamError(\"body_too_large\")"]);
    let said = reader.read(&server.sent());
    assert!(said[0].starts_with("headers 3 end :status=413"), "{said:?}");
    assert_eq!(said[1..], ["reset 3 NoError"]);
}
