//! Requests and responses without failures.

use hangu_tests::{
    Peer, Upstream,
    http::{chunk, get, ok, post},
};
use serde_json::json;

use crate::support::Setup;

on_every_driver! {
    fn a_request_is_forwarded_and_its_response_comes_back(driver) {
        let (upstream, requests) = Upstream::http(|_| {
            b"HTTP/1.1 200 Fine\r\nX-First: 1\r\nx-SECOND: 2\r\nContent-Length: 5\r\n\r\nhello".to_vec()
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-One: 1\r\nx-TWO: 2\r\n\r\n");
        let response = client.read_response("GET");
        let request = requests.recv().expect("a request");
        assert_eq!(request.start, "GET /a?b=c HTTP/1.1");
        assert_eq!(request.field("host"), Some("example.com"));
        let names: Vec<_> = request.fields.iter().map(|it| it.0.as_str()).collect();
        let place = |name: &str| names.iter().position(|it| *it == name);
        assert!(place("X-One") < place("x-TWO") && place("X-One").is_some(), "{names:?}");
        assert_eq!(response.start, "HTTP/1.1 200 Fine");
        assert_eq!(response.text(), "hello");
        let names: Vec<_> = response.fields.iter().map(|it| it.0.as_str()).collect();
        let place = |name: &str| names.iter().position(|it| *it == name);
        assert!(place("X-First") < place("x-SECOND") && place("X-First").is_some(), "{names:?}");
    }

    fn a_request_that_comes_byte_by_byte_is_the_same_request(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send_byte_by_byte(post("/slowly", b"0123456789"));
        assert_eq!(client.read_response("POST").text(), "0123456789");
        assert_eq!(requests.recv().expect("a request").target(), "/slowly");
    }

    fn a_connection_serves_many_requests_over_one_upstream_connection(driver) {
        let (upstream, _requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        for number in 0..50 {
            let body = format!("request {number}");
            client.send(post("/", body.as_bytes()));
            assert_eq!(client.read_response("POST").text(), body);
        }
        assert_eq!(upstream.accepted(), 1);
    }

    fn pipelined_requests_are_answered_in_order(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        let mut all = Vec::new();
        for number in 0..20 {
            all.extend(post(&format!("/{number}"), format!("body {number}").as_bytes()));
        }
        client.send(all);
        for number in 0..20 {
            assert_eq!(client.read_response("POST").text(), format!("body {number}"));
            assert_eq!(requests.recv().expect("a request").target(), format!("/{number}"));
        }
    }

    fn the_response_to_head_has_a_length_and_no_body(driver) {
        let (upstream, _requests) = Upstream::http(|request| match request.method() {
            "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec(),
            _ => ok(b"next"),
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
        let response = client.read_response("HEAD");
        assert_eq!((response.status(), response.field("content-length")), (200, Some("5")));
        client.send(get("/"));
        assert_eq!(client.read_response("GET").text(), "next");
    }

    fn responses_without_a_body_end_with_their_head(driver) {
        let (upstream, _requests) = Upstream::http(|request| match request.target() {
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n".to_vec(),
            _ => ok(b"next"),
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        for status in [204, 304, 204] {
            client.send(get(&format!("/{status}")));
            let response = client.read_response("GET");
            assert_eq!(response.status(), status);
            assert_eq!(response.field("transfer-encoding"), None);
        }
        client.send(get("/"));
        assert_eq!(client.read_response("GET").text(), "next");
    }

    fn informational_responses_pass(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            peer.read_request();
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n");
            peer.send(ok(b"final"));
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send(get("/"));
        let early = client.read_head();
        assert_eq!((early.status(), early.field("link")), (103, Some("</s.css>")));
        assert_eq!(client.read_response("GET").text(), "final");
    }

    fn a_client_that_expects_100_gets_it_from_the_upstream(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            let head = peer.read_head();
            assert_eq!(head.field("expect").map(str::to_lowercase), Some("100-continue".into()));
            assert!(peer.received().is_empty(), "the body came before it was asked for");
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(peer.read_exactly(4), b"body");
            peer.send(ok(b"thanks"));
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.read_head().status(), 100);
        client.send("body");
        assert_eq!(client.read_response("PUT").text(), "thanks");
    }

    fn a_client_that_expects_100_may_be_refused_without_sending_its_body(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            peer.read_head();
            peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.read_response("PUT").status(), 417);
    }

    fn trailers_pass_in_both_directions(driver) {
        let (upstream, requests) = Upstream::http(|_| {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            bytes.extend(chunk(b"down"));
            bytes.extend(b"0\r\nX-Sum: 42\r\n\r\n");
            bytes
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: t\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunk(b"up"));
        client.send("0\r\nX-Check: 7\r\n\r\n");
        let response = client.read_response("POST");
        assert_eq!(response.text(), "down");
        assert_eq!(response.trailers, [("X-Sum".to_owned(), "42".to_owned())]);
        let request = requests.recv().expect("a request");
        assert_eq!(request.text(), "up");
        assert_eq!(request.trailers, [("X-Check".to_owned(), "7".to_owned())]);
    }

    fn hop_by_hop_fields_stay_on_their_hop(driver) {
        let (upstream, requests) = Upstream::http(|_| {
            b"HTTP/1.1 200 OK\r\nConnection: X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\nX-Outer: 2\r\nContent-Length: 0\r\n\r\n".to_vec()
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nProxy-Connection: keep-alive\r\nX-Kept: 2\r\n\r\n");
        let response = client.read_response("GET");
        let request = requests.recv().expect("a request");
        for gone in ["x-secret", "proxy-connection", "keep-alive"] {
            assert_eq!(request.field(gone), None, "{gone}");
        }
        assert_eq!(request.field("x-kept"), Some("2"));
        assert_eq!((response.field("x-inner"), response.field("keep-alive")), (None, None));
        assert_eq!(response.field("x-outer"), Some("2"));
    }

    fn connection_close_is_obeyed(driver) {
        let (upstream, _requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let response = client.read_response("GET");
        assert_eq!(response.status(), 200);
        assert_eq!(response.field("connection").map(str::to_lowercase), Some("close".into()));
        client.expect_end();
    }

    fn an_upstream_that_closes_after_its_response_is_dialled_anew(driver) {
        let upstream = Upstream::serve(|mut peer, number| {
            peer.read_request();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{number}"
            ));
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        for number in 0..5 {
            client.send(get("/"));
            let response = client.read_response("GET");
            assert_eq!((response.status(), response.text()), (200, number.to_string()));
            assert_eq!(response.field("connection"), None, "the upstream's close is its own");
        }
    }

    fn a_client_of_http_1_0_gets_no_chunks(driver) {
        let (upstream, requests) = Upstream::http(|_| {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            bytes.extend(chunk(b"some "));
            bytes.extend(chunk(b"text"));
            bytes.extend(b"0\r\n\r\n");
            bytes
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("GET /old HTTP/1.0\r\nHost: t\r\n\r\n");
        let response = client.read_response("GET");
        assert_eq!(response.field("transfer-encoding"), None);
        assert_eq!(response.text(), "some text");
        client.expect_end();
        assert_eq!(requests.recv().expect("a request").start, "GET /old HTTP/1.1");
    }

    fn an_upgraded_connection_carries_raw_bytes_both_ways(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            let request = peer.read_head();
            assert_eq!(request.field("upgrade"), Some("websocket"));
            assert_eq!(request.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
            // What the upstream says first may come in the same segment as the head.
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            );
            while let Some(bytes) = peer.try_read_exactly(4) {
                peer.send(bytes.iter().rev().copied().collect::<Vec<_>>());
            }
            peer.send("last words");
        });
        let gateway =
            Setup::http(driver, upstream.address).listener(json!({"upgrades": ["websocket"]})).start();
        let mut client = upgrade(gateway.connect());
        assert_eq!(client.read_exactly(18), b"GET / HTTP/1.1\r\n\r\n");
        for word in ["abcd", "\r\n\r\n", "\0\u{1}\u{2}\u{3}"] {
            client.send(word);
            let reversed: Vec<u8> = word.bytes().rev().collect();
            assert_eq!(client.read_exactly(4), reversed);
        }
        client.finish();
        let (rest, _) = client.read_to_end();
        assert_eq!(rest, b"last words");
    }

    fn an_upgrade_that_is_not_allowed_is_not_offered_to_the_upstream(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(client.read_response("GET").status(), 200);
        assert_eq!(requests.recv().expect("a request").field("upgrade"), None);
    }

    fn a_refused_upgrade_leaves_an_ordinary_connection(driver) {
        let (upstream, _requests) = Upstream::http(|request| match request.field("upgrade") {
            Some(_) => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec(),
            None => ok(b"plain"),
        });
        let gateway =
            Setup::http(driver, upstream.address).listener(json!({"upgrades": ["websocket"]})).start();
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        let response = client.read_response("GET");
        assert_eq!((response.status(), response.text()), (403, "no".to_owned()));
        client.send(get("/"));
        assert_eq!(client.read_response("GET").text(), "plain");
    }
}

fn upgrade(mut client: Peer) -> Peer {
    client.send(
        "GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let response = client.read_head();
    assert_eq!(response.status(), 101);
    assert_eq!(response.field("upgrade"), Some("websocket"));
    assert_eq!(response.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}
