//! Which cluster and which endpoint a request goes to.

use std::collections::HashMap;

use hangu_tests::{
    Peer, Upstream,
    bolt::{self, Kind},
    http::get,
};
use serde_json::json;

use crate::support::Setup;

fn ask(client: &mut Peer, request: &str) -> (u16, String) {
    client.send(request);
    let response = client.read_response("GET");
    (response.status(), response.text())
}

on_every_driver! {
    fn http_requests_are_matched_by_domain_path_method_and_fields(driver) {
        let names = ["one", "two", "three", "four", "five"];
        let upstreams: Vec<_> = names.iter().map(|name| Upstream::http_text(name)).collect();
        let mut setup = Setup::new(driver, &["http1"]);
        for (name, upstream) in names.iter().zip(&upstreams) {
            setup = setup.cluster(name, "http1", &[upstream.address]);
        }
        let gateway = setup
            .hosts(json!([
                {"name": "example", "domains": ["example.com", "*.example.com"], "routes": [
                    {"match": {"path": "/exact"}, "route": {"cluster": "one"}},
                    {"match": {"regex": "/v[0-9]+/.*"}, "route": {"cluster": "two"}},
                    {"match": {"prefix": "/", "headers": [{"name": "X-Gray", "exact": "yes"}]},
                     "route": {"cluster": "three"}},
                    {"match": {"prefix": "/", "methods": ["DELETE"]}, "route": {"cluster": "four"}},
                ]},
                {"name": "rest", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "five"}},
                ]},
            ]))
            .start();
        let mut client = gateway.connect();
        let mut at = |host: &str, rest: &str| {
            let request = rest.replacen('\n', &format!(" HTTP/1.1\r\nHost: {host}\r\n"), 1);
            ask(&mut client, &format!("{request}\r\n"))
        };
        let found = |name: &str| (200, name.to_owned());
        assert_eq!(at("example.com", "GET /exact\n"), found("one"));
        assert_eq!(at("EXAMPLE.com", "GET /exact?x=1\n"), found("one"));
        assert_eq!(at("a.example.com", "GET /v12/x\n"), found("two"));
        assert_eq!(at("a.example.com", "GET /other\nx-gray: yes\r\n"), found("three"));
        assert_eq!(at("example.com", "DELETE /other\n"), found("four"));
        assert_eq!(at("example.com", "GET /other\n").0, 404);
        assert_eq!(at("other.org", "GET /exact\n"), found("five"));
    }

    fn weights_are_kept(driver) {
        let (old, new) = (Upstream::http_text("old"), Upstream::http_text("new"));
        let gateway = Setup::new(driver, &["http1"])
            .cluster("old", "http1", &[old.address])
            .cluster("new", "http1", &[new.address])
            .hosts(json!([{"name": "h", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"weighted_clusters": [
                    {"name": "old", "weight": 80}, {"name": "new", "weight": 20},
                ]}},
            ]}]))
            .start();
        let mut client = gateway.connect();
        let mut canary = 0;
        for _ in 0..1000 {
            let (status, text) = ask(&mut client, &get("/"));
            assert_eq!(status, 200);
            canary += usize::from(text == "new");
        }
        // 200 expected; the standard deviation is 12.6: six of them to either side.
        assert!((124..=276).contains(&canary), "{canary} of 1000 went to the canary");
    }

    fn round_robin_takes_endpoints_in_turn_by_weight(driver) {
        let upstreams = ["one", "two"].map(Upstream::http_text);
        let gateway = Setup::new(driver, &["http1"])
            .cluster("main", "http1", &[])
            .main(json!({"endpoints": [
                {"address": upstreams[0].address.to_string(), "weight": 3},
                {"address": upstreams[1].address.to_string(), "weight": 1},
            ]}))
            .start();
        let mut client = gateway.connect();
        let mut counts = HashMap::new();
        for _ in 0..400 {
            *counts.entry(ask(&mut client, &get("/")).1).or_insert(0) += 1;
        }
        assert_eq!((counts["one"], counts["two"]), (300, 100));
    }

    fn least_request_avoids_the_busy_endpoint(driver) {
        // One endpoint answers nothing; the other one at once.
        let stuck = Upstream::serve(|mut peer, _| {
            peer.read_to_end();
        });
        let quick = Upstream::http_text("quick");
        let gateway = Setup::new(driver, &["http1"])
            .cluster("main", "http1", &[stuck.address, quick.address])
            .main(json!({"balance": "least_request"}))
            .start();
        let count = |name: &str, place: &str| gateway.metric(name, &[place]);
        let (stuck, quick) = (stuck.address.to_string(), quick.address.to_string());
        let mut clients = Vec::new();
        for number in 1..=60 {
            let mut client = gateway.connect();
            client.send(get("/"));
            clients.push(client);
            hangu_tests::wait::until("the request is given to an endpoint, and the quick one is idle", || {
                let given = count("hangu_endpoint_requests_total", "");
                let active = count("hangu_endpoint_requests_active", &quick);
                given == f64::from(number) && active == 0.0
            });
        }
        // A tie may go either way; after it the stuck one always has more in flight.
        assert!(count("hangu_endpoint_requests_total", &stuck) <= 1.0);
    }

    fn rpc_requests_are_matched_by_service_method_and_fields(driver) {
        let named = |name: &'static str| {
            Upstream::bolt(move |frame| match frame.kind {
                Kind::Request => {
                    let mut answer = frame.echo();
                    answer.content = name.into();
                    vec![answer]
                }
                _ => Vec::new(),
            })
        };
        let (one, two, three) = (named("one"), named("two"), named("three"));
        let gateway = Setup::new(driver, &["bolt"])
            .cluster("one", "bolt", &[one.0.address])
            .cluster("two", "bolt", &[two.0.address])
            .cluster("three", "bolt", &[three.0.address])
            .hosts(json!([
                {"name": "orders", "services": ["a.Orders:1.0"], "routes": [
                    {"match": {"rpc": {"method": {"exact": "slow"}}}, "route": {"cluster": "one"}},
                    {"match": {"rpc": {"fields": [{"name": "x-gray", "exact": "canary"}]}},
                     "route": {"cluster": "two"}},
                ]},
                {"name": "rest", "services": ["a.*"], "routes": [
                    {"match": {}, "route": {"cluster": "three"}},
                ]},
            ]))
            .start();
        let mut client = gateway.connect();
        let mut id = 0;
        let mut at = |service: &str, method: &str, gray: &str| {
            id += 1;
            client.send_frame(&bolt::request(id, service, method, b"").with("x-gray", gray));
            let answer = client.read_frame();
            assert_eq!(answer.id, id);
            (answer.status, String::from_utf8(answer.content).unwrap_or_default())
        };
        assert_eq!(at("a.Orders:1.0", "slow", ""), (0, "one".to_owned()));
        assert_eq!(at("a.Orders:1.0", "list", "canary"), (0, "two".to_owned()));
        assert_eq!(at("a.Orders:1.0", "list", "Canary").0, 6);
        assert_eq!(at("a.Orders:2.0", "list", ""), (0, "three".to_owned()));
        assert_eq!(at("b.Other:1.0", "list", "").0, 6);
    }
}
