//! What the control thread asks, answered by a running gateway.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use hangu_config::Config;
use tokio::sync::oneshot;

use super::{Answer, ConnectionFilter, ConnectionView, FilteredConnection, Inspect, Refused, Side};
use crate::{
    clock,
    connection::{self, Connection},
    exchange::Core,
    snapshot::Snapshot,
    start::{ApplyError, Handle, Leaving},
    swap,
    telemetry::Metrics,
    worker::Balancer,
};

impl Inspect for Handle {
    fn is_ready(&self) -> bool {
        !self.is_stopping()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Self::snapshot(self)
    }

    fn metrics(&self) -> Metrics {
        Self::metrics(self)
    }

    fn apply(&self, config: Config) -> Result<(), Refused> {
        Self::apply(self, config).map(drop).map_err(|error| Refused {
            why: error.to_string(),
            may_pass: match error {
                ApplyError::Bind(_) | ApplyError::Relief(_) | ApplyError::Leaving(_) => true,
                ApplyError::Route(_) | ApplyError::Stopping => false,
            },
        })
    }

    fn set_draining(
        &self,
        cluster: &str,
        endpoint: SocketAddr,
        is_draining: bool,
    ) -> Result<bool, Leaving> {
        Self::set_draining(self, cluster, endpoint, is_draining)
    }

    fn set_discovered(&self, cluster: &str, endpoints: Vec<hangu_config::Endpoint>) {
        Self::set_discovered(self, cluster, endpoints);
    }

    fn set_health(&self, cluster: &str, endpoint: SocketAddr, is_healthy: bool) -> bool {
        Self::set_health(self, cluster, endpoint, is_healthy)
    }

    fn reopen_log(&self) {
        Self::reopen_log(self);
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        Self::changes(self)
    }

    fn connections(&self, filter: ConnectionFilter, limit: usize) -> Answer<Vec<ConnectionView>> {
        let answers: Vec<_> = (0..self.workers())
            .map(|worker| {
                let (answer, answered) = oneshot::channel();
                let filter = filter.clone();
                let order = move |core: &mut Core| {
                    // Whoever asked may have gone meanwhile.
                    let _ = answer.send(views(core, worker, &filter, limit));
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

    fn listening(&self) -> Answer<Vec<TcpListener>> {
        let answers: Vec<_> = (0..self.workers()).map(|it| ask(self, it, sockets)).collect();
        Box::pin(async move {
            let mut all = Vec::new();
            for answer in answers {
                all.extend(answer.await);
            }
            all
        })
    }

    fn pulses(&self) -> Vec<Answer<()>> {
        (0..self.workers()).map(|it| ask(self, it, |_| ())).collect()
    }

    fn give(
        &self,
        order: swap::Order,
        tell: &mut dyn FnMut(&swap::Report),
    ) -> Result<swap::Given, swap::Refusal> {
        swap::give(self, order, tell)
    }

    fn balance(&self, balancer: &mut Balancer) {
        Self::balance(self, balancer, clock::now());
    }

    fn stop(&self, grace: Duration) {
        Self::stop(self, grace);
    }
}

/// Asks something of a worker. One that ends says nothing of any interest.
fn ask<T: Default + Send + 'static>(
    gateway: &Handle,
    worker: usize,
    question: impl FnOnce(&Core) -> T + Send + 'static,
) -> Answer<T> {
    let (answer, answered) = oneshot::channel();
    gateway.order(worker, move |core| {
        // Whoever asked may have gone meanwhile.
        let _ = answer.send(question(core));
    });
    Box::pin(async move { answered.await.unwrap_or_default() })
}

/// The sockets on which a worker accepts. A port that the system chose is another one after the
/// next start.
fn sockets(core: &Core) -> Vec<TcpListener> {
    let is_lasting = |place: usize| {
        let address = core.snapshot.listener(place).map(|it| it.address);
        core.snapshot.has_listener(place) && address.is_some_and(|it| it.port() != 0)
    };
    let own = core.listening.iter().filter(|it| is_lasting(it.0));
    own.filter_map(|it| it.1.try_clone().ok()).collect()
}

fn views(
    core: &mut Core,
    worker: usize,
    filter: &ConnectionFilter,
    limit: usize,
) -> Vec<ConnectionView> {
    let (now, snapshot) = (core.now, core.snapshot.clone());
    // Nothing is allocated for those that are not shown: there may be very many.
    let is_shown = |it: &Connection| {
        let (listener, cluster) = match it.side {
            connection::Side::Downstream { listener } => {
                (Some(snapshot.listener_name(listener)), None)
            }
            connection::Side::Upstream { cluster, .. } => {
                (None, Some(snapshot.cluster_name(cluster)))
            }
        };
        filter.admits(FilteredConnection { listener, cluster, peer: it.peer })
    };
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
    let all = core.connections.iter_mut().map(|(_, it)| it);
    all.filter(|it| is_shown(it)).take(limit).map(view).collect()
}
