//! What all workers together have, where a limit holds for the process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hangu_codecs::Time;

use crate::snapshot::Roster;

/// How many connections and requests are open, over all workers: one of the few things that
/// workers share. Connections are counted always, when they come and go; requests only where they
/// are limited.
pub struct Load {
    by_worker: Arc<[AtomicUsize]>,
    /// By place.
    by_listener: Box<[ListenerLoad]>,
    /// By place.
    by_cluster: Box<[ClusterLoad]>,
}

#[derive(Clone, Default)]
struct ListenerLoad {
    open: Arc<AtomicU32>,
    open_max: u32,
    requests: Arc<AtomicU32>,
    requests_max: Option<u32>,
    /// When the next connection is due at the rate, microseconds.
    due: Arc<AtomicU64>,
    rate_max: Option<u32>,
}

#[derive(Clone, Default)]
struct ClusterLoad {
    open: Arc<AtomicU32>,
    open_max: Option<u32>,
    requests: Arc<AtomicU32>,
    requests_max: Option<u32>,
}

impl Load {
    /// Nothing open yet.
    pub fn new(roster: &Roster, workers: usize) -> Self {
        let nothing = Self {
            by_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            by_listener: Box::default(),
            by_cluster: Box::default(),
        };
        nothing.succeeded_by(roster)
    }

    /// The counts of this one with the limits of the next configuration.
    #[must_use]
    pub fn succeeded_by(&self, roster: &Roster) -> Self {
        let listeners = roster.listeners().iter().enumerate().map(|(place, it)| ListenerLoad {
            open_max: it.settings.connections_max,
            requests_max: it.settings.requests_max,
            rate_max: it.settings.accept_rate_max,
            ..self.by_listener.get(place).cloned().unwrap_or_default()
        });
        let clusters = roster.clusters().iter().enumerate().map(|(place, it)| ClusterLoad {
            open_max: it.settings.connections_max,
            requests_max: it.settings.requests_max,
            ..self.by_cluster.get(place).cloned().unwrap_or_default()
        });
        Self {
            by_worker: Arc::clone(&self.by_worker),
            by_listener: listeners.collect(),
            by_cluster: clusters.collect(),
        }
    }

