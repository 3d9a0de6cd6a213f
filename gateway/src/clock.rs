//! The only reader of the clock.
//!
//! Everything else takes `now` as an argument, so that it can be tested, simulated and frozen.

use std::time::SystemTime;

use hangu_codecs::Time;

/// The monotonic clock: microseconds since the machine started (`CLOCK_MONOTONIC`), the same in
/// every process of the machine.
pub fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Time::from_micros(seconds * 1_000_000 + nanos / 1_000)
}

/// Time that the calling thread has spent on a core, microseconds.
pub fn thread_cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}

/// The wall clock, for logs and nothing else.
#[expect(clippy::disallowed_methods, reason = "this module is the reader of the clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_never_goes_back() {
        let before = super::now();
        assert!(super::now() >= before);
    }
}
