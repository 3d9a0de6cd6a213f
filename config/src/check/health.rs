//! Health checks: one probe, of a kind that the endpoints understand.

use std::time::Duration;

use super::Check;
use crate::{
    model::{HealthCheck, Probe, Statuses},
    schema,
};

pub(super) fn resolve(
    cluster: &schema::Cluster,
    path: &str,
    check: &mut Check<'_, '_>,
) -> Option<HealthCheck> {
    let written = cluster.health_check.as_ref()?;
    let path = format!("{path}.health_check");
    let interval = written.interval.map_or(INTERVAL, |it| it.0);
    let timeout = written.timeout.map_or(TIMEOUT.min(interval), |it| it.0);
    if timeout > interval {
        let what = "a probe would still wait when the next one is due";
        let interval = crate::text::write_duration(interval);
        check.wrong(&format!("{path}.timeout"), what, format!("at most the interval, {interval}"));
    }
    if interval < INTERVAL_MIN {
        let what = "an endpoint would be probed more than a hundred times a second";
        check.wrong(&format!("{path}.interval"), what, "at least `10ms`");
    }
    Some(HealthCheck {
        probe: probe(cluster, written, &path, check),
        interval,
        timeout,
        unhealthy_threshold: written.unhealthy_threshold.map_or(UNHEALTHY, |it| it.get()),
        healthy_threshold: written.healthy_threshold.map_or(HEALTHY, |it| it.get()),
        jitter_percent: written.jitter_percent.unwrap_or(JITTER_PERCENT),
    })
}

fn probe(
    cluster: &schema::Cluster,
    written: &schema::HealthCheck,
    path: &str,
    check: &mut Check<'_, '_>,
) -> Probe {
    let spoken = cluster.protocol.0.name;
    match (&written.tcp, &written.http, &written.grpc, &written.bolt) {
        (Some(_), None, None, None) => Probe::Tcp {},
        (None, Some(http), None, None) => {
            for_protocols(&["http1", "http2"], spoken, &format!("{path}.http"), check);
            http_probe(http, &format!("{path}.http"), check)
        }
        (None, None, Some(grpc), None) => {
            for_protocols(&["http2"], spoken, &format!("{path}.grpc"), check);
            grpc_probe(grpc, &format!("{path}.grpc"), check)
        }
        (None, None, None, Some(_)) => {
            for_protocols(&["bolt"], spoken, &format!("{path}.bolt"), check);
            Probe::Bolt {}
        }
        (None, None, None, None) => {
            let what = "nothing says how endpoints are probed";
            check.wrong(
                path,
                what,
                "`tcp: {}`, `http: { path: /health }`, `grpc: {}` or `bolt: {}`",
            );
            Probe::Tcp {}
        }
        _ => {
            check.wrong(
                path,
                "there is more than one of `tcp`, `http`, `grpc` and `bolt`",
                "one of them",
            );
            Probe::Tcp {}
        }
    }
}

fn for_protocols(wanted: &[&str], spoken: &str, path: &str, check: &mut Check<'_, '_>) {
    if wanted.contains(&spoken) {
        return;
    }
    let wanted = wanted.join(" or ");
    let what = format!("this probes endpoints that speak {wanted}, and these speak {spoken}");
    let instead = match spoken {
        "http1" => "`http` or `tcp`".to_owned(),
        "http2" => "`http`, `grpc` or `tcp`".to_owned(),
        _ => format!("`{spoken}` or `tcp`"),
    };
    check.wrong(path, what, instead);
}

fn grpc_probe(grpc: &schema::GrpcProbe, path: &str, check: &mut Check<'_, '_>) -> Probe {
    if grpc.service.len() > TEXT_BYTES_MAX || grpc.service.chars().any(char::is_control) {
        let what = "this is no name of a service";
        check.wrong(&format!("{path}.service"), what, "a name such as `shop.Orders`");
    }
    check_host(grpc.host.as_deref(), path, check);
    Probe::Grpc { service: grpc.service.clone(), host: grpc.host.clone() }
}

fn check_host(host: Option<&str>, path: &str, check: &mut Check<'_, '_>) {
    if host.is_some_and(|it| it.is_empty() || !is_visible(it) || !fits(it)) {
        let what = "this is no value of a `Host` field";
        check.wrong(&format!("{path}.host"), what, "a name such as `app.example.com`");
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_graphic())
}

fn fits(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
}

fn http_probe(http: &schema::HttpProbe, path: &str, check: &mut Check<'_, '_>) -> Probe {
    if !http.path.starts_with('/') || !is_visible(&http.path) || !fits(&http.path) {
        let what = "the path of a request begins with `/` and has visible ASCII characters alone";
        check.wrong(&format!("{path}.path"), what, "a path such as `/health`");
    }
    check_host(http.host.as_deref(), path, check);
    let expected = http.expected_statuses.as_ref();
    Probe::Http {
        path: http.path.clone(),
        host: http.host.clone(),
        expected_statuses: expected
            .map_or_else(|| vec![SUCCESS], |all| all.iter().map(|it| it.0).collect()),
    }
}

/// A failed endpoint is noticed within a quarter of a minute, at little cost to those that work.
const INTERVAL: Duration = Duration::from_secs(5);

/// What a probe costs is some ten microseconds on each side.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// An endpoint that takes longer to answer a probe is of no use for requests.
const TIMEOUT: Duration = Duration::from_secs(1);

/// One lost packet is no failure, three in a row are.
const UNHEALTHY: u32 = 3;

/// An endpoint that has just started may fail once more.
const HEALTHY: u32 = 2;

/// Spreads the probes of many gateways within a few rounds.
const JITTER_PERCENT: u8 = 10;

/// RFC 9110 §15.3.
const SUCCESS: Statuses = Statuses { first: 200, last: 299 };

/// Longer ones are refused by servers.
const TEXT_BYTES_MAX: usize = 4096;
