//! Endpoints as they are found out: by DNS where they are, by health checks whether they work.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use hangu_tests::{
    Peer, Upstream, bolt,
    bolt::Kind,
    dns::{Answer, NameServer},
    http::{get, ok},
    upstream::refused_address,
    wait,
};
use serde_json::{Value, json};

use crate::support::{DriverKind, Running, Setup};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn by_name(driver: DriverKind, server: &NameServer, names: Value) -> Setup {
    Setup::new(driver, &["http1"]).cluster("main", "http1", &[]).main(json!({
        "dns": {
            "names": names,
            "servers": [server.address.to_string()],
            "timeout": "200ms",
            "ttl_min": "50ms",
        },
    }))
}

fn ask(client: &mut Peer) -> (u16, String) {
    client.send(get("/"));
    let response = client.read_response("GET");
    (response.status(), response.text())
}

fn is_healthy(gateway: &Running, endpoint: SocketAddr) -> bool {
    let snapshot = gateway.handle().snapshot();
    let members = &snapshot.roster.clusters()[0].members;
    members.iter().find(|it| it.address == endpoint).expect("the endpoint").is_healthy
}

fn admin(address: SocketAddr, path: &str) -> (u16, String) {
    let mut client = Peer::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    let response = client.read_response("GET");
    (response.status(), response.text())
}

