//! How an endpoint of a cluster is chosen.
//!
//! Each worker has balancers of its own and counts only its own requests in flight. A choice
//! allocates nothing and costs O(log n) for n endpoints, counted over many choices: an endpoint
//! that turned unhealthy is set aside once, and each choice looks at one of those set aside.

use hangu_config::Balance as Kind;

mod schedule;
mod two_choices;

use schedule::{Pace, Schedule};
use two_choices::TwoChoices;

/// What a balancer looks at of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// Share in proportion to the other endpoints; 0 counts as 1.
    pub weight: u32,
    /// Requests of this worker in flight there.
    pub active: u32,
    /// Whether it is to be chosen at all.
    pub healthy: bool,
}

/// Chooses endpoints of one cluster for one worker.
#[derive(Clone, Debug)]
pub struct Balance {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Round robin: each in proportion to its weight, spread evenly.
    RoundRobin(Schedule),
    /// Least request with equal weights.
    TwoChoices(TwoChoices),
    /// Least request with unequal weights.
    LeastRequest(Schedule),
}

impl Balance {
    /// A balancer for endpoints of these weights; make a new one when weights or the number of
    /// endpoints change. `random` chooses who begins, so that workers do not all begin at the same
    /// endpoint.
    pub fn new(kind: Kind, endpoints: &[EndpointState], random: u64) -> Self {
        let first = endpoints.first().map_or(1, |it| it.weight);
        let is_even = endpoints.iter().all(|it| it.weight == first);
        let state = match (kind, is_even) {
            (Kind::RoundRobin, _) => State::RoundRobin(Schedule::new(endpoints, random)),
            (Kind::LeastRequest, true) => State::TwoChoices(TwoChoices),
            (Kind::LeastRequest, false) => State::LeastRequest(Schedule::new(endpoints, random)),
        };
        Self { state }
    }

    /// The index of the endpoint that takes the next request; `None` when none is healthy.
    /// `endpoints` are those of [`Balance::new`] in the same order, `random` is drawn anew for
    /// each request.
    pub fn pick(&mut self, endpoints: &[EndpointState], random: u64) -> Option<usize> {
        // The only one has every turn.
        if let [only] = endpoints {
            return only.healthy.then_some(0);
        }
        match &mut self.state {
            State::RoundRobin(schedule) => schedule.pick(endpoints, Pace::Weight),
            State::TwoChoices(choices) => choices.pick(endpoints, random),
            State::LeastRequest(schedule) => schedule.pick(endpoints, Pace::WeightPerRequest),
        }
    }
}
