//! Workers that take over all that other workers of the same process have, when a configuration
//! wants others: another number of them, another driver, another access log.
//!
//! It is the hand-over to another process ([`crate::swap`]) without the other process: new workers
//! stand held, the old ones are held and frozen, the new ones thaw what they had with descriptors
//! of their own, and only when all of it is thawed is it theirs. Until then the old workers can go
//! on at any time, for nothing of theirs has changed. Routes, places and what was learnt of
//! endpoints are the same before and after; the new configuration is published to the new workers
//! as to any.

use std::{
    io,
    net::TcpStream,
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, TryLockError, mpsc::channel},
    time::Duration,
};

use hangu_config::Config;
use rustc_hash::FxHashMap;

use super::{
    ApplyError, Handle, StartError, State,
    crew::{Crew, Log, Recruits, Rpc, Wanted, deal},
    workers,
};
use crate::{
    clock,
    exchange::{Away, Core, FrozenWorker, Held, Places, Plan, Unresponsive, settle_letters},
    io::DriverChoice,
    snapshot::Roster,
    telemetry::access_log::LogCounters,
};

/// Why the workers were not replaced; they go on with all that they had.
#[derive(Debug, thiserror::Error)]
pub enum ReliefError {
    /// What they have is being handed over to another process.
    #[error("the workers cannot be replaced while an upgrade is under way; load it again then")]
    Busy,
    /// The new ones could not be started.
    #[error("{0}")]
    Start(#[from] StartError),
    /// Sockets could not be had twice.
    #[error(
        "the workers cannot be replaced, for every connection needs a second descriptor for a \
         moment: {0} (raise `ulimit -n` or LimitNOFILE)"
    )]
    Descriptors(io::Error),
    /// A worker does not stand still or does not answer.
    #[error("the workers cannot be replaced: {0}")]
    Unresponsive(#[from] Unresponsive),
    /// What the old ones had was not understood.
    #[error("the workers cannot be replaced: {0}")]
    Thaw(String),
}

/// What is to be different with other workers.
pub(super) struct Relief {
    /// How many there will be.
    pub(super) workers: usize,
    choice: DriverChoice,
    /// Whether RPC requests are counted under other names, or not any more.
    changes_names: bool,
}

impl Relief {
    /// Whether a configuration wants other workers than `crew`, which works with `then`.
    pub(super) fn between(then: &Config, now: &Config, crew: &Crew) -> Option<Self> {
        let is_same = (then.workers, then.driver, then.metrics)
            == (now.workers, now.driver, now.metrics)
            && then.access_log == now.access_log;
        if is_same {
            return None;
        }
        // Who started the gateway may have asked for a driver that no configuration names.
        let choice = match then.driver == now.driver {
            true => crew.choice,
            false => DriverChoice::from(now.driver),
        };
        let workers = match then.workers == now.workers {
            true => crew.workers(),
            false => workers(now),
        };
        Some(Self { workers, choice, changes_names: then.metrics.rpc != now.metrics.rpc })
    }
}

/// What an old worker had.
struct Frozen {
    state: FrozenWorker,
    away: Away,
    descriptors: FxHashMap<(u32, u32), OwnedFd>,
}

