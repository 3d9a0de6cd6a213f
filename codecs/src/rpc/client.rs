//! The client role: calls that wait for their answers.
//!
//! ```text
//!           open            encode            answer
//!   (free) ─────▶ Opened ─────────▶ Sent ─────────────▶ (free)
//!                   │ reset          │ reset
//!                   ▼                ▼       late answer, limit or age
//!                 (free)          GivenUp ─────────────────────────────▶ (free)
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::table::Table;
use super::{Heartbeat, Limits};
use crate::{OpenError, StreamId, Time};

/// State of the client role; `S` is [`super::Wire::Shape`].
#[derive(Debug)]
pub(super) struct Client<S> {
    pub(super) calls: Table<Call>,
    pub(super) given_up: GivenUp,
    pub(super) heartbeat: Heartbeat,
    /// The form of the last request, which heartbeats take.
    pub(super) shape: S,
}

/// A call of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Call {
    /// Nothing was sent yet.
    Opened,
    /// The request was sent.
    Sent,
    /// The request was sent and nobody wants the answer any more.
    GivenUp,
}

/// What an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// This call, which has ended with it.
    Call(StreamId),
    /// A call that was given up.
    Late,
    /// Nothing that we know of.
    Unknown,
}

impl<S> Client<S> {
    /// Calls that have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.calls.len().saturating_sub(self.given_up.count)
    }

    pub(super) fn open(&mut self, limits: &Limits, now: Time) -> Result<StreamId, OpenError> {
        if self.in_flight() >= limits.streams() {
            return Err(OpenError::Full);
        }
        self.forget_aged(now);
        Ok(self.calls.insert(Call::Opened))
    }

    /// Whether an answer of this id is one that is still wanted.
    pub(super) fn waits_for(&self, id: u64) -> bool {
        let found = u32::try_from(id).ok().and_then(|id| self.calls.find(id));
        found.is_some_and(|stream| self.calls.get(stream) == Some(&Call::Sent))
    }

    /// Ends the call that an answer of this id belongs to.
    pub(super) fn answered(&mut self, id: u64) -> Answered {
        let found = u32::try_from(id).ok().and_then(|id| self.calls.find(id));
        let Some(stream) = found else { return Answered::Unknown };
        match self.calls.get(stream) {
            Some(Call::Sent) => {
                self.calls.remove(stream);
                Answered::Call(stream)
            }
            Some(Call::GivenUp) => {
                self.forget(stream);
                Answered::Late
            }
            Some(Call::Opened) | None => Answered::Unknown,
        }
    }

    /// Nobody wants the answer any more. Says whether there was such a call.
    pub(super) fn give_up(&mut self, stream: StreamId, limits: &Limits, now: Time) -> bool {
        let Some(call) = self.calls.get_mut(stream) else { return false };
        match call {
            Call::Opened => drop(self.calls.remove(stream)),
            Call::Sent => {
                *call = Call::GivenUp;
                self.given_up.push(stream, now.after(limits.given_up_for()));
                while self.given_up.count > limits.given_up() {
                    self.forget_oldest();
                }
            }
            Call::GivenUp => return false,
        }
        true
    }

    /// Given-up calls, oldest first: slots, and for how many microseconds more they are kept.
    pub(super) fn waiting(&self, now: Time) -> impl Iterator<Item = (u32, u64)> {
        let waiting = self.given_up.queue.iter().filter(|(it, _)| self.is_given_up(*it));
        waiting.map(move |(it, until)| {
            (it.slot, u64::try_from(until.until(now).as_micros()).unwrap_or(u64::MAX))
        })
    }

    fn is_given_up(&self, stream: StreamId) -> bool {
        self.calls.get(stream) == Some(&Call::GivenUp)
    }

    fn forget_aged(&mut self, now: Time) {
        while let Some(&(stream, until)) = self.given_up.queue.front() {
            if self.is_given_up(stream) && now < until {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((stream, _)) = self.given_up.pop() else { return };
        if self.is_given_up(stream) {
            self.forget(stream);
        }
    }

    fn forget(&mut self, stream: StreamId) {
        self.calls.remove(stream);
        self.given_up.count = self.given_up.count.saturating_sub(1);
        // What was answered stays in the queue until it comes to the front; when most of it is
        // of that kind, it is swept.
        if self.given_up.queue.len() > self.given_up.count.saturating_mul(2).saturating_add(16) {
            self.given_up.queue.retain(|(it, _)| self.calls.get(*it) == Some(&Call::GivenUp));
            self.given_up.fresh = self.given_up.fresh.min(self.given_up.queue.len());
        }
    }
}

/// Calls that were given up, oldest first, and until when each is kept.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    queue: VecDeque<(StreamId, Time)>,
    count: usize,
    /// How many at the end of the queue were given up since the time was last told.
    fresh: usize,
}

impl GivenUp {
    /// It is `now`. A part is encoded without being told the time, so what was given up since the
    /// time was last told is kept for `kept_for` from now on: longer is safe, shorter is not.
    pub(super) fn see(&mut self, now: Time, kept_for: Duration) {
        if self.fresh == 0 {
            return;
        }
        let until = now.after(kept_for);
        self.queue.iter_mut().rev().take(self.fresh).for_each(|(_, it)| *it = until);
        self.fresh = 0;
    }

    fn push(&mut self, stream: StreamId, until: Time) {
        self.queue.push_back((stream, until));
        self.count += 1;
        self.fresh += 1;
    }

    fn pop(&mut self) -> Option<(StreamId, Time)> {
        let oldest = self.queue.pop_front();
        self.fresh = self.fresh.min(self.queue.len());
        oldest
    }
}

/// The given-up calls of a snapshot, as [`Client::waiting`] gave them. `None` when they are not
/// those of the table.
pub(super) fn thaw_given_up(
    calls: &Table<Call>,
    frozen: &[(u32, u64)],
    now: Time,
) -> Option<GivenUp> {
    let mut waiting: BTreeMap<u32, StreamId> = calls
        .iter()
        .filter(|(_, call)| *call == Call::GivenUp)
        .map(|(stream, _)| (stream.slot, stream))
        .collect();
    let mut queue = VecDeque::with_capacity(waiting.len());
    for (slot, left) in frozen {
        queue.push_back((waiting.remove(slot)?, now.after(Duration::from_micros(*left))));
    }
    waiting.is_empty().then_some(GivenUp { count: queue.len(), queue, fresh: 0 })
}
