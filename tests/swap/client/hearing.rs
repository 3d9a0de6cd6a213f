//! What clients hear, and what they make of it.

use std::time::Instant;

use super::{
    Crowd,
    talk::{Around, Heard},
};
use crate::{ask::Ask, poller::Ready, tally::Fault};

impl Crowd {
    /// Whether anything was heard.
    pub(super) fn serve(&mut self, ready: Ready, now: Instant) -> bool {
        let (slot, generation) = ((ready.token & 0xffff_ffff) as usize, ready.token >> 32);
        let Some(client) = self.slots.get_mut(slot) else { return false };
        if u64::from(client.generation) != generation {
            return false;
        }
        let Some(connection) = &mut client.connection else { return false };
        if !connection.is_connected() {
            if !ready.is_writable {
                return false;
            }
            match connection.connects() {
                Ok(true) => {}
                Ok(false) => return false,
                Err(fault) => {
                    self.end(slot, fault, now);
                    return false;
                }
            }
            self.connecting -= 1;
            self.connected += 1;
            self.tally.of(client.group).opened += 1;
        }
        if let Err(fault) = connection.flush() {
            self.end(slot, fault, now);
            return false;
        }
        let has_heard = self.hear(slot, now);
        self.send_waiting(slot, now);
        has_heard
    }

    /// Hears what has come on a connection; whether anything had.
    pub(super) fn hear(&mut self, slot: usize, now: Instant) -> bool {
        let is_ending = self.stage.timeline.is_sending_over();
        let client = &mut self.slots[slot];
        let Some(connection) = &mut client.connection else { return false };
        let ledger = &self.stage.ledger;
        let mut around = Around { now, ledger, is_ending, heard: &mut self.heard };
        let is_steady = connection.talk.is_steady();
        let result = connection.hear(&mut self.buffer, &mut around);
        let is_closed_next = connection.talk.is_closed_next();
        let has_answers = !self.heard.is_empty();
        if is_steady && result == Ok(true) {
            self.note_gap(slot, now);
        }
        self.take_heard(slot, now);
        match result {
            Ok(_) if has_answers && !self.slots[slot].group.is_lasting() => self.release(slot),
            Ok(_) if is_closed_next => self.end(slot, Fault::Closed, now),
            Ok(_) => {}
            Err(fault) => self.end(slot, fault, now),
        }
        has_answers
    }

    pub(super) fn take_heard(&mut self, slot: usize, now: Instant) {
        let mut heard = std::mem::take(&mut self.heard);
        for Heard { request, verdict, is_timed } in heard.drain(..) {
            let tally = self.tally.of(self.slots[slot].group);
            let timeline = &self.stage.timeline;
            match verdict {
                Ok(()) => self.stage.ledger.answer(request.number),
                Err(fault) => tally.fault(fault, 1),
            }
            let asks_again = self.stage.plan.is_closed_loop && self.slots[slot].group.is_lasting();
            if asks_again && !timeline.is_sending_over() {
                self.slots[slot].waiting.push_back((now, Ask::Now));
            }
            let delay = request.ask.delay();
            if delay.is_none() || !is_timed {
                let swaps = timeline.swaps_within(request.sent, now);
                self.slots[slot].client.swaps_in_flight += swaps;
            }
            match delay.filter(|_| is_timed) {
                Some(delay) => {
                    let wait = now.saturating_duration_since(request.due + delay);
                    tally.wait(wait, timeline.is_near(request.due, now));
                    self.note_gap(slot, now);
                }
                // Kept on demand: the time says nothing.
                None => self.slots[slot].last_heard = Some(now),
            }
        }
        self.heard = heard;
    }

    /// Something came that was expected: how long after what came before?
    fn note_gap(&mut self, slot: usize, now: Instant) {
        let client = &mut self.slots[slot];
        let Some(before) = client.last_heard.replace(now) else { return };
        let gap = now.saturating_duration_since(before);
        let is_near = self.stage.timeline.is_near(before, now);
        let longest = match is_near {
            true => &mut client.client.gap_near,
            false => &mut client.client.gap_far,
        };
        *longest = gap.max(*longest);
    }
}
