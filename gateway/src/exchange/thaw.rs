//! A worker's connections and exchanges from values: inert at first, so that their old owner may
//! still go on with them, and at work from one instant on.

use std::{fmt, net::TcpStream, rc::Rc};

use bytes::BytesMut;
use hangu_codecs::{Protocol, ThawError, Time};
use rustc_hash::FxHashMap;

use super::{
    Core, Exchange, ExchangeId, NEVER, Peer, Upstream, Work,
    frozen::{
        Away, FrozenBlocked, FrozenConnection, FrozenExchange, FrozenPeer, FrozenSeries,
        FrozenSide, FrozenState, FrozenUpstream, FrozenWorker,
    },
    live,
    text::Logged,
};
use crate::{
    clock,
    connection::{Blocked, Connection, ConnectionId, Side, Slab, State, Talk},
    io::Socket,
    snapshot::{ClusterPlace, Snapshot},
    telemetry::{RpcNamed, RpcSeries},
};

/// Where the places of the old owner are now.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// By the old place of a listener.
    pub listeners: Vec<Option<usize>>,
    /// By the old place of a cluster, with the places of its endpoints.
    pub clusters: Vec<(Option<usize>, Vec<Option<usize>>)>,
}

impl Places {
    fn listener(&self, then: u32) -> Option<usize> {
        self.listeners.get(then as usize).copied().flatten()
    }

    fn cluster(&self, then: u32) -> Option<usize> {
        self.clusters.get(then as usize)?.0
    }

    fn endpoint(&self, cluster: u32, endpoint: u32) -> Option<(usize, usize)> {
        let (now, endpoints) = self.clusters.get(cluster as usize)?;
        Some(((*now)?, endpoints.get(endpoint as usize).copied().flatten()?))
    }
}

/// How the old workers' exchanges are found by the new ones.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Where listeners, clusters and endpoints are.
    pub places: Places,
    /// By old worker.
    pub workers: Vec<OldWorker>,
}

/// What becomes of an old worker.
#[derive(Clone, Debug, Default)]
pub struct OldWorker {
    /// The new worker that takes over what it had.
    pub heir: usize,
    /// Exchanges that the heir takes over from others before.
    pub first_exchange: u32,
    /// Its exchanges that other workers refer to.
    pub away: FxHashMap<(u32, u32), u32>,
}

impl Plan {
    /// Everything is where it is: between workers of one process.
    pub(super) fn here(snapshot: &Snapshot, workers: usize) -> Self {
        let clusters = snapshot.roster.clusters().iter().enumerate();
        let endpoints = |it: &ClusterPlace| (0..it.members.len()).map(Some).collect();
        let heir = |heir| OldWorker { heir, ..OldWorker::default() };
        Self {
            places: Places {
                listeners: (0..snapshot.roster.listeners().len()).map(Some).collect(),
                clusters: clusters.map(|(place, it)| (Some(place), endpoints(it))).collect(),
            },
            workers: (0..workers).map(heir).collect(),
        }
    }

    /// How the workers of the old owner, with so many exchanges and those that are away, fall to
    /// `workers` new ones.
    pub fn new(places: Places, old: Vec<(u32, Away)>, workers: usize) -> Self {
        let mut first = vec![0_u32; workers.max(1)];
        let plan = old.into_iter().enumerate().map(|(index, (exchanges, away))| {
            let heir = index % workers.max(1);
            let first_exchange = first.get(heir).copied().unwrap_or(0);
            if let Some(first) = first.get_mut(heir) {
                *first = first.saturating_add(exchanges);
            }
            OldWorker { heir, first_exchange, away: away.into_iter().collect() }
        });
        Self { places, workers: plan.collect() }
    }

    /// The new worker and id of an exchange that was away. One that is gone gets an id that no
    /// exchange has.
    fn away(&self, worker: u32, id: (u32, u32)) -> (usize, (u32, u32)) {
        let Some(old) = self.workers.get(worker as usize) else { return (0, GONE) };
        match old.away.get(&id) {
            Some(at) => (old.heir, (old.first_exchange.saturating_add(*at), 0)),
            None => (old.heir, (u32::MAX - id.0, u32::MAX)),
        }
    }
}

/// An id that no exchange has.
const GONE: (u32, u32) = (u32::MAX, u32::MAX);

/// Why a snapshot was not thawed. Nothing of it is at work.
#[derive(Debug, thiserror::Error)]
pub enum RefusedThaw {
    /// A codec's.
    #[error("connection {0}: {1}")]
    Codec(String, ThawError),
    /// A descriptor did not come.
    #[error("connection {0}: its descriptor is missing")]
    NoDescriptor(String),
    /// A descriptor is no socket that can be used.
    #[error("connection {0}: {1}")]
    Socket(String, std::io::Error),
    /// A name means nothing here.
    #[error("connection {0}: its listener, cluster or endpoint is unknown")]
    NoPlace(String),
    /// Positions that lead nowhere.
    #[error("the snapshot is damaged")]
    Damaged,
}

