//! Time as a value. Nothing in this crate reads a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant: microseconds since an origin that the caller chooses (any monotonic clock).
///
/// Only differences mean something, so what is frozen is never an instant but what remains until
/// it ([`Time::until`]), and what is thawed is that much after the new `now`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time(u64);

impl Time {
    /// An instant that lies `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// What remains until `self`, seen from `now`; zero when it has passed.
    pub const fn until(self, now: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(now.0))
    }

    /// What has passed since `self`, seen from `now`; zero when it lies ahead.
    pub const fn since(self, now: Self) -> Duration {
        Duration::from_micros(now.0.saturating_sub(self.0))
    }

    /// Microseconds since `self`, seen from `now`; zero when it lies ahead.
    pub const fn micros_since(self, now: Self) -> u64 {
        now.0.saturating_sub(self.0)
    }

    /// The instant that lies `duration` after `self`, at the latest the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_never_turns_negative() {
        let now = Time::from_micros(10);
        assert_eq!(Time::from_micros(4).until(now), Duration::ZERO);
        assert_eq!(Time::from_micros(14).until(now), Duration::from_micros(4));
        assert_eq!(now.after(Duration::MAX).as_micros(), u64::MAX);
    }
}
