//! Whether a worker has so much more to do than another that a connection should change places.
//!
//! Pure: it is told how much time each worker's thread has spent, and says what to do.

use std::time::Duration;

use hangu_codecs::Time;

/// Looks at the workers again and again.
#[derive(Debug, Default)]
pub struct Balancer {
    last: Option<(Time, Vec<u64>)>,
    /// Looks in a row that found the same worker busier than others.
    uneven: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Advice {
    /// Nothing.
    Rest,
    /// This worker is to note what its connections carry: it may have to give one away.
    Watch(usize),
    /// A worker gives a connection away.
    Shift {
        /// The busiest.
        from: usize,
        /// The one with the least to do.
        to: usize,
        /// Share of its work that should go, 0 to 1.
        share: f64,
    },
}

/// Workers are let be while their shares of a core differ by less than this. Moving a connection
/// costs its later requests a letter each way, so small differences are cheaper than their cure.
pub const UNEVEN_MIN: f64 = 0.10;

/// Looks that must find the difference before something is done: a burst is no load.
const LOOKS_MIN: u32 = 2;

/// How often workers are looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(1000);

impl Balancer {
    /// Looks at how much time each worker's thread has spent so far, microseconds.
    pub fn look(&mut self, spent_us: &[u64], now: Time) -> Advice {
        let last = self.last.replace((now, spent_us.to_vec()));
        let Some((then, before)) = last.filter(|it| it.1.len() == spent_us.len()) else {
            self.uneven = 0;
            return Advice::Rest;
        };
        let passed = then.since(now).as_micros().max(1) as f64;
        let busy = spent_us.iter().zip(&before).map(|(now, then)| now.saturating_sub(*then));
        let busy: Vec<f64> = busy.map(|it| it as f64 / passed).collect();
        let by_load = |one: &(usize, &f64), other: &(usize, &f64)| one.1.total_cmp(other.1);
        let Some((from, most)) = busy.iter().enumerate().max_by(by_load) else {
            return Advice::Rest;
        };
        let Some((to, least)) = busy.iter().enumerate().min_by(by_load) else {
            return Advice::Rest;
        };
        if most - least < UNEVEN_MIN {
            self.uneven = 0;
            return Advice::Rest;
        }
        self.uneven += 1;
        if self.uneven < LOOKS_MIN {
            return Advice::Watch(from);
        }
        self.uneven = 0;
        Advice::Shift { from, to, share: (most - least) / 2.0 / most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_worker_that_is_busier_twice_in_a_row_gives_half_of_the_difference_away() {
        let mut balancer = Balancer::default();
        assert_eq!(balancer.look(&[0, 0, 0], at(1)), Advice::Rest);
        assert_eq!(balancer.look(&[900_000, 100_000, 300_000], at(2)), Advice::Watch(0));
        let advice = balancer.look(&[1_800_000, 200_000, 600_000], at(3));
        let Advice::Shift { from: 0, to: 1, share } = advice else { panic!("{advice:?}") };
        assert!((share - 0.8 / 2.0 / 0.9).abs() < 1e-9, "{share}");
        assert_eq!(balancer.look(&[2_700_000, 300_000, 900_000], at(4)), Advice::Watch(0));
    }

    #[test]
    fn a_burst_and_small_differences_move_nothing() {
        let mut balancer = Balancer::default();
        let looks =
            [[0, 0], [500_000, 0], [600_000, 90_000], [700_000, 180_000], [1_300_000, 200_000]];
        let advice: Vec<_> =
            (1..).zip(looks).map(|(at_s, it)| balancer.look(&it, at(at_s))).collect();
        assert_eq!(advice[1], Advice::Watch(0));
        assert_eq!(advice[2], Advice::Rest);
        assert_eq!(advice[3], Advice::Rest);
        assert_eq!(advice[4], Advice::Watch(0));
    }

    #[test]
    fn another_number_of_workers_begins_anew() {
        let mut balancer = Balancer::default();
        balancer.look(&[0, 0], at(1));
        assert_eq!(balancer.look(&[900_000, 0, 0], at(2)), Advice::Rest);
        assert_eq!(balancer.look(&[900_000], at(3)), Advice::Rest);
        assert_eq!(balancer.look(&[1_800_000], at(4)), Advice::Rest);
    }
}
