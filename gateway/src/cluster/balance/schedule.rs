//! Earliest deadline first: each endpoint has the deadline of its next turn, the earliest is
//! taken, and its next turn comes the later the smaller its weight is.
//!
//! Time is counted in rounds, as a fixed-point number with 64 bits behind the point. At the pace of
//! the weight alone, turn k (from 1) of an endpoint of weight w is due at (2k − 1) / 2w: in every
//! round each endpoint has exactly w turns, spread evenly. (Weights 5, 1, 1 give a a a b c a a and
//! not a a a a a b c.)

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, binary_heap::PeekMut},
};

use super::EndpointState;

/// What makes an endpoint's next turn come early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Its weight.
    Weight,
    /// Its weight per request in flight, the one that it takes included: w / (active + 1).
    WeightPerRequest,
}

/// The turns of the endpoints of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    turns: BinaryHeap<Reverse<Turn>>,
    /// Endpoints that were found unhealthy, with room for all.
    aside: Vec<Turn>,
    /// Which of those set aside is looked at next.
    look: usize,
    /// The deadline of the turn that was taken last.
    now: u128,
}

/// The next turn of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    /// When it is due.
    deadline: u128,
    /// Which one it is, from 1.
    count: u64,
    /// Breaks ties.
    rank: u32,
    /// The endpoint.
    index: u32,
    /// Its weight in lowest terms: equal weights are all 1 and need no division.
    weight: u32,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.deadline, self.rank).cmp(&(other.deadline, other.rank))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Schedule {
    pub(super) fn new(endpoints: &[EndpointState], random: u64) -> Self {
        let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let begin = u32::try_from(random % u64::from(count.max(1))).unwrap_or(0);
        let weights = endpoints.iter().map(|it| it.weight.max(1));
        let divisor = weights.fold(0, |divisor, weight| common_divisor(weight, divisor));
        let turns = (0u32..).zip(endpoints).map(|(index, endpoint)| {
            let rank = (index + (count - begin)) % count;
            let weight = endpoint.weight.max(1) / divisor;
            Reverse(Turn { deadline: even(1, weight), count: 1, rank, index, weight })
        });
        Self { turns: turns.collect(), aside: Vec::with_capacity(endpoints.len()), look: 0, now: 0 }
    }

    pub(super) fn pick(&mut self, endpoints: &[EndpointState], pace: Pace) -> Option<usize> {
        self.look_at_one_aside(endpoints);
        if let Some(index) = self.take_turn(endpoints, pace) {
            return Some(index);
        }
        // All that were on schedule are unhealthy; perhaps one that was set aside no longer is.
        for _ in 0..self.aside.len() {
            self.look_at_one_aside(endpoints);
        }
        self.take_turn(endpoints, pace)
    }

    fn take_turn(&mut self, endpoints: &[EndpointState], pace: Pace) -> Option<usize> {
        while let Some(mut top) = self.turns.peek_mut() {
            let turn = &mut top.0;
            let index = turn.index as usize;
            let Some(endpoint) = endpoints.get(index).filter(|it| it.healthy) else {
                self.aside.push(PeekMut::pop(top).0);
                continue;
            };
            self.now = turn.deadline;
            turn.count += 1;
            turn.deadline = match pace {
                Pace::Weight => even(turn.count, turn.weight),
                Pace::WeightPerRequest => {
                    let step = divide((u128::from(endpoint.active) + 1) * ROUND, turn.weight);
                    turn.deadline.saturating_add(step)
                }
            };
            return Some(index);
        }
        None
    }

    /// Puts an endpoint that is healthy again back on schedule, from now on.
    fn look_at_one_aside(&mut self, endpoints: &[EndpointState]) {
        if self.aside.is_empty() {
            return;
        }
        self.look = (self.look + 1) % self.aside.len();
        let Some(turn) = self.aside.get(self.look).copied() else { return };
        if endpoints.get(turn.index as usize).is_none_or(|it| !it.healthy) {
            return;
        }
        self.aside.swap_remove(self.look);
        // The turns that it would have had by now are lost: it is not to make up for them.
        let missed = ((self.now >> 32) * u128::from(turn.weight)) >> 32;
        let count = u64::try_from(missed).unwrap_or(u64::MAX - 1).max(turn.count - 1) + 1;
        let deadline = even(count, turn.weight).max(self.now);
        self.turns.push(Reverse(Turn { deadline, count, ..turn }));
    }
}

/// When a turn is due at the pace of the weight alone.
fn even(count: u64, weight: u32) -> u128 {
    // Rounded down from an exact value each time, never summed up: so no error grows, and a turn
    // never slips into the next round.
    divide((2 * u128::from(count) - 1) * (ROUND / 2), weight)
}

/// Spares the common case a division of 128 bits.
fn divide(value: u128, weight: u32) -> u128 {
    if weight == 1 { value } else { value / u128::from(weight.max(1)) }
}

