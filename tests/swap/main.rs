//! `hangu-swap`: swaps the binary of any proxy on loopback again and again under load, and counts
//! what its clients and its upstreams notice. See `tests/swap/README.md`.
//!
//! Clients and backend are threads of this program, so that each request, known by its number, can
//! be accounted for at both ends ([`ledger`]): the backend has to see it once, the client has to
//! get its answer once. Clients ask at a fixed rate, whatever becomes of the answers, write each
//! request at once and never again. The proxy is known by its commands alone ([`proxy`]).
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test program of ordinary blocking threads; no worker reaches them"
)]

mod ask;
mod backend;
mod bolt;
mod client;
mod clock;
mod content;
mod events;
mod exchange;
mod group;
mod h2;
mod http;
mod interrupt;
mod ledger;
mod options;
mod plan;
mod poller;
mod proxy;
mod report;
mod run;
mod stream;
mod swapper;
mod table;
mod tally;
mod timeline;
mod transfer;
mod tunnel;

use std::{io, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::{group::Group, plan::Plan};
use crate::{
    options::{Expect, Options},
    proxy::Children,
    report::{Allowed, Report},
    swapper::Mode,
};

/// More descriptors than any run needs; had only by who may raise the limit.
const DESCRIPTORS: u64 = 200_000;
/// How long a swap is taken to last in a run without swaps that no other one precedes.
const LENGTH: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let options = Options::parse();
    match compare(&options) {
        Ok(is_right) if is_right || options.expect == Expect::Report => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hangu-swap: {error}");
            ExitCode::from(2)
        }
    }
}

/// Does all runs; whether all that is to be zero was.
fn compare(options: &Options) -> io::Result<bool> {
    raise_descriptor_limit();
    let recipe = options.recipe()?;
    let signals = interrupt::block();
    let children = Children::adopt()?;
    let directory = Directory::new(options.keep.clone())?;
    interrupt::end_on(signals, children.clone(), directory.removed());
    let capacity = |plan: &Plan, group: Group| {
        let place = directory.path.join(format!("capacity-{}", group.name()));
        run::capacity(&recipe, plan, group, &place, &children)
    };
    let keeps_up = |plan: &Plan, per_second: f64| {
        let place = directory.path.join(format!("trial-{per_second:.0}"));
        run::keeps_up(&recipe, plan, per_second, &place, &children)
    };
    let plan = Arc::new(options.loaded(capacity, keeps_up)?);
    let allowed = Allowed {
        gone_max: Duration::from_millis(options.gone_ms_max),
        refused_max: options.refused_max,
        pause_after: options.pause_after.as_deref(),
    };
    let mut reports = Vec::new();
    let mut go = |name: String, mode: Mode| -> io::Result<run::Run> {
        let run = run::run(&recipe, &plan, mode, &directory.path.join(name), &children)?;
        let report = Report::new(&run, &allowed);
        if !options.json {
            println!("{}", table::run(&report.value));
        }
        reports.push(report);
        Ok(run)
    };
    let mut pairs = Vec::new();
    if options.baseline {
        go("baseline".to_owned(), Mode::Baseline(LENGTH))?;
    }
    for pair in 0..options.pairs.max(u32::from(!options.baseline)) {
        let swapped = go(format!("swap-{pair}"), Mode::Swap)?;
        if options.pairs > 0 {
            let mode = Mode::Baseline(median_length(&swapped));
            let other = go(format!("baseline-{pair}"), mode)?;
            pairs.push(report::pair(&swapped, &other));
        }
    }
    let paired = report::paired(&pairs);
    let runs: Vec<&Value> = reports.iter().map(|it| &it.value).collect();
    let is_right = reports.iter().all(|it| it.wrong.is_empty());
    match options.json {
        true => println!("{}", json!({ "runs": runs, "pairs": paired, "is_right": is_right })),
        false if !pairs.is_empty() => println!("{}", table::pairs(&paired)),
        false => {}
    }
    Ok(is_right)
}

fn median_length(run: &run::Run) -> Duration {
    let mut lengths: Vec<Duration> =
        run.timeline.spans().iter().map(|it| it.end - it.begin).collect();
    lengths.sort();
    lengths.get(lengths.len() / 2).copied().unwrap_or(LENGTH)
}

/// A directory for configurations and logs, removed at the end unless it is to be kept.
struct Directory {
    path: PathBuf,
    is_kept: bool,
}

impl Directory {
    fn new(kept: Option<PathBuf>) -> io::Result<Self> {
        let is_kept = kept.is_some();
        let path = kept.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("hangu-swap-{}", std::process::id()))
        });
        std::fs::create_dir_all(&path)?;
        Ok(Self { path: path.canonicalize()?, is_kept })
    }

    /// What is to be removed at the end.
    fn removed(&self) -> Option<PathBuf> {
        (!self.is_kept).then(|| self.path.clone())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Allows as many descriptors as this user may have.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let more = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    let is_enough = limit.maximum.is_none_or(|it| it >= DESCRIPTORS);
    if is_enough || setrlimit(Resource::Nofile, more).is_err() {
        let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // With too few the run says so itself.
        let _ = setrlimit(Resource::Nofile, all);
    }
}
