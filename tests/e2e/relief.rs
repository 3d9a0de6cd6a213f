//! Workers are replaced by others while requests are in flight, for a configuration wants another
//! number of them, another driver or another access log.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use hangu::start::{ApplyError, ReliefError, StartError};
use hangu_tests::{
    Peer, Upstream, bolt,
    http::{get, ok, post},
    wait,
};
use serde_json::{Value, json};

use super::reload::slow;
use crate::support::{DriverKind, Running, Setup};

/// Clients that ask one request after the other on one connection each, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn of(count: usize, place: SocketAddr, ask: fn(&mut Peer, u32)) -> Self {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |_| {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            std::thread::spawn(move || {
                let mut peer = Peer::connect(place);
                for number in 1.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    ask(&mut peer, number);
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let clients = (0..count).map(client).collect();
        Self { stop, asked, clients }
    }

    /// Waits until every client was answered some more times.
    fn wait_for_more(&self) {
        let asked = self.asked.load(Ordering::SeqCst);
        let enough = asked + 10 * self.clients.len();
        wait::until("clients are served", || self.asked.load(Ordering::SeqCst) >= enough);
    }

    /// Stops; how many requests were answered, each as it had to be.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.into_iter().for_each(|it| it.join().expect("every answer came"));
        self.asked.load(Ordering::SeqCst)
    }
}

fn ask_http(peer: &mut Peer, number: u32) {
    let body = format!("number {number}");
    peer.send(post("/", body.as_bytes()));
    let response = peer.read_response("POST");
    assert_eq!((response.status(), response.text()), (200, body));
}

/// Several at once, so that some are in flight at any time.
fn ask_bolt(peer: &mut Peer, number: u32) {
    let ids = [number * 3, number * 3 + 1, number * 3 + 2];
    for id in ids {
        peer.send_frame(&bolt::request(id, "a.B:1.0", "m", &id.to_le_bytes()));
    }
    let mut answers: Vec<_> = ids.map(|_| peer.read_frame()).into();
    answers.sort_by_key(|it| it.id);
    for (id, answer) in ids.into_iter().zip(answers) {
        assert_eq!((answer.id, &answer.content[..]), (id, &id.to_le_bytes()[..]));
    }
}

/// The same gateway with other values of the process.
fn with(setup: &Setup, members: &Value) -> Setup {
    let mut next = setup.clone();
    let Value::Object(members) = members else { panic!("no object: {members}") };
    for (name, value) in members {
        next.config[name] = value.clone();
    }
    next
}

/// Descriptors of this process for the gateway's end of a connection.
fn descriptors_of(client: &Peer) -> usize {
    let (own, other) = (client.remote(), client.local());
    let hex = |it: SocketAddr| format!("0100007F:{:04X}", it.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
    let line = table.lines().find(|it| {
        let mut columns = it.split_whitespace().skip(1);
        columns.next() == Some(&hex(own)) && columns.next() == Some(&hex(other))
    });
    let inode = line.and_then(|it| it.split_whitespace().nth(9)).expect("the connection");
    let name = PathBuf::from(format!("socket:[{inode}]"));
    let entries = std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
    entries.filter(|it| std::fs::read_link(it.path()).is_ok_and(|it| it == name)).count()
}

fn rpc_and_http(driver: DriverKind, http: SocketAddr, rpc: SocketAddr) -> Setup {
    Setup::new(driver, &["http1", "bolt"])
        .cluster("main", "http1", &[http])
        .cluster("rpc", "bolt", &[rpc])
        .hosts(json!([
            {"name": "web", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "main"}}]},
            {"name": "rpc", "services": ["*"], "routes": [{"match": {}, "route": {"cluster": "rpc"}}]},
        ]))
}

/// Counters that must never fall.
fn counters(gateway: &Running) -> [f64; 5] {
    [
        "hangu_downstream_requests_total",
        "hangu_downstream_connections_total",
        "hangu_upstream_connections_total",
        "hangu_rpc_requests_total",
        "hangu_upstream_request_duration_seconds_count",
    ]
    .map(|name| gateway.metric(name, &[]))
}

fn kinds(gateway: &Running) -> Vec<DriverKind> {
    gateway.drivers().into_iter().map(|it| it.0).collect()
}

