//! A worker's connections and exchanges as values, for another process or another set of workers.
//!
//! Called while the worker does nothing else, so nothing is in flight between two of its tasks:
//! all that is known of a connection stands in its [`Connection`]. Nothing changes here, so that
//! the worker can simply go on when nobody takes the values.

use std::os::fd::BorrowedFd;

use bytes::Bytes;
use hangu_codecs::{Codec, Protocol, Time};
use rustc_hash::FxHashMap;

use super::{
    Core, Exchange, ExchangeId, NEVER, Peer, Upstream,
    frozen::{
        Away, FrozenBlocked, FrozenConnection, FrozenExchange, FrozenPeer, FrozenSeries,
        FrozenSide, FrozenState, FrozenUpstream, FrozenWorker,
    },
};
use crate::{
    clock,
    connection::{Blocked, Connection, ConnectionId, Side, State, Talk},
    telemetry::RpcSeries,
    upstream::Pooled,
};

/// What a worker hands over.
pub struct Frozen {
    /// Its connections and exchanges.
    pub state: FrozenWorker,
    /// Its exchanges that other workers refer to.
    pub away: Away,
}

/// A descriptor with the name of its connection: index and generation.
pub type Descriptor<'a> = ((u32, u32), BorrowedFd<'a>);

/// What another process can take.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Names of protocols whose connections it can thaw.
    pub protocols: Vec<String>,
}

impl Taken {
    /// Whether connections of a protocol can move.
    pub fn takes(&self, protocol: &Protocol) -> bool {
        self.protocols.iter().any(|it| it == protocol.name)
    }
}

/// Positions of connections and exchanges in the lists of a [`FrozenWorker`].
pub(super) struct Positions {
    pub(super) connections: FxHashMap<ConnectionId, u32>,
    pub(super) exchanges: FxHashMap<ExchangeId, u32>,
    pub(super) pooled: FxHashMap<ConnectionId, Pooled>,
}

impl Core {
    /// All connections and exchanges as values.
    pub fn freeze(&mut self) -> Frozen {
        self.now = clock::now();
        let positions = Positions {
            connections: self.connections.iter().zip(0..).map(|((id, _), at)| (id, at)).collect(),
            exchanges: self.exchanges.iter().zip(0..).map(|((id, _), at)| (id, at)).collect(),
            pooled: self.endpoints.pooled().collect(),
        };
        let mut names = Names::default();
        let exchanges = self
            .exchanges
            .iter()
            .map(|(id, exchange)| self.freeze_exchange(id, exchange, &positions, &mut names))
            .collect();
        let now = self.now;
        let connections = self
            .connections
            .iter()
            .map(|(id, connection)| freeze_connection(id, connection, &positions, now))
            .collect();
        let is_away = |it: &&(ExchangeId, &Exchange)| {
            matches!(it.1.upstream, Upstream::Joined(Peer::Remote { .. }))
        };
        let away = self.exchanges.iter().zip(0..);
        let away = away.filter(|(it, _)| is_away(&it)).map(|((id, _), at)| (id.parts(), at));
        let away = away.collect();
        let budgets = self.endpoints.budgets();
        Frozen { state: FrozenWorker { connections, exchanges, names: names.list, budgets }, away }
    }

    pub(super) fn freeze_exchange(
        &self,
        id: ExchangeId,
        exchange: &Exchange,
        positions: &Positions,
        names: &mut Names,
    ) -> FrozenExchange {
        let now = self.now;
        let peer = |peer: Peer| match peer {
            Peer::Local { connection, stream } => {
                // A connection that is gone is one that no list has.
                let at = positions.connections.get(&connection).copied().unwrap_or(u32::MAX);
                FrozenPeer::Local(at, stream)
            }
            Peer::Remote { worker, exchange } => FrozenPeer::Remote(worker as u32, exchange),
        };
        let upstream = match &exchange.upstream {
            Upstream::None => FrozenUpstream::None,
            Upstream::Waiting(parts) => FrozenUpstream::Waiting(parts.to_vec()),
            Upstream::Joined(Peer::Remote { worker, .. }) => {
                FrozenUpstream::Joined(FrozenPeer::Remote(*worker as u32, id.parts()))
            }
            Upstream::Joined(joined) => FrozenUpstream::Joined(peer(*joined)),
            Upstream::Ended => FrozenUpstream::Ended,
        };
        let series = match exchange.series {
            RpcSeries::None => FrozenSeries::None,
            RpcSeries::Other => FrozenSeries::Other,
            RpcSeries::NoRoute => FrozenSeries::NoRoute,
            RpcSeries::Named { caller, .. } => match self.counters.worker.rpc.get() {
                Some(rpc) => names.position(caller, || rpc.names(caller)),
                None => FrozenSeries::None,
            },
        };
        let route =
            exchange.route.and_then(|it| self.snapshot.route_now(&exchange.snapshot, it as usize));
        FrozenExchange {
            downstream: peer(exchange.downstream),
            upstream,
            listener: exchange.listener,
            route: route.map(|it| it as u32),
            series,
            target: exchange.target,
            began: age(exchange.began, now),
            forwarded: (exchange.forwarded != NEVER).then(|| age(exchange.forwarded, now)),
            deadline: (exchange.deadline != NEVER).then(|| left(exchange.deadline, now)),
            progress: exchange.progress,
            outcome: exchange.outcome,
            asks_connect: exchange.asks_connect,
            counts_downstream: exchange.counts_downstream,
            counts_upstream: exchange.counts_upstream,
            retries: exchange.retries,
            text: exchange.logged.as_ref().map(|it| it.text.clone()).unwrap_or_default(),
            received_bytes: exchange.received_bytes,
            sent_bytes: exchange.sent_bytes,
        }
    }

