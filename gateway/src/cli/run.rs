//! `hangu run` and `hangu demo`: a gateway from its start to its end.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hangu_config::{Config, LogLevel, Source};

use super::{Exit, check, fail, follow, preflight};
use crate::control::files::{self, Loaded, Seen};
use crate::control::systemd::{self, Service};
use crate::control::{self, Access, Bound, Lineage, ProcessLog, log, signals, token};
use crate::demo::{self, Ports};
use crate::io::DriverChoice;
use crate::listener::Inherited;
use crate::start::Gateway;
use crate::swap::{SocketName, Successor};

/// Runs a gateway with a configuration from files.
pub(super) fn run(path: &Path, take_over: Option<&Path>) -> Exit {
    // SAFETY: this is the first thing that the process does.
    let manager = unsafe { systemd::take_environment() };
    signals::block();
    let successor = match follow::meet(take_over) {
        Ok(successor) => successor,
        Err(exit) => return exit,
    };
    let Loaded { result, seen } = files::load(path);
    match result {
        Ok(config) => {
            let files = Some((path.to_owned(), seen));
            let launch = Launch { config, files, manager, successor, lineage: lineage() };
            serve(launch, |_, _| {})
        }
        Err(error) => follow::refuse(successor.as_ref(), error),
    }
}

/// Runs the demo: a gateway, and upstreams in a child process.
pub(super) fn demo(ports: Ports, take_over: Option<&Path>) -> Exit {
    signals::block();
    match follow::meet(take_over) {
        Ok(None) => {}
        Ok(Some(successor)) => return follow_demo(ports, successor),
        Err(exit) => return exit,
    }
    // Looked at before the upstreams are started, whose ports matter to nobody else.
    let shown = match demo_config(ports, None) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let problems = preflight::check(&shown, workers(&shown), &Inherited::default()).problems;
    if let Err(exit) = take_admin(&shown, &problems) {
        return exit;
    }
    let upstreams = match demo::start() {
        Ok(upstreams) => upstreams,
        Err(error) => return fail(Exit::Unavailable, format!("the demo's upstreams: {error}")),
    };
    let mut lineage = lineage();
    lineage.words.demo = serde_json::to_string(&upstreams.addresses).ok();
    if let Ok(life) = upstreams.life().try_clone_to_owned() {
        lineage.sockets.push((SocketName::DemoLife, life));
    }
    let program = std::env::current_exe().map_or("hangu".into(), |it| it.display().to_string());
    match demo_config(ports, Some(upstreams.addresses)) {
        Ok(config) => {
            let launch = Launch { lineage, ..Launch::of(config) };
            serve(launch, |gateway, admin| {
                print!("{}", demo::hints(ports_in_use(ports, gateway, admin), &program));
            })
        }
        Err(exit) => exit,
    }
}

/// Takes a running demo over; its upstreams go on.
fn follow_demo(ports: Ports, successor: Successor) -> Exit {
    let addresses = successor.welcome.demo.as_deref().map(serde_json::from_str);
    let Some(Ok(addresses)) = addresses else {
        successor.refuse("the running gateway is no demo");
        return fail(Exit::Usage, "the running gateway is no demo");
    };
    match demo_config(ports, Some(addresses)) {
        Ok(config) => {
            let launch = Launch { successor: Some(successor), ..Launch::of(config) };
            serve(launch, |_, _| {})
        }
        Err(exit) => {
            successor.refuse("its own configuration of the demo is wrong");
            exit
        }
    }
}

/// What a gateway is started from.
struct Launch {
    config: Config,
    /// Where the configuration came from.
    files: Option<(PathBuf, Seen)>,
    /// The service manager, and sockets that came with the start.
    manager: (Service, Inherited),
    /// The running gateway that this process is to follow.
    successor: Option<Successor>,
    lineage: Lineage,
}

impl Launch {
    fn of(config: Config) -> Self {
        let manager = Default::default();
        Self { config, files: None, manager, successor: None, lineage: lineage() }
    }
}

/// A gateway that serves, before anyone can ask anything of it.
pub(super) struct Stand {
    pub(super) gateway: Gateway,
    pub(super) admin: Bound,
    pub(super) access: Access,
    pub(super) lineage: Lineage,
}

/// How this process was started, for one that is to follow it.
fn lineage() -> Lineage {
    let program = program();
    let mut arguments = Vec::new();
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        if argument == "--take-over" {
            // And its value.
            given.next();
        } else {
            arguments.push(argument);
        }
    }
    Lineage { program, arguments, ..Lineage::default() }
}

/// The file that this process was started from, as it was named: behind a link there may be another
/// one when a successor is started.
fn program() -> PathBuf {
    let running = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("hangu"));
    let is_it = |path: &PathBuf| path.canonicalize().is_ok_and(|it| it == running);
    let named = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let found = match named.components().count() {
        0 => None,
        // A bare name was looked up.
        1 if !named.as_os_str().as_encoded_bytes().contains(&b'/') => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|it| it.join(&named)).find(is_it)
        }
        _ => std::path::absolute(&named).ok().filter(is_it),
    };
    found.unwrap_or(running)
}

/// The ports that the system chose where port 0 was asked for.
fn ports_in_use(asked: Ports, gateway: &Gateway, admin: Option<SocketAddr>) -> Ports {
    let port = |at: Option<SocketAddr>, asked| at.map_or(asked, |it| it.port());
    Ports {
        http: port(gateway.address("http"), asked.http),
        bolt: port(gateway.address("bolt"), asked.bolt),
        admin: port(admin, asked.admin),
    }
}

