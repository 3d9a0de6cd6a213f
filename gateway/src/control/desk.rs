//! What the admin API, the signals and the watch over the files have in common.

use std::sync::Arc;

use super::{Access, Inspect, ProcessLog, reload::Reloader};

/// What the control thread works with.
pub(super) struct Desk {
    pub(super) gateway: Arc<dyn Inspect>,
    pub(super) reloader: Reloader,
    pub(super) access: Access,
    /// The log of the process; `None` for a gateway inside another process (tests).
    pub(super) log: Option<ProcessLog>,
}

impl Desk {
    /// Opens all log files anew, for those that were moved away (logrotate).
    pub(super) fn reopen(&self, asked_by: &str) {
        if let Some(log) = &self.log {
            log.reopen();
        }
        tracing::info!("log files opened anew ({asked_by})");
    }
}
