//! A child process on a core of its own: how much CPU and memory it takes, and its end.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Resource, Signal, getrlimit, setrlimit};
use rustix::thread::CpuSet;

use crate::clock;

/// How long a process has to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running child. It ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command whose threads all run on `core`.
    ///
    /// # Errors
    /// The program is not there, or the core is not ours to use.
    pub fn start(command: &mut Command, core: usize) -> io::Result<Self> {
        // A child inherits the affinity of the thread that starts it, from its first instruction
        // on; setting it afterwards would miss threads already started.
        let before = rustix::thread::sched_getaffinity(None)?;
        pin_thread(core)?;
        let child = command.spawn();
        rustix::thread::sched_setaffinity(None, &before)?;
        Ok(Self { child: child? })
    }

    /// How the process ended, if it has.
    pub fn end(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The process and all that it has started, as they are now.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.child.id())
    }
}

impl Drop for Process {
    /// Asks for an end first: a master that is killed leaves its workers behind.
    fn drop(&mut self) {
        let family = self.family();
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let ended = clock::retry(PATIENCE, || self.child.try_wait().ok().flatten());
        if ended.is_some() {
            return;
        }
        for pid in family.pids.iter().filter_map(|pid| Pid::from_raw(*pid as i32)) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Process ids of a process and its descendants.
#[derive(Clone, Debug)]
pub struct Family {
    pids: Vec<u32>,
}

impl Family {
    /// The process `root` and its descendants.
    #[must_use]
    pub fn of(root: u32) -> Self {
        let parents: Vec<(u32, u32)> = processes().collect();
        let mut pids = vec![root];
        let mut seen = 0;
        while let Some(parent) = pids.get(seen).copied() {
            pids.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            seen += 1;
        }
        Self { pids }
    }

    /// CPU time of all threads since they began, as the scheduler counts it, in nanoseconds; a
    /// thread that has ended takes its time with it, and no proxy ends one while it is measured.
    ///
    /// # Errors
    /// A process is gone.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for thread in self.threads()? {
            // `schedstat`: time on the CPU, time waiting for it, number of slices.
            let text = fs::read_to_string(thread.join("schedstat"))?;
            nanos += first_number(&text);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory of all processes. Summed over their mappings: the counter in `status` is
    /// kept per core and lags behind.
    ///
    /// # Errors
    /// A process is gone.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for pid in &self.pids {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
            bytes += line.map_or(0, first_number) * 1024;
        }
        Ok(bytes)
    }

    /// The threads that may run elsewhere than on `core`, by name: their CPU time would be
    /// measured under other conditions.
    ///
    /// # Errors
    /// A process is gone.
    pub fn strays(&self, core: usize) -> io::Result<Vec<String>> {
        let mut strays = Vec::new();
        for thread in self.threads()? {
            let status = fs::read_to_string(thread.join("status"))?;
            let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
            let cores = field("Cpus_allowed_list:").unwrap_or_default().trim();
            if cores != core.to_string() {
                let name = field("Name:").unwrap_or_default().trim();
                strays.push(format!("{name} (cores {cores})"));
            }
        }
        Ok(strays)
    }

    fn threads(&self) -> io::Result<Vec<PathBuf>> {
        let mut threads = Vec::new();
        for pid in &self.pids {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                threads.push(thread?.path());
            }
        }
        Ok(threads)
    }
}

impl std::fmt::Display for Family {
    /// As `perf` and `strace` take it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        write!(f, "-p {}", pids.join(","))
    }
}

/// Allows as many open descriptors as the system lets this user have, to this process and to all
/// that it starts from now on.
///
/// # Errors
/// None that a correct program sees.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// Binds the calling thread, and all that it starts from now on, to `core`.
///
/// # Errors
/// The core is not there or not ours to use.
pub fn pin_thread(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// The cores that this thread may use.
///
/// # Errors
/// None that a correct program sees.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// All processes as (id, id of the parent).
fn processes() -> impl Iterator<Item = (u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may hold anything; state and parent follow its end.
        let (_, rest) = stat.rsplit_once(')')?;
        Some((pid, rest.split_whitespace().nth(1)?.parse().ok()?))
    })
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_a_grandchild_is_counted_and_its_family_ends_with_the_process() {
        let core = cores().unwrap()[0];
        let mut command = Command::new("sh");
        command.args(["-c", "sh -c 'while :; do :; done' & wait"]);
        let process = Process::start(&mut command, core).unwrap();
        let enough = || {
            let family = process.family();
            let cpu = family.cpu().ok()?;
            (family.pids.len() == 2 && cpu > Duration::from_millis(20)).then_some(family)
        };
        let family = clock::retry(Duration::from_secs(20), enough).expect("it works");
        assert_eq!(family.strays(core).unwrap(), Vec::<String>::new());
        assert!(family.resident_bytes().unwrap() > 0);
        // `sh` passes no signal on, so the grandchild is ended here.
        let grandchild = Pid::from_raw(family.pids[1] as i32).unwrap();
        rustix::process::kill_process(grandchild, Signal::KILL).unwrap();
        drop(process);
        assert!(family.cpu().is_err());
    }
}
