//! HTTP/2 between workers: shared connections, connections that move, workers that are replaced.

use std::sync::mpsc::channel;

use hangu_tests::{
    Peer, Upstream,
    http::post,
    http2::{CANCEL, Http2, STREAM_WINDOW},
    wait,
};
use serde_json::json;

use crate::support::{DriverKind, Running, Setup};

pub(crate) const MIB: usize = 1 << 20;

/// Bytes that do not repeat within a buffer's length.
pub(crate) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Compares without printing megabytes.
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    assert_eq!(got.len(), expected.len(), "bytes");
    let differs = got.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the first byte that differs");
}

pub(crate) fn bytes_received(gateway: &Running, side: &str) -> f64 {
    gateway.metric(&format!("hangu_{side}_received_bytes_total"), &[])
}

/// Waits until nothing more comes from that side: whoever sends there is held back.
pub(crate) fn wait_until_held(gateway: &Running, side: &str) -> f64 {
    let (mut last, mut same) = (-1.0, 0);
    wait::until("nothing more comes", || {
        let now = bytes_received(gateway, side);
        same = if now == last && now > 0.0 { same + 1 } else { 0 };
        last = now;
        same > 100
    });
    last
}

const WORKERS: usize = 3;

fn shared(driver: DriverKind, upstream: std::net::SocketAddr) -> Running {
    let setup = Setup::new(driver, &["http2", "http1"]).cluster("main", "http2", &[upstream]);
    setup.workers(WORKERS).main(json!({"share_connections": true})).start()
}

/// Answers `/large` with 5 MiB, and everything else with its body.
fn serve(peer: Peer, _: usize) {
    Http2::server(peer, &[]).serve(|path, body| match path {
        "/large" => Some(pattern(5 * MIB)),
        _ => Some(body),
    });
}

/// A client at each worker.
fn clients(gateway: &Running) -> Vec<Peer> {
    let clients: Vec<_> = (0..WORKERS * 2).map(|_| gateway.connect()).collect();
    wait::until("each worker has a client", || gateway.handle().load().iter().all(|it| *it > 0));
    clients
}

