//! What the control thread asks of the gateway, and in which shape it shows it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hangu_config::{Balance, Config};
use serde::Serialize;

use crate::snapshot::{ClusterPlace, Member, Roster};
use crate::{snapshot::Snapshot, start::Leaving, swap, telemetry::Metrics, worker::Balancer};

/// An answer that workers give in their own time.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Why a configuration was not put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// In words.
    pub why: String,
    /// Whether the same configuration may be taken later, as when a port is in use.
    pub may_pass: bool,
}

/// What the control thread asks of the gateway.
pub trait Inspect: Send + Sync + 'static {
    /// Whether all listeners accept and the gateway is not stopping.
    fn is_ready(&self) -> bool;

    /// What requests are routed by.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// The configuration that is in force.
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.snapshot().config)
    }

    /// The counters of all workers.
    fn metrics(&self) -> Metrics;

    /// Open connections of either side that a filter lets through, at most `limit`.
    fn connections(&self, filter: ConnectionFilter, limit: usize) -> Answer<Vec<ConnectionView>>;

    /// The sockets of all listeners, those whose port the system chose excepted, through
    /// descriptors of the caller's own.
    fn listening(&self) -> Answer<Vec<TcpListener>>;

    /// One answer of each worker, which it gives as soon as it has a turn.
    fn pulses(&self) -> Vec<Answer<()>>;

    /// Puts another configuration in force, whole or not at all; comes back when it is.
    ///
    /// # Errors
    /// Why the old one stays.
    fn apply(&self, config: Config) -> Result<(), Refused>;

    /// Lets an endpoint get no new requests, or again; false if there is no such endpoint.
    ///
    /// # Errors
    /// It is another process's to say that now.
    fn set_draining(
        &self,
        cluster: &str,
        endpoint: SocketAddr,
        is_draining: bool,
    ) -> Result<bool, Leaving>;

    /// Sets the endpoints of a cluster that were found by asking for them, all of them each time.
    fn set_discovered(&self, cluster: &str, endpoints: Vec<hangu_config::Endpoint>);

    /// Says whether the health checks take an endpoint to work; false if there is no such endpoint.
    fn set_health(&self, cluster: &str, endpoint: SocketAddr, is_healthy: bool) -> bool;

    /// Opens the file of the access log anew, if there is one; comes back at once.
    fn reopen_log(&self);

    /// Counts the versions that were published: configurations, endpoints, health, draining.
    fn changes(&self) -> tokio::sync::watch::Receiver<u64>;

    /// Hands over to another process; blocks until that owns all, or until it is clear that it will
    /// not.
    ///
    /// # Errors
    /// Why this process goes on.
    fn give(
        &self,
        order: swap::Order,
        tell: &mut dyn FnMut(&swap::Report),
    ) -> Result<swap::Given, swap::Refusal>;

    /// Lets a worker that has much more to do than another give a connection away.
    fn balance(&self, balancer: &mut Balancer);

    /// Stops: after the `drain_delay` no new connections and requests, those in flight get `grace`
    /// to end; without a grace there is no delay either. Comes back at once; a second call with a
    /// shorter grace shortens it.
    fn stop(&self, grace: Duration);
}

/// Which connections are shown: those for which all hold that are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// Accepted by the listener of this name.
    pub listener: Option<String>,
    /// Made to an endpoint of the cluster of this name.
    pub cluster: Option<String>,
    /// With this address, and this port if one is given, at the other end.
    pub peer: Option<(IpAddr, Option<u16>)>,
}

/// A connection, as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct FilteredConnection<'a> {
    /// Name of the listener, if it was accepted.
    pub listener: Option<&'a str>,
    /// Name of the cluster, if the gateway made it.
    pub cluster: Option<&'a str>,
    /// The other end.
    pub peer: SocketAddr,
}

impl ConnectionFilter {
    /// Whether a connection is shown.
    pub fn admits(&self, seen: FilteredConnection<'_>) -> bool {
        let fits = |wanted: &Option<String>, name: Option<&str>| {
            wanted.as_deref().is_none_or(|it| name == Some(it))
        };
        let is_peer = |(address, port): (IpAddr, Option<u16>)| {
            seen.peer.ip().to_canonical() == address.to_canonical()
                && port.is_none_or(|it| seen.peer.port() == it)
        };
        fits(&self.listener, seen.listener)
            && fits(&self.cluster, seen.cluster)
            && self.peer.is_none_or(is_peer)
    }
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
    /// What the health checks say; true where there are none.
    pub healthy: bool,
    /// Whether the operator wants it to get no new requests.
    pub draining: bool,
    /// Open connections to it.
    pub connections_active: u64,
    /// Connections to it that could not be established.
    pub connect_failures: u64,
    /// Requests given to it so far.
    pub requests: u64,
    /// Requests that wait for its answer.
    pub requests_active: u64,
}

/// All clusters with what was counted of them, those of DNS among their endpoints. The counters
/// stand at the same places.
pub(super) fn clusters(roster: &Roster, metrics: &Metrics) -> Vec<ClusterView> {
    let places = roster.clusters().iter().enumerate().filter(|(_, it)| it.is_present);
    places.map(|(place, cluster)| cluster_view(place, cluster, metrics)).collect()
}

fn cluster_view(place: usize, cluster: &ClusterPlace, metrics: &Metrics) -> ClusterView {
    let durations = metrics.cluster_durations(place);
    let endpoint = |(at, endpoint): (usize, &Arc<Member>)| EndpointView {
        address: endpoint.address,
        weight: endpoint.weight,
        labels: endpoint.labels.clone(),
        healthy: endpoint.is_healthy,
        draining: endpoint.is_draining,
        connections_active: metrics.endpoint_sum(place, at, |it| &it.connections_active),
        connect_failures: metrics.endpoint_sum(place, at, |it| &it.connect_failures),
        requests: metrics.endpoint_sum(place, at, |it| &it.requests),
        requests_active: metrics.endpoint_sum(place, at, |it| &it.requests_active),
    };
    let members = cluster.members.iter().enumerate().filter(|(_, it)| it.is_present);
    ClusterView {
        name: cluster.settings.name.clone(),
        protocol: cluster.settings.protocol.name,
        balance: cluster.settings.balance,
        requests: metrics.cluster_sum(place, |it| &it.requests),
        requests_active: metrics.cluster_sum(place, |it| &it.requests_active),
        requests_pending: metrics.cluster_sum(place, |it| &it.requests_pending),
        duration_p50_us: durations.quantile_us(0.5),
        duration_p99_us: durations.quantile_us(0.99),
        endpoints: members.map(endpoint).collect(),
    }
}
