//! All that one worker works with.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use bytes::BytesMut;
use hangu_codecs::{Role, Scratch, Time};

use super::{Exchange, NEVER, PostOffice, ending::Closed, failure::Failure, live, text::Texts};
use crate::{
    clock,
    connection::{Connection, ConnectionId, Load, Outbox, Side, Slab, State, Talk},
    io::{self, DialError, DriverKind},
    snapshot::Snapshot,
    telemetry::{AccessLog, Counters, ReasonPlace, Throttle},
    upstream::Endpoints,
};

/// What is set for a worker when it starts.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Index of the worker.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// The driver that runs.
    pub driver: DriverKind,
    /// Whether exchanges are logged.
    pub access_log: bool,
}

/// The state of a worker, shared by its tasks. Borrowed within one synchronous function only.
pub struct Work {
    core: RefCell<Core>,
}

impl Work {
    /// The state of a worker.
    pub fn new(
        settings: Settings,
        snapshot: Snapshot,
        counters: Arc<Counters>,
        log: AccessLog,
        office: PostOffice,
        load: Arc<Load>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            core: RefCell::new(Core::new(
                this.clone(),
                settings,
                snapshot,
                counters,
                log,
                office,
                load,
            )),
        })
    }

    /// Works on the state. `work` must not call back here; nothing it does can, for it is given
    /// the state and not this.
    pub fn with<R>(&self, work: impl FnOnce(&mut Core) -> R) -> R {
        work(&mut self.core.borrow_mut())
    }
}

/// Everything that one worker works with: its connections, exchanges, pools, counters.
pub struct Core {
    pub(super) this: Weak<Work>,
    pub(crate) settings: Settings,
    /// The instant of the current wake-up.
    pub now: Time,
    /// What new exchanges are routed by.
    pub snapshot: Rc<Snapshot>,
    /// All connections of either side.
    pub connections: Slab<Connection>,
    pub(crate) exchanges: Slab<Exchange>,
    /// The endpoints of all clusters with their pools.
    pub endpoints: Endpoints,
    /// What is counted.
    pub counters: Arc<Counters>,
    pub(crate) log: AccessLog,
    pub(crate) texts: Texts,
    pub(crate) office: PostOffice,
    pub(crate) load: Arc<Load>,
    pub(crate) scratch: Option<Box<Scratch>>,
    /// What connections are read into, one after the other.
    pub(crate) read_buffer: BytesMut,
    pub(crate) outbox: Outbox,
    pub(super) writing: Vec<ConnectionId>,
    pub(crate) path: Vec<u8>,
    pub(crate) earliest_deadline: Time,
    pub(crate) timers: std::collections::BinaryHeap<std::cmp::Reverse<(Time, ConnectionId)>>,
    pub(crate) resume: Vec<ConnectionId>,
    pub(crate) freed: Vec<ConnectionId>,
    pub(crate) away: rustc_hash::FxHashMap<(usize, (u32, u32)), super::ExchangeId>,
    pub(super) away_count: usize,
    pub(super) panics_told: Throttle,
    random: u64,
    /// The next tick panics, as a mistake outside of any connection would.
    #[cfg(feature = "test-hooks")]
    pub test_dies: bool,
    draining_until: Option<Time>,
    /// The tasks that accept, to be woken when a listener is closed.
    pub(super) acceptors: Vec<Waker>,
}

