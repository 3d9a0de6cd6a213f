//! What the target's processes cost, as the kernel counts it.

use std::{fs, path::PathBuf, time::Duration};

/// The processes of the target: one, and all below it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target(u32);

impl Target {
    /// The processes from this one on.
    pub(crate) fn new(process: u32) -> Self {
        Self(process)
    }

    /// Whether the first process is there.
    pub(crate) fn is_alive(self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|it| !"ZX".contains(it))
    }

    /// Time on a processor, of all threads that live.
    pub(crate) fn cpu(self) -> Duration {
        self.processes().into_iter().map(cpu_of).sum()
    }

    /// Resident memory in bytes; what processes share counts in each.
    pub(crate) fn resident_bytes(self) -> u64 {
        let page = rustix::param::page_size() as u64;
        let pages = |process| {
            let text = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
            text.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0)
        };
        self.processes().into_iter().map(|it| pages(it) * page).sum()
    }

    /// The process and all below it. The kernel tells the children of each thread, which is far
    /// cheaper than to look at all processes of the machine ten times a second.
    fn processes(self) -> Vec<u32> {
        let mut all = vec![self.0];
        let mut looked_at = 0;
        while let Some(process) = all.get(looked_at) {
            let children: Vec<u32> = threads_of(*process)
                .filter_map(|it| fs::read_to_string(it.join("children")).ok())
                .flat_map(|it| it.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
                .collect();
            all.extend(children);
            looked_at += 1;
        }
        all
    }
}

/// The directories of a process's threads.
fn threads_of(process: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.map(|it| it.path())
}

/// The first number of `schedstat` is nanoseconds on a processor.
fn cpu_of(process: u32) -> Duration {
    let nanoseconds = |thread: PathBuf| {
        let text = fs::read_to_string(thread.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    threads_of(process).filter_map(nanoseconds).map(Duration::from_nanos).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_has_memory_and_was_on_a_processor() {
        let target = Target::new(std::process::id());
        assert!(target.is_alive());
        assert!(target.resident_bytes() > 100_000);
        assert!(target.cpu() > Duration::ZERO);
    }

    #[test]
    fn processes_below_count_too() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let target = Target::new(std::process::id());
        assert!(target.processes().contains(&child.id()));
        assert!(Target::new(child.id()).is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!Target::new(child.id()).is_alive());
    }
}
