//! The rounds: every proxy in turn, again and again, on one core, with load and backend on another.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::backend::{Addresses, Backend};
use crate::idle;
use crate::load::{Latency, Load};
use crate::machine::Machine;
use crate::process;
use crate::proxy::{Plan, Presence, Programs, Proxy, Role, Running};
use crate::workload::{Measure, Pace, Workload};

/// What to compare.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rows.
    pub workloads: Vec<&'static Workload>,
    /// Columns.
    pub proxies: Vec<&'static Proxy>,
    /// What becomes of a peer that is not installed.
    pub missing: Missing,
    /// Paces of a workload at most: one is enough to see whether answers are right.
    pub paces_max: usize,
    /// Rounds of each proxy, workload and pace.
    pub rounds: usize,
    /// Measured time of a round.
    pub round: Duration,
    /// Time before it, in which connections are made and caches fill.
    pub warmup: Duration,
    /// How long idle connections are left alone.
    pub idle_wait: Duration,
    /// Idle connections at most, whatever the workload says.
    pub idle_connections_max: usize,
    /// Where configurations and logs go.
    pub directory: PathBuf,
    /// Where programs are.
    pub programs: Programs,
}

/// What becomes of a peer that is not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is left out with a warning: the comparison takes what is there.
    LeftOut,
    /// The comparison fails: this proxy was asked for.
    Fails,
}

impl Settings {
    /// What went wrong, without the names of this machine's directories: it may go into a document.
    fn without_places(&self, error: &io::Error) -> String {
        let mut text = error.to_string();
        for place in [&self.directory, &self.programs.peers] {
            text = text.replace(&format!("{}/", place.display()), "");
        }
        text
    }

    fn may_do_without(&self, proxy: &Proxy) -> bool {
        self.missing == Missing::LeftOut && proxy.presence != Presence::Required
    }
}

/// All that a comparison found.
#[derive(Debug, Default, Serialize)]
pub struct Comparison {
    /// Where it ran.
    pub machine: Machine,
    /// Proxies and what they say their versions are.
    pub versions: Vec<(&'static str, String)>,
    /// Rounds of each proxy, workload and pace.
    pub rounds: usize,
    /// Measured seconds of a round.
    pub seconds: f64,
    /// Things that make the figures less than they seem.
    pub warnings: Vec<String>,
    /// One per workload, pace and proxy, in this order.
    pub series: Vec<Series>,
    /// One per workload of idle connections and proxy.
    pub idle: Vec<IdleSeries>,
}

/// The rounds of one proxy with one workload at one pace.
#[derive(Debug, Serialize)]
pub struct Series {
    /// The workload's name.
    pub workload: &'static str,
    /// When requests were sent.
    pub pace: Pace,
    /// The proxy's name.
    pub proxy: &'static str,
    /// In the order in which they were run; round N of all proxies ran side by side.
    pub rounds: Vec<Round>,
}

/// The rounds of one proxy with idle connections.
#[derive(Debug, Serialize)]
pub struct IdleSeries {
    /// The workload's name.
    pub workload: &'static str,
    /// The proxy's name.
    pub proxy: &'static str,
    /// Each with the proxy started anew.
    pub rounds: Vec<idle::Round>,
}

/// One measured window.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// CPU time of all the proxy's threads per right answer, in microseconds.
    pub cpu_us: f64,
    /// Share of the window that the proxy's core worked for it; at a low share each request costs
    /// more, because fewer share a wake-up.
    pub busy: f64,
    /// Right answers a second.
    pub requests_per_second: f64,
    /// From due to answered.
    pub latency: Latency,
    /// Right answers.
    pub requests: u64,
    /// What was wrong, in words, and how often.
    pub errors: Vec<(String, u64)>,
    /// Resident memory after the window.
    pub resident_bytes: u64,
}

impl Comparison {
    /// Whether each round of each proxy had right answers and nothing else.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let mut rounds = self.series.iter().flat_map(|series| &series.rounds);
        let mut idle = self.idle.iter().flat_map(|series| &series.rounds);
        rounds.all(|round| round.requests > 0 && round.errors.is_empty())
            && idle.all(|round| round.errors.is_empty())
    }
}

/// Idle connections need a wait in each round, and their memory varies little.
const IDLE_ROUNDS_MAX: usize = 3;