on_every_driver! {
    fn another_number_of_workers_and_another_driver_cost_no_request_and_no_connection(driver) {
        let (http, requests) = Upstream::http_echo();
        let (rpc, frames) = Upstream::bolt_echo();
        let requests = std::thread::spawn(move || requests.iter().count());
        let frames = std::thread::spawn(move || frames.iter().count());
        let setup = rpc_and_http(driver, http.address, rpc.address);
        let gateway = setup.clone().start();
        let mut idle = gateway.connect();
        let (web, calls) = (Load::of(6, gateway.place(), ask_http), Load::of(6, gateway.place(), ask_bolt));
        let mut before = [0.0; 5];
        let steps = [
            json!({"workers": 3}),
            json!({"workers": 2}),
            json!({"workers": 2, "driver": "epoll"}),
            json!({"workers": 1, "driver": "auto"}),
            json!({"workers": 3, "driver": "auto", "metrics": {"rpc": {"series_max": 7}}}),
        ];
        for step in &steps {
            web.wait_for_more();
            calls.wait_for_more();
            gateway.handle().apply(with(&setup, step).load()).expect("it is applied");
            assert_eq!(Some(kinds(&gateway).len() as u64), step["workers"].as_u64());
            assert_eq!(gateway.handle().load().iter().sum::<usize>(), 13, "{step}");
            if step["driver"] == "epoll" {
                assert_eq!(kinds(&gateway), [DriverKind::Epoll; 2]);
            }
            let after = counters(&gateway);
            assert!(before.iter().zip(&after).all(|(old, new)| old <= new), "{before:?} {after:?}");
            before = after;
        }
        let asked = web.end() + calls.end() * 3;
        idle.send(get("/"));
        assert_eq!(idle.read_response("GET").status(), 200);
        wait::until("only one descriptor of the connection is left", || descriptors_of(&idle) == 1);
        gateway.wait_for_metric("hangu_downstream_requests_total", &[], asked as f64 + 1.0);
        gateway.wait_for_metric("hangu_downstream_requests_active", &[], 0.0);
        gateway.wait_for_metric("hangu_downstream_connections_active", &[], 1.0);
        assert_eq!(gateway.metric("hangu_downstream_connections_total", &[]), 13.0);
        assert_eq!(gateway.metric("hangu_gateway_replies_total", &[]), 0.0);
        drop(gateway);
        drop((http, rpc));
        // Each request came to an upstream once.
        assert_eq!(requests.join().expect("counted") + frames.join().expect("counted"), asked + 1);
    }

    fn requests_in_flight_are_answered_by_the_new_workers(driver) {
        let (upstream, asked, go) = slow("late");
        let setup = Setup::http(driver, upstream.address);
        let gateway = setup.clone().start();
        let mut clients: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
        for client in &mut clients {
            client.send(get("/"));
            asked.recv().expect("the request");
        }
        for workers in [3, 1, 2] {
            gateway.handle().apply(setup.clone().workers(workers).load()).expect("it is applied");
        }
        assert_eq!(gateway.metric("hangu_upstream_requests_active", &[]), 4.0);
        clients.iter().for_each(|_| go.send(()).expect("the upstream waits"));
        for client in &mut clients {
            assert_eq!(client.read_response("GET").text(), "late");
        }
        assert_eq!(upstream.accepted(), 4);
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 0.0);
        let mut gone = clients.pop().expect("a client");
        gone.finish();
        gone.expect_end();
        wait::until("one connection less", || gateway.handle().load().iter().sum::<usize>() == 3);
    }

    fn a_client_that_does_not_read_gets_all_when_it_does(driver) {
        // More than the kernel and the gateway hold between them.
        let body = vec![b'x'; 16_000_000];
        let upstream = Upstream::http({
            let answer = ok(&body);
            move |_| answer.clone()
        }).0;
        let setup = Setup::http(driver, upstream.address);
        let gateway = setup.clone().start();
        let mut client = Peer::connect_with_buffer(gateway.place(), 16 * 1024);
        client.send(get("/"));
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 1.0);
        for workers in [2, 1] {
            gateway.handle().apply(setup.clone().workers(workers).load()).expect("it is applied");
        }
        assert!(client.read_response("GET").body == body);
        client.send(get("/"));
        assert!(client.read_response("GET").body == body);
        wait::until("only one descriptor of the connection is left", || descriptors_of(&client) == 1);
    }

    fn what_travels_between_workers_arrives(driver) {
        let (upstream, _frames) = Upstream::bolt_echo();
        let setup = Setup::bolt(driver, upstream.address).main(json!({"share_connections": true}));
        let gateway = setup.clone().workers(3).start();
        let calls = Load::of(9, gateway.place(), ask_bolt);
        for workers in [2, 4, 1, 3] {
            calls.wait_for_more();
            gateway.handle().apply(setup.clone().workers(workers).load()).expect("it is applied");
        }
        calls.wait_for_more();
        let asked = calls.end() * 3;
        gateway.wait_for_metric("hangu_downstream_requests_total", &[], asked as f64);
        assert_eq!(gateway.metric("hangu_gateway_replies_total", &[]), 0.0);
    }

    fn new_connections_come_to_all_workers_and_none_is_refused(driver) {
        let upstream = Upstream::http_text("x");
        let setup = Setup::http(driver, upstream.address);
        let gateway = setup.clone().workers(3).start();
        for workers in [1, 3] {
            gateway.handle().apply(setup.clone().workers(workers).load()).expect("it is applied");
            let mut clients: Vec<_> = (0..12).map(|_| gateway.connect()).collect();
            for client in &mut clients {
                client.send(get("/"));
                assert_eq!(client.read_response("GET").text(), "x");
            }
            assert_eq!(gateway.handle().load(), vec![12 / workers; workers]);
            drop(clients);
            gateway.wait_for_metric("hangu_downstream_connections_active", &[], 0.0);
        }
    }

    fn every_request_is_logged_once_wherever_the_log_goes(driver) {
        let place = std::env::temp_dir().join(format!("hangu-relief-{driver}-{}", std::process::id()));
        std::fs::create_dir_all(&place).expect("a directory");
        let upstream = Upstream::http_text("x");
        let setup = Setup::http(driver, upstream.address);
        let log = |name: &str, more: Value| {
            let path = place.join(name).display().to_string();
            let mut log = json!({"path": path});
            if let Value::Object(more) = more {
                more.into_iter().for_each(|(key, value)| log[key] = value);
            }
            with(&setup, &json!({"access_log": log}))
        };
        let gateway = log("one", json!({})).start();
        let mut client = gateway.connect();
        let mut ask = |target: &str| {
            client.send(get(target));
            assert_eq!(client.read_response("GET").status(), 200);
        };
        ask("/1");
        let steps = [
            ("/2", log("two", json!({}))),
            ("/3", log("two", json!({"format": "%{method} %{path}"}))),
            ("/4", setup.clone()),
            ("/5", log("one", json!({}))),
        ];
        for (target, step) in &steps {
            gateway.handle().apply(step.load()).expect("it is applied");
            ask(target);
        }
        gateway.wait_for_metric("hangu_access_log_records_total", &[], 4.0);
        drop(gateway);
        let read = |name: &str| std::fs::read_to_string(place.join(name)).expect("the log");
        let (one, two) = (read("one"), read("two"));
        let _ = std::fs::remove_dir_all(&place);
        assert_eq!((one.lines().count(), two.lines().count()), (2, 2), "{one}\n{two}");
        assert!(one.contains("\"/1\"") && one.contains("\"/5\""), "{one}");
        assert!(two.contains("\"/2\"") && two.lines().any(|it| it == "GET /3"), "{two}");
    }

    fn a_change_that_fails_changes_nothing(driver) {
        let (upstream, asked, go) = slow("still there");
        let setup = Setup::http(driver, upstream.address).workers(2);
        let gateway = setup.clone().start();
        let mut client = gateway.connect();
        client.send(get("/"));
        asked.recv().expect("the request");
        let mut wrong = with(&setup, &json!({
            "workers": 3,
            "access_log": {"path": "/nowhere/at/all/access.log"},
        }));
        wrong.config["route_configs"][0]["virtual_hosts"][0]["routes"] =
            json!([{"match": {"path": "/new"}, "route": {"cluster": "main"}}]);
        let refused = gateway.handle().apply(wrong.load());
        assert!(
            matches!(refused, Err(ApplyError::Relief(ReliefError::Start(StartError::AccessLog { .. })))),
            "{refused:?}"
        );
        let kept = gateway.handle().keep_workers();
        let busy = gateway.handle().apply(setup.clone().workers(3).load());
        assert!(matches!(busy, Err(ApplyError::Relief(ReliefError::Busy))), "{busy:?}");
        drop(kept);
        assert_eq!(gateway.handle().workers(), 2);
        go.send(()).expect("the upstream waits");
        assert_eq!(client.read_response("GET").text(), "still there");
        client.send(get("/old"));
        asked.recv().expect("the request");
        go.send(()).expect("the upstream waits");
        assert_eq!(client.read_response("GET").status(), 200);
    }

    fn what_was_learnt_of_endpoints_stays(driver) {
        let [one, two] = [Upstream::http_text("one"), Upstream::http_text("two")];
        let setup = Setup::new(driver, &["http1"])
            .cluster("main", "http1", &[one.address, two.address]);
        let gateway = setup.clone().start();
        assert_eq!(gateway.handle().set_draining("main", one.address, true), Ok(true));
        gateway.handle().apply(setup.workers(2).load()).expect("it is applied");
        for _ in 0..4 {
            let mut client = gateway.connect();
            client.send(get("/"));
            assert_eq!(client.read_response("GET").text(), "two");
        }
        assert_eq!(gateway.handle().set_draining("main", one.address, false), Ok(true));
        wait::until("the other one is asked again", || {
            let mut client = gateway.connect();
            client.send(get("/"));
            client.read_response("GET").text() == "one"
        });
    }
}

/// Not a matter of the driver: how long it takes to move very many connections.
#[test]
fn very_many_connections_move_within_a_moment() {
    const COUNT: usize = 2_000;
    let upstream = Upstream::http_text("x");
    let setup = Setup::http(DriverKind::Epoll, upstream.address).workers(2);
    let gateway = setup.clone().start();
    let mut clients: Vec<_> = (0..COUNT).map(|_| gateway.connect()).collect();
    wait::until("all are accepted", || gateway.handle().load().iter().sum::<usize>() == COUNT);
    gateway.handle().apply(setup.workers(3).load()).expect("it is applied");
    for client in clients.iter_mut().step_by(50) {
        client.send(get("/"));
        assert_eq!(client.read_response("GET").text(), "x");
    }
    wait::until("the old descriptors are closed", || descriptors_of(&clients[7]) == 1);
    drop(clients);
    gateway.wait_for_metric("hangu_downstream_connections_active", &[], 0.0);
}
