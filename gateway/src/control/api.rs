//! The admin API: which path answers what.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hangu_config::{Canonical, LogLevel};
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Serialize;

use super::desk::Desk;
use super::facts::{process_facts, see_rings};
use super::inspect::{self, ConnectionFilter};
use super::reload::Outcome;

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
    /// `Authorization`, where one was sent.
    pub(super) authorization: Option<Vec<u8>>,
    /// A browser sent it on behalf of some page (`Origin`).
    pub(super) has_origin: bool,
    pub(super) body: Bytes,
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) allow: Option<&'static str>,
    pub(super) body: String,
}

/// A path of the API with its method. Words in capitals stand for any text without `/`.
#[derive(Debug)]
pub(super) struct Endpoint {
    method: Method,
    path: &'static str,
    action: Action,
    about: &'static str,
}

impl Endpoint {
    /// Whether its body is a whole configuration.
    pub(super) fn takes_config(&self) -> bool {
        self.action == Action::Compare
    }
}

/// What a path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Ready,
    Live,
    Metrics,
    Config,
    Clusters,
    Connections,
    Log,
    Version,
    Reload,
    Compare,
    SetLevel,
    Reopen,
    Drain,
    Undrain,
    Upgrade,
    UpgradeReport,
    Stop,
}

const fn get(path: &'static str, action: Action, about: &'static str) -> Endpoint {
    Endpoint { method: Method::GET, path, action, about }
}

const fn post(path: &'static str, action: Action, about: &'static str) -> Endpoint {
    Endpoint { method: Method::POST, path, action, about }
}

const ENDPOINTS: &[Endpoint] = &[
    get("/ready", Action::Ready, "200 while the gateway takes traffic, else 503"),
    get("/live", Action::Live, "200 while the process runs"),
    get("/metrics", Action::Metrics, "counters for Prometheus"),
    get("/config", Action::Config, "the configuration in force, secrets hidden"),
    get("/clusters", Action::Clusters, "clusters and endpoints with what was counted of them"),
    get(
        "/connections",
        Action::Connections,
        "open connections (?limit=100, at most 10000; listener=, cluster=, peer=)",
    ),
    get("/log", Action::Log, "the level of the log"),
    get("/upgrade", Action::UpgradeReport, "how the last upgrade went, or how far it is"),
    get("/version", Action::Version, "version and workers"),
    post("/reload", Action::Reload, "loads the configuration again (?dry_run=true only checks it)"),
    post("/config/diff", Action::Compare, "how the configuration in the body would differ"),
    post("/log", Action::SetLevel, "sets the level of the log (?level=debug)"),
    post("/reopen", Action::Reopen, "opens the log files anew, after they were moved away"),
    post(
        "/clusters/NAME/endpoints/ADDRESS/drain",
        Action::Drain,
        "lets an endpoint get no new requests",
    ),
    post("/clusters/NAME/endpoints/ADDRESS/undrain", Action::Undrain, "lets it get them again"),
    post(
        "/upgrade",
        Action::Upgrade,
        "hands over to a new process (?program=PATH; default: the file of this one)",
    ),
    post("/stop", Action::Stop, "graceful stop (?grace_seconds=N; default: drain_timeout)"),
];

/// Finds what a request asks for, if the caller may ask for it; looks at all but its body.
pub(super) fn admit(request: &Request, desk: &Desk) -> Result<&'static Endpoint, Response> {
    if let Some(refused) = refuse_browser(request) {
        return Err(refused);
    }
    let here: Vec<_> = ENDPOINTS.iter().filter(|it| is_at(it.path, &request.path)).collect();
    if here.is_empty() {
        return Err(text(StatusCode::NOT_FOUND, format!("no such path; there are:\n{}", list())));
    }
    let wanted = if request.method == Method::HEAD { Method::GET } else { request.method.clone() };
    let Some(endpoint) = here.iter().find(|it| it.method == wanted) else {
        return Err(method_not_allowed(&here));
    };
    if endpoint.method != Method::GET
        && !desk.admin.access().admits(request.authorization.as_deref())
    {
        let hint = desk.admin.access().hint();
        let body = format!("{} needs `Authorization: Bearer TOKEN`; {hint}\n", request.path);
        return Err(text(StatusCode::UNAUTHORIZED, body));
    }
    Ok(endpoint)
}

