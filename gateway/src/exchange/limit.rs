//! Requests in flight, where the process limits them.

use hangu_codecs::Status;

use super::{Core, Exchange, ExchangeId, failure::Failure};
use crate::connection::Admitted;

impl Core {
    /// Counts a request at its listener, or refuses it.
    pub(super) fn admit_request(&mut self, id: ExchangeId, listener: usize) -> Result<(), Failure> {
        match self.load.begin_request(listener) {
            Admitted::Uncounted => {}
            Admitted::Counted => {
                if let Some(exchange) = self.exchanges.get_mut(id) {
                    exchange.counts_downstream = true;
                }
            }
            Admitted::Refused => {
                return Err(Failure::because(Status::Overloaded, "listener_requests_max"));
            }
        }
        Ok(())
    }

    /// Counts a request at its cluster, or refuses it.
    pub(super) fn admit_upstream_request(
        &mut self,
        id: ExchangeId,
        cluster: usize,
    ) -> Result<(), Failure> {
        match self.load.begin_upstream_request(cluster) {
            Admitted::Uncounted => {}
            Admitted::Counted => {
                if let Some(exchange) = self.exchanges.get_mut(id) {
                    exchange.counts_upstream = u32::try_from(cluster).ok();
                }
            }
            Admitted::Refused => {
                return Err(Failure::because(Status::Overloaded, "cluster_requests_max"));
            }
        }
        Ok(())
    }

    /// Gives back what was counted of an exchange that ended.
    pub(super) fn release_request(&mut self, exchange: &Exchange) {
        if exchange.counts_downstream {
            self.load.end_request(exchange.listener as usize);
        }
        if let Some(cluster) = exchange.counts_upstream {
            self.load.end_upstream_request(cluster as usize);
        }
    }
}