fn name(id: (u32, u32), peer: &dyn fmt::Display) -> String {
    format!("{}.{} ({peer})", id.0, id.1)
}

/// What stands in a worker after thawing, before it is at work.
#[derive(Debug, Default)]
pub struct Inert {
    connections: Vec<ConnectionId>,
    exchanges: Vec<ExchangeId>,
}

impl Core {
    /// Takes over the connections and exchanges of an old worker. They do nothing until
    /// [`Core::begin_thawed`].
    ///
    /// # Errors
    /// See [`RefusedThaw`]; the worker is of no use then.
    pub fn thaw(
        &mut self,
        frozen: FrozenWorker,
        plan: &Plan,
        mut socket: impl FnMut((u32, u32)) -> Option<TcpStream>,
    ) -> Result<(usize, usize), RefusedThaw> {
        self.now = clock::now();
        let mut inert = std::mem::take(&mut self.inert);
        let first_exchange = u32::try_from(inert.exchanges.len()).unwrap_or(u32::MAX);
        let FrozenWorker { connections, exchanges, names, budgets } = frozen;
        let mut ids: Vec<ConnectionId> = Vec::with_capacity(connections.len());
        let mut blocked = Vec::new();
        for frozen in connections {
            let text = || name(frozen.id, &frozen.peer);
            let stream = socket(frozen.id).ok_or_else(|| RefusedThaw::NoDescriptor(text()))?;
            let socket = Socket::adopt(stream, self.settings.driver)
                .map_err(|error| RefusedThaw::Socket(text(), error))?;
            if let Some(by) = frozen.blocked {
                blocked.push((ids.len(), by));
            }
            let exchange_at = |at: u32| (first_exchange.saturating_add(at), 0);
            ids.push(self.thaw_connection(frozen, socket, plan, &exchange_at)?);
        }
        for (at, by) in blocked {
            let Some(reader) = ids.get(at).copied() else { continue };
            self.thaw_blocked(reader, by, &ids)?;
        }
        for frozen in exchanges {
            let id = self.thaw_exchange(frozen, plan, &ids, &names, None)?;
            inert.exchanges.push(id);
        }
        let counts = (ids.len(), inert.exchanges.len() - first_exchange as usize);
        inert.connections.extend(ids);
        self.inert = inert;
        for (then, tokens) in (0..).zip(budgets) {
            if let Some(cluster) = plan.places.cluster(then) {
                self.endpoints.set_budget(cluster, tokens);
            }
        }
        Ok(counts)
    }

    /// Lets go of what was thawed without a word to anyone: it is another process's.
    pub fn forget_thawed(&mut self) {
        self.inert = Inert::default();
        self.away.clear();
        self.connections = Slab::default();
        self.exchanges = Slab::default();
    }

    pub(super) fn thaw_connection(
        &mut self,
        frozen: FrozenConnection,
        socket: Socket,
        plan: &Plan,
        exchange_at: &dyn Fn(u32) -> (u32, u32),
    ) -> Result<ConnectionId, RefusedThaw> {
        let now = self.now;
        let nowhere = || RefusedThaw::NoPlace(name(frozen.id, &frozen.peer));
        let side = match frozen.side {
            FrozenSide::Downstream(listener) => {
                Side::Downstream { listener: plan.places.listener(listener).ok_or_else(nowhere)? }
            }
            FrozenSide::Upstream(cluster, endpoint) => {
                let (cluster, endpoint) =
                    plan.places.endpoint(cluster, endpoint).ok_or_else(nowhere)?;
                Side::Upstream { cluster, endpoint }
            }
        };
        let limits = match side {
            Side::Downstream { listener } => self.snapshot.downstream_limits(listener),
            Side::Upstream { cluster, .. } => self.snapshot.upstream_limits(cluster),
        };
        let talk = match &frozen.codec {
            None => Talk::Unknown,
            Some(state) => {
                let refused = |error| RefusedThaw::Codec(name(frozen.id, &frozen.peer), error);
                let codec = Protocol::thaw(state, limits, now).map_err(refused)?;
                let protocol = Protocol::find(&state.protocol)
                    .ok_or_else(|| refused(ThawError::UnknownProtocol))?;
                Talk::Known { protocol, codec }
            }
        };
        let mut connection = Connection::new(side, frozen.peer, socket, talk, now);
        connection.state = match frozen.state {
            FrozenState::Open => State::Open,
            FrozenState::Flushing => State::Flushing,
            FrozenState::Lingering(left) => State::Lingering { until: after(now, left) },
        };
        connection.input = BytesMut::from(&frozen.input[..]);
        connection.read_bytes = connection.read_bytes.max(frozen.read_bytes);
        for (stream, exchange) in frozen.streams {
            connection.join(stream, exchange_at(exchange));
        }
        connection.input_ended = frozen.input_ended;
        connection.output_shut = frozen.output_shut;
        connection.active_at = before(now, frozen.active);
        connection.head_since = frozen.head_since.map(|it| before(now, it));
        connection.since = before(now, frozen.since);
        connection.bytes_received = frozen.bytes_received;
        connection.bytes_sent = frozen.bytes_sent;
        connection.repeatable = frozen.repeatable.map(|it| Box::new(it.to_vec()));
        let id = self.connections.insert(connection);
        match side {
            Side::Downstream { listener } => {
                self.counters.listener(listener).connections_active.increment();
                self.load.adopt(listener, self.settings.worker);
            }
            Side::Upstream { cluster, endpoint } => {
                self.counters.cluster(cluster).connections_active.increment();
                self.counters.endpoint(cluster, endpoint).connections_active.increment();
                self.load.adopt_upstream(cluster);
                if let Some(pool) = self.endpoints.pool(cluster, endpoint) {
                    pool.adopt(id, frozen.pooled);
                }
            }
        }
        Ok(id)
    }

