//! CONNECT (RFC 9113 §8.5) and upgrades as extended CONNECT (RFC 8441).

use hangu_codecs::http2::ErrorCode;
use hangu_codecs::http2::frame::Setting;
use hangu_codecs::message::End;
use hangu_codecs::{
    BodySize, Head, HttpRequest, HttpResponse, Method, Part, Reason, Role, StreamId,
};

use crate::support::http2::{
    CONNECT, Pair, Peer, Reader, Writer, data, get, request, response, rst, said_settings,
};

/// A tunnel between both, by CONNECT or by an upgrade; the client's and the server's stream.
fn tunnel(pair: &mut Pair, is_upgrade: bool) -> (StreamId, StreamId) {
    let head = match is_upgrade {
        true => HttpRequest { upgrade: b"websocket".to_vec(), ..get() },
        false => HttpRequest {
            authority: b"a:1".to_vec(),
            path: Vec::new(),
            ..request(Method::Connect, BodySize::None)
        },
    };
    let up = pair.client.ask(head, End::No);
    let heard = pair.tell_server();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(!heard[0].ends_with(" end"), "{heard:?}");
    let down = *pair.server.streams.last().unwrap();
    let mut head = match is_upgrade {
        true => HttpResponse { upgrade: b"websocket".to_vec(), ..response(101) },
        false => response(200),
    };
    head.body = BodySize::None;
    pair.server.encode(down, Part::Head(Head::HttpResponse(&mut head), End::No)).unwrap();
    let heard = pair.tell_client();
    let status = if is_upgrade { "101" } else { "200" };
    assert!(heard[0].contains(&format!("response {status} ")), "{heard:?}");
    assert_eq!(heard[0].contains("upgrade(websocket)"), is_upgrade, "{heard:?}");
    (up, down)
}

#[test]
fn a_tunnel_lasts_until_both_directions_have_ended() {
    for is_upgrade in [false, true] {
        for client_first in [false, true] {
            let mut pair = Pair::new();
            let (up, down) = tunnel(&mut pair, is_upgrade);
            pair.client.data(up, b"ping", End::No);
            pair.server.data(down, b"pong", End::No);
            assert_eq!(pair.tell_server(), ["#1 data \"ping\""]);
            assert_eq!(pair.tell_client(), ["#1 data \"pong\""]);
            for turn in [client_first, !client_first] {
                assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (1, 1));
                match turn {
                    true => {
                        pair.client.data(up, b"more", End::No);
                        pair.client.data(up, b"", End::Yes);
                        assert_eq!(pair.tell_server(), ["#1 data \"more\" end"]);
                    }
                    false => {
                        pair.server.data(down, b"rest", End::Yes);
                        assert_eq!(pair.tell_client(), ["#1 data \"rest\" end"]);
                    }
                }
            }
            assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
            assert_eq!(pair.run(), (vec![], vec![]));
        }
    }
}

#[test]
fn a_tunnel_that_is_half_closed_can_still_break_in_each_direction() {
    for is_upgrade in [false, true] {
        for half in 0..4 {
            let mut pair = Pair::new();
            let (up, down) = tunnel(&mut pair, is_upgrade);
            match half % 2 {
                0 => pair.client.data(up, b"", End::Yes),
                _ => pair.server.data(down, b"", End::Yes),
            }
            pair.run();
            let (to_client, to_server) = if half < 2 {
                pair.client.reset(up, Reason::Cancelled);
                (vec![], vec!["#1 reset Cancelled".to_owned()])
            } else {
                pair.server.reset(down, Reason::ConnectionLost);
                (vec!["#1 reset ConnectionLost".to_owned()], vec![])
            };
            assert_eq!(pair.run(), (to_client, to_server), "{half}");
            assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
        }
    }
}