    /// Connections that began at or after this index of the slab, at most `count` of them, with
    /// their descriptors; and the index to go on at, if there are more.
    pub fn descriptors(&self, from: u32, count: usize) -> (Vec<Descriptor<'_>>, Option<u32>) {
        let mut all = self.connections.iter_from(from);
        let some: Vec<_> =
            all.by_ref().take(count).map(|(id, it)| (id.parts(), it.socket.descriptor())).collect();
        let next = all.next().map(|it| it.0.index);
        (some, next)
    }

    /// Says goodbye on all connections that cannot move, and tells how many of them are left.
    pub fn drain_immovable(&mut self, taken: &Taken) -> usize {
        self.now = clock::now();
        let immovable = self.immovable(taken);
        for id in &immovable {
            let Some(connection) = self.connections.get_mut(*id) else { continue };
            if connection.state != State::Open {
                continue;
            }
            if let Some(codec) = connection.codec() {
                codec.drain();
                connection.wants_to_write(*id, &mut self.outbox);
                self.settle(*id);
            }
        }
        self.work_off();
        immovable.into_iter().filter(|id| self.connections.get(*id).is_some()).count()
    }

    /// Ends what cannot move and did not come to its end by itself; says how many connections.
    pub fn cut_immovable(&mut self, taken: &Taken) -> usize {
        self.now = clock::now();
        let immovable = self.immovable(taken);
        for id in &immovable {
            self.close(*id, super::ending::Closed::Done);
        }
        self.work_off();
        immovable.len()
    }

    /// Client connections and connections to endpoints whose protocol the other side does not
    /// know, or whose listener or cluster the configuration does not have any more.
    fn immovable(&self, taken: &Taken) -> Vec<ConnectionId> {
        let is_known = |side: Side| match side {
            Side::Downstream { listener } => self.snapshot.has_listener(listener),
            Side::Upstream { cluster, .. } => self.snapshot.has_cluster(cluster),
        };
        let stays = |it: &Connection| {
            !is_known(it.side) || it.protocol().is_some_and(|protocol| !taken.takes(protocol))
        };
        self.connections.iter().filter(|(_, it)| stays(it)).map(|it| it.0).collect()
    }
}

/// Names of series, each once.
#[derive(Default)]
pub(super) struct Names {
    pub(super) list: Vec<[Bytes; 3]>,
    positions: FxHashMap<u32, u32>,
}

impl Names {
    fn position(&mut self, key: u32, names: impl FnOnce() -> Option<[Bytes; 3]>) -> FrozenSeries {
        if let Some(at) = self.positions.get(&key) {
            return FrozenSeries::Named(*at);
        }
        let Some(names) = names() else { return FrozenSeries::Other };
        let at = self.list.len() as u32;
        self.list.push(names);
        self.positions.insert(key, at);
        FrozenSeries::Named(at)
    }
}

pub(super) fn freeze_connection(
    id: ConnectionId,
    connection: &Connection,
    positions: &Positions,
    now: Time,
) -> FrozenConnection {
    let streams = connection.streams().filter_map(|(stream, exchange)| {
        let exchange = ExchangeId::new(exchange.0, exchange.1);
        Some((stream, *positions.exchanges.get(&exchange)?))
    });
    let blocked = match connection.blocked {
        None => None,
        Some(Blocked::Waiting) => Some(FrozenBlocked::Waiting),
        Some(Blocked::Output(by)) => {
            positions.connections.get(&by).map(|it| FrozenBlocked::Output(*it))
        }
    };
    FrozenConnection {
        id: id.parts(),
        side: match connection.side {
            Side::Downstream { listener } => FrozenSide::Downstream(listener as u32),
            Side::Upstream { cluster, endpoint } => {
                FrozenSide::Upstream(cluster as u32, endpoint as u32)
            }
        },
        peer: connection.peer,
        codec: match &connection.talk {
            Talk::Unknown => None,
            Talk::Known { codec, .. } => Some(Codec::freeze(codec.as_ref(), now)),
        },
        state: match connection.state {
            State::Open => FrozenState::Open,
            State::Flushing => FrozenState::Flushing,
            State::Lingering { until } => FrozenState::Lingering(left(until, now)),
        },
        input: Bytes::copy_from_slice(&connection.input),
        read_bytes: connection.read_bytes,
        streams: streams.collect(),
        blocked,
        input_ended: connection.input_ended,
        output_shut: connection.output_shut,
        active: age(connection.active_at, now),
        head_since: connection.head_since.map(|it| age(it, now)),
        since: age(connection.since, now),
        bytes_received: connection.bytes_received,
        bytes_sent: connection.bytes_sent,
        repeatable: connection.repeatable.as_ref().map(|it| Bytes::copy_from_slice(it)),
        pooled: positions.pooled.get(&id).copied().unwrap_or(Pooled::No),
    }
}

/// How long ago it was, in microseconds.
fn age(then: Time, now: Time) -> u64 {
    now.as_micros().saturating_sub(then.as_micros())
}

/// How long it is until then, in microseconds.
fn left(then: Time, now: Time) -> u64 {
    then.as_micros().saturating_sub(now.as_micros())
}
