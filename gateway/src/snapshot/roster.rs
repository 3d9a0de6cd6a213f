//! The places of listeners, clusters and endpoints, which stay the same from one configuration to
//! the next.
//!
//! Connections, pools and counters outlive the configuration they began under, so they do not name
//! things by their index in it but by a *place* that a thing keeps as long as it is the same
//! thing: a listener with its name, address and protocols, a cluster with its name and protocol,
//! an endpoint with its address. What a new configuration leaves out keeps its place, marked as
//! absent, while connections and requests of it come to their end.
//!
//! Places of listeners and clusters are never given to others: there are as many as an operator
//! ever wrote. Endpoints come and go with DNS, so the place of an absent endpoint is given away
//! once no worker and no earlier version holds its
//! [`Lease`] any more.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use hangu_config::{Cluster, Config, Endpoint, Listener};

/// All places of one version of the configuration. Cloning shares.
#[derive(Clone, Debug)]
pub struct Roster {
    listeners: Arc<[ListenerPlace]>,
    clusters: Arc<[ClusterPlace]>,
    /// The place of each cluster of the configuration.
    of_clusters: Arc<[usize]>,
}

/// The place of a listener.
#[derive(Clone, Debug)]
pub struct ListenerPlace {
    /// The listener as the last configuration that had it wrote it.
    pub settings: Arc<Listener>,
    /// Whether the configuration has it.
    pub is_present: bool,
}

/// The place of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterPlace {
    /// The cluster as the last configuration that had it wrote it.
    pub settings: Arc<Cluster>,
    /// Whether the configuration has it.
    pub is_present: bool,
    /// Its endpoints by place. The same allocation as in the version before when nothing changed.
    pub members: Arc<[Arc<Member>]>,
}

/// The right to an endpoint's place, held by every version of its [`Member`] and by every worker
/// that has anything to do with it.
pub type Lease = Arc<()>;

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// IP address and port.
    pub address: SocketAddr,
    /// Share of the requests in proportion to the others; at least 1.
    pub weight: u32,
    /// Free names and values.
    pub labels: BTreeMap<String, String>,
    /// Whether the configuration or DNS has it.
    pub is_present: bool,
    /// What the health checks say; true where there are none.
    pub is_healthy: bool,
    /// The operator wants it to get no new requests.
    pub is_draining: bool,
    /// Keeps its place.
    pub lease: Lease,
}

impl Member {
    fn new(endpoint: &Endpoint) -> Self {
        Self {
            address: endpoint.address,
            weight: endpoint.weight,
            labels: endpoint.labels.clone(),
            is_present: true,
            is_healthy: true,
            is_draining: false,
            lease: Lease::default(),
        }
    }

    /// Whether it gets new requests.
    pub fn takes_requests(&self) -> bool {
        self.is_present && self.is_healthy && !self.is_draining
    }
}

/// Endpoints that were found by asking for them (DNS), by the name of their cluster.
pub type Discovered = BTreeMap<String, Vec<Endpoint>>;

impl Roster {
    /// Places for a first configuration.
    pub fn new(config: &Config, discovered: &Discovered) -> Self {
        let nothing =
            Self { listeners: Arc::new([]), clusters: Arc::new([]), of_clusters: Arc::new([]) };
        nothing.succeeded_by(config, discovered)
    }

    /// Places for the next configuration: what is the same keeps its place.
    pub fn succeeded_by(&self, config: &Config, discovered: &Discovered) -> Self {
        let mut listeners = self.listeners.to_vec();
        listeners.iter_mut().for_each(|it| it.is_present = false);
        for listener in &config.listeners {
            let settings = Arc::new(listener.clone());
            let place = listeners.iter_mut().find(|it| is_same_listener(&it.settings, listener));
            match place {
                Some(place) => *place = ListenerPlace { settings, is_present: true },
                None => listeners.push(ListenerPlace { settings, is_present: true }),
            }
        }
        let mut clusters = self.clusters.to_vec();
        clusters.iter_mut().for_each(|it| it.is_present = false);
        let mut of_clusters = Vec::with_capacity(config.clusters.len());
        for cluster in &config.clusters {
            let settings = Arc::new(cluster.clone());
            let place = clusters.iter().position(|it| is_same_cluster(&it.settings, cluster));
            let place = place.unwrap_or_else(|| {
                let settings = Arc::clone(&settings);
                clusters.push(ClusterPlace { settings, is_present: true, members: Arc::new([]) });
                clusters.len() - 1
            });
            if let Some(found) = clusters.get_mut(place) {
                found.settings = settings;
                found.is_present = true;
            }
            of_clusters.push(place);
        }
        for place in &mut clusters {
            place.members = members(place, discovered);
        }
        Self {
            listeners: listeners.into(),
            clusters: clusters.into(),
            of_clusters: of_clusters.into(),
        }
    }

