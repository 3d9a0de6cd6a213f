//! Starting and stopping a gateway.

#![allow(
    clippy::disallowed_types,
    reason = "the lock is of the control thread; workers get what changes by mail"
)]

mod crew;
mod hand_over;
mod relief;

pub use hand_over::Waiting;
pub use relief::ReliefError;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use hangu_config::{Config, Endpoint};

use tokio::sync::watch;

use crate::{
    connection::Load,
    exchange::{Core, Update},
    io::{DriverChoice, DriverKind},
    listener::{self, BindError, Inherited},
    route::CompileError,
    snapshot::{Discovered, ListenerPlace, Member, Roster, Routes, Snapshot},
    telemetry::{Counters, Layout, Metrics},
};

use crew::{Crew, Log, Recruits, Rpc, Wanted, WorkerSockets, by_worker, deal};
use relief::Relief;

/// A running gateway. Dropping it stops the workers without grace.
pub struct Gateway {
    handle: Handle,
    ended: Receiver<Ended>,
}

/// What the rest of the process asks of a running gateway; may be shared and cloned.
#[derive(Clone)]
pub struct Handle {
    /// The workers. Replaced by whoever has the state.
    crew: Arc<Mutex<Arc<Crew>>>,
    state: Arc<Mutex<State>>,
    /// Held by who replaces the workers, or hands all that they have over to another process.
    turn: Arc<Mutex<()>>,
    /// The grace that it was told to stop with, milliseconds; [`GOES_ON`] before.
    stopping: Arc<AtomicU64>,
    /// Counts what was published.
    changes: watch::Sender<u64>,
    /// Where workers tell their end.
    ended: Sender<Ended>,
}

/// What changes while the gateway runs. Only the control thread takes the lock.
struct State {
    snapshot: Arc<Snapshot>,
    layout: Arc<Layout>,
    counters: Vec<Arc<Counters>>,
    /// The access log of the workers, and what is still written for those before them.
    logs: Vec<Log>,
    load: Arc<Load>,
    /// Where it listens, by the place of the listener.
    addresses: Vec<SocketAddr>,
    discovered: Discovered,
    /// Versions that workers route by or did, kept so that the last reference is dropped here:
    /// freeing a large table takes a worker too long.
    versions: Vec<Snapshot>,
    /// See [`Handle::refuse_changes`].
    refuses_changes: bool,
}

/// What a new configuration brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Listeners that are new, or were bound anew because their address or protocols changed.
    pub listeners_opened: Vec<String>,
    /// Listeners that are closed; their connections end when nothing is in flight on them.
    pub listeners_closed: Vec<String>,
}

