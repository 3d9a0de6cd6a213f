//! Listeners: addresses, and whether what they speak is what their routes lead to.

use std::{collections::HashMap, time::Duration};

use hangu_codecs::{PROTOCOLS, Protocol, protocol::Kind};

use super::{Check, Names, kind_name, tcp};
use crate::{
    model::{
        Action, Admin, Config, Listener, ListenerTimeouts, PathNormalization, VirtualHost, Xff,
    },
    schema, text,
};

pub(super) fn resolve_all(
    listeners: &[schema::Listener],
    tables: &Names<'_>,
    check: &mut Check<'_, '_>,
) -> Vec<Listener> {
    if listeners.is_empty() {
        check.wrong(
            "listeners",
            "there is no listener, so the gateway would do nothing",
            "at least one listener",
        );
    }
    Names::collect("listeners", listeners.iter().map(|it| it.name.as_str()), check);
    let each = listeners.iter().enumerate();
    each.map(|(index, it)| resolve(it, &format!("listeners[{index}]"), tables, check)).collect()
}

fn resolve(
    listener: &schema::Listener,
    path: &str,
    tables: &Names<'_>,
    check: &mut Check<'_, '_>,
) -> Listener {
    Listener {
        name: listener.name.clone(),
        address: listener.address.0,
        protocols: protocols(listener, path, check),
        route_config: tables.find(&listener.route_config, &format!("{path}.route_config"), check),
        limits: listener.limits.resolve(),
        timeouts: ListenerTimeouts {
            idle: listener.timeouts.idle.map_or(IDLE, |it| it.0),
            request_head: listener.timeouts.request_head.map_or(REQUEST_HEAD, |it| it.0),
        },
        connections_max: listener.connections_max.map_or(CONNECTIONS_MAX, |it| it.get()),
        accept_rate_max: listener.accept_rate_max.map(|it| it.get()),
        requests_max: listener.requests_max.map(|it| it.get()),
        backlog: listener.backlog.map_or(BACKLOG, |it| it.0.get()),
        tcp: tcp::resolve(&listener.tcp, &format!("{path}.tcp"), check),
        trace_ids: listener.trace_ids,
        xff: Xff { trusted_hops: listener.xff.trusted_hops },
        upgrades: upgrades(listener, path, check),
        grpc_web: listener.grpc_web,
        path_normalization: PathNormalization {
            enabled: listener.path_normalization.enabled.unwrap_or(true),
            escaped_slashes: listener.path_normalization.escaped_slashes,
            escaped_nul: listener.path_normalization.escaped_nul,
            malformed_escapes: listener.path_normalization.malformed_escapes,
        },
    }
}

fn protocols(
    listener: &schema::Listener,
    path: &str,
    check: &mut Check<'_, '_>,
) -> Vec<&'static Protocol> {
    for (index, name) in listener.protocols.iter().enumerate() {
        if listener.protocols.iter().take(index).any(|it| it == name) {
            let what = format!("`{}` is named twice", name.0.name);
            check.wrong(&format!("{path}.protocols[{index}]"), what, "it once");
        }
    }
    let named = |it: &&'static Protocol| listener.protocols.contains(&schema::ProtocolName(it));
    PROTOCOLS.iter().copied().filter(named).collect()
}

fn upgrades(listener: &schema::Listener, path: &str, check: &mut Check<'_, '_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, name) in listener.upgrades.iter().enumerate() {
        let path = format!("{path}.upgrades[{index}]");
        let name = name.to_ascii_lowercase();
        if !name.split('/').all(text::is_token) {
            check.wrong(
                &path,
                format!("`{name}` is no name of a protocol"),
                "a name such as `websocket`",
            );
        } else if name == "h2c" || name.starts_with("http/") {
            // An upgraded connection is passed on as raw bytes: requests inside it would pass
            // every route and limit unseen.
            check.wrong(
                &path,
                format!("requests inside `{name}` would not be routed"),
                "a protocol other than HTTP",
            );
        } else if names.contains(&name) {
            check.wrong(&path, format!("`{name}` is named twice"), "it once");
        }
        names.push(name);
    }
    names
}

