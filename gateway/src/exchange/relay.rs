//! Carrying parts from one side of an exchange to the other, and holding back who is too fast.

use hangu_codecs::{
    EncodeError, Head, OwnedPart, Part, Reason, StreamId, message::End, protocol::Kind,
};

use super::{
    Asks, Core, Exchange, ExchangeId, Peer, Upstream, WAITING_BYTES_MAX,
    call_again::Weighed,
    ending::Closed,
    failure::Failure,
    flow::{Taken, Way},
    grpc,
    live::is_end,
    outcome_of,
};
use crate::{
    connection::{Blocked, Connection, ConnectionId, Sent, Side, State},
    telemetry::ReasonPlace,
};

/// What a receiver has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Nothing: it takes more.
    No,
    /// Output of its connection that is not written.
    Output,
    /// Data of its stream that waits for its window.
    Stream,
}

impl Core {
    /// Carries a part after the head from a client's stream to its upstream.
    pub(super) fn forward_request(
        &mut self,
        from: ConnectionId,
        stream: StreamId,
        part: &Part<'_>,
    ) {
        let Some(id) = self.exchange_of(from, stream) else {
            return self.drop_part(from, stream, part);
        };
        self.carry_request(id, Some((from, stream)), part);
    }

    /// Carries a part of a request to its upstream, wherever the client's connection is.
    pub(super) fn carry_request(
        &mut self,
        id: ExchangeId,
        from: Option<(ConnectionId, StreamId)>,
        part: &Part<'_>,
    ) {
        if let Part::Reset(reason) = part {
            return self.cancel(id, *reason);
        }
        let ends = ends(part);
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.received_bytes += data_bytes(part);
        exchange.progress.request_ended |= ends;
        exchange.quiet = 0;
        let translated = exchange.web_mut().map_or(Ok(None), |web| grpc::from_web(web, part));
        let sender = from.map(|it| it.0);
        let taken = match &translated {
            Ok(None) => self.hand_on(id, sender, part),
            // Part of a group of base64 says nothing yet.
            Ok(Some(Part::Data(data, End::No))) if data.is_empty() => Taken::Now,
            Ok(Some(part)) => self.hand_on(id, sender, part),
            Err(_) => Taken::Now,
        };
        self.credit(id, Way::Request, from, part, taken);
        if let Err(failure) = translated {
            return self.fail(id, failure);
        }
        self.complete_if_ended(id);
    }

    /// Gives a part of a request to its upstream, or to those that wait for one.
    pub(super) fn hand_on(
        &mut self,
        id: ExchangeId,
        from: Option<ConnectionId>,
        part: &Part<'_>,
    ) -> Taken {
        let Some(exchange) = self.exchanges.get_mut(id) else { return Taken::Now };
        match &mut exchange.upstream {
            Upstream::Waiting(parts) => {
                join_up(parts, part);
                let held: usize = parts.iter().map(held_bytes).sum();
                if held > WAITING_BYTES_MAX
                    && let Some(connection) = from.and_then(|it| self.connections.get_mut(it))
                    && !connection.has_windows()
                {
                    connection.blocked = Some(Blocked::Waiting);
                }
                Taken::Later
            }
            Upstream::Joined(Peer::Local { connection, stream }) => {
                let (connection, stream) = (*connection, *stream);
                self.send_on(id, connection, stream, part)
            }
            Upstream::Joined(Peer::Remote { worker, .. }) => {
                let worker = *worker;
                self.mail_request(id, worker, part);
                Taken::Later
            }
            // Nobody is there to take it: the codec drops what is left of the request.
            Upstream::None | Upstream::Ended => Taken::Now,
        }
    }

