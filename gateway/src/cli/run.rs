//! `hangu run` and `hangu demo`: a gateway from its start to its end.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hangu_config::{Config, Source};

use super::{Exit, check, fail, preflight};
use crate::control::{self, Bound, signals};
use crate::demo::{self, Ports};
use crate::io::{DriverChoice, DriverKind};
use crate::start::Gateway;

/// Runs a gateway with a configuration from files.
pub(super) fn run(path: &Path) -> Exit {
    prepare();
    match check::load_or_refuse(path) {
        Ok(config) => serve(config, |_, _| {}),
        Err(exit) => exit,
    }
}

/// Runs the demo: a gateway, and upstreams in a child process.
pub(super) fn demo(ports: Ports) -> Exit {
    prepare();
    // Looked at before the upstreams are started, whose ports matter to nobody else.
    let shown = match demo_config(ports, None) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let problems = preflight::check(&shown, workers(&shown)).problems;
    if let Err(exit) = take_admin(&shown, &problems) {
        return exit;
    }
    let upstreams = match demo::start() {
        Ok(upstreams) => upstreams,
        Err(error) => return fail(Exit::Unavailable, format!("the demo's upstreams: {error}")),
    };
    let program = std::env::current_exe().map_or("hangu".into(), |it| it.display().to_string());
    match demo_config(ports, Some(upstreams.addresses)) {
        Ok(config) => serve(config, |gateway, admin| {
            print!("{}", demo::hints(ports_in_use(ports, gateway, admin), &program));
        }),
        Err(exit) => exit,
    }
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
        eprint!("{}", check::render(&sources, &problems));
        Exit::Config
    })
}

/// What must happen before any thread is started.
fn prepare() {
    signals::block();
    let filter = tracing_subscriber::EnvFilter::try_from_env("HANGU_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Fails when there is a subscriber already, which only a test has.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// Looks whether the gateway can start, and takes the admin address.
fn look(config: &Config) -> Result<Bound, Exit> {
    let found = preflight::check(config, workers(config));
    found.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    take_admin(config, &found.problems)
}

/// Takes the admin address if there is no problem; tells all of them if there is one.
fn take_admin(config: &Config, problems: &[String]) -> Result<Bound, Exit> {
    problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    let admin = control::bind(&config.admin).map_err(|error| fail(Exit::Unavailable, error))?;
    if problems.is_empty() { Ok(admin) } else { Err(Exit::Unavailable) }
}

/// Runs a gateway to its end. `ready` is called when it takes traffic, with the TCP address of the
/// admin API if it has one.
fn serve(config: Config, ready: impl FnOnce(&Gateway, Option<SocketAddr>)) -> Exit {
    let admin = match look(&config) {
        Ok(admin) => admin,
        Err(exit) => return exit,
    };
    let drain_timeout = config.drain_timeout;
    let choice = driver_choice(config.driver);
    let gateway = match Gateway::start(config, choice) {
        Ok(gateway) => gateway,
        Err(error) => return fail(Exit::Unavailable, error),
    };
    let (admin_name, admin_address) = (admin.to_string(), admin.address());
    let settings = control::Settings { admin, with_signals: true, drain_timeout };
    let control = match control::start(settings, Arc::new(gateway.handle().clone())) {
        Ok(control) => control,
        Err(error) => return fail(Exit::Unavailable, format!("the control thread: {error}")),
    };
    announce(&gateway, &admin_name);
    ready(&gateway, admin_address);
    for _ in 0..gateway.handle().workers() {
        if let Some(death) = gateway.wait().death {
            return end_at_once(&death);
        }
    }
    // All workers have ended; what is left is to write the access log.
    let stopped = gateway.stop(Duration::ZERO);
    drop(control);
    match stopped {
        Ok(()) => {
            tracing::info!("stopped");
            Exit::Ok
        }
        Err(deaths) => end_at_once(&format!("{deaths:?}")),
    }
}

/// Workers that the gateway will start.
fn workers(config: &Config) -> usize {
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

fn driver_choice(driver: hangu_config::Driver) -> DriverChoice {
    match driver {
        hangu_config::Driver::Auto => DriverChoice::Auto,
        hangu_config::Driver::IoUring => DriverChoice::IoUring,
        hangu_config::Driver::Epoll => DriverChoice::Only(DriverKind::Epoll),
    }
}

/// A worker is gone and its connections with it. Nothing in this process can be relied on any
/// more, so it ends without waiting for the others; its supervisor starts it anew.
fn end_at_once(death: &str) -> Exit {
    eprintln!("error: a worker died ({death}); the gateway ends, to be started anew");
    std::process::exit(Exit::Internal as i32);
}
