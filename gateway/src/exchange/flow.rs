//! Credit: what a sender may send more because its receiver has taken what came before.
//!
//! A sender whose protocol has windows (HTTP/2) sends no more of a stream than it has credit for,
//! so nobody else is stopped when one receiver is slow: its credit is given back at once as long
//! as the receiver takes what comes, and withheld while it does not. What is withheld is counted
//! in the exchange, by direction. Senders without windows are not read instead (`relay`).
//!
//! | the receiver | its sender's credit | comes back |
//! |---|---|---|
//! | takes what comes | given at once | |
//! | has much output that is not written | withheld | when little is left of it |
//! | has a stream whose window is shut | withheld | with [`hangu_codecs::Event::Writable`] |
//! | is not there yet | withheld | when the exchange is joined to its stream |
//! | belongs to another worker | withheld | with that worker's letter |
//!
//! All that is withheld comes back when the exchange ends, however it does: the connection's own
//! window would be lost with it.

use hangu_codecs::{HttpResponse, OwnedPart, Part, StreamId, grpc::Web, message::End};
use serde::{Deserialize, Serialize};

use super::{
    Core, Exchange, ExchangeId, Peer, Progress, kept::Kept, live::UNSENT_LOW, relay::UNSENT_HIGH,
};
use crate::connection::{Blocked, ConnectionId};

/// A direction of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

/// Whether a receiver has taken what was handed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It has, or nobody is there to take it.
    Now,
    /// It will.
    Later,
}

/// Bytes of data for which their sender has no credit yet, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// Of the request.
    pub request: u32,
    /// Of the response.
    pub response: u32,
}

impl Withheld {
    fn of(&mut self, way: Way) -> &mut u32 {
        match way {
            Way::Request => &mut self.request,
            Way::Response => &mut self.response,
        }
    }
}

/// What only some exchanges have, apart from the others' memory.
#[derive(Debug, Default)]
pub struct Apart {
    /// See [`Withheld`].
    pub withheld: Withheld,
    /// The request, if it may have to be sent again.
    pub kept: Kept,
    /// The head of the answer to a call that may have to be sent again, held back.
    pub answer: Option<Box<HttpResponse>>,
    /// The translation of a call of a browser.
    pub web: Option<Web>,
}

impl Apart {
    /// What a snapshot says of it.
    pub(super) fn thawed(
        withheld: Withheld,
        mut kept: Vec<OwnedPart>,
        web: Option<Web>,
    ) -> Option<Box<Self>> {
        let is_there = withheld != Withheld::default() || !kept.is_empty() || web.is_some();
        let answer = kept.pop_if(|it| matches!(it, OwnedPart::HttpResponse(..)));
        let answer = answer.and_then(|it| match it {
            OwnedPart::HttpResponse(head, _) => Some(head),
            _ => None,
        });
        is_there.then(|| Box::new(Self { withheld, kept: Kept::thawed(kept), answer, web }))
    }

    /// What is kept, as it stands in a snapshot: the head of the answer, if it is held back, behind
    /// the parts of the request.
    pub(super) fn kept_parts(&self) -> Vec<OwnedPart> {
        let answer = self.answer.iter().map(|it| OwnedPart::HttpResponse(it.clone(), End::No));
        self.kept.parts().into_iter().chain(answer).collect()
    }

    /// Keeps nothing but memory.
    pub(super) fn clear(&mut self) {
        self.withheld = Withheld::default();
        self.kept.forget();
        self.answer = None;
        self.web = None;
    }
}

