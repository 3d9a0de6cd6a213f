//! Carrying parts from one side of an exchange to the other, and holding back who is too fast.

use hangu_codecs::{EncodeError, Head, OwnedPart, Part, StreamId, protocol::Kind};

use super::{
    Core, Exchange, ExchangeId, Peer, Upstream, WAITING_BYTES_MAX, ending::Closed,
    failure::Failure, is_exclusive, live::is_end, outcome_of,
};
use crate::{
    connection::{Blocked, Connection, ConnectionId, Side, State},
    telemetry::ReasonPlace,
};

impl Core {
    /// Carries a part after the head from a client's stream to its upstream.
    pub(super) fn forward_request(
        &mut self,
        from: ConnectionId,
        stream: StreamId,
        part: &Part<'_>,
    ) {
        let Some(id) = self.exchange_of(from, stream) else { return };
        self.carry_request(id, Some(from), part);
    }

    /// Carries a part of a request to its upstream, wherever the client's connection is.
    pub(super) fn carry_request(
        &mut self,
        id: ExchangeId,
        from: Option<ConnectionId>,
        part: &Part<'_>,
    ) {
        if let Part::Reset(reason) = part {
            return self.cancel(id, *reason);
        }
        let ends = ends(part);
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.received_bytes += data_bytes(part);
        exchange.progress.request_ended |= ends;
        self.hand_on(id, from, part);
        self.complete_if_ended(id);
    }

