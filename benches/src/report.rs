//! What the rounds say: medians with minimum and maximum, and ratios to the yardsticks and to the
//! best peer.
//!
//! A ratio is taken within a round, where both proxies met the same machine, and only then
//! summarised: the ratio of two medians would mix minutes that differ.

use std::fmt::Write;

use serde::Serialize;

use crate::compare::{Comparison, Round, Series};
use crate::proxy::{Proxy, Role, YARDSTICKS};
use crate::targets;
use crate::workload::{self, Pace};

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

    /// `median (min–max)`, or the median alone if there is no other value.
    #[must_use]
    pub fn told(&self, decimals: usize) -> String {
        let Self { median, min, max } = self;
        if min == max {
            return format!("{median:.decimals$}");
        }
        format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
    }
}

/// One workload at one pace.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// The workload's name.
    pub workload: &'static str,
    /// When requests were sent.
    pub pace: Pace,
    /// The peer that took the least CPU time per request.
    pub best_peer: Option<&'static str>,
    /// One per proxy.
    pub lines: Vec<Line>,
}

/// One line of a group's table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The proxy's name.
    pub proxy: &'static str,
    /// CPU microseconds per right answer.
    pub cpu_us: Summary,
    /// `cpu_us` divided by that of each yardstick in the same round.
    pub to_yardsticks: [Option<Summary>; YARDSTICKS.len()],
    /// `cpu_us` divided by that of the best peer in the same round.
    pub to_best_peer: Option<Summary>,
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

/// One line of a table of idle connections.
#[derive(Clone, Debug, Serialize)]
pub struct IdleLine {
    /// The workload's name.
    pub workload: &'static str,
    /// The proxy's name.
    pub proxy: &'static str,
    /// Connections that were open.
    pub connections: usize,
    /// KiB that each added, once it had asked.
    pub added_kib: Summary,
    /// The same after the wait.
    pub added_later_kib: Summary,
    /// Memory with one connection that had come and gone, MiB.
    pub start_mib: Summary,
    /// Wrong answers of all rounds.
    pub errors: u64,
}

/// The groups of all series that have a round, in the order in which they were measured.
#[must_use]
pub fn groups(comparison: &Comparison) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for series in &comparison.series {
        let is_known = groups
            .last()
            .is_some_and(|it| (it.workload, it.pace) == (series.workload, series.pace));
        if !is_known {
            let (workload, pace) = (series.workload, series.pace);
            let best_peer = best_peer(comparison, workload, pace);
            groups.push(Group { workload, pace, best_peer, lines: Vec::new() });
        }
        let Some(group) = groups.last_mut() else { continue };
        group.lines.extend(line(comparison, series, group.best_peer));
    }
    groups
}

/// The quotients of `value` of one proxy and another, round by round.
#[must_use]
pub fn ratio(
    comparison: &Comparison,
    series: &Series,
    other: &str,
    value: fn(&Round) -> f64,
) -> Option<Summary> {
    let other = find(comparison, series.workload, series.pace, other)?;
    let pairs = series.rounds.iter().zip(&other.rounds);
    Summary::of(pairs.map(|(own, other)| value(own) / value(other)))
}

/// The rounds of a proxy with a workload at a pace.
#[must_use]
pub fn find<'a>(
    comparison: &'a Comparison,
    workload: &str,
    pace: Pace,
    proxy: &str,
) -> Option<&'a Series> {
    let mut all = comparison.series.iter();
    all.find(|it| it.workload == workload && it.pace == pace && it.proxy == proxy)
}

/// The peer with the least CPU time per request, by medians.
#[must_use]
pub fn best_peer(comparison: &Comparison, workload: &str, pace: Pace) -> Option<&'static str> {
    let here = comparison.series.iter().filter(|it| it.workload == workload && it.pace == pace);
    let peers = here.filter(|it| Proxy::find(it.proxy).is_some_and(|it| it.role == Role::Peer));
    let costs = peers.filter_map(|it| {
        Some((it.proxy, Summary::of(it.rounds.iter().map(|round| round.cpu_us))?.median))
    });
    costs.min_by(|one, other| one.1.total_cmp(&other.1)).map(|(name, _)| name)
}

fn line(comparison: &Comparison, series: &Series, best_peer: Option<&'static str>) -> Option<Line> {
    let summary = |value: fn(&Round) -> f64| Summary::of(series.rounds.iter().map(value));
    let cost = |other| ratio(comparison, series, other, |round| round.cpu_us);
    let errors = series.rounds.iter().flat_map(|round| &round.errors).map(|(_, count)| count).sum();
    Some(Line {
        proxy: series.proxy,
        cpu_us: summary(|round| round.cpu_us)?,
        to_yardsticks: YARDSTICKS.map(cost),
        to_best_peer: best_peer.and_then(cost),
        busy: summary(|round| round.busy)?,
        requests_per_second: summary(|round| round.requests_per_second)?,
        p50_us: summary(|round| round.latency.p50_us)?,
        p99_us: summary(|round| round.latency.p99_us)?,
        p999_us: summary(|round| round.latency.p999_us)?,
        errors,
        resident_bytes: series.rounds.last()?.resident_bytes,
    })
}

