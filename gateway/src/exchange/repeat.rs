//! A request that met a kept connection which its upstream was just closing.
//!
//! An upstream may close a connection that it has kept for long enough in the very moment in which
//! the next request is on its way (RFC 9112 §9.3.1). Whoever sent it cannot know whether it was
//! read, so only requests of idempotent methods are repeated (RFC 9110 §9.2.2), only those without
//! a body, only on connections that have served before, and only when no byte of an answer came.

use std::rc::Rc;

use bytes::BytesMut;
use hangu_codecs::{Event, Head, Method, Part, Role, Scratch, message::End};

use super::{Core, ExchangeId, Upstream};
use crate::connection::{ConnectionId, Side};

/// Whether a request may be repeated when nobody knows whether it was worked on.
pub(super) fn may_be_repeated(part: &Part<'_>) -> bool {
    let Part::Head(Head::HttpRequest(request), End::Yes) = part else { return false };
    match request.method {
        Method::Get
        | Method::Head
        | Method::Put
        | Method::Delete
        | Method::Options
        | Method::Trace => request.upgrade.is_empty(),
        Method::Post | Method::Connect | Method::Patch | Method::Other(_) => false,
    }
}

impl Core {
    /// Sends the request in flight on a connection that is lost once more, if it may be.
    pub(super) fn repeat_elsewhere(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Side::Upstream { cluster, endpoint } = connection.side else { return };
        let Some(protocol) = connection.protocol() else { return };
        let kept = connection.repeatable.take().filter(|it| !it.is_empty());
        let slot = connection.exchanges.first().copied().flatten();
        let (Some(kept), Some(slot)) = (kept, slot) else { return };
        let exchange_id = ExchangeId::new(slot.exchange.0, slot.exchange.1);
        let Some(exchange) = self.exchanges.get_mut(exchange_id) else { return };
        if exchange.progress.response_began || exchange.deadline <= now {
            return;
        }
        if !self.endpoints.try_again(cluster, exchange.retries, now) {
            return;
        }
        exchange.retries += 1;
        exchange.upstream = Upstream::None;
        let listener = exchange.listener as usize;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.exchanges.clear();
        }
        let counters = self.counters.cluster(cluster);
        counters.requests_active.decrement();
        counters.retries.increment();
        self.counters.endpoint(cluster, endpoint).requests_active.decrement();
        // Its own bytes are the request in the only form in which it was kept.
        let snapshot = Rc::clone(&self.snapshot);
        let mut codec = (protocol.codec)(Role::Server, snapshot.downstream_limits(listener), now);
        let mut input = BytesMut::from(kept.as_slice());
        let mut scratch = Scratch::default();
        match codec.decode(&mut input, &mut scratch, now) {
            Ok(Some(Event::Part(_, part @ Part::Head(_, End::Yes)))) => {
                self.send_head(exchange_id, &snapshot, &part);
            }
            Ok(_) | Err(_) => {
                let failure = super::Failure::internal("request_not_repeatable");
                self.fail(exchange_id, failure);
            }
        }
    }
}
