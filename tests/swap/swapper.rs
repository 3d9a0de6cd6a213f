//! Swaps the proxy again and again, and looks at when the old process is gone.

use std::{
    io,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    clock,
    plan::Plan,
    proxy::{Ended, Proxy, Swapped, Watched},
    timeline::Timeline,
};

/// How long requests that are to be in flight at a swap have to reach the backend.
const HELD_PATIENCE: Duration = Duration::from_secs(3);
/// From the end of a swap to the announcement of the next one at least, unless swaps are wanted to
/// follow each other faster: then a quarter of the time between two.
const PAUSE_MIN: Duration = Duration::from_millis(400);
/// Requests that are to be in flight are sent so long before a swap.
const AHEAD: Duration = Duration::from_millis(250);

/// Whether the proxy is swapped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// It is.
    Swap,
    /// It is not, but all else is done as if it were, each time for so long: the run that one with
    /// swaps is compared with.
    Baseline(Duration),
}

/// One swap.
pub(crate) struct Record {
    /// What became of the order; `None` when none was given.
    pub(crate) swapped: Option<Swapped>,
    /// The order was to fail.
    pub(crate) fails: bool,
    /// The process that served before.
    pub(crate) old_pid: Option<u32>,
    /// How long after the order the old process was gone.
    pub(crate) old_gone: Option<Duration>,
    /// The order failed, and the old process is gone all the same.
    pub(crate) is_dead: bool,
    /// All that was to be in flight was.
    pub(crate) is_held: bool,
}

/// What became of a swap, beside what was to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was done, or failed, as expected.
    Expected,
    /// It was to be done and was refused; the old process goes on.
    Refused,
    /// Anything else.
    Wrong,
}

impl Record {
    /// What became of it.
    pub(crate) fn verdict(&self) -> Verdict {
        let Some(swapped) = &self.swapped else { return Verdict::Expected };
        let is_same = swapped.pid.is_some() && swapped.pid == self.old_pid;
        match (swapped.ended, self.fails) {
            _ if self.is_dead => Verdict::Wrong,
            (Some(Ended::Exited(0)), false) if !is_same => Verdict::Expected,
            (None | Some(Ended::Exited(0)), _) => Verdict::Wrong,
            (Some(_), true) => Verdict::Expected,
            (Some(_), false) => Verdict::Refused,
        }
    }
}

/// Swaps as often as the plan says.
///
/// # Errors
/// The shell cannot be started, or a file cannot be written.
pub(crate) fn run(
    proxy: &mut Proxy,
    plan: &Plan,
    timeline: &Timeline,
    mode: Mode,
) -> io::Result<Vec<Record>> {
    let length = match mode {
        Mode::Swap => None,
        Mode::Baseline(length) => Some(length),
    };
    if let Some(length) = length {
        return pretend_all(plan, timeline, length);
    }
    let mut watches = Vec::new();
    let mut records = repeat(plan, timeline, |swap| {
        let (record, watch) = swap_once(proxy, plan, timeline, swap)?;
        watches.push(watch);
        Ok(record)
    })?;
    for (record, watch) in records.iter_mut().zip(watches) {
        record.old_gone = watch.and_then(|it| it.join().ok().flatten());
    }
    Ok(records)
}

/// Does nothing so often, each time for so long.
pub(crate) fn pretend_all(
    plan: &Plan,
    timeline: &Timeline,
    length: Duration,
) -> io::Result<Vec<Record>> {
    repeat(plan, timeline, |_| Ok(pretend(timeline, length)))
}

/// Does something at even intervals, each time with requests in flight.
fn repeat(
    plan: &Plan,
    timeline: &Timeline,
    mut swap: impl FnMut(u32) -> io::Result<Record>,
) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut next = clock::now() + plan.warm_up;
    let pause_min = PAUSE_MIN.min(plan.interval / 4);
    for number in 0..plan.swaps {
        clock::wait_until(next.checked_sub(AHEAD).unwrap_or(next));
        if timeline.is_sending_over() {
            break;
        }
        timeline.announce();
        let is_held = || timeline.is_held(plan.threads).then_some(());
        let is_held = clock::retry(HELD_PATIENCE, is_held).is_some();
        clock::wait_until(next);
        records.push(Record { is_held, ..swap(number)? });
        next = (next + plan.interval).max(clock::now() + pause_min + AHEAD);
    }
    if !timeline.is_sending_over() {
        clock::wait_until(next);
    }
    timeline.stop_sending();
    Ok(records)
}

type Watch = JoinHandle<Option<Duration>>;

fn swap_once(
    proxy: &mut Proxy,
    plan: &Plan,
    timeline: &Timeline,
    swap: u32,
) -> io::Result<(Record, Option<Watch>)> {
    let command = proxy.prepare(swap)?;
    let old_pid = proxy.pid();
    let old = old_pid.and_then(Watched::new);
    timeline.begin(clock::now());
    let swapped = proxy.swap(swap, &command, plan.swap_timeout, plan.backlog > 0);
    let (begin, end) = match &swapped {
        Ok(swapped) => (swapped.begin, swapped.end),
        Err(_) => (clock::now(), clock::now()),
    };
    timeline.end(begin, end);
    let swapped = swapped?;
    let mut record = Record {
        swapped: Some(swapped),
        fails: command.fails,
        old_pid,
        old_gone: None,
        is_dead: false,
        is_held: false,
    };
    let Some(old) = old else { return Ok((record, None)) };
    if record.swapped.as_ref().is_some_and(|it| it.ended != Some(Ended::Exited(0))) {
        record.is_dead = old.wait(Duration::ZERO).is_some();
        return Ok((record, None));
    }
    let patience = plan.gone_patience;
    let watch =
        std::thread::spawn(move || Some(old.wait(patience)?.saturating_duration_since(begin)));
    Ok((record, Some(watch)))
}

fn pretend(timeline: &Timeline, length: Duration) -> Record {
    let begin: Instant = clock::now();
    timeline.begin(begin);
    clock::wait_until(begin + length);
    timeline.end(begin, clock::now());
    Record {
        swapped: None,
        fails: false,
        old_pid: None,
        old_gone: None,
        is_dead: false,
        is_held: false,
    }
}
