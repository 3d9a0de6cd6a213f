//! `hangu-bench`: compares proxies; its parts can also be run by themselves.
#![forbid(unsafe_code)]

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hangu_benches::backend::{Addresses, Backend};
use hangu_benches::compare::{self, Comparison, Missing, Settings};
use hangu_benches::load::Load;
use hangu_benches::proxy::{PROXIES, Presence, Programs, Proxy};
use hangu_benches::relay::{self, Hop};
use hangu_benches::workload::{self, Pace, Protocol, WORKLOADS, Workload};
use hangu_benches::{codecs, plot, record, report};

use rustix::process::Signal;

/// Compares the CPU cost of proxies per request, in interleaved rounds.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    compare: Compare,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Args)]
struct Compare {
    /// Rounds of each proxy and workload.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measured seconds of a round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Only this workload; may be given again.
    #[arg(long = "workload", value_name = "NAME", value_parser = workload_named)]
    workloads: Vec<&'static Workload>,
    /// Only this proxy; may be given again. Ratios need the relay.
    #[arg(long = "proxy", value_name = "NAME", value_parser = proxy_named)]
    proxies: Vec<&'static Proxy>,
    /// The gateway's program; without it the one beside this program.
    #[arg(long, value_name = "PATH")]
    hangu: Option<PathBuf>,
    /// Where the peers are that `benches/compare install` builds and downloads; without it
    /// `peers` in the directory above this program's.
    #[arg(long, value_name = "DIRECTORY")]
    peers: Option<PathBuf>,
    /// Print JSON with every round instead of tables.
    #[arg(long)]
    json: bool,
    /// Also write results.md, results.svg and results.json there.
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
    /// Also put the tables between the marks of this document, and the plot beside it.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// One round of half a second each: whether all answers are right, not how fast they come.
    /// Without other names only the relay, the gateway and nginx.
    #[arg(long)]
    smoke: bool,
    /// Keep the configurations and logs of the proxies, and say where.
    #[arg(long)]
    keep: bool,
}

