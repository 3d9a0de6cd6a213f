//! What the gateway is to reach, held against what a comparison found.

use serde::Serialize;

use crate::compare::{Comparison, Round};
use crate::report::{self, Summary};
use crate::workload::{self, Pace};

/// Something that the gateway is to reach.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// CPU time per request against another proxy, at saturation (or at the only pace).
    Cost { workload: &'static str, proxy: &'static str, against: Against, at_most: f64 },
    /// 99th percentile at the fixed rate against another proxy.
    Latency { workload: &'static str, against: Against },
    /// CPU time per request of one workload against another's.
    Workloads { workload: &'static str, against: &'static str, at_most: f64 },
    /// KiB that an idle connection adds, at once and later.
    Idle { workload: &'static str, kib_max: f64 },
}

/// What a figure is divided by.
#[derive(Clone, Copy, Debug)]
enum Against {
    Proxy(&'static str),
    BestPeer,
}

use Against::{BestPeer, Proxy};

/// The gateway's name, and what answers at its best.
const OWN: &str = "hangu";

/// The targets. HTTP/1.1 is held against the relay on epoll, Bolt against the one on monoio, whose
/// runtime is the gateway's.
const TARGETS: &[Target] = &[
    cost("http1-100b", Proxy("nginx"), 1.0),
    cost("http1-100b", Proxy("haproxy"), 1.0),
    cost("http1-100b", Proxy("relay"), 1.25),
    cost("http1-10k", Proxy("nginx"), 1.0),
    cost("http1-10k", Proxy("haproxy"), 1.0),
    cost("http1-10k", Proxy("relay"), 1.25),
    // "Level" is within the noise of a quiet machine.
    cost("http1-1m", BestPeer, 1.05),
    cost("bolt-64x1", Proxy("relay-monoio"), 0.75),
    cost("bolt-64x1", Proxy("mosn"), 0.5),
    cost("bolt-16x32", Proxy("relay-monoio"), 1.25),
    cost("bolt-16x32", Proxy("mosn"), 1.0 / 30.0),
    cost("bolt-64x8-20k", Proxy("relay-monoio"), 1.1),
    cost("bolt-64x8-20k", Proxy("mosn"), 0.7),
    cost("h2-to-http1-8x32", Proxy("haproxy"), 1.0),
    cost("h2-to-h2-8x32", BestPeer, 0.5),
    Target::Latency { workload: "http1-100b", against: Proxy("nginx") },
    Target::Latency { workload: "http1-100b", against: Proxy("haproxy") },
    Target::Latency { workload: "http1-10k", against: Proxy("nginx") },
    Target::Latency { workload: "http1-10k", against: Proxy("haproxy") },
    Target::Latency { workload: "http1-1m", against: BestPeer },
    Target::Latency { workload: "bolt-64x1", against: Proxy("mosn") },
    Target::Latency { workload: "bolt-16x32", against: Proxy("mosn") },
    Target::Latency { workload: "bolt-64x8-20k", against: Proxy("mosn") },
    Target::Workloads { workload: "routes-last", against: "routes-first", at_most: 1.1 },
    Target::Idle { workload: "idle-5000", kib_max: 1.5 },
    Target::Cost {
        workload: "http1-100b",
        proxy: "hangu-logged",
        against: Proxy(OWN),
        at_most: 1.05,
    },
];

const fn cost(workload: &'static str, against: Against, at_most: f64) -> Target {
    Target::Cost { workload, proxy: OWN, against, at_most }
}

/// A target and what was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// In words.
    pub what: String,
    /// The most that it may be.
    pub at_most: f64,
    /// The median of what it was.
    pub value: f64,
}

impl Found {
    /// Whether the median is as it is to be.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.value <= self.at_most
    }
}

/// Those targets about which the comparison says something.
#[must_use]
pub fn found(comparison: &Comparison) -> Vec<Found> {
    TARGETS.iter().filter_map(|target| find(comparison, *target)).collect()
}

fn find(comparison: &Comparison, target: Target) -> Option<Found> {
    match target {
        Target::Cost { workload, proxy, against, at_most } => {
            let pace = *workload::find(workload)?.paces().first()?;
            let cpu = |round: &Round| round.cpu_us;
            let (other, ratio) = divide(comparison, (workload, pace, proxy), against, cpu)?;
            let what = format!("{workload}, {pace}: CPU of {proxy} / {other}");
            Some(Found { what, at_most, value: ratio.median })
        }
        Target::Latency { workload, against } => {
            let pace = *workload::find(workload)?.paces().last()?;
            let p99 = |round: &Round| round.latency.p99_us;
            let (other, ratio) = divide(comparison, (workload, pace, OWN), against, p99)?;
            let what = format!("{workload}, {pace}: p99 of {OWN} / {other}");
            Some(Found { what, at_most: 1.0, value: ratio.median })
        }
        Target::Workloads { workload, against, at_most } => {
            let value = cpu(comparison, workload)? / cpu(comparison, against)?;
            let what = format!("CPU of {OWN}, {workload} / {against}");
            Some(Found { what, at_most, value })
        }
        Target::Idle { workload, kib_max } => {
            let lines = report::idle_lines(comparison);
            let line = lines.iter().find(|it| (it.workload, it.proxy) == (workload, OWN))?;
            let value = line.added_kib.median.max(line.added_later_kib.median);
            Some(Found { what: format!("{workload}: KiB of {OWN}"), at_most: kib_max, value })
        }
    }
}

fn divide(
    comparison: &Comparison,
    (workload, pace, proxy): (&str, Pace, &str),
    against: Against,
    value: fn(&Round) -> f64,
) -> Option<(&'static str, Summary)> {
    let other = match against {
        Proxy(name) => name,
        BestPeer => report::best_peer(comparison, workload, pace)?,
    };
    let series = report::find(comparison, workload, pace, proxy)?;
    Some((other, report::ratio(comparison, series, other, value)?))
}

fn cpu(comparison: &Comparison, workload: &str) -> Option<f64> {
    let pace = *workload::find(workload)?.paces().first()?;
    let series = report::find(comparison, workload, pace, OWN)?;
    Some(Summary::of(series.rounds.iter().map(|round| round.cpu_us))?.median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy;
    use crate::workload::Measure;

    #[test]
    fn every_target_names_workloads_and_proxies_that_are_there() {
        for target in TARGETS {
            let (workload, names) = match *target {
                Target::Cost { workload, proxy, against, .. } => {
                    (workload, vec![proxy, name(against)])
                }
                Target::Latency { workload, against } => (workload, vec![name(against)]),
                Target::Workloads { workload, against, .. } => {
                    assert!(workload::find(against).is_some(), "{against}");
                    (workload, vec![])
                }
                Target::Idle { workload, .. } => {
                    let found = workload::find(workload).unwrap();
                    assert_eq!(found.measure, Measure::IdleConnections);
                    (workload, vec![])
                }
            };
            let workload = workload::find(workload).expect("a workload");
            for name in names {
                let proxy = proxy::Proxy::find(name).expect("a proxy");
                assert!((proxy.carries)(workload), "{name} with {}", workload.name);
            }
        }
    }

    fn name(against: Against) -> &'static str {
        match against {
            Proxy(name) => name,
            BestPeer => "haproxy",
        }
    }
}