    fn send_on(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        stream: StreamId,
        part: &Part<'_>,
    ) -> Taken {
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.keep(part);
        }
        let Some(upstream) = self.connections.get_mut(connection) else { return Taken::Now };
        let Ok(sent) = upstream.encode(connection, stream, part, &mut self.outbox) else {
            self.fail(id, Failure::internal("request_not_encodable"));
            return Taken::Now;
        };
        self.hold_back(id, connection, sent)
    }

    /// Holds the client of an exchange back while its upstream has too much to take. One that has
    /// windows gets no credit, and others are not read.
    pub(super) fn hold_back(
        &mut self,
        id: ExchangeId,
        upstream: ConnectionId,
        sent: Sent,
    ) -> Taken {
        let behind = self.behind(upstream, sent);
        if behind == Behind::No {
            return Taken::Now;
        }
        let Some(exchange) = self.exchanges.get(id) else { return Taken::Now };
        match exchange.downstream {
            Peer::Local { connection, .. } => {
                let client = self.connections.get(connection);
                if client.is_some_and(Connection::carries_many_rpc) {
                    self.block(connection, upstream);
                } else {
                    self.stop_sender(Some(connection), upstream, behind);
                }
            }
            Peer::Remote { .. } => self.stop_sender(None, upstream, behind),
        }
        Taken::Later
    }

    /// Stops a sender to `receiver`, of windows or of one stream; `None` is another worker's, which
    /// has to be told first that its parts were taken.
    fn stop_sender(
        &mut self,
        sender: Option<ConnectionId>,
        receiver: ConnectionId,
        behind: Behind,
    ) {
        let from = sender.and_then(|it| Some((it, self.connections.get_mut(it)?)));
        match (from, behind) {
            (_, Behind::No) => {}
            (Some((sender, from)), Behind::Output) if !from.has_windows() => {
                self.block(sender, receiver);
            }
            (_, Behind::Output) => {
                if let Some(receiver) = self.connections.get_mut(receiver) {
                    receiver.withholds = true;
                }
            }
            (Some((_, from)), Behind::Stream) if !from.has_windows() => {
                from.blocked = Some(Blocked::Stream);
            }
            (_, Behind::Stream) => {}
        }
    }

    /// Whether an upstream has too much to take for a client of another worker, whom nothing here
    /// can hold back.
    pub(super) fn is_glutted(&mut self, upstream: ConnectionId) -> bool {
        let upstream = self.connections.get_mut(upstream);
        upstream.is_some_and(|it| it.unsent_bytes() > UNSENT_BYTES_MAX)
    }

    fn behind(&self, receiver: ConnectionId, sent: Sent) -> Behind {
        match () {
            () if self.is_behind(receiver, sent.unsent) => Behind::Output,
            () if !sent.takes_more => Behind::Stream,
            () => Behind::No,
        }
    }

    /// Whether a connection with so many bytes unsent has so much to write that whoever fills it
    /// must wait.
    pub(super) fn is_behind(&self, id: ConnectionId, unsent: usize) -> bool {
        let is_shared = || self.connections.get(id).is_some_and(|it| !it.is_exclusive());
        unsent > UNSENT_HIGH && (unsent > UNSENT_SHARED_HIGH || !is_shared())
    }

    /// Stops reading `reader` while `writer` has too much to write.
    fn block(&mut self, reader: ConnectionId, writer: ConnectionId) {
        let Some(from) = self.connections.get_mut(reader) else { return };
        if from.blocked.replace(Blocked::Output(writer)) == Some(Blocked::Output(writer)) {
            return;
        }
        if let Some(to) = self.connections.get_mut(writer) {
            to.blocking.push(reader);
        }
    }

    /// Gives the parts of an exchange that waited to the connection that it waited for.
    pub(super) fn serve(&mut self, id: ExchangeId, connection: ConnectionId, stream: StreamId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return self.abandon(connection, stream);
        };
        let Some((cluster, _)) = exchange.target() else { return };
        let Upstream::Waiting(parts) = std::mem::replace(&mut exchange.upstream, Upstream::None)
        else {
            return self.abandon(connection, stream);
        };
        self.counters.cluster(cluster).requests_pending.decrement();
        let downstream = exchange.downstream;
        let left = exchange.deadline.until(self.now);
        let has_deadline = exchange.deadline != super::NEVER;
        let mut parts = parts.into_iter();
        let Some(mut head) = parts.next() else { return };
        let Some(mut part) = head.as_part() else { return };
        if let Part::Head(head, _) = &mut part
            && has_deadline
        {
            grpc::tell_time_left(head, left);
        }
        self.join(id, connection, stream, &part);
        for mut part in parts {
            let Some(part) = part.as_part() else { continue };
            self.send_on(id, connection, stream, &part);
        }
        self.on_taken(id, Way::Request);
        if let Peer::Local { connection, .. } = downstream {
            self.unblock(connection, Blocked::Waiting);
        }
    }

    /// Carries a part of a response from an upstream's stream to the client.
    pub(super) fn forward_response(
        &mut self,
        from: ConnectionId,
        stream: StreamId,
        part: &Part<'_>,
    ) {
        let Some(id) = self.exchange_of(from, stream) else {
            return self.drop_part(from, stream, part);
        };
        self.deliver(id, Some((from, stream)), part);
    }

    /// Carries a part of a response to the client, wherever the client's connection is.
    pub(super) fn deliver(
        &mut self,
        id: ExchangeId,
        from: Option<(ConnectionId, StreamId)>,
        part: &Part<'_>,
    ) {
        if let Part::Reset(reason) = part {
            if *reason == Reason::Refused && self.repeat_request(id) {
                return;
            }
            return self.fail(id, Failure::reset(*reason));
        }
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.quiet = 0;
        if exchange.apart.is_none() {
            return self.pass_on(id, from, part);
        }
        match self.weigh(id, part) {
            Weighed::Stays => {}
            Weighed::GoesOn => self.pass_on(id, from, part),
            Weighed::GoesOnAfter(mut head) => {
                let head = Part::Head(Head::HttpResponse(&mut head), End::No);
                self.pass_on(id, from, &head);
                self.pass_on(id, from, part);
            }
        }
    }

    /// Gives a part of a response to the client, or to the worker of its connection.
    fn pass_on(&mut self, id: ExchangeId, from: Option<(ConnectionId, StreamId)>, part: &Part<'_>) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            // It ended with the head that was held back.
            return self.credit(id, Way::Response, from, part, Taken::Now);
        };
        note_response(exchange, part);
        if !exchange.is_awaited_call(part) {
            exchange.forget_request();
        }
        let taken = match exchange.downstream {
            Peer::Local { connection, stream } => {
                let sent = match exchange.web_mut().and_then(|web| grpc::to_web(web, part)) {
                    Some(parts) => self.answer_web(id, connection, stream, parts),
                    None => self.answer(id, connection, stream, part),
                };
                match sent {
                    Some(sent) => self.hold_back_upstream(from.map(|it| it.0), connection, sent),
                    None => Taken::Now,
                }
            }
            Peer::Remote { worker, exchange } => {
                self.mail_answer(worker, exchange, part);
                Taken::Later
            }
        };
        self.credit(id, Way::Response, from, part, taken);
        self.complete_if_ended(id);
    }

    /// Gives a part of a response to the client's connection; says what became of it there, unless
    /// the exchange fails by it.
    pub(super) fn answer(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        stream: StreamId,
        part: &Part<'_>,
    ) -> Option<Sent> {
        let downstream = self.connections.get_mut(connection)?;
        let reason = match downstream.encode(connection, stream, part, &mut self.outbox) {
            Ok(sent) => return Some(sent),
            Err(EncodeError::WrongLength) => "wrong_body_length",
            Err(EncodeError::Unfit | EncodeError::UnknownStream) => "response_not_encodable",
        };
        self.fail(id, Failure::upstream(reason));
        None
    }

    /// Holds an upstream back while its client has too much to take: one that has windows gets no
    /// credit, and one of a single stream is not read. An upstream of many streams without windows
    /// is read on, for the others' sake: a client that lets too much wait is given up instead.
    fn hold_back_upstream(
        &mut self,
        from: Option<ConnectionId>,
        to: ConnectionId,
        sent: Sent,
    ) -> Taken {
        let behind = self.behind(to, sent);
        if behind == Behind::No {
            return Taken::Now;
        }
        let upstream = from.and_then(|it| self.connections.get(it));
        let is_read_on = upstream.is_some_and(Connection::carries_many_rpc);
        if !is_read_on {
            self.stop_sender(from, to, behind);
        }
        if is_read_on || sent.unsent > UNSENT_BYTES_MAX {
            self.stop_asker(to, sent.unsent);
        }
        Taken::Later
    }

    /// Stops reading a client that does not take its answers, and gives it up when they are too
    /// many.
    fn stop_asker(&mut self, to: ConnectionId, unsent: usize) {
        let Some(client) = self.connections.get_mut(to) else { return };
        if client.state != State::Open {
            return;
        }
        if unsent > UNSENT_BYTES_MAX {
            if let Side::Downstream { listener } = client.side {
                self.counters.error(ReasonPlace::Downstream(listener), "slow_reader");
            }
            return self.close(to, Closed::Broken("slow_reader"));
        }
        // It takes no answers, so it asks no more questions either.
        if client.blocked.replace(Blocked::Output(to)) != Some(Blocked::Output(to)) {
            client.blocking.push(to);
        }
    }

    /// Stops reading a client that has not taken enough of its answers to ask for more, whoever
    /// gave them; says whether it is stopped. What follows a request that has begun is read on:
    /// its upstream holds it back. Not so where a connection carries many requests: there output is
    /// what its windows let through, so that a client which lets it stand reads nothing at all, and
    /// what it has to say of its windows would only add to it.
    pub(super) fn hold_back_asker(&mut self, id: ConnectionId) -> bool {
        let Some(client) = self.connections.get_mut(id) else { return false };
        let Side::Downstream { listener } = client.side else { return false };
        let Some(protocol) = client.protocol() else { return false };
        let unsent_max = match protocol.kind {
            Kind::Http if client.has_windows() => UNSENT_SHARED_HIGH,
            Kind::Http if client.in_flight() > 0 => return false,
            Kind::Http => UNSENT_HIGH,
            Kind::Rpc => self.snapshot.downstream_limits(listener).rpc.unsent_bytes_max,
        };
        let own = Blocked::Output(id);
        if client.input_ended || client.unsent_bytes() <= unsent_max {
            client.blocked.take_if(|by| *by == own);
            return false;
        }
        client.head_since = None;
        if client.blocked.replace(own) != Some(own) {
            client.blocking.push(id);
        }
        true
    }

    fn complete_if_ended(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let progress = exchange.progress;
        if progress.response_ended && (progress.request_ended || !progress.is_tunnel) {
            self.complete(id);
        }
    }

    /// The exchange that a stream belongs to.
    pub(super) fn exchange_of(
        &self,
        connection: ConnectionId,
        stream: StreamId,
    ) -> Option<ExchangeId> {
        let (index, generation) = self.connections.get(connection)?.exchange(stream)?;
        Some(ExchangeId::new(index, generation))
    }
}

