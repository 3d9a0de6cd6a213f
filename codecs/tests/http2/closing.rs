//! Ends of connections: GOAWAY in two steps, age, and what breaks.

use hangu_codecs::http2::ErrorCode;
use hangu_codecs::message::End;
use hangu_codecs::{OpenError, Part, Role, Time};

use crate::support::http2::{
    GET, OK, POST, Pair, Peer, Reader, Writer, data, get, goaway, greeting, ping, post, raw, rst,
    window,
};

#[test]
fn a_request_under_way_between_both_words_of_goodbye_is_taken() {
    let mut pair = Pair::new();
    pair.client.ask(get(), End::Yes);
    pair.tell_server();
    pair.server.codec.drain();
    // Sent before the client hears of it.
    let late = pair.client.ask(get(), End::Yes);
    assert_eq!(pair.tell_client(), ["goaway", "note HeartbeatReceived"]);
    assert_eq!(pair.client.codec.open(), Err(OpenError::Closing));
    assert_eq!(pair.tell_server(), ["#2 request GET a / HTTP/2 end"]);
    let said = pair.server.sent();
    assert_eq!(Reader::after_greeting().read(&said), ["goaway 3 NoError"]);
    assert_eq!(pair.client.give(&said), [""; 0], "told once");
    assert!(!pair.server.codec.is_finished() && !pair.client.codec.is_finished());
    for number in [1, 2] {
        pair.server.answer(pair.server.stream(number), 204, End::Yes);
    }
    assert_eq!(pair.tell_client().len(), 2);
    assert_eq!(pair.client.stream(2), late);
    assert!(pair.server.codec.is_finished() && pair.client.codec.is_finished());
}

#[test]
fn a_peer_that_does_not_answer_is_told_goodbye_after_a_while() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, GET, true).take());
    assert_eq!(server.codec.next_timeout(), None);
    server.codec.drain();
    let mut reader = Reader::after_greeting();
    assert_eq!(reader.read(&server.sent()), ["goaway 2147483647 NoError", "ping goodbye!"]);
    assert_eq!(server.give(&writer.headers(3, GET, true).take()).len(), 1);
    let due = server.codec.next_timeout().unwrap();
    assert_eq!(due.until(server.now).as_millis(), 1000);
    server.pass_time(999);
    server.codec.timeout(server.now).unwrap();
    assert!(server.sent().is_empty());
    server.pass_time(1);
    server.codec.timeout(server.now).unwrap();
    assert_eq!(reader.read(&server.sent()), ["goaway 3 NoError"]);
    assert_eq!(server.codec.next_timeout(), None);
    // RFC 9113 §6.8: what comes later is ignored, though the state of compression is kept.
    assert_eq!(
        server.give(&writer.headers(5, &[GET, &[("x", "y")]].concat(), false).take()),
        [""; 0]
    );
    assert_eq!(server.give(&data(5, b"abc", false)), [""; 0]);
    assert_eq!(server.give(&window(5, 1)), [""; 0]);
    assert_eq!(server.give(&rst(5, ErrorCode::Cancel)), [""; 0]);
    assert!(server.sent().is_empty());
    for number in [1, 2] {
        assert!(!server.codec.is_finished());
        server.answer(server.stream(number), 204, End::Yes);
    }
    assert!(server.codec.is_finished());
}

#[test]
fn an_idle_connection_that_drains_ends_with_the_round_trip() {
    let mut pair = Pair::new();
    pair.server.codec.drain();
    assert!(!pair.server.codec.is_finished(), "a request may be under way");
    pair.run();
    assert!(pair.server.codec.is_finished() && pair.client.codec.is_finished());
}

#[test]
fn a_server_that_has_heard_nothing_drains_without_a_word() {
    let mut server = Peer::new(Role::Server);
    server.codec.drain();
    assert!(server.codec.is_finished() && server.sent().is_empty());
}

#[test]
fn a_client_that_drains_ends_with_its_last_stream() {
    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    client.codec.drain();
    assert_eq!(client.codec.open(), Err(OpenError::Closing));
    assert!(!client.codec.is_finished());
    client.give(&Writer::new().headers(1, OK, true).take());
    assert!(client.codec.is_finished());
}

#[test]
fn goaway_refuses_the_streams_above_its_last() {
    let mut client = Peer::client();
    for _ in 0..3 {
        client.ask(get(), End::Yes);
    }
    assert_eq!(client.give(&goaway(0x7fff_ffff, ErrorCode::NoError)), ["goaway"]);
    let heard = client.give(&goaway(3, ErrorCode::NoError));
    assert_eq!(heard, ["#3 reset Refused"]);
    let heard = client.give(&goaway(1, ErrorCode::NoError));
    assert_eq!(heard, ["#2 reset Refused"]);
    assert!(!client.codec.is_finished());
    client.give(&Writer::new().headers(1, OK, true).take());
    assert!(client.codec.is_finished());
}

#[test]
fn a_stream_that_is_open_without_a_head_is_refused_by_goaway_as_well() {
    let mut client = Peer::client();
    let stream = client.codec.open().unwrap();
    // RFC 9113 §6.8: whoever heard GOAWAY opens no more streams.
    let heard = client.give(&goaway(0x7fff_ffff, ErrorCode::NoError));
    assert_eq!(heard, ["goaway", "#1 reset Refused"]);
    let mut head = get();
    let part = Part::Head(hangu_codecs::Head::HttpRequest(&mut head), End::Yes);
    assert!(client.encode(stream, part).is_err());
    assert!(client.codec.is_finished());
}

