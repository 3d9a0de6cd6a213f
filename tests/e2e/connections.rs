//! Connections as such: which protocol, which worker, how many, how long.

use std::time::Duration;

use hangu_tests::{
    Peer, Upstream, bolt,
    http::{get, ok},
    wait,
};
use serde_json::json;

use crate::support::Setup;

on_every_driver! {
    fn one_port_takes_both_protocols_however_slowly_the_first_bytes_come(driver) {
        let http = Upstream::http_text("web");
        let (rpc, _frames) = Upstream::bolt_echo();
        let gateway = Setup::new(driver, &["http1", "bolt"])
            .cluster("web", "http1", &[http.address])
            .cluster("rpc", "bolt", &[rpc.address])
            .hosts(json!([
                {"name": "web", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]},
                {"name": "rpc", "services": ["*"], "routes": [{"match": {}, "route": {"cluster": "rpc"}}]},
            ]))
            .start();
        let silent: Vec<_> = (0..5).map(|_| gateway.connect()).collect();
        let frame = bolt::request(1, "a.B:1.0", "m", b"x");
        for is_slow in [false, true] {
            let (mut web, mut rpc) = (gateway.connect(), gateway.connect());
            gateway.wait_for_metric("hangu_downstream_connections_active", &[], 7.0);
            if is_slow {
                web.send_byte_by_byte(get("/"));
                rpc.send_byte_by_byte(frame.to_bytes());
            } else {
                web.send(get("/"));
                rpc.send(frame.to_bytes());
            }
            assert_eq!(web.read_response("GET").text(), "web");
            assert_eq!(rpc.read_frame(), frame.echo());
            drop((web, rpc));
            gateway.wait_for_metric("hangu_downstream_connections_active", &[], 5.0);
        }
        drop(silent);
    }

    fn first_bytes_of_no_known_protocol_end_the_connection(driver) {
        let (upstream, _frames) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        for bytes in [[0xff; 64], [b'G'; 64], [0; 64]] {
            let mut client = gateway.connect();
            client.send(bytes);
            client.expect_end();
        }
    }

    fn a_connection_that_says_nothing_is_closed(driver) {
        let upstream = Upstream::http_text("x");
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"timeouts": {"request_head": "100ms", "idle": "100ms"}}))
            .start();
        let mut client = gateway.connect();
        client.read_to_end();
        // And one that was used before.
        let mut client = gateway.connect();
        client.send(get("/"));
        assert_eq!(client.read_response("GET").status(), 200);
        client.expect_end();
    }

    fn a_connection_that_waited_long_for_an_answer_idles_no_longer_than_others(driver) {
        let (deaf, _full) = hangu_tests::upstream::deaf_address();
        let gateway = Setup::http(driver, deaf)
            .listener(json!({"timeouts": {"request_head": "50ms", "idle": "50ms"}}))
            .timeout("200ms")
            .start();
        let mut client = gateway.connect();
        client.send(get("/"));
        assert_eq!(client.read_response("GET").status(), 504);
        client.expect_end();
    }

    fn connections_are_even_over_the_workers(driver) {
        let upstream = Upstream::http_text("x");
        let gateway = Setup::http(driver, upstream.address).workers(2).start();
        let mut clients = Vec::new();
        for _ in 0..60 {
            let mut client = gateway.connect();
            client.send(get("/"));
            assert_eq!(client.read_response("GET").status(), 200);
            clients.push(client);
        }
        wait::until("30 connections on each of two workers, two more or less", || {
            let load = gateway.handle().load();
            assert_eq!(load.len(), 2);
            load.iter().sum::<usize>() == 60 && load.iter().all(|it| (28..=32).contains(it))
        });
    }

    fn two_workers_serve_many_clients_at_once(driver) {
        let (rpc, _frames) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, rpc.address).workers(2).start();
        let place = gateway.place();
        let clients: Vec<_> = (0..8u32)
            .map(|number| {
                std::thread::spawn(move || {
                    let mut client = Peer::connect(place);
                    for id in 0..200u32 {
                        let content = format!("{number}/{id}");
                        let sent = bolt::request(id, "a.B:1.0", "m", content.as_bytes());
                        client.send_frame(&sent);
                        assert_eq!(client.read_frame(), sent.echo());
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().expect("all its answers are right");
        }
        assert!(rpc.accepted() <= 2, "one upstream connection per worker, not {}", rpc.accepted());
    }

    fn connections_beyond_the_limit_are_closed_and_those_within_serve_on(driver) {
        let upstream = Upstream::http_text("x");
        let gateway =
            Setup::http(driver, upstream.address).listener(json!({"connections_max": 3})).start();
        let mut within: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
        gateway.wait_for_metric("hangu_downstream_connections_active", &[], 3.0);
        let mut beyond = gateway.connect();
        beyond.read_to_end();
        for client in &mut within {
            client.send(get("/"));
            assert_eq!(client.read_response("GET").status(), 200);
        }
        within.pop();
        gateway.wait_for_metric("hangu_downstream_connections_active", &[], 2.0);
        let mut next = gateway.connect();
        next.send(get("/"));
        assert_eq!(next.read_response("GET").status(), 200);
    }

    fn a_graceful_stop_lets_requests_in_flight_end(driver) {
        let (asked_at, asked) = std::sync::mpsc::channel();
        let (answer, answered) = std::sync::mpsc::channel::<()>();
        let answered = std::sync::Mutex::new(answered);
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.read_request();
            asked_at.send(()).expect("the test waits");
            answered.lock().expect("no poison").recv().expect("the word to answer");
            peer.send(ok(b"in time"));
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let place = gateway.place();
        let mut idle = gateway.connect();
        let mut client = gateway.connect();
        client.send(get("/"));
        asked.recv().expect("the upstream is asked");
        gateway.handle().stop(Duration::from_secs(20));
        let stopping = std::thread::spawn({
            let gateway = gateway.into_gateway();
            move || gateway.stop(Duration::from_secs(20))
        });
        idle.expect_end();
        wait::until("no new connection is accepted", || {
            std::net::TcpStream::connect_timeout(&place, Duration::from_millis(200)).is_err()
        });
        answer.send(()).expect("the upstream waits");
        let response = client.read_response("GET");
        assert_eq!((response.status(), response.text()), (200, "in time".to_owned()));
        assert_eq!(response.field("connection").map(str::to_lowercase), Some("close".into()));
        client.expect_end();
        stopping.join().expect("it stops").expect("no worker died");
    }

    fn the_grace_of_a_stop_has_an_end(driver) {
        let (asked_at, asked) = std::sync::mpsc::channel();
        let upstream = Upstream::serve(move |mut peer, _| {
            peer.read_request();
            asked_at.send(()).expect("the test waits");
            peer.read_to_end();
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send(get("/"));
        asked.recv().expect("the upstream is asked");
        gateway.into_gateway().stop(Duration::from_millis(100)).expect("no worker died");
        client.read_to_end();
    }

    fn a_panic_costs_the_connection_that_caused_it_and_no_other(driver) {
        let upstream = Upstream::http_text("x");
        let gateway = Setup::http(driver, upstream.address).start();
        let mut other = gateway.connect();
        for round in 1..=3 {
            let mut client = gateway.connect();
            client.send("GET / HTTP/1.1\r\nHost: t\r\nx-hangu-test-panic: now\r\n\r\n");
            client.read_to_end();
            gateway.wait_for_metric("hangu_worker_panics_total", &[], f64::from(round));
            other.send(get("/"));
            assert_eq!(other.read_response("GET").status(), 200);
        }
    }

    fn a_worker_that_dies_is_reported_so_that_the_process_can_end(driver) {
        let upstream = Upstream::http_text("x");
        let gateway = Setup::http(driver, upstream.address).workers(2).start().into_gateway();
        assert!(gateway.handle().order(1, |core| core.test_dies = true));
        let ended = gateway.wait();
        assert_eq!(ended.worker, 1);
        assert!(ended.death.is_some_and(|it| it.contains("a test asked for this death")));
        // The other worker still stops in order.
        gateway.stop(std::time::Duration::ZERO).expect("the death was taken by wait");
    }

    fn an_upstream_connection_without_a_request_is_closed_in_time(driver) {
        let upstream = Upstream::http_text("x");
        let gateway =
            Setup::http(driver, upstream.address).main(json!({"idle_timeout": "200ms"})).start();
        let mut client = gateway.connect();
        for round in 1..=2 {
            client.send(get("/"));
            assert_eq!(client.read_response("GET").status(), 200);
            assert_eq!(upstream.accepted(), round);
            wait::until("the idle connection is closed", || upstream.open() == 0);
        }
    }

    fn heartbeats_keep_no_upstream_connection_that_nobody_uses(driver) {
        let (upstream, seen) = Upstream::bolt_echo();
        let times = json!({"rpc": {"heartbeat_interval": "50ms", "heartbeat_timeout": "5s"}});
        let gateway = Setup::bolt(driver, upstream.address)
            .main(json!({"idle_timeout": "500ms", "limits": times}))
            .start();
        let mut client = gateway.connect();
        client.send_frame(&bolt::request(1, "demo.A:1.0", "echo", b"x"));
        assert_eq!(client.read_frame().id, 1);
        wait::until("the idle connection is closed", || upstream.open() == 0);
        let heartbeats = seen.try_iter().filter(|it| it.kind == bolt::Kind::Heartbeat).count();
        assert!(heartbeats > 0, "no heartbeat was sent");
        client.send_frame(&bolt::request(2, "demo.A:1.0", "echo", b"x"));
        assert_eq!((client.read_frame().id, upstream.accepted()), (2, 2));
    }
}
