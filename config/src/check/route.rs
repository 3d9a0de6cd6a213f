//! Route tables: virtual hosts, matches, actions.

use std::collections::HashMap;

use hangu_codecs::{Method, protocol::Kind};

use super::{Check, Clusters, check_name, field, kind_name, shadow};
use crate::{
    model::{
        Action, Forward, HttpMatch, NamePattern, PathMatch, Route, RouteConfig, RouteMatch,
        RpcMatch, VirtualHost, WeightedCluster,
    },
    schema,
};

pub(super) fn resolve_all(
    tables: &[schema::RouteConfig],
    clusters: &Clusters<'_>,
    check: &mut Check<'_, '_>,
) -> Vec<RouteConfig> {
    let each = tables.iter().enumerate();
    each.map(|(index, it)| table(it, &format!("route_configs[{index}]"), clusters, check)).collect()
}

fn table(
    table: &schema::RouteConfig,
    path: &str,
    clusters: &Clusters<'_>,
    check: &mut Check<'_, '_>,
) -> RouteConfig {
    let mut virtual_hosts = Vec::new();
    let mut names = HashMap::new();
    for (index, host) in table.virtual_hosts.iter().enumerate() {
        let path = format!("{path}.virtual_hosts[{index}]");
        unique_name(&host.name, &path, &mut names, check);
        virtual_hosts.push(virtual_host(host, &path, clusters, check));
    }
    unique_patterns(&virtual_hosts, path, check);
    RouteConfig {
        name: table.name.clone(),
        ignore_port_in_host_matching: table.ignore_port_in_host_matching,
        virtual_hosts,
    }
}

fn unique_name(
    name: &str,
    path: &str,
    seen: &mut HashMap<String, String>,
    check: &mut Check<'_, '_>,
) {
    let path = format!("{path}.name");
    check_name(name, &path, check);
    if let Some(first) = seen.get(name) {
        let what = format!("the name `{name}` is already taken at {}", check.place(first));
        check.wrong(&path, what, "another name");
    } else {
        seen.insert(name.to_owned(), path);
    }
}

/// A domain or service may occur once in the whole table.
fn unique_patterns(hosts: &[VirtualHost], path: &str, check: &mut Check<'_, '_>) {
    let mut seen: HashMap<(bool, &NamePattern), String> = HashMap::new();
    for (index, host) in hosts.iter().enumerate() {
        let key = patterns_key(host.kind);
        for (place, pattern) in host.patterns.iter().enumerate() {
            let path = format!("{path}.virtual_hosts[{index}].{key}[{place}]");
            if let Some(first) = seen.get(&(host.kind == Kind::Rpc, pattern)) {
                let what = format!("`{pattern}` is already taken at {}", check.place(first));
                check.wrong(&path, what, "it in one virtual host of the table");
                continue;
            }
            seen.insert((host.kind == Kind::Rpc, pattern), path);
        }
    }
}

fn patterns_key(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "domains",
        Kind::Rpc => "services",
    }
}

fn virtual_host(
    host: &schema::VirtualHost,
    path: &str,
    clusters: &Clusters<'_>,
    check: &mut Check<'_, '_>,
) -> VirtualHost {
    let (kind, patterns) = match (&host.domains, &host.services) {
        (Some(domains), None) => (Kind::Http, domains.iter().map(|it| lower(&it.0)).collect()),
        (None, Some(services)) => (Kind::Rpc, services.iter().map(|it| it.0.clone()).collect()),
        (Some(_), Some(_)) => {
            let what = "there are both `domains` (HTTP) and `services` (RPC)";
            check.wrong(path, what, "two virtual hosts, one with each");
            (Kind::Http, Vec::new())
        }
        (None, None) => {
            let what = "there are neither `domains` (HTTP) nor `services` (RPC)";
            check.wrong(path, what, "one of them; `[\"*\"]` takes all");
            (Kind::Http, Vec::new())
        }
    };
    let is_given = host.domains.is_some() != host.services.is_some();
    if is_given && patterns.is_empty() {
        let key = patterns_key(kind);
        check.wrong(
            &format!("{path}.{key}"),
            "the list is empty, so nothing is taken",
            "at least one entry; `\"*\"` takes all",
        );
    }
    if host.routes.is_empty() {
        check.wrong(
            &format!("{path}.routes"),
            "there is no route, so nothing is taken",
            "at least one route",
        );
    }
    let problems_before = check.problems.len();
    let mut names = HashMap::new();
    let mut routes = Vec::new();
    for (index, written) in host.routes.iter().enumerate() {
        let path = format!("{path}.routes[{index}]");
        let name = written.name.clone().unwrap_or_else(|| format!("{}/{index}", host.name));
        if written.name.is_some() {
            unique_name(&name, &path, &mut names, check);
        }
        routes.push(Route {
            name,
            matches: matches(&written.matches, kind, &format!("{path}.match"), check),
            action: Action::Forward(forward(
                &written.route,
                kind,
                &format!("{path}.route"),
                clusters,
                check,
            )),
        });
    }
    // A match that is wrong itself would shadow others for no reason of theirs.
    if check.problems.len() == problems_before {
        shadow::check(&routes, path, check);
    }
    VirtualHost { name: host.name.clone(), kind, patterns, routes }
}

