//! `hangu upgrade`: lets a running gateway hand over to a new process, and waits until it has.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use hangu_codecs::Time;
use serde_json::Value;

use super::remote::escaped;
use super::{Exit, fail, remote};
use crate::clock;
use crate::control::client::Client;
use crate::swap::{Phase, Report};

/// How often the gateway is asked how far it is.
const POLL: Duration = Duration::from_millis(20);

/// The same when a phase takes long.
const SLOW_POLL: Duration = Duration::from_millis(500);

/// A phase that takes longer than this is told of, once.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// Longer than any phase but the draining of what cannot move, which the configuration bounds
/// (`drain_timeout`): while the gateway says that it is at that, it is waited for.
const SILENCE_MAX: Duration = Duration::from_secs(90);

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
    let (mut patience, mut shown) = (Patience::new(clock::now()), 0);
    while !patience.is_over(clock::now()) {
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
            if patience.hear(report.under_way(), clock::now()) {
                eprintln!("{}", patience.told());
            }
        }
        pause(if patience.is_told { SLOW_POLL } else { POLL });
    }
    let why = format!(
        "nothing new is heard of the upgrade for {} s; process {old_pid} began it, and it may be \
         under way still: GET /upgrade tells ({})",
        SILENCE_MAX.as_secs(),
        patience.told()
    );
    fail(Exit::Unavailable, why)
}

/// How long an upgrade is waited for: as long as something is heard of it.
struct Patience {
    /// What was under way when it was heard of last, and since when.
    phase: Option<Phase>,
    since: Time,
    is_told: bool,
    /// When something new was heard, or that it drains.
    heard: Time,
}

impl Patience {
    fn new(now: Time) -> Self {
        Self { phase: Some(Phase::Start), since: now, is_told: false, heard: now }
    }

    /// The gateway says what is under way. Says whether that is to be told.
    fn hear(&mut self, phase: Option<Phase>, now: Time) -> bool {
        if phase != self.phase {
            *self = Self { phase, ..Self::new(now) };
        }
        if phase == Some(Phase::Drain) {
            self.heard = now;
        }
        if self.is_told || now < self.since.after(TELL_AFTER) {
            return false;
        }
        self.is_told = true;
        true
    }

    fn is_over(&self, now: Time) -> bool {
        now >= self.heard.after(SILENCE_MAX)
    }

    /// What is under way, in words.
    fn told(&self) -> String {
        let phase = self.phase.map_or("end", Phase::as_str);
        match self.phase {
            Some(Phase::Drain) => format!(
                "phase {phase}: connections that cannot move come to their end, for drain_timeout \
                 at most"
            ),
            _ => format!("phase {phase}"),
        }
    }
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

fn pause(time: Duration) {
    // A channel that nobody sends on is a wait of a bounded length.
    let (_keep, never) = channel::<()>();
    match never.recv_timeout(time) {
        Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_waited_for_as_long_as_it_is_heard_of_and_silence_is_not() {
        let at = |second: u64| Time::from_micros(second * 1_000_000);
        let mut patience = Patience::new(at(0));
        let mut told = Vec::new();
        for second in 1..86_400 {
            let phase = if second < 3 { Phase::Prepare } else { Phase::Drain };
            if patience.hear(Some(phase), at(second)) {
                told.push(second);
            }
            assert!(!patience.is_over(at(second)), "{second}");
        }
        assert_eq!(told, [8]);
        assert!(patience.told().contains("phase drain"));
        // Nobody answers any more.
        assert!(!patience.is_over(at(86_400 + 88)));
        assert!(patience.is_over(at(86_400 + 89)));
    }

    #[test]
    fn another_phase_is_given_up_when_it_does_not_end() {
        let at = |second: u64| Time::from_micros(second * 1_000_000);
        let mut patience = Patience::new(at(0));
        assert!(!patience.hear(Some(Phase::Thaw), at(50)));
        let over = (51..).find(|it| {
            patience.hear(Some(Phase::Thaw), at(*it));
            patience.is_over(at(*it))
        });
        assert_eq!(over, Some(140));
    }
}