/// The lines of idle connections.
#[must_use]
pub fn idle_lines(comparison: &Comparison) -> Vec<IdleLine> {
    let line = |series: &crate::compare::IdleSeries| {
        let rounds = &series.rounds;
        let summary = |value: fn(&crate::idle::Round) -> f64| Summary::of(rounds.iter().map(value));
        Some(IdleLine {
            workload: series.workload,
            proxy: series.proxy,
            connections: rounds.first()?.connections,
            added_kib: summary(|round| round.added() / 1024.0)?,
            added_later_kib: summary(|round| round.added_later() / 1024.0)?,
            start_mib: summary(|round| mebibytes(round.start_bytes))?,
            errors: rounds.iter().flat_map(|round| &round.errors).map(|(_, count)| count).sum(),
        })
    };
    comparison.idle.iter().filter_map(line).collect()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The comparison as Markdown, its tables aligned so that they can be read as they are.
#[must_use]
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    let Comparison { machine, rounds, seconds, .. } = comparison;
    put(&mut text, format_args!("Machine: {machine}. Rounds: {rounds} of {seconds} s.\n\n"));
    for (proxy, version) in &comparison.versions {
        put(&mut text, format_args!("* {proxy}: {version}\n"));
    }
    for group in groups(comparison) {
        put_group(&mut text, &group);
    }
    put_idle(&mut text, &idle_lines(comparison));
    put_targets(&mut text, &targets::found(comparison));
    put_remarks(&mut text, comparison);
    text
}

fn put_group(text: &mut String, group: &Group) {
    let description = workload::find(group.workload).map(workload::Workload::description);
    put(
        text,
        format_args!(
            "\n### {}, {}\n\n{}.\n\n",
            group.workload,
            group.pace,
            description.unwrap_or_default()
        ),
    );
    let best =
        group.best_peer.map_or("× best peer".to_owned(), |it| format!("× {it} (best peer)"));
    let mut rows = vec![vec![
        "proxy".to_owned(),
        "CPU µs/request".to_owned(),
        format!("× {}", YARDSTICKS[0]),
        format!("× {}", YARDSTICKS[1]),
        best,
        "busy".to_owned(),
        "requests/s".to_owned(),
        "p50 µs".to_owned(),
        "p99 µs".to_owned(),
        "p99.9 µs".to_owned(),
        "errors".to_owned(),
        "RSS MiB".to_owned(),
    ]];
    let told = |ratio: Option<Summary>| ratio.map_or(String::new(), |it| it.told(2));
    rows.extend(group.lines.iter().map(|line| {
        vec![
            line.proxy.to_owned(),
            line.cpu_us.told(2),
            told(line.to_yardsticks[0]),
            told(line.to_yardsticks[1]),
            told(line.to_best_peer),
            format!("{:.0} %", line.busy.median * 100.0),
            line.requests_per_second.told(0),
            line.p50_us.told(0),
            line.p99_us.told(0),
            line.p999_us.told(0),
            line.errors.to_string(),
            format!("{:.1}", mebibytes(line.resident_bytes)),
        ]
    }));
    put_table(text, &rows);
}

fn put_idle(text: &mut String, lines: &[IdleLine]) {
    let mut workload = "";
    let mut rows = Vec::new();
    for line in lines {
        if line.workload != workload {
            put_table(text, &rows);
            workload = line.workload;
            let connections = line.connections;
            put(text, format_args!("\n### {workload}\n\n{connections} idle connections.\n\n"));
            let headings = ["proxy", "KiB a connection", "after the wait", "MiB before", "errors"];
            rows = vec![headings.map(str::to_owned).to_vec()];
        }
        rows.push(vec![
            line.proxy.to_owned(),
            line.added_kib.told(2),
            line.added_later_kib.told(2),
            line.start_mib.told(1),
            line.errors.to_string(),
        ]);
    }
    put_table(text, &rows);
}

fn put_targets(text: &mut String, found: &[targets::Found]) {
    if found.is_empty() {
        return;
    }
    put(text, format_args!("\n### Targets\n\n"));
    let mut rows = vec![["target", "at most", "found", "met"].map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(|it| {
        vec![
            it.what.clone(),
            format!("{:.3}", it.at_most).trim_end_matches('0').trim_end_matches('.').to_owned(),
            format!("{:.3}", it.value),
            if it.is_met() { "yes" } else { "no" }.to_owned(),
        ]
    }));
    put_table(text, &rows);
}