on_every_driver! {
    fn traffic_follows_the_addresses_that_a_service_has(driver) {
        let server = NameServer::start();
        let (one, two) = (Upstream::http_text("one"), Upstream::http_text("two"));
        let services = |all: &[&Upstream]| {
            let service = |it: &&Upstream| (1, 5, it.address.port(), "host.test".to_owned());
            let spare = (2, 5, 9, "spare.test".to_owned());
            Answer::Services(all.iter().map(service).chain([spare]).collect(), 0)
        };
        server.say("_http._tcp.test", services(&[&one]));
        server.say("host.test", Answer::Addresses(vec![LOOPBACK], 60));
        let names = json!([{"service": "_http._tcp.test", "labels": {"zone": "a"}}]);
        let gateway = by_name(driver, &server, names).start();
        let (_control, address) = gateway.control();
        wait::until("it is ready", || admin(address, "/ready").0 == 200);
        let mut client = gateway.connect();
        assert_eq!(ask(&mut client), (200, "one".to_owned()));
        server.say("_http._tcp.test", services(&[&two]));
        wait::until("the other endpoint answers", || ask(&mut client).1 == "two");
        wait::until("the connection to the first is closed", || one.open() == 0);
        // What was found stays, whatever becomes of the name.
        // RFC 2782: a host that is the root says that the service is not available.
        let unavailable = Answer::Services(vec![(0, 0, 0, ".".to_owned())], 0);
        for failure in [Answer::NoName, Answer::Garbage, Answer::Silence, unavailable] {
            let before = server.queries("_http._tcp.test");
            server.say("_http._tcp.test", failure);
            wait::until("it was asked", || server.queries("_http._tcp.test") > before + 1);
            assert_eq!(ask(&mut client), (200, "two".to_owned()));
        }
        server.say("_http._tcp.test", services(&[&one, &two]));
        wait::until("both answer", || ask(&mut client).1 == "one");
        let metrics = admin(address, "/metrics").1;
        for (name, labels) in [
            ("hangu_dns_queries_total", "result=\"nxdomain\""),
            ("hangu_dns_queries_total", "result=\"ok\""),
            ("hangu_dns_endpoints", "} 2"),
        ] {
            let mut lines = metrics.lines();
            assert!(lines.any(|it| it.starts_with(name) && it.contains(labels)), "{metrics}");
        }
    }

    fn a_name_that_fails_keeps_no_other_from_being_used(driver) {
        let server = NameServer::start();
        let (one, two) = (Upstream::http_text("one"), Upstream::http_text("two"));
        let localhost = vec![std::net::Ipv4Addr::LOCALHOST];
        // Of one name nothing is known, of another only half, and a service has a host that is gone.
        server.say("half.test", Answer::Half(localhost.clone(), 0));
        let services = |port: u16| {
            let at = |host: &str| (1, 5, port, host.to_owned());
            Answer::Services(vec![at("gone.test"), at("half.test")], 0)
        };
        server.say("_http._tcp.test", services(two.address.port()));
        let names = json!([
            {"host": "none.test", "port": 9},
            {"host": "half.test", "port": one.address.port()},
            {"service": "_http._tcp.test"},
        ]);
        let gateway = by_name(driver, &server, names).start();
        let (_control, address) = gateway.control();
        let mut client = gateway.connect();
        wait::until("one answers", || ask(&mut client).1 == "one");
        wait::until("the other answers", || ask(&mut client).1 == "two");
        let three = Upstream::http_text("three");
        server.say("_http._tcp.test", services(three.address.port()));
        wait::until("a change is followed", || ask(&mut client).1 == "three");
        wait::until("nothing goes to the old one", || two.open() == 0);
        assert!(admin(address, "/metrics").1.contains("hangu_dns_endpoints{cluster=\"main\"} 2\n"));
    }

    fn endpoints_that_were_handed_over_stay_and_make_it_ready_before_dns_answers(driver) {
        let server = NameServer::start();
        let upstream = Upstream::http_text("kept");
        server.say("silent.test", Answer::Silence);
        server.say("known.test", Answer::Addresses(vec![LOOPBACK], 0));
        let other = Upstream::http_text("known");
        let names = json!([
            {"host": "silent.test", "port": upstream.address.port()},
            {"host": "known.test", "port": other.address.port()},
        ]);
        let gateway = by_name(driver, &server, names).start();
        // As a predecessor does it, before anything is asked here.
        let endpoint = hangu_config::Endpoint {
            address: upstream.address, weight: 1, labels: std::collections::BTreeMap::new(),
        };
        gateway.handle().set_discovered("main", vec![endpoint]);
        let (_control, address) = gateway.control();
        assert_eq!(admin(address, "/ready").0, 200);
        let mut client = gateway.connect();
        wait::until("what DNS knows is used", || ask(&mut client).1 == "known");
        wait::until("what it does not stays", || ask(&mut client).1 == "kept");
        server.say("silent.test", Answer::Addresses(vec![LOOPBACK], 0));
        let before = server.queries("silent.test");
        wait::until("it is asked again", || server.queries("silent.test") > before + 2);
        wait::until("it stays", || ask(&mut client).1 == "kept");
    }

    fn a_name_is_not_asked_for_again_while_its_answer_holds(driver) {
        let server = NameServer::start();
        let upstream = Upstream::http_text("x");
        server.say("long.test", Answer::Addresses(vec![LOOPBACK], 3600));
        server.say("short.test", Answer::Addresses(vec![LOOPBACK], 0));
        let names = |host: &str| json!([{"host": host, "port": upstream.address.port()}]);
        let mut setup = by_name(driver, &server, names("long.test"));
        let mut other = setup.config["clusters"][0].clone();
        other["name"] = json!("other");
        other["dns"]["names"] = names("short.test");
        setup.config["clusters"].as_array_mut().expect("a list").push(other);
        let gateway = setup.start();
        let _control = gateway.control();
        wait::until("the short one is asked again", || server.queries("short.test") > 20);
        // Once for IPv4 and once for IPv6.
        assert_eq!(server.queries("long.test"), 2);
    }

    fn a_gateway_without_any_answer_is_ready_after_a_while_and_refuses_in_the_callers_words(driver) {
        let server = NameServer::start();
        server.say("dead.test", Answer::Silence);
        let gateway = by_name(driver, &server, json!([{"host": "dead.test", "port": 80}])).start();
        let (_control, address) = gateway.control();
        assert_eq!(admin(address, "/ready").0, 503);
        let mut client = gateway.connect();
        assert_eq!(ask(&mut client).0, 503);
        gateway.wait_for_metric("hangu_downstream_errors_total", &["no_endpoint"], 1.0);
        wait::until("it is ready all the same", || admin(address, "/ready").0 == 200);
    }

    fn an_endpoint_that_fails_its_http_checks_gets_no_requests_until_it_works(driver) {
        let status = Arc::new(AtomicU16::new(200));
        let shared = Arc::clone(&status);
        let (sick, _requests) = Upstream::http(move |request| {
            if request.target() != "/health" {
                return ok(b"sick");
            }
            assert_eq!(request.field("host"), Some("check.test"));
            let status = shared.load(Ordering::SeqCst);
            format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
        });
        let (well, _requests) = Upstream::http(|request| match request.target() {
            "/health" => ok(b""),
            _ => ok(b"well"),
        });
        let gateway = Setup::new(driver, &["http1"])
            .cluster("main", "http1", &[sick.address, well.address])
            .main(json!({"health_check": {
                "http": {"path": "/health", "host": "check.test", "expected_statuses": ["200-299"]},
                "interval": "200ms", "timeout": "200ms", "unhealthy_threshold": 2,
            }}))
            .start();
        let (_control, address) = gateway.control();
        let mut client = gateway.connect();
        let mut texts = [(); 2].map(|()| ask(&mut client).1);
        texts.sort();
        assert_eq!(texts, ["sick", "well"]);
        status.store(500, Ordering::SeqCst);
        wait::until("it is found out", || !is_healthy(&gateway, sick.address));
        wait::until("no requests go there", || (0..4).all(|_| ask(&mut client).1 == "well"));
        let metrics = admin(address, "/metrics").1;
        let line = format!(
            "hangu_endpoint_healthy{{cluster=\"main\",endpoint=\"{}\"}} 0",
            sick.address
        );
        assert!(metrics.contains(&line), "{metrics}");
        status.store(204, Ordering::SeqCst);
        wait::until("it gets requests again", || ask(&mut client).1 == "sick");
        // Without a check it is taken to work.
        status.store(500, Ordering::SeqCst);
        wait::until("it is found out", || !is_healthy(&gateway, sick.address));
        let unchecked =
            Setup::new(driver, &["http1"]).cluster("main", "http1", &[sick.address, well.address]);
        gateway.handle().apply(unchecked.load()).expect("it is applied");
        wait::until("it gets requests again", || ask(&mut client).1 == "sick");
    }

    fn an_endpoint_that_answers_no_heartbeat_is_found_out_and_one_that_does_is_kept(driver) {
        let answers = Arc::new(AtomicBool::new(true));
        let shared = Arc::clone(&answers);
        let (sick, _frames) = Upstream::bolt(move |frame| match frame.kind {
            Kind::Request => vec![frame.echo()],
            _ => Vec::new(),
        });
        let silent = Upstream::serve(move |mut peer, _| {
            while let Some(frame) = peer.try_read_frame() {
                if shared.load(Ordering::SeqCst) {
                    let _ = peer.try_send(frame.echo().to_bytes());
                }
            }
        });
        let gateway = Setup::new(driver, &["bolt"])
            .cluster("main", "bolt", &[sick.address, silent.address])
            .main(json!({"health_check": {
                "bolt": {}, "interval": "200ms", "timeout": "200ms", "unhealthy_threshold": 2,
            }}))
            .start();
        let _control = gateway.control();
        let mut client = gateway.connect();
        let mut call = |id: u32| {
            client.send_frame(&bolt::request(id, "a.B:1.0", "m", b"x"));
            client.read_frame().id
        };
        assert_eq!((1..=4).map(&mut call).collect::<Vec<_>>(), [1, 2, 3, 4]);
        answers.store(false, Ordering::SeqCst);
        wait::until("it is found out", || !is_healthy(&gateway, silent.address));
        assert!(is_healthy(&gateway, sick.address));
        assert_eq!((5..=9).map(&mut call).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
        answers.store(true, Ordering::SeqCst);
        wait::until("it works again", || is_healthy(&gateway, silent.address));
    }

    fn a_service_that_says_that_it_does_not_serve_is_found_out(driver) {
        let serves = Arc::new(AtomicBool::new(true));
        let asked = Arc::new(AtomicBool::new(false));
        let (shared, was_asked) = (Arc::clone(&serves), Arc::clone(&asked));
        let server = http2_server(move |body| {
            assert_eq!(body, b"\0\0\0\0\x0d\x0a\x0bshop.Orders");
            was_asked.store(true, Ordering::SeqCst);
            let status = if shared.load(Ordering::SeqCst) { 1 } else { 2 };
            (OK, Some(vec![0, 0, 0, 0, 2, 8, status]))
        });
        let gateway = Setup::new(driver, &["http1"])
            .cluster("main", "http2", &[server.address])
            .main(json!({"health_check": {
                "grpc": {"service": "shop.Orders"},
                "interval": "200ms", "timeout": "200ms", "unhealthy_threshold": 2,
            }}))
            .start();
        let _control = gateway.control();
        wait::until("it is asked", || asked.load(Ordering::SeqCst));
        assert!(is_healthy(&gateway, server.address));
        serves.store(false, Ordering::SeqCst);
        wait::until("it is found out", || !is_healthy(&gateway, server.address));
        serves.store(true, Ordering::SeqCst);
        wait::until("it works again", || is_healthy(&gateway, server.address));
    }

    fn an_endpoint_of_http_2_is_asked_in_http_2(driver) {
        let works = Arc::new(AtomicBool::new(true));
        let shared = Arc::clone(&works);
        let server = http2_server(move |_| {
            (if shared.load(Ordering::SeqCst) { OK } else { FAILED }, None)
        });
        let gateway = Setup::new(driver, &["http1"])
            .cluster("main", "http2", &[server.address])
            .main(json!({"health_check": {
                "http": {"path": "/health"},
                "interval": "200ms", "timeout": "200ms", "unhealthy_threshold": 2,
            }}))
            .start();
        let _control = gateway.control();
        works.store(false, Ordering::SeqCst);
        wait::until("it is found out", || !is_healthy(&gateway, server.address));
        works.store(true, Ordering::SeqCst);
        wait::until("it works again", || is_healthy(&gateway, server.address));
    }

    fn a_dead_endpoint_stays_found_out_when_its_cluster_becomes_another_one(driver) {
        let well = Upstream::http_text("well");
        let dead = refused_address();
        let check = json!({"health_check": {
            "tcp": {}, "interval": "200ms", "timeout": "200ms", "unhealthy_threshold": 2,
        }});
        let setup = |protocol: &str| {
            Setup::new(driver, &[protocol])
                .cluster("main", protocol, &[dead, well.address])
                .main(check.clone())
        };
        let gateway = setup("http1").start();
        let (_control, address) = gateway.control();
        let state = |wanted: u8| {
            let line = format!("hangu_endpoint_healthy{{cluster=\"main\",endpoint=\"{dead}\"}} {wanted}");
            admin(address, "/metrics").1.contains(&line)
        };
        wait::until("it is found out", || state(0));
        // With another protocol it is another cluster, whose endpoints nobody knows anything of.
        gateway.handle().apply(setup("bolt").load()).expect("it is applied");
        wait::until("it is known to be dead", || state(0));
    }

    fn a_cluster_of_which_nothing_works_says_so_at_once(driver) {
        let gateway = Setup::new(driver, &["http1"])
            .cluster("main", "http1", &[refused_address(), refused_address()])
            .main(json!({"health_check": {
                "tcp": {}, "interval": "200ms", "timeout": "200ms", "unhealthy_threshold": 1,
            }}))
            .start();
        let _control = gateway.control();
        let mut client = gateway.connect();
        wait::until("it is found out", || ask(&mut client).0 == 503);
        let began = Instant::now();
        assert_eq!(ask(&mut client).0, 503);
        assert!(began.elapsed() < Duration::from_secs(1));
        let reason = ["no_healthy_endpoint"];
        assert!(gateway.metric("hangu_downstream_errors_total", &reason) > 0.0);
    }
}

/// `:status` 200 and 500 as HPACK says them (RFC 7541, appendix A).
const OK: u8 = 0x88;
const FAILED: u8 = 0x8e;

/// A server of HTTP/2 that answers each request, whatever it is, by its body: with a status, and
/// with a message of gRPC.
fn http2_server(
    answer: impl Fn(&[u8]) -> (u8, Option<Vec<u8>>) + Send + Sync + 'static,
) -> Upstream {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let frame = |kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream, payload].concat()
    };
    Upstream::serve(move |mut peer, _| {
        if peer.try_read_exactly(24).is_none() {
            return;
        }
        let _ = peer.try_send(frame(SETTINGS, 0, [0; 4], b""));
        let mut body = Vec::new();
        while let Some(head) = peer.try_read_exactly(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = [head[5], head[6], head[7], head[8]];
            let Some(payload) = peer.try_read_exactly(length as usize) else { return };
            if head[3] == DATA {
                body.extend(payload);
            }
            if !matches!(head[3], DATA | HEADERS) || head[4] & END_STREAM == 0 {
                continue;
            }
            let (status, message) = answer(&std::mem::take(&mut body));
            let mut bytes = Vec::new();
            match message {
                None => bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &[status])),
                Some(message) => {
                    let mut block = vec![status];
                    block.extend(b"\0\x0ccontent-type\x10application/grpc");
                    bytes.extend(frame(HEADERS, END_HEADERS, stream, &block));
                    bytes.extend(frame(DATA, 0, stream, &message));
                    let trailers = b"\0\x0bgrpc-status\x010";
                    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers));
                }
            }
            if peer.try_send(bytes).is_err() {
                return;
            }
        }
    })
}
