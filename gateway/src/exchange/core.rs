//! All that one worker works with.

use std::{
    cell::{Cell, RefCell},
    net::TcpListener,
    rc::{Rc, Weak},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use bytes::BytesMut;
use hangu_codecs::{Fields, Scratch, Time};

use super::{
    Exchange, Inert, NEVER, PostOffice,
    ending::Closed,
    flow::Apart,
    idle::{STREAM_IDLE, SWEEP_EVERY},
    live,
    stopping::Stopping,
    text::Logs,
    trace::Ids,
};
use crate::{
    clock::{self, Wall},
    connection::{Connection, ConnectionId, Load, Outbox, Side, Slab, State, Talk},
    io::{self, DriverKind},
    snapshot::Snapshot,
    telemetry::{AccessLog, Counters, Throttle},
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
    /// See [`Core::release`].
    is_released: Cell<bool>,
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
            is_released: Cell::new(false),
        })
    }

    /// Whether all that this worker had is another one's: every task is to end.
    pub fn is_released(&self) -> bool {
        self.is_released.get()
    }

    pub(super) fn set_released(&self) {
        self.is_released.set(true);
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
    /// What the wall clock showed at the last tick, for logs.
    pub(super) wall: Wall,
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
    pub(crate) logs: Logs,
    /// Memory of exchanges that had something apart.
    #[allow(clippy::vec_box, reason = "exchanges hold them in boxes: only those move")]
    pub(super) spare_aparts: Vec<Box<Apart>>,
    pub(crate) office: PostOffice,
    pub(crate) load: Arc<Load>,
    pub(crate) scratch: Option<Box<Scratch>>,
    /// What connections are read into, one after the other.
    pub(crate) read_buffer: BytesMut,
    pub(crate) outbox: Outbox,
    pub(super) writing: Vec<ConnectionId>,
    pub(crate) path: Vec<u8>,
    pub(super) added: Fields,
    pub(super) ids: Ids,
    pub(crate) earliest_deadline: Time,
    /// When exchanges of which nothing moves are next looked for.
    pub(super) idle_sweep_at: Time,
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
    /// How far it is with stopping, once it was told to.
    pub(super) stopping: Option<Stopping>,
    /// Second descriptors of the listening sockets, each with the place of its listener: their
    /// options can be changed while they are accepted on.
    pub(crate) listening: Vec<(usize, TcpListener)>,
    /// The tasks that accept, to be woken when a listener is closed.
    pub(super) acceptors: Vec<Waker>,
    /// What was thawed and does not work yet.
    pub(super) inert: Inert,
    /// Connections that are being established.
    pub(super) dials: usize,
    /// Nothing is dialled: the connections are about to change hands.
    pub(super) dials_wait: bool,
    /// Tasks that wait for what may never come, to be woken when they are to end.
    pub(super) waiting: Slab<Waker>,
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
        let mut endpoints = Endpoints::new(settings.workers);
        endpoints.adapt(&snapshot.roster, random, now);
        Self {
            this,
            settings,
            now,
            wall: Wall::read(),
            endpoints,
            snapshot: Rc::new(snapshot),
            connections: Slab::default(),
            exchanges: Slab::default(),
            counters,
            log,
            logs: Logs::default(),
            spare_aparts: Vec::new(),
            office,
            load,
            scratch: Some(Box::default()),
            read_buffer: BytesMut::new(),
            outbox: Outbox::default(),
            writing: Vec::new(),
            path: Vec::new(),
            added: Fields::new(),
            ids: Ids::new(settings.worker, settings.workers, io::own_address()),
            earliest_deadline: NEVER,
            idle_sweep_at: now.after(SWEEP_EVERY),
            timers: std::collections::BinaryHeap::new(),
            resume: Vec::new(),
            freed: Vec::new(),
            away: rustc_hash::FxHashMap::default(),
            away_count: 0,
            panics_told: Throttle::new(),
            random,
            #[cfg(feature = "test-hooks")]
            test_dies: false,
            stopping: None,
            listening: Vec::new(),
            acceptors: Vec::new(),
            inert: Inert::default(),
            dials: 0,
            dials_wait: false,
            waiting: Slab::default(),
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

    /// Sets the timer of a connection if something is due before the one that is set.
    pub(crate) fn set_timer(&mut self, id: ConnectionId) {
        self.set_timer_at(id, self.due(id));
    }

    fn set_timer_at(&mut self, id: ConnectionId, due: Time) {
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
        let (idle, head) = self.timeouts(connection);
        let rest = match () {
            () if connection.is_stalled => connection.active_at.after(STREAM_IDLE),
            () if connection.in_flight() > 0 => connection.active_at.after(STREAMS_IDLE),
            () => connection.active_at.after(idle),
        };
        let head = match (connection.head_since, head) {
            (Some(since), Some(head)) => since.after(head),
            (None, _) | (_, None) => NEVER,
        };
        let own = match &connection.talk {
            Talk::Known { codec, .. } => codec.next_timeout().unwrap_or(NEVER),
            Talk::Unknown => self.goodbye_due(connection),
        };
        rest.min(head).min(own)
    }

    /// How long a connection may idle, and how long a request head may take.
    fn timeouts(&self, connection: &Connection) -> (Duration, Option<Duration>) {
        match connection.side {
            Side::Downstream { listener } => self.snapshot.downstream_timeouts(listener),
            Side::Upstream { cluster, .. } => (self.snapshot.upstream_idle(cluster), None),
        }
    }

    /// Hands over the last of the access log and logs nothing more.
    pub fn close_log(&mut self) {
        self.log.close();
    }

    /// This state as its tasks hold it.
    pub(crate) fn work(&self) -> Option<Rc<Work>> {
        self.this.upgrade()
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
        self.wall = Wall::read();
        if now >= self.earliest_deadline {
            self.sweep_deadlines();
        }
        self.sweep_idle();
        while let Some(std::cmp::Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            self.shelter(id, |core| core.on_timer(id, at));
        }
        self.counters.worker.cpu_us.set(clock::thread_cpu_us());
        self.work_off();
        self.outbox.buffers.trim(now);
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
        // What is in flight may end at any time, and the connection then idles from there on; its
        // end sets no timer.
        let idles_at = self.connections.get(id).map_or(NEVER, |it| now.after(self.timeouts(it).0));
        self.set_timer_at(id, self.due(id).min(idles_at));
    }
}

/// The golden ratio of 2^64, SplitMix64's step.
const RANDOM_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// So few timers are never swept.
const TIMERS_MIN: usize = 1024;

/// A client that takes nothing of the last words to it for this long has heard enough.
const FLUSH_STALL: Duration = Duration::from_secs(10);

/// A connection on which nothing moves for this long while a stream is open is given up. Exchanges
/// are ended before that, each in its protocol's words; this is for streams without one.
const STREAMS_IDLE: Duration = STREAM_IDLE.saturating_add(SWEEP_EVERY.saturating_mul(3));
