//! Waiting for a condition.

use std::time::{Duration, Instant};

/// How long a test waits for something that is to happen before it fails. Long, for a loaded
/// machine: it is only ever spent by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within [`PATIENCE`].
pub fn until_some<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until_some_within(PATIENCE, what, probe)
}

/// Asks until there is an answer, for things that take long by themselves.
///
/// # Panics
/// When there is none in time.
pub fn until_some_within<T>(
    patience: Duration,
    what: &str,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < end, "after {patience:?} still not: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Asks until the condition holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}
