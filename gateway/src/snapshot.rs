//! What a worker routes by: one version of the configuration, compiled, never changed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hangu_codecs::{Head, Limits, Protocol};
use hangu_config::Config;

use crate::{
    route::{CompileError, RouteTable},
    telemetry::{ClusterNames, Layout, RouteNames},
};

/// One version of the configuration, compiled. Cloning shares; see [`Snapshot::for_worker`].
#[derive(Clone)]
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    tables: Arc<[Table]>,
}

#[derive(Clone)]
struct Table {
    routes: RouteTable,
    /// Index of the table's first route among all routes.
    first_route: usize,
    names: Vec<String>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Index among all routes of all tables.
    pub route: usize,
    /// Index of the cluster.
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

impl Snapshot {
    /// Compiles a configuration.
    ///
    /// # Errors
    /// A regular expression that does not compile; checked configurations have none.
    pub fn compile(config: Config) -> Result<Self, CompileError> {
        let mut first_route = 0;
        let tables = config.route_configs.iter().map(|table| {
            let names: Vec<_> = table
                .virtual_hosts
                .iter()
                .flat_map(|host| host.routes.iter().map(|route| route.name.clone()))
                .collect();
            let compiled = Table { routes: RouteTable::compile(table)?, first_route, names };
            first_route += compiled.names.len();
            Ok(compiled)
        });
        let tables = tables.collect::<Result<_, CompileError>>()?;
        Ok(Self { config: Arc::new(config), tables })
    }

    /// A snapshot of a worker's own: regular expressions keep caches, which threads would have to
    /// share under a lock.
    #[must_use]
    pub fn for_worker(&self) -> Self {
        Self { config: Arc::clone(&self.config), tables: self.tables.iter().cloned().collect() }
    }

    /// The names behind all indices.
    pub fn layout(&self) -> Layout {
        let clusters = self.config.clusters.iter().map(|cluster| ClusterNames {
            name: cluster.name.clone(),
            kind: cluster.protocol.kind,
            endpoints: cluster.endpoints.iter().map(|it| it.address.to_string()).collect(),
        });
        let routes = self.config.route_configs.iter().flat_map(|table| {
            table.virtual_hosts.iter().flat_map(move |host| {
                host.routes.iter().map(move |route| RouteNames {
                    route_config: table.name.clone(),
                    virtual_host: host.name.clone(),
                    name: route.name.clone(),
                })
            })
        });
        Layout {
            listeners: self.config.listeners.iter().map(|it| it.name.clone()).collect(),
            clusters: clusters.collect(),
            routes: routes.collect(),
        }
    }

    /// Where a request on this listener goes. `random` decides between weighted clusters.
    pub fn find(&self, listener: usize, head: &Head<'_>, random: u64) -> Option<Found> {
        let table = self.tables.get(self.config.listeners.get(listener)?.route_config)?;
        let found = match head {
            Head::HttpRequest(request) => table.routes.find_http(request, random)?,
            Head::RpcRequest(rpc) => table.routes.find_rpc(rpc, random)?,
            Head::HttpResponse(_) | Head::RpcResponse(_) => return None,
        };
        Some(Found {
            route: table.first_route + found.route.index,
            cluster: found.cluster,
            timeout: found.route.timeout,
        })
    }

    /// The protocols of a listener.
    pub fn protocols(&self, listener: usize) -> &[&'static Protocol] {
        self.config.listeners.get(listener).map_or(&[], |it| &it.protocols)
    }

    /// The limits of codecs of accepted connections.
    pub fn downstream_limits(&self, listener: usize) -> &Limits {
        self.config.listeners.get(listener).map_or(default_limits(), |it| &it.limits)
    }

    /// The limits of codecs of connections to a cluster's endpoints.
    pub fn upstream_limits(&self, cluster: usize) -> &Limits {
        self.config.clusters.get(cluster).map_or(default_limits(), |it| &it.limits)
    }

    /// How long an accepted connection may be idle, and how long a request head may take.
    pub fn downstream_timeouts(&self, listener: usize) -> (Duration, Option<Duration>) {
        let timeouts = self.config.listeners.get(listener).map(|it| it.timeouts);
        timeouts.map_or((Duration::MAX, None), |it| (it.idle, Some(it.request_head)))
    }

    /// How long a connection to an endpoint may be idle.
    pub fn upstream_idle(&self, cluster: usize) -> Duration {
        self.config.clusters.get(cluster).map_or(Duration::MAX, |it| it.idle_timeout)
    }

    /// The protocol of a cluster, and the limits of its pools.
    pub fn pool(&self, cluster: usize) -> Option<(&'static Protocol, PoolLimits)> {
        let cluster = self.config.clusters.get(cluster)?;
        let limits = PoolLimits {
            connections_max: cluster.connections_per_endpoint_max,
            pending_max: cluster.pending_max,
        };
        Some((cluster.protocol, limits))
    }

    /// Whether all workers use the same connections to a cluster's endpoints.
    pub fn shares_connections(&self, cluster: usize) -> bool {
        self.config.clusters.get(cluster).is_some_and(|it| it.share_connections)
    }

    /// Address of an endpoint, and how long connecting to it may take.
    pub fn dial(&self, cluster: usize, endpoint: usize) -> Option<(SocketAddr, Duration)> {
        let cluster = self.config.clusters.get(cluster)?;
        Some((cluster.endpoints.get(endpoint)?.address, cluster.connect_timeout))
    }

    /// Name of a listener.
    pub fn listener_name(&self, listener: usize) -> &str {
        self.config.listeners.get(listener).map_or("", |it| &it.name)
    }

    /// Name of a cluster.
    pub fn cluster_name(&self, cluster: usize) -> &str {
        self.config.clusters.get(cluster).map_or("", |it| &it.name)
    }

    /// Name of a route, by its index among all.
    pub fn route_name(&self, route: usize) -> &str {
        let table = self.tables.iter().rev().find(|it| it.first_route <= route);
        table.and_then(|it| it.names.get(route - it.first_route)).map_or("", |it| it)
    }
}

fn default_limits() -> &'static Limits {
    static DEFAULT: std::sync::OnceLock<Limits> = std::sync::OnceLock::new();
    DEFAULT.get_or_init(Limits::default)
}
