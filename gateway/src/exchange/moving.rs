//! Moving a client's multiplexed connection to another worker, with its requests in flight.
//!
//! A fat connection keeps one core busy whatever the others do. The same values that go to another
//! process go to another worker: the connection moves, its upstream connections stay, and the
//! exchanges that join them are divided into two halves that write to each other, as those of
//! shared connections are (`remote`).
//!
//! ```text
//! from                                    to
//!  │ how many exchanges ──────────────────► │ keeps places for them
//!  │ ◄────────────────────────── the places │
//!  │ connection, halves ──────────────────► │ goes on with it
//!  │ further answers ─────────────────────► │ (letters arrive in their order)
//! ```
//! Between the letters the connection is served where it was.

use std::{net::TcpStream, os::fd::OwnedFd};

use hangu_codecs::protocol::Pooling;
use rustc_hash::FxHashMap;

use super::{
    Asks, Core, ExchangeId, Letter, Peer, Upstream,
    freeze::{Names, Positions, freeze_connection, seal_output},
    frozen::{FrozenConnection, FrozenExchange, FrozenPeer, FrozenUpstream},
    thaw::Plan,
};
use crate::{
    clock,
    connection::{Blocked, Connection, ConnectionId, Side, State},
    telemetry::RpcSeries,
};

/// A connection on its way to another worker.
struct Moved {
    from: usize,
    connection: FrozenConnection,
    descriptor: OwnedFd,
    exchanges: Vec<FrozenExchange>,
    names: Vec<[bytes::Bytes; 3]>,
    /// The places that were kept for them, and more.
    places: Vec<ExchangeId>,
}

impl Core {
    /// Remembers how much each connection has carried, to see later which carries how much.
    pub fn mark_traffic(&mut self) {
        for (_, connection) in self.connections.iter_mut() {
            connection.bytes_marked = connection.bytes_carried();
        }
    }

    /// Gives the connection to another worker that carried closest to this share (0 to 1) of what
    /// this worker carried since [`Core::mark_traffic`], but not much more: a worker that gives
    /// most of its work away only changes places with the other. Says whether there is one.
    pub fn shed(&mut self, share: f64, to: usize) -> bool {
        let carried = |it: &Connection| it.bytes_carried().saturating_sub(it.bytes_marked);
        let is_client = |it: &Connection| matches!(it.side, Side::Downstream { .. });
        let clients = self.connections.iter().filter(|(_, it)| is_client(it));
        let all: u64 = clients.map(|(_, it)| carried(it)).sum();
        if all == 0 {
            return false;
        }
        let of_all = |it: &Connection| carried(it) as f64 / all as f64;
        let fits = |it: &Connection| (SHARE_MIN..=share * SHARE_SLACK).contains(&of_all(it));
        let movable = self.connections.iter().filter(|(id, it)| fits(it) && self.can_move(*id, it));
        let distance = |it: &Connection| (of_all(it) - share).abs();
        let best = movable.min_by(|one, other| distance(one.1).total_cmp(&distance(other.1)));
        let Some((id, _)) = best else { return false };
        self.move_connection(id, to);
        true
    }

    /// Whether a connection can go to another worker at this instant; it may be able to later.
    fn can_move(&self, id: ConnectionId, connection: &Connection) -> bool {
        let is_multiplexed =
            connection.protocol().is_some_and(|it| it.pooling == Pooling::Multiplexed);
        let is_free = connection.blocked.is_none_or(|by| by == Blocked::Output(id));
        let goes_on = connection.state == State::Open
            && !connection.input_ended
            && !connection.output_shut
            && connection.blocking.iter().all(|it| *it == id);
        let is_under_way = |exchange: (u32, u32)| {
            let exchange = self.exchanges.get(ExchangeId::new(exchange.0, exchange.1));
            exchange
                .is_some_and(|it| matches!(it.upstream, Upstream::Joined(_) | Upstream::Waiting(_)))
        };
        matches!(connection.side, Side::Downstream { .. })
            && is_multiplexed
            && is_free
            && goes_on
            && connection.streams().all(|it| is_under_way(it.1))
    }

    /// Begins to move a connection to another worker.
    pub fn move_connection(&mut self, id: ConnectionId, to: usize) {
        let Some(connection) = self.connections.get(id) else { return };
        let here = self.settings.worker;
        if to == here {
            return;
        }
        // Requests that begin meanwhile need places too.
        let count = connection.streams().count() * 2 + PLACES_SPARE;
        let order = move |there: &mut Self| {
            let places: Vec<_> = (0..count).map(|_| there.exchanges.reserve()).collect();
            let order = move |back: &mut Self| back.hand_connection(id, to, places);
            // A worker that is gone needs no answer.
            there.office.send(here, Letter::Do(Box::new(order)));
        };
        self.office.send(to, Letter::Do(Box::new(order)));
    }

    /// Hands a connection to the worker that has kept places for its exchanges.
    fn hand_connection(&mut self, id: ConnectionId, to: usize, places: Vec<ExchangeId>) {
        match self.take_out(id, to, &places) {
            Some((connection, descriptor, exchanges, names)) => {
                let from = self.settings.worker;
                let moved = Moved { from, connection, descriptor, exchanges, names, places };
                let order = move |there: &mut Self| there.take_in(moved);
                self.office.send(to, Letter::Do(Box::new(order)));
                self.counters.worker.connections_given.increment();
            }
            None => {
                let order = move |there: &mut Self| {
                    places.into_iter().for_each(|it| there.exchanges.cancel(it))
                };
                self.office.send(to, Letter::Do(Box::new(order)));
            }
        }
    }