impl Handle {
    /// Replaces the workers by such as `config` wants. They work with the routes of before.
    pub(super) fn relieve(
        &self,
        state: &mut State,
        relief: &Relief,
        config: &Config,
    ) -> Result<(), ApplyError> {
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            // Who had it left nothing half-done.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(ReliefError::Busy.into()),
        };
        let recruits = self.recruit(state, relief, config)?;
        let at = clock::now();
        match self.freeze_and_thaw(state, &recruits) {
            Ok((held, counts)) => {
                self.commit(state, recruits, held);
                let pause = at.since(clock::now());
                self.listen_everywhere_in(state);
                let crew = self.crew();
                let (kind, why) = crew.drivers.first().cloned().unzip();
                tracing::info!(
                    "workers replaced: {} on {}{}; {} connections and {} requests in flight moved \
                     to them, pause {:.1} ms",
                    crew.workers(),
                    kind.map_or("no driver", |it| it.name()),
                    why.filter(|it| !it.is_empty())
                        .map_or_else(String::new, |it| format!(" ({it})")),
                    counts.0,
                    counts.1,
                    pause.as_secs_f64() * 1e3
                );
                Ok(())
            }
            Err(error) => {
                recruits.dismiss();
                Err(error.into())
            }
        }
    }

    /// Starts the new workers. They are held, and have second descriptors of the listening sockets.
    fn recruit(
        &self,
        state: &State,
        relief: &Relief,
        config: &Config,
    ) -> Result<Recruits, ReliefError> {
        let sockets = self.listening().map_err(ReliefError::Descriptors)?;
        let known = state.counters.first().and_then(|it| it.worker.rpc.get());
        let rpc = match known.filter(|_| !relief.changes_names) {
            Some(rpc) => Rpc::Known(Arc::clone(rpc.shared_names())),
            None => Rpc::Fresh(config.metrics.rpc),
        };
        let wanted = Wanted {
            snapshot: &state.snapshot,
            layout: &state.layout,
            choice: relief.choice,
            access_log: &config.access_log,
            rpc,
            sockets: deal(sockets, relief.workers),
        };
        let recruits = Recruits::hire(wanted, true, &self.ended)?;
        match recruits.held.iter().try_for_each(|it| it.wait(STEP_WAIT)) {
            Ok(()) => Ok(recruits),
            Err(error) => {
                recruits.dismiss();
                Err(error.into())
            }
        }
    }

    /// Holds the old workers and gives the new ones all that they have. Dropping what holds them
    /// lets them go on.
    fn freeze_and_thaw(
        &self,
        state: &State,
        recruits: &Recruits,
    ) -> Result<(Vec<Held>, (usize, usize)), ReliefError> {
        let held = self.hold_still()?;
        let frozen = freeze(&held)?;
        let counts = thaw(frozen, &state.snapshot.roster, &recruits.held)?;
        Ok((held, counts))
    }

    /// Holds all workers, with no letter under way. Those that stand wait for the last, so they are
    /// let go again when one does not come, and held anew.
    fn hold_still(&self) -> Result<Vec<Held>, Unresponsive> {
        let hold = || {
            let held = self.hold(HOLD_WAIT)?;
            settle_letters(&held, HOLD_WAIT)?;
            Ok(held)
        };
        (1..HOLDS_MAX).find_map(|_| hold().ok()).map_or_else(hold, Ok)
    }

    /// From here on all is the new workers'.
    fn commit(&self, state: &mut State, recruits: Recruits, old: Vec<Held>) {
        let Recruits { crew, held, counters, log, load, versions } = recruits;
        for (then, now) in state.counters.iter().zip(counters.iter().cycle()) {
            now.absorb(then);
        }
        state.counters = counters;
        state.load = load;
        state.versions.extend(versions);
        state.logs.push(log);
        *self.crew.lock().unwrap_or_else(PoisonError::into_inner) = crew;
        held.iter().for_each(|it| it.order(Core::begin_thawed));
        old.iter().for_each(|it| it.order(Core::release));
        for worker in &held {
            // One that takes long is at work all the same.
            let _ = worker.answer(STEP_WAIT);
        }
        drop((old, held));
        state.fold_logs();
        self.changes.send_modify(|count| *count += 1);
    }
}

