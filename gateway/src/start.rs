//! Starting and stopping a gateway.

use std::{
    any::Any,
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use hangu_config::{Config, LogPath};

use crate::{
    clock,
    connection::Load,
    exchange::{Core, Letter, PostOffice, Settings},
    io::{Driver, DriverChoice, DriverKind},
    listener::{self, BindError},
    route::CompileError,
    snapshot::Snapshot,
    telemetry::{
        AccessLog, Counters, Layout, Metrics, Ring, RpcCounters, RpcNames,
        access_log::{self, Target},
    },
    worker::{self, Seed},
};

/// A running gateway. Dropping it stops the workers without grace.
pub struct Gateway {
    handle: Handle,
    addresses: Vec<(String, SocketAddr)>,
    drivers: Vec<(DriverKind, String)>,
    ended: Receiver<Ended>,
    threads: Vec<JoinHandle<()>>,
    log_writer: Option<access_log::Writer>,
}

/// What the rest of the process asks of a running gateway; may be shared and cloned.
#[derive(Clone)]
pub struct Handle {
    office: PostOffice,
    workers: usize,
    snapshot: Arc<Snapshot>,
    load: Arc<Load>,
    metrics: Metrics,
    stopping: Arc<AtomicBool>,
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
        let workers = config.workers.map_or_else(cores, |it| it.get());
        let bound = listener::bind_all(&config, workers)?;
        let addresses: Vec<_> = config
            .listeners
            .iter()
            .zip(&bound)
            .map(|(it, at)| (it.name.clone(), at.address))
            .collect();
        let (logs, log_writer) = open_log(&config, workers)?;
        let load = Arc::new(Load::new(&config, workers));
        let access_log = config.access_log.enabled;
        let rpc = config.metrics.rpc;
        let snapshot = Arc::new(Snapshot::compile(config)?);
        let layout = Arc::new(snapshot.layout());
        let (office, letters) = PostOffice::new(workers);
        let mut sockets: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for (listener, at) in bound.into_iter().enumerate() {
            for (own, socket) in sockets.iter_mut().zip(at.sockets) {
                own.push((listener, socket));
            }
        }
        let counters: Vec<_> = (0..workers).map(|_| Arc::new(Counters::new(&layout))).collect();
        if rpc.enabled {
            count_rpc(&counters, rpc.series_max);
        }
        let metrics = metrics(&layout, &counters, &logs, log_writer.as_ref());
        let handle = Handle {
            office: office.clone(),
            workers,
            snapshot: Arc::clone(&snapshot),
            load: Arc::clone(&load),
            metrics,
            stopping: Arc::default(),
        };
        let (ended_at, ended) = channel();
        let mut gateway =
            Self { handle, addresses, drivers: Vec::new(), ended, threads: Vec::new(), log_writer };
        let parts = letters.into_iter().zip(sockets).zip(logs).zip(counters);
        for (worker, (((letters, listeners), log), counters)) in parts.enumerate() {
            let part = Part {
                worker,
                workers,
                access_log,
                snapshot: Arc::clone(&snapshot),
                counters,
                log,
                office: office.clone(),
                letters,
                listeners,
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
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.iter().find(|it| it.0 == listener).map(|it| it.1)
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

    /// Stops: no new connections, exchanges in flight get `grace` to end. Comes back when all
    /// workers have ended and the access log is written.
    ///
    /// # Errors
    /// The death of a worker that did not stop but died, one for each.
    pub fn stop(mut self, grace: Duration) -> Result<(), Vec<Ended>> {
        self.handle.stop(grace);
        for thread in self.threads.drain(..) {
            // A death was reported through `ended`.
            let _ = thread.join();
        }
        if let Some(writer) = self.log_writer.take() {
            writer.close(LOG_WAIT);
        }
        let deaths: Vec<_> = self.ended.try_iter().filter(|it| it.death.is_some()).collect();
        if deaths.is_empty() { Ok(()) } else { Err(deaths) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.handle.stop(Duration::ZERO);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

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
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Client connections of each worker.
    pub fn load(&self) -> Vec<usize> {
        self.load.by_worker()
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Lets all workers drain and end; comes back at once.
    pub fn stop(&self, grace: Duration) {
        self.stopping.store(true, Ordering::Relaxed);
        for worker in 0..self.workers {
            self.order(worker, move |core| core.drain(grace));
        }
    }
}

struct Part {
    worker: usize,
    workers: usize,
    access_log: bool,
    snapshot: Arc<Snapshot>,
    counters: Arc<Counters>,
    log: AccessLog,
    office: PostOffice,
    letters: Receiver<Letter>,
    listeners: Vec<(usize, std::net::TcpListener)>,
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
    let settings = access_log::Settings { target, workers, now: clock::now };
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

fn metrics(
    layout: &Arc<Layout>,
    counters: &[Arc<Counters>],
    logs: &[AccessLog],
    writer: Option<&access_log::Writer>,
) -> Metrics {
    let of_writer = writer.map(access_log::Writer::counters);
    let of_workers = logs.iter().filter(|it| it.is_enabled()).map(AccessLog::counters);
    Metrics {
        layout: Arc::clone(layout),
        workers: counters.to_vec(),
        access_log: of_writer.into_iter().chain(of_workers).map(Arc::clone).collect(),
    }
}
