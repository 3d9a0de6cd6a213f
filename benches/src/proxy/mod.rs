//! The proxies that are compared, each in its cheapest honest configuration: one worker, no access
//! log, upstream connections kept, nothing of the protocol left out.
//!
//! A proxy is started anew for each workload, with the configuration that the workload needs, so
//! that its memory is that workload's alone.
//!
//! To add one: a file with a [`Proxy`], and its name in [`PROXIES`].

mod envoy;
mod hangu;
mod haproxy;
mod mosn;
mod nginx;
mod pingora;
mod relay;

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::backend::Addresses;
use crate::clock;
use crate::process::Process;
use crate::relay::Hop;
use crate::workload::{Protocol, Version, Workload};

/// How a proxy is found and started.
#[derive(Clone, Copy, Debug)]
pub struct Proxy {
    /// The name on the command line and in the report.
    pub name: &'static str,
    /// What it is compared as.
    pub role: Role,
    /// Whether a comparison can do without it.
    pub presence: Presence,
    /// Whether a workload can, and is to, be put to it.
    pub carries: fn(&Workload) -> bool,
    /// What it says its version is; an error if it is not installed.
    pub version: fn(&Programs) -> io::Result<String>,
    /// Writes its configuration into the plan's directory and gives the command that starts it in
    /// the foreground.
    pub command: fn(&Plan) -> io::Result<Command>,
}

/// What a proxy is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Carries bytes and nothing else: what the others are divided by.
    Yardstick,
    /// The gateway.
    Own,
    /// What others have written.
    Peer,
}

/// Whether a comparison can do without a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Part of what is built together with the bench.
    Required,
    /// Without it the comparison takes those that are there.
    Optional,
    /// Compared only where it is named.
    OnRequest,
}

/// All proxies. The first two are the yardsticks that the others are divided by.
pub const PROXIES: &[Proxy] = &[
    relay::RELAY,
    relay::RELAY_MONOIO,
    hangu::HANGU,
    hangu::HANGU_LOGGED,
    hangu::HANGU_EPOLL,
    nginx::NGINX,
    haproxy::HAPROXY,
    envoy::ENVOY,
    pingora::PINGORA,
    mosn::MOSN,
];

/// The yardsticks, by name: a plain byte relay on epoll, and one on the gateway's own runtime.
pub const YARDSTICKS: [&str; 2] = [relay::RELAY.name, relay::RELAY_MONOIO.name];

/// Where programs are that are not found by their names alone.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The bench itself, which is also the byte relay.
    pub bench: PathBuf,
    /// The gateway.
    pub hangu: PathBuf,
    /// Where `benches/compare install` puts the peers that it builds or downloads.
    pub peers: PathBuf,
}

impl Programs {
    /// A program of the system; those of administrators may be where the search path does not lead.
    fn of_system(name: &str) -> PathBuf {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
        places.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
        let found = places.iter().map(|place| place.join(name)).find(|program| program.is_file());
        found.unwrap_or_else(|| PathBuf::from(name))
    }
}

/// What a proxy is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A directory of its own.
    pub directory: PathBuf,
    /// From where to where HTTP goes, in the versions of the workload.
    pub http: Hop,
    /// The same for whoever carries bytes: to the backend that speaks what the clients speak.
    pub straight: Hop,
    /// From where to where Bolt goes.
    pub bolt: Hop,
    /// What will be asked: its protocol is to be listened for, its routes are to be there.
    pub workload: Workload,
    /// A free address for whatever a proxy listens on besides.
    pub admin: SocketAddr,
    /// Where programs are.
    pub programs: Programs,
}

/// A proxy that runs.
#[derive(Debug)]
pub struct Running {
    /// Which one.
    pub proxy: Proxy,
    /// Its process.
    pub process: Process,
    plan: Plan,
}

/// How long a proxy has to begin to listen.
const START: Duration = Duration::from_secs(10);
/// How much of a failed proxy's own words are shown.
const LOG_BYTES_SHOWN: usize = 2000;

