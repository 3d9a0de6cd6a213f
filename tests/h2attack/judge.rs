//! The targets, and which of them a trial missed.

use std::time::Duration;

use crate::{
    attacks::Pace,
    healthy::{Seen, Tally},
    trial::Trial,
};

/// By how much the 99th percentile of healthy clients may grow, in milliseconds.
pub(crate) const P99_WORSE_MS_MAX: f64 = 10.0;
/// Seconds on a processor for each megabyte that was accepted, beyond what healthy clients cost. An
/// attack that sends little may cost as much as one at 1 MB/s.
pub(crate) const CPU_PER_MB_MAX: f64 = 0.06;
/// By how many bytes the resident memory may grow.
pub(crate) const GROWTH_BYTES_MAX: u64 = 4_000_000;
/// The same where large answers are made to wait.
pub(crate) const GROWTH_PARKED_BYTES_MAX: u64 = 40_000_000;

/// Figures that follow from what was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Errors of healthy clients during the attack and after it.
    pub(crate) errors: u64,
    /// Errors before it: the trial says nothing.
    pub(crate) errors_before: u64,
    /// Millions of bytes that were accepted.
    pub(crate) accepted_mb: f64,
    /// Seconds on a processor beyond what healthy clients cost.
    pub(crate) cpu_seconds: f64,
    /// The same for each megabyte.
    pub(crate) cpu_per_mb: f64,
    /// By how much memory grew at the most, in bytes.
    pub(crate) growth_max: u64,
    /// By how much it had grown two seconds after the attack.
    pub(crate) growth_after: u64,
    /// By how much the 99th percentile grew, in milliseconds; that of the worse of both protocols.
    pub(crate) p99_worse_ms: f64,
}

impl Figures {
    /// Those of a trial.
    pub(crate) fn of(trial: &Trial) -> Self {
        let all: Vec<&Seen> =
            [Some(&trial.h2), trial.http1.as_ref()].into_iter().flatten().collect();
        let accepted_mb = trial.outcome.accepted_bytes as f64 / 1e6;
        let extra = |cpu: Duration| cpu.as_secs_f64() - trial.cpu_before.as_secs_f64();
        let cpu_seconds = extra(trial.cpu_during).max(0.0);
        let worse = |it: &&Seen| percentile_ms(&it.during, 99.0) - percentile_ms(&it.before, 99.0);
        Self {
            errors: all.iter().map(|it| it.during.wrong + it.after.wrong).sum(),
            errors_before: all.iter().map(|it| it.before.wrong).sum(),
            accepted_mb,
            cpu_seconds,
            cpu_per_mb: cpu_seconds / accepted_mb.max(1e-6),
            growth_max: trial.resident_max.saturating_sub(trial.resident_before),
            growth_after: trial.resident_after.saturating_sub(trial.resident_before),
            p99_worse_ms: all.iter().map(worse).fold(0.0, f64::max),
        }
    }

    /// Which targets were missed, in words.
    pub(crate) fn missed(&self, trial: &Trial) -> Vec<String> {
        let mut missed = Vec::new();
        if !trial.is_alive {
            missed.push("the target ended".to_owned());
        }
        if self.errors > 0 {
            missed.push(format!("{} errors", self.errors));
        }
        if self.errors_before > 0 {
            missed.push(format!("{} errors before the attack", self.errors_before));
        }
        if self.p99_worse_ms > P99_WORSE_MS_MAX {
            missed.push(format!("p99 {:.0} ms worse", self.p99_worse_ms));
        }
        let cpu = match trial.attack.pace {
            Pace::Bytes => self.cpu_per_mb,
            Pace::Waits => self.cpu_seconds / trial.lasts.as_secs_f64(),
        };
        if cpu > CPU_PER_MB_MAX {
            missed.push(format!("CPU {cpu:.3} s"));
        }
        let allowed = match trial.attack.parks_answers {
            true => GROWTH_PARKED_BYTES_MAX,
            false => GROWTH_BYTES_MAX,
        };
        if self.growth_max > allowed {
            missed.push(format!("RSS {:.1} MB", self.growth_max as f64 / 1e6));
        }
        missed
    }
}

/// A percentile of right answers, in milliseconds; 0 if there was none.
pub(crate) fn percentile_ms(tally: &Tally, percentile: f64) -> f64 {
    match tally.right {
        0 => 0.0,
        _ => tally.latencies.value_at_percentile(percentile) as f64 / 1000.0,
    }
}
