//! A worker's connections and exchanges from values: inert at first, so that their old owner may
//! still go on with them, and at work from one instant on.

use std::{fmt, net::TcpStream, rc::Rc};

use bytes::{Bytes, BytesMut};
use hangu_codecs::{Protocol, ThawError, Time};
use rustc_hash::FxHashMap;

use super::{
    Core, Exchange, ExchangeId, NEVER, Peer, Upstream, Work,
    flow::Apart,
    frozen::{
        Away, FrozenBlocked, FrozenConnection, FrozenExchange, FrozenHead, FrozenPeer,
        FrozenSeries, FrozenSide, FrozenState, FrozenUpstream, FrozenWorker, Reader,
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
    upstream::Pooled,
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

/// Which of the new workers takes over what an old one had.
pub fn heir(old: usize, workers: usize) -> usize {
    old % workers.max(1)
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
            let heir = heir(index, workers);
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
    /// Connections that came ahead, by their old worker and their name there. They count nowhere
    /// yet, for they may have changed or be gone when the rest comes.
    ahead: FxHashMap<(u32, (u32, u32)), ConnectionId>,
    /// What the old workers left of the budgets of retries, by cluster.
    budgets: FxHashMap<usize, u64>,
}

impl Core {
    /// Takes connections of an old worker that may change or end before the rest comes.
    ///
    /// # Errors
    /// See [`RefusedThaw`]; the worker is of no use then.
    pub fn thaw_ahead(
        &mut self,
        worker: u32,
        values: Vec<FrozenConnection>,
        places: &Places,
        mut socket: impl FnMut((u32, u32)) -> Option<TcpStream>,
    ) -> Result<(), RefusedThaw> {
        self.now = clock::now();
        for frozen in values {
            let name = (worker, frozen.id);
            match self.inert.ahead.get(&name).copied() {
                Some(id) => self.change_inert(id, &frozen, places)?,
                None => {
                    let id = self.adopt(&frozen, socket(frozen.id), places)?;
                    self.inert.ahead.insert(name, id);
                }
            }
        }
        Ok(())
    }

    /// Takes over the connections and exchanges of an old worker. They do nothing until
    /// [`Core::begin_thawed`].
    ///
    /// # Errors
    /// See [`RefusedThaw`]; the worker is of no use then.
    pub fn thaw(
        &mut self,
        worker: u32,
        frozen: FrozenWorker,
        plan: &Plan,
        socket: impl FnMut((u32, u32)) -> Option<TcpStream>,
    ) -> Result<(usize, usize), RefusedThaw> {
        let FrozenWorker { head, connections, exchanges } = frozen;
        let connections = connections.into_iter().map(Some);
        let ids = self.thaw_connections(worker, &head.ahead, connections, plan, socket)?;
        self.thaw_exchanges(&head, exchanges.into_iter().map(Some), &ids, plan)
    }

    /// Does the same from the bytes of a [`FrozenWorker`], with the large output that was left out.
    ///
    /// # Errors
    /// See [`RefusedThaw`]; the worker is of no use then.
    pub fn thaw_bytes(
        &mut self,
        worker: u32,
        bytes: &[u8],
        output: Vec<(u32, Vec<Bytes>)>,
        plan: &Plan,
        socket: impl FnMut((u32, u32)) -> Option<TcpStream>,
    ) -> Result<(usize, usize), RefusedThaw> {
        let mut reader = Reader(bytes);
        let head = reader.take::<FrozenHead>().ok_or(RefusedThaw::Damaged)?;
        let mut output = output.into_iter().peekable();
        let with_output = |(frozen, at): (Option<FrozenConnection>, u32)| {
            let mut frozen = frozen?;
            if let Some((_, bytes)) = output.next_if(|it| it.0 == at) {
                frozen.codec.as_mut()?.output = bytes;
            }
            Some(frozen)
        };
        let connections = reader.list().zip(0..).map(with_output);
        let ids = self.thaw_connections(worker, &head.ahead, connections, plan, socket)?;
        let counts = self.thaw_exchanges(&head, reader.list(), &ids, plan)?;
        if reader.0.is_empty() { Ok(counts) } else { Err(RefusedThaw::Damaged) }
    }

    fn thaw_connections(
        &mut self,
        worker: u32,
        ahead: &[((u32, u32), Option<Pooled>)],
        connections: impl Iterator<Item = Option<FrozenConnection>>,
        plan: &Plan,
        mut socket: impl FnMut((u32, u32)) -> Option<TcpStream>,
    ) -> Result<Vec<ConnectionId>, RefusedThaw> {
        self.now = clock::now();
        let places = &plan.places;
        let first_exchange = u32::try_from(self.inert.exchanges.len()).unwrap_or(u32::MAX);
        let exchange_at = |at: u32| (first_exchange.saturating_add(at), 0);
        let mut ids = Vec::with_capacity(ahead.len() * 2);
        for (name, pooled) in ahead {
            let id = self.inert.ahead.remove(&(worker, *name)).ok_or(RefusedThaw::Damaged)?;
            if let Some(pooled) = pooled {
                self.put_in_pool(id, *pooled);
            }
            ids.push(id);
        }
        let mut blocked = Vec::new();
        for frozen in connections {
            let frozen = frozen.ok_or(RefusedThaw::Damaged)?;
            if let Some(by) = frozen.blocked {
                blocked.push((ids.len(), by));
            }
            let id = match self.inert.ahead.remove(&(worker, frozen.id)) {
                Some(id) => {
                    self.change_inert(id, &frozen, places)?;
                    id
                }
                None => self.adopt(&frozen, socket(frozen.id), places)?,
            };
            self.join_thawed(id, &frozen, &exchange_at);
            ids.push(id);
        }
        for (at, by) in blocked {
            let Some(reader) = ids.get(at).copied() else { continue };
            self.thaw_blocked(reader, by, &ids)?;
        }
        // What is left ended since it was passed.
        let gone: Vec<_> = self.inert.ahead.extract_if(|it, _| it.0 == worker).collect();
        for (_, id) in gone {
            self.uncount_connection(id);
            self.connections.remove(id);
        }
        self.inert.connections.extend(&ids);
        Ok(ids)
    }

    fn thaw_exchanges(
        &mut self,
        head: &FrozenHead,
        exchanges: impl Iterator<Item = Option<FrozenExchange>>,
        ids: &[ConnectionId],
        plan: &Plan,
    ) -> Result<(usize, usize), RefusedThaw> {
        let first = self.inert.exchanges.len();
        for frozen in exchanges {
            let frozen = frozen.ok_or(RefusedThaw::Damaged)?;
            let id = self.thaw_exchange(frozen, plan, ids, &head.names, None)?;
            self.inert.exchanges.push(id);
        }
        for (then, tokens) in (0..).zip(&head.budgets) {
            if let Some(cluster) = plan.places.cluster(then) {
                let budget = self.inert.budgets.entry(cluster).or_default();
                *budget = budget.saturating_add(*tokens);
            }
        }
        Ok((ids.len(), self.inert.exchanges.len() - first))
    }

    /// Lets go of what was thawed without a word to anyone: it is another process's.
    pub fn forget_thawed(&mut self) {
        self.inert = Inert::default();
        self.away.clear();
        self.connections = Slab::default();
        self.exchanges = Slab::default();
    }

    /// A connection that another worker of this process had.
    pub(super) fn thaw_connection(
        &mut self,
        frozen: &FrozenConnection,
        descriptor: TcpStream,
        places: &Places,
        exchange_at: &dyn Fn(u32) -> (u32, u32),
    ) -> Result<ConnectionId, RefusedThaw> {
        let id = self.adopt(frozen, Some(descriptor), places)?;
        self.join_thawed(id, frozen, exchange_at);
        Ok(id)
    }

    /// A connection from its value and its descriptor, without exchanges and in no pool.
    fn adopt(
        &mut self,
        frozen: &FrozenConnection,
        descriptor: Option<TcpStream>,
        places: &Places,
    ) -> Result<ConnectionId, RefusedThaw> {
        let text = || name(frozen.id, &frozen.peer);
        let stream = descriptor.ok_or_else(|| RefusedThaw::NoDescriptor(text()))?;
        let socket = Socket::adopt(stream, self.settings.driver)
            .map_err(|error| RefusedThaw::Socket(text(), error))?;
        let side = thaw_side(frozen, places)?;
        let mut connection = Connection::new(side, frozen.peer, socket, Talk::Unknown, self.now);
        fill_in(&mut connection, frozen, &self.snapshot, self.now)?;
        let id = self.connections.insert(connection);
        self.count_connection(id);
        Ok(id)
    }

    /// Gives a connection that came ahead the value that it has come to have.
    fn change_inert(
        &mut self,
        id: ConnectionId,
        frozen: &FrozenConnection,
        places: &Places,
    ) -> Result<(), RefusedThaw> {
        let side = thaw_side(frozen, places)?;
        let connection = self.connections.get_mut(id).ok_or(RefusedThaw::Damaged)?;
        let is_elsewhere = connection.side != side;
        if is_elsewhere {
            self.uncount_connection(id);
        }
        let connection = self.connections.get_mut(id).ok_or(RefusedThaw::Damaged)?;
        connection.side = side;
        fill_in(connection, frozen, &self.snapshot, self.now)?;
        if is_elsewhere {
            self.count_connection(id);
        }
        Ok(())
    }

    /// Joins the streams of a connection to their exchanges, and puts it where it stood in its pool.
    fn join_thawed(
        &mut self,
        id: ConnectionId,
        frozen: &FrozenConnection,
        exchange_at: &dyn Fn(u32) -> (u32, u32),
    ) {
        if let Some(connection) = self.connections.get_mut(id) {
            for (stream, exchange) in &frozen.streams {
                connection.join(*stream, exchange_at(*exchange));
            }
        }
        self.put_in_pool(id, frozen.pooled);
    }

    fn put_in_pool(&mut self, id: ConnectionId, pooled: Pooled) {
        if let Some(Side::Upstream { cluster, endpoint }) =
            self.connections.get(id).map(|it| it.side)
            && let Some(pooling) =
                self.connections.get(id).and_then(|it| it.protocol()).map(|it| it.pooling)
            && let Some(pool) = self.endpoints.pool(cluster, endpoint)
        {
            pool.adopt(pooling, id, pooled);
        }
    }

    /// Counts a connection where connections are counted.
    fn count_connection(&self, id: ConnectionId) {
        match self.connections.get(id).map(|it| it.side) {
            None => {}
            Some(Side::Downstream { listener }) => {
                self.counters.listener(listener).connections_active.increment();
                self.load.adopt(listener, self.settings.worker);
            }
            Some(Side::Upstream { cluster, endpoint }) => {
                self.counters.cluster(cluster).connections_active.increment();
                self.counters.endpoint(cluster, endpoint).connections_active.increment();
                self.load.adopt_upstream(cluster);
            }
        }
    }

    /// Takes back [`Core::count_connection`].
    fn uncount_connection(&self, id: ConnectionId) {
        match self.connections.get(id).map(|it| it.side) {
            None => {}
            Some(Side::Downstream { listener }) => {
                self.counters.listener(listener).connections_active.decrement();
                self.load.leave(listener, self.settings.worker);
            }
            Some(Side::Upstream { cluster, endpoint }) => {
                self.counters.cluster(cluster).connections_active.decrement();
                self.counters.endpoint(cluster, endpoint).connections_active.decrement();
                self.load.close_upstream(cluster);
            }
        }
    }

    fn thaw_blocked(
        &mut self,
        reader: ConnectionId,
        by: FrozenBlocked,
        ids: &[ConnectionId],
    ) -> Result<(), RefusedThaw> {
        let by = match by {
            FrozenBlocked::Waiting => Blocked::Waiting,
            FrozenBlocked::Stream => Blocked::Stream,
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
        names: &[[Bytes; 3]],
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
            asks: frozen.asks,
            counts_downstream: frozen.counts_downstream,
            counts_upstream: counts_upstream.map(|it| it as u32),
            retries: frozen.retries,
            quiet: frozen.quiet,
            apart: Apart::thawed(frozen.withheld, frozen.kept, frozen.web),
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
        let Inert { connections, exchanges, budgets, .. } = std::mem::take(&mut self.inert);
        for (cluster, tokens) in budgets {
            self.endpoints.set_budget(cluster, tokens);
        }
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
        let (mut first, rest): (Vec<_>, Vec<_>) = connections.into_iter().partition(|id| {
            let connection = self.connections.get(*id);
            connection.is_some_and(|it| it.in_flight() > 0 || !it.input.is_empty())
        });
        first.extend(rest);
        if let Some(work) = self.this.upgrade() {
            monoio::spawn(read_some_after_others(work, first));
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

/// Whose a connection is, by the places here.
fn thaw_side(frozen: &FrozenConnection, places: &Places) -> Result<Side, RefusedThaw> {
    let side = match frozen.side {
        FrozenSide::Downstream(listener) => {
            places.listener(listener).map(|listener| Side::Downstream { listener })
        }
        FrozenSide::Upstream(cluster, endpoint) => places
            .endpoint(cluster, endpoint)
            .map(|(cluster, endpoint)| Side::Upstream { cluster, endpoint }),
    };
    side.ok_or_else(|| RefusedThaw::NoPlace(name(frozen.id, &frozen.peer)))
}

/// Gives a connection the value that it had with its old owner, but for its exchanges.
fn fill_in(
    connection: &mut Connection,
    frozen: &FrozenConnection,
    snapshot: &Snapshot,
    now: Time,
) -> Result<(), RefusedThaw> {
    let limits = match connection.side {
        Side::Downstream { listener } => snapshot.downstream_limits(listener),
        Side::Upstream { cluster, .. } => snapshot.upstream_limits(cluster),
    };
    connection.talk = match &frozen.codec {
        None => Talk::Unknown,
        Some(state) => {
            let refused = |error| RefusedThaw::Codec(name(frozen.id, &frozen.peer), error);
            let codec = Protocol::thaw(state, limits, now).map_err(refused)?;
            let protocol = Protocol::find(&state.protocol)
                .ok_or_else(|| refused(ThawError::UnknownProtocol))?;
            Talk::Known { protocol, codec }
        }
    };
    connection.state = match frozen.state {
        FrozenState::Open => State::Open,
        FrozenState::Flushing => State::Flushing,
        FrozenState::Lingering(left) => State::Lingering { until: after(now, left) },
    };
    connection.input = BytesMut::from(&frozen.input[..]);
    connection.read_bytes = connection.read_bytes.max(frozen.read_bytes);
    connection.input_ended = frozen.input_ended;
    connection.output_shut = frozen.output_shut;
    connection.active_at = before(now, frozen.active);
    connection.head_since = frozen.head_since.map(|it| before(now, it));
    connection.since = before(now, frozen.since);
    connection.bytes_received = frozen.bytes_received;
    connection.bytes_sent = frozen.bytes_sent;
    // Whoever waits for the output to be written is told then, as before.
    connection.withholds = connection.unsent_bytes() > live::UNSENT_LOW;
    connection.repeatable = frozen.repeatable.as_ref().map(|it| Box::new(it.to_vec()));
    Ok(())
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
