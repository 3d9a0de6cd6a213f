//! Clusters as they are written.

use std::{collections::BTreeMap, num::NonZeroU32};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AddressText, CodeName, DurationText, Limits, ProtocolName, StatusText, Tcp};
use crate::model;

/// Endpoints that offer the same service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Unique among clusters; stands in metrics and logs.
    pub name: String,
    /// What the endpoints speak.
    pub protocol: ProtocolName,
    /// How an endpoint is chosen. Default: `round_robin`.
    #[serde(default)]
    pub balance: model::Balance,
    /// How long to wait for a connection to stand. Default: `5s`.
    #[serde(default)]
    pub connect_timeout: Option<DurationText>,
    /// A connection on which nothing is in flight is closed after this long. Default: `10m`.
    #[serde(default)]
    pub idle_timeout: Option<DurationText>,
    /// Connections of one worker to one endpoint. Default: 1024 for protocols that carry one
    /// request at a time (http1), 1 for those that carry many at once without a limit of their own
    /// (bolt), 4 for http2, where a further one is made when the others carry as many as the
    /// endpoint allows.
    #[serde(default)]
    pub connections_per_endpoint_max: Option<NonZeroU32>,
    /// Whether the connections to an endpoint belong to one worker and are used by all, so that
    /// `connections_per_endpoint_max` holds for the process and not for each worker. Saves
    /// upstreams connections where there are many cores; a request to another worker's connection
    /// costs some microseconds more. Only for protocols that carry many requests at once (bolt,
    /// http2).
    /// Default: false.
    #[serde(default)]
    pub share_connections: bool,
    /// Requests of one worker that wait for a connection; one more is answered as overloaded (503).
    /// Default: 1024. 0 lets none wait.
    #[serde(default)]
    pub pending_max: Option<u32>,
    /// Limits of what one connection to an endpoint may ask of the gateway.
    #[serde(default)]
    pub limits: Limits,
    /// Connections to all endpoints, over all workers; a request that would need one more is
    /// answered as overloaded (503). Default: no limit.
    #[serde(default)]
    pub connections_max: Option<NonZeroU32>,
    /// Requests in flight, over all workers; more are answered as overloaded (503). Default: no
    /// limit.
    #[serde(default)]
    pub requests_max: Option<NonZeroU32>,
    /// How dead endpoints are noticed.
    #[serde(default)]
    pub tcp: Tcp,
    /// Name of the application that the endpoints run, for the access log where a request does not
    /// name it.
    #[serde(default)]
    pub app: Option<String>,
    /// Further tries of requests that no endpoint has begun to work on, and of calls of gRPC that
    /// ended with some statuses.
    #[serde(default)]
    pub retry: Retry,
    /// Finds out which endpoints work. Default: none, all are taken to work.
    #[serde(default)]
    pub health_check: Option<HealthCheck>,
    /// Addresses by name, in addition to `endpoints`.
    #[serde(default)]
    pub dns: Option<Dns>,
    /// Addresses. At least one, or `dns`.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// Further tries: of requests of which no byte was sent, because no connection came about, of
/// idempotent HTTP requests without a body whose kept connection closed without an answer, and of
/// calls of gRPC that ended with some statuses.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Tries after the first, at another endpoint where there is one. Default: 2. 0 turns them off.
    #[serde(default)]
    #[schemars(range(max = 16))]
    pub attempts_max: Option<u8>,
    /// Bounds what tries add to the load.
    #[serde(default)]
    pub budget: RetryBudget,
    /// A call of gRPC that ends with one of these statuses before any message of an answer came is
    /// sent again, whatever it did at the endpoint that answered: name those alone that say that it
    /// did nothing, or after which a second time does no harm. The head of an answer is held back
    /// until the first message comes. For clusters of protocol `http2`. Default: none.
    #[serde(default)]
    pub grpc_on: Vec<CodeName>,
}

/// What further tries may add to the load of a cluster.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// So many further tries for a hundred requests. Default: 20.
    #[serde(default)]
    #[schemars(range(max = 100))]
    pub percent: Option<u8>,
    /// So many further tries a second are always allowed, so that a cluster with few requests has
    /// some too. Default: 10.
    #[serde(default)]
    pub min_per_second: Option<u32>,
}