    /// Gives a part of a request to its upstream, or to those that wait for one.
    pub(super) fn hand_on(&mut self, id: ExchangeId, from: Option<ConnectionId>, part: &Part<'_>) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        match &mut exchange.upstream {
            Upstream::Waiting(parts) => {
                parts.push(part.to_owned());
                let held: usize = parts.iter().map(held_bytes).sum();
                if held > WAITING_BYTES_MAX
                    && let Some(connection) = from.and_then(|it| self.connections.get_mut(it))
                {
                    connection.blocked = Some(Blocked::Waiting);
                }
            }
            Upstream::Joined(Peer::Local { connection, stream }) => {
                let (connection, stream) = (*connection, *stream);
                self.send_on(id, connection, stream, part);
            }
            Upstream::Joined(Peer::Remote { worker, .. }) => {
                let worker = *worker;
                self.mail_request(id, worker, part);
            }
            // Nobody is there to take it: the codec drops what is left of the request.
            Upstream::None | Upstream::Ended => {}
        }
    }

    fn send_on(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        stream: StreamId,
        part: &Part<'_>,
    ) {
        let Some(upstream) = self.connections.get_mut(connection) else { return };
        let Ok(unsent) = upstream.encode(connection, stream, part, &mut self.outbox) else {
            return self.fail(id, Failure::internal("request_not_encodable"));
        };
        self.hold_back(id, connection, unsent);
    }

    /// Stops reading the client of an exchange while its upstream has too much to take: `unsent`
    /// bytes by now.
    pub(super) fn hold_back(&mut self, id: ExchangeId, upstream: ConnectionId, unsent: usize) {
        if !self.is_behind(upstream, unsent) {
            return;
        }
        let Some(exchange) = self.exchanges.get(id) else { return };
        let Peer::Local { connection, .. } = exchange.downstream else { return };
        self.block(connection, upstream);
    }

    /// Whether an upstream has too much to take for a client of another worker, whom nothing here
    /// can hold back.
    pub(super) fn is_glutted(&mut self, upstream: ConnectionId) -> bool {
        let upstream = self.connections.get_mut(upstream);
        upstream.is_some_and(|it| it.unsent_bytes() > UNSENT_BYTES_MAX)
    }

    /// Whether a connection with so many bytes unsent has so much to write that whoever fills it
    /// must wait.
    fn is_behind(&self, id: ConnectionId, unsent: usize) -> bool {
        let is_shared = || {
            let protocol = self.connections.get(id).and_then(|it| it.protocol());
            protocol.is_some_and(|it| !is_exclusive(it))
        };
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

    /// The stream takes data again: whoever sends to it may go on.
    pub(super) fn on_writable(&mut self, id: ConnectionId, stream: StreamId) {
        let Some(exchange) = self.exchange_of(id, stream) else { return };
        let Some(exchange) = self.exchanges.get(exchange) else { return };
        let peers = [Some(exchange.downstream), exchange.upstream_peer()];
        for peer in peers.into_iter().flatten() {
            if let Peer::Local { connection, .. } = peer
                && connection != id
            {
                self.unblock(connection, Blocked::Output(id));
            }
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
        if let Part::Head(Head::RpcRequest(rpc), _) = &mut part
            && has_deadline
        {
            rpc.timeout = Some(left);
        }
        self.join(id, connection, stream, &part);
        for mut part in parts {
            let Some(part) = part.as_part() else { continue };
            self.send_on(id, connection, stream, &part);
        }
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
        let Some(id) = self.exchange_of(from, stream) else { return };
        self.deliver(id, Some(from), part);
    }

    /// Carries a part of a response to the client, wherever the client's connection is.
    pub(super) fn deliver(&mut self, id: ExchangeId, from: Option<ConnectionId>, part: &Part<'_>) {
        if let Part::Reset(reason) = part {
            return self.fail(id, Failure::reset(*reason));
        }
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        note_response(exchange, part);
        match exchange.downstream {
            Peer::Local { connection, stream } => {
                let unsent = self.answer(id, connection, stream, part);
                if let Some(from) = from
                    && self.is_behind(connection, unsent)
                {
                    self.hold_back_upstream(from, connection);
                }
            }
            Peer::Remote { worker, exchange } => self.mail_answer(worker, exchange, part),
        }
        self.complete_if_ended(id);
    }

    /// Gives a part of a response to the client's connection; says how much that has to write.
    fn answer(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        stream: StreamId,
        part: &Part<'_>,
    ) -> usize {
        let Some(downstream) = self.connections.get_mut(connection) else { return 0 };
        let reason = match downstream.encode(connection, stream, part, &mut self.outbox) {
            Ok(unsent) => return unsent,
            Err(EncodeError::WrongLength) => "wrong_body_length",
            Err(EncodeError::Unfit | EncodeError::UnknownStream) => "response_not_encodable",
        };
        self.fail(id, Failure::upstream(reason));
        self.connections.get_mut(connection).map_or(0, Connection::unsent_bytes)
    }

    /// Stops reading an upstream of one stream while its client has too much to take. An upstream
    /// of many streams is read on, for the others' sake: a client that lets too much wait is
    /// given up instead.
    fn hold_back_upstream(&mut self, from: ConnectionId, to: ConnectionId) {
        let Some(protocol) = self.connections.get(from).and_then(|it| it.protocol()) else {
            return;
        };
        if is_exclusive(protocol) {
            return self.block(from, to);
        }
        let Some(client) = self.connections.get_mut(to) else { return };
        let unsent = client.unsent_bytes();
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
    /// its upstream holds it back.
    pub(super) fn hold_back_asker(&mut self, id: ConnectionId) -> bool {
        let Some(client) = self.connections.get_mut(id) else { return false };
        let Side::Downstream { listener } = client.side else { return false };
        let Some(protocol) = client.protocol() else { return false };
        let unsent_max = match protocol.kind {
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
    let Part::Head(head, _) = part else { return };
    let Some(outcome) = outcome_of(head) else { return };
    exchange.outcome = Some(outcome);
    exchange.progress.response_began = true;
    let Head::HttpResponse(response) = head else { return };
    let connected = exchange.asks_connect && (200..300).contains(&response.status);
    exchange.progress.is_tunnel = response.status == 101 || connected;
}

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
const UNSENT_HIGH: usize = 256 * 1024;

/// The same of a connection that many streams share: so much is written at once under load.
const UNSENT_SHARED_HIGH: usize = 1024 * 1024;

/// Unsent answers of multiplexed upstreams at which their client is given up: it does not take
/// what it asked for. Two of the largest RPC frames.
const UNSENT_BYTES_MAX: usize = 32 * 1024 * 1024;
