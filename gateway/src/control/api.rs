//! The admin API: which path answers what.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Serialize;

use super::facts::{process_facts, see_rings};
use super::{Inspect, inspect};

/// Connections that `/connections` shows when the caller does not say; a page of them.
const CONNECTIONS_DEFAULT: usize = 100;

/// Connections that `/connections` shows at most. Each takes some 200 bytes of JSON.
const CONNECTIONS_MAX: usize = 10_000;

/// The longest grace of a stop that is taken: one day.
const GRACE_SECONDS_MAX: u64 = 86_400;

/// How long workers may take to answer; a healthy one needs microseconds.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(2);

/// A request, without what the API does not look at.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    /// `Host`, where one was sent.
    pub(super) host: Option<String>,
    /// A browser sent it on behalf of some page (`Origin`).
    pub(super) has_origin: bool,
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) allow: Option<&'static str>,
    pub(super) body: String,
}

/// A path of the API.
struct Endpoint {
    path: &'static str,
    method: Method,
    about: &'static str,
}

const fn get(path: &'static str, about: &'static str) -> Endpoint {
    Endpoint { path, method: Method::GET, about }
}

const ENDPOINTS: &[Endpoint] = &[
    get("/ready", "200 while the gateway takes traffic, else 503"),
    get("/live", "200 while the process runs"),
    get("/metrics", "counters for Prometheus"),
    get("/config", "the configuration in force, secrets hidden"),
    get("/clusters", "clusters and endpoints with what was counted of them"),
    get("/connections", "open connections (?limit=100, at most 10000)"),
    get("/version", "version and workers"),
    Endpoint {
        path: "/stop",
        method: Method::POST,
        about: "graceful stop (?grace_seconds=N; default: drain_timeout)",
    },
];

/// Answers one request.
pub(super) async fn answer(
    request: Request,
    gateway: &Arc<dyn Inspect>,
    drain_timeout: Duration,
) -> Response {
    if let Some(refused) = refuse_browser(&request) {
        return refused;
    }
    let Some(endpoint) = ENDPOINTS.iter().find(|it| it.path == request.path) else {
        return text(StatusCode::NOT_FOUND, format!("no such path; there are:\n{}", list()));
    };
    let is_head = request.method == Method::HEAD && endpoint.method == Method::GET;
    if request.method != endpoint.method && !is_head {
        return method_not_allowed(endpoint);
    }
    match endpoint.path {
        "/ready" => ready(gateway.is_ready()),
        "/live" => text(StatusCode::OK, "live\n".to_owned()),
        "/metrics" => metrics(gateway),
        "/config" => json(&*gateway.config()),
        "/clusters" => json(&inspect::clusters(&gateway.config(), &gateway.metrics())),
        "/connections" => connections(&request.query, gateway).await,
        "/version" => json(&version(gateway)),
        "/stop" => stop(&request.query, gateway, drain_timeout),
        // Every path of the table stands above; the test `every_path_answers` sees to it.
        other => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{other} is not there\n")),
    }
}

/// A page in a browser on this machine can send requests to loopback addresses, by its own name or
/// by one that was made to point here. Neither gets an answer.
fn refuse_browser(request: &Request) -> Option<Response> {
    let by_name = request.host.as_deref().is_some_and(|host| !is_address_or_localhost(host));
    if !request.has_origin && !by_name {
        return None;
    }
    let why = "the admin API does not answer web pages: no Origin, and Host must be an IP address \
               or localhost\n";
    Some(text(StatusCode::FORBIDDEN, why.to_owned()))
}

fn is_address_or_localhost(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

fn list() -> String {
    ENDPOINTS.iter().fold(String::new(), |mut list, it| {
        // Writing to memory does not fail.
        let _ = writeln!(list, "  {:4} {:13} {}", it.method.as_str(), it.path, it.about);
        list
    })
}

fn method_not_allowed(endpoint: &Endpoint) -> Response {
    let allow = if endpoint.method == Method::GET { "GET, HEAD" } else { "POST" };
    let body = format!("{} takes {allow} only\n", endpoint.path);
    Response { allow: Some(allow), ..text(StatusCode::METHOD_NOT_ALLOWED, body) }
}

fn ready(is_ready: bool) -> Response {
    match is_ready {
        true => text(StatusCode::OK, "ready\n".to_owned()),
        false => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
    }
}

fn metrics(gateway: &Arc<dyn Inspect>) -> Response {
    let metrics = gateway.metrics();
    see_rings(&metrics);
    let body = metrics.render(&process_facts(gateway.is_ready()));
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Response { status: StatusCode::OK, content_type, allow: None, body }
}

async fn connections(query: &str, gateway: &Arc<dyn Inspect>) -> Response {
    let limit = match number(query, "limit", CONNECTIONS_MAX as u64) {
        Ok(limit) => limit.map_or(CONNECTIONS_DEFAULT, |it| it as usize),
        Err(refused) => return refused,
    };
    match tokio::time::timeout(WORKERS_TIMEOUT, gateway.connections(limit)).await {
        Ok(mut connections) => {
            connections.truncate(limit);
            json(&connections)
        }
        Err(_) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("a worker did not answer within {} s\n", WORKERS_TIMEOUT.as_secs()),
        ),
    }
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    process_id: u32,
    /// One per worker.
    drivers: Vec<&'static str>,
}

fn version(gateway: &Arc<dyn Inspect>) -> Version {
    let metrics = gateway.metrics();
    let driver = |it: &Arc<crate::telemetry::Counters>| {
        it.worker.driver.get().copied().unwrap_or("not_started")
    };
    Version {
        name: "hangu",
        version: env!("CARGO_PKG_VERSION"),
        process_id: std::process::id(),
        drivers: metrics.workers.iter().map(driver).collect(),
    }
}

#[derive(Serialize)]
struct Stopping {
    stopping: bool,
    grace_seconds: u64,
}

fn stop(query: &str, gateway: &Arc<dyn Inspect>, drain_timeout: Duration) -> Response {
    let grace_seconds = match number(query, "grace_seconds", GRACE_SECONDS_MAX) {
        Ok(grace) => grace.unwrap_or(drain_timeout.as_secs()),
        Err(refused) => return refused,
    };
    tracing::info!("stopping, as asked by the admin API; requests in flight get {grace_seconds} s");
    gateway.stop(Duration::from_secs(grace_seconds));
    Response { status: StatusCode::ACCEPTED, ..json(&Stopping { stopping: true, grace_seconds }) }
}

/// The number that a query says, if it says one; nothing else may stand in the query.
fn number(query: &str, name: &str, max: u64) -> Result<Option<u64>, Response> {
    if query.is_empty() {
        return Ok(None);
    }
    let value = query.strip_prefix(name).and_then(|it| it.strip_prefix('='));
    match value.and_then(|it| it.parse::<u64>().ok()) {
        Some(value) if value <= max => Ok(Some(value)),
        _ => Err(text(
            StatusCode::BAD_REQUEST,
            format!("only ?{name}=NUMBER is understood, 0 to {max}\n"),
        )),
    }
}

pub(super) fn text(status: StatusCode, body: String) -> Response {
    Response { status, content_type: "text/plain; charset=utf-8", allow: None, body }
}

fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(mut body) => {
            body.push('\n');
            Response { status: StatusCode::OK, content_type: "application/json", allow: None, body }
        }
        Err(error) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("not to be shown: {error}\n"))
        }
    }
}
