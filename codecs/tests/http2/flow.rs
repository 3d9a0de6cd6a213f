//! Windows in both directions (RFC 9113 §5.2 and §6.9).

use bytes::Bytes;
use hangu_codecs::http2::ErrorCode;
use hangu_codecs::http2::frame::Setting::InitialWindowSize;
use hangu_codecs::message::End;
use hangu_codecs::{Reason, Role};

use crate::support::http2::{
    GET, POST, Pair, Peer, Reader, Writer, data, get, greeting, padded, post, rst, said_settings,
    window,
};

const WINDOW: usize = 65_535;

/// A server with some requests, whose peer has the windows that hold at first.
fn asked(streams: u32) -> Peer {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    for stream in 0..streams {
        writer.headers(stream * 2 + 1, GET, true);
    }
    server.give(&writer.take());
    server
}

#[test]
fn data_beyond_the_window_of_the_stream_waits_for_it() {
    let mut server = asked(1);
    server.give(&window(0, 1 << 20));
    let stream = server.stream(1);
    assert_eq!(server.codec.capacity(stream), WINDOW);
    server.answer(stream, 200, End::No);
    server.data(stream, &[7; 100_000], End::No);
    let mut reader = Reader::after_greeting();
    assert_eq!(
        reader.read(&server.sent())[1..],
        ["data 1 16384", "data 1 16384", "data 1 16384", "data 1 16383"]
    );
    assert_eq!(server.codec.capacity(stream), 0);
    assert_eq!(server.give(&window(1, 10)), [""; 0], "a queue is left");
    assert_eq!(reader.read(&server.sent()), ["data 1 10"]);
    assert_eq!(server.give(&window(1, 50_000)), ["#1 writable"]);
    assert_eq!(reader.read(&server.sent()), ["data 1 16384", "data 1 16384", "data 1 1687"]);
    assert_eq!(reader.data[&1], 100_000);
    assert_eq!(server.codec.capacity(stream), WINDOW + 10 + 50_000 - 100_000);
}

#[test]
fn data_beyond_the_window_of_the_connection_waits_for_it() {
    let mut server = asked(1);
    server.give(&window(1, 1 << 20));
    let stream = server.stream(1);
    server.answer(stream, 200, End::No);
    server.shared_data(stream, Bytes::from(vec![7; 100_000]), End::Yes);
    let mut reader = Reader::after_greeting();
    reader.read(&server.sent());
    assert_eq!(reader.data[&1], WINDOW);
    assert_eq!(server.codec.in_flight(), 1);
    assert_eq!(server.give(&window(0, 34_464)), [""; 0]);
    let said = reader.read(&server.sent());
    assert_eq!(said, ["data 1 16384", "data 1 16384", "data 1 1696"]);
    assert_eq!(server.give(&window(0, 1)), [""; 0]);
    assert_eq!(reader.read(&server.sent()), ["data 1 1 end"]);
    assert_eq!(server.codec.in_flight(), 0);
}

#[test]
fn an_empty_end_needs_no_window() {
    let mut server = asked(1);
    let stream = server.stream(1);
    server.answer(stream, 200, End::No);
    server.data(stream, &[7; WINDOW], End::No);
    server.data(stream, b"", End::Yes);
    let said = Reader::after_greeting().read(&server.sent());
    assert_eq!(said.last().unwrap(), "data 1 0 end");
    assert_eq!(server.codec.in_flight(), 0);
}

#[test]
fn trailers_wait_behind_data() {
    let mut server = asked(1);
    let stream = server.stream(1);
    server.answer(stream, 200, End::No);
    server.data(stream, &[7; WINDOW + 5], End::No);
    server.trailers(stream, &[("grpc-status", "0")]);
    let mut reader = Reader::after_greeting();
    reader.read(&server.sent());
    server.give(&window(1, 1000));
    assert!(server.sent().is_empty());
    server.give(&window(0, 1000));
    assert_eq!(reader.read(&server.sent()), ["data 1 5", "headers 1 end grpc-status=0"]);
    assert_eq!(server.codec.in_flight(), 0);
}

#[test]
fn streams_share_the_window_of_the_connection_in_turn() {
    let mut server = asked(4);
    for stream in 1..=4 {
        server.give(&window(stream * 2 - 1, 1 << 20));
        server.answer(server.stream(stream as usize), 200, End::No);
    }
    // The first one takes the whole window, the others wait behind it.
    for number in 1..=4 {
        server.data(server.stream(number), &[7; 400_000], End::No);
    }
    let mut reader = Reader::after_greeting();
    reader.read(&server.sent());
    reader.data.clear();
    for _ in 0..20 {
        server.give(&window(0, 4 * 16_384));
        reader.read(&server.sent());
    }
    let shares: Vec<_> = [1, 3, 5, 7].map(|it| reader.data[&it] / 1024).to_vec();
    assert!(shares.iter().all(|it| (310..=330).contains(it)), "{shares:?}");
}