impl Exchange {
    /// Places of the cluster and of its endpoint, once chosen.
    pub(super) fn target(&self) -> Option<(usize, usize)> {
        self.target.map(|(cluster, endpoint)| (cluster as usize, endpoint as usize))
    }

    /// Notes for the log what went wrong.
    pub(super) fn note_failure(&mut self, reason: Option<&'static str>) {
        if let Some(logged) = &mut self.logged {
            logged.failure = reason;
        }
    }

    pub(super) fn upstream_peer(&self) -> Option<Peer> {
        match self.upstream {
            Upstream::Joined(peer) => Some(peer),
            Upstream::None | Upstream::Waiting(_) | Upstream::Ended => None,
        }
    }
}

/// Notes in the exchange what a part of the response says.
fn note_response(exchange: &mut Exchange, part: &Part<'_>) {
    exchange.sent_bytes += data_bytes(part);
    exchange.progress.response_ended |= ends(part);
    exchange.asks.note(part);
    let Part::Head(head, _) = part else { return };
    let Some(outcome) = outcome_of(head) else { return };
    exchange.outcome = Some(outcome);
    exchange.progress.response_began = true;
    let Head::HttpResponse(response) = head else { return };
    let connected = exchange.asks == Asks::Tunnel && (200..300).contains(&response.status);
    exchange.progress.is_tunnel = response.status == 101 || connected;
    if exchange.progress.is_tunnel {
        // The timeout of a route is for an answer; this one is there, and no end is awaited.
        exchange.deadline = super::NEVER;
    }
}

