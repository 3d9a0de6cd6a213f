//! What a worker routes by: one version of the configuration, compiled, never changed.
//!
//! Listeners, clusters and endpoints are named by their places in the [`Roster`], which outlast a
//! version; routes by their index in the version.

mod learnt;
mod roster;

pub use learnt::{Learnt, LearntMember};
pub use roster::{ClusterPlace, Discovered, Lease, ListenerPlace, Member, Roster};

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hangu_codecs::{Head, Limits, Protocol};
use hangu_config::{Cluster, Config, Listener, Tcp, TraceIds};

use crate::{
    route::{CompileError, RouteTable},
    telemetry::{ClusterNames, EndpointName, Layout, ListenerName, RouteNames},
};

/// One version of the configuration, compiled. Cloning shares; see [`Snapshot::for_worker`].
#[derive(Clone)]
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    /// The places of listeners, clusters and endpoints.
    pub roster: Roster,
    tables: Arc<[Table]>,
}

#[derive(Clone)]
struct Table {
    routes: RouteTable,
    /// Index of the table's first route among all routes.
    first_route: usize,
    names: Vec<RouteNames>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Index among all routes of all tables.
    pub route: usize,
    /// Place of the cluster.
    pub cluster: usize,
    /// From the begin of the request to the end of the response.
    pub timeout: Option<Duration>,
}

/// How many connections and waiting exchanges a pool may have.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Connections of this worker to one endpoint, those being established included.
    pub connections_max: u32,
    /// Exchanges of this worker that wait for one endpoint.
    pub pending_max: u32,
}

/// The compiled routes of a configuration. For many of them that takes seconds.
pub struct Routes(Arc<[Table]>);

impl Routes {
    /// Compiles the routes of a configuration.
    ///
    /// # Errors
    /// A regular expression that does not compile; checked configurations have none.
    pub fn compile(config: &Config) -> Result<Self, CompileError> {
        let mut first_route = 0;
        let tables = config.route_configs.iter().map(|table| {
            let names: Vec<_> = table
                .virtual_hosts
                .iter()
                .flat_map(|host| {
                    host.routes.iter().map(|route| RouteNames {
                        route_config: table.name.clone(),
                        virtual_host: host.name.clone(),
                        name: route.name.clone(),
                    })
                })
                .collect();
            let compiled = Table { routes: RouteTable::compile(table)?, first_route, names };
            first_route += compiled.names.len();
            Ok(compiled)
        });
        tables.collect::<Result<_, CompileError>>().map(Self)
    }
}

impl Snapshot {
    /// Compiles a first configuration.
    ///
    /// # Errors
    /// A regular expression that does not compile; checked configurations have none.
    pub fn compile(config: Config) -> Result<Self, CompileError> {
        let roster = Roster::new(&config, &Discovered::new());
        let routes = Routes::compile(&config)?;
        Ok(Self { config: Arc::new(config), roster, tables: routes.0 })
    }

    /// The next configuration with its routes. What it shares with this one keeps its place.
    #[must_use]
    pub fn succeeded_by(&self, config: Config, routes: Routes, discovered: &Discovered) -> Self {
        let roster = self.roster.succeeded_by(&config, discovered);
        Self { config: Arc::new(config), roster, tables: routes.0 }
    }

    /// The same routes with other endpoints.
    #[must_use]
    pub fn with_endpoints(&self, roster: Roster) -> Self {
        Self { roster, ..self.clone() }
    }

    /// This version with the compiled routes of another one of the same configuration: a worker
    /// keeps its own when only endpoints changed.
    #[must_use]
    pub fn with_routes_of(&self, other: &Self) -> Self {
        Self { tables: Arc::clone(&other.tables), ..self.clone() }
    }

    /// A snapshot of a worker's own: regular expressions keep caches, which threads would have to
    /// share under a lock.
    #[must_use]
    pub fn for_worker(&self) -> Self {
        Self { tables: self.tables.iter().cloned().collect(), ..self.clone() }
    }

    /// Whether nobody else holds this version's compiled routes.
    pub fn is_forgotten(&self) -> bool {
        Arc::strong_count(&self.tables) == 1
    }

    /// The names behind all places and indices.
    pub fn layout(&self) -> Layout {
        let listeners = self
            .roster
            .listeners()
            .iter()
            .map(|it| ListenerName { name: it.settings.name.clone(), is_present: it.is_present });
        let clusters = self.roster.clusters().iter().map(|place| ClusterNames {
            name: place.settings.name.clone(),
            kind: place.settings.protocol.kind,
            is_present: place.is_present,
            endpoints: place
                .members
                .iter()
                .map(|it| EndpointName {
                    address: it.address.to_string(),
                    is_present: it.is_present,
                })
                .collect(),
        });
        Layout {
            listeners: listeners.collect(),
            clusters: clusters.collect(),
            routes: self.tables.iter().flat_map(|it| it.names.iter().cloned()).collect(),
        }
    }

    /// Where a request on this listener goes. `random` decides between weighted clusters.
    pub fn find(&self, listener: usize, head: &Head<'_>, random: u64) -> Option<Found> {
        let table = self.tables.get(self.listener(listener)?.route_config)?;
        let found = match head {
            Head::HttpRequest(request) => table.routes.find_http(request, random)?,
            Head::RpcRequest(rpc) => table.routes.find_rpc(rpc, random)?,
            Head::HttpResponse(_) | Head::RpcResponse(_) => return None,
        };
        Some(Found {
            route: table.first_route + found.route.index,
            cluster: self.roster.place_of_cluster(found.cluster)?,
            timeout: found.route.timeout,
        })
    }

