//! Endpoints by name.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hangu_config::{Dns, DnsTarget, Endpoint, Family};
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

/// Asks for the names of a cluster again and again. What was found stays when a query fails or
/// finds nothing: a mistake in DNS should not take a cluster out of service.
pub(super) async fn follow(
    endpoints: Rc<Endpoints>,
    cluster: String,
    dns: Dns,
    has_answered: Rc<Cell<bool>>,
) {
    let resolver = match resolver(&dns) {
        Ok(resolver) => resolver,
        Err(error) => {
            tracing::error!(cluster, %error, "the system's resolver configuration is of no use");
            endpoints.count_query(&cluster, "error");
            has_answered.set(true);
            endpoints.answered.notify_waiters();
            return;
        }
    };
    let mut retry = RETRY_FIRST;
    loop {
        let wait = match resolve(&resolver, &dns).await {
            Ok(found) => {
                endpoints.count_query(&cluster, "ok");
                retry = RETRY_FIRST;
                let wait = found.ttl.clamp(dns.ttl_min, dns.ttl_max);
                publish(&endpoints, &cluster, &dns, found.endpoints);
                wait
            }
            Err(error) => {
                let result = result_of(&error);
                endpoints.count_query(&cluster, result);
                tracing::warn!(cluster, result, %error, "names are not resolved; endpoints stay");
                let wait = retry.clamp(RETRY_MIN, dns.ttl_max.max(RETRY_MIN));
                retry = (retry * 2).min(RETRY_MAX);
                wait
            }
        };
        has_answered.set(true);
        endpoints.answered.notify_waiters();
        tokio::time::sleep(vary(wait, JITTER_PERCENT)).await;
    }
}

fn publish(endpoints: &Endpoints, cluster: &str, dns: &Dns, mut found: Vec<Endpoint>) {
    let max = dns.endpoints_max as usize;
    if found.len() > max {
        tracing::warn!(cluster, found = found.len(), max, "more addresses than are taken");
        found.truncate(max);
    }
    endpoints.gateway.set_discovered(cluster, found);
}

fn result_of(error: &NetError) -> &'static str {
    match error {
        error if error.is_nx_domain() => "nxdomain",
        error if error.is_no_records_found() => "empty",
        NetError::Timeout => "timeout",
        _ => "error",
    }
}

/// What was found, in an order that does not depend on that of the answers.
struct Found {
    endpoints: Vec<Endpoint>,
    ttl: Duration,
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

/// Asks for all names. Fails when one fails, so that no endpoints are lost for it.
async fn resolve(resolver: &TokioResolver, dns: &Dns) -> Result<Found, NetError> {
    let mut all = BTreeMap::new();
    let mut ttl = Duration::MAX;
    for name in &dns.names {
        let targets = match &name.target {
            DnsTarget::Host { host, port, weight } => {
                vec![(host.clone(), *port, *weight)]
            }
            DnsTarget::Service { service } => services(resolver, service, &mut ttl).await?,
        };
        for (host, port, weight) in targets {
            for ip in addresses(resolver, &host, dns.family, &mut ttl).await? {
                let address = SocketAddr::new(ip, port);
                // An address that several names give stands once, by the first of them.
                let labels = name.labels.clone();
                all.entry(address).or_insert(Endpoint { address, weight, labels });
            }
        }
    }
    Ok(Found { endpoints: all.into_values().collect(), ttl })
}

/// Hosts, ports and weights of a service: those of the lowest priority number (RFC 2782).
async fn services(
    resolver: &TokioResolver,
    service: &str,
    ttl: &mut Duration,
) -> Result<Vec<(String, u16, u32)>, NetError> {
    let lookup = resolver.lookup(absolute(service), RecordType::SRV).await?;
    let mut found = Vec::new();
    for record in lookup.answers() {
        *ttl = (*ttl).min(Duration::from_secs(record.ttl.into()));
        if let RData::SRV(srv) = &record.data {
            // A weight of 0 is little, but not nothing.
            let weight = u32::from(srv.weight).max(1);
            found.push((srv.priority, srv.target.to_string(), srv.port, weight));
        }
    }
    let first = found.iter().map(|it| it.0).min();
    found.retain(|it| Some(it.0) == first && it.1 != ".");
    Ok(found.into_iter().map(|it| (it.1, it.2, it.3)).collect())
}

/// The addresses of a host. Having none of one family is no failure while there are some of the
/// other.
async fn addresses(
    resolver: &TokioResolver,
    host: &str,
    family: Family,
    ttl: &mut Duration,
) -> Result<Vec<IpAddr>, NetError> {
    let kinds: &[RecordType] = match family {
        Family::Any => &[RecordType::A, RecordType::AAAA],
        Family::Ipv4 => &[RecordType::A],
        Family::Ipv6 => &[RecordType::AAAA],
    };
    let (mut found, mut nothing) = (Vec::new(), None);
    for kind in kinds {
        match resolver.lookup(absolute(host), *kind).await {
            Ok(lookup) => {
                for record in lookup.answers() {
                    *ttl = (*ttl).min(Duration::from_secs(record.ttl.into()));
                    found.extend(record.data.ip_addr());
                }
            }
            Err(error) if error.is_no_records_found() => nothing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match nothing {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// Names are whole: no search domain is tried behind them.
fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}
