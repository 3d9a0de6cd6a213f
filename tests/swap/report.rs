//! What a run has shown, as JSON and as a table, and whether all that is to be zero is.

use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};

use crate::{
    group::Group,
    proxy::Ended,
    run::Run,
    swapper::{Mode, Record},
    tally::Client,
    timeline::AFTERMATH,
};

/// A run's figures.
pub(crate) struct Report {
    /// All of them.
    pub(crate) value: Value,
    /// What is to be zero and is not.
    pub(crate) wrong: Vec<String>,
}

impl Report {
    /// Counts what a run has shown. The old process is to be gone within this time.
    pub(crate) fn new(run: &Run, gone_max: Duration) -> Self {
        let mut wrong = Vec::new();
        let groups: Vec<Value> = Group::ALL
            .iter()
            .filter(|group| run.tally.group(**group).opened > 0 || run.plan.clients(**group) > 0)
            .map(|group| group_value(run, *group, &mut wrong))
            .collect();
        let swaps: Vec<Value> =
            (0..).zip(&run.records).map(|(n, it)| swap_value(run, n, it)).collect();
        judge_swaps(&run.records, gone_max, &mut wrong);
        let upstream = upstream_value(run, &mut wrong);
        let seconds = (run.over - run.ready).as_secs_f64();
        let value = json!({
            "mode": match run.mode { Mode::Swap => "swap", Mode::Baseline(_) => "baseline" },
            "seconds": seconds,
            "connections": run.plan.connections(),
            "requests_per_second": run.plan.http_per_second + run.plan.bolt_per_second,
            "groups": groups,
            "upstream": upstream,
            "swaps": swaps,
            "silence_ms": summary(silences(run)),
            "silence_far_ms": millis(run.timeline.far_silence()),
            "gap_near_ms_max": millis(longest(run, |it| it.gap_near)),
            "gap_far_ms_max": millis(longest(run, |it| it.gap_far)),
            "wrong": wrong,
        });
        Self { value, wrong }
    }

    /// As a table.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let value = &self.value;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{} of {:.0} s, {} connections, {:.0} requests/s",
            value["mode"].as_str().unwrap_or_default(),
            value["seconds"].as_f64().unwrap_or_default(),
            value["connections"],
            value["requests_per_second"].as_f64().unwrap_or_default(),
        );
        let _ = writeln!(
            text,
            "{:<10}{:>9}{:>9}{:>8}{:>8}{:>7}{:>7}{:>7}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "",
            "sent",
            "answered",
            "failed",
            "doubled",
            "closed",
            "told",
            "moved",
            "in swap",
            "p50 ms",
            "p99 near",
            "max near",
            "gap near",
        );
        for group in value["groups"].as_array().into_iter().flatten() {
            let _ = writeln!(
                text,
                "{:<10}{:>9}{:>9}{:>8}{:>8}{:>7}{:>7}{:>7}{:>9}{:>9}{:>9}{:>9}{:>9}",
                group["name"].as_str().unwrap_or_default(),
                group["sent"].to_string(),
                group["answered"].to_string(),
                group["failed"].to_string(),
                group["doubled"].to_string(),
                group["closed_unannounced"].to_string(),
                group["closed_announced"].to_string(),
                group["connections_changed"].to_string(),
                format!("{}/{}", group["in_flight_at_a_swap"], group["connections"]),
                group["wait_ms_far"]["p50"].to_string(),
                group["wait_ms_near"]["p99"].to_string(),
                group["wait_ms_near"]["max"].to_string(),
                group["gap_near_ms_max"].to_string(),
            );
            if group["faults"].as_object().is_some_and(|it| !it.is_empty()) {
                let _ = writeln!(text, "          {}", group["faults"]);
            }
        }
        let _ = writeln!(text, "upstream  {}", value["upstream"]);
        let _ = writeln!(
            text,
            "silence of all connections near a swap, ms: {}; longest elsewhere {}",
            value["silence_ms"], value["silence_far_ms"],
        );
        for swap in value["swaps"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "swap {}", swap);
        }
        for wrong in &self.wrong {
            let _ = writeln!(text, "WRONG: {wrong}");
        }
        text
    }
}