impl Core {
    fn new(
        this: Weak<Work>,
        settings: Settings,
        snapshot: Snapshot,
        counters: Arc<Counters>,
        log: AccessLog,
        office: PostOffice,
        load: Arc<Load>,
    ) -> Self {
        let now = clock::now();
        let random = now.as_micros() ^ (settings.worker as u64 + 1).wrapping_mul(RANDOM_STEP);
        let mut endpoints = Endpoints::default();
        endpoints.adapt(&snapshot.roster, random);
        Self {
            this,
            settings,
            now,
            endpoints,
            snapshot: Rc::new(snapshot),
            connections: Slab::default(),
            exchanges: Slab::default(),
            counters,
            log,
            texts: Texts::default(),
            office,
            load,
            scratch: Some(Box::default()),
            read_buffer: BytesMut::new(),
            outbox: Outbox::default(),
            writing: Vec::new(),
            path: Vec::new(),
            earliest_deadline: NEVER,
            timers: std::collections::BinaryHeap::new(),
            resume: Vec::new(),
            freed: Vec::new(),
            away: rustc_hash::FxHashMap::default(),
            away_count: 0,
            panics_told: Throttle::new(),
            random,
            #[cfg(feature = "test-hooks")]
            test_dies: false,
            draining_until: None,
            acceptors: Vec::new(),
        }
    }

    /// A random number for choices that need no secrecy (SplitMix64).
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(RANDOM_STEP);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Exchanges that have not ended.
    pub fn exchanges_open(&self) -> usize {
        self.exchanges.len()
    }

    /// Takes in a connection and starts to read it.
    pub fn admit(&mut self, connection: Connection) -> ConnectionId {
        let socket = Rc::clone(&connection.socket);
        let side = connection.side;
        let id = self.connections.insert(connection);
        match side {
            Side::Downstream { listener } => {
                let counters = self.counters.listener(listener);
                counters.connections_accepted.increment();
                counters.connections_active.increment();
            }
            Side::Upstream { cluster, endpoint } => {
                self.counters.cluster(cluster).connections_opened.increment();
                self.counters.cluster(cluster).connections_active.increment();
                self.counters.endpoint(cluster, endpoint).connections_active.increment();
            }
        }
        self.set_timer(id);
        if let Some(work) = self.this.upgrade() {
            monoio::spawn(live::read_all(work, id, socket));
        }
        id
    }

    /// Establishes a connection to an endpoint, for those that wait for one.
    pub(crate) fn dial(&mut self, cluster: usize, endpoint: usize) {
        let Some(pool) = self.endpoints.pool(cluster, endpoint) else { return };
        pool.dial_began();
        let Some(work) = self.this.upgrade() else { return };
        let Some((address, timeout)) = self.snapshot.dial(cluster, endpoint) else { return };
        let driver = self.settings.driver;
        monoio::spawn(async move {
            let dialled = io::dial(address, timeout, driver).await;
            work.with(|core| core.on_dialled(cluster, endpoint, dialled));
        });
    }

    fn on_dialled(
        &mut self,
        cluster: usize,
        endpoint: usize,
        dialled: Result<io::Socket, DialError>,
    ) {
        self.now = clock::now();
        if let Some(pool) = self.endpoints.pool(cluster, endpoint) {
            pool.dial_ended(dialled.is_ok());
        }
        let snapshot = Rc::clone(&self.snapshot);
        let Some((address, _)) = snapshot.dial(cluster, endpoint) else { return };
        let Some((protocol, _)) = snapshot.pool(cluster) else { return };
        match dialled {
            Ok(socket) => {
                let codec =
                    (protocol.codec)(Role::Client, snapshot.upstream_limits(cluster), self.now);
                let side = Side::Upstream { cluster, endpoint };
                let talk = Talk::Known { protocol, codec };
                let id = self.admit(Connection::new(side, address, socket, talk, self.now));
                self.shelter(id, |core| core.offer(id));
            }
            Err(error) => self.on_dial_failure(cluster, endpoint, &error),
        }
        self.work_off();
    }

