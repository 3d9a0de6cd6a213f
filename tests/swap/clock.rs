//! The only reader of the clock here.

use std::time::{Duration, Instant};

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Asks every few milliseconds until there is an answer or the patience is over.
pub(crate) fn retry<T>(patience: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = now() + patience;
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        if now() >= deadline {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Lets time pass until an instant of the schedule.
pub(crate) fn wait_until(instant: Instant) {
    while let Some(left) = instant.checked_duration_since(now()).filter(|it| !it.is_zero()) {
        std::thread::park_timeout(left);
    }
}