/// Why a new configuration was not taken on; the old one stays, whole.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A listener could not be bound.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// A route does not compile.
    #[error("{0}")]
    Route(#[from] CompileError),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
    /// The workers could not be replaced.
    #[error("{0}")]
    Relief(#[from] ReliefError),
    /// All is on its way to another process.
    #[error("{0}")]
    Leaving(#[from] Leaving),
}

/// All that the gateway has is on its way to another process, or is there: nothing is changed here
/// any more. A try that fails ends within a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upgrade is at its last step; try again in a second")]
pub struct Leaving;

/// Not told to stop.
const GOES_ON: u64 = u64::MAX;

/// How a worker came to its end.
#[derive(Debug)]
pub struct Ended {
    /// Index of the worker.
    pub worker: usize,
    /// Why it died; `None` when it was told to stop.
    pub death: Option<String>,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// No driver could be built.
    #[error("no IO driver can be used: {0}")]
    Driver(io::Error),
    /// The access log could not be opened.
    #[error("access log {path}: {error}")]
    AccessLog {
        /// Where it was to go.
        path: String,
        /// The system's word.
        error: io::Error,
    },
    /// A route does not compile.
    #[error("{0}")]
    Route(#[from] CompileError),
    /// A thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(io::Error),
}

impl Gateway {
    /// Binds all listeners and starts all workers. When it returns, connections are accepted.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub fn start(config: Config, driver: DriverChoice) -> Result<Self, StartError> {
        Self::start_on(config, driver, &mut Inherited::default())
    }

    /// As [`Gateway::start`], on listening sockets that are there already for the listeners that
    /// have their address. Those for which there is no listener are left.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub fn start_on(
        config: Config,
        driver: DriverChoice,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let workers = workers(&config);
        let bound = listener::bind_all(config.listeners.iter(), workers, inherited)?;
        let sockets = by_worker(bound.into_iter().enumerate(), workers);
        Ok(Self::launch(config, driver, sockets, false)?.gateway)
    }

    /// As [`Gateway::start`] on sockets that listen already, each with the index of its listener,
    /// and with workers that are held.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn start_held(
        config: Config,
        driver: DriverChoice,
        sockets: Vec<(usize, TcpListener)>,
    ) -> Result<Waiting, StartError> {
        let workers = workers(&config);
        Self::launch(config, driver, deal(sockets, workers), true)
    }

    fn launch(
        config: Config,
        choice: DriverChoice,
        sockets: Vec<WorkerSockets>,
        is_held: bool,
    ) -> Result<Waiting, StartError> {
        let snapshot = Arc::new(Snapshot::compile(config)?);
        let layout = Arc::new(snapshot.layout());
        let addresses = State::addresses_of(&snapshot.roster, &sockets);
        let (ended_at, ended) = channel();
        let access_log = &snapshot.config.access_log;
        let rpc = Rpc::Fresh(snapshot.config.metrics.rpc);
        let wanted =
            Wanted { snapshot: &snapshot, layout: &layout, choice, access_log, rpc, sockets };
        let recruits = Recruits::hire(wanted, is_held, &ended_at)?;
        let Recruits { crew, held, counters, log, load, versions } = recruits;
        let state = State {
            snapshot,
            layout,
            counters,
            logs: vec![log],
            load,
            addresses,
            discovered: Discovered::new(),
            versions,
            refuses_changes: false,
        };
        let handle = Handle {
            crew: Arc::new(Mutex::new(crew)),
            state: Arc::new(Mutex::new(state)),
            turn: Arc::default(),
            stopping: Arc::new(AtomicU64::new(GOES_ON)),
            changes: watch::Sender::new(0),
            ended: ended_at,
        };
        Ok(Waiting { gateway: Self { handle, ended }, held })
    }

    /// The addresses on which it listens, by the listener's name.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.handle.addresses()
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses().into_iter().find(|it| it.0 == listener).map(|it| it.1)
    }

    /// The driver of each worker, and why a better one was not taken (empty when it is the best).
    pub fn drivers(&self) -> Vec<(DriverKind, String)> {
        self.handle.crew().drivers.clone()
    }

    /// What the rest of the process asks of it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until a worker ends: a death, or the next one to have stopped. Those whose work others
    /// have taken over are not told.
    pub fn wait(&self) -> Ended {
        let gone = Ended { worker: 0, death: Some("all workers are gone".to_owned()) };
        self.ended.recv().unwrap_or(gone)
    }

    /// Stops at once, without the `drain_delay`: no new connections, exchanges in flight get
    /// `grace` to end. Comes back when all workers have ended and the access log is written.
    ///
    /// # Errors
    /// The death of a worker that did not stop but died, one for each.
    pub fn stop(self, grace: Duration) -> Result<(), Vec<Ended>> {
        self.handle.stop_after(Duration::ZERO, grace);
        self.handle.crew().join();
        self.handle.close_writers(LOG_WAIT);
        let deaths: Vec<_> = self.ended.try_iter().filter(|it| it.death.is_some()).collect();
        if deaths.is_empty() { Ok(()) } else { Err(deaths) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.handle.stop_after(Duration::ZERO, Duration::ZERO);
        self.handle.crew().join();
    }
}

/// Workers get this long to take on a configuration before it is said to be in force; they need
/// less than a millisecond.
const APPLY_WAIT: Duration = Duration::from_secs(2);

/// Tries to bind an address that another listener of this gateway may be about to close, a turn of
/// the workers apart.
const BIND_TRIES: usize = 10;

/// The access log gets this long to be written at the end.
const LOG_WAIT: Duration = Duration::from_secs(5);

