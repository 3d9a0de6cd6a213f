//! The processes below this one. A swap leaves processes behind whose parents are gone: they become
//! children of this program, which waits for all of them, so that a process that has ended is gone
//! for whoever looks for it.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    os::fd::OwnedFd,
    process::Command,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open},
};

use crate::clock;

/// How long processes have to end by themselves before they are killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// All processes below this one.
#[derive(Clone)]
pub(crate) struct Children(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    /// Children that were started here and have ended, by id.
    ended: HashMap<u32, Ended>,
    /// Whether there may be children to wait for.
    has_children: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Children {
    /// Becomes the parent of all orphans below this process, and begins to wait for them.
    ///
    /// # Errors
    /// None that a correct program sees.
    pub(crate) fn adopt() -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let shared = Arc::new(Shared::default());
        let waiter = Arc::clone(&shared);
        std::thread::spawn(move || waiter.wait_for_all());
        Ok(Self(shared))
    }

    /// Starts a command; gives its id.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<u32> {
        // Nobody notes an end while the table is locked, so that of an earlier process with this
        // id is not taken for this one's.
        let mut table = self.0.table.lock().expect("no poison");
        let id = command.spawn()?.id();
        table.ended.remove(&id);
        table.has_children = true;
        self.0.changed.notify_all();
        Ok(id)
    }

    /// How a child ended, if it has.
    pub(crate) fn ended(&self, id: u32) -> Option<Ended> {
        self.0.table.lock().expect("no poison").ended.get(&id).copied()
    }

    /// Waits for the end of a child.
    pub(crate) fn wait(&self, id: u32, patience: Duration) -> Option<Ended> {
        let table = self.0.table.lock().expect("no poison");
        let is_open = |it: &mut Table| !it.ended.contains_key(&id);
        let waited = self.0.changed.wait_timeout_while(table, patience, is_open);
        waited.expect("no poison").0.ended.get(&id).copied()
    }

    /// Ends all processes below this one: asks first this one, then all, then kills.
    pub(crate) fn end_all(&self, first: Option<u32>) {
        for signal in [Signal::TERM, Signal::KILL] {
            if let Some(id) = first.filter(|id| below(std::process::id()).contains(id)) {
                send(id, signal);
                clock::retry(PATIENCE, || below(std::process::id()).is_empty().then_some(()));
            }
            for id in below(std::process::id()) {
                send(id, signal);
            }
            if clock::retry(PATIENCE, || below(std::process::id()).is_empty().then_some(()))
                .is_some()
            {
                return;
            }
        }
    }
}

impl Shared {
    fn wait_for_all(&self) {
        loop {
            let waited = rustix::process::wait(WaitOptions::empty());
            let mut table = self.table.lock().expect("no poison");
            match waited {
                Ok(Some((id, status))) => {
                    let ended = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Ended::Exited(code),
                        (None, Some(signal)) => Ended::Killed(signal),
                        (None, None) => continue,
                    };
                    table.ended.insert(id.as_raw_nonzero().get() as u32, ended);
                    self.changed.notify_all();
                }
                // An interrupted wait.
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                // No children: until there are some.
                Err(_) => {
                    table.has_children = false;
                    let none = |it: &mut Table| !it.has_children;
                    drop(self.changed.wait_while(table, none).expect("no poison"));
                }
            }
        }
    }
}

/// A process that is watched for its end, whoever its parent is.
pub(crate) struct Watched(OwnedFd);

impl Watched {
    /// Begins to watch; `None` when there is no such process.
    pub(crate) fn new(id: u32) -> Option<Self> {
        let id = Pid::from_raw(id.try_into().ok()?)?;
        Some(Self(pidfd_open(id, PidfdFlags::empty()).ok()?))
    }

    /// Waits for its end; when that came, if it came in time.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Instant> {
        let deadline = clock::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return None,
                Ok(_) => return Some(clock::now()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Sends a signal to a process.
pub(crate) fn send(id: u32, signal: Signal) {
    if let Some(id) = id.try_into().ok().and_then(Pid::from_raw) {
        let _ = kill_process(id, signal);
    }
}

/// The ids of all processes below one.
fn below(root: u32) -> BTreeSet<u32> {
    let parents = parents();
    let mut found = BTreeSet::new();
    let mut waiting = vec![root];
    while let Some(parent) = waiting.pop() {
        let children = parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id);
        waiting.extend(children.filter(|id| found.insert(*id)));
    }
    found
}

/// All processes that have not ended, with the ids of their parents.
fn parents() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let process = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may hold anything; state and parent follow its end.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let is_ended = ["Z", "X"].contains(&fields.next()?);
        let parent = fields.next()?.parse().ok()?;
        (!is_ended).then_some((id, parent))
    };
    entries.filter_map(process).collect()
}
