//! The names behind the indices that everything is counted by.

use hangu_codecs::protocol::Kind;
use hangu_config::Config;

/// The names of all that is counted, in the order of the indices.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Names of the listeners.
    pub listeners: Vec<String>,
    /// The clusters.
    pub clusters: Vec<ClusterNames>,
    /// The routes, counted through all route configurations and virtual hosts in their order.
    pub routes: Vec<RouteNames>,
}

impl Layout {
    /// The names of all that a configuration holds.
    pub fn of(config: &Config) -> Self {
        let cluster = |it: &hangu_config::Cluster| ClusterNames {
            name: it.name.clone(),
            kind: it.protocol.kind,
            endpoints: it.endpoints.iter().map(|it| it.address.to_string()).collect(),
        };
        let mut routes = Vec::new();
        for table in &config.route_configs {
            for host in &table.virtual_hosts {
                routes.extend(host.routes.iter().map(|route| RouteNames {
                    route_config: table.name.clone(),
                    virtual_host: host.name.clone(),
                    name: route.name.clone(),
                }));
            }
        }
        Self {
            listeners: config.listeners.iter().map(|it| it.name.clone()).collect(),
            clusters: config.clusters.iter().map(cluster).collect(),
            routes,
        }
    }
}

/// The names of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterNames {
    /// Its own name.
    pub name: String,
    /// By what its requests are matched; tells which outcomes are possible.
    pub kind: Kind,
    /// Addresses of its endpoints.
    pub endpoints: Vec<String>,
}

/// The names of a route.
#[derive(Clone, Debug)]
pub struct RouteNames {
    /// The route configuration that it is in.
    pub route_config: String,
    /// The virtual host that it is in.
    pub virtual_host: String,
    /// Its own name.
    pub name: String,
}