fn lower(pattern: &NamePattern) -> NamePattern {
    match pattern {
        NamePattern::Exact(name) => NamePattern::Exact(name.to_ascii_lowercase()),
        NamePattern::Suffix(end) => NamePattern::Suffix(end.to_ascii_lowercase()),
        NamePattern::Prefix(start) => NamePattern::Prefix(start.to_ascii_lowercase()),
        NamePattern::Any => NamePattern::Any,
    }
}

fn matches(
    written: &schema::Match,
    kind: Kind,
    path: &str,
    check: &mut Check<'_, '_>,
) -> RouteMatch {
    match kind {
        Kind::Http => RouteMatch::Http(http(written, path, check)),
        Kind::Rpc => RouteMatch::Rpc(rpc(written, path, check)),
    }
}

fn http(written: &schema::Match, path: &str, check: &mut Check<'_, '_>) -> HttpMatch {
    if written.rpc.is_some() {
        let what = "the virtual host has `domains`, so its routes match HTTP requests";
        check.wrong(
            &format!("{path}.rpc"),
            what,
            "`prefix`, `path`, `methods` or `headers`, or give the virtual host `services`",
        );
    }
    let headers = written.headers.iter().enumerate();
    HttpMatch {
        path: path_match(written, path, check),
        methods: methods(written, path, check),
        headers: headers
            .map(|(index, it)| {
                field::field(it, Kind::Http, &format!("{path}.headers[{index}]"), check)
            })
            .collect(),
    }
}

fn path_match(written: &schema::Match, path: &str, check: &mut Check<'_, '_>) -> PathMatch {
    let mut tests = Vec::new();
    tests.extend(written.prefix.clone().map(PathMatch::Prefix));
    tests.extend(written.path.clone().map(PathMatch::Exact));
    tests.extend(written.regex.clone().map(|it| PathMatch::Regex(it.0)));
    if tests.len() > 1 {
        check.wrong(
            path,
            "there are several tests of the path",
            "one of `prefix`, `path` and `regex`",
        );
    }
    let test = tests.pop().unwrap_or_default();
    let (key, fixed) = match &test {
        PathMatch::Prefix(it) => ("prefix", it),
        PathMatch::Exact(it) => ("path", it),
        PathMatch::Any | PathMatch::Regex(_) => return test,
    };
    if !(fixed.starts_with('/') || key == "path" && fixed == "*") {
        check.wrong(&format!("{path}.{key}"), "paths begin with `/`", format!("`/{fixed}`"));
    } else if fixed.contains(['?', '#']) {
        let what =
            "query and fragment are left out before paths are matched, so this never matches";
        check.wrong(&format!("{path}.{key}"), what, "the path alone");
    }
    test
}

fn methods(written: &schema::Match, path: &str, check: &mut Check<'_, '_>) -> Vec<Method> {
    let Some(methods) = &written.methods else { return Vec::new() };
    if methods.is_empty() {
        let what = "the list is empty, so nothing matches";
        check.wrong(
            &format!("{path}.methods"),
            what,
            "at least one method, or leave the key out for any",
        );
    }
    methods.iter().map(|it| it.0.clone()).collect()
}

