//! Frames where none may come, or come late (RFC 9113 §5.1, §6, §8.4).

use hangu_codecs::http2::ErrorCode;
use hangu_codecs::http2::frame::{Kind, Setting};
use hangu_codecs::message::End;
use hangu_codecs::{Reason, Role};

use crate::support::http2::{
    GET, OK, POST, Peer, Reader, Writer, data, get, greeting, padded, ping, post, raw, rst,
    said_settings, settings_ack, window,
};

/// The reason for which a server ends a connection, and its last word.
fn broken(bytes: &[u8]) -> (String, String) {
    let mut server = Peer::server();
    broken_server(&mut server, bytes)
}

fn broken_server(server: &mut Peer, bytes: &[u8]) -> (String, String) {
    let heard = server.give(bytes);
    let said = Reader::after_greeting().read(&server.sent());
    let last = said.last().unwrap_or_else(|| panic!("nothing said, heard {heard:?}"));
    (heard.last().expect("an error").clone(), last.clone())
}

#[test]
fn frames_on_idle_streams_break_the_connection() {
    // RFC 9113 §5.1: only HEADERS and PRIORITY.
    for (bytes, reason) in [
        (data(1, b"x", false), "error frame_on_idle_stream"),
        (rst(1, ErrorCode::Cancel), "error reset_of_idle_stream"),
        (window(1, 1), "error window_update_of_idle_stream"),
        (window(2, 1), "error window_update_of_idle_stream"),
        (rst(2, ErrorCode::Cancel), "error reset_of_idle_stream"),
        (data(2, b"x", true), "error frame_on_idle_stream"),
        // A zero increment and a dependency on itself are errors of a stream, but there is none.
        (window(1, 0), "error frame_on_idle_stream"),
    ] {
        let (error, said) = broken(&bytes);
        assert_eq!((error.as_str(), said.as_str()), (reason, "goaway 0 ProtocolError"));
    }
}

#[test]
fn streams_of_the_wrong_side_break_the_connection() {
    let mut writer = Writer::new();
    let (error, said) = broken(&writer.headers(2, GET, true).take());
    assert_eq!(
        (error.as_str(), said.as_str()),
        ("error stream_of_wrong_side", "goaway 0 ProtocolError")
    );
    // One that depends on itself as well.
    let mut writer = Writer::new();
    let block = writer.block(GET);
    let payload = [&[0, 0, 0, 2, 0][..], &block].concat();
    let (_, said) = broken(&raw(1, 0x25, 2, &payload));
    assert_eq!(said, "goaway 0 ProtocolError");
}

#[test]
fn a_server_that_begins_a_stream_breaks_the_connection() {
    for stream in [1, 2, 7] {
        let mut client = Peer::client();
        let heard = client.give(&Writer::new().headers(stream, OK, true).take());
        assert_eq!(heard, ["error frame_on_idle_stream"]);
        let mut writer = Writer::new();
        let block = writer.block(OK);
        let payload = [&stream.to_be_bytes()[..], &[0], &block].concat();
        let mut client = Peer::client();
        let heard = client.give(&raw(1, 0x25, stream, &payload));
        assert_eq!(heard, ["error frame_on_idle_stream"]);
    }
}

#[test]
fn a_lower_stream_than_before_breaks_the_connection() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(5, GET, true).take());
    let (error, said) = broken_server(&mut server, &writer.headers(3, GET, true).take());
    assert_eq!(error, "error headers_on_closed_stream");
    assert_eq!(said, "goaway 5 StreamClosed");
}

#[test]
fn frames_after_the_end_of_the_request_give_the_stream_up() {
    for frame in [data(1, b"x", false), Writer::new().headers(1, &[("a", "b")], true).take()] {
        let mut server = Peer::server();
        server.give(&Writer::new().headers(1, GET, true).take());
        let heard = server.give(&frame);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert_eq!(heard[1], "#1 reset ProtocolError");
        assert_eq!(Reader::after_greeting().read(&server.sent()), ["reset 1 StreamClosed"]);
        assert!(server.error.is_none());
    }
}