/// No address is listened on twice.
pub(super) fn check_addresses(config: &Config, check: &mut Check<'_, '_>) {
    let mut seen = HashMap::new();
    if let Admin::Tcp { address, .. } = &config.admin {
        seen.insert(*address, "admin".to_owned());
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        let path = format!("listeners[{index}].address");
        if listener.address.port() == 0 {
            continue;
        }
        let Some(first) = seen.insert(listener.address, path.clone()) else { continue };
        let what = if first == "admin" {
            format!("the admin API listens on {} too", listener.address)
        } else {
            format!("the address {} is already taken at {}", listener.address, check.place(&first))
        };
        check.wrong(&path, what, "another port, or one listener with several `protocols`");
    }
}

/// Whatever a listener speaks finds virtual hosts of its kind, and their clusters speak it too.
pub(super) fn check_protocols(config: &Config, file: &schema::File, check: &mut Check<'_, '_>) {
    for (index, listener) in config.listeners.iter().enumerate() {
        let Some(table) = config.route_configs.get(listener.route_config) else { continue };
        if file.listeners.get(index).is_none_or(|it| it.route_config != table.name) {
            continue; // The name dangles, which is told already.
        }
        for (place, protocol) in listener.protocols.iter().enumerate() {
            let path = format!("listeners[{index}].protocols[{place}]");
            if table.virtual_hosts.iter().all(|it| it.kind != protocol.kind) {
                let key = match protocol.kind {
                    Kind::Http => "domains",
                    Kind::Rpc => "services",
                };
                check.wrong(
                    &path,
                    format!(
                        "every {} request would be refused: no virtual host of `{}` has `{key}`",
                        protocol.name, table.name
                    ),
                    format!(
                        "a virtual host with `{key}: [\"*\"]` in `{}`, or leave `{}` out",
                        table.name, protocol.name
                    ),
                );
            }
            let hosts = table.virtual_hosts.iter().enumerate();
            for (host_index, host) in hosts.filter(|(_, it)| it.kind == protocol.kind) {
                let path =
                    format!("route_configs[{}].virtual_hosts[{host_index}]", listener.route_config);
                check_clusters(config, listener, protocol, (host, &path), check);
            }
        }
    }
}

/// Between clusters of the same kind as the virtual host; those of the other kind are told where
/// the route is resolved.
fn check_clusters(
    config: &Config,
    listener: &Listener,
    protocol: &'static Protocol,
    (host, path): (&VirtualHost, &str),
    check: &mut Check<'_, '_>,
) {
    for (index, route) in host.routes.iter().enumerate() {
        let Action::Forward(forward) = &route.action;
        for target in &forward.clusters {
            let Some(cluster) = config.clusters.get(target.cluster) else { continue };
            let is_translated = protocol.kind == Kind::Http;
            if cluster.protocol == protocol
                || cluster.protocol.kind != protocol.kind
                || is_translated
            {
                continue;
            }
            check.wrong(
                &format!("{path}.routes[{index}].route"),
                format!(
                    "the listener `{}` speaks {}, the cluster `{}` {}: Hangu does not translate between {} protocols yet",
                    listener.name, protocol.name, cluster.name, cluster.protocol.name, kind_name(protocol.kind),
                ),
                format!("a cluster of protocol `{}`", protocol.name),
            );
        }
    }
}

/// Connection idle time of the sidecars.
const IDLE: Duration = Duration::from_secs(3600);

/// A head is one or two packets; who takes longer than this holds a connection for nothing.
const REQUEST_HEAD: Duration = Duration::from_secs(10);

/// Below what an ordinary server of today has descriptors for, above what one sees in peace.
const CONNECTIONS_MAX: u32 = 100_000;

/// What Linux allows unless it is told otherwise (`net.core.somaxconn`): the connections of a storm
/// of reconnecting clients wait, and are not dropped.
const BACKLOG: u32 = 4096;