/// Runs all rounds; `tell` is told what goes on.
///
/// # Errors
/// The backend or a proxy that is needed cannot be started, or one ends while it is measured.
pub fn run(settings: &Settings, tell: &mut dyn FnMut(&str)) -> io::Result<Comparison> {
    let mut comparison = Comparison {
        machine: Machine::this(),
        rounds: settings.rounds,
        seconds: settings.round.as_secs_f64(),
        ..Comparison::default()
    };
    let stage = Stage::set(settings, &mut comparison)?;
    for workload in &settings.workloads {
        match workload.measure {
            Measure::Requests(paces) => {
                compare(&stage, workload, paces, &mut comparison, tell)?;
            }
            Measure::IdleConnections => compare_idle(&stage, workload, &mut comparison, tell)?,
        }
    }
    Ok(comparison)
}

/// Starts backend and proxies as for a comparison, tells where they are, and leaves them to
/// whoever wants to profile them until `until` returns.
///
/// # Errors
/// As [`run`].
pub fn hold(
    settings: &Settings,
    tell: &mut dyn FnMut(&str),
    until: impl FnOnce(),
) -> io::Result<()> {
    let mut comparison = Comparison::default();
    let stage = Stage::set(settings, &mut comparison)?;
    let mut held = Vec::new();
    for workload in &settings.workloads {
        for proxy in stage.start_all(workload, &mut comparison)? {
            let (pids, address) = (proxy.process.family(), proxy.address());
            tell(&format!("{}: {pids}", proxy.proxy.name));
            tell(&format!("  load --target {address} --workload {}", workload.name));
            held.push(proxy);
        }
    }
    until();
    Ok(())
}

/// The backend on its core, and the proxies that can be started on theirs.
struct Stage<'a> {
    settings: &'a Settings,
    cores: Cores,
    upstreams: Addresses,
    proxies: Vec<&'static Proxy>,
}

impl<'a> Stage<'a> {
    fn set(settings: &'a Settings, comparison: &mut Comparison) -> io::Result<Self> {
        process::raise_descriptor_limit()?;
        let cores = Cores::choose(&mut comparison.warnings)?;
        let backend = Backend::bind(Addresses::any())?;
        let upstreams = backend.addresses()?;
        process::pin_thread(cores.load)?;
        // The thread inherits the core. It ends with the process: the bench has nothing to do
        // after it.
        std::thread::Builder::new().name("backend".into()).spawn(move || backend.run())?;
        let proxies = installed(settings, comparison)?;
        Ok(Self { settings, cores, upstreams, proxies })
    }

    /// The proxies that this workload can be put to, each started for it.
    fn start_all(
        &self,
        workload: &Workload,
        comparison: &mut Comparison,
    ) -> io::Result<Vec<Running>> {
        let mut running = Vec::new();
        for proxy in self.proxies.iter().filter(|it| (it.carries)(workload)) {
            running.extend(self.start(proxy, workload, comparison)?);
        }
        Ok(running)
    }

