//! What the kernel tells of this process.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::telemetry::{AllocatorFacts, Metrics, ProcessFacts, RingFacts};

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
        allocator: allocator(),
    }
}

/// What mimalloc tells. It estimates on Linux what is committed as the memory that it has asked
/// the kernel for and can access.
fn allocator() -> AllocatorFacts {
    let (mut resident_max, mut committed, mut committed_max, mut faults) = (0, 0, 0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: every pointer is null, which the function allows, or points to a number of ours that
    // outlives the call.
    unsafe {
        libmimalloc_sys::mi_process_info(
            none,
            none,
            none,
            none,
            &raw mut resident_max,
            &raw mut committed,
            &raw mut committed_max,
            &raw mut faults,
        );
    }
    AllocatorFacts {
        committed_bytes: committed as u64,
        committed_bytes_max: committed_max as u64,
        resident_bytes_max: resident_max as u64,
        page_faults: faults as u64,
    }
}

/// Asks the kernel about the workers' rings and writes down what it tells. Where it tells nothing,
/// the counters stay.
pub(super) fn see_rings(metrics: &Metrics) {
    for worker in &metrics.workers {
        let Some(ring) = worker.worker.ring.get() else { continue };
        let path = format!("/proc/self/fdinfo/{}", ring.descriptor);
        if let Ok(text) = fs::read_to_string(path)
            && let Some(facts) = ring_facts(&text)
        {
            ring.see(&facts);
        }
    }
}

/// What `io_uring_show_fdinfo` of the kernel writes.
fn ring_facts(text: &str) -> Option<RingFacts> {
    let number = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().parse().ok()
    };
    let overflowed = text.lines().skip_while(|it| !it.starts_with("CqOverflowList")).skip(1);
    let overflowed = overflowed.take_while(|it| it.trim_start().starts_with("user_data")).count();
    Some(RingFacts {
        submission_head: number("SqHead")?,
        completion_head: number("CqHead")?,
        completion_tail: number("CqTail")?,
        overflowed: u32::try_from(overflowed).unwrap_or(u32::MAX),
    })
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

    #[test]
    fn the_kernel_tells_what_went_through_a_ring() {
        let Ok(mut ring) = io_uring::IoUring::new(8) else {
            return eprintln!("left out, this machine has no io_uring");
        };
        for _ in 0..3 {
            let nop = io_uring::opcode::Nop::new().build();
            // SAFETY: an operation that does nothing points to nothing.
            unsafe { ring.submission().push(&nop).unwrap() };
        }
        ring.submit_and_wait(3).unwrap();
        ring.completion().next().unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&ring);
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap();
        let expected =
            RingFacts { submission_head: 3, completion_head: 1, completion_tail: 3, overflowed: 0 };
        assert_eq!(ring_facts(&text), Some(expected), "{text}");
    }

    #[test]
    fn completions_that_found_no_room_are_counted() {
        let text = "SqHead:\t9\nCqHead:\t1\nCqTail:\t5\nCqOverflowList:\n  \
                    user_data=7, res=0, flags=0\n  user_data=8, res=0, flags=0\nNAPI:\tdisabled\n";
        assert_eq!(ring_facts(text).map(|it| it.overflowed), Some(2));
        assert_eq!(ring_facts("SqHead:\t9\n"), None);
    }
}
