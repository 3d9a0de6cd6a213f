//! Connections to endpoints: making them, and what becomes of those who wait when none comes
//! about.

use std::rc::Rc;

use hangu_codecs::{OwnedPart, Part, Role, Status};

use super::{
    Core, ExchangeId, NEVER, Peer, Upstream, failure::Failure, flow::Way, grpc, is_exclusive,
    release::unless_released,
};
use crate::{
    clock,
    connection::{Blocked, Connection, Side, Talk},
    io::{self, DialError},
    telemetry::ReasonPlace,
    upstream::Pool,
};

impl Core {
    /// Establishes a connection to an endpoint, for those that wait for one.
    pub(crate) fn dial(&mut self, cluster: usize, endpoint: usize) {
        if self.dials_wait {
            return;
        }
        let Some(work) = self.work() else { return };
        let Some((address, timeout, tcp)) = self.snapshot.dial(cluster, endpoint) else { return };
        if !self.load.open_upstream(cluster) {
            return self.on_no_room(cluster, endpoint);
        }
        let Some(pool) = self.endpoints.pool(cluster, endpoint) else { return };
        pool.dial_began();
        self.dials += 1;
        let driver = self.settings.driver;
        monoio::spawn(async move {
            let dialling = io::dial(address, timeout, tcp, driver);
            // Who lets go of all lets its successor dial anew for those that wait.
            if let Some(dialled) = unless_released(&work, dialling).await {
                work.with(|core| core.on_dialled(cluster, endpoint, dialled));
            }
        });
    }

    /// The process has as many connections to the cluster as it may. Who waits for a connection
    /// that stands goes on waiting; who would wait for nothing is told.
    fn on_no_room(&mut self, cluster: usize, endpoint: usize) {
        let Some(pool) = self.endpoints.pool(cluster, endpoint) else { return };
        if !pool.is_forsaken() {
            return;
        }
        for parts in pool.take_waiting() {
            self.counters.cluster(cluster).requests_pending.decrement();
            let failure = Failure::because(Status::Overloaded, "cluster_connections_max");
            self.fail(ExchangeId::new(parts.0, parts.1), failure);
        }
    }

    fn on_dialled(
        &mut self,
        cluster: usize,
        endpoint: usize,
        dialled: Result<io::Socket, DialError>,
    ) {
        self.now = clock::now();
        self.dials = self.dials.saturating_sub(1);
        if let Some(pool) = self.endpoints.pool(cluster, endpoint) {
            pool.dial_ended(dialled.is_ok());
        }
        let snapshot = Rc::clone(&self.snapshot);
        let Some((address, ..)) = snapshot.dial(cluster, endpoint) else { return };
        let Some((protocol, _)) = snapshot.pool(cluster) else { return };
        match dialled {
            Ok(socket) => {
                let codec =
                    (protocol.codec)(Role::Client, snapshot.upstream_limits(cluster), self.now);
                let side = Side::Upstream { cluster, endpoint };
                let talk = Talk::Known { protocol, codec };
                let id = self.admit(Connection::new(side, address, socket, talk, self.now));
                self.shelter(id, |core| core.offer(id));
            }
            Err(error) => {
                self.load.close_upstream(cluster);
                self.on_dial_failure(cluster, endpoint, &error);
            }
        }
        self.work_off();
    }

    fn on_dial_failure(&mut self, cluster: usize, endpoint: usize, error: &DialError) {
        let Some((protocol, _)) = self.snapshot.pool(cluster) else { return };
        self.counters.endpoint(cluster, endpoint).connect_failures.increment();
        let (status, reason) = match error {
            DialError::TimedOut => {
                self.counters.cluster(cluster).connect_timeouts.increment();
                (Status::TimedOut, "connect_timed_out")
            }
            DialError::Refused(_) => {
                self.counters.cluster(cluster).connect_failures.increment();
                (Status::UpstreamFailed, "connect_failed")
            }
        };
        self.counters.error(ReasonPlace::Upstream(cluster), reason);
        tracing::debug!(cluster, endpoint, %error, "cannot connect");
        let Some(pool) = self.endpoints.pool(cluster, endpoint) else { return };
        // Each exclusive dial was for one exchange, a shared one for all that wait; and so was the
        // last one, when no connection stands that could still serve them.
        let failed = if is_exclusive(protocol) && !pool.is_forsaken() {
            pool.next_waiting().into_iter().collect()
        } else {
            pool.take_waiting()
        };
        for parts in failed {
            self.counters.cluster(cluster).requests_pending.decrement();
            let id = ExchangeId::new(parts.0, parts.1);
            if !self.try_elsewhere(id) {
                self.fail_counted(id, Failure::because(status, reason));
            }
        }
        self.dial_for_waiting(cluster, endpoint);
        self.endpoints.release(cluster, endpoint);
    }

