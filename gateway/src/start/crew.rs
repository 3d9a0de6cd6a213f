//! The workers of a gateway as one set, which another set can relieve.

use std::{
    any::Any,
    io,
    net::TcpListener,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use hangu_config::{AccessLog as LogSettings, LogPath, RpcMetrics};

use super::{Ended, StartError};
use crate::{
    clock,
    connection::Load,
    exchange::{self, Core, Held, Holding, Letter, PostOffice, Settings},
    io::{Driver, DriverChoice, DriverKind},
    snapshot::Snapshot,
    telemetry::{
        AccessLog, Counters, Layout, Ring, RpcCounters, RpcNames,
        access_log::{self, LogCounters, Target},
    },
    worker::{self, End, Seed},
};

/// Listening sockets of one worker, each with the place of its listener.
pub(super) type WorkerSockets = Vec<(usize, TcpListener)>;

/// Workers that are at work, or held until they may begin.
pub(super) struct Crew {
    office: PostOffice,
    /// What each of them runs on, and why a better driver was not taken.
    pub(super) drivers: Vec<(DriverKind, String)>,
    /// What was asked for.
    pub(super) choice: DriverChoice,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a crew is made of.
pub(super) struct Wanted<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) layout: &'a Layout,
    pub(super) choice: DriverChoice,
    pub(super) access_log: &'a LogSettings,
    pub(super) rpc: Rpc,
    /// By worker.
    pub(super) sockets: Vec<WorkerSockets>,
}

/// How RPC requests are counted by name.
pub(super) enum Rpc {
    /// As the configuration says.
    Fresh(RpcMetrics),
    /// Under names that are known already.
    Known(Arc<RpcNames>),
}

/// A crew with all that stands beside it.
pub(super) struct Recruits {
    pub(super) crew: Arc<Crew>,
    /// What holds each worker; none where they were to begin at once.
    pub(super) held: Vec<Held>,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) log: Log,
    pub(super) load: Arc<Load>,
    /// What each of them routes by.
    pub(super) versions: Vec<Snapshot>,
}

/// The access log of a crew.
#[derive(Default)]
pub(super) struct Log {
    /// Of the writer and each worker; none where nothing is logged.
    pub(super) counters: Vec<Arc<LogCounters>>,
    pub(super) writer: Option<access_log::Writer>,
}

impl Crew {
    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.drivers.len()
    }

    /// Sends a letter to a worker; says whether it still takes letters.
    pub(super) fn send(&self, worker: usize, letter: Letter) -> bool {
        self.office.send(worker, letter)
    }

    /// Lets a worker do something with its state; says whether it still takes orders.
    pub(super) fn order(
        &self,
        worker: usize,
        order: impl FnOnce(&mut Core) + Send + 'static,
    ) -> bool {
        self.send(worker, Letter::Do(Box::new(order)))
    }

    /// Waits until all threads have ended.
    pub(super) fn join(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A death was reported where ends are.
            let _ = thread.join();
        }
    }
}

impl Recruits {
    /// Starts workers, which begin at once or are held. Their ends are told to `ended`.
    ///
    /// # Errors
    /// A driver, the access log or a thread; nothing is left running.
    pub(super) fn hire(
        wanted: Wanted<'_>,
        is_held: bool,
        ended: &Sender<Ended>,
    ) -> Result<Self, StartError> {
        let Wanted { snapshot, layout, choice, access_log, rpc, sockets } = wanted;
        let workers = sockets.len();
        let (logs, writer) = open_log(access_log, workers)?;
        let counters: Vec<_> = (0..workers).map(|_| Arc::new(Counters::new(layout))).collect();
        count_rpc(&counters, rpc);
        let load = Arc::new(Load::new(&snapshot.roster, workers));
        let (office, letters) = PostOffice::new(workers);
        let versions: Vec<_> = (0..workers).map(|_| snapshot.for_worker()).collect();
        let log = Log { counters: log_counters(&logs, writer.as_ref()), writer };
        let mut held = Vec::new();
        let (mut drivers, mut threads) = (Vec::new(), Vec::new());
        let parts = letters.into_iter().zip(sockets).zip(logs).zip(&counters).zip(&versions);
        for (worker, ((((letters, listeners), log), counters), snapshot)) in parts.enumerate() {
            let holding = is_held.then(|| {
                let (own, holding) = exchange::hold();
                held.push(own);
                holding
            });
            let part = Part {
                worker,
                workers,
                access_log: access_log.enabled,
                snapshot: snapshot.clone(),
                counters: Arc::clone(counters),
                log,
                office: office.clone(),
                letters,
                listeners,
                holding,
                load: Arc::clone(&load),
            };
            match spawn(part, choice, ended.clone()) {
                Ok((thread, driver)) => {
                    threads.push(thread);
                    drivers.push(driver);
                }
                Err(error) => {
                    let crew = Crew { office, drivers, choice, threads: Mutex::new(threads) };
                    send_home(&crew, held);
                    crew.join();
                    return Err(error);
                }
            }
        }
        let threads = Mutex::new(threads);
        let crew = Arc::new(Crew { office, drivers, choice, threads });
        Ok(Self { crew, held, counters, log, load, versions })
    }

