//! How a swap went, step by step.

use std::time::Duration;

use hangu_codecs::Time;
use serde::{Deserialize, Serialize};

/// The steps of a swap, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The new program is started and says who it is.
    Start,
    /// It checks its configuration and makes its workers.
    Prepare,
    /// Connections that cannot move come to their end.
    Drain,
    /// Descriptors are passed; the old process serves.
    Ahead,
    /// All workers are held and their values written.
    Freeze,
    /// The values travel and are thawed.
    Thaw,
    /// The new process owns all; the old one writes its last words and ends.
    Commit,
}

impl Phase {
    /// Its name in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Prepare => "prepare",
            Self::Drain => "drain",
            Self::Ahead => "ahead",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Commit => "commit",
        }
    }
}

/// How a swap went, or how far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Process that hands over.
    pub old_pid: u32,
    /// Process that takes over; 0 before it is started.
    pub new_pid: u32,
    /// Version of the program that hands over.
    pub old_version: String,
    /// Version of the program that takes over.
    pub new_version: String,
    /// The phases that were begun, each with how long it took, microseconds.
    pub phases: Vec<(Phase, u64)>,
    /// Connections that moved.
    pub connections: u64,
    /// Requests in flight that moved.
    pub exchanges: u64,
    /// Connections that could not move and were cut off at the limit.
    pub cut: u64,
    /// From the order to freeze to the first write of the new process, microseconds.
    pub pause_us: Option<u64>,
    /// From the commit to the end of the old process, microseconds.
    pub old_gone_us: Option<u64>,
    /// Why it did not come about; the old process goes on.
    pub error: Option<String>,
    /// Whether the new process serves and the old one is gone.
    pub is_complete: bool,
}

impl Report {
    /// The phase that is under way, while it can be told.
    pub fn under_way(&self) -> Option<Phase> {
        match self.phases.last() {
            None => Some(Phase::Start),
            Some((Phase::Start, _)) => Some(Phase::Prepare),
            Some((Phase::Prepare, _)) => Some(Phase::Drain),
            Some((Phase::Drain, _)) => Some(Phase::Ahead),
            Some((Phase::Ahead, _)) => Some(Phase::Freeze),
            Some((Phase::Freeze, _)) => Some(Phase::Thaw),
            Some((Phase::Thaw, _)) => Some(Phase::Commit),
            Some((Phase::Commit, _)) => None,
        }
    }

    /// The phases with their times, in one line.
    pub fn times(&self) -> String {
        let time = |(phase, took): &(Phase, u64)| {
            format!("{} {:.1} ms", phase.as_str(), *took as f64 / 1e3)
        };
        self.phases.iter().map(time).collect::<Vec<_>>().join(", ")
    }
}

/// Measures phases one after the other.
#[derive(Debug)]
pub(super) struct Stopwatch {
    since: Time,
}

impl Stopwatch {
    pub(super) fn new(now: Time) -> Self {
        Self { since: now }
    }

    /// A phase is over.
    pub(super) fn note(&mut self, report: &mut Report, phase: Phase, now: Time) {
        let took = self.since.since(now);
        report.phases.push((phase, micros(took)));
        self.since = now;
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
