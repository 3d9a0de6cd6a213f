//! Endpoints by name.

use std::{collections::HashMap, time::Duration};

use super::Check;
use crate::{
    model::{Dns, DnsName, DnsTarget},
    schema,
};

pub(super) fn resolve(dns: &schema::Dns, path: &str, check: &mut Check<'_, '_>) -> Dns {
    let path = format!("{path}.dns");
    let ttl_min = dns.ttl_min.map_or(TTL_MIN, |it| it.0);
    let ttl_max = dns.ttl_max.map_or(TTL_MAX.max(ttl_min), |it| it.0);
    if ttl_min > ttl_max {
        let what = "`ttl_min` is above `ttl_max`";
        check.wrong(&format!("{path}.ttl_min"), what, "a shorter one");
    }
    let each = dns.names.iter().enumerate();
    let names: Vec<DnsName> =
        each.map(|(index, it)| name(it, &format!("{path}.names[{index}]"), check)).collect();
    refuse_repeated(&names, &path, check);
    for (index, server) in dns.servers.iter().flatten().enumerate() {
        if server.0.port() == 0 || server.0.ip().is_unspecified() {
            let what = format!("nobody can ask {}", server.0);
            check.wrong(&format!("{path}.servers[{index}]"), what, "such as `10.0.0.2:53`");
        }
    }
    Dns {
        names,
        family: dns.family,
        ttl_min,
        ttl_max,
        servers: dns.servers.iter().flatten().map(|it| it.0).collect(),
        timeout: dns.timeout.map_or(TIMEOUT, |it| it.0),
        endpoints_max: dns.endpoints_max.map_or(ENDPOINTS_MAX, |it| it.get()),
    }
}

fn name(name: &schema::DnsName, path: &str, check: &mut Check<'_, '_>) -> DnsName {
    DnsName { target: target(name, path, check), labels: name.labels.clone() }
}

fn target(name: &schema::DnsName, path: &str, check: &mut Check<'_, '_>) -> DnsTarget {
    match (&name.host, &name.service) {
        (Some(host), None) => {
            if name.port.is_none() {
                check.wrong(path, "the port of the host is missing", "`port: 8080`");
            }
            DnsTarget::Host {
                host: domain(host, &format!("{path}.host"), check),
                port: name.port.map_or(0, |it| it.get()),
                weight: name.weight.map_or(1, |it| it.get()),
            }
        }
        (None, Some(service)) => {
            for (key, is_given) in
                [("port", name.port.is_some()), ("weight", name.weight.is_some())]
            {
                if is_given {
                    let what = format!("the {key} comes with the answer");
                    check.wrong(&format!("{path}.{key}"), what, "nothing here");
                }
            }
            DnsTarget::Service { service: domain(service, &format!("{path}.service"), check) }
        }
        (Some(_), Some(_)) | (None, None) => {
            let what = "a name is either a `host` with a `port` or a `service`";
            check.wrong(path, what, "such as `{ host: app.internal, port: 8080 }`");
            DnsTarget::Service { service: String::new() }
        }
    }
}

/// A name as it is asked for (RFC 1035 §2.3.1, with `_` as in RFC 2782).
fn domain(name: &str, path: &str, check: &mut Check<'_, '_>) -> String {
    let plain = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_label = |it: &str| {
        (1..=LABEL_BYTES_MAX).contains(&it.len())
            && !it.starts_with('-')
            && !it.ends_with('-')
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
    };
    if plain.parse::<std::net::IpAddr>().is_ok() {
        let what = format!("`{plain}` is an address");
        check.wrong(path, what, "it in `endpoints`, or a name such as `app.internal`");
    } else if plain.len() > NAME_BYTES_MAX || !plain.split('.').all(is_label) {
        let what = format!("`{}` is no name of a host", name.escape_debug());
        check.wrong(path, what, "a name such as `app.internal`");
    }
    plain
}

fn refuse_repeated(names: &[DnsName], path: &str, check: &mut Check<'_, '_>) {
    let mut seen: HashMap<(&str, u16), String> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        let place = format!("{path}.names[{index}]");
        let key = match &name.target {
            DnsTarget::Host { host, port, .. } => (host.as_str(), *port),
            DnsTarget::Service { service } => (service.as_str(), 0),
        };
        let Some(first) = seen.get(&key) else {
            seen.insert(key, place);
            continue;
        };
        let first = check.place(first);
        let what = format!("`{}` is already given at {first}", key.0);
        check.wrong(&place, what, "it once");
    }
}

/// An answer that may not be kept at all would else be asked for with every request.
const TTL_MIN: Duration = Duration::from_secs(1);

/// Whoever set a TTL of a day has moved by then.
const TTL_MAX: Duration = Duration::from_secs(300);

/// Resolvers on the same network answer within milliseconds, and ask others within a second or two.
const TIMEOUT: Duration = Duration::from_secs(2);

/// More than one cluster of an ordinary site; bounds what an answer can make the gateway hold.
const ENDPOINTS_MAX: u32 = 1024;

/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// RFC 1035 §2.3.4: 255 bytes on the wire, which are 253 as text.
const NAME_BYTES_MAX: usize = 253;
