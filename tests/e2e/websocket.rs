//! WebSockets, and events that a server sends in a response without an end.

use std::sync::{Mutex, mpsc::channel};

use hangu_tests::{
    Peer, Upstream,
    http::{chunk, get},
    upstream::deaf_address,
    wait,
    websocket::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT, accept},
};
use serde_json::json;

use crate::support::{DriverKind, Running, Setup};

fn echo(driver: DriverKind, upstream: &Upstream) -> Running {
    Setup::http(driver, upstream.address).listener(json!({"upgrades": ["websocket"]})).start()
}

const H2_DATA: u8 = 0;
const H2_HEADERS: u8 = 1;
const H2_SETTINGS: u8 = 4;
const H2_END_STREAM: u8 = 1;
const H2_END_HEADERS: u8 = 4;

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn h2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Flags and payload of the next frame of this kind.
fn h2_next(peer: &mut Peer, kind: u8) -> (u8, Vec<u8>) {
    loop {
        let head = peer.read_exactly(9);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = peer.read_exactly(length as usize);
        assert!(head[3] != 3 && head[3] != 7, "a reset or a goodbye: {payload:?}");
        if head[3] == kind {
            return (head[4], payload);
        }
    }
}

on_every_driver! {
    fn messages_of_every_kind_and_size_come_back(driver) {
        let upstream = Upstream::websocket_echo();
        let gateway = echo(driver, &upstream);
        let mut client = gateway.connect().open_websocket("/chat");
        for length in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 1 << 20] {
            for opcode in [TEXT, BINARY] {
                let frame = Frame::new(opcode, vec![b'a' + (length % 7) as u8; length]);
                client.send_masked(&frame);
                assert_eq!(client.read_websocket(), frame);
            }
        }
    }

    fn a_message_in_pieces_stays_in_pieces_and_a_ping_may_come_between(driver) {
        let upstream = Upstream::websocket_echo();
        let gateway = echo(driver, &upstream);
        let mut client = gateway.connect().open_websocket("/chat");
        let pieces = [
            Frame::begins(TEXT, "one "),
            Frame::begins(CONTINUATION, ""),
            Frame::begins(CONTINUATION, "two "),
        ];
        pieces.iter().for_each(|it| client.send_masked(it));
        client.send_masked(&Frame::new(PING, "are you there?"));
        client.send_masked(&Frame::new(CONTINUATION, "three"));
        for piece in pieces {
            assert_eq!(client.read_websocket(), piece);
        }
        assert_eq!(client.read_websocket(), Frame::new(PONG, "are you there?"));
        assert_eq!(client.read_websocket(), Frame::new(CONTINUATION, "three"));
    }

    fn a_frame_that_comes_byte_by_byte_is_the_same_frame(driver) {
        let upstream = Upstream::websocket_echo();
        let gateway = echo(driver, &upstream);
        let mut client = gateway.connect().open_websocket("/chat");
        let frame = Frame::new(BINARY, vec![7; 200]);
        client.send_byte_by_byte(frame.bytes(Some([1, 2, 3, 4])));
        assert_eq!(client.read_websocket(), frame);
    }

    fn the_client_closes_and_both_connections_end(driver) {
        let upstream = Upstream::websocket_echo();
        let gateway = echo(driver, &upstream);
        let mut client = gateway.connect().open_websocket("/chat");
        let close = Frame::new(CLOSE, [0x03, 0xe8]);
        client.send_masked(&close);
        assert_eq!(client.read_websocket(), close);
        client.expect_end();
        client.finish();
        wait::until("the upstream connection is gone", || upstream.open() == 0);
        gateway.wait_for_metric("hangu_downstream_connections_active", &[], 0.0);
    }

    fn the_server_closes_and_both_connections_end(driver) {
        let upstream = Upstream::websocket_echo();
        let gateway = echo(driver, &upstream);
        let mut client = gateway.connect().open_websocket("/chat");
        client.send_masked(&Frame::new(TEXT, "close"));
        let close = client.read_websocket();
        assert_eq!(close.opcode, CLOSE);
        client.send_masked(&close);
        client.expect_end();
        client.finish();
        wait::until("the upstream connection is gone", || upstream.open() == 0);
        gateway.wait_for_metric("hangu_downstream_connections_active", &[], 0.0);
    }

    fn a_client_that_goes_away_without_a_word_takes_the_upstream_connection_with_it(driver) {
        let upstream = Upstream::websocket_echo();
        let gateway = echo(driver, &upstream);
        let mut client = gateway.connect().open_websocket("/chat");
        client.send_masked(&Frame::new(TEXT, "x"));
        client.read_websocket();
        client.reset();
        wait::until("the upstream connection is gone", || upstream.open() == 0);
    }

    fn a_server_that_sends_no_more_still_hears(driver) {
        let (heard, hears) = channel();
        let heard = Mutex::new(heard);
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.accept_websocket();
            peer.send_unmasked(&Frame::new(TEXT, "all I have to say"));
            peer.finish();
            let frame = peer.read_websocket();
            let _ = heard.lock().expect("one at a time").send(frame);
        });
        let gateway = echo(driver, &upstream);
        let mut client = gateway.connect().open_websocket("/chat");
        assert_eq!(client.read_websocket().payload, b"all I have to say");
        client.expect_end();
        let frame = Frame::new(TEXT, "but I");
        client.send_masked(&frame);
        assert_eq!(hears.recv().expect("it hears"), frame);
    }

    fn a_websocket_idles_for_longer_than_requests_and_connections_may(driver) {
        let upstream = Upstream::websocket_echo();
        let (deaf, _full) = deaf_address();
        let gateway = Setup::http(driver, upstream.address)
            .cluster("deaf", "http1", &[deaf])
            .listener(json!({
                "upgrades": ["websocket"],
                "timeouts": {"request_head": "50ms", "idle": "50ms"},
            }))
            .main(json!({"idle_timeout": "50ms"}))
            .hosts(json!([{"name": "all", "domains": ["*"], "routes": [
                {"match": {"path": "/deaf"}, "route": {"cluster": "deaf", "timeout": "100ms"}},
                {"match": {"prefix": "/"}, "route": {"cluster": "main", "timeout": "100ms"}},
            ]}]))
            .start();
        let mut socket = gateway.connect().open_websocket("/chat");
        // Others run into each of the limits meanwhile, one after the other.
        gateway.connect().read_to_end();
        let mut late = gateway.connect();
        late.send(get("/deaf"));
        assert_eq!(late.read_response("GET").status(), 504);
        late.expect_end();
        socket.send_masked(&Frame::new(TEXT, "still here"));
        assert_eq!(socket.read_websocket().payload, b"still here");
        let mut late = gateway.connect();
        late.send(get("/deaf"));
        assert_eq!(late.read_response("GET").status(), 504);
        socket.send_masked(&Frame::new(PING, ""));
        assert_eq!(socket.read_websocket().opcode, PONG);
    }

    fn a_request_without_a_key_is_not_accepted_by_a_server_that_answers_none(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            let request = peer.read_head();
            assert!(request.field("sec-websocket-key").is_some_and(|it| it.len() == 24));
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            );
            peer.read_to_end();
        });
        let gateway = echo(driver, &upstream);
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(client.read_response("GET").status(), 502);
        gateway.wait_for_metric("hangu_upstream_errors_total", &["websocket_accept_wrong"], 1.0);
    }

    fn a_websocket_of_http_2_reaches_a_server_of_http_1(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            let request = peer.read_head();
            assert_eq!(request.start, "GET /chat HTTP/1.1");
            assert_eq!(request.field("upgrade"), Some("websocket"));
            assert_eq!(request.field("sec-websocket-version"), Some("13"));
            let accept = accept(request.field("sec-websocket-key").expect("a key of the gateway's"));
            peer.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            ));
            while let Some(frame) = peer.try_read_websocket() {
                peer.send_unmasked(&frame);
            }
            peer.send("bye");
        });
        let gateway = Setup::new(driver, &["http1", "http2"])
            .cluster("main", "http1", &[upstream.address])
            .listener(json!({"upgrades": ["websocket"]}))
            .start();
        let mut client = gateway.connect();
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.send(h2_frame(H2_SETTINGS, 0, 0, b""));
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/chat"),
            (":authority", "t"),
            ("sec-websocket-version", "13"),
        ] {
            block.push(0);
            for text in [name, value] {
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
        }
        client.send(h2_frame(H2_HEADERS, H2_END_HEADERS, 1, &block));
        let (_, head) = h2_next(&mut client, H2_HEADERS);
        assert_eq!(head.first(), Some(&0x88), "status 200");
        let frame = Frame::new(TEXT, "over both");
        client.send(h2_frame(H2_DATA, 0, 1, &frame.bytes(Some([1, 2, 3, 4]))));
        assert_eq!(h2_next(&mut client, H2_DATA).1, frame.bytes(None));
        client.send(h2_frame(H2_DATA, H2_END_STREAM, 1, b""));
        let (mut flags, mut last) = h2_next(&mut client, H2_DATA);
        while flags & H2_END_STREAM == 0 {
            let (more_flags, more) = h2_next(&mut client, H2_DATA);
            flags = more_flags;
            last.extend(more);
        }
        assert_eq!(last, b"bye");
    }

    fn an_upgrade_of_http_2_that_is_not_allowed_is_no_get(driver) {
        let (upstream, _requests) = Upstream::http_echo();
        let gateway = Setup::new(driver, &["http1", "http2"])
            .cluster("main", "http1", &[upstream.address])
            .start();
        let mut client = gateway.connect();
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.send(h2_frame(H2_SETTINGS, 0, 0, b""));
        let block = b"\0\x07:method\x07CONNECT\0\x09:protocol\x09websocket\
            \0\x07:scheme\x04http\0\x05:path\x01/\0\x0a:authority\x01t";
        client.send(h2_frame(H2_HEADERS, H2_END_HEADERS, 1, block));
        let (_, head) = h2_next(&mut client, H2_HEADERS);
        assert_ne!(head.first(), Some(&0x88), "status 200");
        gateway.wait_for_metric("hangu_downstream_errors_total", &["upgrade_not_allowed"], 1.0);
        assert_eq!(upstream.accepted(), 0);
    }

    fn each_event_of_a_server_is_passed_on_at_once_however_long_the_next_one_takes(driver) {
        let (next, may_say) = channel::<()>();
        let may_say = Mutex::new(may_say);
        let upstream = Upstream::serve(move |mut peer, number| {
            peer.read_head();
            if number > 0 {
                return;
            }
            peer.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
            );
            let may_say = may_say.lock().expect("one connection");
            for number in 0..10 {
                if may_say.recv().is_err() {
                    return;
                }
                peer.send(chunk(format!("data: {number}\n\n").as_bytes()));
            }
            peer.send("0\r\n\r\n");
        });
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"timeouts": {"request_head": "50ms", "idle": "50ms"}}))
            .main(json!({"idle_timeout": "50ms"}))
            .start();
        let mut client: Peer = gateway.connect();
        client.send("GET /events HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n");
        let head = client.read_head();
        assert_eq!(head.field("content-type"), Some("text/event-stream"));
        for number in 0..10 {
            // The gap is longer than any connection may idle: one that does is closed meanwhile.
            if number % 3 == 0 {
                gateway.connect().read_to_end();
            }
            next.send(()).expect("the server waits");
            let event = chunk(format!("data: {number}\n\n").as_bytes());
            assert_eq!(client.read_exactly(event.len()), event);
            if number < 9 {
                assert_eq!(client.received(), b"");
            }
        }
        assert_eq!(client.read_exactly(5), b"0\r\n\r\n");
    }
}