    /// Takes a connection out of this worker, if it can move now; its exchanges stay as halves.
    #[allow(clippy::type_complexity, reason = "the parts of one value, named by its only caller")]
    fn take_out(
        &mut self,
        id: ConnectionId,
        to: usize,
        places: &[ExchangeId],
    ) -> Option<(FrozenConnection, OwnedFd, Vec<FrozenExchange>, Vec<[bytes::Bytes; 3]>)> {
        self.now = clock::now();
        seal_output(self.connections.get_mut(id)?);
        let connection = self.connections.get(id)?;
        let Side::Downstream { listener } = connection.side else { return None };
        let streams: Vec<_> = connection.streams().collect();
        if streams.len() > places.len() || !self.can_move(id, connection) {
            return None;
        }
        let descriptor = connection.socket.descriptor().try_clone_to_owned().ok()?;
        let ids = streams.iter().map(|it| ExchangeId::new(it.1.0, it.1.1));
        let exchanges: FxHashMap<_, _> = ids.clone().zip(0..).collect();
        let positions = Positions {
            connections: FxHashMap::from_iter([(id, 0)]),
            exchanges,
            pooled: FxHashMap::default(),
        };
        let frozen = freeze_connection(id, connection, &positions, self.now);
        let mut names = Names::default();
        let mut halves = Vec::with_capacity(streams.len());
        let here = self.settings.worker as u32;
        for (own, place) in ids.clone().zip(places) {
            let exchange = self.exchanges.get(own)?;
            let mut half = self.freeze_exchange(own, exchange, &positions, &mut names);
            // The parts that wait for an upstream connection wait here.
            half.upstream = FrozenUpstream::Joined(FrozenPeer::Remote(here, place.parts()));
            // And so does what may have to be sent again.
            half.kept = Vec::new();
            halves.push(half);
        }
        for (own, place) in ids.zip(places) {
            self.leave_half(own, to, *place);
        }
        self.unblock_readers(id);
        self.connections.remove(id);
        self.counters.listener(listener).connections_active.decrement();
        self.load.leave(listener, self.settings.worker);
        Some((frozen, descriptor, halves, names.list))
    }

    /// Makes an exchange the half of the upstream side.
    fn leave_half(&mut self, id: ExchangeId, to: usize, place: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.downstream = Peer::Remote { worker: to, exchange: place.parts() };
        let listener = exchange.listener as usize;
        let logged = exchange.logged.take();
        exchange.series = RpcSeries::None;
        if exchange.asks.is_call() {
            exchange.asks = Asks::Answer;
        }
        if let Some(apart) = &mut exchange.apart {
            apart.web = None;
        }
        let (downstream, upstream) =
            (std::mem::take(&mut exchange.counts_downstream), exchange.counts_upstream.take());
        if downstream {
            self.load.end_request(listener);
        }
        if let Some(cluster) = upstream {
            self.load.end_upstream_request(cluster as usize);
        }
        self.counters.listener(listener).requests_active.decrement();
        self.logs.give_back(logged);
        self.away.insert((to, place.parts()), id);
    }

    /// Goes on with a connection that another worker had.
    fn take_in(&mut self, moved: Moved) {
        self.now = clock::now();
        let Moved { from, connection, descriptor, exchanges, names, places } = moved;
        let plan = Plan::here(&self.snapshot, self.settings.workers);
        let positions: Vec<_> = places.iter().map(|it| it.parts()).collect();
        let exchange_at = |at: u32| positions.get(at as usize).copied().unwrap_or((u32::MAX, 0));
        let descriptor = TcpStream::from(descriptor);
        let thawed = self.thaw_connection(&connection, descriptor, &plan.places, &exchange_at).ok();
        let mut places = places.into_iter();
        for (exchange, place) in exchanges.into_iter().zip(places.by_ref()) {
            let ids: Vec<_> = thawed.into_iter().collect();
            if self.thaw_exchange(exchange, &plan, &ids, &names, Some(place)).is_err() {
                self.exchanges.cancel(place);
                self.mail_cancel(from, place.parts());
            }
        }
        places.for_each(|it| self.exchanges.cancel(it));
        let Some(id) = thawed else {
            // Nothing that this build freezes is refused by it; if it ever is, the callers' halves
            // end with their deadline and the client sees its connection end.
            tracing::error!("a connection was lost on its way between workers");
            return;
        };
        self.counters.worker.connections_taken.increment();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.unsent_bytes() > 0 {
            connection.wants_to_write(id, &mut self.outbox);
        }
        if !connection.input.is_empty() {
            self.resume.push(id);
        }
        self.read_thawed(id);
    }
}

/// A connection that carries less than this share is not worth moving.
const SHARE_MIN: f64 = 0.02;

/// A connection may carry this much more than the share that is to go.
const SHARE_SLACK: f64 = 1.5;

/// Places for exchanges that begin while the letters are under way, beside as many as there are.
const PLACES_SPARE: usize = 64;
