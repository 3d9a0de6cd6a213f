//! What a running gateway learnt of its endpoints, as it goes to a successor.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// What was learnt of the endpoints of all clusters, by place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    /// By place of the cluster.
    pub clusters: Vec<Vec<LearntMember>>,
    /// Endpoints that were found by DNS, by name of the cluster.
    pub discovered: BTreeMap<String, Vec<SocketAddr>>,
}

/// What was learnt of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearntMember {
    /// IP address and port.
    pub address: SocketAddr,
    /// Share of the requests.
    pub weight: u32,
    /// Free names and values.
    pub labels: BTreeMap<String, String>,
    /// Whether its cluster has it still.
    pub is_present: bool,
    /// What the health checks say.
    pub is_healthy: bool,
    /// Whether the operator drains it.
    pub is_draining: bool,
}
