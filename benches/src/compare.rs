//! The rounds: every proxy in turn, again and again, on one core, with load and backend on another.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::backend::Backend;
use crate::load::{Latency, Load};
use crate::process;
use crate::proxy::{Plan, Presence, Programs, Proxy, Running, Upstreams};
use crate::workload::Workload;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rows.
    pub workloads: Vec<&'static Workload>,
    /// Columns.
    pub proxies: Vec<&'static Proxy>,
    /// What becomes of a peer that is not installed.
    pub missing: Missing,
    /// Rounds of each proxy and workload.
    pub rounds: usize,
    /// Measured time of a round.
    pub round: Duration,
    /// Time before it, in which connections are made and caches fill.
    pub warmup: Duration,
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
    fn may_do_without(&self, proxy: &Proxy) -> bool {
        self.missing == Missing::LeftOut && proxy.presence == Presence::Optional
    }
}

/// All that a comparison found.
#[derive(Debug, Default, Serialize)]
pub struct Comparison {
    /// Proxies and what they say their versions are.
    pub versions: Vec<(&'static str, String)>,
    /// Things that make the figures less than they seem.
    pub warnings: Vec<String>,
    /// One per workload and proxy, in this order.
    pub series: Vec<Series>,
}

/// The rounds of one proxy with one workload.
#[derive(Debug, Serialize)]
pub struct Series {
    /// The workload's name.
    pub workload: &'static str,
    /// The proxy's name.
    pub proxy: &'static str,
    /// In the order in which they were run; round N of all proxies ran side by side.
    pub rounds: Vec<Round>,
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
        rounds.all(|round| round.requests > 0 && round.errors.is_empty())
    }
}

/// Runs all rounds; `tell` is told what goes on.
///
/// # Errors
/// The backend or the yardstick cannot be started, or a proxy ends while it is measured.
pub fn run(settings: &Settings, tell: &mut dyn FnMut(&str)) -> io::Result<Comparison> {
    let mut comparison = Comparison::default();
    let stage = Stage::set(settings, &mut comparison)?;
    for workload in &settings.workloads {
        tell(&format!("{}:", workload.name));
        comparison.series.extend(compare(settings, workload, &stage.running, tell)?);
    }
    for proxy in &stage.running {
        for stray in proxy.process.family().strays(stage.cores.proxy)? {
            let name = proxy.proxy.name;
            comparison.warnings.push(format!("{name}: thread {stray} was not on its core"));
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
    let stage = Stage::set(settings, &mut Comparison::default())?;
    for proxy in &stage.running {
        let pids = proxy.process.family();
        tell(&format!("{}: {pids}", proxy.proxy.name));
        for workload in &settings.workloads {
            if (proxy.proxy.carries)(workload.protocol) {
                let address = proxy.address(workload.protocol);
                tell(&format!("  load --target {address} --workload {}", workload.name));
            }
        }
    }
    until();
    Ok(())
}

/// The backend and the proxies, each on its core.
struct Stage {
    cores: Cores,
    running: Vec<Running>,
}

impl Stage {
    fn set(settings: &Settings, comparison: &mut Comparison) -> io::Result<Self> {
        let cores = Cores::choose(&mut comparison.warnings)?;
        let backend = Backend::bind(LOOPBACK, LOOPBACK)?;
        let upstreams = Upstreams { http: backend.http_address()?, bolt: backend.bolt_address()? };
        // Proxies first, from a thread that may use their core; then this thread leaves it.
        let running = start_all(settings, upstreams, cores.proxy, comparison)?;
        process::pin_thread(cores.load)?;
        // The thread inherits the core. It ends with the process: the bench has nothing to do
        // after it.
        std::thread::Builder::new().name("backend".into()).spawn(move || backend.run())?;
        Ok(Self { cores, running })
    }
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

fn start_all(
    settings: &Settings,
    upstreams: Upstreams,
    core: usize,
    comparison: &mut Comparison,
) -> io::Result<Vec<Running>> {
    let mut running = Vec::new();
    for proxy in &settings.proxies {
        match (proxy.version)(&settings.programs) {
            Ok(version) => comparison.versions.push((proxy.name, version)),
            Err(error) if settings.may_do_without(proxy) => {
                comparison.warnings.push(format!("{} is left out: {error}", proxy.name));
                continue;
            }
            Err(error) => return Err(io::Error::other(format!("{}: {error}", proxy.name))),
        }
        let directory = settings.directory.join(proxy.name);
        let plan = Plan::new(directory, upstreams, &settings.programs)?;
        running.push(proxy.start(plan, core)?);
    }
    Ok(running)
}

fn compare(
    settings: &Settings,
    workload: &Workload,
    running: &[Running],
    tell: &mut dyn FnMut(&str),
) -> io::Result<Vec<Series>> {
    let able: Vec<_> = running.iter().filter(|it| (it.proxy.carries)(workload.protocol)).collect();
    let series =
        |it: &&Running| Series { workload: workload.name, proxy: it.proxy.name, rounds: vec![] };
    let mut all: Vec<Series> = able.iter().map(series).collect();
    for number in 1..=settings.rounds {
        for (proxy, series) in able.iter().zip(&mut all) {
            let round = measure(settings, workload, proxy)?;
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
    Ok(all)
}

fn measure(settings: &Settings, workload: &Workload, proxy: &Running) -> io::Result<Round> {
    let target = proxy.address(workload.protocol);
    let step = |step: &str, error: io::Error| {
        let name = proxy.proxy.name;
        io::Error::other(format!("{name}, {}: {step}: {error}", workload.name))
    };
    let mut load = Load::connect(target, *workload).map_err(|error| step("connect", error))?;
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

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
