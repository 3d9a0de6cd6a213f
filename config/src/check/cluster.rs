//! Clusters and their endpoints.

use std::{collections::HashMap, time::Duration};

use hangu_codecs::protocol::{Kind, Pooling};

use super::{Check, check_name, dns, health, tcp};
use crate::{
    model::{Cluster, Codes, Endpoint, Retry, RetryBudget},
    schema,
};

pub(super) fn resolve_all(clusters: &[schema::Cluster], check: &mut Check<'_, '_>) -> Vec<Cluster> {
    let each = clusters.iter().enumerate();
    each.map(|(index, it)| resolve(it, &format!("clusters[{index}]"), check)).collect()
}

fn resolve(cluster: &schema::Cluster, path: &str, check: &mut Check<'_, '_>) -> Cluster {
    let protocol = cluster.protocol.0;
    let connections = match (protocol.pooling, protocol.kind) {
        (Pooling::Exclusive, _) => EXCLUSIVE_CONNECTIONS,
        (Pooling::Multiplexed, Kind::Http) => MULTIPLEXED_HTTP_CONNECTIONS,
        (Pooling::Multiplexed, Kind::Rpc) => MULTIPLEXED_CONNECTIONS,
    };
    if cluster.share_connections && protocol.pooling == Pooling::Exclusive {
        check.wrong(
            &format!("{path}.share_connections"),
            format!("connections of {} carry one request at a time", protocol.name),
            "`false`, or a cluster of a protocol that carries many at once, such as `bolt`",
        );
    }
    Cluster {
        name: cluster.name.clone(),
        protocol,
        balance: cluster.balance,
        connect_timeout: cluster.connect_timeout.map_or(CONNECT_TIMEOUT, |it| it.0),
        idle_timeout: cluster.idle_timeout.map_or(IDLE_TIMEOUT, |it| it.0),
        connections_per_endpoint_max: cluster
            .connections_per_endpoint_max
            .map_or(connections, |it| it.get()),
        share_connections: cluster.share_connections,
        pending_max: cluster.pending_max.unwrap_or(PENDING_MAX),
        limits: cluster.limits.resolve(),
        connections_max: cluster.connections_max.map(|it| it.get()),
        requests_max: cluster.requests_max.map(|it| it.get()),
        tcp: tcp::resolve(&cluster.tcp, &format!("{path}.tcp"), check),
        app: app(cluster, path, check),
        retry: retry(cluster, path, check),
        health_check: health::resolve(cluster, path, check),
        dns: cluster.dns.as_ref().map(|it| dns::resolve(it, path, check)),
        endpoints: endpoints(cluster, path, check),
    }
}

fn app(cluster: &schema::Cluster, path: &str, check: &mut Check<'_, '_>) -> Option<String> {
    let app = cluster.app.as_ref()?;
    check_name(app, &format!("{path}.app"), check);
    Some(app.clone())
}

fn retry(cluster: &schema::Cluster, path: &str, check: &mut Check<'_, '_>) -> Retry {
    let retry = &cluster.retry;
    let spoken = cluster.protocol.0.name;
    if !retry.grpc_on.is_empty() && spoken != "http2" {
        check.wrong(
            &format!("{path}.retry.grpc_on"),
            format!("calls of gRPC are kept for clusters of protocol http2, and this is {spoken}"),
            "nothing here, or `protocol: http2` if the endpoints speak it",
        );
    }
    Retry {
        attempts_max: retry.attempts_max.unwrap_or(RETRY_ATTEMPTS_MAX),
        budget: RetryBudget {
            percent: retry.budget.percent.unwrap_or(RETRY_PERCENT),
            min_per_second: retry.budget.min_per_second.unwrap_or(RETRIES_PER_SECOND_MIN),
        },
        grpc_on: retry.grpc_on.iter().map(|it| it.0).collect::<Codes>(),
    }
}

fn endpoints(cluster: &schema::Cluster, path: &str, check: &mut Check<'_, '_>) -> Vec<Endpoint> {
    if cluster.endpoints.is_empty() && cluster.dns.is_none() {
        check.wrong(
            &format!("{path}.endpoints"),
            format!("the cluster `{}` has no endpoint", cluster.name),
            "at least one, such as `- address: 127.0.0.1:8081`, or `dns`",
        );
    }
    let total: u64 = cluster.endpoints.iter().map(|it| u64::from(weight(it))).sum();
    if total > u32::MAX.into() {
        let what = format!("the weights add up to {total}, more than {}", u32::MAX);
        check.wrong(&format!("{path}.endpoints"), what, "smaller weights in the same proportion");
    }
    let mut seen = HashMap::new();
    for (index, endpoint) in cluster.endpoints.iter().enumerate() {
        let place = format!("{path}.endpoints[{index}].address");
        if endpoint.address.0.port() == 0 || endpoint.address.0.ip().is_unspecified() {
            let what = format!("nobody can connect to {}", endpoint.address.0);
            check.wrong(&place, what, "the address and port of one endpoint");
        }
        let Some(first) = seen.insert(endpoint.address.0, place.clone()) else { continue };
        let first = check.place(&first);
        let what = format!("the address {} is already given at {first}", endpoint.address.0);
        check.wrong(&place, what, "it once, with a larger `weight` if it is to get more");
    }
    let resolved = |it: &schema::Endpoint| Endpoint {
        address: it.address.0,
        weight: weight(it),
        labels: it.labels.clone(),
    };
    cluster.endpoints.iter().map(resolved).collect()
}

fn weight(endpoint: &schema::Endpoint) -> u32 {
    endpoint.weight.map_or(1, |it| it.get())
}

/// Default of the sidecars.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// When the sidecars close a pooled connection that no downstream uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Default of the sidecars' circuit breaker, for connections that carry one request at a time.
const EXCLUSIVE_CONNECTIONS: u32 = 1024;

/// A second connection between one worker and one endpoint only makes writes smaller.
const MULTIPLEXED_CONNECTIONS: u32 = 1;

/// Servers of HTTP/2 let a connection have some hundred streams at once; a further one is made when
/// all are in use.
const MULTIPLEXED_HTTP_CONNECTIONS: u32 = 4;

/// Default of the sidecars' circuit breaker.
const PENDING_MAX: u32 = 1024;

/// Two endpoints that were just stopped do not fail a request.
const RETRY_ATTEMPTS_MAX: u8 = 2;

/// What is broken gets at most a fifth more; what the sidecars allow.
const RETRY_PERCENT: u8 = 20;

/// A cluster with few requests a second would have none by the percentage.
const RETRIES_PER_SECOND_MIN: u32 = 10;
