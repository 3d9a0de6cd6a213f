//! Upstreams of HTTP/2: what they refuse, how they leave, how many streams they take.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hangu_tests::{
    Peer, Upstream,
    http::get,
    http2::{Http2, REFUSED, STREAMS_MAX, Told},
    upstream::refused_address,
    wait,
};
use serde_json::json;

use crate::support::{DriverKind, Setup};

fn setup(driver: DriverKind, upstreams: &[std::net::SocketAddr]) -> Setup {
    Setup::new(driver, &["http2", "http1"]).cluster("main", "http2", upstreams)
}

/// As many tries as are asked for.
fn budget() -> serde_json::Value {
    json!({"retry": {"budget": {"percent": 100, "min_per_second": 1000}}})
}

/// Reads the body of a request on a stream, of which the head has come.
fn read_body(server: &mut Http2, stream: u32) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        match server.told() {
            Told::Data(it, data, end) if it == stream => {
                body.extend_from_slice(&data);
                if end {
                    return body;
                }
            }
            other => panic!("no body: {other:?}"),
        }
    }
}

on_every_driver! {
    fn a_request_that_is_refused_is_sent_again_whatever_its_method(driver) {
        let refuses = Upstream::serve(|peer, _| {
            let mut server = Http2::server(peer, &[]);
            loop {
                match server.told() {
                    Told::Head(stream, _, _) => server.reset(stream, REFUSED),
                    Told::End => return,
                    _ => {}
                }
            }
        });
        let takes = Upstream::serve(|peer, _| {
            let mut server = Http2::server(peer, &[]);
            while let Some((stream, _, end)) = server.next_request() {
                let body = if end { b"none".to_vec() } else { read_body(&mut server, stream) };
                server.answer(stream, &body);
            }
        });
        let gateway = setup(driver, &[refuses.address, takes.address]).main(budget()).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let mut plain = gateway.connect();
        for round in 0..10 {
            let stream = client.get("/");
            assert_eq!(client.response(stream), (200, b"none".to_vec()), "round {round}");
            let stream = client.post("/");
            assert!(client.send_body(stream, b"a body"));
            assert_eq!(client.response(stream), (200, b"a body".to_vec()), "round {round}");
            plain.send(get("/"));
            assert_eq!(plain.read_response("GET").text(), "none");
        }
        let retries = gateway.metric("hangu_upstream_retries_total", &[]);
        assert!(retries > 5.0, "{retries}");
        assert_eq!(gateway.metric("hangu_downstream_requests_active", &[]), 0.0);
    }

    fn what_is_refused_everywhere_is_answered_as_overloaded(driver) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let refuses = Upstream::serve(move |peer, _| {
            let mut server = Http2::server(peer, &[]);
            while let Some((stream, _, _)) = server.next_request() {
                counted.fetch_add(1, Ordering::SeqCst);
                server.reset(stream, REFUSED);
            }
        });
        let gateway = setup(driver, &[refuses.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = client.get("/");
        assert_eq!(client.response(stream).0, 503);
        assert_eq!(asked.load(Ordering::SeqCst), 3, "two tries more");
    }

    fn a_body_that_is_too_long_to_be_kept_is_not_sent_again(driver) {
        let refuses = Upstream::serve(|peer, _| {
            let mut server = Http2::server(peer, &[]);
            let mut bytes = 0;
            loop {
                match server.told() {
                    Told::Data(stream, data, _) => {
                        bytes += data.len();
                        if bytes > 100_000 {
                            server.reset(stream, REFUSED);
                        }
                    }
                    Told::End => return,
                    _ => {}
                }
            }
        });
        let gateway = setup(driver, &[refuses.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = client.post("/");
        client.send_body(stream, &[b'x'; 200_000]);
        assert_eq!(client.response(stream).0, 503);
        assert_eq!(gateway.metric("hangu_upstream_retries_total", &[]), 0.0);
    }

    fn upstreams_that_leave_under_load_lose_no_request(driver) {
        // Each connection takes ten streams, tells so when more have come, and serves those.
        let upstream = Upstream::serve(|peer, _| {
            const TAKEN: u32 = 10;
            let last = 2 * TAKEN - 1;
            let mut server = Http2::server(peer, &[]);
            let mut taken = Vec::new();
            loop {
                match server.told() {
                    Told::Head(stream, _, true) => {
                        if stream > last {
                            server.go_away(last);
                        } else {
                            taken.push(stream);
                        }
                        if taken.len() as u32 >= TAKEN / 2 || stream > last {
                            taken.drain(..).for_each(|it| server.answer(it, b"text"));
                        }
                    }
                    Told::End => return,
                    _ => {}
                }
            }
        });
        let gateway = setup(driver, &[upstream.address]).main(budget()).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        for round in 0..20 {
            let streams: Vec<_> = (0..15).map(|_| client.get("/")).collect();
            for stream in streams {
                assert_eq!(client.response(stream), (200, b"text".to_vec()), "round {round}");
            }
        }
        assert!(upstream.accepted() > 10, "{}", upstream.accepted());
        gateway.wait_for_metric("hangu_downstream_requests_active", &[], 0.0);
        let active = "hangu_upstream_connections_active";
        wait::until("those that left are closed", || gateway.metric(active, &[]) <= 4.0);
    }

    fn a_request_in_flight_on_a_lost_connection_is_repeated_if_it_may_be(driver) {
        let upstream = Upstream::serve(|peer: Peer, number| {
            let mut server = Http2::server(peer, &[]);
            if number == 0 {
                for _ in 0..2 {
                    let _ = server.next_request();
                }
                return;
            }
            while let Some((stream, _, _)) = server.next_request() {
                server.answer(stream, b"text");
            }
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let posts = client.ask("POST", "/", &[], true);
        let gets = client.get("/");
        assert_eq!(client.response(gets), (200, b"text".to_vec()));
        assert_eq!(client.response(posts).0, 502);
        assert_eq!(upstream.accepted(), 2);
    }

    fn more_connections_are_made_when_all_streams_are_in_use(driver) {
        let all = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&all);
        let upstream = Upstream::serve(move |peer, _| {
            let mut server = Http2::server(peer, &[(STREAMS_MAX, 2)]);
            let mut held = Vec::new();
            while let Some((stream, path, _)) = server.next_request() {
                match path.as_str() {
                    // Its settings were under way when this was.
                    "/held" if held.len() == 2 => server.reset(stream, REFUSED),
                    "/held" => {
                        held.push(stream);
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                    _ => server.answer(stream, b"text"),
                }
            }
        });
        let limits = json!({"connections_per_endpoint_max": 3, "pending_max": 1});
        let gateway = setup(driver, &[upstream.address]).main(limits).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let mut held = Vec::new();
        for count in 1..=6 {
            held.push(client.get("/held"));
            wait::until("it is where it may be", || all.load(Ordering::SeqCst) == count);
        }
        assert_eq!(upstream.accepted(), 3);
        // One waits, and one more is too many.
        let waits = client.get("/");
        gateway.wait_for_metric("hangu_upstream_requests_pending", &[], 1.0);
        let refused = client.get("/");
        assert_eq!(client.response(refused).0, 503);
        client.reset(held[0], hangu_tests::http2::CANCEL);
        assert_eq!(client.response(waits), (200, b"text".to_vec()));
    }

    fn a_connection_that_leaves_slowly_does_not_keep_others_waiting(driver) {
        let upstream = Upstream::serve(|peer, number| {
            let mut server = Http2::server(peer, &[]);
            while let Some((stream, path, _)) = server.next_request() {
                match path.as_str() {
                    "/held" => server.go_away(stream),
                    _ => server.answer(stream, format!("{number}").as_bytes()),
                }
            }
        });
        let one = json!({"connections_per_endpoint_max": 1});
        let gateway = setup(driver, &[upstream.address]).main(one).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let held = client.get("/held");
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 1.0);
        wait::until("another connection serves", || {
            let stream = client.get("/");
            client.response(stream) == (200, b"1".to_vec())
        });
        client.reset(held, hangu_tests::http2::CANCEL);
        gateway.wait_for_metric("hangu_upstream_connections_active", &[], 1.0);
    }

    fn a_refused_connection_is_told_to_all_who_wait_for_it(driver) {
        let gateway = setup(driver, &[refused_address()]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let streams: Vec<_> = (0..5).map(|_| client.get("/")).collect();
        for stream in streams {
            assert_eq!(client.response(stream).0, 502);
        }
    }
}
