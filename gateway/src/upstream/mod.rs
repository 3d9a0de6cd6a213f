//! Connections to the endpoints of one cluster, as one worker sees them. Pure: it tells what to
//! do, others do it.

mod endpoints;

pub use endpoints::Endpoints;

use std::collections::VecDeque;

use hangu_codecs::protocol::Pooling;
use serde::{Deserialize, Serialize};

use crate::{connection::ConnectionId, snapshot::PoolLimits};

/// The index and generation of an exchange in the worker's slab.
pub type ExchangeParts = (u32, u32);

/// The connections of this worker to one endpoint, and the exchanges that wait for one.
#[derive(Debug, Default)]
pub struct Pool {
    /// Exclusive pooling: connections without a stream, the most recently used last.
    idle: Vec<ConnectionId>,
    /// Multiplexed pooling: connections that take streams.
    shared: Vec<ConnectionId>,
    /// Multiplexed pooling: connections that take streams again when one of theirs ends.
    full: Vec<ConnectionId>,
    /// Connections that take no streams any more, until they are gone.
    leaving: Vec<ConnectionId>,
    next_shared: usize,
    /// Connections established, idle or not.
    established: u32,
    /// Connections being established.
    dialling: u32,
    waiting: VecDeque<ExchangeParts>,
}

/// Where a connection stands in its pool, as it travels with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pooled {
    /// Nowhere: it has its stream, or takes no more.
    No,
    /// Among those without a stream (exclusive pooling).
    Idle,
    /// Among those that take streams (multiplexed pooling).
    Shared,
    /// Among those that take streams again when one of theirs ends.
    Full,
}

/// What to do for an exchange that needs a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// Open a stream on this connection; when it takes none, ask again.
    Connection(ConnectionId),
    /// Wait: a connection is being established.
    Wait,
    /// Establish a connection, and wait for it.
    Dial,
    /// Too many wait already.
    Overloaded,
}

impl Pool {
    /// What to do for an exchange that needs a connection. For [`Acquired::Wait`] and
    /// [`Acquired::Dial`] the caller enters it by [`Pool::wait`].
    pub fn acquire(&mut self, pooling: Pooling, limits: PoolLimits) -> Acquired {
        match pooling {
            // The most recently used one is the least likely to be closed under our hands, and
            // the others come to their idle timeout.
            Pooling::Exclusive => {
                if let Some(id) = self.idle.pop() {
                    return Acquired::Connection(id);
                }
            }
            Pooling::Multiplexed => {
                if let Some(id) = self.next_shared() {
                    return Acquired::Connection(id);
                }
            }
        }
        if self.waiting.len() >= limits.pending_max as usize {
            return Acquired::Overloaded;
        }
        let enough = match pooling {
            Pooling::Exclusive => self.waiting.len() < self.dialling as usize,
            Pooling::Multiplexed => self.dialling > 0,
        };
        if enough || !self.has_room(pooling, limits) {
            return Acquired::Wait;
        }
        Acquired::Dial
    }

    fn next_shared(&mut self) -> Option<ConnectionId> {
        self.next_shared += 1;
        if self.next_shared >= self.shared.len() {
            self.next_shared = 0;
        }
        self.shared.get(self.next_shared).copied()
    }

    /// Whether one more connection may be established. Multiplexed ones that take no streams any
    /// more do not count: what is in flight on them may last, and others are not to wait for it.
    /// But no more of them than others are.
    fn has_room(&self, pooling: Pooling, limits: PoolLimits) -> bool {
        let leaving = match pooling {
            Pooling::Exclusive => 0,
            Pooling::Multiplexed => u32::try_from(self.leaving.len()).unwrap_or(u32::MAX),
        };
        let all = self.established.saturating_add(self.dialling);
        all.saturating_sub(leaving.min(limits.connections_max)) < limits.connections_max
    }

    /// Takes in a connection that another owner established.
    pub fn adopt(&mut self, pooling: Pooling, id: ConnectionId, pooled: Pooled) {
        self.established += 1;
        match pooled {
            Pooled::No if pooling == Pooling::Multiplexed => self.leaving.push(id),
            Pooled::No => {}
            Pooled::Idle => self.idle.push(id),
            Pooled::Shared => self.shared.push(id),
            Pooled::Full => self.full.push(id),
        }
    }