    /// `None` if it cannot be started and may be left out.
    fn start(
        &self,
        proxy: &Proxy,
        workload: &Workload,
        comparison: &mut Comparison,
    ) -> io::Result<Option<Running>> {
        let settings = self.settings;
        let directory = settings.directory.join(workload.name).join(proxy.name);
        let plan = Plan::new(directory, self.upstreams, &settings.programs, workload)?;
        match proxy.start(plan, self.cores.proxy) {
            Ok(running) => Ok(Some(running)),
            Err(error) if settings.may_do_without(proxy) => {
                let workload = workload.name;
                let error = settings.without_places(&error);
                comparison.warnings.push(format!("left out of {workload}: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn installed(settings: &Settings, comparison: &mut Comparison) -> io::Result<Vec<&'static Proxy>> {
    let mut proxies = Vec::new();
    for proxy in &settings.proxies {
        match (proxy.version)(&settings.programs) {
            Ok(version) => {
                comparison.versions.push((proxy.name, version));
                proxies.push(*proxy);
            }
            Err(error) if settings.may_do_without(proxy) => {
                let error = settings.without_places(&error);
                comparison.warnings.push(format!("{} is left out: {error}", proxy.name));
            }
            Err(error) => return Err(io::Error::other(format!("{}: {error}", proxy.name))),
        }
    }
    Ok(proxies)
}

/// Which core does what.
struct Cores {
    proxy: usize,
    load: usize,
}

impl Cores {
    fn choose(warnings: &mut Vec<String>) -> io::Result<Self> {
        let cores = process::cores()?;
        match cores[..] {
            [proxy, load, ..] => Ok(Self { proxy, load }),
            [only] => {
                warnings.push("one core: proxy, backend and load share it".to_owned());
                Ok(Self { proxy: only, load: only })
            }
            [] => Err(io::Error::other("no core")),
        }
    }
}

fn compare(
    stage: &Stage<'_>,
    workload: &Workload,
    paces: &[Pace],
    comparison: &mut Comparison,
    tell: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let running = stage.start_all(workload, comparison)?;
    for proxy in &running {
        check_routes(proxy, comparison)?;
    }
    for pace in paces.iter().take(stage.settings.paces_max) {
        tell(&format!("{}, {pace}:", workload.name));
        let begin = comparison.series.len();
        comparison.series.extend(running.iter().map(|it| Series {
            workload: workload.name,
            pace: *pace,
            proxy: it.proxy.name,
            rounds: Vec::new(),
        }));
        for number in 1..=stage.settings.rounds {
            for (proxy, series) in running.iter().zip(&mut comparison.series[begin..]) {
                let round = measure(stage.settings, *pace, proxy)?;
                tell(&format!(
                    "  round {number} {:12} {:8.2} us CPU {:9.0} requests/s {} errors",
                    series.proxy,
                    round.cpu_us,
                    round.requests_per_second,
                    round.errors.iter().map(|(_, count)| count).sum::<u64>(),
                ));
                series.rounds.push(round);
            }
        }
    }
    for proxy in &running {
        for stray in proxy.process.family().strays(stage.cores.proxy)? {
            let (name, workload) = (proxy.proxy.name, workload.name);
            let warning = format!("{name}, {workload}: thread {stray} was not on its core");
            comparison.warnings.push(warning);
        }
    }
    Ok(())
}

/// Where there are many routes, a request that fits none must not be answered as if it fitted:
/// such a proxy would not have looked for the route at all.
fn check_routes(proxy: &Running, comparison: &mut Comparison) -> io::Result<()> {
    let (true, Some(astray)) = (proxy.proxy.role != Role::Yardstick, proxy.workload().astray())
    else {
        return Ok(());
    };
    let mut single = crate::load::Single::connect(proxy.address(), &astray, 0)?;
    if single.ask().is_ok() {
        let name = proxy.proxy.name;
        comparison.warnings.push(format!("{name}: answers a request that no route takes"));
    }
    Ok(())
}

fn measure(settings: &Settings, pace: Pace, proxy: &Running) -> io::Result<Round> {
    let target = proxy.address();
    let workload = proxy.workload();
    let step = |step: &str, error: io::Error| {
        let name = proxy.proxy.name;
        io::Error::other(format!("{name}, {}: {step}: {error}", workload.name))
    };
    let mut load =
        Load::connect(target, *workload, pace).map_err(|error| step("connect", error))?;
    let warmed = load.run(settings.warmup).map_err(|error| step("warm-up", error))?;
    let family = proxy.process.family();
    let before = family.cpu()?;
    let tally = load.run(settings.round).map_err(|error| step("round", error))?;
    let cpu = family.cpu()?.saturating_sub(before);
    // Wrong answers of the warm-up are wrong answers.
    let faults = warmed.faults().chain(tally.faults());
    Ok(Round {
        cpu_us: cpu.as_secs_f64() * 1e6 / tally.requests().max(1) as f64,
        busy: cpu.as_secs_f64() / tally.elapsed.as_secs_f64(),
        requests_per_second: tally.requests_per_second(),
        latency: tally.latency(),
        requests: tally.requests(),
        errors: faults.map(|(fault, count)| (fault.to_string(), count)).collect(),
        resident_bytes: family.resident_bytes()?,
    })
}

fn compare_idle(
    stage: &Stage<'_>,
    workload: &Workload,
    comparison: &mut Comparison,
    tell: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let settings = stage.settings;
    let connections = workload.connections.min(settings.idle_connections_max);
    let plan = idle::Plan { connections, wait: settings.idle_wait };
    tell(&format!("{}:", workload.name));
    let mut all: Vec<IdleSeries> = Vec::new();
    for number in 1..=settings.rounds.min(IDLE_ROUNDS_MAX) {
        for proxy in stage.proxies.iter().filter(|it| (it.carries)(workload)) {
            let Some(running) = stage.start(proxy, workload, comparison)? else { continue };
            let round = idle::measure(plan, &running)
                .map_err(|error| io::Error::other(format!("{}: {error}", proxy.name)))?;
            tell(&format!(
                "  round {number} {:12} {:8.2} KiB a connection, {:8.2} later, {} errors",
                proxy.name,
                round.added() / 1024.0,
                round.added_later() / 1024.0,
                round.errors.iter().map(|(_, count)| count).sum::<u64>(),
            ));
            match all.iter_mut().find(|series| series.proxy == proxy.name) {
                Some(series) => series.rounds.push(round),
                None => all.push(IdleSeries {
                    workload: workload.name,
                    proxy: proxy.name,
                    rounds: vec![round],
                }),
            }
        }
    }
    comparison.idle.extend(all);
    Ok(())
}