/// Finds out which endpoints work: one of `tcp`, `http`, `grpc` and `bolt`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// A connection stands; it is closed again.
    #[serde(default)]
    pub tcp: Option<TcpProbe>,
    /// A GET request is answered with one of some statuses. For clusters of protocol `http1` or
    /// `http2`.
    #[serde(default)]
    pub http: Option<HttpProbe>,
    /// The service says that it serves (`grpc.health.v1.Health/Check`). For clusters of protocol
    /// `http2`.
    #[serde(default)]
    pub grpc: Option<GrpcProbe>,
    /// A heartbeat is answered. For clusters of protocol `bolt`.
    #[serde(default)]
    pub bolt: Option<BoltProbe>,
    /// From one probe of an endpoint to the next. Default: `5s`.
    #[serde(default)]
    pub interval: Option<DurationText>,
    /// A probe that took longer has failed; at most the interval. Default: `1s`.
    #[serde(default)]
    pub timeout: Option<DurationText>,
    /// Failures in a row after which an endpoint gets no more requests. Default: 3.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy_threshold: Option<NonZeroU32>,
    /// Successes in a row after which it gets requests again. Default: 2.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub healthy_threshold: Option<NonZeroU32>,
    /// The interval varies at random by so much to both sides, so that many gateways do not probe
    /// at the same instant. Default: 10.
    #[serde(default)]
    #[schemars(range(max = 50))]
    pub jitter_percent: Option<u8>,
}

/// A probe that connects.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {}

/// A probe by a GET request.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// The path, with a query if needed.
    pub path: String,
    /// Value of the `Host` field. Default: the address of the endpoint.
    #[serde(default)]
    pub host: Option<String>,
    /// Statuses of an endpoint that works: `204` or `200-299`. Default: `200-299`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub expected_statuses: Option<Vec<StatusText>>,
}

/// A probe by the health service of gRPC.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcProbe {
    /// The service that is asked about, such as `shop.Orders`. Default: empty, the server as a
    /// whole.
    #[serde(default)]
    pub service: String,
    /// The authority that the request names. Default: the address of the endpoint.
    #[serde(default)]
    pub host: Option<String>,
}

/// A probe by a heartbeat of Bolt.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoltProbe {}

/// Addresses by name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// Names whose addresses are endpoints. An address that comes by several names is one endpoint.
    #[schemars(length(min = 1))]
    pub names: Vec<DnsName>,
    /// Which addresses of a host are taken. Default: `any`, IPv4 and IPv6.
    #[serde(default)]
    pub family: model::Family,
    /// A name is asked for again when the TTL of its answer has passed, but not sooner than this.
    /// Default: `1s`.
    #[serde(default)]
    pub ttl_min: Option<DurationText>,
    /// Nor later than this. Default: `5m`.
    #[serde(default)]
    pub ttl_max: Option<DurationText>,
    /// Servers that are asked. Default: those of the system (`/etc/resolv.conf`).
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub servers: Option<Vec<AddressText>>,
    /// How long a server may take to answer. Default: `2s`.
    #[serde(default)]
    pub timeout: Option<DurationText>,
    /// Addresses that are taken at most; what is more is left out. Default: 1024.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65536))]
    pub endpoints_max: Option<NonZeroU32>,
}

/// A name: `host` with `port` (A and AAAA), or `service` (SRV).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsName {
    /// A host, such as `app.internal`.
    #[serde(default)]
    pub host: Option<String>,
    /// Port of the endpoints at that host.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<std::num::NonZeroU16>,
    /// A service, such as `_http._tcp.app.internal`; host, port and weight of each endpoint come
    /// with the answer, and those of the lowest priority number are taken.
    #[serde(default)]
    pub service: Option<String>,
    /// Share of the requests of each address of the host, in proportion to the other endpoints.
    /// Default: 1.
    #[serde(default)]
    pub weight: Option<NonZeroU32>,
    /// Free names and values, shown by the admin API; `zone` is the zone of the endpoints.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// One address of a cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// IP address and port, such as `10.0.0.1:8080`. Names are not resolved.
    pub address: AddressText,
    /// Share of the requests, in proportion to the other endpoints. Default: 1.
    #[serde(default)]
    pub weight: Option<NonZeroU32>,
    /// Free names and values, shown by the admin API; `zone` is the zone of the endpoint and a
    /// field of the access log.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}
