//! When requests are due at a fixed rate.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::clock;

/// Evenly spaced instants, and a timer that fires at their pace (epoll waits in milliseconds).
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    interval: Duration,
    sent: u32,
    turn: usize,
    timer: OwnedFd,
}

/// The start moves on after so many requests, to keep the arithmetic in 32 bits.
const REBASE: u32 = 1 << 20;

impl Schedule {
    /// A schedule that begins now.
    pub(super) fn new(per_second: u32) -> io::Result<Self> {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let period = Timespec {
            tv_sec: interval.as_secs().try_into().unwrap_or(1),
            tv_nsec: interval.subsec_nanos().into(),
        };
        let pace = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &pace)?;
        Ok(Self { start: clock::now(), interval, sent: 0, turn: 0, timer })
    }

    /// Takes the timer's event.
    pub(super) fn acknowledge(&self) {
        // A timer that has not fired has nothing to take; that is no failure.
        let _ = rustix::io::read(&self.timer, &mut [0_u8; 8]);
    }

    /// The next request that is due by `now`, and which turn of the connections it is.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<(Instant, usize)> {
        let due = self.start + self.interval * self.sent;
        if due > now {
            return None;
        }
        self.sent += 1;
        self.turn += 1;
        if self.sent == REBASE {
            self.start += self.interval * REBASE;
            self.sent = 0;
        }
        Some((due, self.turn))
    }
}

impl AsFd for Schedule {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_evenly_from_the_start_however_late_one_asks() {
        let mut schedule = Schedule::new(1000).unwrap();
        let start = schedule.start;
        let late = start + Duration::from_millis(10);
        let due: Vec<_> = std::iter::from_fn(|| schedule.next_due(late)).collect();
        assert_eq!(due.len(), 11);
        for (nth, (due, turn)) in (0..).zip(due) {
            assert_eq!(due, start + Duration::from_millis(nth));
            assert_eq!(turn, nth as usize + 1);
        }
    }

    #[test]
    fn the_pace_is_kept_when_the_start_moves_on() {
        let mut schedule = Schedule::new(1_000_000).unwrap();
        let (start, late) = (schedule.start, schedule.start + Duration::from_secs(4));
        let last = std::iter::from_fn(|| schedule.next_due(late)).last().unwrap();
        assert_eq!(last, (start + Duration::from_secs(4), 4_000_001));
    }
}