#[test]
fn frames_that_may_come_at_any_time_do() {
    // RFC 9113 §5.1: half-closed (remote) and closed.
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, GET, true).take());
    for _ in 0..2 {
        assert_eq!(server.give(&window(1, 10)), [""; 0]);
        assert_eq!(server.give(&raw(2, 0, 1, &[0, 0, 0, 0, 5])), [""; 0]);
        if server.codec.in_flight() > 0 {
            server.answer(server.stream(1), 204, End::Yes);
            server.sent();
        }
    }
    assert_eq!(server.give(&rst(1, ErrorCode::NoError)), [""; 0]);
    assert_eq!(server.give(&raw(2, 0, 99, &[0, 0, 0, 0, 5])), [""; 0], "an idle one, too");
    assert!(server.sent().is_empty());
}

#[test]
fn data_on_a_stream_that_ended_is_answered_once() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, true).take());
    server.answer(server.stream(1), 204, End::Yes);
    server.sent();
    let heard = server.give(&data(1, b"x", false));
    assert_eq!(heard, ["note StreamError(\"data_on_closed_stream\")"]);
    assert_eq!(Reader::after_greeting().read(&server.sent()), ["reset 1 StreamClosed"]);
    assert_eq!(server.give(&data(1, b"x", false)), [""; 0]);
    assert!(server.sent().is_empty());
}

#[test]
fn frames_after_a_reset_of_the_peer_are_its_fault() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    server.give(&rst(1, ErrorCode::Cancel));
    server.give(&data(1, b"x", false));
    assert_eq!(Reader::after_greeting().read(&server.sent()), ["reset 1 StreamClosed"]);
    let (error, _) = {
        let mut server = Peer::server();
        let mut writer = Writer::new();
        server.give(&writer.headers(1, POST, false).take());
        server.give(&rst(1, ErrorCode::Cancel));
        broken_server(&mut server, &writer.headers(1, &[("a", "b")], true).take())
    };
    assert_eq!(error, "error headers_on_closed_stream");
}

#[test]
fn what_is_late_for_a_stream_that_we_gave_up_is_dropped() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    server.reset(server.stream(1), Reason::Refused);
    server.sent();
    assert_eq!(server.give(&data(1, b"x", false)), [""; 0]);
    assert_eq!(server.give(&window(1, 100)), [""; 0]);
    assert_eq!(server.give(&writer.headers(1, &[("x-new", "1")], true).take()), [""; 0]);
    assert_eq!(server.give(&rst(1, ErrorCode::Cancel)), [""; 0]);
    assert!(server.sent().is_empty());
    let fields = [GET, &[("x-new", "1")]].concat();
    let heard = server.give(&writer.headers(3, &fields, true).take());
    assert_eq!(heard, ["#2 request GET a / HTTP/2 (x-new: 1) end"], "compression is in step");
}

#[test]
fn late_responses_are_counted_and_dropped_however_many_were_given_up() {
    let mut client = Peer::client_with(|it| it.streams_max = 2000);
    let streams: Vec<_> = (0..1500).map(|_| client.ask(get(), End::Yes)).collect();
    for stream in &streams {
        client.reset(*stream, Reason::TimedOut);
    }
    let healthy = client.ask(get(), End::Yes);
    let mut writer = Writer::new();
    for number in 0..1500 {
        writer.headers(number * 2 + 1, OK, false).data(number * 2 + 1, b"late", true);
    }
    writer.headers(3001, OK, true);
    let heard = client.give(&writer.take());
    assert_eq!(client.error, None, "{:?}", heard.last());
    assert_eq!(heard.last().unwrap(), "#1501 response 200 \"\" HTTP/2 end");
    assert_eq!(client.stream(1501), healthy);
    assert!(heard.contains(&"note LateResponse".to_owned()));
}

#[test]
fn what_an_upload_sends_in_small_pieces_after_it_was_refused_is_no_flood() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    server.reset(server.stream(1), Reason::TooLarge);
    server.sent();
    // A window of messages of some bytes is under way.
    for _ in 0..13_000 {
        server.give(&data(1, &[0; 20], false));
    }
    assert_eq!(server.error, None);
}