/// The greatest common divisor; that of anything and 0 is the other.
fn common_divisor(mut one: u32, mut other: u32) -> u32 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// One round: 64 bits behind the point. Turn 2^63 still fits, some hundred thousand years of a
/// million requests a second.
const ROUND: u128 = 1 << 64;

#[cfg(test)]
mod tests {
    use hangu_config::Balance as Kind;

    use super::super::Balance;
    use super::*;

    fn endpoints(weights: &[u32]) -> Vec<EndpointState> {
        weights.iter().map(|it| EndpointState { weight: *it, active: 0, healthy: true }).collect()
    }

    fn counts(schedule: &mut Balance, endpoints: &[EndpointState], picks: usize) -> Vec<usize> {
        let mut counts = vec![0; endpoints.len()];
        for _ in 0..picks {
            counts[schedule.pick(endpoints, 0).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn equal_weights_take_turns_in_order_from_a_random_begin() {
        let endpoints = endpoints(&[1, 1, 1]);
        for begin in 0..3 {
            let mut balance = Balance::new(Kind::RoundRobin, &endpoints, begin);
            let picks: Vec<_> = (0..6).map(|_| balance.pick(&endpoints, 0).unwrap()).collect();
            let begin = usize::try_from(begin).unwrap();
            let expected: Vec<_> = (0..6).map(|it| (it + begin) % 3).collect();
            assert_eq!(picks, expected);
        }
    }

    #[test]
    fn every_round_has_exactly_the_proportions_of_the_weights() {
        for weights in [&[5, 1, 1][..], &[1, 2, 3, 4], &[7, 11, 13], &[100, 1], &[3]] {
            let endpoints = endpoints(weights);
            let mut balance = Balance::new(Kind::RoundRobin, &endpoints, 1);
            let round: u32 = weights.iter().sum();
            for _ in 0..1000 {
                let counts = counts(&mut balance, &endpoints, round as usize);
                assert_eq!(counts, weights.iter().map(|it| *it as usize).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_heavy_endpoint_does_not_take_its_turns_in_a_row() {
        let endpoints = endpoints(&[5, 1, 1]);
        let mut balance = Balance::new(Kind::RoundRobin, &endpoints, 0);
        let picks: Vec<_> = (0..14).map(|_| balance.pick(&endpoints, 0).unwrap()).collect();
        assert_eq!(picks, [0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 1, 2, 0, 0]);
    }

    #[test]
    fn the_largest_weights_neither_overflow_nor_lose_their_proportion() {
        let endpoints = endpoints(&[u32::MAX - 1, 1]);
        let mut balance = Balance::new(Kind::RoundRobin, &endpoints, 0);
        assert_eq!(counts(&mut balance, &endpoints, 100_000)[1], 0);
    }

    #[test]
    fn an_unhealthy_endpoint_is_left_out_and_does_not_make_up_for_it_later() {
        let mut endpoints = endpoints(&[1, 1, 2]);
        let mut balance = Balance::new(Kind::RoundRobin, &endpoints, 0);
        endpoints[2].healthy = false;
        assert_eq!(counts(&mut balance, &endpoints, 1000), [500, 500, 0]);
        endpoints[2].healthy = true;
        let after = counts(&mut balance, &endpoints, 400);
        assert!((199..=201).contains(&after[2]), "{after:?}");
    }

    #[test]
    fn without_a_healthy_endpoint_there_is_none_until_one_recovers() {
        let mut endpoints = endpoints(&[1, 3]);
        for kind in [Kind::RoundRobin, Kind::LeastRequest] {
            let mut balance = Balance::new(kind, &endpoints, 0);
            endpoints.iter_mut().for_each(|it| it.healthy = false);
            assert_eq!(balance.pick(&endpoints, 5), None);
            endpoints[0].healthy = true;
            assert_eq!(balance.pick(&endpoints, 5), Some(0));
            assert_eq!(balance.pick(&endpoints, 6), Some(0));
            endpoints[1].healthy = true;
        }
        assert_eq!(Balance::new(Kind::RoundRobin, &[], 7).pick(&[], 0), None);
        assert_eq!(Balance::new(Kind::LeastRequest, &[], 7).pick(&[], 0), None);
    }

    #[test]
    fn least_request_with_unequal_weights_follows_them_when_all_are_idle() {
        let endpoints = endpoints(&[3, 1]);
        let mut balance = Balance::new(Kind::LeastRequest, &endpoints, 0);
        assert_eq!(counts(&mut balance, &endpoints, 400), [300, 100]);
    }

    #[test]
    fn least_request_with_unequal_weights_avoids_the_busy() {
        let mut endpoints = endpoints(&[2, 1]);
        endpoints[0].active = 9; // 2 / 10 against 1 / 1
        let mut balance = Balance::new(Kind::LeastRequest, &endpoints, 0);
        let counts = counts(&mut balance, &endpoints, 600);
        assert!((98..=102).contains(&counts[0]), "{counts:?}");
    }
}