#[test]
fn small_openings_of_the_window_are_shared_as_well() {
    let mut server = asked(3);
    for number in 1..=3 {
        server.answer(server.stream(number), 200, End::No);
        server.data(server.stream(number), &[7; WINDOW], End::No);
    }
    let mut reader = Reader::after_greeting();
    reader.read(&server.sent());
    reader.data.clear();
    for _ in 0..300 {
        server.give(&window(0, 10));
        reader.read(&server.sent());
    }
    assert_eq!((reader.data[&3], reader.data[&5]), (1500, 1500));
}

#[test]
fn a_stream_that_waits_without_a_queue_is_told_when_the_connection_opens() {
    let mut server = asked(2);
    for number in 1..=2 {
        server.answer(server.stream(number), 200, End::No);
    }
    server.data(server.stream(1), &[7; WINDOW], End::No);
    assert_eq!(server.codec.capacity(server.stream(2)), 0);
    assert_eq!(server.give(&window(0, 100)), ["#2 writable"]);
    assert_eq!(server.codec.capacity(server.stream(2)), 100);
}

#[test]
fn a_stream_without_a_queue_is_told_though_another_has_one() {
    let mut server = asked(2);
    for number in 1..=2 {
        server.answer(server.stream(number), 200, End::No);
    }
    server.give(&window(1, 1 << 20));
    server.data(server.stream(1), &[7; WINDOW + 10], End::No);
    assert_eq!(server.codec.capacity(server.stream(2)), 0);
    // The whole queue of the first goes, and something is left of the window.
    let heard = server.give(&window(0, 100));
    assert!(heard.contains(&"#2 writable".to_owned()), "{heard:?}");
    assert_eq!(server.codec.capacity(server.stream(2)), 90);
}

#[test]
fn a_queue_that_takes_the_window_to_its_last_byte_leaves_nobody_untold() {
    let mut server = asked(2);
    for number in 1..=2 {
        server.answer(server.stream(number), 200, End::No);
    }
    server.give(&window(1, 1 << 20));
    server.data(server.stream(1), &[7; WINDOW + 10], End::No);
    assert_eq!(server.give(&window(0, 10)), [""; 0]);
    let mut heard = server.give(&window(0, 10));
    heard.sort();
    assert_eq!(heard, ["#1 writable", "#2 writable"]);
}

#[test]
fn an_opening_of_an_open_window_is_told_to_nobody() {
    let mut server = asked(100);
    for number in 1..=100 {
        server.answer(server.stream(number), 200, End::No);
    }
    server.sent();
    for _ in 0..100 {
        assert_eq!(server.give(&window(0, 1)), [""; 0]);
        assert_eq!(server.give(&window(1, 1)), [""; 0]);
    }
}

#[test]
fn a_stream_is_told_before_its_response_has_begun_too() {
    let mut server = Peer::new(Role::Server);
    let mut writer = Writer::new();
    server.give(&greeting(&[InitialWindowSize(0)]));
    server.give(&writer.headers(1, GET, true).take());
    assert_eq!(server.codec.capacity(server.stream(1)), 0);
    assert_eq!(server.give(&window(1, 5)), ["#1 writable"]);
    assert_eq!(server.codec.capacity(server.stream(1)), 5);
}

#[test]
fn settings_change_the_windows_of_open_streams_and_may_make_them_negative() {
    let mut server = asked(1);
    server.give(&window(0, 1 << 20));
    let stream = server.stream(1);
    server.answer(stream, 200, End::No);
    server.data(stream, &[7; 60_000], End::No);
    let mut reader = Reader::after_greeting();
    reader.read(&server.sent());
    // RFC 9113 §6.9.2: 65,535 - 60,000 left, and 65,535 - 1,000 fewer.
    assert_eq!(server.give(&said_settings(&[InitialWindowSize(1_000)])), [""; 0]);
    assert_eq!(reader.read(&server.sent()), ["settings ack"]);
    assert_eq!(server.codec.capacity(stream), 0);
    server.data(stream, &[8; 100], End::No);
    assert!(server.sent().is_empty());
    assert_eq!(server.give(&window(1, 59_000)), [""; 0]);
    assert!(server.sent().is_empty(), "it is at zero by now");
    assert_eq!(server.give(&window(1, 60)), [""; 0]);
    assert_eq!(reader.read(&server.sent()), ["data 1 60"]);
    assert_eq!(server.give(&said_settings(&[InitialWindowSize(1_100)])), ["#1 writable"]);
    assert_eq!(reader.read(&server.sent()), ["settings ack", "data 1 40"]);
    assert_eq!(server.codec.capacity(stream), 60);
}