/// Answers one request that was admitted.
pub(super) async fn answer(endpoint: &Endpoint, request: Request, desk: &Rc<Desk>) -> Response {
    let answered = match endpoint.action {
        Action::Ready => Ok(ready(desk.is_ready())),
        Action::Live => Ok(text(StatusCode::OK, "live\n".to_owned())),
        Action::Metrics => Ok(metrics(desk)),
        Action::Config => Ok(json(&*desk.gateway.config())),
        Action::Clusters => {
            let roster = &desk.gateway.snapshot().roster;
            Ok(json(&inspect::clusters(roster, &desk.gateway.metrics())))
        }
        Action::Connections => connections(&request.query, desk).await,
        Action::Log => Ok(log(desk)),
        Action::Version => Ok(json(&version(desk))),
        Action::Reload => reload(&request.query, desk).await,
        Action::Compare => compare(&request.body, desk),
        Action::SetLevel => set_level(&request.query, desk),
        Action::Reopen => Ok(reopen(desk)),
        Action::Drain => drain(&request.path, true, desk),
        Action::Undrain => drain(&request.path, false, desk),
        Action::Upgrade => upgrade(&request.query, desk),
        Action::UpgradeReport => Ok(json(&desk.upgrader.report())),
        Action::Stop => stop(&request.query, desk),
    };
    answered.unwrap_or_else(|refused| refused)
}

/// Whether a path is that of a pattern.
fn is_at(pattern: &str, path: &str) -> bool {
    let mut steps = path.split('/');
    let fits = |it: &str, step: &str| it == step || (is_any(it) && !step.is_empty());
    pattern.split('/').all(|it| steps.next().is_some_and(|step| fits(it, step)))
        && steps.next().is_none()
}

fn is_any(step: &str) -> bool {
    !step.is_empty() && step.bytes().all(|it| it.is_ascii_uppercase())
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
        let _ = writeln!(list, "  {:4} {} - {}", it.method.as_str(), it.path, it.about);
        list
    })
}

fn method_not_allowed(here: &[&Endpoint]) -> Response {
    let takes = |method: &Method| here.iter().any(|it| it.method == *method);
    let allow = match (takes(&Method::GET), takes(&Method::POST)) {
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        (false, _) => "POST",
    };
    let body = format!("this path takes {allow} only\n");
    Response { allow: Some(allow), ..text(StatusCode::METHOD_NOT_ALLOWED, body) }
}

fn ready(is_ready: bool) -> Response {
    match is_ready {
        true => text(StatusCode::OK, "ready\n".to_owned()),
        false => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
    }
}

/// All that is counted, with what the processes before counted.
pub(super) fn render_metrics(desk: &Desk) -> String {
    let metrics = desk.gateway.metrics();
    see_rings(&metrics);
    let mut body = metrics.render(&process_facts(desk.is_ready()));
    desk.reloader.render(&mut body);
    desk.endpoints.render(&mut body);
    desk.upgrader.render(&mut body);
    desk.upgrader.totals.add_to(body)
}

fn metrics(desk: &Desk) -> Response {
    let body = render_metrics(desk);
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Response { status: StatusCode::OK, content_type, allow: None, body }
}

async fn connections(query: &str, desk: &Desk) -> Result<Response, Response> {
    let mut query = Query::parse(query)?;
    let limit = query.number("limit", CONNECTIONS_MAX as u64)?;
    let limit = limit.map_or(CONNECTIONS_DEFAULT, |it| it as usize);
    let filter = ConnectionFilter {
        listener: query.take("listener"),
        cluster: query.take("cluster"),
        peer: query.take("peer").map(|it| peer(&it)).transpose()?,
    };
    query.end("limit, listener, cluster and peer")?;
    match tokio::time::timeout(WORKERS_TIMEOUT, desk.gateway.connections(filter, limit)).await {
        Ok(mut connections) => {
            connections.truncate(limit);
            Ok(json(&connections))
        }
        Err(_) => Err(text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("a worker did not answer within {} s\n", WORKERS_TIMEOUT.as_secs()),
        )),
    }
}

/// An address, or one with a port.
fn peer(text: &str) -> Result<(IpAddr, Option<u16>), Response> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip(), Some(address.port())));
    }
    match text.parse() {
        Ok(address) => Ok((address, None)),
        Err(_) => Err(bad("peer is an IP address, or one with a port")),
    }
}

#[derive(Serialize)]
struct Level {
    level: LogLevel,
}

fn log(desk: &Desk) -> Response {
    match &desk.log {
        Some(log) => json(&Level { level: log.level() }),
        None => no_log(),
    }
}

fn set_level(query: &str, desk: &Desk) -> Result<Response, Response> {
    let mut query = Query::parse(query)?;
    let level = query.take("level").ok_or_else(|| bad("?level=LEVEL says which"))?;
    query.end("level")?;
    let level: LogLevel = level.parse().map_err(|fault| bad(&format!("{fault}")))?;
    let Some(log) = &desk.log else { return Err(no_log()) };
    log.set_level(level);
    tracing::info!("the level of the log is {} now, as asked by the admin API", level.as_str());
    Ok(json(&Level { level }))
}

/// A gateway inside another process, which has a log of its own.
fn no_log() -> Response {
    text(StatusCode::NOT_FOUND, "this gateway has no log of its own\n".to_owned())
}

fn reopen(desk: &Desk) -> Response {
    desk.reopen("admin API");
    text(StatusCode::OK, "log files are opened anew\n".to_owned())
}

