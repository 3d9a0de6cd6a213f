//! The control thread: the admin API and the process's signals.
//!
//! One thread with a tokio runtime of its own. It never touches a request: what it tells it reads
//! from counters or asks of the workers through [`Inspect`], and what it is told (to stop) it
//! passes on the same way.
//!
//! ```text
//!   hyper ── api::answer ──► Inspect ──► counters, workers' mailboxes
//!   SIGTERM, SIGINT ───────► Inspect::stop
//!   SIGHUP, changed files ─► Reloader ──► Inspect::apply
//!   DNS, health checks ────► Inspect::set_discovered, set_health
//!   all of it ─────────────► systemd::Service, for the service manager
//! ```

mod admin;
mod api;
mod bind;
pub mod client;
mod desk;
mod endpoints;
mod facts;
pub mod files;
mod gateway;
mod inspect;
pub mod log;
pub mod reload;
mod server;
pub mod signals;
pub mod systemd;
pub mod token;
mod totals;
mod upgrade;

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use bind::{BindError, Bound, bind};
pub use inspect::{
    Answer, ClusterView, ConnectionFilter, ConnectionView, EndpointView, FilteredConnection,
    Inspect, Refused, Side,
};
pub use log::ProcessLog;
pub use token::Access;
pub use upgrade::{Birth, Lineage};

use admin::Place;
use desk::Desk;
use endpoints::Endpoints;
use files::Seen;
use reload::Reloader;
use server::Doors;
use systemd::Service;
use upgrade::Upgrader;

use crate::worker::{Balancer, LOOK_EVERY};

/// The running control thread. Ends when it is dropped.
#[derive(Debug)]
pub struct Control {
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What the control thread is to do.
#[derive(Debug)]
pub struct Settings {
    /// Where the admin API listens, from [`bind`].
    pub admin: Bound,
    /// Who may change something, from [`token::provide`].
    pub access: Access,
    /// Whether signals are obeyed. The threads that started before must have them blocked
    /// ([`signals::block`]). A gateway inside another process (tests) leaves signals alone.
    pub with_signals: bool,
    /// Where the configuration came from, and what the files looked like; `None` for one that came
    /// from no file.
    pub files: Option<(PathBuf, Seen)>,
    /// The log of the process.
    pub log: Option<ProcessLog>,
    /// The service manager.
    pub service: Service,
    /// What is needed to hand over to another process, and what came from one.
    pub lineage: Lineage,
}

/// At the end, work on other threads (reading the files of a configuration, waiting for another
/// process) is waited for no longer than this: the process ends, and nothing comes of it any more.
const BLOCKING_WAIT: Duration = Duration::from_secs(1);

/// Starts the control thread.
///
/// # Errors
/// No thread or no runtime can be made.
pub fn start(settings: Settings, gateway: Arc<dyn Inspect>) -> io::Result<Control> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (end, ended) = watch::channel(false);
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, run(settings, gateway, ended));
        // Without its tasks first: they hold what other threads are asked for.
        drop(local);
        runtime.shutdown_timeout(BLOCKING_WAIT);
    })?;
    Ok(Control { end, thread: Some(thread) })
}

async fn run(settings: Settings, gateway: Arc<dyn Inspect>, ended: watch::Receiver<bool>) {
    let Settings { admin: bound, access, with_signals, files, log, service, lineage } = settings;
    let service = Rc::new(service);
    let (admin, moves) = Place::new(&bound, access);
    let admin = Rc::new(admin);
    let reloader = Reloader::new(
        Arc::clone(&gateway),
        Rc::clone(&service),
        Rc::clone(&admin),
        files,
        log.clone(),
    );
    let reloader = Rc::new(reloader);
    let endpoints = Endpoints::new(Arc::clone(&gateway));
    tokio::task::spawn_local(Rc::clone(&endpoints).run());
    let is_successor = lineage.birth.is_some();
    let upgrader = Upgrader::new(lineage);
    let doors = Doors::default();
    let desk = Rc::new(Desk { upgrader, gateway, reloader, endpoints, admin, doors, log, service });
    tokio::task::spawn_local(upgrade::stop_if_meant(Rc::clone(&desk)));
    tokio::task::spawn_local(systemd::follow(Rc::clone(&desk)));
    if with_signals {
        match signals::take() {
            Ok(taken) => drop(tokio::task::spawn_local(signals::obey(taken, Rc::clone(&desk)))),
            Err(error) => tracing::warn!("signals are not taken ({error}): use `hangu stop`"),
        }
    }
    let balanced = Rc::clone(&desk);
    tokio::task::spawn_local(async move {
        let mut balancer = Balancer::default();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            balanced.gateway.balance(&mut balancer);
        }
    });
    let watching = Rc::clone(&desk);
    tokio::task::spawn_local(async move { watching.reloader.watch().await });
    if is_successor && desk.reloader.has_files() {
        // What was taken over runs with the configuration of the process before; the files have
        // been checked, and go before.
        let desk = Rc::clone(&desk);
        tokio::task::spawn_local(async move { desk.reloader.reload(false, "upgrade").await });
    }
    server::serve(bound, moves, desk, ended).await;
}

impl Drop for Control {
    fn drop(&mut self) {
        // The thread may have ended by itself.
        let _ = self.end.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
