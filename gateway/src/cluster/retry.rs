//! How many further tries a cluster takes.

use std::time::Duration;

use hangu_codecs::Time;
use hangu_config::RetryBudget;

/// Allows further tries in proportion to the requests of the last seconds, so that tries do not
/// multiply the load of a cluster that is in trouble. Each worker has its own.
///
/// A bucket of tokens: each request adds its share of one, time adds some, a try takes one.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Hundredths of a try.
    tokens: u64,
    /// When time last added some.
    filled_at: Time,
}

/// Hundredths of one try.
const TRY: u64 = 100;

/// What requests add is kept up to this many tries: a trouble that begins after a quiet time
/// should not be met by more.
const TRIES_MAX: u64 = 100;

impl Budget {
    /// Full with what time alone would allow in a second.
    pub fn new(settings: RetryBudget, workers: usize, now: Time) -> Self {
        Self { tokens: per_second(settings, workers), filled_at: now }
    }

    /// Hundredths of a try that are left.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Goes on with what was left of another one.
    pub fn set_tokens(&mut self, tokens: u64) {
        self.tokens = tokens.min(TRIES_MAX * TRY);
    }

    /// A request was given to the cluster.
    #[inline]
    pub fn deposit(&mut self, settings: RetryBudget) {
        let tokens = self.tokens.saturating_add(u64::from(settings.percent));
        self.tokens = tokens.min((TRIES_MAX * TRY).max(self.tokens));
    }

    /// Whether one more try is allowed; takes it if so.
    pub fn take(&mut self, settings: RetryBudget, workers: usize, now: Time) -> bool {
        let rate = per_second(settings, workers);
        let passed = self.filled_at.since(now).min(Duration::from_secs(1));
        let added = u128::from(rate) * passed.as_micros() / 1_000_000;
        if added > 0 {
            let added = u64::try_from(added).unwrap_or(rate);
            self.tokens = self.tokens.saturating_add(added).min((TRIES_MAX * TRY).max(rate));
            self.filled_at = now;
        }
        let Some(left) = self.tokens.checked_sub(TRY) else { return false };
        self.tokens = left;
        true
    }
}

/// Hundredths of a try that time adds in a second: this worker's share of them, at least one try
/// in ten seconds where any are allowed.
fn per_second(settings: RetryBudget, workers: usize) -> u64 {
    if settings.min_per_second == 0 {
        return 0;
    }
    let all = u64::from(settings.min_per_second) * TRY;
    (all / workers.max(1) as u64).max(TRY / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RetryBudget = RetryBudget { percent: 20, min_per_second: 10 };

    fn taken(budget: &mut Budget, settings: RetryBudget, now: Time) -> usize {
        (0..100_000).take_while(|_| budget.take(settings, 1, now)).count()
    }

    #[test]
    fn tries_are_a_share_of_the_requests_and_some_are_always_allowed() {
        let now = Time::from_micros(5);
        let mut budget = Budget::new(SETTINGS, 1, now);
        assert_eq!(taken(&mut budget, SETTINGS, now), 10);
        (0..100).for_each(|_| budget.deposit(SETTINGS));
        assert_eq!(taken(&mut budget, SETTINGS, now), 20);
        let later = now.after(Duration::from_millis(500));
        assert_eq!(taken(&mut budget, SETTINGS, later), 5);
        let later = later.after(Duration::from_secs(100));
        assert_eq!(taken(&mut budget, SETTINGS, later), 10);
    }

    #[test]
    fn what_a_quiet_time_leaves_is_bounded() {
        let now = Time::from_micros(5);
        let mut budget = Budget::new(SETTINGS, 1, now);
        (0..1_000_000).for_each(|_| budget.deposit(SETTINGS));
        assert_eq!(taken(&mut budget, SETTINGS, now), TRIES_MAX as usize);
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing() {
        let none = RetryBudget { percent: 0, min_per_second: 0 };
        let now = Time::from_micros(5);
        let mut budget = Budget::new(none, 1, now);
        budget.deposit(none);
        assert_eq!(taken(&mut budget, none, now.after(Duration::from_secs(9))), 0);
    }

    #[test]
    fn workers_share_what_time_allows() {
        let now = Time::from_micros(5);
        let mut budget = Budget::new(SETTINGS, 4, now);
        let count = (0..100).take_while(|_| budget.take(SETTINGS, 4, now)).count();
        assert_eq!(count, 2);
    }
}
