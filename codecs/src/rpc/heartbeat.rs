//! Whether the peer is alive: the client role's heartbeats.
//!
//! As the Java peers do: after an interval without a frame in either direction one heartbeat is
//! sent; if nothing at all comes within the timeout it counts as missed, and the next one goes
//! out an interval later; after some misses in a row the peer is dead. So a dead peer is noticed
//! after `interval × misses + timeout`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Limits;
use crate::Time;

/// State of the heartbeats of a connection.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// When the connection will have been idle for an interval.
    idle_at: Time,
    misses: u8,
    waiting: Option<Waiting>,
}

/// A heartbeat that was sent.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: u32,
    until: Time,
    /// Something came since, which shows life as well as an answer.
    is_alive: bool,
}

/// A heartbeat in a snapshot: what remains, in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Frozen {
    idle_in: u64,
    misses: u8,
    waiting: Option<(u32, u64, bool)>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// A heartbeat is to be sent; tell its id by [`Heartbeat::sent`].
    Send,
    /// The peer is dead.
    Dead,
}

impl Heartbeat {
    pub(super) fn new(now: Time, limits: &Limits) -> Self {
        Self { idle_at: now.after(interval(limits)), misses: 0, waiting: None }
    }

    /// A frame went.
    pub(super) fn frame_went(&mut self, now: Time, limits: &Limits) {
        self.idle_at = now.after(interval(limits));
    }

    /// Something came, which proves that the peer is alive.
    pub(super) fn frame_came(&mut self, now: Time, limits: &Limits) {
        self.idle_at = now.after(interval(limits));
        self.misses = 0;
        if let Some(waiting) = &mut self.waiting {
            waiting.is_alive = true;
        }
    }

    /// An answer came; says whether it is the one that was waited for.
    pub(super) fn answered(&mut self, id: u64) -> bool {
        let is_ours = self.waiting.is_some_and(|it| u64::from(it.id) == id);
        if is_ours {
            self.waiting = None;
        }
        is_ours
    }

    pub(super) fn next_timeout(&self, limits: &Limits) -> Option<Time> {
        if limits.heartbeat_interval_ms == 0 {
            return None;
        }
        Some(self.waiting.map_or(self.idle_at, |it| it.until))
    }

    /// Time has come to be `now`.
    pub(super) fn due(&mut self, now: Time, limits: &Limits) -> Due {
        if limits.heartbeat_interval_ms == 0 {
            return Due::Nothing;
        }
        if let Some(waiting) = self.waiting {
            if now < waiting.until {
                return Due::Nothing;
            }
            self.waiting = None;
            self.misses = if waiting.is_alive { 0 } else { self.misses.saturating_add(1) };
            if self.misses >= limits.heartbeat_misses_max.max(1) {
                return Due::Dead;
            }
        }
        if now < self.idle_at { Due::Nothing } else { Due::Send }
    }

    /// A heartbeat of that id was sent.
    pub(super) fn sent(&mut self, id: u32, now: Time, limits: &Limits) {
        self.frame_went(now, limits);
        let timeout = Duration::from_millis(u64::from(limits.heartbeat_timeout_ms));
        self.waiting = Some(Waiting { id, until: now.after(timeout), is_alive: false });
    }

    pub(super) fn freeze(&self, now: Time) -> Frozen {
        Frozen {
            idle_in: micros(self.idle_at.until(now)),
            misses: self.misses,
            waiting: self.waiting.map(|it| (it.id, micros(it.until.until(now)), it.is_alive)),
        }
    }

    pub(super) fn thaw(frozen: &Frozen, now: Time) -> Self {
        let waiting = frozen.waiting.map(|(id, left, is_alive)| Waiting {
            id,
            until: now.after(Duration::from_micros(left)),
            is_alive,
        });
        let idle_at = now.after(Duration::from_micros(frozen.idle_in));
        Self { idle_at, misses: frozen.misses, waiting }
    }
}

fn interval(limits: &Limits) -> Duration {
    Duration::from_millis(u64::from(limits.heartbeat_interval_ms))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * SECOND)
    }

    #[test]
    fn three_heartbeats_without_an_answer_are_death() {
        let limits = Limits::default();
        let mut heartbeat = Heartbeat::new(at(0), &limits);
        assert_eq!(heartbeat.due(at(14), &limits), Due::Nothing);
        for round in 1..=3 {
            assert_eq!(heartbeat.due(at(15 * round), &limits), Due::Send);
            heartbeat.sent(7, at(15 * round), &limits);
            assert_eq!(heartbeat.next_timeout(&limits), Some(at(15 * round + 1)));
            let expected = if round == 3 { Due::Dead } else { Due::Nothing };
            assert_eq!(heartbeat.due(at(15 * round + 1), &limits), expected);
        }
    }

    #[test]
    fn an_answer_or_any_frame_forgives_the_misses() {
        let limits = Limits::default();
        let mut heartbeat = Heartbeat::new(at(0), &limits);
        for round in 1..=10 {
            assert_eq!(heartbeat.due(at(20 * round), &limits), Due::Send);
            heartbeat.sent(7, at(20 * round), &limits);
            assert!(!heartbeat.answered(8));
            if round % 3 == 0 {
                heartbeat.frame_came(Time::from_micros(20 * round * SECOND + 1), &limits);
            }
            assert_eq!(heartbeat.due(at(20 * round + 2), &limits), Due::Nothing);
        }
        heartbeat.sent(9, at(300), &limits);
        assert!(heartbeat.answered(9));
        assert_eq!(heartbeat.next_timeout(&limits), Some(at(315)));
    }

    #[test]
    fn without_an_interval_there_are_none() {
        let limits = Limits { heartbeat_interval_ms: 0, ..Limits::default() };
        let mut heartbeat = Heartbeat::new(at(0), &limits);
        assert_eq!(heartbeat.next_timeout(&limits), None);
        assert_eq!(heartbeat.due(at(1000), &limits), Due::Nothing);
    }
}
