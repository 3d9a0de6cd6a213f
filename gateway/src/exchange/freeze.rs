//! A worker's connections and exchanges as values, for another process or another set of workers.
//!
//! Called while the worker does nothing else, so nothing is in flight between two of its tasks:
//! all that is known of a connection stands in its [`Connection`]. Nothing changes here, so that
//! the worker can simply go on when nobody takes the values.

use std::os::fd::BorrowedFd;

use bytes::Bytes;
use hangu_codecs::{Codec, Frozen as FrozenCodec, Protocol, Time};
use rustc_hash::FxHashMap;
use zeroize::Zeroizing;

use super::{
    Core, Exchange, ExchangeId, NEVER, Peer, Upstream,
    frozen::{
        Away, FrozenBlocked, FrozenBytes, FrozenConnection, FrozenExchange, FrozenHead, FrozenPeer,
        FrozenSeries, FrozenSide, FrozenState, FrozenUpstream, FrozenWorker, LargeOutput,
    },
};
use crate::{
    clock,
    connection::{Blocked, Connection, ConnectionId, Passed, Side, State, Talk},
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
    /// Names of protocols whose connections it can thaw, with the versions of their snapshots.
    pub protocols: Vec<(String, Vec<u16>)>,
}

impl Taken {
    /// Whether connections of a protocol can move.
    pub fn takes(&self, protocol: &Protocol) -> bool {
        let written = protocol.snapshots.last();
        let reads = |versions: &[u16]| written.is_some_and(|it| versions.contains(it));
        self.protocols.iter().any(|it| it.0 == protocol.name && reads(&it.1))
    }
}

/// Positions of connections and exchanges in the lists of a [`FrozenWorker`].
#[derive(Default)]
pub(super) struct Positions {
    pub(super) connections: FxHashMap<ConnectionId, u32>,
    pub(super) exchanges: FxHashMap<ExchangeId, u32>,
    pub(super) pooled: FxHashMap<ConnectionId, Pooled>,
}

impl Positions {
    fn pooled(&self, id: ConnectionId) -> Pooled {
        self.pooled.get(&id).copied().unwrap_or(Pooled::No)
    }
}

/// [`Positions`] of all, and the connections in the order of their positions.
struct Positioned {
    positions: Positions,
    ahead: Vec<((u32, u32), Option<Pooled>)>,
    rest: Vec<ConnectionId>,
}

/// What is passed of connections to a process that waits to take over.
pub struct Ahead<'a> {
    /// Descriptors that it does not have, with the names of their connections.
    pub descriptors: Vec<Descriptor<'a>>,
    /// Values of connections at rest, and outlines of others that are new to it.
    pub values: Vec<FrozenConnection>,
}

impl Core {
    /// All connections and exchanges as values.
    pub fn freeze(&mut self) -> Frozen {
        let Positioned { positions, ahead, rest } = self.positions(|_| false);
        let mut names = Names::default();
        let exchanges = self.exchanges.iter();
        let exchanges = exchanges
            .map(|(id, exchange)| self.freeze_exchange(id, exchange, &positions, &mut names))
            .collect();
        let connections = self.freeze_all(&rest, &positions).collect();
        let head = self.head(ahead, names);
        Frozen { state: FrozenWorker { head, connections, exchanges }, away: self.exchanges_away() }
    }

