//! The three drivers, in the order in which they are tried.

use std::{fmt, future::Future, io, os::fd::RawFd};

use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder, time::TimeDriver};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// The best one that the kernel and its filters allow.
    #[default]
    Auto,
    /// Exactly this one, or an error.
    Only(DriverKind),
    /// One of the two io_uring drivers, or an error.
    IoUring,
}

impl From<hangu_config::Driver> for DriverChoice {
    fn from(driver: hangu_config::Driver) -> Self {
        match driver {
            hangu_config::Driver::Auto => Self::Auto,
            hangu_config::Driver::IoUring => Self::IoUring,
            hangu_config::Driver::Epoll => Self::Only(DriverKind::Epoll),
        }
    }
}

/// The drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring with `SINGLE_ISSUER` and `DEFER_TASKRUN` (Linux 6.1): completions are gathered
    /// until the worker asks for them.
    IoUringDeferTaskrun,
    /// io_uring with `COOP_TASKRUN` (Linux 5.19).
    IoUringCoopTaskrun,
    /// epoll, wherever io_uring is switched off. A ring without flags is never used: measured 22
    /// to 37 % slower than either.
    Epoll,
}

impl DriverKind {
    /// All drivers, best first.
    pub const ALL: [Self; 3] = [Self::IoUringDeferTaskrun, Self::IoUringCoopTaskrun, Self::Epoll];

    /// Name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUringDeferTaskrun => "io_uring(defer_taskrun)",
            Self::IoUringCoopTaskrun => "io_uring(coop_taskrun)",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A runtime on one of the drivers, to be built and used on the thread that it drives.
pub struct Driver {
    runtime: AnyRuntime,
    /// Which one it is.
    pub kind: DriverKind,
    /// Why the better ones were not taken, one sentence each; empty for the best.
    pub why: String,
    /// Descriptor of its ring, where it has one that can be told.
    pub ring: Option<RawFd>,
}

enum AnyRuntime {
    Uring(Runtime<TimeDriver<IoUringDriver>>),
    Epoll(Runtime<TimeDriver<LegacyDriver>>),
}

/// Entries of the submission queue: operations of one wake-up that go to the kernel in one call.
/// A full queue is submitted early, so this bounds memory and not the number of connections.
const RING_ENTRIES: u32 = 4096;

impl Driver {
    /// Builds the best driver that the choice allows.
    ///
    /// # Errors
    /// When none can be built: the kernel's word for each that was tried.
    pub fn build(choice: DriverChoice) -> io::Result<Self> {
        let mut why = String::new();
        let others = rings();
        for kind in DriverKind::ALL.into_iter().filter(|it| allows(choice, *it)) {
            match build(kind) {
                Ok(runtime) => return Ok(Self { runtime, kind, why, ring: new_ring(&others) }),
                Err(error) => {
                    if !why.is_empty() {
                        why.push_str("; ");
                    }
                    why.push_str(&format!("{kind}: {}", explain(&error)));
                }
            }
        }
        Err(io::Error::other(why))
    }

    /// Runs a future, and all tasks that it spawns, on the calling thread.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match &mut self.runtime {
            AnyRuntime::Uring(runtime) => runtime.block_on(future),
            AnyRuntime::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

/// The ring that was not there before. monoio keeps its descriptor to itself; workers are started
/// one after the other, so there is one that is new.
fn new_ring(before: &[RawFd]) -> Option<RawFd> {
    let mut new = rings().into_iter().filter(|it| !before.contains(it));
    let first = new.next()?;
    new.next().is_none().then_some(first)
}

/// Descriptors of this process that are rings. None where there is no `/proc`.
fn rings() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let ring = |entry: std::fs::DirEntry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let is_ring = target.as_os_str() == "anon_inode:[io_uring]";
        if is_ring { entry.file_name().to_str()?.parse().ok() } else { None }
    };
    entries.flatten().filter_map(ring).collect()
}

fn allows(choice: DriverChoice, kind: DriverKind) -> bool {
    match choice {
        DriverChoice::Auto => true,
        DriverChoice::Only(only) => only == kind,
        DriverChoice::IoUring => kind != DriverKind::Epoll,
    }
}

fn build(kind: DriverKind) -> io::Result<AnyRuntime> {
    let mut ring = io_uring::IoUring::builder();
    match kind {
        DriverKind::IoUringDeferTaskrun => {
            ring.setup_single_issuer().setup_defer_taskrun();
        }
        DriverKind::IoUringCoopTaskrun => {
            ring.setup_coop_taskrun();
        }
        DriverKind::Epoll => {
            let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
            return Ok(AnyRuntime::Epoll(runtime));
        }
    }
    let runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .uring_builder(ring)
        .enable_timer()
        .build()?;
    Ok(AnyRuntime::Uring(runtime))
}

fn explain(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM) => " (a seccomp filter or kernel.io_uring_disabled forbids io_uring)",
        Some(libc::ENOMEM) => " (too little locked memory: raise `ulimit -l` or LimitMEMLOCK)",
        Some(libc::EINVAL) => " (this kernel does not know the flags)",
        Some(libc::ENOSYS) => " (this kernel has no io_uring)",
        _ => "",
    };
    format!("{error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_driver_of_this_machine_runs_a_task() {
        for kind in DriverKind::ALL {
            let Ok(mut driver) = Driver::build(DriverChoice::Only(kind)) else { continue };
            assert_eq!(driver.kind, kind);
            let answer = driver.block_on(async { monoio::spawn(async { 42 }).await });
            assert_eq!(answer, 42);
        }
    }
}
