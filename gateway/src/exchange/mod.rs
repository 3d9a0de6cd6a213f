//! One request and its response: a downstream stream joined to an upstream stream.
//!
//! The life of an exchange is a straight line, and [`Core::begin`] shows it with
//! [`Core::dispatch`]: route, pick an endpoint, acquire a connection, encode. From then on `relay`
//! carries parts both ways, `failure` answers what went wrong in the caller's own words, and
//! `record` counts and logs the end. All of it runs on one worker and is synchronous: nothing here
//! waits.

mod call_again;
mod core;
mod dial;
mod ending;
mod failure;
mod flow;
mod forwarded;
mod freeze;
mod frozen;
mod grpc;
mod hold;
mod idle;
mod kept;
mod limit;
mod live;
mod moving;
mod record;
mod relay;
mod release;
mod reload;
mod remote;
mod repeat;
mod stopping;
mod text;
mod thaw;
mod trace;

pub use self::core::{Core, Settings, Work};
pub use flow::{Apart, Withheld};
pub use freeze::{Ahead, Descriptor, Frozen, PassedAhead, Taken};
pub use frozen::{
    Away, FrozenBytes, FrozenConnection, FrozenWorker, LargeOutput, VERSION as FROZEN_VERSION,
};
pub use grpc::Asks;
pub use hold::{Held, Holding, Unresponsive, hold, settle_letters};
pub use live::{write_all, yield_once};
pub use reload::Update;
pub use remote::{Between, Letter, PostOffice};
pub use thaw::{Inert, Places, Plan, RefusedThaw, heir};

use std::{rc::Rc, time::Duration};

use serde::{Deserialize, Serialize};

use hangu_codecs::{
    Head, OpenError, OwnedPart, Part, Protocol, RpcHead, Status, StreamId, Time,
    message::{End, RpcOutcome},
    protocol::Pooling,
};
use hangu_config::TraceIds;

use crate::{
    connection::{Blocked, Connection, ConnectionId, Id},
    snapshot::Snapshot,
    telemetry::{Outcome, RpcNamed, RpcSeries},
    upstream::Acquired,
};

use failure::Failure;
use text::Logged;

/// Names an exchange of this worker.
pub type ExchangeId = Id<Exchange>;

/// A downstream stream joined to an upstream stream.
///
/// Keeps what it resolved when it began (route, cluster, deadline), whatever the configuration
/// has become since.
pub struct Exchange {
    /// The side that asked.
    pub downstream: Peer,
    /// The side that is to answer.
    pub upstream: Upstream,
    /// What it was routed by.
    pub snapshot: Rc<Snapshot>,
    /// Index of the listener.
    pub listener: u32,
    /// Index of the route, once found.
    pub route: Option<u32>,
    /// Where an RPC request is counted by its names.
    pub series: RpcSeries,
    /// Index of the cluster and of its endpoint, once chosen.
    pub target: Option<(u32, u32)>,
    /// When the request head was decoded.
    pub began: Time,
    /// When the request was given to an upstream connection; the end of time before that.
    pub forwarded: Time,
    /// When it ends without a response; the end of time for none.
    pub deadline: Time,
    /// How far the two directions are.
    pub progress: Progress,
    /// What the response said.
    pub outcome: Option<Outcome>,
    /// What it asks for.
    pub asks: Asks,
    /// Where the process limits requests in flight, it was counted at its listener.
    pub counts_downstream: bool,
    /// And at the cluster with this place.
    pub counts_upstream: Option<u32>,
    /// Tries before this one.
    pub retries: u8,
    /// Sweeps for dead exchanges since something of it moved; see `idle`.
    pub quiet: u8,
    /// What only some exchanges have.
    pub apart: Option<Box<Apart>>,
    /// What only the access log tells; none where nothing is logged.
    pub logged: Option<Box<Logged>>,
    /// Bytes of body or frame that came from the client.
    pub received_bytes: u64,
    /// Bytes of body or frame that went to the client.
    pub sent_bytes: u64,
}

// Hundreds are in flight at once, and each is touched at its begin and at its end: what a request
// costs is the lines of the cache that it takes.
const _: () = assert!(size_of::<Exchange>() <= 168);

/// The other end of an exchange's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A stream of a connection of this worker.
    Local {
        /// The connection.
        connection: ConnectionId,
        /// The stream.
        stream: StreamId,
    },
    /// An exchange of another worker, whose connection it is; parts travel by mail.
    Remote {
        /// Index of the worker.
        worker: usize,
        /// Index and generation of the exchange there.
        exchange: (u32, u32),
    },
}

