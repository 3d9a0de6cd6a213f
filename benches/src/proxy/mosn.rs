//! MOSN, with one processor, for HTTP/1.1 and for Bolt.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{Plan, Presence, Programs, Proxy, Role, version_line};
use crate::workload::{Protocol, ROUTE_FIELD, Route, route_name};

pub(super) const MOSN: Proxy = Proxy {
    name: "mosn",
    role: Role::Peer,
    presence: Presence::Optional,
    carries: |workload| !matches!(workload.protocol, Protocol::Http2 { .. }),
    version: |programs| version_line(&program(programs), "--version"),
    command: |plan| {
        let file = plan.write("mosn.json", &configuration(plan).to_string())?;
        let mut command = Command::new(program(&plan.programs));
        command.arg("start").arg("-c").arg(file);
        Ok(command)
    },
};

/// `MOSN_BIN`, or what `benches/compare install` has built.
fn program(programs: &Programs) -> PathBuf {
    std::env::var_os("MOSN_BIN").map_or_else(|| programs.peers.join("mosn/mosn"), PathBuf::from)
}

fn configuration(plan: &Plan) -> Value {
    let log = plan.directory.join("mosn.log");
    json!({
        "pid": plan.directory.join("mosn.pid"),
        "disable_upgrade": true,
        "servers": [{
            "default_log_path": log,
            "default_log_level": "ERROR",
            "processor": 1,
            "listeners": [
                listener("http", plan.http.listen, "Http1"),
                listener("bolt", plan.bolt.listen, "bolt"),
            ],
            "routers": [
                router("http", &http_routes(plan)),
                // How MOSN's own examples take every service.
                router("bolt", &[route(
                    json!({ "headers": [{ "name": "service", "value": ".*" }] }),
                    "bolt",
                )]),
            ]
        }],
        "cluster_manager": {
            "clusters": [cluster("http", plan.http.upstream), cluster("bolt", plan.bolt.upstream)]
        }
    })
}

fn listener(name: &str, address: SocketAddr, protocol: &str) -> Value {
    json!({
        "name": name,
        "address": address.to_string(),
        "bind_port": true,
        "filter_chains": [{ "filters": [{
            "type": "proxy",
            "config": {
                "downstream_protocol": protocol,
                "upstream_protocol": protocol,
                "router_config_name": name
            }
        }] }]
    })
}

fn router(name: &str, routes: &[Value]) -> Value {
    let host = json!({ "name": "all", "domains": ["*"], "routers": routes });
    json!({ "router_config_name": name, "virtual_hosts": [host] })
}

fn http_routes(plan: &Plan) -> Vec<Value> {
    let numbered = |number| {
        let field = json!({ "name": ROUTE_FIELD, "value": route_name(number) });
        route(json!({ "prefix": "/", "headers": [field] }), "http")
    };
    match plan.workload.route {
        Route::Only => vec![route(json!({ "prefix": "/" }), "http")],
        Route::Numbered(_) => (0..plan.workload.routes()).map(numbered).collect(),
    }
}

fn route(test: Value, cluster: &str) -> Value {
    json!({ "match": test, "route": { "cluster_name": cluster } })
}

fn cluster(name: &str, upstream: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "SIMPLE",
        "lb_type": "LB_RANDOM",
        "max_request_per_conn": 1_000_000_000,
        "hosts": [{ "address": upstream.to_string() }]
    })
}
