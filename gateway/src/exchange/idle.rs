//! Exchanges of which nothing has moved for long.
//!
//! A connection that carries many streams is never silent as long as one of them lives, so each
//! exchange is looked at by itself. That costs a byte: what moves sets it to zero, and a sweep over
//! all exchanges, one in [`SWEEP_EVERY`], adds one.
//!
//! Data of either direction is life, a receiver that takes data again too, and on a connection of
//! one stream every byte that is read or written. So a slow receiver is not cut off while it takes
//! what is under way to it, a window at most, in the time of [`STREAM_IDLE`].

use std::time::Duration;

use hangu_codecs::{Status, Time, protocol::Kind};

use super::{Core, Exchange, ExchangeId, NEVER, Peer, Upstream, failure::Failure};

impl Core {
    /// Ends the exchanges of which nothing has moved for long, if it is time to look.
    pub(super) fn sweep_idle(&mut self) {
        if self.now < self.idle_sweep_at {
            return;
        }
        self.idle_sweep_at = self.now.after(SWEEP_EVERY);
        let mut quiet = Vec::new();
        for (id, exchange) in self.exchanges.iter_mut() {
            // The half with the client watches and counts.
            if matches!(exchange.downstream, Peer::Remote { .. }) {
                continue;
            }
            exchange.quiet = exchange.quiet.saturating_add(1);
            if exchange.quiet > QUIET_MAX {
                quiet.push(id);
            }
        }
        for id in quiet {
            self.end_idle(id);
        }
    }

    fn end_idle(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        if self.is_awaited(exchange) || self.has_moved(exchange) {
            return;
        }
        let is_clients_turn = !exchange.progress.request_ended
            && !exchange.progress.response_began
            && !matches!(exchange.upstream, Upstream::Waiting(_))
            && exchange.withheld().request == 0;
        let status = if is_clients_turn { Status::RequestTimedOut } else { Status::TimedOut };
        self.fail(id, Failure::because(status, STREAM_IDLE_REASON));
    }

    /// Whether it is a call that says itself how long it may take.
    fn is_awaited(&self, exchange: &Exchange) -> bool {
        let Peer::Local { connection, .. } = exchange.downstream else { return true };
        let protocol = self.connections.get(connection).and_then(|it| it.protocol());
        exchange.deadline != NEVER && protocol.is_some_and(|it| it.kind == Kind::Rpc)
    }

    /// Whether something has moved on a connection that has only this stream.
    fn has_moved(&self, exchange: &Exchange) -> bool {
        let since = |then: Time| then.since(self.now);
        let peers = [Some(exchange.downstream), exchange.upstream_peer()];
        peers.into_iter().flatten().any(|peer| {
            let Peer::Local { connection, .. } = peer else { return false };
            let connection = self.connections.get(connection);
            connection.is_some_and(|it| it.is_exclusive() && since(it.active_at) < STREAM_IDLE)
        })
    }
}

/// What is counted and logged.
const STREAM_IDLE_REASON: &str = "stream_idle";

/// An exchange of which nothing moves for this long is given up, as in the sidecars (stream idle
/// timeout); up to [`SWEEP_EVERY`] later.
pub(super) const STREAM_IDLE: Duration = Duration::from_secs(300);

/// How often all exchanges are looked at: a walk over them that costs nothing beside what they did
/// meanwhile.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Sweeps in the time of [`STREAM_IDLE`].
const QUIET_MAX: u8 = (STREAM_IDLE.as_secs() / SWEEP_EVERY.as_secs()) as u8;
