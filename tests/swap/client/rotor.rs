//! Requests at a fixed rate over some clients in turn, whatever becomes of the answers.

use std::time::{Duration, Instant};

use crate::{ask::Ask, group::Group};

/// When the next request of a group is due, and whose turn it is.
pub(super) struct Rotor {
    /// The group.
    pub(super) group: Group,
    slots: Vec<usize>,
    interval: Duration,
    next: Instant,
    turn: usize,
}

impl Rotor {
    /// For these clients, so many requests a second from now on.
    pub(super) fn new(group: Group, slots: Vec<usize>, per_second: f64, now: Instant) -> Self {
        let interval = Duration::from_secs_f64(1.0 / per_second.max(0.001));
        Self { group, slots, interval, next: now, turn: 0 }
    }

    /// Begins anew at this instant.
    pub(super) fn start(&mut self, now: Instant) {
        self.next = now;
    }

    /// When the next request is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// The next request that is due by now, and how it is to be answered.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Instant, Ask)> {
        if self.next > now || self.slots.is_empty() {
            return None;
        }
        let due = self.next;
        self.next += self.interval;
        self.turn += 1;
        Some((due, ask(self.group, self.turn)))
    }

    /// The first client from the one whose turn it is that is free; when none is, that one.
    pub(super) fn pick(&self, mut is_free: impl FnMut(usize) -> bool) -> usize {
        let count = self.slots.len();
        let mut order = (0..count).map(|step| self.slots[(self.turn + step) % count]);
        let first = self.slots[self.turn % count];
        order.by_ref().take(PICK_MAX).find(|slot| is_free(*slot)).unwrap_or(first)
    }
}

/// So many clients are asked at most for one request.
const PICK_MAX: usize = 1024;

/// Most requests are answered at once. Some are late by a few milliseconds, so that answers cross
/// each other; in Bolt some and in HTTP/2 half of them are late by up to a second,
/// so that many streams are open.
fn ask(group: Group, turn: usize) -> Ask {
    let draw = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let late_ms = (draw / 64) as u32;
    match (group, draw % 64) {
        (Group::Bolt, 0) => Ask::After(200 + late_ms % 800),
        (Group::Bolt, 1..8) => Ask::After(1 + late_ms % 20),
        (Group::Http2, 0..32) => Ask::After(200 + late_ms % 800),
        (Group::Http, 0..4) => Ask::After(1 + late_ms % 40),
        _ => Ask::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "an instant to count from")]
    fn requests_are_due_evenly_however_late_one_asks_and_pass_over_who_is_not_free() {
        let start = Instant::now();
        let mut rotor = Rotor::new(Group::Http, vec![5, 6, 7], 100.0, start);
        let late = start + Duration::from_millis(35);
        let due: Vec<_> = std::iter::from_fn(|| rotor.due(late)).map(|(due, _)| due).collect();
        let expected: Vec<_> = (0..4).map(|nth| start + Duration::from_millis(10 * nth)).collect();
        assert_eq!(due, expected);
        let first = rotor.pick(|_| true);
        assert_ne!(rotor.pick(|slot| slot != first), first);
        assert_eq!(rotor.pick(|_| false), first);
    }
}
