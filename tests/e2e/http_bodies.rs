//! Bodies: framings, sizes, and who waits for whom.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hangu_tests::{
    Upstream,
    http::{chunk, get, ok, post},
    wait,
};

use crate::support::Setup;

/// Bytes that do not repeat within a buffer's length.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Compares without printing megabytes.
fn assert_same(got: &[u8], expected: &[u8]) {
    assert_eq!(got.len(), expected.len(), "bytes");
    let differs = got.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the first byte that differs");
}

const MIB: usize = 1 << 20;

on_every_driver! {
    fn sized_bodies_of_every_size_come_through_both_ways(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        for bytes in [0, 1, 100, 4095, 4096, 4097, 65_535, 65_536, 65_537, MIB, 5 * MIB] {
            let body = pattern(bytes);
            let mut sender = client.sender();
            let request = post("/", &body);
            let sending = std::thread::spawn(move || sender.send(request));
            let response = client.read_response("POST");
            sending.join().expect("all is sent");
            assert_same(&response.body, &body);
            assert_same(&requests.recv().expect("a request").body, &body);
        }
        assert_eq!(upstream.accepted(), 1);
    }

    fn chunked_bodies_of_every_size_come_through_both_ways(driver) {
        let (upstream, requests) = Upstream::http(|request| {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for piece in request.body.chunks(100_000) {
                bytes.extend(chunk(piece));
            }
            bytes.extend(b"0\r\n\r\n");
            bytes
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        for bytes in [0, 1, 100, 65_536, MIB, 5 * MIB] {
            let body = pattern(bytes);
            let mut request =
                b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for piece in body.chunks(7_001) {
                request.extend(chunk(piece));
            }
            request.extend(b"0\r\n\r\n");
            let mut sender = client.sender();
            let sending = std::thread::spawn(move || sender.send(request));
            let response = client.read_response("POST");
            sending.join().expect("all is sent");
            assert_same(&response.body, &body);
            assert_same(&requests.recv().expect("a request").body, &body);
        }
    }

    fn a_body_that_lasts_until_close_comes_through(driver) {
        let body = pattern(300_000);
        let sent = body.clone();
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.read_request();
            peer.send("HTTP/1.0 200 OK\r\n\r\n");
            peer.send(&sent);
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        for _ in 0..2 {
            client.send(get("/"));
            let response = client.read_response("GET");
            assert_eq!(response.status(), 200);
            assert_same(&response.body, &body);
            if response.chunks.is_empty() {
                client = gateway.connect();
            }
        }
    }

    fn a_body_is_passed_on_as_it_comes(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            peer.read_head();
            // Each word is answered before the next one is sent.
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            loop {
                let word = peer.read_chunk();
                if word.is_empty() {
                    break;
                }
                peer.send(chunk(&word));
            }
            peer.send("0\r\n\r\n");
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunk(b"first"));
        assert_eq!(client.read_head().status(), 200);
        assert_eq!(client.read_chunk(), b"first");
        for word in ["second", "third"] {
            client.send(chunk(word.as_bytes()));
            assert_eq!(client.read_chunk(), word.as_bytes());
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.read_chunk(), b"");
    }

    fn a_response_may_end_before_its_request_does(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            peer.read_head();
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope");
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nonly the beginning");
        let response = client.read_response("POST");
        assert_eq!((response.status(), response.text()), (403, "nope".to_owned()));
        client.send(vec![b'x'; 982]);
        // Either the rest is dropped and the connection serves on, or it says that it closes.
        if response.field("connection").is_none() {
            client.send(get("/"));
            assert_eq!(client.read_response("GET").status(), 403);
        }
    }

    fn a_slow_reader_holds_back_its_upstream_and_nobody_else(driver) {
        const BODY: usize = 64 * MIB;
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let upstream = Upstream::serve(move |mut peer, _| {
            while let Some(request) = peer.try_read_request() {
                if request.target() == "/small" {
                    peer.send(ok(b"small"));
                    continue;
                }
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n"));
                let piece = pattern(MIB);
                for _ in 0..BODY / MIB {
                    for part in piece.chunks(64 * 1024) {
                        peer.send(part);
                        counted.fetch_add(part.len(), Ordering::SeqCst);
                    }
                }
            }
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut slow = gateway.connect();
        slow.send(get("/large"));
        assert_eq!(slow.read_head().field("content-length"), Some(BODY.to_string().as_str()));
        // Others are served while the slow one does not read.
        let mut other = gateway.connect();
        let mut before = usize::MAX;
        let mut rounds_without_progress = 0;
        wait::until("the upstream is held back", || {
            other.send(get("/small"));
            assert_eq!(other.read_response("GET").text(), "small");
            let now = sent.load(Ordering::SeqCst);
            rounds_without_progress = if now == before { rounds_without_progress + 1 } else { 0 };
            before = now;
            rounds_without_progress > 100
        });
        let held = sent.load(Ordering::SeqCst);
        // The kernel's buffers on the way hold some; the gateway must not hold the rest.
        assert!(held < BODY / 2, "{held} bytes were taken from the upstream");
        let piece = pattern(MIB);
        for _ in 0..BODY / MIB {
            assert_same(&slow.read_exactly(MIB), &piece);
        }
        slow.send(get("/small"));
        assert_eq!(slow.read_response("GET").text(), "small");
    }

    fn a_slow_upstream_holds_back_its_client(driver) {
        const BODY: usize = 64 * MIB;
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let begun = std::sync::Mutex::new(begun);
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.read_head();
            begun.lock().expect("no poison").recv().expect("the word to begin");
            let piece = pattern(MIB);
            for _ in 0..BODY / MIB {
                assert_same(&peer.read_exactly(MIB), &piece);
            }
            peer.send(ok(b"all of it"));
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {BODY}\r\n\r\n"));
        let sent = Arc::new(AtomicUsize::new(0));
        let (counted, mut sender) = (Arc::clone(&sent), client.sender());
        let sending = std::thread::spawn(move || {
            let piece = pattern(MIB);
            for _ in 0..BODY / MIB {
                for part in piece.chunks(64 * 1024) {
                    sender.send(part);
                    counted.fetch_add(part.len(), Ordering::SeqCst);
                }
            }
        });
        let (mut before, mut rounds_without_progress) = (usize::MAX, 0);
        wait::until("the client is held back", || {
            let now = sent.load(Ordering::SeqCst);
            rounds_without_progress = if now == before { rounds_without_progress + 1 } else { 0 };
            before = now;
            rounds_without_progress > 100
        });
        let held = sent.load(Ordering::SeqCst);
        // What the kernel holds on the two connections may grow to some 40 MiB on its own.
        assert!(held < BODY - BODY / 8, "{held} bytes were taken from the client");
        begin.send(()).expect("the upstream waits");
        assert_eq!(client.read_response("POST").text(), "all of it");
        sending.join().expect("all is sent");
    }
}
