//! Endpoints by name.
//!
//! A name is asked for again when its answer holds no longer, by a task of its own. A cluster has
//! all that its names gave last: what was found stays when a question is not answered or finds
//! nothing, for a mistake in DNS should not take a cluster out of service.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hangu_config::{Dns, DnsName, DnsTarget, Endpoint, Family};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::{NetError, runtime::TokioRuntimeProvider};
use hickory_resolver::proto::rr::{RData, RecordType};

use super::{Endpoints, vary};

/// After a failure the names are asked for again after this long, then twice as long, and so on.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// At most so long.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Shortest pause after a failure, whatever the configuration says of TTLs.
const RETRY_MIN: Duration = Duration::from_millis(10);

/// The time between two queries varies by so much, so that clusters and gateways do not ask in
/// step.
const JITTER_PERCENT: u8 = 5;

/// The names of a cluster, and what they gave.
pub(super) struct Names {
    cluster: String,
    pub(super) dns: Dns,
    answers: RefCell<Answers>,
    /// Endpoints that were found before this process asked for anything. Those that no name gives
    /// are of a name that did not answer yet, and stay until all have.
    inherited: RefCell<Vec<Endpoint>>,
    /// Names that were not asked for yet.
    unasked: Cell<usize>,
    has_answered: Cell<bool>,
}

impl Names {
    pub(super) fn new(cluster: &str, dns: &Dns, inherited: Vec<Endpoint>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            dns: dns.clone(),
            answers: RefCell::default(),
            unasked: Cell::new(dns.names.len()),
            has_answered: Cell::new(!inherited.is_empty()),
            inherited: RefCell::new(inherited),
        }
    }

    /// The same cluster with other settings: what names gave that it has still is known.
    pub(super) fn succeeded_by(&self, dns: &Dns) -> Self {
        let next = Self::new(&self.cluster, dns, self.inherited.borrow().clone());
        *next.answers.borrow_mut() = self.answers.borrow().clone();
        next
    }

    /// Whether every name was asked for once, or endpoints were known before.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.get()
    }

    /// Publishes all that is known. Where that is nothing, the endpoints stay that there are.
    fn publish(&self, endpoints: &Endpoints) {
        let mut answers = self.answers.borrow_mut();
        answers.forget_others(&self.dns);
        let (mut found, is_whole) = answers.gather(&self.dns);
        let mut inherited = self.inherited.borrow_mut();
        inherited.retain(|it| !is_whole && !found.contains_key(&it.address));
        found.extend(inherited.iter().map(|it| (it.address, it.clone())));
        // In an order that does not depend on that of the answers.
        let mut found: Vec<_> = found.into_values().collect();
        if found.is_empty() {
            return;
        }
        let (max, cluster) = (self.dns.endpoints_max as usize, &self.cluster);
        if found.len() > max {
            tracing::warn!(cluster, found = found.len(), max, "more addresses than are taken");
            found.truncate(max);
        }
        endpoints.gateway.set_discovered(cluster, found);
    }

    /// Asks for a name, and writes down what it gives. What it gave before stays where a question
    /// is not answered, or finds nothing. Fails when that was so of any question.
    async fn ask(
        &self,
        resolver: &TokioResolver,
        name: &DnsName,
        ttl: &mut Duration,
    ) -> Result<(), Failure> {
        let mut failed = None;
        if let DnsTarget::Service { service } = &name.target {
            match services(resolver, service, ttl).await {
                Ok(found) => {
                    self.answers.borrow_mut().services.insert(absolute(service), found);
                }
                Err(failure) => failed = Some(failure),
            }
        }
        let targets = self.answers.borrow().targets(name);
        for target in targets {
            let asked = self.ask_host(resolver, &target.host, ttl).await;
            failed = failed.or(asked.err());
        }
        failed.map_or(Ok(()), Err)
    }

    /// Asks for the addresses of a host. Having none of one family is no failure while there are
    /// some of the other.
    async fn ask_host(
        &self,
        resolver: &TokioResolver,
        host: &str,
        ttl: &mut Duration,
    ) -> Result<(), Failure> {
        let mut found = Vec::new();
        for kind in kinds(self.dns.family) {
            found.push((*kind, addresses(resolver, host, *kind, ttl).await));
        }
        let has_some = found.iter().any(|it| it.1.is_ok());
        let mut failed = None;
        for (kind, result) in found {
            let known = match result {
                Ok(addresses) => addresses,
                Err(failure) if failure.is_nothing() && has_some => Vec::new(),
                Err(failure) => {
                    failed = failed.or(Some(failure));
                    continue;
                }
            };
            self.answers.borrow_mut().hosts.insert((absolute(host), kind), known);
        }
        failed.map_or(Ok(()), Err)
    }
}

