//! The configuration as it is written. The doc comments here are the descriptions in
//! `schema.json`, so they speak to the one who writes the file.
//!
//! What is checked here is the shape alone: keys, types, ranges, formats. What takes more than one
//! value to see is checked by [`crate::check`].

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model;

mod cluster;
mod limits;
mod process;
mod route;
mod scalar;
mod tcp;

pub use cluster::{
    BoltProbe, Cluster, Dns, DnsName, Endpoint, GrpcProbe, HealthCheck, HttpProbe, Retry,
    RetryBudget, TcpProbe,
};
pub use limits::{Http1Limits, Lenient, Limits, RpcLimits};
pub use process::{AccessLog, Admin, Log, Metrics, RpcMetrics};
pub use route::{
    FieldMatch, Forward, Match, Route, RouteConfig, RpcMatch, TextMatch, VirtualHost,
    WeightedCluster,
};
pub use scalar::{
    AddressText, CodeName, DurationText, MethodText, PatternText, ProtocolName, RegexText,
    SizeText, StatusText,
};
pub(crate) use scalar::{DURATION, SIZE, describe_format, read_format};
pub use tcp::{Keepalive, Tcp};

/// Configuration of the Hangu gateway. May be spread over the files of a directory: lists of the
/// same name are joined in the order of the file names, everything else may stand once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Hangu configuration", rename = "Config")]
pub struct File {
    /// Worker threads, each with connections of its own. Default: one per core that the process
    /// may use.
    #[serde(default)]
    pub workers: Option<Workers>,
    /// How workers talk to the kernel. Default: `auto`.
    #[serde(default)]
    pub driver: model::Driver,
    /// Where the admin API (readiness, metrics, configuration) listens. Default: TCP address
    /// 127.0.0.1:9901.
    #[serde(default)]
    pub admin: Admin,
    /// What the process says of itself.
    #[serde(default)]
    pub log: Log,
    /// One line per exchange, failures too.
    #[serde(default)]
    pub access_log: AccessLog,
    /// What is counted beyond the usual.
    #[serde(default)]
    pub metrics: Metrics,
    /// The zone (room, data centre) in which this gateway stands; a field of the access log.
    #[serde(default)]
    pub zone: Option<String>,
    /// Loads the configuration again when its files change, as `hangu reload` does. Default: false.
    #[serde(default)]
    pub watch: bool,
    /// How long a graceful stop goes on accepting after `/ready` answers 503, so that a load
    /// balancer in front sees it and sends no more. Default: none.
    #[serde(default)]
    pub drain_delay: Option<DurationText>,
    /// How long a graceful stop waits for exchanges in flight. Default: `30s`.
    #[serde(default)]
    pub drain_timeout: Option<DurationText>,
    /// Addresses on which connections are accepted.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Tables of routes, named by listeners.
    #[serde(default)]
    pub route_configs: Vec<RouteConfig>,
    /// Endpoints that offer the same service, named by routes.
    #[serde(default)]
    pub clusters: Vec<Cluster>,
}

/// A number of worker threads.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Workers(#[schemars(range(min = 1, max = 1024))] pub NonZeroU32);

/// A number of connections that wait to be accepted.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Backlog(#[schemars(range(min = 1, max = 65535))] pub NonZeroU32);

/// An address on which connections are accepted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Unique among listeners; stands in metrics and logs.
    pub name: String,
    /// IP address and port, such as `0.0.0.0:8080`.
    pub address: AddressText,
    /// What is spoken here. When several are named, the first bytes of a connection tell.
    #[schemars(length(min = 1))]
    pub protocols: Vec<ProtocolName>,
    /// Name of the table of routes.
    pub route_config: String,
    /// Connections open at once, over all workers; more are closed at once. Default: 100000.
    #[serde(default)]
    pub connections_max: Option<NonZeroU32>,
    /// Connections accepted per second, over all workers; more are closed at once. Default: no
    /// limit.
    #[serde(default)]
    pub accept_rate_max: Option<NonZeroU32>,
    /// Requests in flight, over all workers; more are answered as overloaded (503). Default: no
    /// limit.
    #[serde(default)]
    pub requests_max: Option<NonZeroU32>,
    /// Connections that stand and wait to be accepted, at most what the system allows
    /// (`net.core.somaxconn`). Default: 4096.
    #[serde(default)]
    pub backlog: Option<Backlog>,
    /// How dead peers are noticed.
    #[serde(default)]
    pub tcp: Tcp,
    /// Whether a request without a trace id gets one here. Default: `generate`.
    #[serde(default)]
    pub trace_ids: model::TraceIds,
    /// Time limits of accepted connections. There is no limit to a whole request unless its route
    /// has a `timeout`.
    #[serde(default)]
    pub timeouts: ListenerTimeouts,
    /// Limits of what one connection may ask of the gateway.
    #[serde(default)]
    pub limits: Limits,
    /// Trust in `X-Forwarded-For`.
    #[serde(default)]
    pub xff: Xff,
    /// Protocols to which an HTTP/1.1 connection may change by `Upgrade`, such as `websocket`.
    /// Default: none; the offer is then not forwarded.
    #[serde(default)]
    pub upgrades: Vec<String>,
    /// Makes calls of gRPC-Web, which browsers can make, calls of gRPC (`application/grpc-web` and
    /// `application/grpc-web-text`), and the answers to them answers of gRPC-Web. Whether a page
    /// may ask at all (CORS) is not decided here. Default: false, such requests pass as they are.
    #[serde(default)]
    pub grpc_web: bool,
    /// How paths are brought to one spelling before they are matched and forwarded.
    #[serde(default)]
    pub path_normalization: PathNormalization,
}

/// Time limits of accepted connections.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTimeouts {
    /// A connection on which nothing is in flight is closed after this long. Default: `1h`, as
    /// sidecars have it; SOFA consumers send a heartbeat every 15 s and never reach it.
    #[serde(default)]
    pub idle: Option<DurationText>,
    /// From the first byte of a request until its head is whole, and from the begin of a connection
    /// until its first bytes have told the protocol. Default: `10s`.
    #[serde(default)]
    pub request_head: Option<DurationText>,
}

/// Trust in `X-Forwarded-For`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Xff {
    /// How many proxies before this one are trusted to have written the truth; so many addresses
    /// are taken from the right end. Default: 0, what the client sent is dropped.
    #[serde(default)]
    pub trusted_hops: u8,
}

/// How paths are brought to one spelling (RFC 3986 §6.2.2: dot segments removed, escaped letters
/// decoded, escapes in upper case). Each of the switches lets something pass that upstreams may
/// read in different ways; requests with it are else refused with 400.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathNormalization {
    /// Whether it is done. When not, paths are matched and forwarded as they came. Default: true.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// `%2F` and `%5C`, escaped `/` and `\`. Default: `refuse`.
    #[serde(default)]
    pub escaped_slashes: model::Ambiguous,
    /// `%00`, an escaped NUL. Default: `refuse`.
    #[serde(default)]
    pub escaped_nul: model::Ambiguous,
    /// `%` without two hexadecimal digits after it; when kept, it goes on as `%25`, a literal
    /// percent sign. Default: `refuse`.
    #[serde(default)]
    pub malformed_escapes: model::Ambiguous,
}
