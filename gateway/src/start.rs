//! Starting and stopping a gateway.

#![allow(
    clippy::disallowed_types,
    reason = "the lock is of the control thread; workers get what changes by mail"
)]

mod hand_over;

pub use hand_over::Waiting;

use std::{
    any::Any,
    io,
    net::{SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use hangu_config::{Config, Endpoint, LogPath};

use tokio::sync::watch;

use crate::{
    clock,
    connection::Load,
    exchange::{self, Core, Holding, Letter, PostOffice, Settings, Update},
    io::{Driver, DriverChoice, DriverKind},
    listener::{self, BindError, Inherited},
    route::CompileError,
    snapshot::{Discovered, ListenerPlace, Member, Roster, Snapshot},
    telemetry::{
        AccessLog, Counters, Layout, Metrics, Ring, RpcCounters, RpcNames,
        access_log::{self, LogCounters, Reopener, Target},
    },
    worker::{self, Seed},
};

/// A running gateway. Dropping it stops the workers without grace.
pub struct Gateway {
    handle: Handle,
    drivers: Vec<(DriverKind, String)>,
    ended: Receiver<Ended>,
    threads: Vec<JoinHandle<()>>,
}

/// What the rest of the process asks of a running gateway; may be shared and cloned.
#[derive(Clone)]
pub struct Handle {
    office: PostOffice,
    workers: usize,
    state: Arc<Mutex<State>>,
    stopping: Arc<AtomicBool>,
    /// Counts what was published.
    changes: watch::Sender<u64>,
    access_log: Option<Reopener>,
}

/// What changes while the gateway runs. Only the control thread takes the lock.
struct State {
    snapshot: Arc<Snapshot>,
    layout: Arc<Layout>,
    counters: Vec<Arc<Counters>>,
    access_log: Vec<Arc<LogCounters>>,
    log_writer: Option<access_log::Writer>,
    load: Arc<Load>,
    /// Where it listens, by the place of the listener.
    addresses: Vec<SocketAddr>,
    discovered: Discovered,
    /// Versions that workers route by or did, kept so that the last reference is dropped here:
    /// freeing a large table takes a worker too long.
    versions: Vec<Snapshot>,
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
}

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
        let holdings = (0..workers).map(|_| None).collect();
        Self::launch(config, driver, sockets, holdings)
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
        let mut by_worker: Vec<WorkerSockets> = (0..workers).map(|_| Vec::new()).collect();
        let mut counts = std::collections::BTreeMap::<usize, usize>::new();
        for (place, socket) in sockets {
            // Each listener's sockets are dealt out from the first worker on: none is left, for
            // who queues on it was told by the kernel that it was accepted.
            let count = counts.entry(place).or_default();
            if let Some(own) = by_worker.get_mut(*count % workers.max(1)) {
                own.push((place, socket));
            }
            *count += 1;
        }
        let (held, holdings) = (0..workers).map(|_| exchange::hold()).unzip();
        let holdings: Vec<Holding> = holdings;
        let holdings = holdings.into_iter().map(Some).collect();
        let gateway = Self::launch(config, driver, by_worker, holdings)?;
        Ok(Waiting { gateway, held })
    }

    fn launch(
        config: Config,
        driver: DriverChoice,
        sockets: Vec<WorkerSockets>,
        holdings: Vec<Option<Holding>>,
    ) -> Result<Self, StartError> {
        let workers = sockets.len();
        let (logs, log_writer) = open_log(&config, workers)?;
        let access_log = config.access_log.enabled;
        let rpc = config.metrics.rpc;
        let snapshot = Arc::new(Snapshot::compile(config)?);
        let layout = Arc::new(snapshot.layout());
        let counters: Vec<_> = (0..workers).map(|_| Arc::new(Counters::new(&layout))).collect();
        if rpc.enabled {
            count_rpc(&counters, rpc.series_max);
        }
        let load = Arc::new(Load::new(&snapshot.roster, workers));
        let (office, letters) = PostOffice::new(workers);
        let addresses = State::addresses_of(&snapshot.roster, &sockets);
        let versions: Vec<_> = (0..workers).map(|_| snapshot.for_worker()).collect();
        let reopener = log_writer.as_ref().map(|it| it.reopener().clone());
        let state = State {
            snapshot: Arc::clone(&snapshot),
            layout,
            counters: counters.clone(),
            access_log: log_counters(&logs, log_writer.as_ref()),
            log_writer,
            load: Arc::clone(&load),
            addresses,
            discovered: Discovered::new(),
            versions: versions.clone(),
        };
        let handle = Handle {
            office: office.clone(),
            workers,
            state: Arc::new(Mutex::new(state)),
            stopping: Arc::default(),
            changes: watch::Sender::new(0),
            access_log: reopener,
        };
        let (ended_at, ended) = channel();
        let mut gateway = Self { handle, drivers: Vec::new(), ended, threads: Vec::new() };
        let parts = letters.into_iter().zip(sockets).zip(logs).zip(counters).zip(versions);
        let parts = parts.zip(holdings).enumerate();
        for (worker, (((((letters, listeners), log), counters), snapshot), holding)) in parts {
            let part = Part {
                worker,
                workers,
                access_log,
                snapshot,
                counters,
                log,
                office: office.clone(),
                letters,
                listeners,
                holding,
                load: Arc::clone(&load),
            };
            gateway.spawn(part, driver, ended_at.clone())?;
        }
        Ok(gateway)
    }

    fn spawn(
        &mut self,
        part: Part,
        choice: DriverChoice,
        ended: Sender<Ended>,
    ) -> Result<(), StartError> {
        let (built_at, built) = channel();
        let worker = part.worker;
        let thread = std::thread::Builder::new()
            .name(format!("worker-{worker}"))
            .spawn(move || run(part, choice, &built_at, &ended))
            .map_err(StartError::Thread)?;
        self.threads.push(thread);
        match built.recv() {
            Ok(Ok(driver)) => self.drivers.push(driver),
            Ok(Err(error)) => return Err(StartError::Driver(error)),
            Err(_) => return Err(StartError::Driver(io::Error::other("the worker died"))),
        }
        Ok(())
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
    pub fn drivers(&self) -> &[(DriverKind, String)] {
        &self.drivers
    }

    /// What the rest of the process asks of it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until a worker ends: a death, or the first one to have stopped.
    pub fn wait(&self) -> Ended {
        let gone = Ended { worker: 0, death: Some("all workers are gone".to_owned()) };
        self.ended.recv().unwrap_or(gone)
    }

    /// Stops at once, without the `drain_delay`: no new connections, exchanges in flight get
    /// `grace` to end. Comes back when all workers have ended and the access log is written.
    ///
    /// # Errors
    /// The death of a worker that did not stop but died, one for each.
    pub fn stop(mut self, grace: Duration) -> Result<(), Vec<Ended>> {
        self.handle.stop_after(Duration::ZERO, grace);
        for thread in self.threads.drain(..) {
            // A death was reported through `ended`.
            let _ = thread.join();
        }
        let writer = self.handle.state().log_writer.take();
        if let Some(writer) = writer {
            writer.close(LOG_WAIT);
        }
        let deaths: Vec<_> = self.ended.try_iter().filter(|it| it.death.is_some()).collect();
        if deaths.is_empty() { Ok(()) } else { Err(deaths) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.handle.stop_after(Duration::ZERO, Duration::ZERO);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
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
        self.office.send(worker, Letter::Do(Box::new(order)))
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers
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
            access_log: state.access_log.clone(),
        }
    }

    /// Takes on another configuration while requests are in flight, whole or not at all. Comes
    /// back when all workers have it. What
    /// both have is not touched; what the process cannot change while it runs (workers, driver,
    /// admin API, access log) is the caller's to compare.
    ///
    /// # Errors
    /// See [`ApplyError`]; the configuration that was in force stays.
    pub fn apply(&self, config: Config) -> Result<Applied, ApplyError> {
        if self.is_stopping() {
            return Err(ApplyError::Stopping);
        }
        let mut state = self.state();
        let before = Arc::clone(&state.snapshot);
        let snapshot = before.succeeded_by(config, &state.discovered)?;
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
        let bound = self.bind(&state, fresh.iter().map(|it| &*it.1.settings))?;
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
        let sockets = by_worker(fresh.into_iter().zip(bound), self.workers);
        let taken_on = self.publish(&mut state, snapshot, sockets, &inherited);
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
    ) -> Result<Vec<listener::Sockets>, BindError> {
        let places = state.snapshot.roster.listeners();
        let mut tries = BIND_TRIES;
        loop {
            let none = &mut Inherited::default();
            let error = match listener::bind_all(listeners.clone(), self.workers, none) {
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
        for worker in 0..self.workers {
            let done = done.clone();
            self.order(worker, move |_| {
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
        self.change_member(cluster, endpoint, |it| it.is_healthy = is_healthy)
    }

    /// Lets an endpoint get no new requests, or again; false if there is no such endpoint. Holds
    /// over configurations as long as they have the endpoint.
    pub fn set_draining(&self, cluster: &str, endpoint: SocketAddr, is_draining: bool) -> bool {
        self.change_member(cluster, endpoint, |it| it.is_draining = is_draining)
    }

    fn change_member(
        &self,
        cluster: &str,
        endpoint: SocketAddr,
        change: impl FnOnce(&mut Member),
    ) -> bool {
        let mut state = self.state();
        let roster = state.snapshot.roster.with_member(cluster, endpoint, change);
        let Some(roster) = roster else { return false };
        self.publish_roster(&mut state, roster);
        true
    }

    fn publish_roster(&self, state: &mut State, roster: Roster) {
        let snapshot = state.snapshot.with_endpoints(roster);
        let sockets = by_worker(std::iter::empty(), self.workers);
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
            self.order(worker, move |core| {
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
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    /// Counts the versions that were published.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Lets all workers drain and end: the gateway is not ready from now on, goes on for the
    /// configured `drain_delay`, and then gives what is in flight `grace` to end; without a grace
    /// there is no delay either. Comes back at once.
    pub fn stop(&self, grace: Duration) {
        let delay = self.state().snapshot.config.drain_delay;
        self.stop_after(if grace.is_zero() { grace } else { delay }, grace);
    }

    fn stop_after(&self, delay: Duration, grace: Duration) {
        self.stopping.store(true, Ordering::Relaxed);
        for worker in 0..self.workers {
            self.order(worker, move |core| core.drain(delay, grace));
        }
    }
}

/// Listening sockets of one worker, each with the place of its listener.
type WorkerSockets = Vec<(usize, TcpListener)>;

fn by_worker(
    bound: impl Iterator<Item = (usize, listener::Sockets)>,
    workers: usize,
) -> Vec<WorkerSockets> {
    let mut sockets: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
    for (place, at) in bound {
        for (index, socket) in at.sockets.into_iter().enumerate() {
            if let Some(own) = sockets.get_mut(index % workers) {
                own.push((place, socket));
            }
        }
    }
    sockets
}

struct Part {
    worker: usize,
    workers: usize,
    access_log: bool,
    snapshot: Snapshot,
    counters: Arc<Counters>,
    log: AccessLog,
    office: PostOffice,
    letters: Receiver<Letter>,
    listeners: WorkerSockets,
    holding: Option<Holding>,
    load: Arc<Load>,
}

fn run(
    part: Part,
    choice: DriverChoice,
    built: &Sender<Result<(DriverKind, String), io::Error>>,
    ended: &Sender<Ended>,
) {
    let worker = part.worker;
    pin(worker);
    let mut driver = match Driver::build(choice) {
        Ok(driver) => driver,
        Err(error) => {
            // The starter waits for exactly one word.
            let _ = built.send(Err(error));
            return;
        }
    };
    // Set once, here.
    let _ = part.counters.worker.driver.set(driver.kind.name());
    if let Some(ring) = driver.ring {
        let _ = part.counters.worker.ring.set(Ring::new(ring));
    }
    let _ = built.send(Ok((driver.kind, std::mem::take(&mut driver.why))));
    let seed = Seed {
        settings: Settings {
            worker,
            workers: part.workers,
            driver: driver.kind,
            access_log: part.access_log,
        },
        snapshot: part.snapshot,
        counters: part.counters,
        log: part.log,
        office: part.office,
        letters: part.letters,
        listeners: part.listeners,
        holding: part.holding,
        load: part.load,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| worker::run(&mut driver, seed)));
    let death = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(panic_text(panic.as_ref())),
    };
    // Nobody listens when the gateway was dropped.
    let _ = ended.send(Ended { worker, death });
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_else(|| "of an unknown kind".to_owned()))
}

/// Binds the calling thread to one of the cores that the process may use. Goes on without when
/// the system refuses.
fn pin(worker: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(core) = cores.get(worker) {
        core_affinity::set_for_current(*core);
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

type OpenedLog = (Vec<AccessLog>, Option<access_log::Writer>);

fn open_log(config: &Config, workers: usize) -> Result<OpenedLog, StartError> {
    if !config.access_log.enabled {
        return Ok(((0..workers).map(|_| AccessLog::disabled()).collect(), None));
    }
    let (target, path) = match &config.access_log.path {
        LogPath::Stdout => (Target::Stdout, "-".to_owned()),
        LogPath::File(path) => (Target::File(path.clone()), path.display().to_string()),
    };
    let format = config.access_log.format.clone();
    let settings = access_log::Settings { target, format, workers, now: clock::now };
    let (logs, writer) =
        access_log::start(settings).map_err(|error| StartError::AccessLog { path, error })?;
    Ok((logs, Some(writer)))
}

/// Lets all workers count RPC requests under names that they share.
fn count_rpc(counters: &[Arc<Counters>], series_max: u32) {
    let names = Arc::new(RpcNames::new(series_max));
    for worker in counters {
        // Set once, here.
        let _ = worker.worker.rpc.set(RpcCounters::new(Arc::clone(&names)));
    }
}

fn log_counters(logs: &[AccessLog], writer: Option<&access_log::Writer>) -> Vec<Arc<LogCounters>> {
    let of_writer = writer.map(access_log::Writer::counters);
    let of_workers = logs.iter().filter(|it| it.is_enabled()).map(AccessLog::counters);
    of_writer.into_iter().chain(of_workers).map(Arc::clone).collect()
}
