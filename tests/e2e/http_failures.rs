//! What a client gets when the upstream or the gateway fails, and what an upstream sees of a
//! client that goes away.

use std::sync::mpsc;

use hangu_tests::{
    Upstream,
    http::{get, ok, post},
    upstream::refused_address,
};
use serde_json::json;

use crate::support::Setup;

on_every_driver! {
    fn a_request_without_a_route_gets_404_and_the_connection_serves_on(driver) {
        let upstream = Upstream::http_text("here");
        let gateway = Setup::http(driver, upstream.address)
            .hosts(json!([{"name": "h", "domains": ["*"], "routes": [
                {"match": {"prefix": "/here"}, "route": {"cluster": "main"}},
            ]}]))
            .start();
        let mut client = gateway.connect();
        client.send(post("/elsewhere", b"a body that nobody wants"));
        let response = client.read_response("POST");
        assert_eq!(response.status(), 404);
        assert!(!response.body.is_empty() && response.body.len() < 200, "{response:?}");
        assert!(response.field("content-type").is_some_and(|it| it.starts_with("text/plain")));
        client.send(get("/here"));
        assert_eq!(client.read_response("GET").text(), "here");
    }

    fn an_upstream_that_refuses_gives_502(driver) {
        let gateway = Setup::http(driver, refused_address()).start();
        let mut client = gateway.connect();
        for _ in 0..3 {
            client.send(get("/"));
            assert_eq!(client.read_response("GET").status(), 502);
        }
    }

    fn garbage_from_the_upstream_gives_502(driver) {
        for garbage in ["garbage\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "\0\0\0\0\0\0\0\0\r\n\r\n"] {
            let upstream = Upstream::serve(move |mut peer, _| {
                peer.read_request();
                peer.send(garbage);
                peer.read_to_end();
            });
            let gateway = Setup::http(driver, upstream.address).start();
            let mut client = gateway.connect();
            client.send(get("/"));
            assert_eq!(client.read_response("GET").status(), 502, "{garbage:?}");
        }
    }

    fn an_upstream_that_closes_before_its_response_is_whole_gives_502(driver) {
        for beginning in ["", "HTTP/1.1 200 OK\r\nContent-"] {
            let upstream = Upstream::serve(move |mut peer, _| {
                peer.read_request();
                peer.send(beginning);
            });
            let gateway = Setup::http(driver, upstream.address).start();
            let mut client = gateway.connect();
            client.send(get("/"));
            assert_eq!(client.read_response("GET").status(), 502, "{beginning:?}");
        }
    }

    fn a_response_that_is_cut_off_is_seen_to_be_cut_off(driver) {
        for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
            let upstream = Upstream::serve(move |mut peer, _| {
                peer.read_request();
                peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"));
            });
            let gateway = Setup::http(driver, upstream.address).start();
            let mut client = gateway.connect();
            client.send(get("/"));
            assert_eq!(client.read_head().status(), 200);
            let (body, _) = client.read_to_end();
            assert!(body.len() < 100 && !body.ends_with(b"0\r\n\r\n"), "{body:?}");
        }
    }

    fn an_idle_upstream_connection_that_was_closed_is_not_used(driver) {
        let (closed_at, closed) = mpsc::channel();
        let upstream = Upstream::serve(move |mut peer, number| {
            peer.read_request();
            peer.send(ok(number.to_string().as_bytes()));
            drop(peer);
            closed_at.send(()).expect("the test waits");
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        for number in 0..5 {
            client.send(get("/"));
            let response = client.read_response("GET");
            assert_eq!((response.status(), response.text()), (200, number.to_string()));
            closed.recv().expect("the upstream closes");
            gateway.wait_for_metric("hangu_endpoint_connections_active", &[], 0.0);
        }
    }

    fn a_deadline_gives_504_and_ends_the_upstream_stream(driver) {
        let (ended_at, ended) = mpsc::channel();
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.read_request();
            peer.expect_end();
            ended_at.send(()).expect("the test waits");
        });
        let gateway = Setup::http(driver, upstream.address).timeout("100ms").start();
        let mut client = gateway.connect();
        client.send(get("/"));
        assert_eq!(client.read_response("GET").status(), 504);
        ended.recv_timeout(hangu_tests::wait::PATIENCE).expect("the upstream connection ends");
    }

    fn a_deadline_after_the_head_cuts_the_response_off(driver) {
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.read_request();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe beginning");
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address).timeout("200ms").start();
        let mut client = gateway.connect();
        client.send(get("/"));
        assert_eq!(client.read_head().status(), 200);
        assert_eq!(client.read_to_end().0, b"the beginning");
    }

    fn more_than_may_wait_for_a_connection_gets_503(driver) {
        let (asked_at, asked) = mpsc::channel();
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.read_request();
            asked_at.send(()).expect("the test waits");
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address)
            .main(json!({"connections_per_endpoint_max": 1, "pending_max": 1}))
            .start();
        let mut first = gateway.connect();
        first.send(get("/first"));
        asked.recv().expect("the upstream is asked");
        let mut second = gateway.connect();
        second.send(get("/waits"));
        gateway.wait_for_metric("hangu_upstream_requests_pending", &[], 1.0);
        let mut third = gateway.connect();
        third.send(get("/too-many"));
        assert_eq!(third.read_response("GET").status(), 503);
        assert!(second.is_open() && second.received().is_empty(), "the second one still waits");
    }

    fn a_request_that_waited_for_a_connection_gets_it(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            while let Some(request) = peer.try_read_request() {
                peer.send(ok(request.target().as_bytes()));
            }
        });
        let gateway = Setup::http(driver, upstream.address)
            .main(json!({"connections_per_endpoint_max": 1}))
            .start();
        let mut clients: Vec<_> = (0..30).map(|_| gateway.connect()).collect();
        for round in 0..5 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.send(get(&format!("/{round}/{number}")));
            }
            for (number, client) in clients.iter_mut().enumerate() {
                assert_eq!(client.read_response("GET").text(), format!("/{round}/{number}"));
            }
        }
        assert_eq!(upstream.accepted(), 1);
    }

    fn a_client_that_goes_away_ends_its_upstream_stream(driver) {
        for is_reset in [false, true] {
            let (asked_at, asked) = mpsc::channel();
            let (ended_at, ended) = mpsc::channel();
            let upstream = Upstream::serve(move |mut peer, _| {
                peer.read_request();
                asked_at.send(()).expect("the test waits");
                peer.expect_end();
                ended_at.send(()).expect("the test waits");
            });
            let gateway = Setup::http(driver, upstream.address).start();
            let mut client = gateway.connect();
            client.send(get("/"));
            asked.recv().expect("the upstream is asked");
            if is_reset { client.reset() } else { drop(client) }
            ended.recv_timeout(hangu_tests::wait::PATIENCE).expect("the upstream stream ends");
        }
    }

    fn a_client_that_goes_away_in_a_body_ends_its_upstream_stream(driver) {
        let (ended_at, ended) = mpsc::channel();
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.read_request();
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            peer.read_to_end();
            ended_at.send(()).expect("the test waits");
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send(get("/"));
        assert_eq!(client.read_head().status(), 200);
        assert_eq!(client.read_chunk(), b"hello");
        client.reset();
        ended.recv_timeout(hangu_tests::wait::PATIENCE).expect("the upstream stream ends");
    }

    fn a_client_that_breaks_off_its_request_ends_the_upstream_stream(driver) {
        let (begun_at, begun) = mpsc::channel();
        let (ended_at, ended) = mpsc::channel();
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.read_head();
            assert_eq!(peer.read_exactly(5), b"begin");
            begun_at.send(()).expect("the test waits");
            peer.expect_end();
            ended_at.send(()).expect("the test waits");
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nbegin");
        begun.recv().expect("the upstream has the beginning");
        client.finish();
        ended.recv_timeout(hangu_tests::wait::PATIENCE).expect("the upstream stream ends");
    }
}