/// What questions gave last.
#[derive(Clone, Default)]
struct Answers {
    hosts: HashMap<(String, RecordType), Vec<IpAddr>>,
    services: HashMap<String, Vec<Target>>,
}

/// Where endpoints are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    weight: u32,
}

impl Answers {
    /// The hosts of a name, as far as they are known.
    fn targets(&self, name: &DnsName) -> Vec<Target> {
        match &name.target {
            DnsTarget::Host { host, port, weight } => {
                vec![Target { host: host.clone(), port: *port, weight: *weight }]
            }
            DnsTarget::Service { service } => {
                self.services.get(&absolute(service)).cloned().unwrap_or_default()
            }
        }
    }

    /// All endpoints that are known, and whether every question was answered once. An address that
    /// several names give stands once, by the first of them.
    fn gather(&self, dns: &Dns) -> (BTreeMap<SocketAddr, Endpoint>, bool) {
        let (mut found, mut is_whole) = (BTreeMap::new(), true);
        for name in &dns.names {
            let targets = self.targets(name);
            is_whole &= !targets.is_empty();
            for Target { host, port, weight } in targets {
                let host = absolute(&host);
                for kind in kinds(dns.family) {
                    let known = self.hosts.get(&(host.clone(), *kind));
                    is_whole &= known.is_some();
                    for ip in known.into_iter().flatten() {
                        let address = SocketAddr::new(*ip, port);
                        let labels = name.labels.clone();
                        found.entry(address).or_insert(Endpoint { address, weight, labels });
                    }
                }
            }
        }
        (found, is_whole)
    }

    /// Forgets what belongs to no name any more.
    fn forget_others(&mut self, dns: &Dns) {
        let is_asked = |service: &str| {
            dns.names.iter().any(|it| {
                matches!(&it.target, DnsTarget::Service { service: it } if absolute(it) == service)
            })
        };
        self.services.retain(|service, _| is_asked(service));
        let targets = dns.names.iter().flat_map(|it| self.targets(it));
        let hosts: HashSet<_> = targets.map(|it| absolute(&it.host)).collect();
        self.hosts.retain(|(host, _), _| hosts.contains(host));
    }
}

/// Asks for one of the names again and again: one that fails holds no other up.
pub(super) async fn follow(endpoints: Rc<Endpoints>, names: Rc<Names>, at: usize) {
    let (dns, cluster) = (&names.dns, &names.cluster);
    let Some(name) = dns.names.get(at) else { return };
    let (mut made, mut retry, mut is_first) = (None, RETRY_FIRST, true);
    loop {
        let mut ttl = Duration::MAX;
        let asked = match keep(&mut made, || resolver(dns)) {
            Ok(resolver) => names.ask(resolver, name, &mut ttl).await,
            // As when /etc/resolv.conf cannot be read: it may be there the next time.
            Err(error) => Err(error.into()),
        };
        let ttl = ttl.clamp(dns.ttl_min, dns.ttl_max);
        let wait = match asked {
            Ok(()) => {
                endpoints.count_query(cluster, "ok");
                retry = RETRY_FIRST;
                ttl
            }
            Err(Failure { result, why }) => {
                endpoints.count_query(cluster, result);
                let (DnsTarget::Host { host: name, .. } | DnsTarget::Service { service: name }) =
                    &name.target;
                tracing::warn!(cluster, name, result, why, "not resolved; what was found stays");
                let wait = retry.clamp(RETRY_MIN, dns.ttl_max.max(RETRY_MIN));
                retry = (retry * 2).min(RETRY_MAX);
                wait.min(ttl)
            }
        };
        names.publish(&endpoints);
        if std::mem::take(&mut is_first) {
            names.unasked.set(names.unasked.get().saturating_sub(1));
            if names.unasked.get() == 0 {
                names.has_answered.set(true);
                endpoints.answered.notify_waiters();
            }
        }
        tokio::time::sleep(vary(wait, JITTER_PERCENT)).await;
    }
}

