//! `hangu-h2attack`: attacks any HTTP/2 proxy on loopback at a bounded rate, and tells what its
//! healthy clients notice and what it costs the proxy. See `tests/h2attack/README.md`.
//!
//! For each attack a proxy is started, healthy clients ask it at a low fixed rate, and half-way the
//! attack begins ([`trial`]): so each is compared with the same time without it. The attacks
//! ([`attacks`]) append bytes and know no sockets; the [`attacker`] has connections and the pace.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test program of ordinary blocking threads; no worker reaches them"
)]

mod attacker;
mod attacks;
mod backend;
#[path = "../swap/proxy/children.rs"]
#[allow(dead_code, reason = "hangu-swap needs more of it")]
mod children;
#[path = "../swap/clock.rs"]
mod clock;
mod flow;
mod frame;
mod healthy;
mod hpack;
#[path = "../swap/interrupt.rs"]
mod interrupt;
mod judge;
mod options;
#[path = "../swap/poller.rs"]
#[allow(dead_code, reason = "hangu-swap needs more of it")]
mod poller;
mod proxy;
mod random;
mod report;
mod sockets;
mod target;
#[path = "../swap/proxy/template.rs"]
mod template;
mod trial;

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::{
    attacks::ATTACKS,
    flow::Asked,
    healthy::Answers,
    judge::Figures,
    options::Options,
    proxy::{Children, Proxy, Recipe},
    random::Random,
    target::Target,
    trial::{Measure, Scene, Trial},
};

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(is_reached) if is_reached || !options.judge => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hangu-h2attack: {error}");
            ExitCode::from(2)
        }
    }
}

/// Carries out all attacks; whether all targets were reached.
fn run(options: &Options) -> io::Result<bool> {
    if options.list {
        for attack in ATTACKS {
            println!("{:26} {}", attack.name, attack.what);
        }
        return Ok(true);
    }
    options.check()?;
    let attacks = options.attacks()?;
    raise_descriptor_limit();
    let signals = interrupt::block();
    let children = Children::adopt()?;
    let directory = Directory::new(options.keep.clone())?;
    interrupt::end_on(signals, children.clone(), directory.removed());
    let seed = options.seed.unwrap_or_else(|| {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Random::new(time.map_or(1, |it| it.as_nanos() as u64), 0).next() >> 32
    });
    let measure = Measure {
        bytes_per_second: options.rate,
        lasts: options.lasts(),
        healthy_per_second: options.healthy_rate,
        seed,
    };
    let upstream = backend::start(options.backend)?;
    println!("seed {seed}, upstream {upstream}\n\n{}", report::HEAD);
    let mut trials = Vec::new();
    for attack in &attacks {
        let running = match &options.proxy {
            Some(templates) => {
                let set = options.set.clone();
                let recipe = Recipe { templates: templates.clone(), set, upstream };
                let place = directory.path.join(attack.name);
                Some(Proxy::start(&recipe, &place, &children)?)
            }
            None => None,
        };
        let scene = scene(options, running.as_ref())?;
        let trial = trial::run(attack, &scene, &measure)?;
        println!("{}", report::line(&trial));
        io::stdout().flush()?;
        if let Some(proxy) = running.filter(|_| !trial.is_alive) {
            eprintln!("the proxy ended:\n{}", proxy.last_words());
        }
        trials.push(trial);
    }
    if let Some(file) = &options.json {
        let all: Vec<_> = trials.iter().map(report::value).collect();
        let value = json!({ "seed": seed, "bytes_per_second": options.rate, "attacks": all });
        fs::write(file, serde_json::to_vec_pretty(&value)?)?;
    }
    tell(&trials);
    Ok(trials.iter().all(|it| Figures::of(it).missed(it).is_empty()))
}

/// What is attacked: what was started, or what runs already.
fn scene(options: &Options, running: Option<&Proxy>) -> io::Result<Scene> {
    let (h2, http, process) = match (running, options.target, options.pid) {
        (Some(proxy), _, _) => (proxy.h2, Some(proxy.http), proxy.process),
        (None, Some(h2), Some(process)) => (h2, options.target_http, process),
        (None, _, _) => return Err(io::Error::other("--proxy, or --target and --pid, is needed")),
    };
    let target = Target::new(process);
    if !target.is_alive() {
        return Err(io::Error::other(format!("there is no process {process}")));
    }
    let answers = match &options.path {
        None => Answers::Numbered,
        Some(path) => Answers::Same { path: path.clone(), first: Mutex::default() },
    };
    Ok(Scene { h2, http, target, answers: Arc::new(answers), asked: asked(options, h2) })
}

fn asked(options: &Options, h2: SocketAddr) -> Asked {
    let path = options.path.clone().unwrap_or_else(|| backend::path(0));
    // Without a large answer of its own a foreign upstream is asked for what it has.
    let own = options.path.clone().unwrap_or_else(|| backend::LARGE_PATH.to_owned());
    let large_path = options.large_path.clone().unwrap_or(own);
    Asked { authority: h2.to_string(), path, large_path }
}

/// Errors of healthy clients in words, and how many attacks missed a target.
fn tell(trials: &[Trial]) {
    println!();
    for trial in trials {
        for (speech, seen) in [("HTTP/2", Some(&trial.h2)), ("HTTP/1.1", trial.http1.as_ref())] {
            let Some(seen) = seen else { continue };
            let times =
                [("before", &seen.before), ("during", &seen.during), ("after", &seen.after)];
            for (time, tally) in times {
                for (words, count) in &tally.words {
                    println!("{}, {speech}, {time}: {count} times: {words}", trial.attack.name);
                }
            }
        }
    }
    let missed = trials.iter().filter(|it| !Figures::of(it).missed(it).is_empty()).count();
    println!("{} attacks, {missed} of them missed a target", trials.len());
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
            std::env::temp_dir().join(format!("hangu-h2attack-{}", std::process::id()))
        });
        fs::create_dir_all(&path)?;
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
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Allows as many descriptors as this user may have.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // With too few the run says so itself.
    let _ = setrlimit(Resource::Nofile, all);
}
