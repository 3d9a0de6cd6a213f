//! Logging the same thing so often and no more.

use std::time::Duration;

use hangu_codecs::Time;

/// Lets a place in the code log so often per second, and counts what it does not.
///
/// Belongs to one thread. What a connection or a client can bring about again and again is logged
/// behind one, so that nobody fills a disk or keeps a worker busy with words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    since: Option<Time>,
    logged: u32,
    suppressed: u64,
}

impl Throttle {
    /// Messages of one place in one second. Enough to see what happens, too few to harm.
    pub const PER_SECOND_MAX: u32 = 10;

    /// A throttle that has let nothing through.
    pub const fn new() -> Self {
        Self { since: None, logged: 0, suppressed: 0 }
    }

    /// Whether to log now: `Some` with the number of messages like this one that were suppressed
    /// since the last that was not.
    pub fn admit(&mut self, now: Time) -> Option<u64> {
        if self.since.is_none_or(|since| since.since(now) >= SECOND) {
            self.since = Some(now);
            self.logged = 0;
        }
        if self.logged >= Self::PER_SECOND_MAX {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_by_its_first_messages_and_the_number_of_the_others() {
        let mut throttle = Throttle::new();
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let told: Vec<_> = (0..1000).filter_map(|ms| throttle.admit(at(ms))).collect();
        assert_eq!(told, [0; Throttle::PER_SECOND_MAX as usize]);
        assert_eq!(throttle.admit(at(1000)), Some(990));
        assert_eq!(throttle.admit(at(1001)), Some(0));
        assert_eq!(throttle.admit(at(90_000)), Some(0), "a quiet place says all that it has");
    }
}
