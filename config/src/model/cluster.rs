//! Clusters: endpoints that offer the same service.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use hangu_codecs::{Limits, Protocol};
use serde::Serialize;

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
    /// At least one.
    pub endpoints: Vec<Endpoint>,
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
    /// Free names and values, shown by the admin API.
    pub labels: BTreeMap<String, String>,
}