impl Core {
    /// Gives credit for a part that was handed on, or notes that it is still owed. `from` is where
    /// it came from, if that is a connection of this worker.
    pub(super) fn credit(
        &mut self,
        id: ExchangeId,
        way: Way,
        from: Option<(ConnectionId, StreamId)>,
        part: &Part<'_>,
        taken: Taken,
    ) {
        let bytes = flow_bytes(part);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            // It ended with this part.
            return self.give_credit(from, bytes);
        };
        if bytes == 0 && exchange.apart.is_none() {
            return;
        }
        match taken {
            Taken::Now => {
                let bytes = bytes.saturating_add(exchange.take_withheld(way));
                let sender = exchange.sender(way);
                self.give_back(sender, way, bytes);
            }
            Taken::Later => self.withhold(id, way, bytes),
        }
    }

    /// Gives credit for a part that nobody wants.
    pub(super) fn drop_part(&mut self, from: ConnectionId, stream: StreamId, part: &Part<'_>) {
        self.give_credit(Some((from, stream)), flow_bytes(part));
    }

    fn withhold(&mut self, id: ExchangeId, way: Way, bytes: usize) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let is_away = matches!(exchange.receiver(way), Some(Peer::Remote { .. }));
        let from = match exchange.sender(way) {
            Some(Peer::Local { connection, .. }) => Some(connection),
            Some(Peer::Remote { .. }) | None => None,
        };
        let from = from.and_then(|it| self.connections.get_mut(it));
        let has_windows = from.as_ref().is_none_or(|it| it.has_windows());
        if !has_windows && !is_away {
            return;
        }
        if exchange.apart.is_none() {
            exchange.apart = self.spare_aparts.pop();
        }
        let withheld = exchange.withhold(way, bytes);
        // Who has no windows must not be read while so much is on its way to another worker.
        if let Some(from) = from.filter(|_| !has_windows && withheld > UNSENT_HIGH)
            && from.is_exclusive()
        {
            from.blocked = Some(Blocked::Stream);
        }
    }

    /// The receiver of a direction may take more: lets its sender go on if that is so.
    pub(super) fn on_taken(&mut self, id: ExchangeId, way: Way) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let has_ended = exchange.progress.has_ended(way);
        if let Some(Peer::Local { connection, stream }) = exchange.receiver(way) {
            let unsent = self.connections.get_mut(connection).map_or(0, |it| it.unsent_bytes());
            let is_behind = self.is_behind(connection, unsent);
            let Some(receiver) = self.connections.get_mut(connection) else { return };
            receiver.withholds |= is_behind;
            // The window of a direction that has ended opens no more.
            if is_behind || !(has_ended || receiver.takes_data(stream)) {
                return;
            }
        }
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let bytes = exchange.take_withheld(way);
        let sender = exchange.sender(way);
        self.give_back(sender, way, bytes);
        if let Some(Peer::Local { connection, .. }) = sender {
            self.unblock(connection, Blocked::Stream);
        }
    }

    /// Another worker's connection has taken so many bytes.
    pub(super) fn on_taken_away(&mut self, id: ExchangeId, way: Way, bytes: u32) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let left = exchange.pay_back(way, bytes);
        let sender = exchange.sender(way);
        self.give_back(sender, way, bytes as usize);
        if let Some(Peer::Local { connection, .. }) = sender
            && left <= UNSENT_LOW
        {
            self.unblock(connection, Blocked::Stream);
        }
    }

    /// The stream takes data again: whoever sends to it may go on.
    pub(super) fn on_writable(&mut self, id: ConnectionId, stream: StreamId) {
        let Some(exchange_id) = self.exchange_of(id, stream) else { return };
        let Some(exchange) = self.exchanges.get_mut(exchange_id) else { return };
        exchange.quiet = 0;
        let way = exchange.way_to(id, stream);
        self.on_taken(exchange_id, way);
    }

    /// Little is left of the output of a connection: whoever sends to it may go on.
    pub(super) fn on_drained(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !std::mem::take(&mut connection.withholds) {
            return;
        }
        let streams: Vec<_> = connection.streams().collect();
        for (stream, (index, generation)) in streams {
            let exchange_id = ExchangeId::new(index, generation);
            let Some(exchange) = self.exchanges.get(exchange_id) else { continue };
            let way = exchange.way_to(id, stream);
            self.on_taken(exchange_id, way);
        }
    }

    /// Gives back all that is withheld for an exchange that has ended.
    pub(super) fn give_all_back(&mut self, exchange: &Exchange) {
        let Some(apart) = &exchange.apart else { return };
        let Withheld { request, response } = apart.withheld;
        for (way, bytes) in [(Way::Request, request), (Way::Response, response)] {
            // The other half of one that is divided gives back what it owes.
            if let Some(Peer::Local { connection, stream }) = exchange.sender(way) {
                self.give_credit(Some((connection, stream)), bytes as usize);
            }
        }
    }

    fn give_back(&mut self, sender: Option<Peer>, way: Way, bytes: usize) {
        match sender {
            Some(Peer::Local { connection, stream }) => {
                self.give_credit(Some((connection, stream)), bytes);
            }
            Some(Peer::Remote { worker, exchange }) => {
                self.mail_taken(worker, exchange, way, u32::try_from(bytes).unwrap_or(u32::MAX));
            }
            None => {}
        }
    }

    fn give_credit(&mut self, to: Option<(ConnectionId, StreamId)>, bytes: usize) {
        let Some((id, stream)) = to else { return };
        if bytes == 0 {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.release(id, stream, bytes, &mut self.outbox);
    }
}

impl Exchange {
    /// Who sends in this direction.
    fn sender(&self, way: Way) -> Option<Peer> {
        match way {
            Way::Request => Some(self.downstream),
            Way::Response => self.upstream_peer(),
        }
    }

    /// Who receives in this direction.
    fn receiver(&self, way: Way) -> Option<Peer> {
        match way {
            Way::Request => self.upstream_peer(),
            Way::Response => Some(self.downstream),
        }
    }

    /// The direction that a stream receives.
    fn way_to(&self, connection: ConnectionId, stream: StreamId) -> Way {
        let is_client = self.downstream == Peer::Local { connection, stream };
        if is_client { Way::Response } else { Way::Request }
    }

    /// Notes bytes for which their sender has no credit yet; says how many there are.
    fn withhold(&mut self, way: Way, bytes: usize) -> usize {
        let withheld = self.apart.get_or_insert_default().withheld.of(way);
        // No window passes 2^31-1 bytes (RFC 9113 §6.9.1).
        *withheld = withheld.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        *withheld as usize
    }

    fn take_withheld(&mut self, way: Way) -> usize {
        self.apart.as_mut().map_or(0, |it| std::mem::take(it.withheld.of(way)) as usize)
    }

    /// Notes that so many bytes were taken; says how many are left.
    fn pay_back(&mut self, way: Way, bytes: u32) -> usize {
        let Some(apart) = &mut self.apart else { return 0 };
        let withheld = apart.withheld.of(way);
        *withheld = withheld.saturating_sub(bytes);
        *withheld as usize
    }

    /// What is withheld, as it stands in a snapshot.
    pub(super) fn withheld(&self) -> Withheld {
        self.apart.as_ref().map_or(Withheld::default(), |it| it.withheld)
    }
}

impl Progress {
    fn has_ended(self, way: Way) -> bool {
        match way {
            Way::Request => self.request_ended,
            Way::Response => self.response_ended,
        }
    }
}

/// Bytes of a part that its sender had to have credit for.
fn flow_bytes(part: &Part<'_>) -> usize {
    match part {
        Part::Data(data, _) => data.len(),
        Part::Head(..) | Part::Trailers(_) | Part::Reset(_) => 0,
    }
}