    /// A listener as the last configuration that had it wrote it.
    pub fn listener(&self, place: usize) -> Option<&Listener> {
        self.roster.listeners().get(place).map(|it| &*it.settings)
    }

    /// Whether connections are accepted on a listener.
    pub fn has_listener(&self, place: usize) -> bool {
        self.roster.listeners().get(place).is_some_and(|it| it.is_present)
    }

    /// Whether the configuration has a cluster.
    pub fn has_cluster(&self, place: usize) -> bool {
        self.roster.clusters().get(place).is_some_and(|it| it.is_present)
    }

    /// A cluster as the last configuration that had it wrote it.
    pub fn cluster(&self, place: usize) -> Option<&Cluster> {
        self.roster.clusters().get(place).map(|it| &*it.settings)
    }

    /// An endpoint of a cluster.
    pub fn member(&self, cluster: usize, endpoint: usize) -> Option<&Member> {
        let members = &self.roster.clusters().get(cluster)?.members;
        members.get(endpoint).map(|it| &**it)
    }

    /// The protocols of a listener.
    pub fn protocols(&self, listener: usize) -> &[&'static Protocol] {
        self.listener(listener).map_or(&[], |it| &it.protocols)
    }

    /// The limits of codecs of accepted connections.
    pub fn downstream_limits(&self, listener: usize) -> &Limits {
        self.listener(listener).map_or(default_limits(), |it| &it.limits)
    }

    /// The limits of codecs of connections to a cluster's endpoints.
    pub fn upstream_limits(&self, cluster: usize) -> &Limits {
        self.cluster(cluster).map_or(default_limits(), |it| &it.limits)
    }

    /// How long an accepted connection may be idle, and how long a request head may take.
    pub fn downstream_timeouts(&self, listener: usize) -> (Duration, Option<Duration>) {
        let timeouts = self.listener(listener).map(|it| it.timeouts);
        timeouts.map_or((Duration::MAX, None), |it| (it.idle, Some(it.request_head)))
    }

    /// How long a connection to an endpoint may be idle.
    pub fn upstream_idle(&self, cluster: usize) -> Duration {
        self.cluster(cluster).map_or(Duration::MAX, |it| it.idle_timeout)
    }

    /// The protocol of a cluster, and the limits of its pools.
    pub fn pool(&self, cluster: usize) -> Option<(&'static Protocol, PoolLimits)> {
        let cluster = self.cluster(cluster)?;
        let limits = PoolLimits {
            connections_max: cluster.connections_per_endpoint_max,
            pending_max: cluster.pending_max,
        };
        Some((cluster.protocol, limits))
    }

    /// Whether all workers use the same connections to a cluster's endpoints.
    pub fn shares_connections(&self, cluster: usize) -> bool {
        self.cluster(cluster).is_some_and(|it| it.share_connections)
    }

    /// Address of an endpoint, how long connecting to it may take, and the options of the
    /// connection.
    pub fn dial(&self, cluster: usize, endpoint: usize) -> Option<(SocketAddr, Duration, Tcp)> {
        let address = self.member(cluster, endpoint)?.address;
        let settings = self.cluster(cluster)?;
        Some((address, settings.connect_timeout, settings.tcp))
    }

    /// What happens to requests on a listener that carry no trace id.
    pub fn trace_ids(&self, listener: usize) -> TraceIds {
        self.listener(listener).map_or(TraceIds::Keep, |it| it.trace_ids)
    }

    /// The zone of the gateway; empty when none is configured.
    pub fn zone(&self) -> &str {
        self.config.zone.as_deref().unwrap_or_default()
    }

    /// The zone of an endpoint; empty when it is not known.
    pub fn endpoint_zone(&self, cluster: usize, endpoint: usize) -> &str {
        let endpoint = self.member(cluster, endpoint);
        endpoint.and_then(|it| it.labels.get("zone")).map_or("", |it| it)
    }

    /// The application that the endpoints of a cluster run; empty when it is not known.
    pub fn cluster_app(&self, cluster: usize) -> &str {
        self.cluster(cluster).and_then(|it| it.app.as_deref()).unwrap_or_default()
    }

    /// Name of a listener.
    pub fn listener_name(&self, listener: usize) -> &str {
        self.listener(listener).map_or("", |it| &it.name)
    }

    /// Name of a cluster.
    pub fn cluster_name(&self, cluster: usize) -> &str {
        self.cluster(cluster).map_or("", |it| &it.name)
    }

    /// The index of a route of another version in this one, if it is still there.
    pub fn route_now(&self, then: &Self, route: usize) -> Option<usize> {
        if Arc::ptr_eq(&self.config, &then.config) {
            return Some(route);
        }
        let names = then.route_names(route)?;
        let table = self.tables.iter().find(|it| {
            it.names.first().is_some_and(|first| first.route_config == names.route_config)
        })?;
        let place = table.names.iter().position(|it| it == names)?;
        Some(table.first_route + place)
    }

    fn route_names(&self, route: usize) -> Option<&RouteNames> {
        let table = self.tables.iter().rev().find(|it| it.first_route <= route)?;
        table.names.get(route - table.first_route)
    }

    /// Name of a route, by its index among all.
    pub fn route_name(&self, route: usize) -> &str {
        self.route_names(route).map_or("", |it| &it.name)
    }
}

fn default_limits() -> &'static Limits {
    static DEFAULT: std::sync::OnceLock<Limits> = std::sync::OnceLock::new();
    DEFAULT.get_or_init(Limits::default)
}
