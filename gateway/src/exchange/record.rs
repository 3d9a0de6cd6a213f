//! The end of an exchange: both streams are let go, the end is counted and logged.

use hangu_codecs::{Part, Reason};

use super::{Core, Exchange, ExchangeId, NEVER, Peer, Upstream, ending::Closed, grpc};
use crate::{
    connection::{Blocked, ConnectionId, Side, State},
    telemetry::{Ended, Outcome, Record},
};

impl Core {
    /// Ends an exchange: lets both streams go, counts and logs.
    pub(super) fn complete(&mut self, id: ExchangeId) {
        let Some(mut exchange) = self.exchanges.remove(id) else { return };
        self.release_request(&exchange);
        self.give_all_back(&exchange);
        let upstream = std::mem::replace(&mut exchange.upstream, Upstream::Ended);
        self.let_upstream_go(&exchange, id, upstream);
        if let Peer::Local { connection, stream } = exchange.downstream {
            let mut is_finished = false;
            if let Some(client) = self.connections.get_mut(connection) {
                client.part(stream);
                is_finished = client.is_finished();
                let is_of_it = |by: &mut Blocked| matches!(by, Blocked::Waiting | Blocked::Stream);
                let was_waiting = client.blocked.take_if(is_of_it).is_some();
                let is_to_decode = was_waiting || !client.input.is_empty();
                if is_to_decode && self.resume.last() != Some(&connection) {
                    self.resume.push(connection);
                }
            }
            if is_finished {
                self.settle(connection);
            }
            self.count(&exchange);
        }
        self.logs.give_back(exchange.logged);
        self.spare_apart(exchange.apart);
    }

    fn let_upstream_go(&mut self, exchange: &Exchange, id: ExchangeId, upstream: Upstream) {
        let Some((cluster, endpoint)) = exchange.target() else { return };
        self.endpoints.ended(cluster, endpoint);
        match upstream {
            Upstream::None | Upstream::Ended => {}
            Upstream::Waiting(_) => {
                let gave_up = self
                    .endpoints
                    .pool(cluster, endpoint)
                    .is_some_and(|pool| pool.give_up(id.parts()));
                if gave_up {
                    self.counters.cluster(cluster).requests_pending.decrement();
                }
            }
            Upstream::Joined(Peer::Local { connection, stream }) => {
                self.counters.cluster(cluster).requests_active.decrement();
                self.counters.endpoint(cluster, endpoint).requests_active.decrement();
                let progress = exchange.progress;
                let is_whole = progress.request_ended && progress.response_ended;
                let Some(other) = self.connections.get_mut(connection) else { return };
                other.part(stream);
                if !is_whole && let Some(codec) = other.codec() {
                    // A stream that has ended on its own needs no giving up.
                    let _ = codec.encode(stream, &Part::Reset(Reason::Cancelled));
                    // One that is not open is being closed, with all that it carries.
                    if other.state == State::Open
                        && other.codec().is_some_and(|codec| codec.is_finished())
                    {
                        // What it has not taken yet, nobody wants it to have any more.
                        return self.close(connection, Closed::Done);
                    }
                    other.wants_to_write(connection, &mut self.outbox);
                }
                self.free(connection);
            }
            Upstream::Joined(Peer::Remote { worker, .. }) => {
                self.away_count = self.away_count.saturating_sub(1);
                if !exchange.progress.response_ended {
                    self.mail_cancel(worker, id.parts());
                }
            }
        }
        if let Peer::Remote { worker, exchange } = exchange.downstream {
            self.away.remove(&(worker, exchange));
        }
    }

    /// An upstream connection lost a stream: it may take another.
    pub(super) fn free(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_finished() {
            return self.settle(id);
        }
        if connection.state != State::Open {
            return;
        }
        let Side::Upstream { cluster, endpoint } = connection.side else { return };
        let Some(protocol) = connection.protocol() else { return };
        let is_idle = connection.in_flight() == 0;
        if is_idle && !self.endpoints.takes_requests(cluster, endpoint) {
            // Nobody will ask for it any more; those who wait dial anew or go elsewhere.
            return self.close(id, Closed::Done);
        }
        if super::is_exclusive(protocol) {
            if is_idle {
                if connection.blocked.take().is_some() {
                    // Whatever it filled is done with it; it is to be read again.
                    self.resume.push(id);
                }
                self.freed.push(id);
            }
            return;
        }
        let Some(pool) = self.endpoints.pool(cluster, endpoint) else { return };
        if pool.is_leaving(id) {
            self.leave_unused(id);
        } else if pool.waiting() > 0 || pool.is_full(id) {
            self.freed.push(id);
        }
    }

    fn count(&mut self, exchange: &Exchange) {
        let duration_us = exchange.began.micros_since(self.now);
        let was_forwarded = exchange.forwarded != NEVER;
        let upstream_us = was_forwarded.then(|| exchange.forwarded.micros_since(self.now));
        let outcome = exchange.outcome.unwrap_or(Outcome::Reset(Reason::ConnectionLost));
        let listener = exchange.listener as usize;
        self.counters.listener(listener).requests_active.decrement();
        self.counters.end(&Ended {
            listener,
            route: exchange
                .route
                .and_then(|it| self.snapshot.route_now(&exchange.snapshot, it as usize)),
            target: exchange.target(),
            outcome,
            duration_us,
            upstream_us,
        });
        let grpc = exchange.asks.code(outcome);
        if let Some(rpc) = self.counters.worker.rpc.get() {
            let class = grpc.map_or(outcome.class(), |code| grpc::class(code, outcome));
            rpc.end(exchange.series, class, duration_us);
        }
        if self.settings.access_log {
            self.write_log(exchange, outcome, duration_us, upstream_us);
        }
    }

    fn write_log(
        &mut self,
        exchange: &Exchange,
        outcome: Outcome,
        duration_us: u64,
        upstream_us: Option<u64>,
    ) {
        let Some(logged) = &exchange.logged else { return };
        let Some(subject) = logged.text.subject() else { return };
        let snapshot = &exchange.snapshot;
        let (downstream, protocol, request_id) = match exchange.downstream {
            Peer::Local { connection, stream } => {
                let client = self.connections.get(connection);
                let protocol = client.and_then(|it| it.protocol()).map_or("", |it| it.name);
                (client.map(|it| it.peer), protocol, u64::from(stream.generation))
            }
            Peer::Remote { .. } => (None, "", 0),
        };
        let target = exchange.target();
        let mut call = logged.text.call();
        if let Some((cluster, _)) = target.filter(|_| call.callee_app.is_empty()) {
            call.callee_app = snapshot.cluster_app(cluster).as_bytes();
        }
        self.log.record(&Record {
            time_unix_ms: self.wall.unix_ms(exchange.began),
            listener: snapshot.listener_name(exchange.listener as usize),
            protocol,
            downstream,
            request_id,
            subject,
            route: exchange.route.map_or("", |it| snapshot.route_name(it as usize)),
            cluster: target.map_or("", |it| snapshot.cluster_name(it.0)),
            upstream: target.and_then(|it| snapshot.member(it.0, it.1)).map(|it| it.address),
            outcome,
            grpc: exchange.asks.code(outcome),
            failure: logged.failure,
            received_bytes: exchange.received_bytes,
            sent_bytes: exchange.sent_bytes,
            duration_us,
            upstream_us,
            call,
            callee_zone: target.map_or("", |it| snapshot.endpoint_zone(it.0, it.1)),
            zone: snapshot.zone(),
            worker: self.settings.worker,
        });
    }
}