    /// The connections that stand here, each with where.
    pub fn pooled(&self) -> impl Iterator<Item = (ConnectionId, Pooled)> + '_ {
        let idle = self.idle.iter().map(|it| (*it, Pooled::Idle));
        let shared = self.shared.iter().map(|it| (*it, Pooled::Shared));
        let full = self.full.iter().map(|it| (*it, Pooled::Full));
        idle.chain(shared).chain(full)
    }

    /// Enters an exchange that waits for a connection.
    pub fn wait(&mut self, exchange: ExchangeParts) {
        self.waiting.push_back(exchange);
    }

    /// Takes out an exchange that waits no more; says whether it was there.
    pub fn give_up(&mut self, exchange: ExchangeParts) -> bool {
        let Some(place) = self.waiting.iter().position(|it| *it == exchange) else { return false };
        self.waiting.remove(place);
        true
    }

    /// The exchange that has waited longest.
    pub fn next_waiting(&mut self) -> Option<ExchangeParts> {
        self.waiting.pop_front()
    }

    /// All that wait; they wait no more.
    pub fn take_waiting(&mut self) -> VecDeque<ExchangeParts> {
        std::mem::take(&mut self.waiting)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A connection is being established.
    pub fn dial_began(&mut self) {
        self.dialling += 1;
    }

    /// A connection was established or could not be.
    pub fn dial_ended(&mut self, established: bool) {
        self.dialling = self.dialling.saturating_sub(1);
        self.established += u32::from(established);
    }

    /// A connection takes a stream: an exclusive one again, after its stream ended; a shared one
    /// from now on (offering it twice changes nothing).
    pub fn offer(&mut self, pooling: Pooling, id: ConnectionId) {
        if self.is_leaving(id) {
            return;
        }
        self.full.retain(|it| *it != id);
        match pooling {
            Pooling::Exclusive => self.idle.push(id),
            Pooling::Multiplexed if self.shared.contains(&id) => {}
            Pooling::Multiplexed => self.shared.push(id),
        }
    }

    /// A connection takes no streams until one of its own ends.
    pub fn fill(&mut self, id: ConnectionId) {
        self.take_out(id);
        self.full.push(id);
    }

    /// Whether a connection was full and is to be offered again now that a stream of it ended.
    pub fn is_full(&self, id: ConnectionId) -> bool {
        self.full.contains(&id)
    }

    /// Whether someone waits who may be served by a connection that was full, or is one of those
    /// that take streams.
    pub fn is_awaited_of(&self, id: ConnectionId) -> bool {
        !self.waiting.is_empty() && !self.is_leaving(id)
    }

    /// Whether a connection takes no streams any more.
    pub fn is_leaving(&self, id: ConnectionId) -> bool {
        self.leaving.contains(&id)
    }

    /// A connection takes no streams any more.
    pub fn withdraw(&mut self, id: ConnectionId) {
        self.take_out(id);
        if !self.is_leaving(id) {
            self.leaving.push(id);
        }
    }

    fn take_out(&mut self, id: ConnectionId) {
        self.full.retain(|it| *it != id);
        self.idle.retain(|it| *it != id);
        self.shared.retain(|it| *it != id);
    }

    /// A connection is gone.
    pub fn gone(&mut self, id: ConnectionId) {
        self.take_out(id);
        self.leaving.retain(|it| *it != id);
        self.established = self.established.saturating_sub(1);
    }

    /// The connections that take a stream.
    pub fn available(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.idle.iter().chain(&self.shared).copied()
    }

    /// Whether there is neither a connection, nor a dial, nor anyone who waits.
    pub fn is_empty(&self) -> bool {
        self.is_forsaken() && self.waiting.is_empty()
    }

    /// Whether no connection stands and none is being established.
    pub fn is_forsaken(&self) -> bool {
        self.established == 0 && self.dialling == 0
    }

    /// Whether a dial would be allowed and useful: someone waits and nobody dials for them.
    pub fn should_dial(&self, pooling: Pooling, limits: PoolLimits) -> bool {
        let wanted = match pooling {
            Pooling::Exclusive => self.waiting.len() > self.dialling as usize,
            Pooling::Multiplexed => {
                !self.waiting.is_empty() && self.dialling == 0 && self.shared.is_empty()
            }
        };
        wanted && self.has_room(pooling, limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PoolLimits = PoolLimits { connections_max: 2, pending_max: 3 };

    #[test]
    fn an_exclusive_connection_serves_one_stream_at_a_time() {
        let mut pool = Pool::default();
        assert_eq!(pool.acquire(Pooling::Exclusive, LIMITS), Acquired::Dial);
        pool.dial_began();
        pool.wait((1, 0));
        assert_eq!(pool.acquire(Pooling::Exclusive, LIMITS), Acquired::Dial);
        pool.dial_began();
        pool.wait((2, 0));
        assert_eq!(pool.acquire(Pooling::Exclusive, LIMITS), Acquired::Wait);
        pool.wait((3, 0));
        assert_eq!(pool.acquire(Pooling::Exclusive, LIMITS), Acquired::Overloaded);
        pool.dial_ended(true);
        assert_eq!(pool.next_waiting(), Some((1, 0)));
        let id = ConnectionId::new(7, 0);
        pool.offer(Pooling::Exclusive, id);
        assert_eq!(pool.acquire(Pooling::Exclusive, LIMITS), Acquired::Connection(id));
        assert_ne!(pool.acquire(Pooling::Exclusive, LIMITS), Acquired::Connection(id));
    }

    #[test]
    fn one_dial_serves_all_who_wait_for_a_shared_connection() {
        let mut pool = Pool::default();
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Dial);
        pool.dial_began();
        pool.wait((1, 0));
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Wait);
        pool.wait((2, 0));
        pool.dial_ended(true);
        let id = ConnectionId::new(7, 0);
        pool.offer(Pooling::Multiplexed, id);
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Connection(id));
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Connection(id));
        assert_eq!(pool.take_waiting(), [(1, 0), (2, 0)]);
        pool.gone(id);
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Dial);
    }

    fn established(pool: &mut Pool, index: u32) -> ConnectionId {
        pool.dial_began();
        pool.dial_ended(true);
        let id = ConnectionId::new(index, 0);
        pool.offer(Pooling::Multiplexed, id);
        id
    }

    #[test]
    fn a_further_connection_is_made_when_all_are_full_up_to_the_limit() {
        let mut pool = Pool::default();
        let first = established(&mut pool, 1);
        pool.fill(first);
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Dial);
        let second = established(&mut pool, 2);
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Connection(second));
        pool.fill(second);
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Wait);
        pool.offer(Pooling::Multiplexed, first);
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Connection(first));
    }

    #[test]
    fn a_connection_that_takes_no_more_streams_is_replaced_while_it_lasts() {
        let mut pool = Pool::default();
        let ids = [1, 2].map(|it| established(&mut pool, it));
        ids.into_iter().for_each(|it| pool.withdraw(it));
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Dial);
        // Offered late, by what ended on it.
        pool.offer(Pooling::Multiplexed, ids[0]);
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Dial);
        let more = [3, 4].map(|it| established(&mut pool, it));
        assert!(matches!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Connection(_)));
        more.into_iter().for_each(|it| pool.withdraw(it));
        // As many as may be are on their way out: nothing is gained by more.
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Wait);
        pool.gone(ids[0]);
        assert_eq!(pool.acquire(Pooling::Multiplexed, LIMITS), Acquired::Dial);
    }

    #[test]
    fn a_connection_that_leaves_goes_on_counting_where_each_has_one_stream() {
        let mut pool = Pool::default();
        for index in [1, 2] {
            pool.dial_began();
            pool.dial_ended(true);
            pool.withdraw(ConnectionId::new(index, 0));
        }
        assert_eq!(pool.acquire(Pooling::Exclusive, LIMITS), Acquired::Wait);
    }
}
