//! What went wrong, and what the caller is told of it.

use hangu_codecs::{Codec, Data, Head, Part, Reason, Status, StreamId, grpc::Web, message::End};

use super::{Core, Exchange, ExchangeId, NEVER, Peer};
use crate::telemetry::{Outcome, ReasonPlace};

/// A failed step of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What the caller is told.
    pub(crate) status: Status,
    /// What is counted and logged, when it is more than the status says.
    pub(crate) reason: Option<&'static str>,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self { status, reason: None }
    }
}

impl Failure {
    /// A failure with a reason.
    pub(crate) const fn because(status: Status, reason: &'static str) -> Self {
        Self { status, reason: Some(reason) }
    }

    /// The upstream is to blame.
    pub(crate) const fn upstream(reason: &'static str) -> Self {
        Self::because(Status::UpstreamFailed, reason)
    }

    /// The gateway is to blame.
    pub(crate) const fn internal(reason: &'static str) -> Self {
        Self::because(Status::Internal, reason)
    }

    /// The upstream gave the stream up.
    pub(crate) const fn reset(reason: Reason) -> Self {
        match reason {
            Reason::Cancelled => Self::upstream("upstream_cancelled"),
            Reason::ConnectionLost => Self::upstream("upstream_closed"),
            Reason::TimedOut => Self::because(Status::TimedOut, "upstream_timed_out"),
            Reason::ProtocolError => Self::upstream("upstream_protocol_error"),
            Reason::TooLarge => Self::upstream("upstream_too_large"),
            Reason::SlowReader => Self::upstream("upstream_slow_reader"),
            Reason::Refused => Self::because(Status::Overloaded, "upstream_refused"),
        }
    }
}

/// Answers a call of a browser, which sees nothing of a status but what the body says.
fn reply_to_web(web: &Web, codec: &mut dyn Codec, stream: StreamId, status: Status) {
    let (mut head, body) = web.reply(status);
    let head = Part::Head(Head::HttpResponse(&mut head), End::No);
    if codec.encode(stream, &head).is_err() {
        return codec.reply(stream, status);
    }
    // A stream that is gone meanwhile needs no end.
    let _ = codec.encode(stream, &Part::Data(Data::Owned(body), End::Yes));
}

impl Core {
    /// Counts why an exchange failed, and ends it.
    pub(crate) fn fail(&mut self, id: ExchangeId, failure: Failure) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let place = match exchange.target() {
            Some((cluster, _)) => ReasonPlace::Upstream(cluster),
            None => ReasonPlace::Downstream(exchange.listener as usize),
        };
        if let Some(reason) = failure.reason {
            self.counters.error(place, reason);
        }
        self.fail_counted(id, failure);
    }

    /// Ends an exchange that failed for a reason that is counted already: answers the caller in
    /// its own protocol, or breaks off an answer that has begun.
    pub(super) fn fail_counted(&mut self, id: ExchangeId, failure: Failure) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let began = exchange.progress.response_began;
        exchange.outcome = Some(if began {
            Outcome::Reset(Reason::ConnectionLost)
        } else {
            Outcome::Gateway(failure.status)
        });
        exchange.note_failure(failure.reason);
        match exchange.downstream {
            Peer::Local { connection, stream } => {
                if let Some(client) = self.connections.get_mut(connection)
                    && let Some(codec) = client.codec()
                {
                    if began {
                        // A stream that is gone needs no breaking off.
                        let _ = codec.encode(stream, &Part::Reset(Reason::ConnectionLost));
                    } else if let Some(web) = exchange.web() {
                        reply_to_web(web, codec, stream, failure.status);
                    } else {
                        codec.reply(stream, failure.status);
                    }
                    client.wants_to_write(connection, &mut self.outbox);
                }
            }
            Peer::Remote { worker, exchange } => self.mail_failure(worker, exchange, failure),
        }
        self.complete(id);
    }

    /// Ends an exchange whose caller is gone or no longer interested.
    pub(super) fn cancel(&mut self, id: ExchangeId, reason: Reason) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.outcome = Some(Outcome::Reset(reason));
        exchange.note_failure(Some("client_gone"));
        // The half with the client counts, and the deadline's end is no cancelling.
        if let (Some((cluster, _)), Peer::Local { .. }) = (exchange.target(), exchange.downstream) {
            self.counters.cluster(cluster).cancelled.increment();
        }
        self.complete(id);
    }

    /// Ends an exchange whose caller broke the protocol and is told so by its codec.
    pub(super) fn give_up(&mut self, id: ExchangeId, failure: Failure) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.outcome = Some(Outcome::Gateway(failure.status));
        exchange.note_failure(failure.reason);
        self.complete(id);
    }

    /// Ends all exchanges whose deadline has passed.
    pub(super) fn sweep_deadlines(&mut self) {
        let now = self.now;
        let mut passed = Vec::new();
        let mut earliest = NEVER;
        for (id, exchange) in self.exchanges.iter() {
            // The half with the client watches and counts.
            if matches!(exchange.downstream, Peer::Remote { .. }) {
                continue;
            }
            if exchange.deadline <= now {
                passed.push(id);
            } else {
                earliest = earliest.min(exchange.deadline);
            }
        }
        self.earliest_deadline = earliest;
        for id in passed {
            if let Some((cluster, _)) = self.exchanges.get(id).and_then(Exchange::target) {
                self.counters.cluster(cluster).timeouts.increment();
            }
            self.fail(id, Status::TimedOut.into());
        }
    }
}
