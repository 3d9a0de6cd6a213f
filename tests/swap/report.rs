//! What a run has shown, as JSON, and whether all that is to be zero is; `table` tells it to people.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    group::Group,
    proxy::Ended,
    run::Run,
    swapper::{Mode, Record, Verdict},
    timeline::AFTERMATH,
};

/// What is not zero and still right, and how to read what a proxy says.
pub(crate) struct Allowed<'a> {
    /// The old process is to be gone within this time.
    pub(crate) gone_max: Duration,
    /// So many swaps may be refused.
    pub(crate) refused_max: usize,
    /// In what a swap command says, the number after this text is the pause in milliseconds.
    pub(crate) pause_after: Option<&'a str>,
}

/// A run's figures.
pub(crate) struct Report {
    /// All of them.
    pub(crate) value: Value,
    /// What is to be zero and is not.
    pub(crate) wrong: Vec<String>,
}

impl Report {
    /// Counts what a run has shown.
    pub(crate) fn new(run: &Run, allowed: &Allowed<'_>) -> Self {
        let pause_after = allowed.pause_after;
        let mut wrong = Vec::new();
        let groups: Vec<Value> = Group::ALL
            .iter()
            .filter(|group| run.tally.group(**group).opened > 0 || run.plan.clients(**group) > 0)
            .map(|group| group_value(run, *group, &mut wrong))
            .collect();
        let swaps: Vec<Value> =
            (0..).zip(&run.records).map(|(n, it)| swap_value(run, n, it, pause_after)).collect();
        judge_swaps(&run.records, allowed, &mut wrong);
        if run.timeline.is_dead() {
            wrong.push("the proxy has no connection of any client any more".to_owned());
        }
        let upstream = upstream_value(run, &mut wrong);
        let seconds = (run.over - run.ready).as_secs_f64();
        let value = json!({
            "mode": match run.mode { Mode::Swap => "swap", Mode::Baseline(_) => "baseline" },
            "seconds": seconds,
            "connections": run.plan.connections(),
            "requests_per_second": run.plan.http_per_second
                + run.plan.bolt_per_second
                + run.plan.http2_per_second,
            "groups": groups,
            "upstream": upstream,
            "swaps": swaps,
            "silence_ms": summary(silences(run)),
            "pause_ms": pause_after.map(|text| summary(pauses(run, text))),
            "silence_far_ms": millis(run.timeline.far_silence()),
            "wait_near_ms_max": millis(longest_wait(run)),
            "gap_near_ms_max": millis(longest_gap(run)),
            "wrong": wrong,
        });
        Self { value, wrong }
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

fn swap_value(run: &Run, swap: u32, record: &Record, pause_after: Option<&str>) -> Value {
    let (silence, lag) = run.timeline.noticed_near(swap);
    let mut value = json!({
        "swap": swap,
        "silence_ms": millis(silence),
        "own_lag_ms": millis(lag),
        "is_held": record.is_held,
    });
    if let Some(swapped) = &record.swapped {
        if let Some(text) = pause_after {
            value["pause_ms"] = json!(number_after(&swapped.words, text));
        }
        if let Some(queued) = swapped.queued_max {
            value["queued_max"] = json!(queued);
        }
        value["took_ms"] = json!(millis(swapped.end - swapped.begin));
        value["exit"] = match swapped.ended {
            Some(Ended::Exited(code)) => json!(code),
            Some(Ended::Killed(signal)) => json!(format!("signal {signal}")),
            None => json!("timeout"),
        };
        value["is_to_fail"] = json!(record.fails);
        value["verdict"] = json!(match record.verdict() {
            Verdict::Expected => "expected",
            Verdict::Refused => "refused",
            Verdict::Wrong => "wrong",
        });
        value["old_pid"] = json!(record.old_pid);
        value["new_pid"] = json!(swapped.pid);
        value["old_gone_ms"] = json!(record.old_gone.map(millis));
        if !swapped.with.is_empty() {
            value["with"] = json!(swapped.with);
        }
        let is_expected = record.verdict() == Verdict::Expected;
        if !is_expected {
            value["command"] = json!(swapped.command);
        }
        if record.fails || !is_expected {
            value["words"] = json!(swapped.words.trim_end());
        }
    }
    value
}

/// The first number after a text.
fn number_after(words: &str, text: &str) -> Option<f64> {
    let rest = words.split_once(text)?.1.trim_start_matches(|it: char| !it.is_ascii_digit());
    let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn judge_swaps(records: &[Record], allowed: &Allowed<'_>, wrong: &mut Vec<String>) {
    let count = |verdict| records.iter().filter(|it| it.verdict() == verdict).count();
    let refused = count(Verdict::Refused);
    let is_late = |it: &&Record| {
        let is_done = it.swapped.is_some() && !it.fails && it.verdict() == Verdict::Expected;
        is_done && it.old_gone.is_none_or(|gone| gone > allowed.gone_max)
    };
    let late = records.iter().filter(is_late).count();
    if count(Verdict::Wrong) > 0 {
        wrong.push(format!("{} swaps ended otherwise than expected", count(Verdict::Wrong)));
    }
    if refused > allowed.refused_max {
        wrong.push(format!("{refused} swaps were refused"));
    }
    if late > 0 {
        let most = allowed.gone_max.as_millis();
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

/// The longest time between two answers that a client saw near a swap; those apart that are silent
/// by themselves for longer than any swap.
fn longest_gap(run: &Run) -> Duration {
    let steady =
        [Group::Http, Group::Bolt, Group::Http2, Group::Tunnel, Group::Socket, Group::Download];
    let clients = steady.iter().flat_map(|group| &run.tally.group(*group).clients);
    clients.map(|it| it.gap_near).max().unwrap_or_default()
}

/// The longest time from when a request was due to its answer, near a swap.
fn longest_wait(run: &Run) -> Duration {
    let most = Group::ALL.iter().map(|group| run.tally.group(*group).near.max());
    Duration::from_micros(most.max().unwrap_or_default())
}

/// What the proxy itself says of its pauses, in milliseconds.
fn pauses(run: &Run, text: &str) -> Vec<f64> {
    let swapped = run.records.iter().filter(|it| !it.fails).filter_map(|it| it.swapped.as_ref());
    swapped.filter_map(|it| number_after(&it.words, text)).collect()
}

/// Milliseconds, to a hundredth.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

/// What is compared of a run with swaps and one without: name, and milliseconds of both.
type Pair = Vec<(&'static str, f64, f64)>;

/// A run with swaps and one without, compared.
pub(crate) fn pair(swapped: &Run, other: &Run) -> Pair {
    let figures = |run: &Run| {
        let silences = summary(silences(run));
        let of = |name: &str| silences[name].as_f64().unwrap_or_default();
        [of("median"), of("max"), millis(longest_wait(run)), millis(longest_gap(run))]
    };
    let names = ["silence_median", "silence_max", "wait_max", "gap_max"];
    let both = figures(swapped).into_iter().zip(figures(other));
    names.into_iter().zip(both).map(|(name, (swapped, other))| (name, swapped, other)).collect()
}

/// Medians over all pairs.
pub(crate) fn paired(pairs: &[Pair]) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_in_what_a_command_says() {
        assert_eq!(number_after("swapped, paused for 3.25 ms\n1234\n", "paused"), Some(3.25));
        assert_eq!(number_after("pause_ms=12", "pause_ms"), Some(12.0));
        assert_eq!(number_after("nothing", "paused"), None);
    }
}
