//! What all workers together have accepted.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use hangu_config::Config;

/// How many client connections are open, over all workers: one of the few things that workers
/// share, touched when a connection comes or goes.
pub struct Load {
    by_worker: Box<[AtomicUsize]>,
    by_listener: Box<[(AtomicU32, u32)]>,
}

impl Load {
    /// Nothing open yet.
    pub fn new(config: &Config, workers: usize) -> Self {
        Self {
            by_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            by_listener: config
                .listeners
                .iter()
                .map(|it| (AtomicU32::new(0), it.connections_max))
                .collect(),
        }
    }

    /// A connection came to a listener: the worker that is to have it, or `None` when the
    /// listener has as many as it may. Stays with `worker` unless another one has fewer.
    pub fn admit(&self, listener: usize, worker: usize) -> Option<usize> {
        let (open, max) = self.by_listener.get(listener)?;
        if open.fetch_add(1, Ordering::Relaxed) >= *max {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let loads = self.by_worker.iter().map(|it| it.load(Ordering::Relaxed));
        let own = self.by_worker.get(worker)?.load(Ordering::Relaxed);
        let (least, at) = loads.zip(0..).min()?;
        let to = if least < own { at } else { worker };
        self.by_worker.get(to)?.fetch_add(1, Ordering::Relaxed);
        Some(to)
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