impl State {
    /// Adds up what was counted of access logs that are written and closed, so that there are never
    /// more counters of them than one and those of logs that still are at work.
    fn fold_logs(&mut self) {
        let Some(current) = self.logs.pop() else { return };
        let (done, going): (Vec<_>, Vec<_>) = std::mem::take(&mut self.logs)
            .into_iter()
            .partition(|it| it.writer.as_ref().is_none_or(|it| it.has_ended()));
        if done.iter().any(|it| !it.counters.is_empty()) {
            let sum = LogCounters::default();
            done.iter().flat_map(|it| &it.counters).for_each(|it| sum.absorb(it));
            self.logs.push(Log { counters: vec![Arc::new(sum)], writer: None });
        }
        self.logs.extend(going);
        self.logs.push(current);
    }
}

/// Lets all workers, which are held, write down what they have, each on its own core.
fn freeze(held: &[Held]) -> Result<Vec<Frozen>, ReliefError> {
    let mut written = Vec::with_capacity(held.len());
    for worker in held {
        let (write, wrote) = channel();
        worker.order(move |core| {
            let frozen = core.freeze();
            let descriptors = core.descriptors();
            let descriptors: io::Result<FxHashMap<_, _>> =
                descriptors.map(|(id, it)| Ok((id, it.try_clone_to_owned()?))).collect();
            let _ = write.send(descriptors.map(|descriptors| Frozen {
                state: frozen.state,
                away: frozen.away,
                descriptors,
            }));
        });
        written.push(wrote);
    }
    let mut all = Vec::with_capacity(held.len());
    for (worker, wrote) in held.iter().zip(written) {
        worker.answer(PAUSE_MAX)?;
        let frozen = wrote.try_recv().map_err(|_| Unresponsive)?;
        all.push(frozen.map_err(ReliefError::Descriptors)?);
    }
    Ok(all)
}

/// Lets the new workers, which are held, thaw it; says how many connections and requests there are.
fn thaw(
    frozen: Vec<Frozen>,
    roster: &Roster,
    heirs: &[Held],
) -> Result<(usize, usize), ReliefError> {
    let old = frozen.iter().map(|it| (it.state.exchanges.len() as u32, it.away.clone()));
    let plan = Arc::new(Plan::new(same_places(roster), old.collect(), heirs.len()));
    let (tell, told) = channel();
    let mut answers = Vec::new();
    for ((worker, frozen), old) in (0..).zip(frozen).zip(&plan.workers) {
        let heir = heirs.get(old.heir).ok_or(Unresponsive)?;
        let Frozen { state, mut descriptors, .. } = frozen;
        let (plan, tell) = (Arc::clone(&plan), tell.clone());
        heir.order(move |core| {
            let socket = |id: (u32, u32)| descriptors.remove(&id).map(TcpStream::from);
            let thawed = core.thaw(worker, state, &plan, socket).map_err(|error| error.to_string());
            // Whoever waits gives up after a while.
            let _ = tell.send(thawed);
        });
        answers.push(heir);
    }
    drop(tell);
    let (mut connections, mut exchanges) = (0, 0);
    for heir in answers {
        heir.answer(PAUSE_MAX)?;
        let thawed = told.recv_timeout(PAUSE_MAX).map_err(|_| Unresponsive)?;
        let (some, of_them) = thawed.map_err(ReliefError::Thaw)?;
        connections += some;
        exchanges += of_them;
    }
    Ok((connections, exchanges))
}

/// All places are what they were.
fn same_places(roster: &Roster) -> Places {
    let clusters = roster.clusters().iter().enumerate();
    Places {
        listeners: (0..roster.listeners().len()).map(Some).collect(),
        clusters: clusters
            .map(|(at, it)| (Some(at), (0..it.members.len()).map(Some).collect()))
            .collect(),
    }
}

/// Workers stand still within one turn of their loop, unless the machine has no time for them.
const HOLD_WAIT: Duration = Duration::from_millis(200);

/// Times that workers are held because one of them did not come to it.
const HOLDS_MAX: usize = 10;

/// Moving takes some microseconds for each connection. When it has not come to its end after this
/// time, the old workers go on.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Workers that stand have nothing else to do.
const STEP_WAIT: Duration = Duration::from_secs(5);