    /// All connections and exchanges as bytes, but for the values of connections that were passed
    /// ahead and still hold. Large output is not copied.
    ///
    /// # Errors
    /// None of those that postcard has comes about with these values.
    pub fn freeze_rest(&mut self) -> Result<FrozenBytes, postcard::Error> {
        let Positioned { positions, ahead, rest } = self.positions(|it| it.passed == Passed::Value);
        let mut names = Names::default();
        // Room for all, so that nothing is left behind by a buffer that grows; it costs what is used.
        let mut exchanges = Vec::with_capacity(self.exchanges.len() * EXCHANGE_BYTES);
        exchanges = postcard::to_extend(&(self.exchanges.len() as u64), exchanges)?;
        for (id, exchange) in self.exchanges.iter() {
            let frozen = self.freeze_exchange(id, exchange, &positions, &mut names);
            exchanges = postcard::to_extend(&frozen, exchanges)?;
        }
        let mut connections = Vec::with_capacity(rest.len() * CONNECTION_BYTES);
        let mut output = Vec::new();
        for (mut frozen, at) in self.freeze_all(&rest, &positions).zip(0..) {
            if let Some(mut pieces) = take_large_output(&mut frozen) {
                let id = ConnectionId::new(frozen.id.0, frozen.id.1);
                let passed = self.connections.get(id).map_or((0, 0), |it| it.passed_output);
                let skip = leave_out_passed(passed, frozen.bytes_sent, &mut pieces);
                output.push(LargeOutput { at, id: frozen.id, skip, pieces });
            }
            connections = postcard::to_extend(&frozen, connections)?;
        }
        let head = self.head(ahead, names);
        let head = postcard::to_extend(&head, Vec::with_capacity(head.ahead.len() * AHEAD_BYTES))?;
        let head = postcard::to_extend(&(rest.len() as u64), head)?;
        Ok(FrozenBytes {
            pieces: [head, connections, exchanges].map(Zeroizing::new),
            output,
            exchanges: self.exchanges.len() as u32,
            away: self.exchanges_away(),
        })
    }

    /// Where everything stands in the lists of a snapshot.
    fn positions(&mut self, is_ahead: fn(&Connection) -> bool) -> Positioned {
        self.now = clock::now();
        let mut positions =
            Positions { pooled: self.endpoints.pooled().collect(), ..Positions::default() };
        positions.exchanges.reserve(self.exchanges.len());
        positions.exchanges.extend(self.exchanges.iter().zip(0..).map(|((id, _), at)| (id, at)));
        positions.connections.reserve(self.connections.len());
        let (mut ahead, mut rest) = (Vec::new(), Vec::new());
        for (id, connection) in self.connections.iter_mut() {
            if is_ahead(connection) {
                positions.connections.insert(id, ahead.len() as u32);
                let is_upstream = matches!(connection.side, Side::Upstream { .. });
                ahead.push((id.parts(), is_upstream.then(|| positions.pooled(id))));
            } else {
                seal_output(connection);
                rest.push(id);
            }
        }
        positions.connections.extend(rest.iter().copied().zip(ahead.len() as u32..));
        Positioned { positions, ahead, rest }
    }

    fn freeze_all(
        &self,
        ids: &[ConnectionId],
        positions: &Positions,
    ) -> impl Iterator<Item = FrozenConnection> {
        let all = ids.iter().filter_map(|id| Some((*id, self.connections.get(*id)?)));
        all.map(|(id, it)| freeze_connection(id, it, positions, self.now))
    }

    fn head(&self, ahead: Vec<((u32, u32), Option<Pooled>)>, names: Names) -> FrozenHead {
        FrozenHead { ahead, names: names.list, budgets: self.endpoints.budgets() }
    }