/// Errors and warnings, each on a line of its own.
fn put_remarks(text: &mut String, comparison: &Comparison) {
    let mut remarks = Vec::new();
    for series in &comparison.series {
        for (number, round) in (1..).zip(&series.rounds) {
            for (fault, count) in &round.errors {
                let (workload, pace, proxy) = (series.workload, series.pace, series.proxy);
                let place = format!("{workload}, {pace}, {proxy}, round {number}");
                remarks.push(format!("error: {place}: {count} x {fault}"));
            }
        }
    }
    for series in &comparison.idle {
        for (fault, count) in series.rounds.iter().flat_map(|round| &round.errors) {
            let (workload, proxy) = (series.workload, series.proxy);
            remarks.push(format!("error: {workload}, {proxy}: {count} x {fault}"));
        }
    }
    remarks.extend(comparison.warnings.iter().map(|it| format!("warning: {}", it.trim_end())));
    if !remarks.is_empty() {
        put(text, format_args!("\n"));
    }
    for remark in remarks {
        put(text, format_args!("* {}\n", remark.replace('\n', " ")));
    }
}

/// A table whose first row is its heading; numbers stand on the right.
fn put_table(text: &mut String, rows: &[Vec<String>]) {
    let Some(heading) = rows.first() else { return };
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => put(text, format_args!("| {cell:width$} ")),
                _ => put(text, format_args!("| {cell:>width$} ")),
            }
        }
        put(text, format_args!("|\n"));
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                match column {
                    0 => put(text, format_args!("|:{:-<width$}-", "")),
                    _ => put(text, format_args!("|-{:-<width$}:", "")),
                }
            }
            put(text, format_args!("|\n"));
        }
    }
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
        groups: Vec<Group>,
        idle: Vec<IdleLine>,
        targets: Vec<targets::Found>,
        comparison: &'a Comparison,
    }
    serde_json::to_string_pretty(&Report {
        groups: groups(comparison),
        idle: idle_lines(comparison),
        targets: targets::found(comparison),
        comparison,
    })
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
        let rounds = cpu.iter().map(round).collect();
        Series { workload: "bolt-64x1", pace: Pace::Closed, proxy, rounds }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine was twice as slow in the second round, for all.
        let series = vec![
            series("relay", &[10.0, 20.0, 10.0]),
            series("hangu", &[5.0, 10.0, 8.0]),
            series("mosn", &[20.0, 40.0, 20.0]),
        ];
        let comparison = Comparison { series, ..Comparison::default() };
        let groups = groups(&comparison);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].best_peer, Some("mosn"));
        let lines = &groups[0].lines;
        let one = Some(Summary { median: 1.0, min: 1.0, max: 1.0 });
        assert_eq!(lines[0].to_yardsticks, [one, None]);
        let hangu = Some(Summary { median: 0.5, min: 0.5, max: 0.8 });
        assert_eq!(lines[1].to_yardsticks, [hangu, None]);
        assert_eq!(lines[1].to_best_peer, Some(Summary { median: 0.25, min: 0.25, max: 0.4 }));
        assert_eq!(lines[1].cpu_us, Summary { median: 8.0, min: 5.0, max: 10.0 });
        assert!(markdown(&comparison).contains("0.50 (0.50–0.80)"));
    }

    #[test]
    fn yardsticks_and_the_gateway_are_no_peers() {
        let series = vec![series("relay", &[1.0]), series("hangu", &[2.0]), series("mosn", &[9.0])];
        let comparison = Comparison { series, ..Comparison::default() };
        assert_eq!(best_peer(&comparison, "bolt-64x1", Pace::Closed), Some("mosn"));
        assert_eq!(best_peer(&comparison, "bolt-16x32", Pace::Closed), None);
    }

    #[test]
    fn a_round_without_answers_or_with_errors_is_not_right() {
        let mut comparison =
            Comparison { series: vec![series("relay", &[1.0])], ..Comparison::default() };
        assert!(comparison.is_right());
        comparison.series[0].rounds[0].errors = vec![("wrong status".to_owned(), 1)];
        assert!(!comparison.is_right());
        assert!(markdown(&comparison).contains("relay, round 1: 1 x wrong status"));
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

    #[test]
    fn cells_of_a_table_stand_below_each_other() {
        let mut text = String::new();
        let row = |one: &str, other: &str| vec![one.to_owned(), other.to_owned()];
        put_table(&mut text, &[row("a", "µs"), row("bbb", "1234")]);
        assert_eq!(text, "| a   |   µs |\n|:----|-----:|\n| bbb | 1234 |\n");
    }
}