    /// The same with the endpoints that were found since.
    #[must_use]
    pub fn with_discovered(&self, discovered: &Discovered) -> Self {
        let mut clusters = self.clusters.to_vec();
        for place in &mut clusters {
            place.members = members(place, discovered);
        }
        Self { clusters: clusters.into(), ..self.clone() }
    }

    /// The same with a change to one endpoint; `None` if there is no such endpoint.
    #[must_use]
    pub fn with_member(
        &self,
        cluster: &str,
        address: SocketAddr,
        change: impl FnOnce(&mut Member),
    ) -> Option<Self> {
        let mut clusters = self.clusters.to_vec();
        let place = clusters.iter_mut().find(|it| it.is_present && it.settings.name == cluster)?;
        let mut members = place.members.to_vec();
        let member = members.iter_mut().find(|it| it.is_present && it.address == address)?;
        let mut changed = Member::clone(member);
        change(&mut changed);
        if changed == **member {
            return Some(self.clone());
        }
        *member = Arc::new(changed);
        place.members = members.into();
        Some(Self { clusters: clusters.into(), ..self.clone() })
    }

    /// All places of listeners.
    pub fn listeners(&self) -> &[ListenerPlace] {
        &self.listeners
    }

    /// All places of clusters.
    pub fn clusters(&self) -> &[ClusterPlace] {
        &self.clusters
    }

    /// The place of a cluster, by its index in the configuration.
    pub fn place_of_cluster(&self, index: usize) -> Option<usize> {
        self.of_clusters.get(index).copied()
    }
}

fn is_same_listener(one: &Listener, other: &Listener) -> bool {
    let protocols = |it: &Listener| it.protocols.iter().map(|it| it.name).collect::<Vec<_>>();
    one.name == other.name && one.address == other.address && protocols(one) == protocols(other)
}

fn is_same_cluster(one: &Cluster, other: &Cluster) -> bool {
    one.name == other.name
        && one.protocol.name == other.protocol.name
        && one.share_connections == other.share_connections
}

/// The endpoints that a cluster has now, those that were there before at their places.
fn members(place: &ClusterPlace, discovered: &Discovered) -> Arc<[Arc<Member>]> {
    let found = discovered.get(&place.settings.name).map_or(&[][..], Vec::as_slice);
    let wanted = place.settings.endpoints.iter().chain(found);
    let mut wanted: Vec<_> = if place.is_present { wanted.collect() } else { Vec::new() };
    // An address that is written and found stands once, as it is written.
    let mut seen = std::collections::HashSet::new();
    wanted.retain(|it| seen.insert(it.address));
    let mut members = place.members.to_vec();
    let mut has_changed = false;
    let mut set = |at: &mut Arc<Member>, now: Member| {
        if **at != now {
            *at = Arc::new(now);
            has_changed = true;
        }
    };
    for member in &mut members {
        let Some(at) = wanted.iter().position(|it| it.address == member.address) else {
            set(member, Member { is_present: false, ..Member::clone(member) });
            continue;
        };
        let endpoint = wanted.swap_remove(at);
        let before = if member.is_present {
            Member::clone(member)
        } else {
            Member { lease: Lease::clone(&member.lease), ..Member::new(endpoint) }
        };
        set(
            member,
            Member {
                weight: endpoint.weight,
                labels: endpoint.labels.clone(),
                is_present: true,
                ..before
            },
        );
    }
    // What is new comes in the order in which it is written: `swap_remove` disturbed that.
    let order = |it: &&Endpoint| {
        let all = place.settings.endpoints.iter().chain(found);
        all.map(|it| it.address).position(|address| address == it.address)
    };
    wanted.sort_by_key(order);
    for endpoint in wanted {
        let new = Arc::new(Member::new(endpoint));
        has_changed = true;
        let is_free = |it: &&mut Arc<Member>| !it.is_present && Arc::strong_count(&it.lease) == 1;
        match members.iter_mut().find(is_free) {
            Some(free) => *free = new,
            None => members.push(new),
        }
    }
    if has_changed { members.into() } else { Arc::clone(&place.members) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
listeners:
  - {name: a, address: 127.0.0.1:1, protocols: [http1], route_config: r}
  - {name: b, address: 127.0.0.1:2, protocols: [http1], route_config: r}
route_configs:
  - {name: r, virtual_hosts: [{name: h, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: c}}]}]}