fn group_value(run: &Run, group: Group, wrong: &mut Vec<String>) -> Value {
    let counts = run.ledger.counts(group);
    let tally = run.tally.group(group);
    let failed = counts.sent - counts.answered - counts.doubly_answered;
    let faults: u64 = tally.faults.values().sum();
    let moved = tally.clients.iter().filter(|it| it.replaced > 0).count();
    let held = tally.clients.iter().filter(|it| it.swaps_in_flight > 0).count();
    let name = group.name();
    let zeros = [
        ("failed", failed.max(faults)),
        ("doubled", counts.doubled),
        ("answered twice", counts.doubly_answered),
        ("connections closed without a word", tally.closed_unannounced),
        ("connections closed with a word", tally.closed_announced),
        ("connections changed", moved as u64),
        ("connections never in flight at a swap", (tally.clients.len() - held) as u64),
    ];
    for (what, count) in zeros {
        if count > 0 {
            wrong.push(format!("{name}: {count} {what}"));
        }
    }
    let faults: serde_json::Map<String, Value> =
        tally.faults.iter().map(|(fault, count)| (fault.to_string(), json!(count))).collect();
    json!({
        "name": name,
        "sent": counts.sent,
        "answered": counts.answered,
        "failed": failed.max(faults.values().filter_map(Value::as_u64).sum()),
        "unseen": counts.unseen,
        "unanswered": counts.unanswered,
        "doubled": counts.doubled,
        "answered_twice": counts.doubly_answered,
        "faults": faults,
        "connections": tally.clients.len(),
        "connections_opened": tally.opened,
        "connections_changed": moved,
        "closed_unannounced": tally.closed_unannounced,
        "closed_announced": tally.closed_announced,
        "in_flight_at_a_swap": held,
        "wait_ms_near": waits(&tally.near),
        "wait_ms_far": waits(&tally.far),
        "gap_near_ms_max": millis(tally.clients.iter().map(|it| it.gap_near).max().unwrap_or_default()),
        "gap_far_ms_max": millis(tally.clients.iter().map(|it| it.gap_far).max().unwrap_or_default()),
    })
}

fn waits(histogram: &hdrhistogram::Histogram<u64>) -> Value {
    let at = |quantile| millis(Duration::from_micros(histogram.value_at_quantile(quantile)));
    json!({
        "count": histogram.len(),
        "p50": at(0.5),
        "p99": at(0.99),
        "max": millis(Duration::from_micros(histogram.max())),
    })
}

fn swap_value(run: &Run, swap: u32, record: &Record) -> Value {
    let (silence, lag) = run.timeline.noticed_near(swap);
    let mut value = json!({
        "swap": swap,
        "silence_ms": millis(silence),
        "own_lag_ms": millis(lag),
        "is_held": record.is_held,
    });
    if let Some(swapped) = &record.swapped {
        value["took_ms"] = json!(millis(swapped.end - swapped.begin));
        value["exit"] = match swapped.ended {
            Some(Ended::Exited(code)) => json!(code),
            Some(Ended::Killed(signal)) => json!(format!("signal {signal}")),
            None => json!("timeout"),
        };
        value["is_to_fail"] = json!(record.fails);
        value["old_pid"] = json!(record.old_pid);
        value["new_pid"] = json!(swapped.pid);
        value["old_gone_ms"] = json!(record.old_gone.map(millis));
        if !swapped.with.is_empty() {
            value["with"] = json!(swapped.with);
        }
        if !record.is_as_expected() {
            value["command"] = json!(swapped.command);
        }
        if record.fails || !record.is_as_expected() {
            value["words"] = json!(swapped.words.trim_end());
        }
    }
    value
}

fn judge_swaps(records: &[Record], gone_max: Duration, wrong: &mut Vec<String>) {
    let swapped = records.iter().filter(|it| it.swapped.is_some());
    let unexpected = swapped.clone().filter(|it| !it.is_as_expected()).count();
    let is_late = |it: &&Record| {
        !it.fails && it.is_as_expected() && it.old_gone.is_none_or(|gone| gone > gone_max)
    };
    let late = swapped.filter(is_late).count();
    if unexpected > 0 {
        wrong.push(format!("{unexpected} swaps ended otherwise than expected"));
    }
    if late > 0 {
        let most = gone_max.as_millis();
        wrong.push(format!("{late} swaps after which the old process was not gone in {most} ms"));
    }
}