impl Plan {
    /// A plan on free ports of loopback.
    ///
    /// # Errors
    /// No port is free, or the directory cannot be made.
    pub fn new(
        directory: PathBuf,
        upstreams: Addresses,
        programs: &Programs,
        workload: &Workload,
    ) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let [http, bolt, admin] = free_addresses()?;
        let (upstream, straight) = match workload.protocol {
            Protocol::Http2 { backend: Version::Http1, .. } => (upstreams.http, upstreams.http2),
            Protocol::Http2 { backend: Version::Http2, .. } => (upstreams.http2, upstreams.http2),
            Protocol::Http1 { .. } | Protocol::Bolt { .. } => (upstreams.http, upstreams.http),
        };
        Ok(Self {
            directory,
            http: Hop { listen: http, upstream },
            straight: Hop { listen: http, upstream: straight },
            bolt: Hop { listen: bolt, upstream: upstreams.bolt },
            workload: *workload,
            admin,
            programs: programs.clone(),
        })
    }

    /// Writes a file into the directory.
    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Proxy {
    /// The proxy of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        PROXIES.iter().find(|proxy| proxy.name == name)
    }

    /// Starts the proxy on `core` and waits until it listens.
    ///
    /// # Errors
    /// It is not installed, ends at once or does not listen; the error holds its own last words.
    pub fn start(&self, plan: Plan, core: usize) -> io::Result<Running> {
        let log = plan.directory.join("output.log");
        let output = File::create(&log)?;
        let mut command = (self.command)(&plan)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let process = Process::start(&mut command, core)?;
        let mut running = Running { proxy: *self, process, plan };
        let failure = clock::retry(START, || running.is_settled()).unwrap_or(Some("is not up"));
        match failure {
            None => Ok(running),
            Some(failure) => {
                let words = last_words(&log);
                Err(io::Error::other(format!("{} {failure}:\n{words}", self.name)))
            }
        }
    }
}

impl Running {
    /// Where the workload's clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self.plan.workload.protocol {
            Protocol::Http1 { .. } | Protocol::Http2 { .. } => self.plan.http.listen,
            Protocol::Bolt { .. } => self.plan.bolt.listen,
        }
    }

    /// What it was started for.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.plan.workload
    }

    /// `Some(None)` when it listens, `Some(why)` when it never will, `None` while that is open.
    fn is_settled(&mut self) -> Option<Option<&'static str>> {
        if self.process.end().is_some() {
            return Some(Some("ended"));
        }
        TcpStream::connect(self.address()).is_ok().then_some(None)
    }
}

fn speaks_http1(workload: &Workload) -> bool {
    matches!(workload.protocol, Protocol::Http1 { .. })
}

fn speaks_http(workload: &Workload) -> bool {
    matches!(workload.protocol, Protocol::Http1 { .. } | Protocol::Http2 { .. })
}

/// The versions of HTTP of the clients and of the backend; HTTP/1.1 where there is none.
fn versions(workload: &Workload) -> (Version, Version) {
    match workload.protocol {
        Protocol::Http2 { backend, .. } => (Version::Http2, backend),
        Protocol::Http1 { .. } | Protocol::Bolt { .. } => (Version::Http1, Version::Http1),
    }
}

/// The first line with words that a program prints about its version.
fn version_line(program: &Path, argument: &str) -> io::Result<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let output = output
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "{} {argument}: {}",
            program.display(),
            output.status
        )));
    }
    // nginx speaks on stderr.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned())
}

fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    // All are held until all are known, so that they differ.
    let held: Vec<_> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&held) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}

fn last_words(log: &Path) -> String {
    let words = fs::read(log).unwrap_or_default();
    let start = words.len().saturating_sub(LOG_BYTES_SHOWN);
    String::from_utf8_lossy(&words[start..]).into_owned()
}