    /// How long to wait before the next connection of a listener may be accepted; zero lets it
    /// through and counts it. Connections come at most [`ACCEPT_BURST`] ahead of their rate.
    pub fn accept_after(&self, listener: usize, now: Time) -> Duration {
        let Some(load) = self.by_listener.get(listener) else { return Duration::ZERO };
        let Some(rate) = load.rate_max else { return Duration::ZERO };
        let step = MICROS_PER_SECOND / u64::from(rate.max(1));
        let ahead = (ACCEPT_BURST.as_micros() as u64).max(step);
        let now = now.as_micros();
        let next = |due: u64| {
            let due = due.max(now).saturating_add(step);
            (due <= now.saturating_add(ahead)).then_some(due)
        };
        match load.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Duration::ZERO,
            Err(due) => Duration::from_micros(due.saturating_add(step) - now - ahead),
        }
    }

    /// A request came to a listener: whether it may begin. One that may is to be given back by
    /// [`Load::end_request`] if the listener has such a limit.
    pub fn begin_request(&self, listener: usize) -> Admitted {
        self.by_listener
            .get(listener)
            .map_or(Admitted::Uncounted, |it| admit_request(&it.requests, it.requests_max))
    }

    /// A request that [`Load::begin_request`] counted has ended.
    pub fn end_request(&self, listener: usize) {
        if let Some(load) = self.by_listener.get(listener) {
            load.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A request is to be given to a cluster; see [`Load::begin_request`].
    pub fn begin_upstream_request(&self, cluster: usize) -> Admitted {
        self.by_cluster
            .get(cluster)
            .map_or(Admitted::Uncounted, |it| admit_request(&it.requests, it.requests_max))
    }

    /// A request that [`Load::begin_upstream_request`] counted has ended.
    pub fn end_upstream_request(&self, cluster: usize) {
        if let Some(load) = self.by_cluster.get(cluster) {
            load.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether one more connection to a cluster may be made; counts it if so.
    pub fn open_upstream(&self, cluster: usize) -> bool {
        let Some(load) = self.by_cluster.get(cluster) else { return true };
        let open = load.open.fetch_add(1, Ordering::Relaxed);
        if load.open_max.is_some_and(|max| open >= max) {
            load.open.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// A connection that [`Load::open_upstream`] let through is gone, or did not come about.
    pub fn close_upstream(&self, cluster: usize) {
        if let Some(load) = self.by_cluster.get(cluster) {
            load.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A connection came to a listener: the worker that is to have it, or `None` when the
    /// listener has as many as it may. Stays with `worker` unless another one has fewer.
    pub fn admit(&self, listener: usize, worker: usize) -> Option<usize> {
        let ListenerLoad { open, open_max, .. } = self.by_listener.get(listener)?;
        if open.fetch_add(1, Ordering::Relaxed) >= *open_max {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut to = self.least(worker)?;
        for _ in 0..ADMIT_TRIES {
            let load = self.by_worker.get(to)?.fetch_add(1, Ordering::Relaxed) + 1;
            let better = self.least(to)?;
            if self.by_worker.get(better)?.load(Ordering::Relaxed) + 1 >= load {
                return Some(to);
            }
            // Another worker gave it a connection in the same instant.
            self.by_worker.get(to)?.fetch_sub(1, Ordering::Relaxed);
            to = better;
        }
        self.by_worker.get(to)?.fetch_add(1, Ordering::Relaxed);
        Some(to)
    }

    /// A connection that another owner accepted is this worker's now, however many there are.
    pub fn adopt(&self, listener: usize, worker: usize) {
        if let Some(ListenerLoad { open, .. }) = self.by_listener.get(listener) {
            open.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(load) = self.by_worker.get(worker) {
            load.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So is one to a cluster.
    pub fn adopt_upstream(&self, cluster: usize) {
        if let Some(load) = self.by_cluster.get(cluster) {
            load.open.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// And a request in flight that was counted where requests are limited.
    pub fn adopt_request(&self, listener: usize) {
        if let Some(load) = self.by_listener.get(listener) {
            load.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// And at its cluster.
    pub fn adopt_upstream_request(&self, cluster: usize) {
        if let Some(load) = self.by_cluster.get(cluster) {
            load.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The worker with the fewest connections; `worker` unless another one has fewer.
    fn least(&self, worker: usize) -> Option<usize> {
        let own = self.by_worker.get(worker)?.load(Ordering::Relaxed);
        let loads = self.by_worker.iter().map(|it| it.load(Ordering::Relaxed));
        let (least, at) = loads.zip(0..).min()?;
        Some(if least < own { at } else { worker })
    }

    /// A connection that was admitted is gone.
    pub fn leave(&self, listener: usize, worker: usize) {
        if let Some(ListenerLoad { open, .. }) = self.by_listener.get(listener) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(load) = self.by_worker.get(worker) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Client connections of each worker.
    pub fn by_worker(&self) -> Vec<usize> {
        self.by_worker.iter().map(|it| it.load(Ordering::Relaxed)).collect()
    }
}

/// Whether a request may begin where requests in flight are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// There is no limit, and nothing was counted.
    Uncounted,
    /// It was counted, and is to be given back.
    Counted,
    /// There are as many as may be.
    Refused,
}

fn admit_request(requests: &AtomicU32, max: Option<u32>) -> Admitted {
    let Some(max) = max else { return Admitted::Uncounted };
    if requests.fetch_add(1, Ordering::Relaxed) >= max {
        requests.fetch_sub(1, Ordering::Relaxed);
        return Admitted::Refused;
    }
    Admitted::Counted
}

const MICROS_PER_SECOND: u64 = 1_000_000;

/// Connections may come ahead of their rate by as many as are due in this time: clients that
/// start together should not wait for nothing.
const ACCEPT_BURST: Duration = Duration::from_millis(100);

/// Tries to find the worker with the fewest connections while others look for it too; after that
/// a connection more or less is let be.
const ADMIT_TRIES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_accept_at_once_spread_what_they_accept_evenly() {
        const WORKERS: usize = 4;
        let text = "listeners: [{name: a, address: 127.0.0.1:0, protocols: [http1], \
            route_config: r, connections_max: 1000}]\n\
            route_configs: [{name: r, virtual_hosts: [{name: h, domains: ['*'], routes: \
            [{match: {prefix: /}, route: {cluster: c}}]}]}]\n\
            clusters: [{name: c, protocol: http1, endpoints: [{address: 127.0.0.1:1}]}]";
        let source = hangu_config::Source { name: "test".to_owned(), text: text.to_owned() };
        let config = hangu_config::load(&[source], &hangu_config::NoValues).unwrap();
        let roster = Roster::new(&config, &crate::snapshot::Discovered::new());
        for _ in 0..20 {
            let load = Load::new(&roster, WORKERS);
            std::thread::scope(|scope| {
                for worker in 0..WORKERS {
                    let load = &load;
                    scope.spawn(move || {
                        for _ in 0..25 {
                            load.admit(0, worker).unwrap();
                        }
                    });
                }
            });
            let loads = load.by_worker();
            assert_eq!(loads.iter().sum::<usize>(), 100);
            let (most, least) = (loads.iter().max().unwrap(), loads.iter().min().unwrap());
            assert!(most - least <= 2, "{loads:?}");
        }
        let load = Load::new(&roster, 1);
        assert_eq!((0..1001).filter(|_| load.admit(0, 0).is_some()).count(), 1000);
        load.leave(0, 0);
        assert_eq!(load.admit(0, 0), Some(0));
    }

    fn limited() -> Load {
        let text = "listeners: [{name: a, address: 127.0.0.1:0, protocols: [http1], \
            route_config: r, requests_max: 2, accept_rate_max: 50}]\n\
            route_configs: [{name: r, virtual_hosts: [{name: h, domains: ['*'], routes: \
            [{match: {prefix: /}, route: {cluster: c}}]}]}]\n\
            clusters: [{name: c, protocol: http1, connections_max: 1, \
            endpoints: [{address: 127.0.0.1:1}]}]";
        let source = hangu_config::Source { name: "test".to_owned(), text: text.to_owned() };
        let config = hangu_config::load(&[source], &hangu_config::NoValues).unwrap();
        Load::new(&Roster::new(&config, &crate::snapshot::Discovered::new()), 1)
    }

    #[test]
    fn requests_and_upstream_connections_are_let_in_up_to_their_limit() {
        let load = limited();
        let admitted: Vec<_> = (0..3).map(|_| load.begin_request(0)).collect();
        assert_eq!(admitted, [Admitted::Counted, Admitted::Counted, Admitted::Refused]);
        load.end_request(0);
        assert_eq!(load.begin_request(0), Admitted::Counted);
        assert_eq!(load.begin_upstream_request(0), Admitted::Uncounted);
        assert!(load.open_upstream(0));
        assert!(!load.open_upstream(0));
        load.close_upstream(0);
        assert!(load.open_upstream(0));
    }

    #[test]
    fn connections_are_accepted_at_their_rate_after_a_short_burst() {
        let load = limited();
        let mut now = Time::from_micros(7_000_000);
        let mut accepted = 0;
        let end = now.after(Duration::from_secs(10));
        while now < end {
            let wait = load.accept_after(0, now);
            accepted += u32::from(wait.is_zero());
            assert!(wait <= Duration::from_millis(20), "{wait:?}");
            now = now.after(wait);
        }
        assert!((500..=506).contains(&accepted), "{accepted} in ten seconds");
    }
}
