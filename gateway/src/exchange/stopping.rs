//! Ending in order: a worker that is told to stop, and a listener that is closed.

use std::{
    task::{Context, Waker},
    time::Duration,
};

use hangu_codecs::{Status, Time};

use super::{Core, NEVER, failure::Failure};
use crate::{
    clock,
    connection::{Connection, ConnectionId, Side, State, Talk},
};

/// How far a worker is with stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopping {
    /// When it accepts no more.
    from: Time,
    /// When what is in flight is cut off.
    until: Time,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It goes on as ever.
    Delay,
    /// It accepts no more and has told its clients.
    Drain,
    /// It has cut off what was in flight; the answers may be written until this instant.
    CutOff(Time),
}

impl Core {
    /// Goes on for `delay`, then accepts no more, tells every client so in its protocol's words,
    /// and ends when nothing is in flight, at the latest after a further `grace`. Told again, it
    /// takes the shorter times.
    pub fn drain(&mut self, delay: Duration, grace: Duration) {
        self.now = clock::now();
        let from = self.now.after(delay);
        let told = Stopping { from, until: from.after(grace), step: Step::Delay };
        let stopping = self.stopping.get_or_insert(told);
        stopping.from = stopping.from.min(told.from);
        stopping.until = stopping.until.min(told.until);
        self.begin_to_drain();
    }

    /// Accepts no more and says goodbye, if it is time to.
    fn begin_to_drain(&mut self) {
        let Some(stopping) = &mut self.stopping else { return };
        if stopping.step == Step::Delay && self.now >= stopping.from {
            stopping.step = Step::Drain;
            self.acceptors.drain(..).for_each(Waker::wake);
            self.say_goodbye_on(|_| true);
            self.work_off();
        }
    }

    /// Whether the worker may end: it drains, and nothing is in flight or it took too long. What
    /// is in flight at the deadline is answered in its caller's protocol.
    pub(crate) fn is_drained(&mut self, now: Time) -> bool {
        self.now = now;
        self.begin_to_drain();
        let Some(Stopping { until, step, .. }) = self.stopping else { return false };
        if step == Step::Delay {
            return false;
        }
        let has_unsent = self.connections.iter_mut().any(|(_, it)| it.unsent_bytes() > 0);
        let may_bring_more = now < until
            && (self.awaits_newcomers(now) || self.is_parting() || self.awaits_windows());
        if self.exchanges.is_empty() && !has_unsent && !may_bring_more {
            return true;
        }
        match step {
            Step::CutOff(until) => now >= until,
            Step::Delay | Step::Drain if now >= until => {
                self.cut_off();
                false
            }
            Step::Delay | Step::Drain => false,
        }
    }

    /// Ends all exchanges, for the time that they were given is over.
    fn cut_off(&mut self) {
        let left: Vec<_> = self.exchanges.iter().map(|it| it.0).collect();
        if !left.is_empty() {
            tracing::warn!(requests = left.len(), "requests are cut off: their time is over");
        }
        for id in left {
            self.fail(id, Failure::because(Status::Overloaded, "stopping"));
        }
        self.work_off();
        if let Some(stopping) = &mut self.stopping {
            stopping.step = Step::CutOff(self.now.after(CUT_WAIT));
        }
    }

    /// Whether no more is to be accepted on a listener; remembers the task that is to be woken
    /// when that may have changed.
    pub(crate) fn poll_closed(&mut self, listener: usize, context: &Context<'_>) -> bool {
        if self.is_closed(listener) {
            return true;
        }
        let waker = context.waker();
        if !self.acceptors.iter().any(|it| it.will_wake(waker)) {
            self.acceptors.push(waker.clone());
        }
        false
    }

    fn is_closed(&self, listener: usize) -> bool {
        let is_stopping = self.stopping.is_some_and(|it| it.step != Step::Delay);
        is_stopping || !self.snapshot.has_listener(listener)
    }

    /// When a client that has not said yet what it speaks is closed; the end of time while its
    /// listener is open.
    pub(super) fn goodbye_due(&self, connection: &Connection) -> Time {
        match connection.side {
            Side::Downstream { listener } if self.is_closed(listener) => {
                connection.since.after(NEWCOMER_WAIT)
            }
            Side::Downstream { .. } | Side::Upstream { .. } => NEVER,
        }
    }

    /// Tells the clients of some listeners in their protocol's words that no more requests are
    /// taken; their connections end when nothing is in flight.
    pub(super) fn say_goodbye_on(&mut self, mut is_meant: impl FnMut(usize) -> bool) {
        for id in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let Side::Downstream { listener } = connection.side else { continue };
            if !is_meant(listener) {
                continue;
            }
            // One that has not said yet what it speaks is told after its first request.
            if let Some(codec) = connection.codec() {
                codec.drain();
                connection.wants_to_write(id, &mut self.outbox);
                self.settle(id);
            }
            self.set_timer(id);
        }
    }

    /// Tells a client that has sent something since its listener was closed.
    pub(super) fn say_goodbye_late(&mut self, id: ConnectionId) {
        let side = self.connections.get(id).map(|it| it.side);
        let Some(Side::Downstream { listener }) = side else { return };
        if !self.is_closed(listener) {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        if let Some(codec) = connection.codec() {
            codec.drain();
            connection.wants_to_write(id, &mut self.outbox);
        }
    }

    /// Whether a connection came so lately that its first request may still be under way.
    fn awaits_newcomers(&self, now: Time) -> bool {
        self.connections
            .iter()
            .any(|(_, it)| matches!(it.talk, Talk::Unknown) && it.since.since(now) < NEWCOMER_WAIT)
    }

    /// Whether a client has not taken all of an answer that is whole here.
    fn awaits_windows(&self) -> bool {
        let mut downstream =
            self.connections.iter().filter(|(_, it)| matches!(it.side, Side::Downstream { .. }));
        downstream.any(|(_, it)| {
            it.state == State::Open && !it.input_ended && it.has_windows() && it.in_flight() > 0
        })
    }

    /// Whether a client may not have read yet that no more requests are taken.
    fn is_parting(&self) -> bool {
        let mut downstream =
            self.connections.iter().filter(|(_, it)| matches!(it.side, Side::Downstream { .. }));
        downstream.any(|(_, it)| match &it.talk {
            Talk::Known { codec, .. } => codec.is_parting(),
            Talk::Unknown => false,
        })
    }
}

/// The first bytes of a connection that was accepted are waited for this long when its listener
/// is closed: the kernel has told its client that it was accepted.
const NEWCOMER_WAIT: Duration = Duration::from_millis(500);

/// Answers to requests that were cut off get this long to be written; they are short, and whoever
/// does not read them has been waited for long enough.
const CUT_WAIT: Duration = Duration::from_millis(500);
