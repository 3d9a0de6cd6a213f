//! The comparison as a picture: bars of CPU time per request, one panel for each workload and pace.

use std::fmt::Write;

use crate::compare::Comparison;
use crate::proxy::{Proxy, Role};
use crate::report::{self, Summary};

/// A panel: a heading and its bars.
struct Panel {
    workload: &'static str,
    title: String,
    bars: Vec<(&'static str, Summary)>,
}

/// Panels side by side: a workload has a row, and is measured at no more paces than this.
const COLUMNS: usize = 2;
const PANEL_WIDTH: usize = 480;
const BAR_HEIGHT: usize = 18;
const HEADING_HEIGHT: usize = 34;
const GAP: usize = 18;
/// Where bars begin and how long the longest is; their figures stand behind them.
const BAR_LEFT: usize = 110;
const BAR_WIDTH_MAX: f64 = 250.0;

/// The picture in SVG; panels stand in the order of the tables.
#[must_use]
pub fn svg(comparison: &Comparison) -> String {
    let panels = panels(comparison);
    let mut body = String::new();
    let mut top = GAP;
    for row in panels.chunk_by(|one, other| one.workload == other.workload) {
        for (column, panel) in row.iter().enumerate() {
            put_panel(&mut body, panel, GAP + column * PANEL_WIDTH, top);
        }
        top += row.iter().map(Panel::height).max().unwrap_or(0) + GAP;
    }
    let width = GAP * 2 + COLUMNS * PANEL_WIDTH;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {top}\" width=\"{width}\" \
         height=\"{top}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

fn panels(comparison: &Comparison) -> Vec<Panel> {
    let mut panels = Vec::new();
    for group in report::groups(comparison) {
        panels.push(Panel {
            workload: group.workload,
            title: format!("{}, {}: CPU µs per request", group.workload, group.pace),
            bars: group.lines.iter().map(|line| (line.proxy, line.cpu_us)).collect(),
        });
    }
    let idle = report::idle_lines(comparison);
    let mut workloads: Vec<_> = idle.iter().map(|line| line.workload).collect();
    workloads.dedup();
    for workload in workloads {
        let lines = idle.iter().filter(|line| line.workload == workload);
        panels.push(Panel {
            workload,
            title: format!("{workload}: KiB a connection"),
            bars: lines.map(|line| (line.proxy, line.added_later_kib)).collect(),
        });
    }
    panels
}

impl Panel {
    fn height(&self) -> usize {
        HEADING_HEIGHT + self.bars.len() * BAR_HEIGHT
    }
}

fn put_panel(text: &mut String, panel: &Panel, left: usize, top: usize) {
    let longest = panel.bars.iter().map(|(_, it)| it.max).fold(f64::MIN_POSITIVE, f64::max);
    let length = |value: f64| (value.max(0.0) / longest * BAR_WIDTH_MAX).round();
    put(
        text,
        format_args!(
            "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{}</text>\n",
            top + 16,
            panel.title
        ),
    );
    for (number, (name, cost)) in panel.bars.iter().enumerate() {
        let y = top + HEADING_HEIGHT - 8 + number * BAR_HEIGHT;
        let (baseline, middle) = (y + 11, y + 7);
        let start = left + BAR_LEFT;
        let end = start as f64 + length(cost.median);
        let (low, high) = (start as f64 + length(cost.min), start as f64 + length(cost.max));
        put(
            text,
            format_args!(
                "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{name}</text>\n\
                 <rect x=\"{start}\" y=\"{y}\" width=\"{}\" height=\"14\" fill=\"{}\"/>\n\
                 <path d=\"M{low} {middle}H{high}\" stroke=\"#333333\"/>\n\
                 <text x=\"{}\" y=\"{baseline}\">{:.2}</text>\n",
                start - 6,
                end - start as f64,
                colour(name),
                high + 6.0,
                cost.median,
            ),
        );
    }
}

fn colour(name: &str) -> &'static str {
    match Proxy::find(name).map(|proxy| proxy.role) {
        Some(Role::Yardstick) => "#b0b0b0",
        Some(Role::Own) => "#2f7ebc",
        Some(Role::Peer) | None => "#e3a857",
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::WORKLOADS;

    #[test]
    fn the_panels_of_a_workload_have_room_beside_each_other() {
        assert!(WORKLOADS.iter().all(|workload| workload.paces().len() <= COLUMNS));
    }
}
