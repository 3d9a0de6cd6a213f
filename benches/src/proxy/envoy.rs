//! Envoy, with one worker and without what it adds to requests unasked.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{Plan, Presence, Programs, Proxy, Role, speaks_http, version_line, versions};
use crate::workload::{ROUTE_FIELD, Route, Version, route_name};

pub(super) const ENVOY: Proxy = Proxy {
    name: "envoy",
    role: Role::Peer,
    presence: Presence::Optional,
    carries: speaks_http,
    version: |programs| version_line(&program(programs), "--version"),
    command: |plan| {
        let file = plan.write("envoy.json", &configuration(plan).to_string())?;
        let mut command = Command::new(program(&plan.programs));
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]);
        command.arg(file);
        Ok(command)
    },
};

fn program(programs: &Programs) -> PathBuf {
    programs.peers.join("envoy/envoy")
}

fn configuration(plan: &Plan) -> Value {
    let (from, to) = versions(&plan.workload);
    let manager = json!({
        "@type": format!("{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "http",
        "codec_type": codec(from),
        "generate_request_id": false,
        "route_config": {
            "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes(plan) }]
        },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": format!("{TYPE}.filters.http.router.v3.Router"),
                "dynamic_stats": false,
                "suppress_envoy_headers": true
            }
        }]
    });
    let chain = json!({
        "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager
        }]
    });
    let endpoint = json!({ "endpoint": { "address": address(plan.http.upstream) } });
    json!({
        "static_resources": {
            "listeners": [{
                "name": "http",
                "address": address(plan.http.listen),
                "filter_chains": [chain]
            }],
            "clusters": [{
                "name": "http",
                "type": "STATIC",
                "typed_extension_protocol_options": options(to),
                "load_assignment": {
                    "cluster_name": "http",
                    "endpoints": [{ "lb_endpoints": [endpoint] }]
                }
            }]
        }
    })
}

fn codec(version: Version) -> &'static str {
    match version {
        Version::Http1 => "HTTP1",
        Version::Http2 => "HTTP2",
    }
}

/// What is spoken to the backend.
fn options(version: Version) -> Value {
    let explicit = match version {
        Version::Http1 => json!({ "http_protocol_options": {} }),
        Version::Http2 => json!({ "http2_protocol_options": {} }),
    };
    json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": format!("{TYPE}.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": explicit
        }
    })
}

const TYPE: &str = "type.googleapis.com/envoy.extensions";

fn routes(plan: &Plan) -> Vec<Value> {
    let to = json!({ "cluster": "http", "timeout": "0s" });
    let numbered = |number| {
        let name = json!({ "exact": route_name(number) });
        let field = json!({ "name": ROUTE_FIELD, "string_match": name });
        json!({ "match": { "prefix": "/", "headers": [field] }, "route": to })
    };
    match plan.workload.route {
        Route::Only => vec![json!({ "match": { "prefix": "/" }, "route": to })],
        Route::Numbered(_) => (0..plan.workload.routes()).map(numbered).collect(),
    }
}

fn address(address: std::net::SocketAddr) -> Value {
    let socket = json!({ "address": address.ip().to_string(), "port_value": address.port() });
    json!({ "socket_address": socket })
}
