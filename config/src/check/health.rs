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
    match (&written.tcp, &written.http, &written.bolt) {
        (Some(_), None, None) => Probe::Tcp {},
        (None, Some(http), None) => {
            for_protocol("http1", spoken, &format!("{path}.http"), check);
            http_probe(http, &format!("{path}.http"), check)
        }
        (None, None, Some(_)) => {
            for_protocol("bolt", spoken, &format!("{path}.bolt"), check);
            Probe::Bolt {}
        }
        (None, None, None) => {
            let what = "nothing says how endpoints are probed";
            check.wrong(path, what, "`tcp: {}`, `http: { path: /health }` or `bolt: {}`");
            Probe::Tcp {}
        }
        _ => {
            check.wrong(path, "there is more than one of `tcp`, `http` and `bolt`", "one of them");
            Probe::Tcp {}
        }
    }
}

fn for_protocol(wanted: &str, spoken: &str, path: &str, check: &mut Check<'_, '_>) {
    if wanted != spoken {
        let what = format!("this probes endpoints that speak {wanted}, and these speak {spoken}");
        check.wrong(path, what, format!("`{spoken}` or `tcp`").replace("http1", "http"));
    }
}

fn http_probe(http: &schema::HttpProbe, path: &str, check: &mut Check<'_, '_>) -> Probe {
    let is_visible = |it: &str| it.bytes().all(|it| it.is_ascii_graphic());
    let fits = |it: &str| it.len() <= TEXT_BYTES_MAX;
    if !http.path.starts_with('/') || !is_visible(&http.path) || !fits(&http.path) {
        let what = "the path of a request begins with `/` and has visible ASCII characters alone";
        check.wrong(&format!("{path}.path"), what, "a path such as `/health`");
    }
    if http.host.as_deref().is_some_and(|it| it.is_empty() || !is_visible(it) || !fits(it)) {
        let what = "this is no value of a `Host` field";
        check.wrong(&format!("{path}.host"), what, "a name such as `app.example.com`");
    }
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