/// Adds a part to those that wait. Small pieces of a body are joined: they may come one byte at a
/// time, and what is done for each that waits is done again for each that comes.
fn join_up(parts: &mut Vec<OwnedPart>, part: &Part<'_>) {
    if let Part::Data(data, end) = part
        && let Some(OwnedPart::Data(last, last_end)) = parts.last_mut()
        && last.len().saturating_add(data.len()) <= JOINED_BYTES_MAX
    {
        *last = [last, data.as_slice()].concat().into();
        *last_end = *end;
        return;
    }
    parts.push(part.to_owned());
}

/// Pieces of a body that waits are joined up to this size.
const JOINED_BYTES_MAX: usize = 4 * 1024;

/// What a part that waits takes, its own size included: a body may come in pieces of one byte.
pub(super) fn held_bytes(part: &OwnedPart) -> usize {
    part.bytes().saturating_add(size_of::<OwnedPart>())
}

fn data_bytes(part: &Part<'_>) -> u64 {
    match part {
        Part::Data(data, _) => data.len() as u64,
        Part::Head(Head::RpcRequest(rpc) | Head::RpcResponse(rpc), _) => rpc.bytes() as u64,
        Part::Head(Head::HttpRequest(_) | Head::HttpResponse(_), _)
        | Part::Trailers(_)
        | Part::Reset(_) => 0,
    }
}

