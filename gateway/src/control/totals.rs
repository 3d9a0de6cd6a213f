//! What the processes before this one counted, so that no counter falls when one follows another.
//!
//! The predecessor's last rendering is added to this process's own, series by series. So whatever
//! is counted anywhere goes on, and nothing that is counted needs to know of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// What was counted before, by family and series.
#[derive(Debug, Default)]
pub(super) struct Totals {
    families: BTreeMap<String, Family>,
}

#[derive(Debug, Default)]
struct Family {
    /// Its HELP and TYPE.
    head: Vec<String>,
    series: HashMap<String, f64>,
}

impl Totals {
    /// Reads a rendering; what is no counter and no histogram is left out.
    pub(super) fn read(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut help = None;
        let mut current: Option<String> = None;
        for line in text.lines() {
            match Line::read(line) {
                Line::Help => help = Some(line.to_owned()),
                Line::Type(name, goes_up) => {
                    current = goes_up.then(|| name.to_owned());
                    if goes_up {
                        let family = families.entry(name.to_owned()).or_default();
                        family.head = help.take().into_iter().chain([line.to_owned()]).collect();
                    }
                }
                Line::Sample(series, value) => {
                    let family = current.as_ref().and_then(|it| families.get_mut(it));
                    if let (Some(family), Ok(value)) = (family, value.parse()) {
                        family.series.insert(series.to_owned(), value);
                    }
                }
                Line::Other => {}
            }
        }
        Self { families }
    }

    /// This process's rendering with what was counted before.
    pub(super) fn add_to(&self, text: String) -> String {
        if self.families.is_empty() {
            return text;
        }
        let mut out = String::with_capacity(text.len() * 2);
        let mut left: BTreeMap<&str, HashMap<&str, f64>> = BTreeMap::new();
        for (name, family) in &self.families {
            let series = family.series.iter().map(|(series, value)| (series.as_str(), *value));
            left.insert(name, series.collect());
        }
        let mut current: Option<&str> = None;
        for line in text.lines() {
            match Line::read(line) {
                Line::Sample(series, value) => {
                    let before = current.and_then(|it| left.get_mut(it)?.remove(series));
                    match (before, value.parse::<f64>()) {
                        (Some(before), Ok(value)) => write_sample(&mut out, series, before + value),
                        _ => write_line(&mut out, line),
                    }
                    continue;
                }
                Line::Help | Line::Type(..) => {
                    if let Some(rest) = current.take().and_then(|it| left.remove(it)) {
                        write_rest(&mut out, rest);
                    }
                }
                Line::Other => {}
            }
            if let Line::Type(name, _) = Line::read(line) {
                current = Some(name);
            }
            write_line(&mut out, line);
        }
        if let Some(rest) = current.and_then(|it| left.remove(it)) {
            write_rest(&mut out, rest);
        }
        for (name, rest) in left {
            // Nothing of this family has happened in this process yet.
            let head = self.families.get(name).map_or(&[][..], |it| &it.head);
            head.iter().for_each(|line| write_line(&mut out, line));
            write_rest(&mut out, rest);
        }
        out
    }
}

fn write_rest(out: &mut String, rest: HashMap<&str, f64>) {
    let mut rest: Vec<_> = rest.into_iter().collect();
    rest.sort_by(|one, other| one.0.cmp(other.0));
    rest.into_iter().for_each(|(series, value)| write_sample(out, series, value));
}

fn write_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn write_sample(out: &mut String, series: &str, value: f64) {
    // Writing to memory does not fail.
    let _ = writeln!(out, "{series} {value}");
}

/// A line of the text format for Prometheus.
enum Line<'a> {
    Help,
    /// The family, and whether its series only go up.
    Type(&'a str, bool),
    /// Name with labels, and the value.
    Sample(&'a str, &'a str),
    Other,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Self {
        if line.starts_with("# HELP ") {
            return Self::Help;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            return Self::Type(name, matches!(kind.trim(), "counter" | "histogram"));
        }
        if line.starts_with('#') {
            return Self::Other;
        }
        line.rsplit_once(' ').map_or(Self::Other, |(series, value)| Self::Sample(series, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# HELP a_total How often.\n# TYPE a_total counter\n\
        a_total{x=\"1\"} 7\na_total{x=\"2\"} 3\n\
        # TYPE level gauge\nlevel 4\n\
        # TYPE d_seconds histogram\nd_seconds_bucket{le=\"1\"} 2\nd_seconds_bucket{le=\"+Inf\"} 3\n\
        d_seconds_sum 4.5\nd_seconds_count 3\n\
        # HELP gone_total Not yet.\n# TYPE gone_total counter\ngone_total 9\n";

    #[test]
    fn counters_and_histograms_go_on_and_levels_do_not() {
        let now = "# HELP a_total How often.\n# TYPE a_total counter\na_total{x=\"2\"} 1\n\
            a_total{x=\"3 4\"} 1\n# TYPE level gauge\nlevel 1\n\
            # TYPE d_seconds histogram\nd_seconds_bucket{le=\"1\"} 1\n\
            d_seconds_bucket{le=\"+Inf\"} 1\nd_seconds_sum 0.25\nd_seconds_count 1\n";
        let text = Totals::read(BEFORE).add_to(now.to_owned());
        for line in [
            "a_total{x=\"1\"} 7",
            "a_total{x=\"2\"} 4",
            "a_total{x=\"3 4\"} 1",
            "level 1",
            "d_seconds_bucket{le=\"1\"} 3",
            "d_seconds_bucket{le=\"+Inf\"} 4",
            "d_seconds_sum 4.75",
            "d_seconds_count 4",
            "gone_total 9",
        ] {
            assert_eq!(text.lines().filter(|it| *it == line).count(), 1, "{line} in {text}");
        }
        // Series stand with their family.
        let at = |line: &str| text.find(line).unwrap();
        assert!(at("a_total{x=\"1\"}") < at("# TYPE level"));
        assert!(at("# TYPE gone_total") < at("gone_total 9"));
        // And the next process goes on with all of it.
        let next = Totals::read(&text).add_to(String::new());
        assert!(next.contains("a_total{x=\"2\"} 4\n") && next.contains("gone_total 9\n"), "{next}");
    }

    #[test]
    fn without_a_process_before_nothing_changes() {
        assert_eq!(Totals::default().add_to(BEFORE.to_owned()), BEFORE);
    }
}