    /// Sends workers that are held home, with whatever was given to them.
    pub(super) fn dismiss(self) {
        let Self { crew, held, .. } = self;
        send_home(&crew, held);
    }
}

/// Lets workers end that have not begun, or only just.
fn send_home(crew: &Crew, held: Vec<Held>) {
    // Before they are let go: they must not begin.
    held.iter().for_each(|it| it.order(Core::release));
    for worker in 0..crew.workers() {
        crew.order(worker, Core::release);
    }
}

/// The sockets of listeners for each of so many workers, every one of which has some of its own.
pub(super) fn by_worker(
    bound: impl Iterator<Item = (usize, crate::listener::Sockets)>,
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

/// Deals sockets that listen already out to so many workers, those of each listener from the first
/// worker on. None is left: who queues on it was told by the kernel that it was accepted.
pub(super) fn deal(sockets: Vec<(usize, TcpListener)>, workers: usize) -> Vec<WorkerSockets> {
    let mut dealt: Vec<WorkerSockets> = (0..workers).map(|_| Vec::new()).collect();
    let mut counts = std::collections::BTreeMap::<usize, usize>::new();
    for (place, socket) in sockets {
        let count = counts.entry(place).or_default();
        if let Some(own) = dealt.get_mut(*count % workers.max(1)) {
            own.push((place, socket));
        }
        *count += 1;
    }
    dealt
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

type Spawned = (JoinHandle<()>, (DriverKind, String));

fn spawn(part: Part, choice: DriverChoice, ended: Sender<Ended>) -> Result<Spawned, StartError> {
    let (built_at, built) = channel();
    let worker = part.worker;
    let thread = std::thread::Builder::new()
        .name(format!("worker-{worker}"))
        .spawn(move || run(part, choice, &built_at, &ended))
        .map_err(StartError::Thread)?;
    match built.recv() {
        Ok(Ok(driver)) => Ok((thread, driver)),
        Ok(Err(error)) => Err(StartError::Driver(error)),
        Err(_) => Err(StartError::Driver(io::Error::other("the worker died"))),
    }
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
        // Others do its work.
        Ok(Ok(End::Released)) => return,
        Ok(Ok(End::Stopped)) => None,
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

type OpenedLog = (Vec<AccessLog>, Option<access_log::Writer>);

fn open_log(wanted: &LogSettings, workers: usize) -> Result<OpenedLog, StartError> {
    if !wanted.enabled {
        return Ok(((0..workers).map(|_| AccessLog::disabled()).collect(), None));
    }
    let (target, path) = match &wanted.path {
        LogPath::Stdout => (Target::Stdout, "-".to_owned()),
        LogPath::File(path) => (Target::File(path.clone()), path.display().to_string()),
    };
    let format = wanted.format.clone();
    let settings = access_log::Settings { target, format, workers, now: clock::now };
    let (logs, writer) =
        access_log::start(settings).map_err(|error| StartError::AccessLog { path, error })?;
    Ok((logs, Some(writer)))
}

/// Lets all workers count RPC requests under names that they share.
fn count_rpc(counters: &[Arc<Counters>], rpc: Rpc) {
    let names = match rpc {
        Rpc::Fresh(RpcMetrics { enabled: false, .. }) => return,
        Rpc::Fresh(RpcMetrics { series_max, .. }) => Arc::new(RpcNames::new(series_max)),
        Rpc::Known(names) => names,
    };
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