on_every_driver! {
    fn bodies_travel_between_workers(driver) {
        let upstream = Upstream::serve(serve);
        let gateway = shared(driver, upstream.address);
        let body = pattern(3 * MIB);
        for (number, peer) in clients(&gateway).into_iter().enumerate() {
            if number % 2 == 0 {
                let mut client = Http2::client(peer, &[]);
                let stream = client.post("/");
                assert!(client.send_body(stream, &body));
                assert_same(&client.response(stream).1, &body);
                continue;
            }
            let mut client = peer;
            let mut sender = client.sender();
            let request = post("/", &body);
            let sending = std::thread::spawn(move || sender.send(request));
            assert_same(&client.read_response("POST").body, &body);
            sending.join().expect("all is sent");
        }
        assert_eq!(upstream.accepted(), 1);
    }

    fn a_slow_receiver_at_another_worker_holds_its_stream_back(driver) {
        let upstream = Upstream::serve(serve);
        let gateway = shared(driver, upstream.address);
        let mut slow: Vec<_> = clients(&gateway)
            .into_iter()
            .map(|it| Http2::client(it, &[(STREAM_WINDOW, 0)]).stingy())
            .collect();
        let streams: Vec<_> = slow.iter_mut().map(|it| it.get("/large")).collect();
        let held = wait_until_held(&gateway, "upstream");
        assert!(held < 4.0 * MIB as f64, "{held} bytes are held");
        for (client, stream) in slow.iter_mut().zip(streams) {
            client.credit(0, 6 * MIB as u32);
            client.credit(stream, 6 * MIB as u32);
            assert_same(&client.response(stream).1, &pattern(5 * MIB));
        }
    }

    fn a_slow_upstream_at_another_worker_holds_uploads_back(driver) {
        let (open, opened) = channel::<()>();
        let opened = std::sync::Mutex::new(opened);
        let upstream = Upstream::serve(move |peer, _| {
            let server = Http2::server(peer, &[(STREAM_WINDOW, 0)]);
            let _ = opened.lock().expect("no poison").recv();
            let mut server = server;
            server.set(STREAM_WINDOW, 6 * MIB as u32);
            server.serve(|_, body| Some(body.len().to_string().into_bytes()));
        });
        let gateway = shared(driver, upstream.address);
        let body = pattern(5 * MIB);
        let mut uploads = Vec::new();
        for (number, peer) in clients(&gateway).into_iter().enumerate() {
            let body = body.clone();
            uploads.push(std::thread::spawn(move || {
                if number % 2 == 0 {
                    let mut client = Http2::client(peer, &[]);
                    let stream = client.post("/");
                    client.send_body(stream, &body);
                    return client.response(stream).1;
                }
                let mut client = peer;
                client.send(post("/", &body));
                client.read_response("POST").body
            }));
        }
        let held = wait_until_held(&gateway, "downstream");
        assert!(held < 6.0 * MIB as f64, "{held} bytes are held");
        open.send(()).expect("an upstream");
        for upload in uploads {
            assert_eq!(upload.join().expect("an answer"), (5 * MIB).to_string().as_bytes());
        }
    }

    fn a_connection_moves_with_its_streams_in_both_directions(driver) {
        let upstream = Upstream::serve(serve);
        let setup = Setup::new(driver, &["http2"]).cluster("main", "http2", &[upstream.address]);
        let gateway = setup.workers(2).start();
        let peer = gateway.connect();
        let address = peer.local();
        let mut client = Http2::client(peer, &[]).stingy();
        let (large, upload) = (client.get("/large"), client.post("/"));
        let body = pattern(MIB);
        let mut sent = client.send_some(upload, &body, true);
        gateway.wait_for_metric("hangu_downstream_requests_active", &[], 2.0);
        wait_until_held(&gateway, "upstream");
        for _ in 0..4 {
            let moved = "hangu_worker_connections_given_total";
            let before = gateway.metric(moved, &[]);
            for from in 0..2 {
                gateway.handle().order(from, move |core| {
                    let id = core.connections.iter().find(|(_, it)| it.peer == address);
                    if let Some(id) = id.map(|it| it.0) {
                        core.move_connection(id, 1 - from);
                    }
                });
            }
            wait::until("it has moved", || gateway.metric(moved, &[]) > before);
            client.credit(0, MIB as u32);
            client.credit(large, MIB as u32);
            sent += client.send_some(upload, &body[sent..], true);
        }
        client.credit(0, 20 * MIB as u32);
        client.credit(large, 6 * MIB as u32);
        client.credit(upload, 6 * MIB as u32);
        assert_same(&client.response(large).1, &pattern(5 * MIB));
        assert!(client.send_body(upload, &body[sent..]));
        assert_same(&client.response(upload).1, &body);
    }

    fn other_workers_go_on_with_what_is_withheld(driver) {
        let upstream = Upstream::serve(serve);
        let (old, _requests) = Upstream::http(|_| hangu_tests::http::ok(&pattern(5 * MIB)));
        let setup = Setup::new(driver, &["http2"])
            .cluster("main", "http2", &[upstream.address])
            .cluster("old", "http1", &[old.address])
            .hosts(json!([{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/old"}, "route": {"cluster": "old"}},
                {"match": {"prefix": "/"}, "route": {"cluster": "main"}},
            ]}]));
        let gateway = setup.clone().start();
        let mut client = Http2::client(gateway.connect(), &[]).stingy();
        let streams = [client.get("/large"), client.get("/old"), client.get("/large")];
        wait_until_held(&gateway, "upstream");
        for workers in [3, 2, 1] {
            gateway.handle().apply(setup.clone().workers(workers).load()).expect("it is applied");
            client.credit(0, 100_000);
            streams.iter().for_each(|it| client.credit(*it, 10_000));
        }
        client.reset(streams[2], CANCEL);
        client.credit(0, 20 * MIB as u32);
        for stream in &streams[..2] {
            client.credit(*stream, 6 * MIB as u32);
            assert_same(&client.response(*stream).1, &pattern(5 * MIB));
        }
        gateway.wait_for_metric("hangu_downstream_requests_active", &[], 0.0);
    }
}
