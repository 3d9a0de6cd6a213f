//! What a listener and a cluster take at most, over all workers, and what is tried again.

use std::time::{Duration, Instant};

use hangu_tests::{
    Peer, Upstream, bolt,
    http::{get, ok, post},
    upstream::{deaf_address, refused_address},
    wait,
};
use serde_json::json;

use crate::{reload::slow, support::Setup};

const ANSWERED: u16 = 200;
const BUSY: u16 = 503;

on_every_driver! {
    fn a_listener_takes_so_many_requests_at_once_over_all_workers(driver) {
        let (upstream, asked, go) = slow("x");
        let gateway = Setup::http(driver, upstream.address)
            .workers(2)
            .listener(json!({"requests_max": 2}))
            .start();
        let mut clients = [(); 3].map(|()| gateway.connect());
        for client in &mut clients[..2] {
            client.send(get("/"));
            asked.recv().expect("the request");
        }
        clients[2].send(get("/"));
        assert_eq!(clients[2].read_response("GET").status(), BUSY);
        let errors = "hangu_downstream_errors_total";
        gateway.wait_for_metric(errors, &["listener_requests_max"], 1.0);
        (0..2).for_each(|_| go.send(()).expect("the upstream waits"));
        for client in &mut clients[..2] {
            assert_eq!(client.read_response("GET").status(), ANSWERED);
        }
        clients[2].send(get("/"));
        asked.recv().expect("the request");
        go.send(()).expect("the upstream waits");
        assert_eq!(clients[2].read_response("GET").status(), ANSWERED);
    }

    fn a_cluster_takes_so_many_requests_at_once(driver) {
        let (upstream, asked, go) = slow("x");
        let gateway = Setup::http(driver, upstream.address).main(json!({"requests_max": 1})).start();
        let (mut one, mut other) = (gateway.connect(), gateway.connect());
        one.send(get("/"));
        asked.recv().expect("the request");
        other.send(get("/"));
        assert_eq!(other.read_response("GET").status(), BUSY);
        go.send(()).expect("the upstream waits");
        assert_eq!(one.read_response("GET").status(), ANSWERED);
        other.send(get("/"));
        asked.recv().expect("the request");
        go.send(()).expect("the upstream waits");
        assert_eq!(other.read_response("GET").status(), ANSWERED);
    }

    fn a_cluster_has_so_many_connections_over_all_workers(driver) {
        let (upstream, asked, go) = slow("x");
        let gateway = Setup::http(driver, upstream.address)
            .workers(2)
            .main(json!({"connections_max": 1}))
            .start();
        let mut clients = [(); 4].map(|()| gateway.connect());
        wait::until("each worker has clients", || gateway.handle().load() == [2, 2]);
        clients[0].send(get("/"));
        asked.recv().expect("the request");
        // Of the other three, one is on the worker with the connection and waits for it.
        for client in &mut clients[1..] {
            client.send(get("/"));
        }
        gateway.wait_for_metric("hangu_upstream_errors_total", &["cluster_connections_max"], 2.0);
        gateway.wait_for_metric("hangu_upstream_requests_pending", &[], 1.0);
        assert_eq!(upstream.accepted(), 1);
        (0..2).for_each(|_| go.send(()).expect("the upstream waits"));
        let mut statuses = clients.each_mut().map(|it| it.read_response("GET").status());
        statuses.sort_unstable();
        assert_eq!(statuses, [ANSWERED, ANSWERED, BUSY, BUSY]);
    }

    fn connections_come_no_faster_than_their_rate_and_none_is_refused(driver) {
        let upstream = Upstream::http_text("x");
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"accept_rate_max": 20}))
            .start();
        let began = Instant::now();
        let mut clients: Vec<_> = (0..12).map(|_| gateway.connect()).collect();
        for client in &mut clients {
            client.send(get("/"));
        }
        for client in &mut clients {
            assert_eq!(client.read_response("GET").status(), ANSWERED);
        }
        // Two or three may come at once; the others are 50 ms apart.
        let least = Duration::from_millis(50 * 8);
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    }

    fn a_request_that_meets_a_refused_connection_goes_to_another_endpoint(driver) {
        let upstream = Upstream::http_echo().0;
        let gateway = Setup::new(driver, &["http1"])
            .cluster("main", "http1", &[refused_address(), upstream.address, refused_address()])
            .main(json!({"retry": {"budget": {"min_per_second": 1000}}}))
            .start();
        let mut client = gateway.connect();
        for round in 0..9 {
            let body = format!("body of {round}");
            client.send(post("/", body.as_bytes()));
            let response = client.read_response("POST");
            assert_eq!((response.status(), response.text()), (ANSWERED, body));
        }
        assert!(gateway.metric("hangu_upstream_retries_total", &[]) > 0.0);
        assert_eq!(gateway.metric("hangu_upstream_requests_pending", &[]), 0.0);
    }

    fn a_call_that_meets_a_deaf_endpoint_goes_to_another_within_its_deadline(driver) {
        let (deaf, _kept) = deaf_address();
        let (upstream, _frames) = Upstream::bolt_echo();
        let gateway = Setup::new(driver, &["bolt"])
            .cluster("main", "bolt", &[deaf, upstream.address])
            .main(json!({"connect_timeout": "200ms"}))
            .start();
        let mut client = gateway.connect();
        for id in 1..=4 {
            let frame = bolt::request(id, "a.B:1.0", "m", &id.to_be_bytes());
            client.send_frame(&frame);
            assert_eq!(client.read_frame(), frame.echo());
        }
    }

    fn a_request_on_a_kept_connection_that_closes_is_repeated_if_nothing_can_happen_twice(driver) {
        for (request, partial, status) in [
            (get("/a?b=c").into_bytes(), "", ANSWERED),
            (post("/", b"").to_vec(), "", 502),
            (get("/").into_bytes(), "HTTP/1.1 200", 502),
        ] {
            let upstream = Upstream::serve(move |mut peer, number| {
                while let Some(request) = peer.try_read_request() {
                    if request.field("x-round") == Some("2") && number == 0 {
                        let _ = peer.try_send(partial);
                        return;
                    }
                    let _ = peer.try_send(ok(request.target().as_bytes()));
                }
            });
            let gateway = Setup::http(driver, upstream.address).start();
            let mut client = gateway.connect();
            client.send(get("/first"));
            assert_eq!(client.read_response("GET").text(), "/first");
            let text = String::from_utf8(request).expect("text");
            client.send(text.replacen("\r\n", "\r\nX-Round: 2\r\n", 1));
            let response = client.read_response("GET");
            assert_eq!(response.status(), status, "{text}");
            let is_repeated = status == ANSWERED;
            if is_repeated {
                assert_eq!(response.text(), "/a?b=c");
            }
            assert_eq!(gateway.metric("hangu_upstream_retries_total", &[]), f64::from(is_repeated));
            assert_eq!(gateway.metric("hangu_upstream_requests_active", &[]), 0.0);
            client.send(get("/after"));
            assert_eq!(client.read_response("GET").text(), "/after");
        }
    }

    fn further_tries_are_bounded_by_attempts_and_by_the_budget(driver) {
        let refused = [(); 4].map(|()| refused_address());
        let attempts = Setup::new(driver, &["http1"])
            .cluster("main", "http1", &refused)
            .main(json!({"retry": {"attempts_max": 2}}))
            .start();
        let mut client = attempts.connect();
        client.send(get("/"));
        assert_eq!(client.read_response("GET").status(), 502);
        assert_eq!(attempts.metric("hangu_upstream_retries_total", &[]), 2.0);
        let budget = json!({"percent": 0, "min_per_second": 0});
        let none = Setup::new(driver, &["http1"])
            .cluster("main", "http1", &refused)
            .main(json!({"retry": {"attempts_max": 2, "budget": budget}}))
            .start();
        let mut client = none.connect();
        client.send(get("/"));
        assert_eq!(client.read_response("GET").status(), 502);
        assert_eq!(none.metric("hangu_upstream_retries_total", &[]), 0.0);
    }

    fn a_stop_with_a_delay_goes_on_accepting_and_then_ends_in_order(driver) {
        let (upstream, asked, go) = slow("last");
        let mut setup = Setup::http(driver, upstream.address);
        setup.config["drain_delay"] = json!("300ms");
        let gateway = setup.start();
        let mut busy = gateway.connect();
        busy.send(get("/"));
        asked.recv().expect("the request");
        gateway.handle().stop(Duration::from_secs(20));
        assert!(gateway.handle().is_stopping());
        let mut late = gateway.connect();
        late.send(get("/"));
        asked.recv().expect("the request");
        let place = gateway.place();
        wait::until("nobody accepts there", || std::net::TcpStream::connect(place).is_err());
        (0..2).for_each(|_| go.send(()).expect("the upstream waits"));
        for client in [&mut busy, &mut late] {
            let response = client.read_response("GET");
            assert_eq!(response.text(), "last");
            assert_eq!(response.field("connection"), Some("close"));
            client.expect_end();
        }
        assert!(gateway.wait().death.is_none());
    }

    fn what_is_in_flight_at_the_deadline_of_a_stop_is_answered(driver) {
        let (web, asked, _go) = slow("never");
        let (rpc, calls) = Upstream::bolt(|_| Vec::new());
        let gateway = Setup::new(driver, &["http1", "bolt"])
            .cluster("web", "http1", &[web.address])
            .cluster("rpc", "bolt", &[rpc.address])
            .hosts(json!([
                {"name": "web", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]},
                {"name": "rpc", "services": ["*"], "routes": [{"match": {}, "route": {"cluster": "rpc"}}]},
            ]))
            .start();
        let (mut http, mut bolt) = (gateway.connect(), gateway.connect());
        http.send(get("/"));
        bolt.send_frame(&bolt::request(7, "a.B:1.0", "m", b"x"));
        asked.recv().expect("the request");
        calls.recv().expect("the call");
        gateway.into_gateway().stop(Duration::from_millis(100)).expect("no worker died");
        assert_eq!(http.read_response("GET").status(), BUSY);
        assert_eq!(bolt.read_frame().id, 7);
        http.expect_end();
        bolt.expect_end();
    }

    fn a_connection_that_queued_when_the_listener_closed_is_served(driver) {
        let upstream = Upstream::http_text("served");
        let gateway = Setup::http(driver, upstream.address).start();
        let place = gateway.place();
        // The worker is busy while the clients come and the stop is ordered.
        let (busy, is_busy) = std::sync::mpsc::channel();
        let (free, may_go) = std::sync::mpsc::channel::<()>();
        assert!(gateway.handle().order(0, move |_| {
            let _ = busy.send(());
            let _ = may_go.recv_timeout(Duration::from_secs(20));
        }));
        is_busy.recv().expect("the worker took the order");
        let mut clients: Vec<_> = (0..20).map(|_| Peer::connect(place)).collect();
        for client in &mut clients {
            client.send(get("/"));
        }
        gateway.handle().stop(Duration::from_secs(20));
        free.send(()).expect("the worker waits");
        for client in &mut clients {
            assert_eq!(client.read_response("GET").text(), "served");
            client.expect_end();
        }
        assert!(gateway.wait().death.is_none());
    }
}