    fn on_dial_failure(&mut self, cluster: usize, endpoint: usize, error: &DialError) {
        let snapshot = Rc::clone(&self.snapshot);
        let Some((protocol, limits)) = snapshot.pool(cluster) else { return };
        self.counters.endpoint(cluster, endpoint).connect_failures.increment();
        let reason = match error {
            DialError::TimedOut => {
                self.counters.cluster(cluster).connect_timeouts.increment();
                "connect_timed_out"
            }
            DialError::Refused(_) => {
                self.counters.cluster(cluster).connect_failures.increment();
                "connect_failed"
            }
        };
        self.counters.error(ReasonPlace::Upstream(cluster), reason);
        tracing::debug!(cluster, endpoint, %error, "cannot connect");
        let Some(pool) = self.endpoints.pool(cluster, endpoint) else { return };
        // Each exclusive dial was for one exchange, a shared one for all that wait; and so was the
        // last one, when no connection stands that could still serve them.
        let failed = if super::is_exclusive(protocol) && !pool.is_forsaken() {
            pool.next_waiting().into_iter().collect()
        } else {
            pool.take_waiting()
        };
        for parts in failed {
            self.counters.cluster(cluster).requests_pending.decrement();
            let status = match error {
                DialError::TimedOut => hangu_codecs::Status::TimedOut,
                DialError::Refused(_) => hangu_codecs::Status::UpstreamFailed,
            };
            self.fail(super::ExchangeId::new(parts.0, parts.1), Failure::because(status, reason));
        }
        let pool = self.endpoints.pool(cluster, endpoint);
        if pool.is_some_and(|pool| pool.should_dial(protocol.pooling, limits)) {
            self.dial(cluster, endpoint);
        }
        self.endpoints.release(cluster, endpoint);
    }

    /// Sets the timer of a connection if something is due before the one that is set.
    pub(crate) fn set_timer(&mut self, id: ConnectionId) {
        let due = self.due(id);
        let Some(connection) = self.connections.get_mut(id) else { return };
        if due < connection.timer_at {
            connection.timer_at = due;
            self.timers.push(std::cmp::Reverse((due, id)));
            self.sweep_timers();
        }
    }

    /// Forgets timers that were replaced or whose connection is gone, once they are most of all:
    /// idle timeouts are long, and many short connections would leave one each.
    fn sweep_timers(&mut self) {
        let live = self.connections.len().max(TIMERS_MIN);
        if self.timers.len() <= live.saturating_mul(2) {
            return;
        }
        let connections = &self.connections;
        self.timers.retain(|it| connections.get(it.0.1).is_some_and(|its| its.timer_at == it.0.0));
    }

    /// When something is next due on a connection.
    fn due(&self, id: ConnectionId) -> Time {
        let Some(connection) = self.connections.get(id) else { return NEVER };
        match connection.state {
            State::Lingering { until } => return until,
            State::Flushing => return connection.active_at.after(FLUSH_STALL),
            State::Open => {}
        }
        let (idle, head) = match connection.side {
            Side::Downstream { listener } => self.snapshot.downstream_timeouts(listener),
            Side::Upstream { cluster, .. } => (self.snapshot.upstream_idle(cluster), None),
        };
        let rest = if connection.in_flight() > 0 || connection.is_stalled {
            connection.active_at.after(STREAM_IDLE)
        } else {
            connection.active_at.after(idle)
        };
        let head = match (connection.head_since, head) {
            (Some(since), Some(head)) => since.after(head),
            (None, _) | (_, None) => NEVER,
        };
        let own = match &connection.talk {
            Talk::Known { codec, .. } => codec.next_timeout().unwrap_or(NEVER),
            Talk::Unknown => NEVER,
        };
        rest.min(head).min(own)
    }

    /// Accepts no more, tells every client so in its protocol's words, and ends when nothing is
    /// in flight, at the latest after `grace`.
    pub fn drain(&mut self, grace: Duration) {
        self.now = clock::now();
        self.draining_until = Some(self.now.after(grace));
        self.acceptors.drain(..).for_each(Waker::wake);
        self.say_goodbye_on(|_| true);
        self.work_off();
    }

    /// Tells the clients of a listener that is closed.
    pub(crate) fn say_goodbye_to(&mut self, listener: usize) {
        self.say_goodbye_on(|it| it == listener);
        self.work_off();
    }