/// The upstream side of an exchange.
pub enum Upstream {
    /// None was chosen.
    None,
    /// It waits for a connection, with the parts that came meanwhile.
    Waiting(Box<Vec<OwnedPart>>),
    /// It has a stream.
    Joined(Peer),
    /// The stream is ended or given up.
    Ended,
}

/// How far the two directions of an exchange are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The whole request was forwarded, or waits to be.
    pub request_ended: bool,
    /// A final response head went downstream.
    pub response_began: bool,
    /// The whole response went downstream.
    pub response_ended: bool,
    /// Both directions carry raw bytes now (upgrade, CONNECT).
    pub is_tunnel: bool,
}

/// Bytes of parts that one exchange may hold while it waits for a connection; reading its
/// client stops there. 64 KiB: a request head and the first bytes of a body.
pub const WAITING_BYTES_MAX: usize = 64 * 1024;

/// What a request asks for, as far as the exchange needs it.
struct Asked {
    listener: usize,
    downstream: Peer,
    two_way: bool,
}

impl Core {
    /// The straight path of a request, from its head to an upstream's output.
    pub(crate) fn begin(
        &mut self,
        listener: usize,
        connection: ConnectionId,
        stream: StreamId,
        part: &mut Part<'_>,
    ) {
        let Part::Head(head, end) = &mut *part else { return };
        let snapshot = Rc::clone(&self.snapshot);
        self.counters.listener(listener).requests.increment();
        let two_way = !matches!(head, Head::RpcRequest(rpc) if !rpc.two_way);
        let asked = Asked { listener, downstream: Peer::Local { connection, stream }, two_way };
        let id = self.enter(&asked, &snapshot, head, *end);
        if two_way && let Some(connection) = self.connections.get_mut(connection) {
            connection.join(stream, id.parts());
        }
        if let Err(failure) = self.admit_request(id, listener) {
            // Logged as what it says that it is; it goes nowhere, so no trace is made for it.
            self.trace(id, TraceIds::Keep, head);
            return self.fail(id, failure);
        }
        let is_traced_here = self.trace(id, snapshot.trace_ids(listener), head);
        if let Err(failure) = self.prepare(&snapshot, listener, connection, head) {
            return self.fail(id, failure);
        }
        if let Err(failure) = self.begin_grpc(id, listener, &snapshot, head) {
            return self.fail(id, failure);
        }
        match head {
            Head::RpcRequest(rpc) if is_traced_here => {
                let added = std::mem::take(&mut self.added);
                let head = Head::RpcRequest(RpcHead { added: Some(&added), ..*rpc });
                self.dispatch(id, listener, &snapshot, &mut Part::Head(head, *end));
                self.added = added;
            }
            _ => self.dispatch(id, listener, &snapshot, part),
        }
    }