fn demo_config(ports: Ports, upstreams: Option<demo::Addresses>) -> Result<Config, Exit> {
    let source = Source { name: "demo.yaml".to_owned(), text: demo::yaml(ports, upstreams) };
    let sources = [source];
    hangu_config::load(&sources, &hangu_config::NoValues).map_err(|problems| {
        eprint!("{}", check::render(&sources, &problems, "nothing was started"));
        Exit::Config
    })
}

/// Starts the log of the process. HANGU_LOG goes before the level of the configuration, which stays
/// what it is.
fn start_log(config: &Config) -> Result<ProcessLog, Exit> {
    let mut settings = config.log.clone();
    if let Ok(level) = std::env::var("HANGU_LOG") {
        let wrong = |fault| fail(Exit::Usage, format!("HANGU_LOG: {fault}"));
        settings.level = level.parse::<LogLevel>().map_err(wrong)?;
    }
    log::start(&settings).map_err(|error| {
        let path = settings.path.as_ref().map_or("-".to_owned(), |it| it.display().to_string());
        fail(Exit::Unavailable, format!("the log {path}: {error}"))
    })
}

/// Looks whether the gateway can start, and takes the admin address.
fn look(config: &Config, inherited: &Inherited) -> Result<Bound, Exit> {
    let found = preflight::check(config, workers(config), inherited);
    found.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    take_admin(config, &found.problems)
}

/// Takes the admin address if there is no problem; tells all of them if there is one.
fn take_admin(config: &Config, problems: &[String]) -> Result<Bound, Exit> {
    problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    let admin = control::bind(&config.admin).map_err(|error| fail(Exit::Unavailable, error))?;
    if problems.is_empty() { Ok(admin) } else { Err(Exit::Unavailable) }
}

/// Runs a gateway to its end, the last line of its log included. `ready` is called when it takes
/// traffic, with the TCP address of the admin API if it has one.
fn serve(launch: Launch, ready: impl FnOnce(&Gateway, Option<SocketAddr>)) -> Exit {
    let log = match start_log(&launch.config) {
        Ok(log) => log,
        Err(exit) => return exit,
    };
    let exit = serve_logged(launch, &log, ready);
    log.flush();
    exit
}

/// Starts a gateway on sockets of its own, and on those that came with the start.
fn start(config: Config, inherited: &mut Inherited, lineage: Lineage) -> Result<Stand, Exit> {
    let admin = look(&config, inherited)?;
    let access = token::provide(&config.admin, admin.address(), None)
        .map_err(|error| fail(Exit::Unavailable, format!("no random token: {error}")))?;
    let choice = DriverChoice::from(config.driver);
    let gateway = Gateway::start_on(config, choice, inherited)
        .map_err(|error| fail(Exit::Unavailable, error))?;
    Ok(Stand { gateway, admin, access, lineage })
}

fn serve_logged(
    launch: Launch,
    log: &ProcessLog,
    ready: impl FnOnce(&Gateway, Option<SocketAddr>),
) -> Exit {
    let Launch { config, files, manager: (service, mut inherited), successor, lineage } = launch;
    let stand = match successor {
        None => start(config, &mut inherited, lineage),
        Some(successor) => follow::follow(&config, successor, &service, log, lineage),
    };
    let Stand { gateway, admin, access, lineage } = match stand {
        Ok(stand) => stand,
        Err(exit) => return exit,
    };
    let (admin_name, admin_address) = (admin.to_string(), admin.address());
    for address in inherited.addresses() {
        tracing::warn!("there is no listener for the socket on {address} that came with the start");
    }
    drop(inherited);
    let log_of_control = Some(log.clone());
    let settings = control::Settings {
        admin,
        access,
        with_signals: true,
        files,
        log: log_of_control,
        service,
        lineage,
    };
    let control = match control::start(settings, Arc::new(gateway.handle().clone())) {
        Ok(control) => control,
        Err(error) => return fail(Exit::Unavailable, format!("the control thread: {error}")),
    };
    announce(&gateway, &admin_name);
    ready(&gateway, admin_address);
    let mut ended = 0;
    // Reloads may change how many there are, but none does while they stop.
    while ended < gateway.handle().workers() {
        if let Some(death) = gateway.wait().death {
            return end_at_once(&death, log);
        }
        ended += 1;
    }
    // All workers have ended; what is left is to write the access log.
    let stopped = gateway.stop(Duration::ZERO);
    drop(control);
    match stopped {
        Ok(()) => {
            tracing::info!("stopped");
            Exit::Ok
        }
        Err(deaths) => end_at_once(&format!("{deaths:?}"), log),
    }
}

/// Workers that the gateway will start.
pub(super) fn workers(config: &Config) -> usize {
    let cores = || core_affinity::get_core_ids().map_or(1, |it| it.len().max(1));
    config.workers.map_or_else(cores, NonZeroUsize::get)
}

fn announce(gateway: &Gateway, admin: &str) {
    for (name, address) in gateway.addresses() {
        tracing::info!("listener `{name}` on {address}");
    }
    let drivers = gateway.drivers();
    let Some((kind, why)) = drivers.first() else { return };
    let because = if why.is_empty() { String::new() } else { format!(" ({why})") };
    tracing::info!("{} workers on {kind}{because}; admin on {admin}", drivers.len());
}

/// A worker is gone and its connections with it. Nothing in this process can be relied on any
/// more, so it ends without waiting for the others; its supervisor starts it anew.
fn end_at_once(death: &str, log: &ProcessLog) -> Exit {
    log.flush();
    eprintln!("error: a worker died ({death}); the gateway ends, to be started anew");
    std::process::exit(Exit::Internal as i32);
}
