//! Durations in buckets whose width grows with the duration.

use super::Counter;

/// Durations from 1 µs to 67 s, counted in four buckets per power of two: a quantile read from it
/// is at most a quarter too high. One writer, as every [`Counter`].
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter; BUCKETS]>,
    sum_us: Counter,
}

/// The least power of two (µs) that is no longer told apart: 2^26 µs is 67 s. A request that took
/// longer is in trouble whichever bucket it is in.
const OCTAVES: usize = 26;
/// Buckets per power of two, as a power of two.
const STEP_BITS: usize = 2;
const STEPS: usize = 1 << STEP_BITS;
/// 0, 1, 2 and 3 µs have a bucket each; then [`STEPS`] per octave; then one for all above.
const BUCKETS: usize = STEPS + (OCTAVES - STEP_BITS) * STEPS + 1;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: Box::new(std::array::from_fn(|_| Counter::default())),
            sum_us: Counter::default(),
        }
    }
}

impl Histogram {
    /// Counts one duration in microseconds.
    #[inline]
    pub fn record_us(&self, us: u64) {
        if let Some(bucket) = self.buckets.get(index(us)) {
            bucket.increment();
        }
        self.sum_us.add(us);
    }

    /// Goes on with what another one counted. Both writers stand still.
    pub fn absorb(&self, other: &Self) {
        for (own, others) in self.buckets.iter().zip(other.buckets.iter()) {
            own.absorb(others);
        }
        self.sum_us.absorb(&other.sum_us);
    }

    /// Adds what was counted here to a sum over workers.
    pub fn add_to(&self, total: &mut Quantiles) {
        for (sum, bucket) in total.buckets.iter_mut().zip(self.buckets.iter()) {
            *sum += bucket.value();
        }
        total.sum_us = total.sum_us.wrapping_add(self.sum_us.value());
    }
}

/// The sum of several histograms.
#[derive(Clone, Debug)]
pub struct Quantiles {
    buckets: [u64; BUCKETS],
    sum_us: u64,
}

impl Default for Quantiles {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum_us: 0 }
    }
}

impl Quantiles {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All durations together, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// Microseconds that a share `quantile` (0 to 1) of the durations did not pass: the upper end
    /// of the bucket. `None` when nothing was counted.
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        let at = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= rank
        })?;
        Some(lower_bound_us(at + 1).saturating_sub(1))
    }

    /// Every second of [`Self::octaves`] from 256 µs on, powers of four up to 67 s: for what has many
    /// series.
    pub fn wide_octaves(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.octaves().skip(8).step_by(2)
    }

    /// Upper bounds in seconds, one per power of two, each with how many durations lie below:
    /// exact, for every power of two is the edge of a bucket.
    pub fn octaves(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        (0..=OCTAVES).map(|octave| {
            let bound_us = 1_u64 << octave;
            let below = self.buckets.iter().take(index(bound_us)).sum();
            (bound_us as f64 / 1e6, below)
        })
    }
}

/// The bucket of a duration.
#[inline]
fn index(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let octave = us.ilog2() as usize;
    let step = (us >> (octave - STEP_BITS)) as usize & (STEPS - 1);
    (STEPS + (octave - STEP_BITS) * STEPS + step).min(BUCKETS - 1)
}

/// The least duration of a bucket.
fn lower_bound_us(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let octave = (index - STEPS) / STEPS + STEP_BITS;
    let step = (index - STEPS) % STEPS;
    ((STEPS + step) as u64) << (octave - STEP_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_begins_where_the_one_before_ends() {
        for bucket in 0..BUCKETS {
            let lower = lower_bound_us(bucket);
            assert_eq!(index(lower), bucket);
            if bucket > 0 {
                assert_eq!(index(lower - 1), bucket - 1, "below {lower}");
            }
        }
        assert_eq!(index(u64::MAX), BUCKETS - 1);
        assert_eq!(lower_bound_us(BUCKETS - 1), 1 << OCTAVES);
    }

    #[test]
    fn a_quantile_is_at_most_a_quarter_too_high() {
        for us in [1_u64, 7, 100, 999, 12_345, 1_000_000, 59_999_999] {
            let histogram = Histogram::default();
            histogram.record_us(us);
            let mut total = Quantiles::default();
            histogram.add_to(&mut total);
            let read = total.quantile_us(0.5).unwrap();
            assert!(read >= us && read as f64 <= us as f64 * 1.25, "{us} read as {read}");
        }
    }

    #[test]
    fn quantiles_of_many_durations_lie_in_order() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.record_us(us));
        let mut total = Quantiles::default();
        histogram.add_to(&mut total);
        histogram.add_to(&mut total);
        assert_eq!(total.count(), 2000);
        let median = total.quantile_us(0.5).unwrap();
        let tail = total.quantile_us(0.99).unwrap();
        assert!((500..=640).contains(&median), "{median}");
        assert!((990..=1250).contains(&tail), "{tail}");
        assert!((total.sum_seconds() - 1.001).abs() < 1e-9);
    }

    #[test]
    fn octaves_are_cumulative_and_end_with_all_but_the_longest() {
        let histogram = Histogram::default();
        histogram.record_us(0);
        histogram.record_us(1);
        histogram.record_us(1_000);
        histogram.record_us(100_000_000);
        let mut total = Quantiles::default();
        histogram.add_to(&mut total);
        let octaves: Vec<_> = total.octaves().collect();
        assert_eq!(octaves[0], (0.000_001, 1));
        assert_eq!(octaves[1], (0.000_002, 2));
        assert_eq!(octaves[10], (0.001_024, 3));
        assert_eq!(octaves[OCTAVES].1, 3);
        assert!(octaves.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Quantiles::default().quantile_us(0.5), None);
    }
}
