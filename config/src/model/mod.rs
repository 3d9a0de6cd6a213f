//! The configuration as the gateway uses it: every name resolved to an index, every text parsed.
//!
//! Whoever holds a [`Config`] that was loaded need not check it again. It serialises for the admin
//! API; members that hold secrets have the type [`Secret`], which serialises as `"<hidden>"`.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use hangu_codecs::{Limits, Protocol};
use serde::{Serialize, Serializer};

mod cluster;
mod log;
mod process;
mod route;
mod tcp;

pub use cluster::{
    Balance, Cluster, Codes, Dns, DnsName, DnsTarget, Endpoint, Family, HealthCheck, Probe, Retry,
    RetryBudget, Statuses,
};
pub use log::{
    AccessLog, AccessLogFormat, Log, LogField, LogFormat, LogLevel, LogPath, LogPiece,
    parse_access_log_format,
};
pub use process::{Admin, Metrics, RpcMetrics, Secret};
pub use route::{
    Action, FieldMatch, FieldTest, Forward, HttpMatch, NamePattern, PathMatch, Route, RouteConfig,
    RouteMatch, RpcMatch, TextMatch, TextTest, VirtualHost, WeightedCluster,
};
pub use tcp::{Keepalive, Tcp};

/// A whole valid configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Worker threads; `None` is one per core that the process may use.
    pub workers: Option<NonZeroUsize>,
    /// How workers talk to the kernel.
    pub driver: Driver,
    /// Where the admin API listens.
    pub admin: Admin,
    /// What the process says of itself.
    pub log: Log,
    /// The access log.
    pub access_log: AccessLog,
    /// What is counted beyond the usual.
    pub metrics: Metrics,
    /// The zone in which this gateway stands; a field of the access log.
    pub zone: Option<String>,
    /// Whether a change of the files is loaded without being asked to.
    pub watch: bool,
    /// How long a graceful stop goes on accepting after it has said that it is no longer ready;
    /// zero for not at all.
    #[serde(serialize_with = "duration")]
    pub drain_delay: Duration,
    /// How long a graceful stop waits for exchanges in flight.
    #[serde(serialize_with = "duration")]
    pub drain_timeout: Duration,
    /// Where connections are accepted.
    pub listeners: Vec<Listener>,
    /// Route tables; listeners name them by index.
    pub route_configs: Vec<RouteConfig>,
    /// Clusters; routes name them by index.
    pub clusters: Vec<Cluster>,
    /// The texts that it was read from.
    #[serde(skip)]
    pub origin: crate::Origin,
}

/// How workers talk to the kernel.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// io_uring where the kernel allows it, else epoll.
    #[default]
    Auto,
    /// io_uring, or the gateway does not start.
    IoUring,
    /// epoll.
    Epoll,
}

/// An address on which connections are accepted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// Unique among listeners; the label in metrics and logs.
    pub name: String,
    /// IP address and port. Port 0 lets the system choose one (tests).
    pub address: SocketAddr,
    /// What is spoken here, at least one; several are told apart by the first bytes. In the order
    /// of [`hangu_codecs::PROTOCOLS`].
    #[serde(serialize_with = "protocols")]
    pub protocols: Vec<&'static Protocol>,
    /// Index into [`Config::route_configs`].
    pub route_config: usize,
    /// Limits of the codecs of accepted connections.
    pub limits: Limits,
    /// Time limits of accepted connections.
    pub timeouts: ListenerTimeouts,
    /// Accepted connections of this listener open at once, over all workers; at least 1.
    pub connections_max: u32,
    /// Connections accepted per second, over all workers; at least 1. `None` sets no limit.
    pub accept_rate_max: Option<u32>,
    /// Requests in flight, over all workers; at least 1. `None` sets no limit.
    pub requests_max: Option<u32>,
    /// Connections that stand and wait to be accepted, 1 to 65535.
    pub backlog: u32,
    /// Options of accepted connections.
    pub tcp: Tcp,
    /// Whether a request without a trace id gets one here.
    pub trace_ids: TraceIds,
    /// Whose word about the client's address is trusted.
    pub xff: Xff,
    /// Protocols to which an HTTP/1.1 connection may change (`Upgrade`), in lower case.
    pub upgrades: Vec<String>,
    /// Whether calls of gRPC-Web are made calls of gRPC.
    pub grpc_web: bool,
    /// How paths are brought to one spelling before they are matched and forwarded.
    pub path_normalization: PathNormalization,
}

/// What happens to a request that carries no trace id.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TraceIds {
    /// It gets one in the form of its protocol.
    #[default]
    Generate,
    /// It goes on as it came.
    Keep,
}

/// Time limits of accepted connections; none is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerTimeouts {
    /// A connection without a stream is closed after this long.
    #[serde(serialize_with = "duration")]
    pub idle: Duration,
    /// From the first byte of a request until its head is whole; also from accept until the
    /// first bytes have told the protocol.
    #[serde(serialize_with = "duration")]
    pub request_head: Duration,
}

/// Trust in `X-Forwarded-For`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Xff {
    /// How many proxies before this one are trusted: so many addresses are taken from the right
    /// end of the field. 0 trusts none: what the client sent is dropped.
    pub trusted_hops: u8,
}

/// How paths are brought to one spelling; see `hangu::route::path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PathNormalization {
    /// Whether it is done. When not, paths are matched and forwarded as they came.
    pub enabled: bool,
    /// What happens to `%2F` and `%5C` (`/` and `\`), which upstreams read in different ways.
    pub escaped_slashes: Ambiguous,
    /// What happens to `%00`.
    pub escaped_nul: Ambiguous,
    /// What happens to a `%` that two hexadecimal digits do not follow; kept, it goes on as `%25`.
    pub malformed_escapes: Ambiguous,
}

impl Default for PathNormalization {
    /// On, and nothing ambiguous goes on: each leniency is one switch, all are off.
    fn default() -> Self {
        Self {
            enabled: true,
            escaped_slashes: Ambiguous::Refuse,
            escaped_nul: Ambiguous::Refuse,
            malformed_escapes: Ambiguous::Refuse,
        }
    }
}

/// What happens to something that upstreams may read in different ways.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Ambiguous {
    /// The request is answered with 400.
    #[default]
    Refuse,
    /// It goes on as it came.
    Keep,
}

fn protocols<S: Serializer>(all: &[&Protocol], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(all.iter().map(|it| it.name))
}

fn protocol<S: Serializer>(one: &&Protocol, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(one.name)
}

fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::text::write_duration(*value))
}

fn duration_or_none<S: Serializer>(
    value: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => duration(value, serializer),
        None => serializer.serialize_none(),
    }
}