#[test]
fn a_new_stream_has_the_window_that_was_set_last() {
    let mut client = Peer::client();
    client.give(&window(0, 1 << 20));
    let before = client.codec.open().unwrap();
    client.give(&said_settings(&[InitialWindowSize(100)]));
    let mut head = post();
    let part = hangu_codecs::Part::Head(hangu_codecs::Head::HttpRequest(&mut head), End::No);
    client.encode(before, part).unwrap();
    assert_eq!(client.codec.capacity(before), 100);
    let after = client.ask(post(), End::No);
    assert_eq!(client.codec.capacity(after), 100);
}

#[test]
fn a_window_that_passes_31_bits_ends_the_stream_or_the_connection() {
    let mut server = asked(2);
    server.answer(server.stream(1), 200, End::No);
    server.sent();
    assert_eq!(
        server.give(&window(1, 0x7fff_ffff)),
        ["note StreamError(\"stream_window_overflow\")", "#1 reset ProtocolError"]
    );
    let mut reader = Reader::after_greeting();
    assert_eq!(reader.read(&server.sent()), ["reset 1 FlowControlError"]);
    assert_eq!(server.give(&window(0, 0x7fff_ffff)), ["error connection_window_overflow"]);
    assert_eq!(reader.read(&server.sent()), ["goaway 3 FlowControlError"]);

    let mut server = asked(1);
    server.give(&window(1, 0x7fff_ffff - WINDOW as u32));
    server.sent();
    let heard = server.give(&said_settings(&[InitialWindowSize(WINDOW as u32 + 1)]));
    assert_eq!(heard, ["error stream_window_overflow"]);
    assert!(
        Reader::after_greeting()
            .read(&server.sent())
            .contains(&"goaway 1 FlowControlError".to_owned())
    );
}

#[test]
fn a_peer_that_passes_the_window_of_a_stream_loses_it() {
    let mut server = Peer::server_with(|it| it.stream_window_bytes = 65_535);
    server.releases = false;
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    server.sent();
    for _ in 0..3 {
        server.give(&data(1, &[0; 16_384], false));
    }
    let heard = server.give(&data(1, &[0; 16_384], false));
    assert_eq!(heard, ["note StreamError(\"stream_window_passed\")", "#1 reset ProtocolError"]);
    assert_eq!(Reader::after_greeting().read(&server.sent()), ["reset 1 FlowControlError"]);
}

#[test]
fn a_peer_that_passes_the_window_of_the_connection_is_told_goodbye() {
    let mut server = Peer::server_with(|it| {
        it.connection_window_bytes = 65_535;
        it.unreleased_bytes_max = 0;
    });
    server.releases = false;
    let mut writer = Writer::new();
    writer.headers(1, POST, false).headers(3, POST, false);
    server.give(&writer.take());
    for stream in [1, 3, 1, 3] {
        let heard = server.give(&data(stream, &[0; 16_383], false));
        assert_eq!(heard.len(), 1);
    }
    assert_eq!(server.give(&data(1, &[0; 10], false)), ["error connection_window_passed"]);
}

#[test]
fn what_was_not_given_back_holds_a_stream_and_not_the_connection() {
    let mut server = Peer::server();
    server.releases = false;
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).headers(3, POST, false).take());
    server.sent();
    let mut reader = Reader::after_greeting();
    for _ in 0..16 {
        server.give(&data(1, &[0; 16_384], false));
    }
    // 256 KiB are not half of the connection's window: no word yet.
    assert_eq!(reader.read(&server.sent()), [""; 0]);
    for _ in 0..16 {
        server.give(&data(3, &[0; 16_384], false));
    }
    assert_eq!(reader.read(&server.sent()), ["window 0 +524288"]);
    server.codec.release(server.stream(1), 131_071);
    assert!(server.sent().is_empty());
    server.codec.release(server.stream(1), 1);
    assert_eq!(reader.read(&server.sent()), ["window 1 +131072"]);
    // No more is given back than came.
    server.codec.release(server.stream(1), usize::MAX);
    assert_eq!(reader.read(&server.sent()), ["window 1 +131072"]);
    server.codec.release(server.stream(1), usize::MAX);
    assert!(server.sent().is_empty());
}

