//! What the admin API, the signals and the watch over the files have in common.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::systemd::Service;
use super::{
    Inspect, ProcessLog, admin::Place, endpoints::Endpoints, reload::Reloader, server::Doors,
    upgrade::Upgrader,
};

/// What the control thread works with.
pub(super) struct Desk {
    pub(super) gateway: Arc<dyn Inspect>,
    pub(super) reloader: Rc<Reloader>,
    /// DNS and health checks.
    pub(super) endpoints: Rc<Endpoints>,
    /// Where the admin API is, and who may use it.
    pub(super) admin: Rc<Place>,
    pub(super) upgrader: Rc<Upgrader>,
    /// Who is let in at the admin API.
    pub(super) doors: Doors,
    /// The service manager.
    pub(super) service: Rc<Service>,
    /// The log of the process; `None` for a gateway inside another process (tests).
    pub(super) log: Option<ProcessLog>,
}

impl Desk {
    /// Whether the gateway takes traffic.
    pub(super) fn is_ready(&self) -> bool {
        self.gateway.is_ready() && self.endpoints.is_ready()
    }

    /// Stops the gateway: what is in flight gets `grace` once the `drain_delay` is over. Says how
    /// long that delay is; without a grace there is none.
    pub(super) fn stop(&self, grace: Duration) -> Duration {
        let delay =
            if grace.is_zero() { Duration::ZERO } else { self.gateway.config().drain_delay };
        self.service.stopping(delay, grace);
        self.gateway.stop(grace);
        delay
    }

    /// Opens all log files anew, for those that were moved away (logrotate).
    pub(super) fn reopen(&self, asked_by: &str) {
        if let Some(log) = &self.log {
            log.reopen();
        }
        self.gateway.reopen_log();
        tracing::info!("log files opened anew ({asked_by})");
    }
}