    fn thaw_blocked(
        &mut self,
        reader: ConnectionId,
        by: FrozenBlocked,
        ids: &[ConnectionId],
    ) -> Result<(), RefusedThaw> {
        let by = match by {
            FrozenBlocked::Waiting => Blocked::Waiting,
            FrozenBlocked::Output(at) => {
                let writer = *ids.get(at as usize).ok_or(RefusedThaw::Damaged)?;
                if let Some(writer) = self.connections.get_mut(writer) {
                    writer.blocking.push(reader);
                }
                Blocked::Output(writer)
            }
        };
        if let Some(reader) = self.connections.get_mut(reader) {
            reader.blocked = Some(by);
        }
        Ok(())
    }

    /// Puts an exchange into the place that was kept for it, or into a new one.
    pub(super) fn thaw_exchange(
        &mut self,
        frozen: FrozenExchange,
        plan: &Plan,
        ids: &[ConnectionId],
        names: &[[bytes::Bytes; 3]],
        place: Option<ExchangeId>,
    ) -> Result<ExchangeId, RefusedThaw> {
        let now = self.now;
        let local = |at: u32, stream| {
            // A client that was gone already is one that no list had.
            let connection = ids.get(at as usize).copied();
            Peer::Local {
                connection: connection.unwrap_or(ConnectionId::new(GONE.0, GONE.1)),
                stream,
            }
        };
        let remote = |worker: u32, id: (u32, u32)| {
            let (worker, exchange) = plan.away(worker, id);
            Peer::Remote { worker, exchange }
        };
        let downstream = match frozen.downstream {
            FrozenPeer::Local(at, stream) => local(at, stream),
            FrozenPeer::Remote(worker, id) => remote(worker, id),
        };
        let upstream = match frozen.upstream {
            FrozenUpstream::None => Upstream::None,
            FrozenUpstream::Waiting(parts) => Upstream::Waiting(Box::new(parts)),
            FrozenUpstream::Joined(FrozenPeer::Local(at, stream)) => {
                Upstream::Joined(local(at, stream))
            }
            FrozenUpstream::Joined(FrozenPeer::Remote(worker, _)) => {
                let worker = plan.workers.get(worker as usize).map_or(0, |it| it.heir);
                // Its own id, which is known once it is in the slab.
                Upstream::Joined(Peer::Remote { worker, exchange: GONE })
            }
            FrozenUpstream::Ended => Upstream::Ended,
        };
        let listener = plan.places.listener(frozen.listener).ok_or(RefusedThaw::Damaged)?;
        let target = match frozen.target {
            None => None,
            Some((cluster, endpoint)) => {
                Some(plan.places.endpoint(cluster, endpoint).ok_or(RefusedThaw::Damaged)?)
            }
        };
        let series = match frozen.series {
            FrozenSeries::None => RpcSeries::None,
            FrozenSeries::Other => RpcSeries::Other,
            FrozenSeries::NoRoute => RpcSeries::NoRoute,
            FrozenSeries::Named(at) => {
                let [service, method, caller] =
                    names.get(at as usize).ok_or(RefusedThaw::Damaged)?;
                let rpc = self.counters.worker.rpc.get();
                rpc.map_or(RpcSeries::None, |it| it.find(RpcNamed { service, method, caller }))
            }
        };
        let counts_upstream = frozen.counts_upstream.and_then(|it| plan.places.cluster(it));
        let deadline = frozen.deadline.map_or(NEVER, |it| after(now, it));
        let is_remote = matches!(upstream, Upstream::Joined(Peer::Remote { .. }));
        let is_joined = matches!(upstream, Upstream::Joined(Peer::Local { .. }));
        let is_logged = frozen.text.subject().is_some();
        let logged = is_logged.then(|| Box::new(Logged { text: frozen.text, failure: None }));
        let exchange = Exchange {
            downstream,
            upstream,
            snapshot: Rc::clone(&self.snapshot),
            listener: listener as u32,
            route: frozen.route,
            series,
            target: target.map(|it| (it.0 as u32, it.1 as u32)),
            began: before(now, frozen.began),
            forwarded: frozen.forwarded.map_or(NEVER, |it| before(now, it)),
            deadline,
            progress: frozen.progress,
            outcome: frozen.outcome,
            asks_connect: frozen.asks_connect,
            counts_downstream: frozen.counts_downstream,
            counts_upstream: counts_upstream.map(|it| it as u32),
            retries: frozen.retries,
            logged,
            received_bytes: frozen.received_bytes,
            sent_bytes: frozen.sent_bytes,
        };
        let id = match place {
            Some(place) => self.exchanges.fill(place, exchange).ok_or(RefusedThaw::Damaged)?,
            None => self.exchanges.insert(exchange),
        };
        self.earliest_deadline = self.earliest_deadline.min(deadline);
        if frozen.counts_downstream {
            self.load.adopt_request(listener);
        }
        if let Some(cluster) = counts_upstream {
            self.load.adopt_upstream_request(cluster);
        }
        match downstream {
            Peer::Local { .. } => self.counters.listener(listener).requests_active.increment(),
            Peer::Remote { worker, exchange } => {
                self.away.insert((worker, exchange), id);
            }
        }
        if is_remote {
            self.away_count += 1;
            if let Some(exchange) = self.exchanges.get_mut(id)
                && let Upstream::Joined(Peer::Remote { exchange, .. }) = &mut exchange.upstream
            {
                *exchange = id.parts();
            }
        }
        if let Some((cluster, endpoint)) = target {
            self.endpoints.resumed(cluster, endpoint);
            if is_joined {
                self.counters.cluster(cluster).requests_active.increment();
                self.counters.endpoint(cluster, endpoint).requests_active.increment();
            }
        }
        Ok(id)
    }

