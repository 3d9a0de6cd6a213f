//! The names behind the places and indices that everything is counted by.

use hangu_codecs::protocol::Kind;

/// The names of all that is counted, in the order of the places and indices.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The listeners.
    pub listeners: Vec<ListenerName>,
    /// The clusters.
    pub clusters: Vec<ClusterNames>,
    /// The routes, counted through all route configurations and virtual hosts in their order.
    pub routes: Vec<RouteNames>,
}

/// The name of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerName {
    /// Its name.
    pub name: String,
    /// Whether the configuration has it; one that it left out may still have connections.
    pub is_present: bool,
}

/// The names of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNames {
    /// Its own name.
    pub name: String,
    /// By what its requests are matched; tells which outcomes are possible.
    pub kind: Kind,
    /// Whether the configuration has it; one that it left out may still have connections.
    pub is_present: bool,
    /// Its endpoints.
    pub endpoints: Vec<EndpointName>,
}

/// The name of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointName {
    /// IP address and port.
    pub address: String,
    /// Whether its cluster has it; one that is gone may still have connections.
    pub is_present: bool,
}

/// The names of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteNames {
    /// The route configuration that it is in.
    pub route_config: String,
    /// The virtual host that it is in.
    pub virtual_host: String,
    /// Its own name.
    pub name: String,
}
