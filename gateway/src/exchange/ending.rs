//! How a connection comes to its end: errors, last words, what was due and did not come, closing.

use std::net::Shutdown;

use hangu_codecs::{Error, Fault, Reason, Status};

use super::{Core, ExchangeId, failure::Failure};
use crate::{
    connection::{Connection, ConnectionId, Side, State, Talk},
    telemetry::ReasonPlace,
};

impl Core {
    /// The peer broke the protocol or a limit, or is dead: says the last words and closes.
    pub(super) fn on_error(&mut self, id: ConnectionId, error: Error) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        match connection.side {
            Side::Downstream { listener } => {
                self.counters.error(ReasonPlace::Downstream(listener), error.reason);
                let failure = Failure::because(error.status, error.reason);
                self.end_streams(id, |core, exchange| core.give_up(exchange, failure));
                let Some(connection) = self.connections.get_mut(id) else { return };
                if let Some(codec) = connection.codec() {
                    codec.refuse(&error);
                }
                self.flush_and_close(id);
            }
            Side::Upstream { .. } => self.close(id, Closed::Broken(error.reason)),
        }
    }

    /// Closes a connection when all is written; nothing more is decoded.
    pub(super) fn flush_and_close(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.state == State::Open {
            connection.state = State::Flushing;
            connection.blocked = None;
            connection.active_at = self.now;
        }
        connection.wants_to_write(id, &mut self.outbox);
        self.set_timer(id);
    }

    /// Looks whether a connection has come to its end, after something changed on it.
    pub(super) fn settle(&mut self, id: ConnectionId) {
        if self.connections.get(id).is_some_and(Connection::is_finished) {
            self.withdraw(id);
            self.flush_and_close(id);
        }
    }

    /// Ends an upstream connection that takes no more streams, if it has none.
    pub(super) fn leave_unused(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        // What its codec has still to tell of a stream is told first.
        let has_streams = connection.in_flight() > 0 || connection.streams().next().is_some();
        if connection.state != State::Open || has_streams {
            return;
        }
        if let Some(codec) = connection.codec() {
            codec.drain();
        }
        self.flush_and_close(id);
    }

    /// Takes an upstream connection out of its pool.
    pub(super) fn withdraw(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        if let Side::Upstream { cluster, endpoint } = connection.side
            && let Some(pool) = self.endpoints.pool(cluster, endpoint)
        {
            pool.withdraw(id);
        }
    }

    /// Something was due on a connection and did not come.
    pub(super) fn on_expired(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_writing = connection.is_stalled;
        let in_flight = connection.in_flight() > 0;
        let has_partial_head = connection.head_since.is_some();
        let is_unknown = matches!(connection.talk, Talk::Unknown);
        match (connection.side, connection.state) {
            (_, State::Lingering { .. }) => self.close(id, Closed::Done),
            (Side::Downstream { listener }, State::Flushing) => {
                self.counters.error(ReasonPlace::Downstream(listener), "slow_reader");
                self.close(id, Closed::Lost);
            }
            (Side::Downstream { listener }, State::Open) => {
                let reason = match () {
                    () if has_partial_head && is_unknown => "first_bytes_timed_out",
                    () if has_partial_head => return self.refuse_slow_head(id),
                    () if is_writing => "slow_reader",
                    () if in_flight => "stream_idle",
                    () => return self.say_goodbye(id),
                };
                self.counters.error(ReasonPlace::Downstream(listener), reason);
                self.close(id, Closed::Lost);
            }
            (Side::Upstream { .. }, _) if in_flight || is_writing => {
                self.close(id, Closed::Broken("stream_idle"));
            }
            (Side::Upstream { .. }, _) => self.close(id, Closed::Done),
        }
    }

    fn refuse_slow_head(&mut self, id: ConnectionId) {
        let reason = "request_head_timed_out";
        self.on_error(id, Error::new(Fault::Limit, Status::RequestTimedOut, reason));
    }

    /// Ends an idle client connection in its protocol's words.
    fn say_goodbye(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if let Some(codec) = connection.codec() {
            codec.drain();
            if codec.is_parting() {
                connection.wants_to_write(id, &mut self.outbox);
                return self.set_timer(id);
            }
        }
        self.flush_and_close(id);
    }

    /// Ends a connection at once. Exchanges on it are cancelled (client side) or fail (upstream).
    pub(crate) fn close(&mut self, id: ConnectionId, why: Closed) {
        let Some(connection) = self.connections.get(id) else { return };
        match connection.side {
            Side::Downstream { .. } => {
                self.end_streams(id, |core, exchange| core.cancel(exchange, Reason::Cancelled));
            }
            Side::Upstream { cluster, .. } => {
                self.withdraw(id);
                let has_streams = connection_has_streams(self.connections.get(id));
                if has_streams {
                    self.counters.cluster(cluster).connections_lost.increment();
                }
                // Once for the connection, however many requests it takes along.
                if has_streams || matches!(why, Closed::Broken(_)) {
                    self.counters.error(ReasonPlace::Upstream(cluster), why.reason());
                }
                if why.may_be_stale() {
                    self.repeat_elsewhere(id);
                    self.repeat_all(id);
                }
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.state = State::Flushing;
                }
                let failure = Failure::upstream(why.reason());
                self.end_streams(id, |core, exchange| core.fail_counted(exchange, failure));
            }
        }
        self.unblock_readers(id);
        let Some(mut connection) = self.connections.remove(id) else { return };
        connection.socket.shutdown(Shutdown::Both);
        connection.reader.notify();
        match connection.side {
            Side::Downstream { listener } => {
                self.counters.listener(listener).connections_active.decrement();
                self.load.leave(listener, self.settings.worker);
            }
            Side::Upstream { cluster, endpoint } => {
                self.counters.cluster(cluster).connections_active.decrement();
                self.counters.endpoint(cluster, endpoint).connections_active.decrement();
                self.load.close_upstream(cluster);
                self.on_upstream_gone(id, cluster, endpoint);
            }
        }
    }

    fn on_upstream_gone(&mut self, id: ConnectionId, cluster: usize, endpoint: usize) {
        let Some(pool) = self.endpoints.pool(cluster, endpoint) else { return };
        pool.gone(id);
        self.dial_for_waiting(cluster, endpoint);
        self.endpoints.release(cluster, endpoint);
    }

    /// Applies `end` to the exchange of each stream of a connection.
    fn end_streams(&mut self, id: ConnectionId, mut end: impl FnMut(&mut Self, ExchangeId)) {
        let Some(connection) = self.connections.get(id) else { return };
        let joined: Vec<_> = connection.exchanges.iter().flatten().map(|it| it.exchange).collect();
        for (index, generation) in joined {
            end(self, ExchangeId::new(index, generation));
        }
    }
}

fn connection_has_streams(connection: Option<&Connection>) -> bool {
    connection.is_some_and(|it| it.exchanges.iter().any(Option::is_some))
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It had come to its end.
    Done,
    /// The peer closed it or broke off.
    Lost,
    /// We gave it up, for this reason.
    Broken(&'static str),
}

impl Closed {
    /// Whether an upstream connection may have been closed before the last request came to it.
    fn may_be_stale(self) -> bool {
        match self {
            Self::Lost => true,
            Self::Broken(reason) => CLOSED_BEFORE_RESPONSE.contains(&reason),
            Self::Done => false,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Done | Self::Lost => "upstream_closed",
            Self::Broken(reason) => reason,
        }
    }
}

/// What the codecs of HTTP/1.1 and HTTP/2 say of an upstream that closed without a byte of an
/// answer, or with answers that had not begun.
const CLOSED_BEFORE_RESPONSE: [&str; 2] = ["closed_before_response", "closed_with_streams"];
