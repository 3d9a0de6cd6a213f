//! What one thread of clients counts; the threads' tallies are added up.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;

use crate::group::Group;

/// Why a request failed, or what else went wrong on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The connection was closed with the request in flight.
    Closed,
    /// It was reset with the request in flight.
    Reset,
    /// The connection did not come about.
    Refused,
    /// A status that says no.
    Status(u16),
    /// Other bytes than expected.
    Content,
    /// What came is not the protocol.
    Malformed,
    /// Something came that nobody had asked for.
    Stray,
    /// No answer until the end of the run.
    Unanswered,
    /// The request could not be sent: too many wait already.
    Overrun,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Reset => f.write_str("reset"),
            Self::Refused => f.write_str("refused"),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Content => f.write_str("wrong content"),
            Self::Malformed => f.write_str("malformed"),
            Self::Stray => f.write_str("unasked"),
            Self::Unanswered => f.write_str("unanswered"),
            Self::Overrun => f.write_str("not sent"),
        }
    }
}

/// Counts of one group.
pub(crate) struct GroupTally {
    /// Connections that came about.
    pub(crate) opened: u64,
    /// Connections that the proxy ended without a word.
    pub(crate) closed_unannounced: u64,
    /// Connections that the proxy ended with `Connection: close`.
    pub(crate) closed_announced: u64,
    /// What went wrong.
    pub(crate) faults: BTreeMap<Fault, u64>,
    /// From when a request was due to its answer, without the delay that it asked for, in
    /// microseconds; near a swap.
    pub(crate) near: Histogram<u64>,
    /// The same while no swap was near.
    pub(crate) far: Histogram<u64>,
    /// Of each lasting client.
    pub(crate) clients: Vec<Client>,
}

/// What became of a client that was to keep its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// Connections that it had to open anew.
    pub(crate) replaced: u32,
    /// Swaps through all of which something of its own was in flight.
    pub(crate) swaps_in_flight: u32,
    /// The longest time between two answers near a swap.
    pub(crate) gap_near: Duration,
    /// The longest time between two answers while no swap was near.
    pub(crate) gap_far: Duration,
}

/// An hour: longer than any run waits.
const WAIT_MICROS_MAX: u64 = 3_600_000_000;

impl GroupTally {
    fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, WAIT_MICROS_MAX, 3).expect("good bounds");
        Self {
            opened: 0,
            closed_unannounced: 0,
            closed_announced: 0,
            faults: BTreeMap::new(),
            near: histogram(),
            far: histogram(),
            clients: Vec::new(),
        }
    }

    /// Counts something that went wrong.
    pub(crate) fn fault(&mut self, fault: Fault, count: u64) {
        *self.faults.entry(fault).or_default() += count;
    }

    /// Counts how long an answer took.
    pub(crate) fn wait(&mut self, wait: Duration, is_near: bool) {
        let micros = (wait.as_micros() as u64).clamp(1, WAIT_MICROS_MAX);
        let histogram = if is_near { &mut self.near } else { &mut self.far };
        histogram.saturating_record(micros);
    }

    fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.closed_unannounced += other.closed_unannounced;
        self.closed_announced += other.closed_announced;
        for (fault, count) in other.faults {
            self.fault(fault, count);
        }
        self.near.add(&other.near).expect("the same bounds");
        self.far.add(&other.far).expect("the same bounds");
        self.clients.extend(other.clients);
    }
}

/// Counts of all groups.
pub(crate) struct Tally(Vec<GroupTally>);

impl Tally {
    /// Nothing counted yet.
    pub(crate) fn new() -> Self {
        Self(Group::ALL.iter().map(|_| GroupTally::new()).collect())
    }

    /// Counts of one group.
    pub(crate) fn of(&mut self, group: Group) -> &mut GroupTally {
        &mut self.0[group.index()]
    }

    /// Counts of one group, to be read.
    pub(crate) fn group(&self, group: Group) -> &GroupTally {
        &self.0[group.index()]
    }

    /// Adds what another thread counted.
    pub(crate) fn add(&mut self, other: Self) {
        for (group, other) in self.0.iter_mut().zip(other.0) {
            group.add(other);
        }
    }
}
