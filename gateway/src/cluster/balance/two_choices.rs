//! The power of two choices: of two different endpoints drawn at random the one with fewer
//! requests in flight.

use super::EndpointState;

/// Has no state: all it needs is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct TwoChoices;

impl TwoChoices {
    pub(super) fn pick(&mut self, endpoints: &[EndpointState], random: u64) -> Option<usize> {
        let mut draws = Draws(random);
        let first = draw_healthy(endpoints, &mut draws)?;
        let second = draw_other(endpoints, first, &mut draws);
        let active = |index: usize| endpoints.get(index).map_or(u32::MAX, |it| it.active);
        let busier = second.is_some_and(|second| active(second) < active(first));
        if busier { second } else { Some(first) }
    }
}

/// A healthy endpoint, each equally likely unless most are unhealthy.
fn draw_healthy(endpoints: &[EndpointState], draws: &mut Draws) -> Option<usize> {
    let healthy = |index: &usize| endpoints.get(*index).is_some_and(|it| it.healthy);
    let drawn = (0..DRAWS_MAX).map(|_| draws.below(endpoints.len())).find(healthy);
    // So few are healthy that looking at all of them is better than to draw on.
    drawn.or_else(|| {
        let begin = draws.below(endpoints.len());
        (begin..endpoints.len()).chain(0..begin).find(healthy)
    })
}

/// A healthy endpoint other than `first`; `None` when none is found soon, since `first` will do.
fn draw_other(endpoints: &[EndpointState], first: usize, draws: &mut Draws) -> Option<usize> {
    let others = endpoints.len().saturating_sub(1);
    if others == 0 {
        return None;
    }
    (0..DRAWS_MAX)
        .map(|_| draws.below(others))
        .map(|index| if index >= first { index + 1 } else { index })
        .find(|index| endpoints.get(*index).is_some_and(|it| it.healthy))
}

/// Random numbers made of one: SplitMix64 (Steele, Lea, Flood 2014).
struct Draws(u64);

impl Draws {
    /// A number below `count`; 0 when that is 0.
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        usize::try_from((u128::from(mixed) * u128::from(count)) >> 64).unwrap_or(0)
    }
}

/// With half of the endpoints unhealthy, one draw in 256 falls back to looking at all.
const DRAWS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use hangu_config::Balance as Kind;

    use super::super::Balance;
    use super::*;

    fn endpoints(active: &[u32]) -> Vec<EndpointState> {
        active.iter().map(|it| EndpointState { weight: 1, active: *it, healthy: true }).collect()
    }

    fn counts(endpoints: &[EndpointState], picks: u64) -> Vec<u64> {
        let mut balance = Balance::new(Kind::LeastRequest, endpoints, 0);
        let mut counts = vec![0; endpoints.len()];
        for random in 0..picks {
            counts[balance.pick(endpoints, random).unwrap()] += 1;
        }
        counts
    }

    /// Σ (seen − expected)² / expected.
    fn chi_square(counts: &[u64], shares: &[f64]) -> f64 {
        let total = counts.iter().sum::<u64>() as f64;
        let each = counts.iter().zip(shares);
        each.map(|(seen, share)| (*seen as f64 - share * total).powi(2) / (share * total)).sum()
    }

    #[test]
    fn idle_endpoints_are_chosen_evenly() {
        let counts = counts(&endpoints(&[0; 10]), 100_000);
        // 9 degrees of freedom: above 27.9 once in a thousand; the draws are fixed.
        assert!(chi_square(&counts, &[0.1; 10]) < 27.9, "{counts:?}");
    }

    #[test]
    fn the_busiest_is_never_chosen_and_the_idlest_by_every_pair_that_has_it() {
        let counts = counts(&endpoints(&[3, 0, 2, 1]), 60_000);
        assert_eq!(counts[0], 0);
        // Of the six pairs three have the idlest, two the next, one the next.
        let ranked = [counts[1], counts[3], counts[2]];
        assert!(chi_square(&ranked, &[3. / 6., 2. / 6., 1. / 6.]) < 13.8, "{counts:?}");
    }

    #[test]
    fn one_endpoint_is_always_chosen_and_two_by_their_load() {
        assert_eq!(counts(&endpoints(&[7]), 10), [10]);
        assert_eq!(counts(&endpoints(&[7, 6]), 10), [0, 10]);
    }

    #[test]
    fn unhealthy_endpoints_are_never_chosen() {
        let mut endpoints = endpoints(&[0; 100]);
        endpoints.iter_mut().for_each(|it| it.healthy = false);
        endpoints[41].healthy = true;
        assert_eq!(counts(&endpoints, 1000)[41], 1000);
    }
}