impl Handle {
    /// Lets a worker do something with its state; says whether it still takes orders.
    pub fn order(&self, worker: usize, order: impl FnOnce(&mut Core) + Send + 'static) -> bool {
        self.crew().order(worker, order)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.crew().workers()
    }

    /// The workers that are at work now.
    fn crew(&self) -> Arc<Crew> {
        Arc::clone(&self.crew.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What requests are routed by.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state().snapshot)
    }

    /// The addresses on which it listens, by the listener's name.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let state = self.state();
        let listeners = state.snapshot.roster.listeners().iter().zip(&state.addresses);
        let present = listeners.filter(|it| it.0.is_present);
        present.map(|(it, at)| (it.settings.name.clone(), *at)).collect()
    }

    /// Client connections of each worker.
    pub fn load(&self) -> Vec<usize> {
        self.state().load.by_worker()
    }

    /// What is counted.
    pub fn metrics(&self) -> Metrics {
        let state = self.state();
        Metrics {
            layout: Arc::clone(&state.layout),
            workers: state.counters.clone(),
            access_log: state.logs.iter().flat_map(|it| it.counters.iter().cloned()).collect(),
        }
    }

    /// Takes on another configuration while requests are in flight, whole or not at all. Comes
    /// back when all workers have it. What both have is not touched. Where workers cannot change
    /// as they are (their number, their driver, the access log, what is counted by name), others
    /// relieve them first, with all connections. The admin API is the caller's to change.
    ///
    /// # Errors
    /// See [`ApplyError`]; the configuration that was in force stays.
    pub fn apply(&self, config: Config) -> Result<Applied, ApplyError> {
        if self.is_stopping() {
            return Err(ApplyError::Stopping);
        }
        // Before the state is taken: whoever wants to stop the gateway, or look at it, needs that.
        let routes = Routes::compile(&config)?;
        let mut state = self.state();
        if state.refuses_changes {
            return Err(ApplyError::Leaving(Leaving));
        }
        if self.is_stopping() {
            return Err(ApplyError::Stopping);
        }
        let before = Arc::clone(&state.snapshot);
        let relief = Relief::between(&before.config, &config, &self.crew());
        let workers = relief.as_ref().map_or(self.workers(), |it| it.workers);
        let snapshot = before.succeeded_by(config, routes, &state.discovered);
        let then = before.roster.listeners();
        let now = snapshot.roster.listeners();
        let was_present = |place: usize| then.get(place).is_some_and(|it| it.is_present);
        let opened: Vec<_> = now
            .iter()
            .enumerate()
            .filter(|(place, it)| it.is_present && !was_present(*place))
            .collect();
        // A listener that speaks something else now, or has another name, takes over the sockets
        // of the one that had its address: what queues on them is not lost.
        let inherits = |it: &ListenerPlace| {
            then.iter().zip(now).position(|(then, now)| {
                let is_closed = then.is_present && !now.is_present;
                let address = it.settings.address;
                is_closed && address.port() != 0 && then.settings.address == address
            })
        };
        let (inherited, fresh): (Vec<(usize, &ListenerPlace)>, Vec<_>) =
            opened.iter().partition(|it| inherits(it.1).is_some());
        let bound = self.bind(&state, fresh.iter().map(|it| &*it.1.settings), workers)?;
        if let Some(relief) = relief {
            self.relieve(&mut state, &relief, &snapshot.config)?;
        }
        let inherited: Vec<_> =
            inherited.iter().filter_map(|it| Some((inherits(it.1)?, it.0))).collect();
        let names = |it: &ListenerPlace| it.settings.name.clone();
        let closed = then.iter().zip(now).filter(|(then, now)| then.is_present && !now.is_present);
        let applied = Applied {
            listeners_opened: opened.iter().map(|it| names(it.1)).collect(),
            listeners_closed: closed.map(|it| names(it.1)).collect(),
        };
        let fresh: Vec<_> = fresh.iter().map(|it| it.0).collect();
        state.addresses.resize(now.len(), SocketAddr::from(([0; 4], 0)));
        let new = fresh.iter().zip(&bound).map(|(place, it)| (*place, it.address));
        let old = inherited.iter().map(|it| (it.1, state.addresses.get(it.0).copied()));
        let old: Vec<_> = old.filter_map(|it| Some((it.0, it.1?))).collect();
        for (place, address) in new.chain(old) {
            if let Some(at) = state.addresses.get_mut(place) {
                *at = address;
            }
        }
        let sockets = by_worker(fresh.into_iter().zip(bound), workers);
        let taken_on = self.publish(&mut state, snapshot, sockets, &inherited);
        drop(state);
        // Each worker gives its end of the channel up when it is done; one that is stuck does so
        // later.
        while taken_on.recv_timeout(APPLY_WAIT).is_ok() {}
        Ok(applied)
    }

    /// Binds new listeners. An address that a listener had until a moment ago may still be in use:
    /// workers close their sockets in their own time.
    fn bind<'c>(
        &self,
        state: &State,
        listeners: impl Iterator<Item = &'c hangu_config::Listener> + Clone,
        workers: usize,
    ) -> Result<Vec<listener::Sockets>, BindError> {
        let places = state.snapshot.roster.listeners();
        let mut tries = BIND_TRIES;
        loop {
            let none = &mut Inherited::default();
            let error = match listener::bind_all(listeners.clone(), workers, none) {
                Ok(bound) => return Ok(bound),
                Err(error) => error,
            };
            let was_ours = places.iter().any(|it| it.settings.address == error.address);
            tries -= 1;
            if tries == 0 || !was_ours || error.error.kind() != io::ErrorKind::AddrInUse {
                return Err(error);
            }
            self.wait_a_turn();
        }
    }

    /// Waits until every worker has had a turn, in which tasks that were woken before run.
    fn wait_a_turn(&self) {
        let (done, is_done) = channel();
        let crew = self.crew();
        for worker in 0..crew.workers() {
            let done = done.clone();
            crew.order(worker, move |_| {
                // Nobody waits any more when the worker was stuck.
                let _ = done.send(());
            });
        }
        drop(done);
        while is_done.recv_timeout(APPLY_WAIT).is_ok() {}
    }

    /// Sets the endpoints of a cluster that were found by asking for them, all of them each time.
    pub fn set_discovered(&self, cluster: &str, endpoints: Vec<Endpoint>) {
        let mut state = self.state();
        if state.discovered.get(cluster) == Some(&endpoints) {
            return;
        }
        state.discovered.insert(cluster.to_owned(), endpoints);
        let roster = state.snapshot.roster.with_discovered(&state.discovered);
        self.publish_roster(&mut state, roster);
    }

    /// Says what the health checks found of an endpoint; false if there is no such endpoint.
    pub fn set_health(&self, cluster: &str, endpoint: SocketAddr, is_healthy: bool) -> bool {
        self.change_member(&mut self.state(), cluster, endpoint, |it| it.is_healthy = is_healthy)
    }

    /// Lets an endpoint get no new requests, or again; false if there is no such endpoint. Holds
    /// over configurations as long as they have the endpoint.
    ///
    /// # Errors
    /// It is another process's to say that now.
    pub fn set_draining(
        &self,
        cluster: &str,
        endpoint: SocketAddr,
        is_draining: bool,
    ) -> Result<bool, Leaving> {
        let mut state = self.state();
        if state.refuses_changes {
            return Err(Leaving);
        }
        let change = |it: &mut Member| it.is_draining = is_draining;
        Ok(self.change_member(&mut state, cluster, endpoint, change))
    }

    fn change_member(
        &self,
        state: &mut State,
        cluster: &str,
        endpoint: SocketAddr,
        change: impl FnOnce(&mut Member),
    ) -> bool {
        let roster = state.snapshot.roster.with_member(cluster, endpoint, change);
        let Some(roster) = roster else { return false };
        self.publish_roster(state, roster);
        true
    }

    fn publish_roster(&self, state: &mut State, roster: Roster) {
        let snapshot = state.snapshot.with_endpoints(roster);
        let sockets = by_worker(std::iter::empty(), self.workers());
        drop(self.publish(state, snapshot, sockets, &[]));
    }

    /// Gives all workers a version and the sockets of its new listeners.
    /// They tell by the channel when they have it.
    fn publish(
        &self,
        state: &mut State,
        snapshot: Snapshot,
        sockets: Vec<WorkerSockets>,
        inherited: &[(usize, usize)],
    ) -> Receiver<()> {
        let (done, is_done) = channel();
        let layout = Arc::new(snapshot.layout());
        let load = Arc::new(state.load.succeeded_by(&snapshot.roster));
        let is_same_config = Arc::ptr_eq(&snapshot.config, &state.snapshot.config);
        let next = |it: &Arc<Counters>| Arc::new(it.succeeded_by(&state.layout, &layout));
        let counters: Vec<_> = state.counters.iter().map(next).collect();
        let crew = self.crew();
        for (worker, (counters, sockets)) in counters.iter().zip(sockets).enumerate() {
            // A worker keeps its own compiled routes when only endpoints changed.
            let own = if is_same_config { snapshot.clone() } else { snapshot.for_worker() };
            if !is_same_config {
                state.versions.push(own.clone());
            }
            let counters = Arc::clone(counters);
            let update = Update { snapshot: own, counters, load: Arc::clone(&load) };
            let done = done.clone();
            let inherited = inherited.to_vec();
            crew.order(worker, move |core| {
                core.take_on(update);
                if let Err(error) = core.inherit(&inherited).and_then(|()| core.listen(sockets)) {
                    tracing::error!(%error, "cannot accept on a new listener");
                }
                // Nobody waits for a change of endpoints.
                let _ = done.send(());
            });
        }
        state.snapshot = Arc::new(snapshot);
        state.layout = layout;
        state.counters = counters;
        state.load = load;
        state.versions.retain(|it| !it.is_forgotten());
        self.changes.send_modify(|count| *count += 1);
        is_done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file of the access log anew, if there is one; comes back at once.
    pub fn reopen_log(&self) {
        if let Some(writer) = self.state().logs.last().and_then(|it| it.writer.as_ref()) {
            writer.reopen();
        }
    }

    /// Counts the versions that were published.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop_grace().is_some()
    }

    /// What was in flight when it was told to stop, got this long.
    pub fn stop_grace(&self) -> Option<Duration> {
        let grace = self.stopping.load(Ordering::Relaxed);
        (grace != GOES_ON).then(|| Duration::from_millis(grace))
    }

    /// From now on changes are refused, or not any more: what they change is on its way to another
    /// process. Waits for the one that is under way.
    pub fn refuse_changes(&self, refuses: bool) {
        self.state().refuses_changes = refuses;
    }

    /// Lets all workers drain and end: the gateway is not ready from now on, goes on for the
    /// configured `drain_delay`, and then gives what is in flight `grace` to end; without a grace
    /// there is no delay either. Comes back at once.
    pub fn stop(&self, grace: Duration) {
        let delay = self.state().snapshot.config.drain_delay;
        self.stop_after(if grace.is_zero() { grace } else { delay }, grace);
    }

    fn stop_after(&self, delay: Duration, grace: Duration) {
        let millis = u64::try_from(grace.as_millis()).unwrap_or(GOES_ON - 1);
        self.stopping.fetch_min(millis.min(GOES_ON - 1), Ordering::Relaxed);
        // Workers that are being relieved would not hear of it.
        let _state = self.state();
        let crew = self.crew();
        for worker in 0..crew.workers() {
            crew.order(worker, move |core| core.drain(delay, grace));
        }
    }

    /// Waits until the access log is written, which no worker writes to any more; says whether all
    /// was written in time.
    fn close_writers(&self, wait: Duration) -> bool {
        let mut state = self.state();
        let writers: Vec<_> = state.logs.iter_mut().filter_map(|it| it.writer.take()).collect();
        drop(state);
        // Each is waited for, whatever became of the others.
        writers.into_iter().map(|it| it.close(wait)).filter(|it| !it).count() == 0
    }
}

/// Workers that a configuration wants.
fn workers(config: &Config) -> usize {
    config.workers.map_or_else(cores, |it| it.get())
}

/// Cores that the process may use.
fn cores() -> usize {
    core_affinity::get_core_ids().map_or(1, |it| it.len().max(1))
}
