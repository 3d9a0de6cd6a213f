//! What was measured, as a table and as JSON.

use serde_json::{Value, json};

use crate::{
    attacks::Pace,
    healthy::{Seen, Tally},
    judge::{Figures, percentile_ms},
    trial::Trial,
};

/// The head of the table.
pub(crate) const HEAD: &str = "\
| attack | accepted MB | connections, cut | errors | HTTP/2 p50, p99 ms | with attack | HTTP/1.1 p50, p99 ms | with attack | CPU s | CPU s/MB | RSS max, after MB | missed |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|";

/// A line of the table.
pub(crate) fn line(trial: &Trial) -> String {
    let figures = Figures::of(trial);
    let outcome = &trial.outcome;
    let latency = |tally: Option<&Tally>| {
        tally.map_or_else(
            || "–".to_owned(),
            |it| format!("{:.1}, {:.1}", percentile_ms(it, 50.0), percentile_ms(it, 99.0)),
        )
    };
    let http1 = trial.http1.as_ref();
    let per_mb = match trial.attack.pace {
        Pace::Bytes => format!("{:.3}", figures.cpu_per_mb),
        Pace::Waits => "–".to_owned(),
    };
    let missed = figures.missed(trial).join(", ");
    format!(
        "| {} | {:.2} | {}, {} | {} | {} | {} | {} | {} | {:.2} | {} | {:.1}, {:.1} | {} |",
        trial.attack.name,
        figures.accepted_mb,
        outcome.connections,
        outcome.cut,
        figures.errors,
        latency(Some(&trial.h2.before)),
        latency(Some(&trial.h2.during)),
        latency(http1.map(|it| &it.before)),
        latency(http1.map(|it| &it.during)),
        figures.cpu_seconds,
        per_mb,
        figures.growth_max as f64 / 1e6,
        figures.growth_after as f64 / 1e6,
        if missed.is_empty() { "–" } else { &missed },
    )
}

/// All of it.
pub(crate) fn value(trial: &Trial) -> Value {
    let figures = Figures::of(trial);
    let outcome = &trial.outcome;
    let heard = &outcome.heard;
    let goaways: serde_json::Map<String, Value> =
        heard.goaways.iter().map(|(code, count)| (code.to_string(), json!(count))).collect();
    json!({
        "attack": trial.attack.name,
        "what": trial.attack.what,
        "seconds": trial.lasts.as_secs_f64(),
        "accepted_bytes": outcome.accepted_bytes,
        "connections": outcome.connections,
        "cut": outcome.cut,
        "refused": outcome.refused,
        "heard": {
            "answers": heard.answers,
            "resets": heard.resets,
            "data_bytes": heard.data_bytes,
            "acknowledged": heard.acknowledged,
            "goaways": goaways,
        },
        "healthy": {
            "http2": seen(&trial.h2),
            "http1": trial.http1.as_ref().map(seen),
            "errors": figures.errors,
            "p99_worse_ms": figures.p99_worse_ms,
        },
        "cpu_seconds_before": trial.cpu_before.as_secs_f64(),
        "cpu_seconds_during": trial.cpu_during.as_secs_f64(),
        "cpu_seconds_per_mb": figures.cpu_per_mb,
        "resident_bytes_before": trial.resident_before,
        "resident_bytes_max": trial.resident_max,
        "resident_bytes_after": trial.resident_after,
        "is_alive": trial.is_alive,
        "missed": figures.missed(trial),
    })
}

fn seen(seen: &Seen) -> Value {
    json!({
        "before": tally(&seen.before),
        "during": tally(&seen.during),
        "after": tally(&seen.after),
    })
}

fn tally(tally: &Tally) -> Value {
    json!({
        "right": tally.right,
        "wrong": tally.wrong,
        "errors": tally.words,
        "p50_ms": percentile_ms(tally, 50.0),
        "p99_ms": percentile_ms(tally, 99.0),
        "max_ms": tally.latencies.max() as f64 / 1000.0,
    })
}
