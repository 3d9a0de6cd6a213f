//! What a peer may make us do for nothing: budgets that time and useful work refill.
//!
//! Every known flood of HTTP/2 is a frame that costs its sender less than us: streams that are
//! given up as soon as they are open, or that we are made to give up; frames that want an answer
//! or nothing at all. Each takes from one of two budgets, whose names are in [`Limits`]; the error
//! names the frame that was one too many.

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use crate::Time;

/// The budgets of a connection.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Budgets {
    resets: Budget,
    idle_frames: Budget,
}

impl Budgets {
    pub(super) fn new(limits: &Limits, now: Time) -> Self {
        Self {
            resets: Budget { left: limits.resets_max, filled_at: now },
            idle_frames: Budget { left: limits.idle_frames_max, filled_at: now },
        }
    }

    /// What a snapshot tells instead of instants: microseconds since each was filled.
    pub(super) fn ages(&self, now: Time) -> [u64; 2] {
        [self.resets.filled_at, self.idle_frames.filled_at].map(|it| it.micros_since(now))
    }

    /// See [`Budgets::ages`].
    pub(super) fn set_ages(&mut self, ages: [u64; 2], now: Time) {
        let [resets, idle_frames] =
            ages.map(|it| Time::from_micros(now.as_micros().saturating_sub(it)));
        self.resets.filled_at = resets;
        self.idle_frames.filled_at = idle_frames;
    }

    /// A stream was given up before its response; false when it is one too many.
    pub(super) fn reset(&mut self, limits: &Limits, now: Time) -> bool {
        self.resets.take(limits.resets_max, limits.resets_per_second, now)
    }

    /// A frame that carries nothing came; false when it is one too many.
    #[inline]
    pub(super) fn idle_frame(&mut self, limits: &Limits, now: Time) -> bool {
        self.idle_frames.take(limits.idle_frames_max, limits.idle_frames_per_second, now)
    }

    /// A stream ended well.
    pub(super) fn stream_ended(&mut self, limits: &Limits) {
        self.resets.add(1, limits.resets_max);
    }

    /// A frame of content came.
    #[inline]
    pub(super) fn content_came(&mut self, limits: &Limits) {
        self.idle_frames.add(1, limits.idle_frames_max);
    }

    /// A frame of content went: its receiver may answer with WINDOW_UPDATE for stream and
    /// connection, and measure with PING.
    #[inline]
    pub(super) fn content_went(&mut self, limits: &Limits) {
        self.idle_frames.add(4, limits.idle_frames_max);
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Budget {
    left: u32,
    #[serde(skip)]
    filled_at: Time,
}

impl Budget {
    fn take(&mut self, max: u32, per_second: u32, now: Time) -> bool {
        if self.left == 0 {
            self.fill(max, per_second, now);
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        true
    }

    /// Looks at the time only when nothing is left: a frame costs a subtraction.
    fn fill(&mut self, max: u32, per_second: u32, now: Time) {
        let micros = self.filled_at.micros_since(now);
        let due = micros.saturating_mul(u64::from(per_second)) / 1_000_000;
        if due > 0 {
            self.filled_at = now;
            self.add(u32::try_from(due).unwrap_or(u32::MAX), max);
        }
    }

    fn add(&mut self, count: u32, max: u32) {
        self.left = self.left.saturating_add(count).min(max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_noticed_and_a_trickle_is_not() {
        let limits = Limits { resets_max: 10, resets_per_second: 2, ..Limits::default() };
        let mut budgets = Budgets::new(&limits, Time::default());
        for second in 0..100 {
            let now = Time::from_micros(second * 1_000_000);
            assert!(budgets.reset(&limits, now) && budgets.reset(&limits, now), "{second}");
        }
        let now = Time::from_micros(99_000_000);
        let allowed = (0..100).filter(|_| budgets.reset(&limits, now)).count();
        assert!(allowed <= 10, "{allowed}");
    }

    #[test]
    fn streams_that_end_well_forgive_those_that_do_not() {
        let limits = Limits { resets_max: 10, resets_per_second: 0, ..Limits::default() };
        let mut budgets = Budgets::new(&limits, Time::default());
        for _ in 0..1000 {
            assert!(budgets.reset(&limits, Time::default()));
            budgets.stream_ended(&limits);
        }
    }
}