/// What a relay stands on.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Driver {
    /// epoll, edge-triggered.
    Epoll,
    /// io_uring by way of monoio, set up as the gateway sets it up.
    Monoio,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The byte relay: the yardstick.
    Relay {
        /// What it stands on.
        #[arg(long, default_value = "epoll")]
        driver: Driver,
        /// Where clients connect; may be given again.
        #[arg(long, required = true)]
        listen: Vec<SocketAddr>,
        /// Where the relay connects; as many as --listen.
        #[arg(long, required = true)]
        upstream: Vec<SocketAddr>,
    },
    /// The server behind the proxies.
    Backend {
        /// HTTP/1.1: GET /100, /10240 and /1048576 are answered by so many bytes.
        #[arg(long)]
        http: SocketAddr,
        /// HTTP/2 without TLS: the same, and gRPC calls of /bench.Echo/TIMES.
        #[arg(long)]
        http2: SocketAddr,
        /// Bolt v1: each request is answered with its own content.
        #[arg(long)]
        bolt: SocketAddr,
    },
    /// Start proxies and backend, say where they are, and end them when the input ends: to profile.
    Hold(Compare),
    /// Instructions and allocations of the codecs, without sockets.
    Codecs {
        /// Also put the table between the marks of this document.
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
    },
    /// The clients in front of a proxy, or of the backend itself.
    Load {
        /// Where to connect.
        #[arg(long)]
        target: SocketAddr,
        /// The workload.
        #[arg(long, value_parser = workload_named)]
        workload: &'static Workload,
        /// Another number of connections; the pace is the workload's first.
        #[arg(long)]
        connections: Option<usize>,
        /// Another number of requests in flight on each; HTTP/1.1 has one.
        #[arg(long)]
        in_flight: Option<usize>,
        /// Requests a second in all, instead of as many as possible.
        #[arg(long)]
        rate: Option<u32>,
        /// How long.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.part {
        None => compare(cli.compare),
        Some(part) => run(part),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hangu-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: Compare) -> Result<ExitCode, Box<dyn Error>> {
    let settings = arguments.settings()?;
    let comparison = compare::run(&settings, &mut |line| eprintln!("{line}"));
    arguments.clear(&settings);
    let comparison = comparison?;
    if arguments.json {
        println!("{}", report::json(&comparison)?);
    } else {
        print!("{}", report::markdown(&comparison));
    }
    arguments.write(&comparison)?;
    Ok(if comparison.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn hold(arguments: Compare) -> Result<ExitCode, Box<dyn Error>> {
    let settings = arguments.settings()?;
    let until = || {
        // Whether the input ended or broke, nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    };
    let held = compare::hold(&settings, &mut |line| println!("{line}"), until);
    arguments.clear(&settings);
    held?;
    Ok(ExitCode::SUCCESS)
}

impl Compare {
    fn clear(&self, settings: &Settings) {
        let directory = &settings.directory;
        if self.keep {
            eprintln!("configurations and logs are in {}", directory.display());
            return;
        }
        // What cannot be removed is of no harm.
        let _ = std::fs::remove_dir_all(directory);
    }

    fn settings(&self) -> Result<Settings, Box<dyn Error>> {
        let bench = std::env::current_exe()?;
        let hangu = match &self.hangu {
            Some(path) => path.canonicalize()?,
            None => bench.with_file_name("hangu"),
        };
        let peers = match &self.peers {
            Some(path) => path.clone(),
            None => bench.parent().unwrap_or(Path::new(".")).with_file_name("peers"),
        };
        let (rounds, seconds) = if self.smoke { (1, 0.5) } else { (self.rounds, self.seconds) };
        let round = Duration::try_from_secs_f64(seconds)?;
        let missing = if self.proxies.is_empty() { Missing::LeftOut } else { Missing::Fails };
        let workloads = if self.workloads.is_empty() {
            WORKLOADS.iter().collect()
        } else {
            self.workloads.clone()
        };
        Ok(Settings {
            workloads,
            proxies: self.proxies(),
            missing,
            paces_max: if self.smoke { 1 } else { usize::MAX },
            rounds,
            round,
            warmup: WARMUP.min(round),
            idle_wait: if self.smoke { Duration::ZERO } else { IDLE_WAIT },
            idle_connections_max: if self.smoke { SMOKE_CONNECTIONS } else { usize::MAX },
            directory: temporary(),
            programs: Programs { bench, hangu, peers },
        })
    }

    fn proxies(&self) -> Vec<&'static Proxy> {
        if !self.proxies.is_empty() {
            return self.proxies.clone();
        }
        let is_wanted = |proxy: &&Proxy| match self.smoke {
            true => SMOKE_PROXIES.contains(&proxy.name),
            false => proxy.presence != Presence::OnRequest,
        };
        PROXIES.iter().filter(is_wanted).collect()
    }

    fn write(&self, comparison: &Comparison) -> Result<(), Box<dyn Error>> {
        let tables = report::markdown(comparison);
        let picture = plot::svg(comparison);
        if let Some(directory) = &self.output {
            std::fs::create_dir_all(directory)?;
            std::fs::write(directory.join("results.md"), &tables)?;
            std::fs::write(directory.join("results.svg"), &picture)?;
            std::fs::write(directory.join("results.json"), report::json(comparison)?)?;
        }
        if let Some(document) = &self.record {
            record::replace(document, "results", &tables)?;
            std::fs::write(document.with_extension("svg"), &picture)?;
        }
        Ok(())
    }
}

/// Long enough for connections, allocators and the branch predictor.
const WARMUP: Duration = Duration::from_millis(300);
/// Long enough for proxies that give memory back after a while.
const IDLE_WAIT: Duration = Duration::from_secs(10);
/// Idle connections where only the answers are of interest.
const SMOKE_CONNECTIONS: usize = 200;
/// What every machine has on which the tests run.
const SMOKE_PROXIES: [&str; 3] = ["relay", "hangu", "nginx"];

fn run(part: Part) -> Result<ExitCode, Box<dyn Error>> {
    match part {
        Part::Relay { driver, listen, upstream } => {
            if listen.len() != upstream.len() {
                return Err("as many --upstream as --listen are needed".into());
            }
            let hop = |(listen, upstream)| Hop { listen, upstream };
            let hops: Vec<Hop> = listen.into_iter().zip(upstream).map(hop).collect();
            // A comparison that is killed leaves no relay behind.
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            match driver {
                Driver::Epoll => relay::run(&hops)?,
                Driver::Monoio => relay::uring::run(&hops)?,
            }
        }
        Part::Hold(arguments) => return hold(arguments),
        Part::Codecs { record } => count_codecs(record.as_deref())?,
        Part::Backend { http, http2, bolt } => {
            Backend::bind(Addresses { http, http2, bolt })?.run()?;
        }
        Part::Load { target, workload, connections, in_flight, rate, seconds } => {
            let mut workload = *workload;
            workload.connections = connections.unwrap_or(workload.connections);
            if !matches!(workload.protocol, Protocol::Http1 { .. }) {
                workload.in_flight = in_flight.unwrap_or(workload.in_flight);
            }
            let pace = rate.map(|per_second| Pace::Fixed { per_second });
            let pace = pace.or(workload.paces().first().copied()).unwrap_or(Pace::Closed);
            return load(target, workload, pace, Duration::try_from_secs_f64(seconds)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn count_codecs(document: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let program = std::env::current_exe()?.with_file_name("hangu-bench-codecs");
    let directory = temporary();
    let lines = codecs::count(&program, &directory);
    // What cannot be removed is of no harm.
    let _ = std::fs::remove_dir_all(&directory);
    let table = codecs::markdown(&lines?);
    print!("{table}");
    if let Some(document) = document {
        record::replace(document, "codecs", &table)?;
    }
    Ok(())
}

/// A directory of this process's own.
fn temporary() -> PathBuf {
    std::env::temp_dir().join(format!("hangu-bench-{}", std::process::id()))
}

fn load(
    target: SocketAddr,
    workload: Workload,
    pace: Pace,
    duration: Duration,
) -> Result<ExitCode, Box<dyn Error>> {
    let tally = Load::connect(target, workload, pace)?.run(duration)?;
    let latency = tally.latency();
    println!(
        "{:.0} requests/s, p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us",
        tally.requests_per_second(),
        latency.p50_us,
        latency.p99_us,
        latency.p999_us
    );
    for (fault, count) in tally.faults() {
        println!("error: {count} x {fault}");
    }
    let is_right = tally.requests() > 0 && tally.faults().next().is_none();
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn workload_named(name: &str) -> Result<&'static Workload, String> {
    let names = || WORKLOADS.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
    workload::find(name).ok_or_else(|| format!("the workloads are: {}", names()))
}

fn proxy_named(name: &str) -> Result<&'static Proxy, String> {
    let names = || PROXIES.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
    Proxy::find(name).ok_or_else(|| format!("the proxies are: {}", names()))
}
