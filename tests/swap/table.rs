//! A report for people.

use std::fmt::Write;

use serde_json::{Value, json};

/// Columns of the table of groups, with their widths.
const COLUMNS: [(&str, usize); 13] = [
    ("", 10),
    ("sent", 9),
    ("answered", 9),
    ("failed", 8),
    ("doubled", 8),
    ("closed", 7),
    ("told", 6),
    ("moved", 6),
    ("in swap", 11),
    ("p50 ms", 8),
    ("p99 near", 10),
    ("max near", 10),
    ("gap near", 10),
];

/// A run as [`crate::report::Report`] has it.
pub(crate) fn run(value: &Value) -> String {
    let mut text = format!(
        "{} of {:.0} s, {} connections, {:.0} requests/s\n",
        value["mode"].as_str().unwrap_or_default(),
        value["seconds"].as_f64().unwrap_or_default(),
        value["connections"],
        value["requests_per_second"].as_f64().unwrap_or_default(),
    );
    text.push_str(&row(&COLUMNS.map(|(name, _)| name.to_owned())));
    for group in members(&value["groups"]) {
        text.push_str(&group_rows(group));
    }
    for (when, count) in value["upstream"].as_object().into_iter().flatten() {
        if let (Some(opened), Some(closed)) = (count.get("opened"), count.get("closed")) {
            line(&mut text, format_args!("upstream {when}: {opened} opened, {closed} closed"));
        }
    }
    let silence = &value["silence_ms"];
    let [median, most, elsewhere] = [&silence["median"], &silence["max"], &value["silence_far_ms"]];
    line(
        &mut text,
        format_args!(
            "no answer on any connection, ms: {median} median and {most} longest near a swap, \
             {elsewhere} elsewhere"
        ),
    );
    let pause = &value["pause_ms"];
    if pause.is_object() {
        let [median, most] = [&pause["median"], &pause["max"]];
        line(
            &mut text,
            format_args!("pause by its own account, ms: {median} median, {most} longest"),
        );
    }
    for swap in members(&value["swaps"]) {
        text.push_str(&swap_line(swap));
    }
    for wrong in members(&value["wrong"]) {
        line(&mut text, format_args!("WRONG: {}", wrong.as_str().unwrap_or_default()));
    }
    text
}

/// Pairs of runs as [`crate::report::paired`] has them.
pub(crate) fn pairs(paired: &Value) -> String {
    let mut text = format!("medians of {} pairs, ms", paired["count"]);
    text = format!("{text:<26}{:>10}{:>10}{:>10}\n", "swaps", "without", "more");
    for (name, figures) in paired.as_object().into_iter().flatten() {
        if figures.is_object() {
            let [swapped, other, more] =
                ["swap_ms", "baseline_ms", "more_ms"].map(|it| figures[it].to_string());
            line(&mut text, format_args!("{name:<26}{swapped:>10}{other:>10}{more:>10}"));
        }
    }
    text
}

fn group_rows(group: &Value) -> String {
    let number = |name: &str| group[name].to_string();
    let mut text = row(&[
        group["name"].as_str().unwrap_or_default().to_owned(),
        number("sent"),
        number("answered"),
        number("failed"),
        number("doubled"),
        number("closed_unannounced"),
        number("closed_announced"),
        number("connections_changed"),
        format!("{}/{}", group["in_flight_at_a_swap"], group["connections"]),
        group["wait_ms_far"]["p50"].to_string(),
        group["wait_ms_near"]["p99"].to_string(),
        group["wait_ms_near"]["max"].to_string(),
        number("gap_near_ms_max"),
    ]);
    let faults = group["faults"].as_object().into_iter().flatten();
    let faults: Vec<String> = faults.map(|(fault, count)| format!("{count} {fault}")).collect();
    if !faults.is_empty() {
        line(&mut text, format_args!("{:10}{}", "", faults.join(", ")));
    }
    text
}

/// All members but those that are as always.
fn swap_line(swap: &Value) -> String {
    let usual =
        [("is_held", json!(true)), ("is_to_fail", json!(false)), ("verdict", json!("expected"))];
    let is_usual = |name: &str, value: &Value| {
        name == "swap" || usual.iter().any(|(it, usual)| *it == name && value == usual)
    };
    let told = swap.as_object().into_iter().flatten().filter(|(name, it)| !is_usual(name, it));
    let told: Vec<String> = told.map(|(name, value)| format!("{name} {value}")).collect();
    format!("swap {}: {}\n", swap["swap"], told.join(", "))
}

fn row(cells: &[String; COLUMNS.len()]) -> String {
    let mut text = String::new();
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        // Writing to a string does not fail. The first column stands at the left.
        let _ = match text.is_empty() {
            true => write!(text, "{cell:<width$}"),
            false => write!(text, "{cell:>width$}"),
        };
    }
    text + "\n"
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

fn members(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