    /// Exchanges whose upstream side another worker has.
    fn exchanges_away(&self) -> Away {
        let is_away = |it: &Exchange| matches!(it.upstream, Upstream::Joined(Peer::Remote { .. }));
        let all = self.exchanges.iter().zip(0..);
        all.filter(|(it, _)| is_away(it.1)).map(|((id, _), at)| (id.parts(), at)).collect()
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
            asks: exchange.asks,
            counts_downstream: exchange.counts_downstream,
            counts_upstream: exchange.counts_upstream,
            retries: exchange.retries,
            web: exchange.web().copied(),
            quiet: exchange.quiet,
            withheld: exchange.withheld(),
            kept: exchange.kept_parts(),
            text: exchange.logged.as_ref().map(|it| it.text.clone()).unwrap_or_default(),
            received_bytes: exchange.received_bytes,
            sent_bytes: exchange.sent_bytes,
        }
    }

    /// All connections with their descriptors.
    pub fn descriptors(&self) -> impl Iterator<Item = Descriptor<'_>> {
        self.connections.iter().map(|(id, it)| (id.parts(), it.socket.descriptor()))
    }

    /// The descriptors that were not passed ahead.
    pub fn late_descriptors(&self) -> impl Iterator<Item = Descriptor<'_>> {
        let late = self.connections.iter().filter(|it| it.1.passed == Passed::No);
        late.map(|(id, it)| (id.parts(), it.socket.descriptor()))
    }

    /// Passes what can be passed ahead of at most `count` connections from this index of the slab
    /// on, by `send`, which is not called for nothing; but for large output, at most `output_max`
    /// bytes of it, which the caller is to pass.
    ///
    /// # Errors
    /// What `send` says.
    pub fn pass_ahead<E>(
        &mut self,
        from: u32,
        count: usize,
        mut output_max: u64,
        send: impl FnOnce(Ahead<'_>) -> Result<(), E>,
    ) -> Result<PassedAhead, E> {
        self.now = clock::now();
        let mut all = self.connections.iter_from(from);
        let ids: Vec<_> = all.by_ref().take(count).map(|it| it.0).collect();
        let next = all.next().map(|it| it.0.index);
        drop(all);
        // Where a connection stands in its pool is told with the rest, and it has no exchange.
        let positions = Positions::default();
        let mut resting = Vec::new();
        let mut values = Vec::new();
        for id in &ids {
            let Some(connection) = self.connections.get_mut(*id) else { continue };
            let rests = connection.is_at_rest() && connection.unsent_bytes() == 0;
            if rests && connection.passed != Passed::Value {
                resting.push(*id);
                values.push(freeze_connection(*id, connection, &positions, self.now));
            } else if connection.passed == Passed::No {
                // Its value will be another one, but the other side has a connection to put it in.
                values.push(freeze_outline(*id, connection, &positions, self.now));
            }
        }
        let all = ids.iter().filter_map(|id| Some((*id, self.connections.get(*id)?)));
        let new = all.filter(|it| it.1.passed == Passed::No);
        let descriptors: Vec<_> =
            new.map(|(id, it)| (id.parts(), it.socket.descriptor())).collect();
        let has_sent = !(descriptors.is_empty() && values.is_empty());
        if has_sent {
            send(Ahead { descriptors, values })?;
        }
        let mut output = Vec::new();
        for id in ids {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if connection.passed == Passed::No {
                connection.passed = Passed::Descriptor;
            }
            if let Some(pieces) = share_large_output(connection, output_max) {
                output_max = output_max.saturating_sub(connection.passed_output.1);
                output.push((id.parts(), pieces));
            }
        }
        for id in resting {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.passed = Passed::Value;
        }
        Ok(PassedAhead { next, has_sent, output })
    }

    /// Of what was passed ahead nothing but descriptors counts any more.
    pub fn forget_values_passed(&mut self) {
        for (_, connection) in self.connections.iter_mut() {
            if connection.passed == Passed::Value {
                connection.passed = Passed::Descriptor;
            }
        }
    }

    /// Nothing that was passed ahead counts any more.
    pub fn forget_passed(&mut self) {
        for (_, connection) in self.connections.iter_mut() {
            (connection.passed, connection.passed_output) = (Passed::No, (0, 0));
        }
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

/// What [`Core::pass_ahead`] did.
pub struct PassedAhead {
    /// The index to go on at, if there are more.
    pub next: Option<u32>,
    /// Whether something was sent.
    pub has_sent: bool,
    /// Large output that is to be passed: index and generation of its connection, and its bytes,
    /// shared.
    pub output: Vec<((u32, u32), Vec<Bytes>)>,
}

/// Shares the output of a connection to be passed ahead, if it is large and no more than
/// `output_max` bytes. A peer that takes it slowly
/// will not have taken much of it when all stand still.
fn share_large_output(connection: &mut Connection, output_max: u64) -> Option<Vec<Bytes>> {
    let bytes = connection.unsent_bytes();
    let Talk::Known { codec, .. } = &mut connection.talk else { return None };
    if bytes < LARGE_BYTES_MIN || bytes as u64 > output_max {
        return None;
    }
    codec.output().seal();
    connection.passed_output = (connection.bytes_sent, bytes as u64);
    Some(codec.output().share())
}

/// Leaves out of the output what was passed ahead: `passed` bytes of it, behind so many that were
/// sent. Says how many of those are sent by now; `None` if none of the output was passed.
fn leave_out_passed(
    (before, passed): (u64, u64),
    sent: u64,
    pieces: &mut Vec<Bytes>,
) -> Option<u64> {
    let skip = sent.checked_sub(before)?;
    let mut known = passed.checked_sub(skip).filter(|it| *it > 0)?;
    pieces.retain_mut(|piece| {
        let bytes = known.min(piece.len() as u64);
        known -= bytes;
        bytes::Buf::advance(piece, bytes as usize);
        !piece.is_empty()
    });
    Some(skip)
}

/// Takes output out of a value if it is large.
fn take_large_output(frozen: &mut FrozenConnection) -> Option<Vec<Bytes>> {
    let codec = frozen.codec.as_mut()?;
    let bytes = codec.output.iter().map(Bytes::len).sum::<usize>();
    (bytes >= LARGE_BYTES_MIN).then(|| std::mem::take(&mut codec.output))
}

/// Output of a connection that is sent from where it is; less is copied.
const LARGE_BYTES_MIN: usize = 16 * 1024;

/// What a connection, an exchange and a connection passed ahead take as a rule.
const CONNECTION_BYTES: usize = 256;
const EXCHANGE_BYTES: usize = 256;
const AHEAD_BYTES: usize = 12;

/// Makes what is to be sent fit to be shared, so that it need not be copied.
pub(super) fn seal_output(connection: &mut Connection) {
    if let Talk::Known { codec, .. } = &mut connection.talk {
        codec.output().seal();
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
        Some(Blocked::Stream) => Some(FrozenBlocked::Stream),
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
        pooled: positions.pooled(id),
    }
}

/// What a connection is, without what is under way on it; the state of its codec comes along for
/// the room that it takes there.
fn freeze_outline(
    id: ConnectionId,
    connection: &Connection,
    positions: &Positions,
    now: Time,
) -> FrozenConnection {
    let whole = freeze_connection(id, connection, positions, now);
    let codec = whole.codec.filter(|it| it.state.len() <= OUTLINE_BYTES_MAX);
    FrozenConnection {
        codec: codec.map(|it| FrozenCodec { output: Vec::new(), ..it }),
        state: FrozenState::Open,
        input: Bytes::new(),
        streams: Vec::new(),
        blocked: None,
        repeatable: None,
        ..whole
    }
}

/// A codec with more state than that, of which most are well below, is not sketched.
const OUTLINE_BYTES_MAX: usize = 256;

/// How long ago it was, in microseconds.
fn age(then: Time, now: Time) -> u64 {
    now.as_micros().saturating_sub(then.as_micros())
}

/// How long it is until then, in microseconds.
fn left(then: Time, now: Time) -> u64 {
    then.as_micros().saturating_sub(now.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output in pieces of seven bytes, of which `passed` bytes were passed when `before` were
    /// sent; the peer has what is in front of `sent`, and there is output up to `end`.
    #[test]
    fn output_that_was_passed_ahead_and_what_follows_are_what_is_pending() {
        let all: Vec<u8> = (0..60).collect();
        let pieces = |from: usize, to: usize| -> Vec<Bytes> {
            all[from..to].chunks(7).map(Bytes::copy_from_slice).collect()
        };
        for (before, passed) in [(0, 0), (0, 20), (5, 20), (5, 0)] {
            for sent in 0..40 {
                for end in [sent, sent + 1, sent + 13, 60] {
                    // Nothing that was passed is taken back.
                    let end = end.max(before + passed);
                    let mut left = pieces(sent, end);
                    let range = (before as u64, passed as u64);
                    let skip = leave_out_passed(range, sent as u64, &mut left);
                    let ahead = &all[before..before + passed];
                    let kept = skip.map_or(&[][..], |it| &ahead[it as usize..]);
                    let again = [kept, &left.concat()].concat();
                    assert_eq!(again, all[sent..end], "{before} {passed} {sent} {end}");
                    assert!(left.iter().all(|it| !it.is_empty()));
                }
            }
        }
    }
}
