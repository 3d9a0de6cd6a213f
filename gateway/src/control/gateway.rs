//! What the control thread asks, answered by a running gateway.

use std::{sync::Arc, time::Duration};

use hangu_config::Config;
use tokio::sync::oneshot;

use super::{Answer, ConnectionView, Inspect, Side};
use crate::{
    connection::{self, Connection},
    exchange::Core,
    start::Handle,
    telemetry::Metrics,
};

impl Inspect for Handle {
    fn is_ready(&self) -> bool {
        !self.is_stopping()
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&Self::snapshot(self).config)
    }

    fn metrics(&self) -> Metrics {
        Self::metrics(self)
    }

    fn connections(&self, limit: usize) -> Answer<Vec<ConnectionView>> {
        let answers: Vec<_> = (0..self.workers())
            .map(|worker| {
                let (answer, answered) = oneshot::channel();
                let order = move |core: &mut Core| {
                    // Whoever asked may have gone meanwhile.
                    let _ = answer.send(views(core, worker, limit));
                };
                self.order(worker, order);
                answered
            })
            .collect();
        Box::pin(async move {
            let mut all = Vec::new();
            for answered in answers {
                // A worker that ends has no connections to show.
                all.extend(answered.await.unwrap_or_default());
            }
            all.truncate(limit);
            all
        })
    }

    fn stop(&self, grace: Duration) {
        Self::stop(self, grace);
    }
}

fn views(core: &mut Core, worker: usize, limit: usize) -> Vec<ConnectionView> {
    let (now, snapshot) = (core.now, core.snapshot.clone());
    let view = |it: &mut Connection| ConnectionView {
        worker,
        side: match it.side {
            connection::Side::Downstream { listener } => {
                Side::Downstream { listener: snapshot.listener_name(listener).to_owned() }
            }
            connection::Side::Upstream { cluster, .. } => {
                Side::Upstream { cluster: snapshot.cluster_name(cluster).to_owned() }
            }
        },
        protocol: it.protocol().map(|it| it.name),
        peer: Some(it.peer),
        streams: it.in_flight(),
        age_ms: u64::try_from(it.since.since(now).as_millis()).unwrap_or(u64::MAX),
        pending_bytes: it.unsent_bytes(),
    };
    core.connections.iter_mut().take(limit).map(|(_, it)| view(it)).collect()
}