    /// Sets what was thawed to work, those first on which something is under way.
    pub fn begin_thawed(&mut self) {
        self.now = clock::now();
        let Inert { mut connections, exchanges } = std::mem::take(&mut self.inert);
        for id in &connections {
            let Some(connection) = self.connections.get_mut(*id) else { continue };
            if connection.unsent_bytes() > 0 || connection.state == State::Flushing {
                connection.wants_to_write(*id, &mut self.outbox);
            }
            if !connection.input.is_empty() && connection.state == State::Open {
                self.resume.push(*id);
            }
        }
        self.work_off();
        let mut waiting: Vec<_> = exchanges
            .into_iter()
            .filter_map(|id| {
                let exchange = self.exchanges.get(id)?;
                matches!(exchange.upstream, Upstream::Waiting(_)).then_some((exchange.began, id))
            })
            .collect();
        waiting.sort_by_key(|it| it.0);
        for (_, id) in waiting {
            self.wait_again(id);
        }
        self.work_off();
        self.write_batch();
        connections.retain(|id| self.connections.get(*id).is_some());
        connections.sort_by_key(|id| {
            self.connections.get(*id).is_none_or(|it| it.in_flight() == 0 && it.input.is_empty())
        });
        if let Some(work) = self.this.upgrade() {
            monoio::spawn(read_some_after_others(work, connections));
        }
    }

    /// Reads a connection that was thawed, from now on.
    pub(super) fn read_thawed(&mut self, id: ConnectionId) {
        self.set_timer(id);
        let Some(connection) = self.connections.get(id) else { return };
        let socket = Rc::clone(&connection.socket);
        if let Some(work) = self.this.upgrade() {
            monoio::spawn(live::read_all(work, id, socket));
        }
    }
}

/// Begins to read connections, some at a time, so that those which are read already have their
/// turns in between.
async fn read_some_after_others(work: Rc<Work>, ids: Vec<ConnectionId>) {
    for some in ids.chunks(READS_PER_TURN) {
        work.with(|core| some.iter().for_each(|id| core.read_thawed(*id)));
        live::yield_once().await;
    }
}

/// Connections that are begun to be read in one turn.
const READS_PER_TURN: usize = 512;

fn before(now: Time, micros: u64) -> Time {
    Time::from_micros(now.as_micros().saturating_sub(micros))
}

fn after(now: Time, micros: u64) -> Time {
    Time::from_micros(now.as_micros().saturating_add(micros))
}
