//! What a run counted.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Fault;

/// Answers, faults and latencies of one run.
#[derive(Debug)]
pub struct Tally {
    latencies: Histogram<u64>,
    faults: BTreeMap<Fault, u64>,
    /// Connections that had to be opened anew.
    pub reopened: u64,
    /// How long the run took.
    pub elapsed: Duration,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the answers came within.
    pub p50_us: f64,
    /// 99 of 100 answers came within.
    pub p99_us: f64,
    /// 999 of 1,000 answers came within.
    pub p999_us: f64,
}

/// The histogram's range: from 100 ns to a minute, three digits.
const LATENCY_NANOS: (u64, u64) = (100, 60_000_000_000);
const LATENCY_DIGITS: u8 = 3;

impl Tally {
    #[allow(clippy::expect_used, reason = "the bounds are constants that the histogram accepts")]
    pub(super) fn new() -> Self {
        let (low, high) = LATENCY_NANOS;
        let latencies =
            Histogram::new_with_bounds(low, high, LATENCY_DIGITS).expect("bounds are in order");
        Self { latencies, faults: BTreeMap::new(), reopened: 0, elapsed: Duration::ZERO }
    }

    pub(super) fn answer(&mut self, latency: Duration) {
        self.latencies.saturating_record(latency.as_nanos().try_into().unwrap_or(u64::MAX));
    }

    pub(super) fn fault(&mut self, fault: Fault, count: u64) {
        *self.faults.entry(fault).or_default() += count;
    }

    /// Right answers.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.latencies.len()
    }

    /// Whether nothing was answered, rightly or wrongly.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests() == 0 && self.faults.is_empty()
    }

    /// Right answers a second.
    #[must_use]
    pub fn requests_per_second(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// What was wrong and how often.
    pub fn faults(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        self.faults.iter().map(|(fault, count)| (*fault, *count))
    }

    /// The percentiles of the right answers.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        Latency { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_answers() {
        let mut tally = Tally::new();
        for micros in 1..=1000 {
            tally.answer(Duration::from_micros(micros));
        }
        let latency = tally.latency();
        for (found, expected) in
            [(latency.p50_us, 500.0), (latency.p99_us, 990.0), (latency.p999_us, 999.0)]
        {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} for {expected}");
        }
    }
}
