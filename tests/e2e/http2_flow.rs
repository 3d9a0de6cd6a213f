//! HTTP/2 and who waits for whom: windows that are shut, receivers that are slow, bystanders.

use std::{net::SocketAddr, sync::mpsc::channel, time::Duration};

use hangu_tests::{
    Peer, Upstream,
    http::{get, post},
    http2::{CANCEL, Http2, NO_ERROR, STREAM_WINDOW, Told},
    wait,
};

use crate::{
    http2_workers::{MIB, assert_same, bytes_received, pattern, wait_until_held},
    support::{DriverKind, Running, Setup},
};

fn gateway(driver: DriverKind, upstream: SocketAddr, protocol: &str) -> Running {
    Setup::new(driver, &["http2", "http1"]).cluster("main", protocol, &[upstream]).start()
}

/// Answers `/text` with a text, `/large` with 5 MiB, and everything else with its body.
fn serve_http2(peer: Peer, _: usize) {
    Http2::server(peer, &[]).serve(|path, body| match path {
        "/text" => Some(b"text".to_vec()),
        "/large" => Some(pattern(5 * MIB)),
        "/never" => None,
        _ => Some(body),
    });
}

on_every_driver! {
    fn bodies_of_many_sizes_come_through_between_all_versions(driver) {
        let (old, _requests) = Upstream::http_echo();
        let new = Upstream::serve(serve_http2);
        for (address, protocol) in [(old.address, "http1"), (new.address, "http2")] {
            let gateway = gateway(driver, address, protocol);
            let mut client = Http2::client(gateway.connect(), &[]);
            let mut plain = gateway.connect();
            for bytes in [0, 1, 100, 16_384, 65_535, 65_536, 300_000, MIB, 5 * MIB] {
                let body = pattern(bytes);
                let stream = client.ask("POST", "/", &[], bytes == 0);
                if bytes > 0 {
                    assert!(client.send_body(stream, &body));
                }
                let (status, answer) = client.response(stream);
                assert_eq!(status, 200);
                assert_same(&answer, &body);
                if protocol == "http2" {
                    let mut sender = plain.sender();
                    let request = post("/", &body);
                    let sending = std::thread::spawn(move || sender.send(request));
                    let response = plain.read_response("POST");
                    sending.join().expect("all is sent");
                    assert_same(&response.body, &body);
                }
            }
        }
    }

    fn a_stream_that_is_not_taken_stops_its_upstream_and_no_other_stream(driver) {
        let upstream = Upstream::serve(serve_http2);
        let gateway = gateway(driver, upstream.address, "http2");
        // It gives credit for no stream and for none of the connection.
        let mut slow = Http2::client(gateway.connect(), &[]).stingy();
        let streams: Vec<_> = (0..3).map(|_| slow.get("/large")).collect();
        let held = wait_until_held(&gateway, "upstream");
        assert!(held < 2.0 * MIB as f64, "{held} bytes are held");
        let mut other = Http2::client(gateway.connect(), &[]);
        for _ in 0..20 {
            let stream = other.get("/text");
            assert_eq!(other.response(stream), (200, b"text".to_vec()));
        }
        // And it goes on where it stopped.
        slow.credit(0, 20 * MIB as u32);
        for stream in streams {
            slow.credit(stream, 6 * MIB as u32);
            assert_same(&slow.response(stream).1, &pattern(5 * MIB));
        }
    }

    fn a_window_that_is_shut_stops_an_upstream_of_one_stream(driver) {
        let (upstream, _requests) =
            Upstream::http(|_| hangu_tests::http::ok(&pattern(5 * MIB)));
        let gateway = gateway(driver, upstream.address, "http1");
        let mut slow = Http2::client(gateway.connect(), &[(STREAM_WINDOW, 0)]).stingy();
        let stream = slow.get("/");
        let held = wait_until_held(&gateway, "upstream");
        assert!(held < MIB as f64, "{held} bytes are held");
        slow.credit(0, 20 * MIB as u32);
        // Bit by bit: each credit moves it on and lets it stop again.
        for _ in 0..64 {
            slow.credit(stream, 1000);
        }
        slow.credit(stream, 6 * MIB as u32);
        assert_same(&slow.response(stream).1, &pattern(5 * MIB));
    }

    fn an_upload_waits_for_the_window_of_its_upstream_and_others_do_not(driver) {
        let upstream = Upstream::serve(|peer, _| {
            let mut server = Http2::server(peer, &[(STREAM_WINDOW, 0)]).stingy();
            let mut uploads = Vec::new();
            loop {
                match server.told() {
                    Told::Head(stream, fields, _) => {
                        match fields.iter().any(|it| it.1 == "/upload") {
                            true => uploads.push(stream),
                            false => server.answer(stream, b"text"),
                        }
                        if fields.iter().any(|it| it.1 == "/open") {
                            server.credit(0, 20 * MIB as u32);
                            uploads.iter().for_each(|it| server.credit(*it, 6 * MIB as u32));
                        }
                    }
                    Told::Data(stream, _, true) => server.answer(stream, b"done"),
                    Told::End => return,
                    _ => {}
                }
            }
        });
        let gateway = gateway(driver, upstream.address, "http2");
        let mut client = Http2::client(gateway.connect(), &[]);
        let mut plain = gateway.connect();
        let body = pattern(5 * MIB);
        let stream = client.post("/upload");
        let sent = client.send_some(stream, &body, true);
        let mut sender = plain.sender();
        let request = post("/upload", &body);
        let sending = std::thread::spawn(move || sender.send(request));
        let held = wait_until_held(&gateway, "downstream");
        assert!(held < 2.0 * MIB as f64, "{held} bytes are held");
        for _ in 0..20 {
            let stream = client.get("/text");
            assert_eq!(client.response(stream), (200, b"text".to_vec()));
        }
        let opens = client.get("/open");
        assert_eq!(client.response(opens).0, 200);
        assert!(client.send_body(stream, &body[sent..]));
        assert_eq!(client.response(stream), (200, b"done".to_vec()));
        assert_eq!(plain.read_response("POST").text(), "done");
        sending.join().expect("all is sent");
    }

    fn a_slow_reader_of_http1_stops_its_stream_and_no_other(driver) {
        let upstream = Upstream::serve(|peer, number| {
            assert_eq!(number, 0, "all share one connection");
            Http2::server(peer, &[]).serve(|path, _| match path {
                "/large" => Some(pattern(30 * MIB)),
                _ => Some(b"text".to_vec()),
            });
        });
        let gateway = gateway(driver, upstream.address, "http2");
        let mut slow = Peer::connect_with_buffer(gateway.place(), 8 * 1024);
        slow.send(get("/large"));
        let mut other = Http2::client(gateway.connect(), &[]);
        let mut last = 0.0;
        wait::until("the slow one is held", || {
            let stream = other.get("/text");
            assert_eq!(other.response(stream), (200, b"text".to_vec()));
            let now = bytes_received(&gateway, "upstream");
            let grown = now - last;
            last = now;
            grown < 1000.0 && now > 200_000.0
        });
        assert!(last < 12.0 * MIB as f64, "{last} bytes are held");
        slow.reset();
        let stream = other.get("/text");
        assert_eq!(other.response(stream), (200, b"text".to_vec()));
    }

    fn a_stream_that_its_client_gives_up_is_given_up_at_its_upstream(driver) {
        let (sender, resets) = std::sync::mpsc::channel();
        let sender = std::sync::Mutex::new(sender);
        let upstream = Upstream::serve(move |peer, _| {
            let mut server = Http2::server(peer, &[]);
            loop {
                match server.told() {
                    Told::Head(stream, fields, _) => {
                        if fields.iter().any(|it| it.1 == "/begun") {
                            server.send_head(stream, &[(":status", "200")], false);
                            server.send_data(stream, b"begun", false);
                        } else if fields.iter().any(|it| it.1 == "/text") {
                            server.answer(stream, b"text");
                        }
                    }
                    Told::Reset(_, code) => {
                        sender.lock().expect("no poison").send(code).expect("a test");
                    }
                    Told::End => return,
                    _ => {}
                }
            }
        });
        let gateway = gateway(driver, upstream.address, "http2");
        let mut client = Http2::client(gateway.connect(), &[]);
        let waits = client.get("/waits");
        let begun = client.get("/begun");
        let uploads = client.post("/uploads");
        client.send_data(uploads, b"some", false);
        assert!(matches!(client.told(), Told::Head(it, _, false) if it == begun));
        assert_eq!(client.told(), Told::Data(begun, b"begun".to_vec(), false));
        for stream in [waits, begun, uploads] {
            client.reset(stream, CANCEL);
            assert_eq!(resets.recv().expect("a reset"), CANCEL);
        }
        let stream = client.get("/text");
        assert_eq!(client.response(stream), (200, b"text".to_vec()));
        gateway.wait_for_metric("hangu_downstream_requests_active", &[], 0.0);
        assert_eq!(upstream.accepted(), 1);
    }

    fn an_answer_that_its_upstream_breaks_off_is_broken_off(driver) {
        let upstream = Upstream::serve(|peer, _| {
            let mut server = Http2::server(peer, &[]);
            while let Some((stream, path, _)) = server.next_request() {
                if path == "/begun" {
                    server.send_head(stream, &[(":status", "200")], false);
                    server.send_data(stream, b"begun", false);
                }
                server.reset(stream, 2);
            }
        });
        let gateway = gateway(driver, upstream.address, "http2");
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = client.get("/not-begun");
        assert_eq!(client.response(stream).0, 502);
        let stream = client.get("/begun");
        assert_eq!(client.try_response(stream), (Some(200), b"begun".to_vec(), false));
        let stream = client.get("/not-begun");
        assert_eq!(client.response(stream).0, 502);
    }

    fn a_stream_of_which_nothing_moves_ends_on_a_busy_connection(driver) {
        let upstream = Upstream::serve(|peer, _| {
            let mut server = Http2::server(peer, &[]);
            let mut living = 0;
            while let Some((stream, path, _)) = server.next_request() {
                match path.as_str() {
                    "/living" => {
                        living = stream;
                        server.send_head(stream, &[(":status", "200")], false);
                    }
                    "/event" => {
                        server.send_data(living, b"event", false);
                        server.answer(stream, b"");
                    }
                    _ => {}
                }
            }
        });
        let gateway = gateway(driver, upstream.address, "http2");
        let mut client = Http2::client(gateway.connect(), &[]);
        let living = client.get("/living");
        assert!(matches!(client.told(), Told::Head(it, _, false) if it == living));
        let (dead, silent) = (client.get("/dead"), client.post("/silent"));
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 3.0);
        let (tell, told) = channel();
        gateway.handle().order(0, move |core| {
            let _ = tell.send(core.now);
        });
        let began = told.recv().expect("an instant");
        // As if half a minute had passed, again and again.
        let half_a_minute = |step: u64| {
            let now = began.after(Duration::from_secs(31 * step));
            gateway.handle().order(0, move |core| core.tick(now));
        };
        for step in 1..=10 {
            half_a_minute(step);
            let event = client.get("/event");
            assert_eq!(client.told(), Told::Data(living, b"event".to_vec(), false));
            assert_eq!(client.response(event).0, 200);
        }
        half_a_minute(11);
        let reasons = [(dead, 504), (silent, 408)];
        for (stream, status) in reasons {
            assert_eq!(client.response(stream).0, status);
        }
        // What is left of the body is not wanted.
        assert_eq!(client.told(), Told::Reset(silent, NO_ERROR));
        gateway.wait_for_metric("hangu_upstream_errors_total", &["stream_idle"], 2.0);
        let event = client.get("/event");
        assert_eq!(client.told(), Told::Data(living, b"event".to_vec(), false));
        assert_eq!(client.response(event).0, 200);
    }
}
