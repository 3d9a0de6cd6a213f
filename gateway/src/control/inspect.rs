//! What the control thread asks of the gateway, and in which shape it shows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hangu_config::{Balance, Config};
use serde::Serialize;

use crate::telemetry::Metrics;

/// An answer that workers give in their own time.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the control thread asks of the gateway.
pub trait Inspect: Send + Sync + 'static {
    /// Whether all listeners accept and the gateway is not stopping.
    fn is_ready(&self) -> bool;

    /// The configuration that is in force.
    fn config(&self) -> Arc<Config>;

    /// The counters of all workers.
    fn metrics(&self) -> Metrics;

    /// Open connections of either side, at most `limit`.
    fn connections(&self, limit: usize) -> Answer<Vec<ConnectionView>>;

    /// Stops: no new connections and requests, those in flight get `grace` to end. Comes back at
    /// once; a second call with a shorter grace shortens it.
    fn stop(&self, grace: Duration);
}

/// One open connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionView {
    /// Index of its worker.
    pub worker: usize,
    /// Which side of the gateway it is on.
    #[serde(flatten)]
    pub side: Side,
    /// What is spoken on it; `None` before the first bytes have told.
    pub protocol: Option<&'static str>,
    /// The other end.
    pub peer: Option<SocketAddr>,
    /// Streams that have not ended.
    pub streams: usize,
    /// Since it was accepted or established, milliseconds.
    pub age_ms: u64,
    /// Bytes that wait to be written.
    pub pending_bytes: usize,
}

/// Which side of the gateway a connection is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "side", rename_all = "snake_case")]
pub enum Side {
    /// Accepted.
    Downstream {
        /// Name of the listener.
        listener: String,
    },
    /// Made by the gateway.
    Upstream {
        /// Name of the cluster.
        cluster: String,
    },
}

/// One cluster, all workers together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// What its endpoints speak.
    pub protocol: &'static str,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Requests given to it so far.
    pub requests: u64,
    /// Requests that wait for an answer.
    pub requests_active: u64,
    /// Requests that wait for a connection.
    pub requests_pending: u64,
    /// Median of the time from forwarding to the end of the answer, microseconds.
    pub duration_p50_us: Option<u64>,
    /// The same for 99 of 100 requests.
    pub duration_p99_us: Option<u64>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint, all workers together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointView {
    /// IP address and port.
    pub address: SocketAddr,
    /// Share of the requests in proportion to the others.
    pub weight: u32,
    /// Free names and values.
    pub labels: BTreeMap<String, String>,
    /// Open connections to it.
    pub connections_active: u64,
    /// Connections to it that could not be established.
    pub connect_failures: u64,
    /// Requests given to it so far.
    pub requests: u64,
    /// Requests that wait for its answer.
    pub requests_active: u64,
}

/// All clusters of a configuration with what was counted of them. The counters' layout is that of
/// the same configuration.
pub(super) fn clusters(config: &Config, metrics: &Metrics) -> Vec<ClusterView> {
    let view = |(index, cluster): (usize, &hangu_config::Cluster)| {
        let durations = metrics.cluster_durations(index);
        let endpoint = |(at, endpoint): (usize, &hangu_config::Endpoint)| EndpointView {
            address: endpoint.address,
            weight: endpoint.weight,
            labels: endpoint.labels.clone(),
            connections_active: metrics.endpoint_sum(index, at, |it| &it.connections_active),
            connect_failures: metrics.endpoint_sum(index, at, |it| &it.connect_failures),
            requests: metrics.endpoint_sum(index, at, |it| &it.requests),
            requests_active: metrics.endpoint_sum(index, at, |it| &it.requests_active),
        };
        ClusterView {
            name: cluster.name.clone(),
            protocol: cluster.protocol.name,
            balance: cluster.balance,
            requests: metrics.cluster_sum(index, |it| &it.requests),
            requests_active: metrics.cluster_sum(index, |it| &it.requests_active),
            requests_pending: metrics.cluster_sum(index, |it| &it.requests_pending),
            duration_p50_us: durations.quantile_us(0.5),
            duration_p99_us: durations.quantile_us(0.99),
            endpoints: cluster.endpoints.iter().enumerate().map(endpoint).collect(),
        }
    };
    config.clusters.iter().enumerate().map(view).collect()
}