    /// Establishes a further connection to an endpoint if someone waits that nobody dials for.
    pub(super) fn dial_for_waiting(&mut self, cluster: usize, endpoint: usize) {
        let Some((protocol, limits)) = self.snapshot.pool(cluster) else { return };
        let pool = self.endpoints.pool(cluster, endpoint);
        if pool.is_some_and(|pool| pool.should_dial(protocol.pooling, limits)) {
            self.dial(cluster, endpoint);
        }
    }

    /// Gives an exchange that waited for a connection in vain to another endpoint of its cluster,
    /// if there is one and the budget allows it; says whether it did. No byte of it was sent.
    fn try_elsewhere(&mut self, id: ExchangeId) -> bool {
        let (random, now) = (self.random(), self.now);
        let Some(exchange) = self.exchanges.get_mut(id) else { return false };
        let Some((cluster, endpoint)) = exchange.target() else { return false };
        // What another worker asks for is this worker's to try at its own endpoints alone.
        if !matches!(exchange.downstream, Peer::Local { .. }) || exchange.deadline <= now {
            return false;
        }
        let tries = exchange.retries;
        let other = self.endpoints.pick_again(cluster, endpoint, tries, random, now);
        let Some(other) = other else { return false };
        let Upstream::Waiting(parts) = std::mem::replace(&mut exchange.upstream, Upstream::None)
        else {
            return false;
        };
        exchange.retries += 1;
        exchange.target = Some((cluster as u32, other as u32));
        self.endpoints.ended(cluster, endpoint);
        self.endpoints.began(cluster, other);
        self.counters.cluster(cluster).retries.increment();
        self.send_again(id, *parts);
        true
    }

    /// Dials nothing more, or again, with all that would have been dialled meanwhile. Who waits for
    /// a connection goes on waiting. Says how many connections are being established.
    pub fn let_dials_wait(&mut self, wait: bool) -> usize {
        self.dials_wait = wait;
        if !wait {
            let snapshot = Rc::clone(&self.snapshot);
            for (cluster, endpoint) in self.endpoints.awaited() {
                let Some((protocol, limits)) = snapshot.pool(cluster) else { continue };
                let wants = |it: &mut Pool| it.should_dial(protocol.pooling, limits);
                while self.endpoints.pool(cluster, endpoint).is_some_and(wants) {
                    let before = self.dials;
                    self.dial(cluster, endpoint);
                    if self.dials == before {
                        break;
                    }
                }
            }
        }
        self.dials
    }

    /// Lets an exchange that waited with another owner wait here, for the same endpoint.
    pub(super) fn wait_again(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if let Upstream::Waiting(parts) = &mut exchange.upstream {
            let parts = std::mem::take(parts);
            exchange.upstream = Upstream::None;
            self.send_again(id, *parts);
        }
    }

    /// Sends what is held of an exchange to the endpoint that it is for now.
    pub(super) fn send_again(&mut self, id: ExchangeId, parts: Vec<OwnedPart>) {
        let snapshot = Rc::clone(&self.snapshot);
        let Some(exchange) = self.exchanges.get(id) else { return };
        let (deadline, downstream) = (exchange.deadline, exchange.downstream);
        let mut parts = parts.into_iter();
        let Some(mut head) = parts.next() else { return };
        let Some(mut part) = head.as_part() else { return };
        if let Part::Head(head, _) = &mut part
            && deadline != NEVER
        {
            grpc::tell_time_left(head, deadline.until(self.now));
        }
        self.send_head(id, &snapshot, &part);
        for mut part in parts {
            let Some(part) = part.as_part() else { continue };
            self.hand_on(id, None, &part);
        }
        let is_waiting =
            self.exchanges.get(id).is_some_and(|it| matches!(it.upstream, Upstream::Waiting(_)));
        if is_waiting {
            return;
        }
        self.on_taken(id, Way::Request);
        if let Peer::Local { connection, .. } = downstream {
            self.unblock(connection, Blocked::Waiting);
        }
    }
}