fn rpc(written: &schema::Match, path: &str, check: &mut Check<'_, '_>) -> RpcMatch {
    let http_keys = [
        ("prefix", written.prefix.is_some()),
        ("path", written.path.is_some()),
        ("regex", written.regex.is_some()),
        ("methods", written.methods.is_some()),
        ("headers", !written.headers.is_empty()),
    ];
    for (key, _) in http_keys.iter().filter(|(_, given)| *given) {
        let what = format!("the virtual host has `services`, and `{key}` concerns HTTP requests");
        check.wrong(&format!("{path}.{key}"), what, "`rpc` with `service`, `method` or `fields`");
    }
    let Some(rpc) = &written.rpc else { return RpcMatch::default() };
    let path = format!("{path}.rpc");
    let fields = rpc.fields.iter().enumerate();
    RpcMatch {
        service: rpc.service.as_ref().map(|it| field::text(it, &format!("{path}.service"), check)),
        method: rpc.method.as_ref().map(|it| field::text(it, &format!("{path}.method"), check)),
        fields: fields
            .map(|(index, it)| {
                field::field(it, Kind::Rpc, &format!("{path}.fields[{index}]"), check)
            })
            .collect(),
    }
}

fn forward(
    written: &schema::Forward,
    kind: Kind,
    path: &str,
    clusters: &Clusters<'_>,
    check: &mut Check<'_, '_>,
) -> Forward {
    let timeout = written.timeout.map(|it| it.0);
    let clusters = match (&written.cluster, &written.weighted_clusters) {
        (Some(name), None) => {
            let cluster = cluster(name, kind, &format!("{path}.cluster"), clusters, check);
            vec![WeightedCluster { cluster, weight: 1 }]
        }
        (None, Some(list)) => {
            weighted(list, kind, &format!("{path}.weighted_clusters"), clusters, check)
        }
        (Some(_), Some(_)) => {
            check.wrong(path, "there are both `cluster` and `weighted_clusters`", "one of them");
            Vec::new()
        }
        (None, None) => {
            check.wrong(
                path,
                "there is no cluster",
                "`cluster` with a name, or `weighted_clusters`",
            );
            Vec::new()
        }
    };
    Forward { clusters, timeout }
}

fn weighted(
    list: &[schema::WeightedCluster],
    kind: Kind,
    path: &str,
    clusters: &Clusters<'_>,
    check: &mut Check<'_, '_>,
) -> Vec<WeightedCluster> {
    let total: u64 = list.iter().map(|it| u64::from(it.weight)).sum();
    if list.is_empty() {
        check.wrong(path, "the list is empty", "at least one cluster");
    } else if total == 0 {
        check.wrong(
            path,
            "all weights are 0, so nothing could be forwarded",
            "at least one weight above 0",
        );
    } else if total > u32::MAX.into() {
        let what = format!("the weights add up to {total}, more than {}", u32::MAX);
        check.wrong(path, what, "smaller weights in the same proportion");
    }
    let mut found = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let path = format!("{path}[{index}].name");
        if let Some(first) = list.iter().take(index).position(|it| it.name == entry.name) {
            let what =
                format!("the cluster `{}` is already entry {first} of this list", entry.name);
            check.wrong(&path, what, "it once, with the sum of the weights");
        }
        let cluster = cluster(&entry.name, kind, &path, clusters, check);
        found.push(WeightedCluster { cluster, weight: entry.weight });
    }
    found
}

fn cluster(
    name: &str,
    kind: Kind,
    path: &str,
    clusters: &Clusters<'_>,
    check: &mut Check<'_, '_>,
) -> usize {
    let index = clusters.names.find(name, path, check);
    let Some(protocol) = clusters.protocols.get(index) else { return index };
    if protocol.kind != kind && clusters.names.indices.contains_key(name) {
        let (from, to) = (kind_name(kind), kind_name(protocol.kind));
        check.wrong(
            path,
            format!("{from} requests cannot go to the {to} cluster `{name}` ({}): Hangu has no bridge between HTTP and RPC yet", protocol.name),
            format!("a cluster that speaks an {from} protocol"),
        );
    }
    index
}
