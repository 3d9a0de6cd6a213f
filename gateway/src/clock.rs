//! The only reader of the clock.
//!
//! Everything else takes `now` as an argument, so that it can be tested, simulated and frozen.

use std::time::{SystemTime, UNIX_EPOCH};

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

/// How far the wall clock is ahead of the monotonic one, as last seen: tells what time it was at
/// any instant without reading a clock.
#[derive(Clone, Copy, Debug)]
pub struct Wall {
    ahead_us: u64,
}

impl Wall {
    /// Reads both clocks.
    pub fn read() -> Self {
        let unix = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_us = u64::try_from(unix.as_micros()).unwrap_or(u64::MAX);
        Self { ahead_us: unix_us.saturating_sub(now().as_micros()) }
    }

    /// Milliseconds since the Unix epoch at an instant.
    pub fn unix_ms(self, at: Time) -> u64 {
        self.ahead_us.saturating_add(at.as_micros()) / 1_000
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_wall_clock_is_told_without_reading_it() {
        let wall = super::Wall::read();
        let unix = super::wall().duration_since(super::UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(wall.unix_ms(super::now()).abs_diff(unix) < 60_000);
    }

    #[test]
    fn the_clock_never_goes_back() {
        let before = super::now();
        assert!(super::now() >= before);
    }
}