#[test]
fn a_field_block_is_not_interrupted() {
    let mut writer = Writer::new();
    let block = writer.block(GET);
    let begun = raw(1, 0x01, 1, &block[..2]);
    for (frame, reason) in [
        (ping(false, [0; 8]), "error frame_within_field_block"),
        (raw(0xbe, 0, 0, b"grease"), "error frame_within_field_block"),
        (raw(9, 4, 3, &block[2..]), "error frame_within_field_block"),
        (raw(1, 5, 1, &block[2..]), "error frame_within_field_block"),
    ] {
        let (error, said) = broken(&[&begun[..], &frame].concat());
        assert_eq!((error.as_str(), said.as_str()), (reason, "goaway 0 ProtocolError"));
    }
    let (error, _) = broken(&raw(9, 4, 1, &block));
    assert_eq!(error, "error continuation_without_headers");
    let mut server = Peer::server();
    let heard = server.give(&[begun, raw(9, 0, 1, b""), raw(9, 4, 1, &block[2..])].concat());
    assert_eq!(heard, ["#1 request GET a / HTTP/2 end"]);
}

#[test]
fn unknown_frames_and_flags_and_settings_are_ignored() {
    let mut server = Peer::server();
    assert_eq!(server.give(&raw(0xfa, 0xff, 0x7fff_ffff, &[1; 100])), [""; 0]);
    assert_eq!(server.give(&raw(0xfa, 0, 0, b"")), [""; 0]);
    let mut pings = ping(false, *b"12345678");
    pings[4] |= 0xfe;
    assert_eq!(server.give(&pings), ["note HeartbeatReceived"]);
    let unknown = raw(4, 0, 0, &[0xba, 0xba, 1, 2, 3, 4]);
    assert_eq!(server.give(&unknown), [""; 0]);
    let said = Reader::after_greeting().read(&server.sent());
    assert_eq!(said, ["pong 12345678", "settings ack"]);
}

#[test]
fn pushes_break_the_connection_in_both_roles() {
    let mut writer = Writer::new();
    let payload = [&[0, 0, 0, 2][..], &writer.block(GET)].concat();
    let (error, said) = broken(&raw(5, 4, 1, &payload));
    assert_eq!((error.as_str(), said.as_str()), ("error push_promise", "goaway 0 ProtocolError"));
    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    assert_eq!(client.give(&raw(5, 4, 1, &payload)), ["error push_promise"]);
    let mut client = Peer::client();
    let heard = client.give(&said_settings(&[Setting::EnablePush(true)]));
    assert_eq!(heard, ["error settings_enable_push"]);
}

#[test]
fn the_first_frame_must_be_settings() {
    for first in [
        ping(false, [0; 8]),
        settings_ack(),
        Writer::new().headers(1, GET, true).take(),
        raw(0xfa, 0, 0, b""),
    ] {
        let mut server = Peer::new(Role::Server);
        let heard = server.give(&[&greeting(&[])[..24], &first].concat());
        assert_eq!(heard, ["error first_frame_not_settings"]);
        let mut client = Peer::new(Role::Client);
        assert_eq!(client.give(&first), ["error first_frame_not_settings"]);
    }
    let mut server = Peer::new(Role::Server);
    assert_eq!(server.give(b"GET / HTTP/1.1\r\n"), ["error preface_malformed"]);
    assert!(server.codec.is_finished());
}