fn upstream_value(run: &Run, wrong: &mut Vec<String>) -> Value {
    let spans = run.timeline.spans();
    let first = spans.first().map_or(run.over, |it| it.begin);
    let is_near = |at| spans.iter().any(|it| it.begin <= at && at <= it.end + AFTERMATH);
    let is_after = |at| first <= at && at <= run.over && !is_near(at);
    let (warm_opened, warm_closed) = run.upstreams.count(|at| at < first);
    let (near_opened, near_closed) = run.upstreams.count(is_near);
    let (far_opened, far_closed) = run.upstreams.count(is_after);
    let closed = near_closed + far_closed;
    if closed > 0 {
        wrong.push(format!("upstream: {closed} connections closed"));
    }
    for (what, count) in [
        ("requests that nobody sent", run.ledger.foreign()),
        ("connections with something that is no request", run.upstreams.malformed()),
    ] {
        if count > 0 {
            wrong.push(format!("upstream: {count} {what}"));
        }
    }
    json!({
        "warm_up": { "opened": warm_opened, "closed": warm_closed },
        "near_swaps": { "opened": near_opened, "closed": near_closed },
        "between_swaps": { "opened": far_opened, "closed": far_closed },
        "malformed": run.upstreams.malformed(),
        "foreign": run.ledger.foreign(),
    })
}

/// Median and extremes of the silences near swaps.
fn summary(mut silences: Vec<f64>) -> Value {
    silences.sort_by(f64::total_cmp);
    let at = |index: usize| silences.get(index).copied().unwrap_or_default();
    let count = silences.len();
    json!({ "min": at(0), "median": at(count / 2), "max": at(count.saturating_sub(1)) })
}

/// The longest silence of all connections near each swap, in milliseconds.
pub(crate) fn silences(run: &Run) -> Vec<f64> {
    (0..).zip(&run.records).map(|(swap, _)| millis(run.timeline.noticed_near(swap).0)).collect()
}

/// The longest time of this kind that any client saw.
pub(crate) fn longest(run: &Run, time: impl Fn(&Client) -> Duration) -> Duration {
    let clients = Group::ALL.iter().flat_map(|group| &run.tally.group(*group).clients);
    clients.map(time).max().unwrap_or_default()
}

/// Milliseconds, to a hundredth.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

/// A run with swaps, and one without, compared: what was longer by how many milliseconds.
pub(crate) fn pair(swapped: &Run, other: &Run) -> [(&'static str, f64, f64); 3] {
    let median = |run: &Run| summary(silences(run))["median"].as_f64().unwrap_or_default();
    let most = |run: &Run| summary(silences(run))["max"].as_f64().unwrap_or_default();
    let gap = |run: &Run| millis(longest(run, |it| it.gap_near));
    [
        ("median_silence", median(swapped), median(other)),
        ("longest_silence", most(swapped), most(other)),
        ("longest_gap", gap(swapped), gap(other)),
    ]
}

/// Medians over all pairs.
pub(crate) fn paired(pairs: &[[(&'static str, f64, f64); 3]]) -> Value {
    let Some(first) = pairs.first() else { return Value::Null };
    let mut value = json!({ "count": pairs.len() });
    for (index, (name, ..)) in first.iter().enumerate() {
        let middle = |of: &dyn Fn(&(&str, f64, f64)) -> f64| {
            let mut figures: Vec<f64> = pairs.iter().map(|pair| of(&pair[index])).collect();
            figures.sort_by(f64::total_cmp);
            (figures[figures.len() / 2] * 100.0).round() / 100.0
        };
        value[*name] = json!({
            "swap_ms": middle(&|it| it.1),
            "baseline_ms": middle(&|it| it.2),
            "more_ms": middle(&|it| it.1 - it.2),
        });
    }
    value
}

/// The same for people.
pub(crate) fn paired_text(paired: &Value) -> String {
    let mut text = format!("medians of {} pairs, ms", paired["count"]);
    for name in ["median_silence", "longest_silence", "longest_gap"] {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {name}: {}", paired[name]);
    }
    text
}
