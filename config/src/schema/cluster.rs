//! Clusters as they are written.

use std::{collections::BTreeMap, num::NonZeroU32};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AddressText, DurationText, Limits, ProtocolName};
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
    /// request at a time (http1), 1 for those that carry many at once (bolt).
    #[serde(default)]
    pub connections_per_endpoint_max: Option<NonZeroU32>,
    /// Whether the connections to an endpoint belong to one worker and are used by all, so that
    /// `connections_per_endpoint_max` holds for the process and not for each worker. Saves
    /// upstreams connections where there are many cores; a request to another worker's connection
    /// costs some microseconds more. Only for protocols that carry many requests at once (bolt).
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
    /// At least one.
    pub endpoints: Vec<Endpoint>,
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
    /// Free names and values, shown by the admin API.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}