#[test]
fn above_the_limit_of_what_is_not_given_back_the_connection_stops_until_it_is() {
    const MAX: u32 = 200_000;
    let mut server = Peer::server_with(|it| {
        it.connection_window_bytes = 100_000;
        it.unreleased_bytes_max = MAX;
    });
    server.releases = false;
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).headers(3, POST, false).take());
    server.sent();
    let mut reader = Reader::after_greeting();
    let mut allowed = 100_000_usize;
    let mut sent = 0;
    while allowed >= 10_000 {
        server.give(&data(if sent % 20_000 == 0 { 1 } else { 3 }, &[0; 10_000], false));
        allowed -= 10_000;
        sent += 10_000;
        allowed += credit(&reader.read(&server.sent()), 0);
    }
    assert!(sent as u32 <= MAX + 100_000, "{sent}");
    assert!(sent as u32 > MAX, "{sent}");
    // All is taken: the whole window is there again.
    for number in [1, 2] {
        server.codec.release(server.stream(number), usize::MAX);
    }
    allowed += credit(&reader.read(&server.sent()), 0);
    assert!(allowed >= 50_000, "at most what is not worth a frame is missing: {allowed}");
}

#[test]
fn a_stream_that_is_gone_gives_back_what_it_owed() {
    let mut server = Peer::server_with(|it| {
        it.connection_window_bytes = 65_535;
        it.unreleased_bytes_max = 0;
    });
    server.releases = false;
    let mut writer = Writer::new();
    let mut reader = Reader::after_greeting();
    for round in 0..20 {
        let stream = round * 2 + 1;
        server.give(&writer.headers(stream, POST, false).take());
        for _ in 0..4 {
            let heard = server.give(&data(stream, &[0; 16_383], false));
            assert!(heard[0].contains("data"), "{heard:?}");
        }
        reader.read(&server.sent());
        match round % 3 {
            0 => drop(server.give(&rst(stream, ErrorCode::Cancel))),
            1 => server.reset(*server.streams.last().unwrap(), Reason::Cancelled),
            _ => server.answer(*server.streams.last().unwrap(), 204, End::Yes),
        }
        assert_eq!(credit(&reader.read(&server.sent()), 0), 65_532, "{round}");
    }
}

#[test]
fn padding_is_given_back_by_itself() {
    let mut server = Peer::server_with(|it| it.stream_window_bytes = 65_535);
    server.releases = false;
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    server.sent();
    let mut reader = Reader::after_greeting();
    let (mut stream, mut connection) = (65_535_usize, 1 << 20);
    for round in 0..10_000 {
        assert!(stream >= 256 && connection >= 256, "stuck in round {round}");
        let heard = server.give(&padded(1, b"", 255, false));
        assert_eq!(heard, ["#1 data \"\""]);
        let said = reader.read(&server.sent());
        stream = stream - 256 + credit(&said, 1);
        connection = connection - 256 + credit(&said, 0);
        // Not a flood in itself: time passes.
        server.pass_time(5);
    }
}

#[test]
fn padded_data_is_read_without_its_padding() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, POST, false).take());
    assert_eq!(server.give(&padded(1, b"abc", 200, false)), ["#1 data \"abc\""]);
    assert_eq!(server.give(&padded(1, b"de", 0, true)), ["#1 data \"de\" end"]);
}

#[test]
fn data_for_a_stream_that_is_gone_counts_for_the_connection_and_is_given_back() {
    let mut pair = Pair::new();
    let stream = pair.client.ask(post(), End::No);
    pair.run();
    pair.server.reset(pair.server.stream(1), Reason::Refused);
    pair.server.sent();
    // It does not know yet; more than one window of the connection, as it is given back.
    let mut reader = Reader::after_greeting();
    let mut credited = 0;
    for _ in 0..16 {
        pair.client.data(stream, &[0; 16_000], End::No);
        assert_eq!(pair.tell_server(), [""; 0]);
        credited += credit(&reader.read(&pair.server.sent()), 0);
    }
    let other = pair.client.ask(post(), End::No);
    for round in 0..100 {
        pair.client.data(other, &[0; 16_000], End::No);
        pair.run();
        assert!(pair.client.codec.capacity(other) > 16_000, "{round}, {credited}");
    }
}

#[test]
fn a_download_over_many_windows_arrives_whole() {
    let mut pair = Pair::new();
    pair.client.ask(get(), End::Yes);
    pair.run();
    let down = pair.server.stream(1);
    pair.server.answer(down, 200, End::No);
    pair.run();
    let piece: Vec<u8> = (0..100_000_u32).map(|it| it as u8).collect();
    let mut received = 0;
    for round in 0..50 {
        pair.server.data(down, &piece, if round == 49 { End::Yes } else { End::No });
        for line in pair.run().0 {
            if line.starts_with("#1 data") {
                received += 1;
            }
        }
    }
    assert!(received > 0);
    assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
}

/// What frames give back of a window.
fn credit(said: &[String], stream: u32) -> usize {
    let mark = format!("window {stream} +");
    said.iter().filter_map(|it| it.strip_prefix(&mark)).map(|it| it.parse::<usize>().unwrap()).sum()
}