#[test]
fn a_fault_of_the_peer_in_a_half_closed_tunnel_is_told() {
    let mut server = Peer::server();
    let mut writer = Writer::new();
    server.give(&writer.headers(1, CONNECT, false).take());
    server.answer(server.stream(1), 200, End::No);
    server.data(server.stream(1), b"", End::Yes);
    // Fields have no place in a tunnel (RFC 9113 §8.5).
    let heard = server.give(&writer.headers(1, &[("x", "y")], false).take());
    assert_eq!(heard.last().unwrap(), "#1 reset ProtocolError", "{heard:?}");
    assert_eq!(server.codec.in_flight(), 0);
}

#[test]
fn a_refused_tunnel_is_an_exchange_like_any_other() {
    for is_upgrade in [false, true] {
        let mut pair = Pair::new();
        let head = match is_upgrade {
            true => HttpRequest { upgrade: b"websocket".to_vec(), ..get() },
            false => HttpRequest {
                authority: b"a:1".to_vec(),
                path: Vec::new(),
                ..request(Method::Connect, BodySize::None)
            },
        };
        pair.client.ask(head, End::No);
        pair.run();
        let down = pair.server.stream(1);
        pair.server.answer(down, 403, End::No);
        pair.server.data(down, b"no", End::Yes);
        let heard = pair.tell_client();
        assert!(heard[0].contains("response 403"), "{heard:?}");
        assert_eq!(heard[1], "#1 data \"no\" end");
        pair.run();
        assert_eq!((pair.client.codec.in_flight(), pair.server.codec.in_flight()), (0, 0));
    }
}

#[test]
fn the_limit_of_bodies_does_not_count_what_goes_through_a_tunnel() {
    for is_upgrade in [false, true] {
        let mut pair = Pair::with(|it| it.body_bytes_max = 10);
        let (up, _) = tunnel(&mut pair, is_upgrade);
        pair.client.data(up, &[7; 100], End::No);
        let heard = pair.tell_server();
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert!(heard[0].starts_with("#1 data"), "{heard:?}");
    }
}

#[test]
fn what_a_tunnel_carries_early_waits_for_nothing() {
    // A client may send before the answer (RFC 9113 §8.5 forbids nothing of it).
    let mut server = Peer::server();
    let mut writer = Writer::new();
    let bytes = writer.headers(1, CONNECT, false).data(1, b"early", false).take();
    let heard = server.give(&bytes);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[1], "#1 data \"early\"");
    assert_eq!(server.give(&data(1, b"", true)), ["#1 data \"\" end"]);
    server.answer(server.stream(1), 200, End::No);
    assert_eq!(server.codec.in_flight(), 1);
    assert_eq!(server.give(&rst(1, ErrorCode::ConnectError)), ["#1 reset ConnectionLost"]);
}

#[test]
fn an_upgrade_that_the_server_does_not_take_is_a_request_without_it() {
    let mut client = Peer::client();
    client.ask(HttpRequest { upgrade: b"websocket".to_vec(), ..get() }, End::No);
    let said = crate::support::http2::Reader::after_greeting().read(&client.sent());
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("headers 1 end :method=GET"), "{said:?}");
}

#[test]
fn an_offer_waits_for_the_first_settings_which_tell_whether_it_can_be_made() {
    for (takes, wanted) in [(true, ":protocol"), (false, "GET")] {
        for freezes in [false, true] {
            let mut client = Peer::new(Role::Client);
            client.sent();
            let head = HttpRequest { upgrade: b"websocket".to_vec(), ..get() };
            let stream = client.ask(head, End::No);
            assert_eq!(client.sent(), b"", "nothing goes before it is known what the peer takes");
            assert_eq!((client.codec.in_flight(), client.codec.capacity(stream) > 0), (1, true));
            if freezes {
                client.swap();
            }
            client.give(&said_settings(&[Setting::EnableConnectProtocol(takes)]));
            let written = client.sent();
            let told = Reader::after_greeting().read(&written).join("\n");
            assert!(told.contains(wanted), "{takes}: {told}");
        }
    }
}
