//! Peers that ask without listening, listen without answering, or come at the wrong moment: what
//! they cost stays bounded, and nobody else pays.

use std::sync::mpsc;

use hangu_tests::{
    Peer, Upstream,
    bolt::{self, Frame, Kind},
    http::{chunk, get, ok},
    upstream::deaf_address,
    wait,
};
use serde_json::json;

use crate::support::{Running, Setup};

fn request(id: u32, content: &[u8]) -> Frame {
    bolt::request(id, "demo.Service:1.0", "echo", content)
}

/// Sends from a thread of its own until all is sent or the gateway is gone.
fn send_all(peer: &Peer, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    let mut sender = peer.sender();
    std::thread::spawn(move || {
        // A test that is over closes the connection while it is sent.
        let _ = sender.try_send(bytes);
    })
}

/// Waits until no client is read any more and says how many bytes were taken from all of them.
fn taken_at_last(gateway: &Running) -> f64 {
    let (mut taken, mut rounds) = (f64::NAN, 0);
    wait::until("nobody is read any more", || {
        let now = gateway.metric("hangu_downstream_received_bytes_total", &[]);
        rounds = if now == taken && now > 0.0 { rounds + 1 } else { 0 };
        taken = now;
        rounds > 50
    });
    taken
}

on_every_driver! {
    fn a_client_that_pipelines_and_reads_nothing_is_not_read_either(driver) {
        const REQUESTS: usize = 200_000;
        let upstream = Upstream::http_text("x");
        let gateway = Setup::http(driver, upstream.address)
            .hosts(json!([{"name": "h", "domains": ["*"], "routes": [
                {"match": {"prefix": "/here"}, "route": {"cluster": "main"}},
            ]}]))
            .start();
        let mut client = gateway.connect();
        let mut bytes = get("/elsewhere").repeat(REQUESTS - 1);
        bytes.push_str("GET /elsewhere HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let all = bytes.len() as f64;
        let sending = send_all(&client, bytes.into_bytes());
        let taken = taken_at_last(&gateway);
        assert!(taken < all * 0.8, "{taken} bytes of {all} were taken");
        // It was only held back: whoever listens at last gets everything.
        let (answers, _) = client.read_to_end();
        let text = String::from_utf8_lossy(&answers);
        assert_eq!(text.matches("HTTP/1.1 404 ").count(), REQUESTS);
        sending.join().expect("all is sent");
    }

    fn a_bolt_client_that_reads_no_refusals_is_not_read_either(driver) {
        // Kernels hold some 5 MB of answers on a loopback connection; these are 10 MB.
        const REQUESTS: u32 = 500_000;
        let (upstream, _frames) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address)
            .hosts(json!([{"name": "h", "services": ["known"], "routes": [
                {"match": {}, "route": {"cluster": "main"}},
            ]}]))
            // A frame that the gateway does not read is not late.
            .listener(json!({"timeouts": {"request_head": "500ms"}}))
            .start();
        // The less this end holds, the sooner the gateway has to.
        let mut client = Peer::connect_with_buffer(gateway.place(), 16 * 1024);
        client.send_frame(&request(0, b""));
        let answer_bytes = client.read_frame().to_bytes().len();
        let bytes: Vec<u8> = (1..=REQUESTS).flat_map(|id| request(id, b"").to_bytes()).collect();
        let all = bytes.len() as f64;
        let sending = send_all(&client, bytes);
        let taken = taken_at_last(&gateway);
        assert!(taken < all * 0.8, "{taken} bytes of {all} were taken");
        client.read_exactly(answer_bytes * REQUESTS as usize);
        sending.join().expect("all is sent");
        client.send_frame(&request(7, b""));
        assert_eq!(client.read_frame().id, 7);
    }

    fn an_upstream_that_reads_nothing_stops_a_flood_of_oneway_requests(driver) {
        let (over, is_over) = mpsc::channel::<()>();
        let is_over = std::sync::Mutex::new(is_over);
        let upstream = Upstream::serve(move |_peer, _| {
            // Holds the connection until the test is over.
            let _ = is_over.lock().expect("no poison").recv();
        });
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        let frame = Frame { kind: Kind::Oneway, ..request(1, &vec![b'x'; 32 * 1024]) };
        client.send_frame(&frame);
        // What comes before there is a connection waits, and is refused beyond a bound.
        wait::until("the upstream connection stands", || upstream.accepted() == 1);
        gateway.wait_for_metric("hangu_upstream_requests_pending", &[], 0.0);
        let bytes = frame.to_bytes().repeat(2048);
        let all = bytes.len() as f64;
        let sending = send_all(&client, bytes);
        let taken = taken_at_last(&gateway);
        assert!(taken < all * 0.8, "{taken} bytes of {all} were taken");
        client.finish();
        drop(gateway);
        drop(over);
        sending.join().expect("the sender ends");
    }

    fn a_body_in_pieces_of_one_byte_waits_within_the_same_bound(driver) {
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Mutex::new(released);
        let upstream = Upstream::serve(move |mut peer, _| {
            while let Some(request) = peer.try_read_request() {
                if request.target() == "/first" {
                    released.lock().expect("no poison").recv().expect("the test goes on");
                }
                peer.send(ok(&request.body));
            }
        });
        let gateway = Setup::http(driver, upstream.address)
            .main(json!({"connections_per_endpoint_max": 1}))
            .start();
        let mut first = gateway.connect();
        first.send(get("/first"));
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 1.0);
        let mut second = gateway.connect();
        let mut bytes =
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        // Six bytes each on the wire; small pieces that wait are joined.
        for _ in 0..400_000 {
            bytes.extend_from_slice(&chunk(b"x"));
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let sending = send_all(&second, bytes);
        let taken = taken_at_last(&gateway);
        assert!(taken < 1_000_000.0, "{taken} bytes were taken");
        release.send(()).expect("the upstream waits");
        assert_eq!(first.read_response("GET").status(), 200);
        assert_eq!(second.read_response("POST").body.len(), 400_000);
        sending.join().expect("all is sent");
    }

    fn who_waits_for_the_only_connection_learns_that_it_did_not_come_about(driver) {
        let (deaf, _keep) = deaf_address();
        let gateway = Setup::http(driver, deaf)
            .main(json!({"connections_per_endpoint_max": 1, "connect_timeout": "300ms"}))
            .start();
        let mut clients: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
        for client in &mut clients {
            client.send(get("/"));
        }
        gateway.wait_for_metric("hangu_upstream_requests_pending", &[], 3.0);
        for client in &mut clients {
            assert_eq!(client.read_response("GET").status(), 504);
        }
        gateway.wait_for_metric("hangu_upstream_requests_pending", &[], 0.0);
    }

    fn a_shared_connection_that_was_full_is_used_again(driver) {
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Mutex::new(released);
        let (upstream, _frames) = Upstream::bolt(move |frame| {
            if frame.content == b"hold" {
                released.lock().expect("no poison").recv().expect("the test goes on");
            }
            vec![frame.echo()]
        });
        let gateway = Setup::bolt(driver, upstream.address)
            .main(json!({
                "connections_per_endpoint_max": 1,
                "limits": {"rpc": {"streams_max": 1}},
            }))
            .start();
        let mut first = gateway.connect();
        first.send_frame(&request(1, b"hold"));
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 1.0);
        let mut second = gateway.connect();
        second.send_frame(&request(2, b"waits"));
        gateway.wait_for_metric("hangu_upstream_requests_pending", &[], 1.0);
        second.reset();
        gateway.wait_for_metric("hangu_upstream_requests_pending", &[], 0.0);
        release.send(()).expect("the upstream waits");
        assert_eq!(first.read_frame().content, b"hold");
        let mut third = gateway.connect();
        third.send_frame(&request(3, b"third"));
        assert_eq!(third.read_frame().content, b"third");
        assert_eq!(upstream.accepted(), 1);
    }

    fn a_panic_in_a_request_that_waited_its_turn_costs_only_its_own_connection(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            while let Some(request) = peer.try_read_request() {
                if request.target() == "/late" {
                    peer.read_to_end();
                    return;
                }
                peer.send(ok(b"x"));
            }
        });
        let gateway = Setup::http(driver, upstream.address).timeout("300ms").start();
        let panics = "GET / HTTP/1.1\r\nHost: t\r\nx-hangu-test-panic: now\r\n\r\n";
        // Its turn comes with a response, and by a timer.
        for (round, (path, status)) in [("/", "200"), ("/late", "504")].into_iter().enumerate() {
            let mut client = gateway.connect();
            client.send(get(path) + panics);
            let (bytes, _) = client.read_to_end();
            let text = String::from_utf8_lossy(&bytes);
            assert!(bytes.is_empty() || text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            gateway.wait_for_metric("hangu_worker_panics_total", &[], round as f64 + 1.0);
            gateway.wait_for_metric("hangu_downstream_connections_active", &[], 0.0);
            let mut other = gateway.connect();
            other.send(get("/"));
            assert_eq!(other.read_response("GET").status(), 200);
            assert_eq!(upstream.accepted(), round + 1, "the upstream connection was spared");
            drop(other);
            gateway.wait_for_metric("hangu_downstream_connections_active", &[], 0.0);
        }
    }
}
