//! `hangu upgrade`: lets a running gateway hand over to a new process, and waits until it has.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use super::remote::escaped;
use super::{Exit, fail, remote};
use crate::clock;
use crate::control::client::Client;
use crate::swap::Report;

/// How often the gateway is asked how far it is.
const POLL: Duration = Duration::from_millis(20);

/// Longer than any step but the draining of what cannot move, which the configuration bounds.
const WAIT: Duration = Duration::from_secs(90);

/// Asks for it and waits; the last line that is printed is the new process's id.
pub(super) fn upgrade(client: &Client, binary: Option<&Path>, watches: bool) -> Exit {
    // A link stays one: what it leads to next time is meant then.
    let path = match binary.map(std::path::absolute) {
        None => "/upgrade".to_owned(),
        Some(Ok(path)) => format!("/upgrade?program={}", escaped(&path.display().to_string())),
        Some(Err(error)) => {
            let name = binary.map_or_else(String::new, |it| it.display().to_string());
            return fail(Exit::Usage, format!("{name}: {error}"));
        }
    };
    let answer = match client.post(&path, "") {
        Ok(answer) => answer,
        Err(error) => return fail(Exit::Unavailable, error),
    };
    let begun = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
    let (202, Some(old_pid)) = (answer.status, begun["old_pid"].as_u64()) else {
        return fail(Exit::Unavailable, remote::refusal(client, &answer));
    };
    let end = clock::now().after(WAIT);
    let mut shown = 0;
    while clock::now() < end {
        // No answer is no news: one process may be gone and the other not yet answer.
        let report = client.get("/upgrade").ok();
        let report = report.and_then(|it| serde_json::from_str::<Report>(&it.body).ok());
        let report = report.filter(|it| u64::from(it.old_pid) == old_pid);
        if let Some(report) = report {
            if watches {
                show_phases(&report, &mut shown);
            }
            if let Some(why) = report.error {
                return fail(Exit::Unavailable, format!("{why}; process {old_pid} goes on"));
            }
            if report.is_complete {
                show(&report);
                return Exit::Ok;
            }
        }
        pause();
    }
    let why =
        format!("the upgrade did not end within {} s; process {old_pid} began it", WAIT.as_secs());
    fail(Exit::Unavailable, why)
}

fn show_phases(report: &Report, shown: &mut usize) {
    for (phase, took) in report.phases.iter().skip(*shown) {
        println!("{:<8} {:>9.1} ms", phase.as_str(), *took as f64 / 1e3);
    }
    *shown = report.phases.len();
}

fn show(report: &Report) {
    let ms = |us: Option<u64>| us.unwrap_or(0) as f64 / 1e3;
    println!(
        "version {} follows version {}: {} connections and {} requests in flight moved, pause {:.1} ms, \
         process {} was gone after {:.1} ms",
        report.new_version,
        report.old_version,
        report.connections,
        report.exchanges,
        ms(report.pause_us),
        report.old_pid,
        ms(report.old_gone_us)
    );
    if report.cut > 0 {
        println!("{} connections could not move and were cut off", report.cut);
    }
    println!("{}", report.new_pid);
}

fn pause() {
    // A channel that nobody sends on is a wait of a bounded length.
    let (_keep, never) = channel::<()>();
    match never.recv_timeout(POLL) {
        Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
}
