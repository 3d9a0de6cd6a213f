//! What the rounds say: medians with minimum and maximum, and ratios to the yardstick.
//!
//! A ratio is taken within a round, where both proxies met the same machine, and only then
//! summarised: the ratio of two medians would mix minutes that differ.

use std::fmt::Write;

use serde::Serialize;

use crate::compare::{Comparison, Round, Series};
use crate::proxy::PROXIES;

/// Median, minimum and maximum of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// `None` of no values.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[half - 1], values[half]),
            _ => values[half],
        };
        Some(Self { median, min, max })
    }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The workload's name.
    pub workload: &'static str,
    /// The proxy's name.
    pub proxy: &'static str,
    /// CPU microseconds per right answer.
    pub cpu_us: Summary,
    /// `cpu_us` divided by the yardstick's in the same round.
    pub ratio: Option<Summary>,
    /// Share of the core that was busy.
    pub busy: Summary,
    /// Right answers a second.
    pub requests_per_second: Summary,
    /// Half of the answers came within, microseconds.
    pub p50_us: Summary,
    /// 99 of 100.
    pub p99_us: Summary,
    /// 999 of 1,000.
    pub p999_us: Summary,
    /// Wrong answers of all rounds.
    pub errors: u64,
    /// Resident memory after the last round.
    pub resident_bytes: u64,
}

/// The lines of all series that have a round.
#[must_use]
pub fn lines(comparison: &Comparison) -> Vec<Line> {
    comparison.series.iter().filter_map(|series| line(series, comparison)).collect()
}

fn line(series: &Series, comparison: &Comparison) -> Option<Line> {
    let summary = |value: fn(&Round) -> f64| Summary::of(series.rounds.iter().map(value));
    let yardstick = comparison
        .series
        .iter()
        .find(|other| other.proxy == PROXIES[0].name && other.workload == series.workload);
    let ratio = yardstick.and_then(|yardstick| {
        let pairs = series.rounds.iter().zip(&yardstick.rounds);
        Summary::of(pairs.map(|(own, other)| own.cpu_us / other.cpu_us))
    });
    let errors = series.rounds.iter().flat_map(|round| &round.errors).map(|(_, count)| count).sum();
    Some(Line {
        workload: series.workload,
        proxy: series.proxy,
        cpu_us: summary(|round| round.cpu_us)?,
        ratio,
        busy: summary(|round| round.busy)?,
        requests_per_second: summary(|round| round.requests_per_second)?,
        p50_us: summary(|round| round.latency.p50_us)?,
        p99_us: summary(|round| round.latency.p99_us)?,
        p999_us: summary(|round| round.latency.p999_us)?,
        errors,
        resident_bytes: series.rounds.last()?.resident_bytes,
    })
}

/// The comparison as a table for people.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let mut text = String::new();
    for (proxy, version) in &comparison.versions {
        put(&mut text, format_args!("{proxy}: {version}\n"));
    }
    let mut workload = "";
    for line in lines(comparison) {
        if line.workload != workload {
            workload = line.workload;
            put(&mut text, format_args!("\n{workload}\n{HEADING}\n"));
        }
        put_line(&mut text, &line);
    }
    for series in &comparison.series {
        for (number, round) in (1..).zip(&series.rounds) {
            for (fault, count) in &round.errors {
                let (workload, proxy) = (series.workload, series.proxy);
                put(
                    &mut text,
                    format_args!("error: {workload}, {proxy}, round {number}: {count} x {fault}\n"),
                );
            }
        }
    }
    for warning in &comparison.warnings {
        put(&mut text, format_args!("warning: {warning}\n"));
    }
    text
}

const HEADING: &str = "  proxy        CPU us/request (min..max)  ratio to relay (min..max)  busy  \
                       requests/s     p50 us    p99 us  p99.9 us  errors  RSS MiB";

fn put_line(text: &mut String, line: &Line) {
    let cpu = line.cpu_us;
    let cpu = format!("{:.2} ({:.2}..{:.2})", cpu.median, cpu.min, cpu.max);
    let ratio = line.ratio.map_or(String::new(), |ratio| {
        format!("{:.2} ({:.2}..{:.2})", ratio.median, ratio.min, ratio.max)
    });
    put(
        text,
        format_args!(
            "  {:12} {cpu:>26} {ratio:>26} {:4.0}% {:11.0} {:10.0} {:9.0} {:9.0} {:7} {:8.1}\n",
            line.proxy,
            line.busy.median * 100.0,
            line.requests_per_second.median,
            line.p50_us.median,
            line.p99_us.median,
            line.p999_us.median,
            line.errors,
            line.resident_bytes as f64 / (1024.0 * 1024.0),
        ),
    );
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(line);
}

/// The comparison as JSON: the lines, and below them every round.
///
/// # Errors
/// None: all that is in a comparison can be written as JSON.
pub fn json(comparison: &Comparison) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        lines: Vec<Line>,
        comparison: &'a Comparison,
    }
    serde_json::to_string_pretty(&Report { lines: lines(comparison), comparison })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Latency;

    fn series(proxy: &'static str, cpu: &[f64]) -> Series {
        let round = |cpu_us: &f64| Round {
            cpu_us: *cpu_us,
            busy: 1.0,
            requests_per_second: 1e6 / cpu_us,
            latency: Latency { p50_us: 1.0, p99_us: 2.0, p999_us: 3.0 },
            requests: 1000,
            errors: Vec::new(),
            resident_bytes: 1024,
        };
        Series { workload: "bolt-64x1", proxy, rounds: cpu.iter().map(round).collect() }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine was twice as slow in the second round, for both.
        let series = vec![series("relay", &[10.0, 20.0, 10.0]), series("hangu", &[5.0, 10.0, 8.0])];
        let comparison = Comparison { series, ..Comparison::default() };
        let lines = lines(&comparison);
        assert_eq!(lines[0].ratio, Some(Summary { median: 1.0, min: 1.0, max: 1.0 }));
        assert_eq!(lines[1].ratio, Some(Summary { median: 0.5, min: 0.5, max: 0.8 }));
        assert_eq!(lines[1].cpu_us, Summary { median: 8.0, min: 5.0, max: 10.0 });
        assert!(table(&comparison).contains("0.50 (0.50..0.80)"));
    }

    #[test]
    fn a_round_without_answers_or_with_errors_is_not_right() {
        let mut comparison = Comparison {
            versions: vec![],
            warnings: vec![],
            series: vec![series("relay", &[1.0])],
        };
        assert!(comparison.is_right());
        comparison.series[0].rounds[0].errors = vec![("wrong status".to_owned(), 1)];
        assert!(!comparison.is_right());
        assert!(table(&comparison).contains("round 1: 1 x wrong status"));
        comparison.series[0].rounds[0] =
            Round { errors: vec![], requests: 0, ..comparison.series[0].rounds[0].clone() };
        assert!(!comparison.is_right());
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let summary = Summary::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(summary, Summary { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Summary::of([]), None);
    }
}