#[test]
fn an_old_connection_takes_no_new_streams_and_ends() {
    let mut client = Peer::client_with(|it| it.age_max_ms = 60_000);
    client.ask(get(), End::Yes);
    assert_eq!(client.codec.next_timeout().unwrap().until(client.now).as_secs(), 60);
    client.pass_time(60_000);
    client.codec.timeout(client.now).unwrap();
    assert_eq!(client.codec.open(), Err(OpenError::Closing));
    assert_eq!(client.codec.next_timeout(), None);
    client.give(&Writer::new().headers(1, OK, true).take());
    assert!(client.codec.is_finished());

    let mut server = Peer::server_with(|it| it.age_max_ms = 60_000);
    server.pass_time(59_000);
    // The age goes with the connection through a swap.
    server.swap();
    server.pass_time(1_000);
    server.codec.timeout(server.now).unwrap();
    let said = Reader::after_greeting().read(&server.sent());
    assert_eq!(said, ["goaway 2147483647 NoError", "ping goodbye!"]);
    server.give(&ping(true, *b"goodbye!"));
    assert!(server.codec.is_finished());
}

#[test]
fn an_answer_to_a_goodbye_that_was_not_said_says_none() {
    let mut server = Peer::server();
    assert_eq!(server.give(&ping(true, *b"goodbye!")), [""; 0]);
    assert!(server.sent().is_empty() && !server.codec.is_finished());
}

#[test]
fn the_last_word_tells_what_is_wrong_and_is_the_last() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    server.codec.drain();
    server.sent();
    let stream = server.stream(1);
    assert_eq!(server.give(&raw(0, 0, 0, b"x")), ["error data_without_stream"]);
    assert_eq!(Reader::after_greeting().read(&server.sent()), ["goaway 1 ProtocolError"]);
    assert!(server.codec.is_finished() && !server.codec.wants_input());
    assert_eq!(server.codec.next_timeout(), None);
    server.pass_time(10_000);
    server.codec.timeout(server.now).unwrap();
    server.codec.drain();
    server.codec.refuse(&server.error.unwrap());
    server.codec.release(stream, 1);
    assert!(server.sent().is_empty());
    server.error = None;
    assert_eq!(server.give(&ping(false, [0; 8])), [""; 0]);
}

#[test]
fn a_server_that_fails_after_the_second_word_says_the_error_too() {
    let mut server = Peer::server();
    server.codec.drain();
    server.give(&ping(true, *b"goodbye!"));
    server.sent();
    server.give(&raw(6, 0, 0, b"short"));
    assert_eq!(Reader::after_greeting().read(&server.sent()), ["goaway 0 FrameSizeError"]);
}

#[test]
fn a_caller_may_end_the_connection_with_a_word() {
    use hangu_codecs::{Error, Fault, Status};
    for (status, code) in
        [(Status::RequestTimedOut, "NoError"), (Status::Overloaded, "EnhanceYourCalm")]
    {
        let mut server = Peer::server();
        server.codec.refuse(&Error::new(Fault::Limit, status, "by_the_caller"));
        let said = Reader::after_greeting().read(&server.sent());
        assert_eq!(said, [format!("goaway 0 {code}")]);
        assert!(server.codec.is_finished());
    }
}

#[test]
fn the_end_of_the_input_is_told_where_it_matters() {
    let mut server = Peer::server();
    assert_eq!(server.end(), [""; 0]);
    assert!(server.codec.is_finished());
    let mut server = Peer::server();
    server.give(&ping(false, [0; 8])[..12]);
    assert_eq!(server.end(), ["error closed_in_frame"]);
    let mut server = Peer::new(Role::Server);
    server.give(&greeting(&[])[..20]);
    server.end();
    assert!(server.codec.is_finished());
    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    assert_eq!(client.end(), ["error closed_with_streams"]);
    let mut client = Peer::client();
    assert_eq!(client.end(), [""; 0]);
    assert!(client.codec.is_finished());
    assert_eq!(client.codec.open(), Err(OpenError::Closing));
}

#[test]
fn what_came_before_the_end_of_the_input_is_still_told() {
    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    client.input.extend_from_slice(&Writer::new().headers(1, OK, false).data(1, b"x", true).take());
    client.codec.end_input();
    let heard = client.pump();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(client.codec.is_finished());
}

#[test]
fn drained_connections_go_on_after_a_swap() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    server.codec.drain();
    server.swap();
    server.pass_time(400);
    server.swap();
    let due = server.codec.next_timeout().unwrap();
    assert_eq!(due.until(server.now).as_millis(), 600);
    // Time goes on elsewhere from another origin.
    let frozen = server.codec.freeze(server.now);
    server.now = Time::from_micros(5);
    server.codec =
        hangu_codecs::Protocol::thaw(&frozen, &server.limits, server.now).expect("it thaws");
    assert_eq!(server.codec.next_timeout().unwrap().as_micros(), 600_005);
    assert_eq!(
        Reader::after_greeting().read(&server.sent()),
        ["goaway 2147483647 NoError", "ping goodbye!"]
    );
}

#[test]
fn a_client_whose_server_leaves_still_sends_what_it_began() {
    let mut pair = Pair::new();
    let stream = pair.client.ask(post(), End::No);
    pair.run();
    pair.server.codec.drain();
    pair.run();
    pair.client.data(stream, b"rest", End::Yes);
    assert_eq!(pair.tell_server(), ["#1 data \"rest\" end"]);
}