async fn reload(query: &str, desk: &Desk) -> Result<Response, Response> {
    let mut query = Query::parse(query)?;
    let is_dry = match query.take("dry_run").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(bad("dry_run is true or false")),
    };
    query.end("dry_run")?;
    let report = desk.reloader.reload(is_dry, "admin API").await;
    let status = match report.outcome {
        Outcome::Applied | Outcome::Unchanged | Outcome::Valid => StatusCode::OK,
        Outcome::Rejected => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok(Response { status, ..json(&report) })
}

fn compare(body: &Bytes, desk: &Desk) -> Result<Response, Response> {
    match serde_json::from_slice::<Canonical>(body) {
        Ok(new) => Ok(json(&desk.reloader.compare(&new))),
        Err(error) => Err(bad(&format!("the body is no configuration: {error}"))),
    }
}

#[derive(Serialize)]
struct UpgradeBegun {
    old_pid: u32,
}

fn upgrade(query: &str, desk: &Rc<Desk>) -> Result<Response, Response> {
    let mut query = Query::parse(query)?;
    let program = query.take("program").map(PathBuf::from);
    query.end("program")?;
    if program.as_ref().is_some_and(|it| !it.is_absolute()) {
        return Err(bad("program is an absolute path"));
    }
    match desk.upgrader.begin(desk, program, "admin API") {
        Ok(()) => {
            let begun = UpgradeBegun { old_pid: std::process::id() };
            Ok(Response { status: StatusCode::ACCEPTED, ..json(&begun) })
        }
        Err(busy) => Err(text(StatusCode::CONFLICT, format!("{busy}\n"))),
    }
}

#[derive(Serialize)]
struct Drained<'a> {
    cluster: &'a str,
    endpoint: SocketAddr,
    draining: bool,
}

/// Of `/clusters/NAME/endpoints/ADDRESS/drain`.
fn drain(path: &str, is_draining: bool, desk: &Desk) -> Result<Response, Response> {
    let step = |at: usize| path.split('/').nth(at).and_then(decoded);
    let (Some(cluster), Some(address)) = (step(2), step(4)) else {
        return Err(bad("the path is no UTF-8 after decoding"));
    };
    let Ok(endpoint) = address.parse::<SocketAddr>() else {
        return Err(bad(&format!("`{address}` is no address with a port")));
    };
    let set = desk.gateway.set_draining(&cluster, endpoint, is_draining);
    if !set.map_err(|leaving| text(StatusCode::SERVICE_UNAVAILABLE, format!("{leaving}\n")))? {
        let why = format!("no cluster `{cluster}` with an endpoint {endpoint}\n");
        return Err(text(StatusCode::NOT_FOUND, why));
    }
    let state = if is_draining { "gets no new requests" } else { "gets requests again" };
    tracing::info!("endpoint {endpoint} of `{cluster}` {state}, as asked by the admin API");
    Ok(json(&Drained { cluster: &cluster, endpoint, draining: is_draining }))
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    process_id: u32,
    /// One per worker.
    drivers: Vec<&'static str>,
}

fn version(desk: &Desk) -> Version {
    let metrics = desk.gateway.metrics();
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
    /// The `drain_delay`, during which everything goes on.
    delay_seconds: u64,
    grace_seconds: u64,
}

fn stop(query: &str, desk: &Desk) -> Result<Response, Response> {
    let mut query = Query::parse(query)?;
    let grace = query.number("grace_seconds", GRACE_SECONDS_MAX)?;
    query.end("grace_seconds")?;
    let config = desk.gateway.config();
    let grace_seconds = grace.unwrap_or_else(|| config.drain_timeout.as_secs());
    tracing::info!("stopping, as asked by the admin API; requests in flight get {grace_seconds} s");
    let delay = desk.stop(Duration::from_secs(grace_seconds));
    let delay_seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    let body = Stopping { stopping: true, delay_seconds, grace_seconds };
    Ok(Response { status: StatusCode::ACCEPTED, ..json(&body) })
}

/// The names and values of a query, each name once.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Result<Self, Response> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|it| !it.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(bad("the query is no UTF-8 after decoding"));
            };
            if pairs.iter().any(|it| it.0 == name) {
                return Err(bad(&format!("`{name}` is given twice")));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|it| it.0 == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn number(&mut self, name: &str, max: u64) -> Result<Option<u64>, Response> {
        let Some(text) = self.take(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if number <= max => Ok(Some(number)),
            _ => Err(bad(&format!("{name} is a number from 0 to {max}"))),
        }
    }

    /// Nothing else may stand in the query: a slip of the pen would else change what is done.
    fn end(self, known: &str) -> Result<(), Response> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(bad(&format!("`{name}` is not known here; {known} can be given")))
            }
        }
    }
}

/// A text with its `%XX` decoded; `None` when it is no UTF-8 then.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let escaped = escaped.and_then(|it| u8::from_str_radix(it, 16).ok());
        match (*first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (byte, _) => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn bad(why: &str) -> Response {
    text(StatusCode::BAD_REQUEST, format!("{why}\n"))
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
