//! Another configuration is taken on while requests are in flight.

use std::{net::TcpListener, sync::mpsc, time::Duration};

use hangu::start::{Applied, ApplyError};
use hangu_tests::{
    Peer, Upstream,
    bolt::{self, Kind},
    http::{get, ok},
    upstream::refused_address,
    wait,
};
use serde_json::json;

use crate::support::{DriverKind, Setup};

/// An HTTP server that answers a request only when it is told to, and the teller.
pub(crate) fn slow(text: &'static str) -> (Upstream, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (asked, is_asked) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    let upstream = Upstream::serve(move |mut peer, _| {
        while peer.try_read_request().is_some() {
            let _ = asked.send(());
            let told = may_go.lock().expect("no poison").recv_timeout(Duration::from_secs(20));
            if told.is_err() || peer.try_send(ok(text.as_bytes())).is_err() {
                break;
            }
        }
    });
    (upstream, is_asked, go)
}

on_every_driver! {
    fn requests_in_flight_end_as_they_began_and_the_next_ones_go_the_new_way(driver) {
        let (old, asked, go) = slow("old");
        let new = Upstream::http_text("new");
        let setup = Setup::http(driver, old.address).cluster("other", "http1", &[new.address]);
        let gateway = setup.clone().workers(2).start();
        let (mut busy, mut idle) = (gateway.connect(), gateway.connect());
        busy.send(get("/"));
        asked.recv().expect("the request");
        let mut next = setup.workers(2);
        next.config["route_configs"][0]["virtual_hosts"][0]["routes"][0]["route"] =
            json!({"cluster": "other"});
        let applied = gateway.handle().apply(next.load()).expect("it is applied");
        assert_eq!(applied, Applied { listeners_opened: vec![], listeners_closed: vec![] });
        idle.send(get("/"));
        assert_eq!(idle.read_response("GET").text(), "new");
        go.send(()).expect("the upstream waits");
        assert_eq!(busy.read_response("GET").text(), "old");
        busy.send(get("/"));
        assert_eq!(busy.read_response("GET").text(), "new");
        assert_eq!(gateway.metric("hangu_downstream_connections_total", &[]), 2.0);
        assert_eq!(gateway.metric("hangu_upstream_requests_active", &[]), 0.0);
    }

    fn a_listener_that_is_left_out_ends_its_connections_in_their_protocol(driver) {
        let (upstream, asked, go) = slow("last");
        let mut setup = Setup::http(driver, upstream.address);
        let kept = json!({"name": "kept", "address": "127.0.0.1:0", "protocols": ["http1"],
            "route_config": "routes"});
        setup.config["listeners"].as_array_mut().expect("a list").push(kept);
        let gateway = setup.clone().start();
        let place = gateway.place();
        let (mut busy, mut idle) = (gateway.connect(), gateway.connect());
        let mut other = Peer::connect(gateway.address("kept").expect("the listener"));
        busy.send(get("/"));
        asked.recv().expect("the request");
        gateway.wait_for_metric("hangu_downstream_connections_active", &[], 3.0);
        setup.config["listeners"].as_array_mut().expect("a list").remove(0);
        let applied = gateway.handle().apply(setup.load()).expect("it is applied");
        assert_eq!((applied.listeners_opened, applied.listeners_closed), (vec![], vec!["in".to_owned()]));
        idle.expect_end();
        go.send(()).expect("the upstream waits");
        let response = busy.read_response("GET");
        assert_eq!((response.text().as_str(), response.field("connection")), ("last", Some("close")));
        busy.expect_end();
        wait::until("nobody accepts there", || std::net::TcpStream::connect(place).is_err());
        other.send(get("/"));
        asked.recv().expect("the request");
        go.send(()).expect("the upstream waits");
        assert_eq!(other.read_response("GET").text(), "last");
    }

    fn a_new_listener_accepts_and_one_that_cannot_be_bound_changes_nothing(driver) {
        let upstream = Upstream::http_text("x");
        let setup = Setup::http(driver, upstream.address).workers(2);
        let gateway = setup.clone().start();
        let mut client = gateway.connect();
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listener = |address: String| json!({"name": "more", "address": address,
            "protocols": ["http1"], "route_config": "routes"});
        let with = |address: String| {
            let mut setup = setup.clone();
            setup.config["listeners"].as_array_mut().expect("a list").push(listener(address));
            setup.config["route_configs"][0]["virtual_hosts"][0]["routes"] =
                json!([{"match": {"path": "/new"}, "route": {"cluster": "main"}}]);
            setup.load()
        };
        let address = taken.local_addr().expect("an address").to_string();
        let refused = gateway.handle().apply(with(address));
        assert!(matches!(refused, Err(ApplyError::Bind(_))), "{refused:?}");
        client.send(get("/old"));
        assert_eq!(client.read_response("GET").status(), 200);
        gateway.handle().apply(with("127.0.0.1:0".to_owned())).expect("it is applied");
        for _ in 0..8 {
            let mut more = Peer::connect(gateway.address("more").expect("the listener"));
            more.send(get("/new"));
            assert_eq!(more.read_response("GET").status(), 200);
        }
        client.send(get("/old"));
        assert_eq!(client.read_response("GET").status(), 404);
        assert_eq!(gateway.metric("hangu_downstream_requests_total", &["listener=\"in\""]), 2.0);
    }

    fn a_listener_that_speaks_something_else_keeps_its_address_and_nobody_is_refused(driver) {
        let upstream = Upstream::http_text("web");
        let (rpc, _frames) = Upstream::bolt_echo();
        let address = refused_address().to_string();
        let setup = |protocols: &[&str], name: &str| {
            Setup::new(driver, protocols)
                .cluster("main", "http1", &[upstream.address])
                .cluster("rpc", "bolt", &[rpc.address])
                .hosts(json!([
                    {"name": "web", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "main"}}]},
                    {"name": "rpc", "services": ["*"], "routes": [{"match": {}, "route": {"cluster": "rpc"}}]},
                ]))
                .workers(2)
                .listener(json!({"address": address, "name": name}))
        };
        let gateway = setup(&["http1"], "in").start();
        let place = gateway.place();
        let mut old = gateway.connect();
        old.send(get("/"));
        assert_eq!(old.read_response("GET").text(), "web");
        for (round, name) in ["in", "other", "in"].into_iter().enumerate() {
            let protocols: &[&str] = if round == 1 { &["http1"] } else { &["http1", "bolt"] };
            gateway.handle().apply(setup(protocols, name).load()).expect("it is applied");
            assert_eq!(gateway.address(name), Some(place));
            for _ in 0..6 {
                let mut client = Peer::connect(place);
                client.send(get("/"));
                assert_eq!(client.read_response("GET").text(), "web");
            }
        }
        old.expect_end();
        let mut client = Peer::connect(place);
        client.send_frame(&bolt::request(1, "a.B:1.0", "m", b"x"));
        assert_eq!(client.read_frame().id, 1);
        let mut none = setup(&["http1"], "in");
        none.config["listeners"][0]["address"] = json!("127.0.0.1:0");
        gateway.handle().apply(none.load()).expect("it is applied");
        gateway.handle().apply(setup(&["http1"], "in").load()).expect("the address is free again");
    }

    fn sockets_get_their_options_and_new_ones_with_a_new_configuration(driver) {
        let upstream = Upstream::http_text("x");
        let setup = Setup::http(driver, upstream.address);
        let gateway = setup.clone().start();
        let times = |gateway: &crate::support::Running| {
            let mut client = gateway.connect();
            client.send(get("/"));
            assert_eq!(client.read_response("GET").status(), 200);
            let (tell, told) = mpsc::channel();
            assert!(gateway.handle().order(0, move |core| {
                let options = core.connections.iter().map(|(_, it)| it.socket.options());
                let _ = tell.send(options.collect::<Vec<_>>());
            }));
            (told.recv().expect("an answer"), client)
        };
        let (options, client) = times(&gateway);
        let default = Some((Duration::from_secs(90), true));
        assert_eq!(options, [default, default]);
        drop(client);
        gateway.wait_for_metric("hangu_downstream_connections_active", &[], 0.0);
        let tcp = json!({"user_timeout": "5s", "keepalive": {"enabled": false}});
        let next = setup.listener(json!({"tcp": tcp})).main(json!({"tcp": tcp}));
        gateway.handle().apply(next.load()).expect("it is applied");
        let (options, _client) = times(&gateway);
        assert!(options.contains(&Some((Duration::from_secs(5), false))), "{options:?}");
    }

    fn connections_to_endpoints_that_stay_are_kept_and_the_others_end_when_they_are_idle(driver) {
        let [one, two, three] = [(); 3].map(|()| Upstream::bolt_echo());
        let setup = Setup::new(driver, &["bolt"])
            .cluster("main", "bolt", &[one.0.address, two.0.address]);
        let gateway = setup.start();
        let mut client = gateway.connect();
        let mut call = |id: u32| {
            client.send_frame(&bolt::request(id, "a.B:1.0", "m", b"x"));
            assert_eq!(client.read_frame().id, id);
        };
        (1..=2).for_each(&mut call);
        assert_eq!((one.0.open(), two.0.open()), (1, 1));
        let next = Setup::new(driver, &["bolt"])
            .cluster("main", "bolt", &[three.0.address, two.0.address]);
        gateway.handle().apply(next.load()).expect("it is applied");
        wait::until("the connection to the endpoint that left is closed", || one.0.open() == 0);
        (3..=6).for_each(&mut call);
        assert_eq!((two.0.accepted(), two.0.open(), three.0.open()), (1, 1, 1));
        let requests = |upstream: &(Upstream, mpsc::Receiver<bolt::Frame>)| {
            upstream.1.try_iter().filter(|it| it.kind == Kind::Request).count()
        };
        assert_eq!([&one, &two, &three].map(requests), [1, 3, 2]);
        assert_eq!(gateway.metric("hangu_endpoint_requests_total", &[]), 5.0);
        assert_eq!(gateway.metric("hangu_upstream_requests_total", &[]), 6.0);
    }

    fn an_endpoint_that_drains_gets_no_new_requests_and_ends_those_it_has(driver) {
        let (upstream, asked, go) = slow("first");
        let other = Upstream::http_text("second");
        let setup = Setup::new(driver, &["http1"])
            .cluster("main", "http1", &[upstream.address, other.address]);
        let gateway = setup.start();
        let mut clients = [(); 2].map(|()| gateway.connect());
        clients.iter_mut().for_each(|it| it.send(get("/")));
        asked.recv().expect("the request");
        assert_eq!(gateway.handle().set_draining("main", upstream.address, true), Ok(true));
        assert_eq!(gateway.handle().set_draining("main", "127.0.0.1:1".parse().expect("one"), true), Ok(false));
        go.send(()).expect("the upstream waits");
        let mut texts = clients.each_mut().map(|it| it.read_response("GET").text());
        texts.sort();
        assert_eq!(texts, ["first", "second"]);
        wait::until("its connection is closed", || upstream.open() == 0);
        for client in &mut clients {
            client.send(get("/"));
            assert_eq!(client.read_response("GET").text(), "second");
        }
        assert_eq!(gateway.handle().set_draining("main", upstream.address, false), Ok(true));
        assert_eq!(gateway.handle().set_draining("main", other.address, true), Ok(true));
        go.send(()).expect("the upstream waits");
        wait::until("it gets requests again", || {
            clients[0].send(get("/"));
            clients[0].read_response("GET").text() == "first"
        });
    }
}

#[test]
fn nothing_is_changed_while_all_is_on_its_way_to_another_process() {
    let (upstream, _requests) = Upstream::http_echo();
    let gateway = Setup::http(DriverKind::Epoll, upstream.address).start();
    let config = (*gateway.handle().snapshot().config).clone();
    gateway.handle().refuse_changes(true);
    let refused = gateway.handle().apply(config.clone()).expect_err("it is refused");
    assert!(refused.to_string().contains("try again"), "{refused}");
    assert!(gateway.handle().set_draining("main", upstream.address, true).is_err());
    gateway.handle().refuse_changes(false);
    assert_eq!(gateway.handle().set_draining("main", upstream.address, true), Ok(true));
    gateway.handle().apply(config).expect("it is applied");
}
