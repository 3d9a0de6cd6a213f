//! What the kernel tells of this process.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::telemetry::ProcessFacts;

/// The facts now. What the kernel does not tell (no `/proc`) is zero.
pub(super) fn process_facts(is_ready: bool) -> ProcessFacts {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    ProcessFacts {
        is_ready,
        started_unix_seconds: started_unix_seconds().unwrap_or(0.0),
        resident_bytes: resident_bytes().unwrap_or(0),
        cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
        descriptors: open_descriptors().unwrap_or(0),
        descriptors_max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    }
}

/// proc_pid_statm(5): the second number is the resident pages.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Since Linux 6.2 the size of `/proc/self/fd` is the number of descriptors; before, it is zero
/// and they are counted.
fn open_descriptors() -> Option<u64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size);
    }
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

/// proc_pid_stat(5): field 22 is the start in clock ticks after the machine's, whose own time
/// stands in `/proc/stat`. Field 2 may contain blanks and ends in the last parenthesis.
fn started_unix_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let ticks: f64 = after_name.split(' ').nth(22 - 3)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let line = machine.lines().find_map(|line| line.strip_prefix("btime "))?;
    let booted: f64 = line.parse().ok()?;
    Some(booted + ticks / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the kernel's word is compared with the clock")]
    fn the_kernel_tells_plausible_facts() {
        let facts = process_facts(true);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - facts.started_unix_seconds;
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
        assert!(facts.resident_bytes > 100_000, "{facts:?}");
        assert!(facts.descriptors >= 3 && facts.descriptors < facts.descriptors_max, "{facts:?}");
        assert!(facts.cpu_seconds > 0.0, "{facts:?}");
    }
}