clusters:
  - {name: d, protocol: http1, endpoints: [{address: 127.0.0.1:9}]}
  - {name: c, protocol: http1, endpoints: [{address: 127.0.0.1:7}, {address: 127.0.0.1:8}]}
";

    fn config(text: &str) -> Config {
        let source = hangu_config::Source { name: "test".to_owned(), text: text.to_owned() };
        hangu_config::load(&[source], &hangu_config::NoValues).expect("a valid configuration")
    }

    fn endpoint(port: u16) -> Endpoint {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Endpoint { address, weight: 1, labels: BTreeMap::new() }
    }

    fn ports(place: &ClusterPlace) -> Vec<(u16, bool)> {
        place.members.iter().map(|it| (it.address.port(), it.is_present)).collect()
    }

    #[test]
    fn what_stays_the_same_keeps_its_place_and_its_allocation() {
        let none = Discovered::new();
        let first = Roster::new(&config(TEXT), &none);
        let swapped = TEXT
            .replace("  - {name: d, protocol: http1, endpoints: [{address: 127.0.0.1:9}]}\n", "");
        let second = first.succeeded_by(&config(&swapped), &none);
        assert_eq!(second.place_of_cluster(0), Some(1));
        assert!(!second.clusters()[0].is_present);
        assert_eq!(ports(&second.clusters()[0]), [(9, false)]);
        assert!(Arc::ptr_eq(&first.clusters()[1].members, &second.clusters()[1].members));
        let third = second.succeeded_by(&config(TEXT), &none);
        assert_eq!(ports(&third.clusters()[0]), [(9, true)]);
        assert_eq!((third.clusters().len(), third.listeners().len()), (2, 2));
    }

    #[test]
    fn a_listener_of_another_address_gets_another_place() {
        let none = Discovered::new();
        let first = Roster::new(&config(TEXT), &none);
        let moved = TEXT.replace("127.0.0.1:2", "127.0.0.1:3");
        let second = first.succeeded_by(&config(&moved), &none);
        let present: Vec<_> = second.listeners().iter().map(|it| it.is_present).collect();
        assert_eq!(present, [true, false, true]);
    }

    #[test]
    fn the_place_of_an_endpoint_that_is_gone_is_given_away_once_nobody_holds_it() {
        let mut found = Discovered::from([("c".to_owned(), vec![endpoint(20)])]);
        let first = Roster::new(&config(TEXT), &found);
        assert_eq!(ports(&first.clusters()[1]), [(7, true), (8, true), (20, true)]);
        let held = Lease::clone(&first.clusters()[1].members[2].lease);
        found.insert("c".to_owned(), Vec::new());
        let second = first.with_discovered(&found);
        drop(first);
        found.insert("c".to_owned(), vec![endpoint(21)]);
        let third = second.with_discovered(&found);
        assert_eq!(ports(&third.clusters()[1]), [(7, true), (8, true), (20, false), (21, true)]);
        drop((held, second));
        found.insert("c".to_owned(), vec![endpoint(22), endpoint(21), endpoint(7)]);
        let fourth = third.with_discovered(&found);
        assert_eq!(ports(&fourth.clusters()[1]), [(7, true), (8, true), (22, true), (21, true)]);
    }

    #[test]
    fn health_and_draining_outlast_a_configuration_that_has_the_endpoint_still() {
        let none = Discovered::new();
        let address = endpoint(7).address;
        let first = Roster::new(&config(TEXT), &none);
        let second = first.with_member("c", address, |it| it.is_draining = true).expect("is there");
        let third = second.succeeded_by(&config(TEXT), &none);
        assert!(!third.clusters()[1].members[0].takes_requests());
        assert!(third.clusters()[1].members[1].takes_requests());
        assert!(third.with_member("c", endpoint(99).address, |_| {}).is_none());
    }
}