    /// This state as its tasks hold it.
    pub(crate) fn work(&self) -> Option<Rc<Work>> {
        self.this.upgrade()
    }

    /// Tells the clients of some listeners in their protocol's words that no more requests are
    /// taken; their connections end when nothing is in flight.
    pub(super) fn say_goodbye_on(&mut self, mut is_meant: impl FnMut(usize) -> bool) {
        for id in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let Side::Downstream { listener } = connection.side else { continue };
            if !is_meant(listener) {
                continue;
            }
            match connection.codec() {
                Some(codec) => {
                    codec.drain();
                    connection.wants_to_write(id, &mut self.outbox);
                }
                None => self.close(id, Closed::Done),
            }
            self.settle(id);
        }
    }

    /// Whether no more is to be accepted on a listener; remembers the task that is to be woken
    /// when that may have changed.
    pub(crate) fn poll_closed(&mut self, listener: usize, context: &Context<'_>) -> bool {
        if self.draining_until.is_some() || !self.snapshot.has_listener(listener) {
            return true;
        }
        let waker = context.waker();
        if !self.acceptors.iter().any(|it| it.will_wake(waker)) {
            self.acceptors.push(waker.clone());
        }
        false
    }

    /// Whether the worker may end: it drains, and nothing is in flight or it took too long.
    pub(crate) fn is_drained(&mut self, now: Time) -> bool {
        let Some(until) = self.draining_until else { return false };
        if now >= until {
            return true;
        }
        let has_unsent = self.connections.iter_mut().any(|(_, it)| it.unsent_bytes() > 0);
        self.exchanges.is_empty() && !has_unsent
    }

    /// The worker ends: closes what is still open and hands over the last of the access log.
    ///
    /// Connections hold the wakers of their tasks, which hold this state in turn; taking them out
    /// is also what frees both.
    pub(crate) fn end(&mut self) {
        for id in self.connections.ids() {
            self.close(id, Closed::Done);
        }
        self.resume.clear();
        self.freed.clear();
        self.outbox = Outbox::default();
        self.log = AccessLog::disabled();
    }

    /// Does what is due at `now`; to be called some hundred times a second at most.
    pub fn tick(&mut self, now: Time) {
        #[cfg(feature = "test-hooks")]
        assert!(!self.test_dies, "a test asked for this death");
        self.now = now;
        if now >= self.earliest_deadline {
            self.sweep_deadlines();
        }
        while let Some(std::cmp::Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            self.shelter(id, |core| core.on_timer(id, at));
        }
        self.work_off();
        self.log.flush();
    }

    /// Instant at which [`Core::tick`] next has something to do.
    pub fn next_tick(&self) -> Time {
        let timer = self.timers.peek().map_or(NEVER, |it| it.0.0);
        timer.min(self.earliest_deadline)
    }

    fn on_timer(&mut self, id: ConnectionId, at: Time) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.timer_at != at {
            return; // another one was set meanwhile
        }
        connection.timer_at = NEVER;
        let now = self.now;
        if let Some(codec) = connection.codec()
            && codec.next_timeout().is_some_and(|it| it <= now)
        {
            let died = codec.timeout(now).err();
            connection.wants_to_write(id, &mut self.outbox);
            if let Some(error) = died {
                return self.on_error(id, error);
            }
        }
        if self.due(id) <= now {
            return self.on_expired(id);
        }
        self.set_timer(id);
    }
}

/// The golden ratio of 2^64, SplitMix64's step.
const RANDOM_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// So few timers are never swept.
const TIMERS_MIN: usize = 1024;

/// A client that takes nothing of the last words to it for this long has heard enough.
const FLUSH_STALL: Duration = Duration::from_secs(10);

/// A connection on which nothing moves for this long while a stream is open is given up, as in
/// the sidecars (stream idle timeout).
const STREAM_IDLE: Duration = Duration::from_secs(300);
