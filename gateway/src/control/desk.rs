//! What the admin API, the signals and the watch over the files have in common.

use std::rc::Rc;
use std::sync::Arc;

use super::{Access, Inspect, ProcessLog, endpoints::Endpoints, reload::Reloader};

/// What the control thread works with.
pub(super) struct Desk {
    pub(super) gateway: Arc<dyn Inspect>,
    pub(super) reloader: Reloader,
    /// DNS and health checks.
    pub(super) endpoints: Rc<Endpoints>,
    pub(super) access: Access,
    /// The log of the process; `None` for a gateway inside another process (tests).
    pub(super) log: Option<ProcessLog>,
}

impl Desk {
    /// Whether the gateway takes traffic.
    pub(super) fn is_ready(&self) -> bool {
        self.gateway.is_ready() && self.endpoints.is_ready()
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