fn ends(part: &Part<'_>) -> bool {
    match part {
        Part::Head(_, end) | Part::Data(_, end) => is_end(*end),
        Part::Trailers(_) | Part::Reset(_) => true,
    }
}

/// Unsent output of a connection at which whoever fills it is not read for a while. Bounds what a
/// connection holds, and what a swap of the binary has to carry; the kernel holds some megabytes
/// more.
pub(super) const UNSENT_HIGH: usize = 256 * 1024;

/// The same of a connection that many streams share: so much is written at once under load.
const UNSENT_SHARED_HIGH: usize = 1024 * 1024;

/// Unsent answers at which their client is given up: it does not take what it asked for. Two of
/// the largest RPC frames. Where the client's protocol has windows, those and the credit that is
/// withheld from its upstreams bound it long before.
const UNSENT_BYTES_MAX: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use hangu_codecs::{Data, message::End};

    use super::*;

    #[test]
    fn small_pieces_that_wait_are_joined_and_none_is_lost() {
        let mut parts = Vec::new();
        let body: Vec<u8> = (0..20_000_u32).map(|it| it as u8).collect();
        for piece in body.chunks(1) {
            join_up(&mut parts, &Part::Data(Data::Borrowed(piece), End::No));
        }
        join_up(&mut parts, &Part::Data(Data::Borrowed(b""), End::Yes));
        assert!(parts.len() <= body.len() / JOINED_BYTES_MAX + 1, "{}", parts.len());
        let mut joined = Vec::new();
        for part in &parts {
            let OwnedPart::Data(bytes, _) = part else { panic!("{part:?}") };
            joined.extend_from_slice(bytes);
        }
        assert_eq!(joined, body);
        assert!(matches!(parts.last(), Some(OwnedPart::Data(_, End::Yes))));
    }
}
