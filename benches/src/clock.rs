//! The only reader of the clock in the bench.

use std::time::{Duration, Instant};

/// The monotonic clock.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "a bench measures time; this is its one place")]
pub fn now() -> Instant {
    Instant::now()
}

/// Repeats `attempt` every few milliseconds until it gives a value or `patience` is over.
#[allow(clippy::disallowed_methods, reason = "waits for another process, which cannot be awaited")]
pub fn retry<T>(patience: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = now() + patience;
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        if now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets time pass that belongs to a measurement.
#[allow(clippy::disallowed_methods, reason = "the wait is what is measured, nothing is awaited")]
pub fn wait(duration: Duration) {
    std::thread::sleep(duration);
}
