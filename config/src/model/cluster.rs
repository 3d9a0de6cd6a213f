//! Clusters: endpoints that offer the same service.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use hangu_codecs::{Limits, Protocol, grpc::Code};
use serde::Serialize;

use super::Tcp;

/// Endpoints that offer the same service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// Unique among clusters; the label in metrics and logs.
    pub name: String,
    /// What the endpoints speak.
    #[serde(serialize_with = "super::protocol")]
    pub protocol: &'static Protocol,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// From the first SYN until the connection stands; not zero.
    #[serde(serialize_with = "super::duration")]
    pub connect_timeout: Duration,
    /// A pooled connection without a stream is closed after this long; not zero.
    #[serde(serialize_with = "super::duration")]
    pub idle_timeout: Duration,
    /// Connections of one worker to one endpoint; at least 1.
    pub connections_per_endpoint_max: u32,
    /// The connections to an endpoint belong to one worker and are used by all.
    pub share_connections: bool,
    /// Exchanges of one worker that wait for a connection of this cluster; one more is answered
    /// as overloaded. 0 lets none wait.
    pub pending_max: u32,
    /// Limits of the codecs of connections to the endpoints.
    pub limits: Limits,
    /// Connections to all endpoints, over all workers; at least 1. `None` sets no limit.
    pub connections_max: Option<u32>,
    /// Requests in flight, over all workers; at least 1. `None` sets no limit.
    pub requests_max: Option<u32>,
    /// Options of connections to the endpoints.
    pub tcp: Tcp,
    /// Application that the endpoints run.
    pub app: Option<String>,
    /// Further tries of requests that no endpoint has begun to work on, and of some calls of gRPC.
    pub retry: Retry,
    /// Finds out which endpoints work; `None` takes all to work.
    pub health_check: Option<HealthCheck>,
    /// Endpoints by name, in addition to `endpoints`.
    pub dns: Option<Dns>,
    /// At least one, unless there is `dns`.
    pub endpoints: Vec<Endpoint>,
}

/// Further tries: of requests of which no byte was sent, of idempotent HTTP requests without a body
/// whose kept connection closed without an answer, and of calls of gRPC that ended with some
/// statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Tries after the first, 0 to 16; 0 turns them off.
    pub attempts_max: u8,
    /// Bounds what tries add to the load.
    pub budget: RetryBudget,
    /// How calls of gRPC end that are sent again; none where the cluster does not speak HTTP/2.
    pub grpc_on: Codes,
}

/// A set of statuses of gRPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codes(u32);

impl Codes {
    /// Whether a status is in the set.
    pub fn contains(self, code: Code) -> bool {
        self.0 & Self::bit(code) != 0
    }

    /// Whether no status is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn bit(code: Code) -> u32 {
        // Numbers end at 16.
        1 << code.number()
    }
}

impl FromIterator<Code> for Codes {
    fn from_iter<I: IntoIterator<Item = Code>>(codes: I) -> Self {
        Self(codes.into_iter().fold(0, |all, code| all | Self::bit(code)))
    }
}

impl Serialize for Codes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = Code::ALL.into_iter().filter(|it| self.contains(*it));
        serializer.collect_seq(all.map(Code::name))
    }
}

/// What further tries may add to the load of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RetryBudget {
    /// So many further tries for a hundred requests; 0 to 100.
    pub percent: u8,
    /// So many further tries a second are always allowed.
    pub min_per_second: u32,
}

/// Finds out which endpoints work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// What is tried.
    #[serde(flatten)]
    pub probe: Probe,
    /// From one probe of an endpoint to the next.
    #[serde(serialize_with = "super::duration")]
    pub interval: Duration,
    /// A probe that took longer has failed; at most `interval`.
    #[serde(serialize_with = "super::duration")]
    pub timeout: Duration,
    /// Failures in a row after which an endpoint does not work; 1 to 1000.
    pub unhealthy_threshold: u32,
    /// Successes in a row after which it works again; 1 to 1000.
    pub healthy_threshold: u32,
    /// The interval varies at random by so much to both sides; 0 to 50.
    pub jitter_percent: u8,
}

/// What a health check tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A connection stands.
    Tcp {},
    /// A GET request is answered; the cluster speaks HTTP.
    Http {
        /// Target of the request (RFC 9112 §3.2.1): begins with `/`, visible ASCII characters.
        path: String,
        /// Value of the `Host` field, visible ASCII characters; `None` is the endpoint's address.
        host: Option<String>,
        /// The endpoint works when the status is in one of these; at least one.
        expected_statuses: Vec<Statuses>,
    },
    /// The health service of gRPC says that a service is served; the cluster speaks HTTP/2.
    Grpc {
        /// The service; empty for the server as a whole. At most 4,096 bytes.
        service: String,
        /// The authority, visible ASCII characters; `None` is the endpoint's address.
        host: Option<String>,
    },
    /// A heartbeat is answered; the cluster speaks Bolt.
    Bolt {},
}

/// A range of statuses of HTTP within 100 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// The first that is in.
    pub first: u16,
    /// The last that is in; not below the first.
    pub last: u16,
}

impl Statuses {
    /// Whether a status is in the range.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl std::fmt::Display for Statuses {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            return write!(formatter, "{}", self.first);
        }
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

impl Serialize for Statuses {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Endpoints by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// At least one.
    pub names: Vec<DnsName>,
    /// Which addresses of a host are taken.
    pub family: Family,
    /// A name is not asked for again sooner than this.
    #[serde(serialize_with = "super::duration")]
    pub ttl_min: Duration,
    /// Nor later than this; not below `ttl_min`.
    #[serde(serialize_with = "super::duration")]
    pub ttl_max: Duration,
    /// Servers that are asked, each once; empty for those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long a server may take to answer.
    #[serde(serialize_with = "super::duration")]
    pub timeout: Duration,
    /// Addresses that are taken at most; 1 to 65536.
    pub endpoints_max: u32,
}

/// A name whose addresses are endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DnsName {
    /// What is asked for.
    #[serde(flatten)]
    pub target: DnsTarget,
    /// Labels of each of its endpoints.
    pub labels: BTreeMap<String, String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DnsTarget {
    /// Addresses of a host (A and AAAA, RFC 1035 and 3596).
    Host {
        /// Its name, in lower case, without a dot at its end, at most 253 bytes.
        host: String,
        /// Port of each endpoint; not 0.
        port: u16,
        /// Weight of each endpoint; at least 1.
        weight: u32,
    },
    /// Hosts, ports and weights of a service (SRV, RFC 2782).
    Service {
        /// Its name, as that of a host, such as `_http._tcp.app.internal`.
        service: String,
    },
}

/// Which addresses of a host are taken.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4 and IPv6.
    #[default]
    Any,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

/// How an endpoint of a cluster is chosen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// One after the other, in proportion to their weights.
    #[default]
    RoundRobin,
    /// The one with fewer requests in flight of two drawn at random; with unequal weights the one
    /// with the most weight per request in flight.
    LeastRequest,
}

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// IP address and port.
    pub address: SocketAddr,
    /// Share of the requests in proportion to the others; at least 1.
    pub weight: u32,
    /// Free names and values, shown by the admin API; `zone` is the zone of the endpoint.
    pub labels: BTreeMap<String, String>,
}