/// What was made before, or now.
fn keep<T, E>(made: &mut Option<T>, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
    match made {
        Some(made) => Ok(made),
        None => Ok(made.insert(make()?)),
    }
}

/// Why a question gave nothing.
struct Failure {
    /// As it is counted.
    result: &'static str,
    why: String,
}

impl Failure {
    /// An answer without anything that was asked for.
    fn empty(why: &str) -> Self {
        Self { result: "empty", why: why.to_owned() }
    }

    /// Whether the answer is that there is nothing.
    fn is_nothing(&self) -> bool {
        matches!(self.result, "empty" | "nxdomain")
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Self { result: result_of(&error), why: error.to_string() }
    }
}

fn result_of(error: &NetError) -> &'static str {
    match error {
        error if error.is_nx_domain() => "nxdomain",
        error if error.is_no_records_found() => "empty",
        NetError::Timeout => "timeout",
        _ => "error",
    }
}

fn resolver(dns: &Dns) -> Result<TokioResolver, NetError> {
    let mut builder = if dns.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = dns.servers.iter().map(name_server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = dns.timeout;
    // How long an answer holds is for `follow` to keep.
    options.cache_size = 0;
    if !dns.servers.is_empty() {
        options.use_hosts_file = ResolveHosts::Never;
    }
    builder.build()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|it| it.port = address.port());
    NameServerConfig::new(address.ip(), true, connections)
}

/// Hosts, ports and weights of a service: those of the lowest priority number (RFC 2782).
async fn services(
    resolver: &TokioResolver,
    service: &str,
    ttl: &mut Duration,
) -> Result<Vec<Target>, Failure> {
    let lookup = resolver.lookup(absolute(service), RecordType::SRV).await?;
    let (mut found, mut holds) = (Vec::new(), Duration::MAX);
    for record in lookup.answers() {
        if let RData::SRV(srv) = &record.data {
            holds = holds.min(Duration::from_secs(record.ttl.into()));
            // A weight of 0 is little, but not nothing.
            let weight = u32::from(srv.weight).max(1);
            let target = Target { host: srv.target.to_string(), port: srv.port, weight };
            found.push((srv.priority, target));
        }
    }
    // The root as a host says that the service is not available.
    found.retain(|it| it.1.host != ".");
    let Some(first) = found.iter().map(|it| it.0).min() else {
        return Err(Failure::empty("the service is not available"));
    };
    *ttl = holds.min(*ttl);
    Ok(found.into_iter().filter(|it| it.0 == first).map(|it| it.1).collect())
}

/// The addresses of a host of one family; at least one.
async fn addresses(
    resolver: &TokioResolver,
    host: &str,
    kind: RecordType,
    ttl: &mut Duration,
) -> Result<Vec<IpAddr>, Failure> {
    let lookup = resolver.lookup(absolute(host), kind).await?;
    let (mut found, mut holds) = (Vec::new(), Duration::MAX);
    for record in lookup.answers() {
        holds = holds.min(Duration::from_secs(record.ttl.into()));
        found.extend(record.data.ip_addr());
    }
    if found.is_empty() {
        return Err(Failure::empty("no address"));
    }
    *ttl = holds.min(*ttl);
    Ok(found)
}

fn kinds(family: Family) -> &'static [RecordType] {
    match family {
        Family::Any => &[RecordType::A, RecordType::AAAA],
        Family::Ipv4 => &[RecordType::A],
        Family::Ipv6 => &[RecordType::AAAA],
    }
}

/// Names are whole: no search domain is tried behind them.
fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_at_first_is_tried_again_and_made_once() {
        let mut made = None;
        assert_eq!(keep(&mut made, || Err("unreadable")), Err("unreadable"));
        assert_eq!(keep(&mut made, || Ok::<_, &str>(1)), Ok(&1));
        assert_eq!(keep(&mut made, || Err("not asked")), Ok(&1));
    }
}
