//! systemd as the service manager, or one that speaks as it does (`Type=notify`).
//!
//! ```text
//!   at the start    environment ──► listening sockets that an earlier process or a socket unit left
//!   serving         READY=1, STATUS=; RELOADING=1 and READY=1 around a reload; STOPPING=1
//!   all the time    WATCHDOG=1, while all workers answer
//!   listeners       FDSTORE=1, FDSTOREREMOVE=1: the manager keeps the sockets, so that what
//!                   queues on them outlives even `kill -9`
//!   another process MAINPID=, BARRIER=1: [`Notifier::hand_over`]
//! ```
//!
//! The messages are those of sd_notify(3). They are written here because the crates for it read the
//! environment anew for each message, and none has barriers.

mod environment;
mod notifier;
mod store;

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

pub use notifier::Notifier;

use super::Inspect;
use super::desk::Desk;
use super::reload::Outcome;
use crate::clock;
use crate::listener::Inherited;
use environment::Environment;
use store::Store;

/// Beyond the times of the configuration a stop may take so long: answers of cut-off requests, the
/// last lines of the logs.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// The service manager, and what it keeps for this process.
#[derive(Debug, Default)]
pub struct Service {
    notifier: Notifier,
    /// The manager ends the process that says nothing for so long.
    watchdog: Option<Duration>,
    store: RefCell<Store>,
    /// Whether the last reload was rejected.
    is_rejected: Cell<bool>,
    is_stopping: Cell<bool>,
}

/// Takes what the service manager gave this process out of the environment: where to tell it what
/// becomes of the process, and listening sockets. Without a manager there is neither.
///
/// # Safety
/// No other thread may run yet, for the environment is changed; and this process must have opened
/// no descriptor before, for those that the environment tells of are taken.
pub unsafe fn take_environment() -> (Service, Inherited) {
    // SAFETY: the caller's promise.
    let Environment { notify_socket, watchdog, sockets } = unsafe { environment::take() };
    let mut service = Service { store: RefCell::new(Store::new(&sockets)), ..Service::default() };
    if let Some(socket) = notify_socket {
        match Service::new(&socket, watchdog) {
            Ok(heard) => service = Service { store: service.store, ..heard },
            Err(error) => eprintln!("warning: NOTIFY_SOCKET={}: {error}", socket.display()),
        }
    }
    (service, Inherited::new(sockets.into_iter().map(|it| it.socket)))
}

impl Service {
    /// A manager that listens where `NOTIFY_SOCKET` says, and that ends a process from which it
    /// hears nothing for as long as `watchdog`.
    ///
    /// # Errors
    /// The address is none, or there are no descriptors left.
    pub fn new(notify_socket: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let notifier = Notifier::new(notify_socket)?;
        Ok(Self { notifier, watchdog, ..Self::default() })
    }

    /// Tells the manager what becomes of this process.
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// This process takes the place of another one of the unit, which handed it these sockets: what
    /// the manager keeps of them is forgotten when their listeners are gone. The manager is told
    /// nothing until that process is gone.
    pub fn take_over(&self, handed_over: &Inherited) {
        self.notifier.be_silent();
        self.store.borrow_mut().take_over(handed_over);
    }

    /// The configuration is loaded again.
    pub(super) fn reloading(&self) {
        if self.is_stopping.get() {
            return;
        }
        self.notifier.reloading(clock::now());
    }

    /// The configuration was loaded, or was not.
    pub(super) fn reloaded(&self, gateway: &dyn Inspect, outcome: Outcome) {
        self.is_rejected.set(outcome == Outcome::Rejected);
        // What was said of the stop is the last word.
        if self.is_stopping.get() {
            return;
        }
        self.notifier.ready(&self.status(gateway));
    }

    /// One line about the gateway, for `systemctl status`.
    fn status(&self, gateway: &dyn Inspect) -> String {
        let listeners = gateway.config().listeners.len();
        let workers = gateway.metrics().workers.len();
        let version = env!("CARGO_PKG_VERSION");
        let rejected =
            if self.is_rejected.get() { "; the configuration on disk was rejected" } else { "" };
        format!("Serving: listeners: {listeners}, workers: {workers}, version {version}{rejected}")
    }

    /// The gateway stops: `delay` goes by before it begins to, and what is in flight gets `grace`.
    pub(super) fn stopping(&self, delay: Duration, grace: Duration) {
        self.is_stopping.set(true);
        // A socket that is kept would take connections that nobody serves.
        self.store.borrow_mut().keep(&[], &self.notifier);
        let status = format!("Stopping; requests in flight get {} s", grace.as_secs());
        self.notifier.stopping(&status, delay + grace + STOP_SLACK);
    }

    /// Lets the manager keep the listening sockets that are in use now.
    async fn keep_sockets(&self, gateway: &dyn Inspect) {
        let sockets = gateway.listening().await;
        if gateway.is_ready() {
            self.store.borrow_mut().keep(&sockets, &self.notifier);
        }
    }
}

/// Tells the manager that the gateway serves, and what changes from then on.
pub(super) async fn follow(desk: Rc<Desk>) {
    let Desk { service, gateway, endpoints, upgrader, .. } = &*desk;
    upgrader.wait_until_alone().await;
    service.notifier.speak();
    if !service.notifier.is_heard() {
        return;
    }
    if let Some(limit) = service.watchdog {
        let (gateway, notifier) = (Arc::clone(gateway), service.notifier.clone());
        tokio::task::spawn_local(async move { watch(&*gateway, &notifier, limit).await });
    }
    let mut versions = gateway.changes();
    versions.borrow_and_update();
    let mut config = gateway.config();
    // The sockets first: from the moment at which it says that it serves, nothing is lost.
    service.keep_sockets(&**gateway).await;
    endpoints.wait_until_ready().await;
    service.notifier.ready(&service.status(&**gateway));
    while versions.changed().await.is_ok() {
        // Endpoints and their health come and go more often.
        let now = gateway.config();
        if !Arc::ptr_eq(&now, &config) {
            config = now;
            service.keep_sockets(&**gateway).await;
        }
    }
}

/// Keeps the watchdog at rest for as long as all workers answer; this thread answers by running.
/// Ends never.
async fn watch(gateway: &dyn Inspect, notifier: &Notifier, limit: Duration) {
    let half = limit / 2;
    let mut turns = interval(half);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let silent = silent_workers(gateway, half).await;
        if silent.is_empty() {
            notifier.alive();
        } else {
            tracing::error!(
                "workers {silent:?} have not answered for {half:?}: the watchdog is not told that \
                 the gateway lives"
            );
        }
    }
}

/// Workers that do not answer within a time.
async fn silent_workers(gateway: &dyn Inspect, wait: Duration) -> Vec<usize> {
    let deadline = clock::now().after(wait);
    let mut silent = Vec::new();
    for (worker, answer) in gateway.pulses().into_iter().enumerate() {
        if timeout(deadline.until(clock::now()), answer).await.is_err() {
            silent.push(worker);
        }
    }
    silent
}