    /// The second half of the straight path: finds out where a request goes, and sends it there.
    fn dispatch(
        &mut self,
        id: ExchangeId,
        listener: usize,
        snapshot: &Snapshot,
        part: &mut Part<'_>,
    ) {
        let Part::Head(head, _) = &mut *part else { return };
        let random = self.random();
        let Some(found) = snapshot.find(listener, head, random) else {
            return self.fail(id, Status::NoRoute.into());
        };
        let cluster = found.cluster;
        let is_call = self.exchanges.get(id).is_some_and(|it| it.asks.is_call());
        let deadline = self.deadline(found.timeout, head, is_call);
        let series = self.series(head, is_call);
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.series = series;
            exchange.route = Some(found.route as u32);
            exchange.deadline = deadline;
        }
        if let Err(failure) = self.admit_upstream_request(id, cluster) {
            return self.fail(id, failure);
        }
        let Some(endpoint) = self.endpoints.pick(cluster, random) else {
            let reason = self.endpoints.why_none(cluster);
            return self.fail(id, Failure::because(Status::NoUpstream, reason));
        };
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.target = Some((cluster as u32, endpoint as u32));
        }
        self.endpoints.began(cluster, endpoint);
        self.send_head(id, snapshot, part);
    }

    /// Enters an exchange into the worker's slab.
    fn enter(
        &mut self,
        asked: &Asked,
        snapshot: &Rc<Snapshot>,
        head: &Head<'_>,
        end: End,
    ) -> ExchangeId {
        let received_bytes = match head {
            Head::RpcRequest(rpc) | Head::RpcResponse(rpc) => rpc.bytes() as u64,
            Head::HttpRequest(_) | Head::HttpResponse(_) => 0,
        };
        let logged = self.settings.access_log.then(|| self.logs.keep(head));
        let asks = Asks::of(head);
        self.counters.listener(asked.listener).requests_active.increment();
        self.exchanges.insert(Exchange {
            downstream: asked.downstream,
            upstream: Upstream::None,
            snapshot: Rc::clone(snapshot),
            listener: asked.listener as u32,
            route: None,
            series: match head {
                Head::RpcRequest(_) => RpcSeries::NoRoute,
                Head::HttpRequest(_) if asks.is_call() => RpcSeries::NoRoute,
                Head::HttpRequest(_) | Head::HttpResponse(_) | Head::RpcResponse(_) => {
                    RpcSeries::None
                }
            },
            target: None,
            began: self.now,
            forwarded: NEVER,
            deadline: NEVER,
            progress: Progress {
                request_ended: end == End::Yes,
                response_ended: !asked.two_way,
                ..Progress::default()
            },
            outcome: (!asked.two_way).then_some(Outcome::Oneway),
            asks,
            counts_downstream: false,
            counts_upstream: None,
            retries: 0,
            quiet: 0,
            apart: None,
            logged,
            received_bytes,
            sent_bytes: 0,
        })
    }

    /// Where a request that a route matched is counted by its names.
    fn series(&self, head: &Head<'_>, is_call: bool) -> RpcSeries {
        let Some(counters) = self.counters.worker.rpc.get() else { return RpcSeries::None };
        match head {
            Head::RpcRequest(rpc) => {
                let caller = rpc.fields.at(rpc.trace.caller_app);
                counters.find(RpcNamed { service: rpc.service, method: rpc.method, caller })
            }
            Head::HttpRequest(request) if is_call => grpc::series(request, counters),
            Head::HttpRequest(_) | Head::HttpResponse(_) | Head::RpcResponse(_) => RpcSeries::None,
        }
    }

    /// The instant at which the exchange ends without a response: the smallest of what the route
    /// and the frame, or the call, allow. What is left of it travels on in these.
    fn deadline(&mut self, route: Option<Duration>, head: &mut Head<'_>, is_call: bool) -> Time {
        let timeout = match head {
            Head::RpcRequest(rpc) => {
                let smallest = match (rpc.timeout, route) {
                    (Some(frame), Some(route)) => Some(frame.min(route)),
                    (one, other) => one.or(other),
                };
                rpc.timeout = smallest;
                // Nobody waits for the answer to a oneway request.
                if rpc.two_way { smallest } else { None }
            }
            Head::HttpRequest(request) if is_call => {
                let smallest = grpc::timeout(request, route);
                if let Some(smallest) = smallest {
                    grpc::tell_time_left(head, smallest);
                }
                smallest
            }
            Head::HttpRequest(_) | Head::HttpResponse(_) | Head::RpcResponse(_) => route,
        };
        let Some(timeout) = timeout else { return NEVER };
        let deadline = self.now.after(timeout);
        self.earliest_deadline = self.earliest_deadline.min(deadline);
        deadline
    }

    /// Gives the request head to a connection of its endpoint, or lets it wait for one.
    pub(crate) fn send_head(&mut self, id: ExchangeId, snapshot: &Snapshot, part: &Part<'_>) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let Some((cluster, endpoint)) = exchange.target() else { return };
        let is_away = matches!(exchange.downstream, Peer::Remote { .. });
        if let Some(home) = self.home_of(snapshot, cluster, endpoint)
            && !is_away
        {
            return self.send_away(id, home, part.to_owned());
        }
        let Some((protocol, limits)) = snapshot.pool(cluster) else { return };
        loop {
            let Some(pool) = self.endpoints.pool(cluster, endpoint) else { return };
            match pool.acquire(protocol.pooling, limits) {
                Acquired::Connection(connection) => {
                    if is_away && self.is_glutted(connection) {
                        let reason = "upstream_glutted";
                        return self.fail(id, Failure::because(Status::Overloaded, reason));
                    }
                    let Some(stream) = self.open(connection, cluster, endpoint) else { continue };
                    return self.join(id, connection, stream, part);
                }
                Acquired::Overloaded => return self.fail(id, Status::Overloaded.into()),
                Acquired::Wait => return self.let_wait(id, cluster, endpoint, part),
                Acquired::Dial => {
                    self.let_wait(id, cluster, endpoint, part);
                    return self.dial(cluster, endpoint);
                }
            }
        }
    }

    /// A stream on an upstream connection. One that gives none is taken out of its pool; one that
    /// is full comes back when a stream of it ends.
    fn open(
        &mut self,
        connection: ConnectionId,
        cluster: usize,
        endpoint: usize,
    ) -> Option<StreamId> {
        let codec = self.connections.get_mut(connection).and_then(|it| it.codec());
        let opened = codec.map_or(Err(OpenError::Closing), |codec| codec.open());
        if let Err(error) = opened
            && let Some(pool) = self.endpoints.pool(cluster, endpoint)
        {
            match error {
                OpenError::Full => pool.fill(connection),
                OpenError::Closing => {
                    pool.withdraw(connection);
                    self.leave_unused(connection);
                }
            }
        }
        opened.ok()
    }

    fn let_wait(&mut self, id: ExchangeId, cluster: usize, endpoint: usize, part: &Part<'_>) {
        let part = part.to_owned();
        let is_large = relay::held_bytes(&part) > WAITING_BYTES_MAX;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let downstream = exchange.downstream;
        match &mut exchange.upstream {
            Upstream::Waiting(parts) => parts.insert(0, part),
            other => *other = Upstream::Waiting(Box::new(vec![part])),
        }
        if let Some(pool) = self.endpoints.pool(cluster, endpoint) {
            pool.wait(id.parts());
        }
        if is_large
            && let Peer::Local { connection, .. } = downstream
            && let Some(client) = self.connections.get_mut(connection)
            && !client.has_windows()
        {
            client.blocked = Some(Blocked::Waiting);
        }
        self.counters.cluster(cluster).requests_pending.increment();
    }

    /// Joins an exchange to its upstream stream and encodes the request head there.
    pub(crate) fn join(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        stream: StreamId,
        part: &Part<'_>,
    ) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return self.abandon(connection, stream);
        };
        let Some((cluster, endpoint)) = exchange.target() else { return };
        exchange.upstream = Upstream::Joined(Peer::Local { connection, stream });
        exchange.forwarded = now;
        let is_oneway = exchange.outcome == Some(Outcome::Oneway);
        if self.connections.get(connection).is_some_and(Connection::has_windows) {
            self.keep_head(id, part);
        }
        let Some(upstream) = self.connections.get_mut(connection) else { return };
        upstream.join(stream, id.parts());
        let is_repeatable =
            upstream.is_exclusive() && upstream.bytes_received > 0 && repeat::may_be_repeated(part);
        let encoded = upstream.encode(connection, stream, part, &mut self.outbox);
        if is_repeatable {
            upstream.keep_repeatable();
        }
        let counters = self.counters.cluster(cluster);
        counters.requests.increment();
        counters.requests_active.increment();
        let counters = self.counters.endpoint(cluster, endpoint);
        counters.requests.increment();
        counters.requests_active.increment();
        let Ok(sent) = encoded else {
            return self.fail(id, Failure::internal("request_not_encodable"));
        };
        self.hold_back(id, connection, sent);
        if is_oneway {
            self.complete(id);
        }
    }

    /// Gives up a stream that was opened for an exchange that is gone.
    fn abandon(&mut self, connection: ConnectionId, stream: StreamId) {
        let Some(upstream) = self.connections.get_mut(connection) else { return };
        if let Some(codec) = upstream.codec() {
            // A stream that is gone already needs no giving up.
            let _ = codec.encode(stream, &Part::Reset(hangu_codecs::Reason::Cancelled));
        }
        self.settle(connection);
    }
}

/// The end of time: no deadline.
pub(crate) const NEVER: Time = Time::from_micros(u64::MAX);

/// What a response head says of the outcome; `None` for an informational one.
fn outcome_of(head: &Head<'_>) -> Option<Outcome> {
    match head {
        Head::HttpResponse(response) if response.status < 200 && response.status != 101 => None,
        Head::HttpResponse(response) => Some(Outcome::Http(response.status)),
        Head::RpcResponse(rpc) => Some(Outcome::Rpc(rpc.outcome)),
        Head::HttpRequest(_) | Head::RpcRequest(_) => {
            Some(Outcome::Rpc(RpcOutcome::ProviderError(0)))
        }
    }
}

/// Whether connections of a protocol carry one stream at a time.
fn is_exclusive(protocol: &Protocol) -> bool {
    protocol.pooling == Pooling::Exclusive
}