#[test]
fn frames_of_a_wrong_size_break_what_they_concern() {
    let long = raw(0, 0, 1, &[0; 16_385]);
    let (error, said) = broken(&long[..9]);
    assert_eq!(
        (error.as_str(), said.as_str()),
        ("error frame_too_long", "goaway 0 FrameSizeError")
    );
    for bytes in
        [raw(6, 0, 0, &[0; 7]), raw(4, 0, 0, &[0; 5]), raw(3, 0, 1, &[0; 3]), raw(8, 0, 1, &[0; 5])]
    {
        let (_, said) = broken(&bytes);
        assert_eq!(said, "goaway 0 FrameSizeError");
    }
    // PRIORITY is an error of its stream alone (RFC 9113 §6.3).
    let mut server = Peer::server();
    server.give(&Writer::new().headers(1, GET, true).take());
    let heard = server.give(&raw(2, 0, 1, &[0; 4]));
    assert_eq!(heard.last().unwrap(), "#1 reset ProtocolError");
    assert_eq!(Reader::after_greeting().read(&server.sent()), ["reset 1 FrameSizeError"]);
}

#[test]
fn a_priority_with_an_error_on_an_idle_stream_does_not_reset_what_never_was() {
    // RFC 9113 §5.1: RST_STREAM on an idle stream would be an error of ours.
    for payload in [&[0, 0, 0, 7, 0][..], &[0; 4]] {
        let mut server = Peer::server();
        let heard = server.give(&raw(2, 0, 7, payload));
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert!(heard[0].starts_with("error "));
    }
}

#[test]
fn a_stream_that_depends_on_itself_is_refused_and_compression_stays_in_step() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    let fields = [GET, &[("x-new", "1")]].concat();
    let payload = [&[0, 0, 0, 1, 0][..], &writer.block(&fields)].concat();
    let heard = server.give(&raw(1, 0x25, 1, &payload));
    assert_eq!(heard, ["note StreamError(\"stream_depends_on_itself\")"]);
    assert_eq!(Reader::after_greeting().read(&server.sent()), ["reset 1 ProtocolError"]);
    let heard = server.give(&writer.headers(3, &fields, true).take());
    assert_eq!(heard, ["#1 request GET a / HTTP/2 (x-new: 1) end"]);
}

#[test]
fn trailers_must_end_the_stream() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    let heard = server.give(&writer.headers(1, &[("x", "y")], false).take());
    assert_eq!(heard, ["note StreamError(\"trailers_without_end\")", "#1 reset ProtocolError"]);
}

#[test]
fn data_before_the_response_is_an_error_of_the_stream() {
    let mut client = Peer::client();
    client.ask(get(), End::Yes);
    let heard = client.give(&data(1, b"x", false));
    assert_eq!(heard, ["note StreamError(\"data_before_head\")", "#1 reset ProtocolError"]);
}

#[test]
fn broken_field_compression_breaks_the_connection() {
    let mut server = Peer::server();
    let heard = server.give(&raw(1, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
    assert!(heard[0].starts_with("error "), "{heard:?}");
    assert_eq!(Reader::after_greeting().read(&server.sent()), ["goaway 1 CompressionError"]);
}

#[test]
fn padding_longer_than_its_frame_breaks_the_connection() {
    let mut server = Peer::server();
    server.give(&Writer::new().headers(1, POST, false).take());
    let mut frame = padded(1, b"", 3, false);
    frame[9] = 4;
    let (error, said) = broken_server(&mut server, &frame);
    assert!(error.starts_with("error "), "{error}");
    assert_eq!(said, "goaway 1 ProtocolError");
}

#[test]
fn bytes_that_look_like_a_frame_after_an_error_are_not_read() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    let bytes = [
        raw(u8::from(Kind::PushPromise), 4, 1, &[0, 0, 0, 2]),
        writer.headers(1, GET, true).take(),
    ];
    assert_eq!(server.give(&bytes.concat()), ["error push_promise"]);
    server.error = None;
    assert_eq!(server.pump(), [""; 0]);
}

#[test]
fn a_client_gives_up_a_request_whose_response_is_whole() {
    let mut client = Peer::client();
    let stream = client.ask(post(), End::No);
    client.data(stream, &[0; 100_000], End::No);
    client.sent();
    let heard = client.give(&Writer::new().headers(1, OK, true).take());
    assert_eq!(heard, ["#1 response 200 \"\" HTTP/2 end"]);
    assert_eq!(Reader::after_greeting().read(&client.sent()), ["reset 1 NoError"]);
    assert_eq!(client.codec.in_flight(), 0);
}
