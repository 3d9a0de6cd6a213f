//! What all workers together have accepted.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use crate::snapshot::Roster;

/// How many client connections are open, over all workers: one of the few things that workers
/// share, touched when a connection comes or goes.
pub struct Load {
    by_worker: Arc<[AtomicUsize]>,
    /// By place: connections that are open, and how many may be.
    by_listener: Box<[(Arc<AtomicU32>, u32)]>,
}

impl Load {
    /// Nothing open yet.
    pub fn new(roster: &Roster, workers: usize) -> Self {
        let nothing = Self {
            by_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            by_listener: Box::default(),
        };
        nothing.succeeded_by(roster)
    }

    /// The counts of this one with the limits of the next configuration.
    #[must_use]
    pub fn succeeded_by(&self, roster: &Roster) -> Self {
        let listeners = roster.listeners().iter().enumerate().map(|(place, it)| {
            let open = self.by_listener.get(place).map(|it| Arc::clone(&it.0));
            (open.unwrap_or_default(), it.settings.connections_max)
        });
        Self { by_worker: Arc::clone(&self.by_worker), by_listener: listeners.collect() }
    }

    /// A connection came to a listener: the worker that is to have it, or `None` when the
    /// listener has as many as it may. Stays with `worker` unless another one has fewer.
    pub fn admit(&self, listener: usize, worker: usize) -> Option<usize> {
        let (open, max) = self.by_listener.get(listener)?;
        if open.fetch_add(1, Ordering::Relaxed) >= *max {
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

    /// The worker with the fewest connections; `worker` unless another one has fewer.
    fn least(&self, worker: usize) -> Option<usize> {
        let own = self.by_worker.get(worker)?.load(Ordering::Relaxed);
        let loads = self.by_worker.iter().map(|it| it.load(Ordering::Relaxed));
        let (least, at) = loads.zip(0..).min()?;
        Some(if least < own { at } else { worker })
    }

    /// A connection that was admitted is gone.
    pub fn leave(&self, listener: usize, worker: usize) {
        if let Some((open, _)) = self.by_listener.get(listener) {
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
}
