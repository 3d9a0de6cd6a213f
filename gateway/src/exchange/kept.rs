//! Requests that are kept until their answer begins, so that they can be sent again.
//!
//! An upstream may say of a stream that it has done nothing of it (HTTP/2: REFUSED_STREAM, or an
//! id above the last one of its GOAWAY; RFC 9113 §8.7). Such a request may be sent again whatever
//! it asks for. One whose connection is lost may be only under the rule of `repeat`, and a call that
//! its upstream answered under that of `call_again`.
//!
//! What was written is of no use for that, for field compression belongs to the connection. So the
//! head is copied, and with it the first [`WAITING_BYTES_MAX`] of the body: only for upstreams
//! whose protocol has windows, only while the cluster allows further tries, and only until an answer
//! goes to the client or the body is longer. The memory is used again.

use hangu_codecs::{Head, HttpRequest, OwnedPart, Part, StreamId, message::End};

use super::{
    Core, Exchange, ExchangeId, Peer, Upstream, WAITING_BYTES_MAX, flow::Apart, grpc,
    relay::held_bytes, repeat,
};
use crate::connection::{ConnectionId, Side};

/// A request as it was sent, if it is kept.
#[derive(Debug, Default)]
pub struct Kept {
    head: HttpRequest,
    /// Whether the request ended with its head; nothing is kept without it.
    end: Option<End>,
    /// What followed the head.
    rest: Vec<OwnedPart>,
    /// Bytes of that.
    rest_bytes: usize,
}

impl Kept {
    /// Keeps a request of which this is the head.
    fn begin(&mut self, head: &HttpRequest, end: End) {
        self.forget();
        copy(head, &mut self.head);
        self.end = Some(end);
    }

    /// Keeps a further part, or nothing more of the request when it has become too large.
    fn push(&mut self, part: &Part<'_>) {
        if self.end.is_none() {
            return;
        }
        let part = part.to_owned();
        self.rest_bytes = self.rest_bytes.saturating_add(held_bytes(&part));
        if self.rest_bytes > WAITING_BYTES_MAX {
            return self.forget();
        }
        self.rest.push(part);
    }

    /// Whether it may be sent again when nobody knows what became of it.
    fn may_be_repeated(&mut self) -> bool {
        let Some(end) = self.end else { return false };
        repeat::may_be_repeated(&Part::Head(Head::HttpRequest(&mut self.head), end))
    }

    /// Whether it is there and a gRPC call.
    pub(super) fn is_call(&self) -> bool {
        self.end.is_some() && grpc::is_call(&self.head)
    }

    /// All parts, which are not kept any more.
    fn take(&mut self) -> Option<Vec<OwnedPart>> {
        let end = self.end.take()?;
        let head = OwnedPart::HttpRequest(Box::new(std::mem::take(&mut self.head)), end);
        self.rest_bytes = 0;
        Some(std::iter::once(head).chain(self.rest.drain(..)).collect())
    }

    /// Keeps nothing but memory.
    pub(super) fn forget(&mut self) {
        self.head.clear();
        self.end = None;
        self.rest.clear();
        self.rest_bytes = 0;
    }

    /// All parts, as they stand in a snapshot.
    pub(super) fn parts(&self) -> Vec<OwnedPart> {
        let Some(end) = self.end else { return Vec::new() };
        let head = OwnedPart::HttpRequest(Box::new(self.head.clone()), end);
        std::iter::once(head).chain(self.rest.iter().cloned()).collect()
    }

    /// What a snapshot says of it.
    pub(super) fn thawed(parts: Vec<OwnedPart>) -> Self {
        let mut parts = parts.into_iter();
        let Some(OwnedPart::HttpRequest(head, end)) = parts.next() else { return Self::default() };
        let rest: Vec<_> = parts.collect();
        let rest_bytes = rest.iter().map(held_bytes).sum();
        Self { head: *head, end: Some(end), rest, rest_bytes }
    }
}

impl Core {
    /// Keeps the head of a request that is about to be sent to this upstream.
    pub(super) fn keep_head(&mut self, id: ExchangeId, part: &Part<'_>) {
        let Part::Head(Head::HttpRequest(head), end) = part else { return };
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let Some((cluster, _)) = exchange.target() else { return };
        if !self.endpoints.allows_tries(cluster, exchange.retries) {
            return;
        }
        let apart =
            exchange.apart.get_or_insert_with(|| self.spare_aparts.pop().unwrap_or_default());
        apart.kept.begin(head, *end);
    }

    /// Takes back what an exchange that has ended had apart.
    pub(super) fn spare_apart(&mut self, apart: Option<Box<Apart>>) {
        let Some(mut apart) = apart.filter(|_| self.spare_aparts.len() < SPARE_MAX) else { return };
        apart.clear();
        self.spare_aparts.push(apart);
    }

    /// Sends a request once more whose upstream is done with it, because it refused it or said how
    /// the call ended; says whether it did.
    pub(super) fn repeat_request(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get(id) else { return false };
        let Upstream::Joined(Peer::Local { connection, stream }) = exchange.upstream else {
            return false;
        };
        let is_again = self.repeat_kept(id, connection, stream);
        if is_again {
            self.free(connection);
        }
        is_again
    }

    /// Sends the requests in flight on a connection of many streams that is lost once more, as far
    /// as they may be.
    pub(super) fn repeat_all(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        if !matches!(connection.side, Side::Upstream { .. }) {
            return;
        }
        let streams: Vec<_> = connection.streams().collect();
        for (stream, (index, generation)) in streams {
            let exchange_id = ExchangeId::new(index, generation);
            let Some(exchange) = self.exchanges.get_mut(exchange_id) else { continue };
            if exchange.apart.as_mut().is_some_and(|it| it.kept.may_be_repeated()) {
                self.repeat_kept(exchange_id, id, stream);
            }
        }
    }

    /// Takes an exchange off its upstream stream and sends its request to another endpoint, or to
    /// the same one where there is no other, if the budget allows it; says whether it did.
    fn repeat_kept(&mut self, id: ExchangeId, from: ConnectionId, stream: StreamId) -> bool {
        let (random, now) = (self.random(), self.now);
        let Some(exchange) = self.exchanges.get_mut(id) else { return false };
        let Some((cluster, endpoint)) = exchange.target() else { return false };
        let is_kept = exchange.apart.as_ref().is_some_and(|it| it.kept.end.is_some());
        if !is_kept || exchange.progress.response_began || exchange.deadline <= now {
            return false;
        }
        let tries = exchange.retries;
        // What another worker asks for is this worker's to try at the same endpoint alone.
        let is_here = matches!(exchange.downstream, Peer::Local { .. });
        let other = match is_here {
            true => self.endpoints.pick_again(cluster, endpoint, tries, random, now),
            false => None,
        };
        if other.is_none() && !self.endpoints.try_again(cluster, tries, now) {
            return false;
        }
        let Some(parts) = exchange.apart.as_mut().and_then(|it| it.kept.take()) else {
            return false;
        };
        // Nobody is to see the head of an answer that was given up.
        exchange.take_answer();
        exchange.retries += 1;
        exchange.upstream = Upstream::None;
        exchange.quiet = 0;
        if let Some(other) = other {
            exchange.target = Some((cluster as u32, other as u32));
            self.endpoints.ended(cluster, endpoint);
            self.endpoints.began(cluster, other);
        }
        let counters = self.counters.cluster(cluster);
        counters.requests_active.decrement();
        counters.retries.increment();
        self.counters.endpoint(cluster, endpoint).requests_active.decrement();
        if let Some(connection) = self.connections.get_mut(from) {
            connection.part(stream);
        }
        self.send_again(id, parts);
        true
    }
}

impl Exchange {
    /// Keeps a further part of a request that is kept.
    pub(super) fn keep(&mut self, part: &Part<'_>) {
        if let Some(apart) = &mut self.apart {
            apart.kept.push(part);
        }
    }

    /// The answer begins: the request is not sent again.
    pub(super) fn forget_request(&mut self) {
        if let Some(apart) = &mut self.apart {
            apart.kept.forget();
        }
    }

    /// What is kept, as it stands in a snapshot.
    pub(super) fn kept_parts(&self) -> Vec<OwnedPart> {
        self.apart.as_ref().map_or(Vec::new(), |it| it.kept_parts())
    }
}

/// Copies a head into the memory of another one.
fn copy(from: &HttpRequest, to: &mut HttpRequest) {
    to.method = from.method.clone();
    to.authority.clone_from(&from.authority);
    to.path.clone_from(&from.path);
    to.fields.clear();
    from.fields.iter().for_each(|(name, value)| to.fields.push(name, value));
    to.body = from.body;
    to.expects_continue = from.expects_continue;
    to.upgrade.clone_from(&from.upgrade);
    to.takes_trailers = from.takes_trailers;
    to.version = from.version;
}

/// What ended exchanges had apart and is kept for the next, per worker: as much as many streams of
/// short requests need at once, some hundred KiB.
const SPARE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use hangu_codecs::{BodySize, Data, Method, Version};

    use super::*;

    fn head(method: Method) -> HttpRequest {
        let mut head = HttpRequest {
            method,
            authority: b"a.example".to_vec(),
            path: b"/path?query".to_vec(),
            body: BodySize::Sized(7),
            expects_continue: true,
            upgrade: b"websocket".to_vec(),
            takes_trailers: true,
            version: Version::Http2,
            ..HttpRequest::default()
        };
        head.fields.push(b"name", b"value");
        head.fields.push(b"gone", b"value");
        head.fields.remove(b"gone");
        head
    }

    #[test]
    fn a_copy_of_a_head_is_the_head_whatever_stood_there() {
        let mut copied = head(Method::Get);
        copied.fields.push(b"other", b"field");
        for whole in [head(Method::Other("LIST".to_owned())), HttpRequest::default()] {
            copy(&whole, &mut copied);
            let fields = |it: &HttpRequest| {
                it.fields.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect::<Vec<_>>()
            };
            assert_eq!(fields(&copied), fields(&whole));
            let without = |it: &HttpRequest| HttpRequest {
                fields: hangu_codecs::Fields::new(),
                ..it.clone()
            };
            assert_eq!(without(&copied), without(&whole));
        }
    }

    #[test]
    fn a_request_is_kept_as_long_as_its_body_is_short() {
        let mut kept = Kept::default();
        let piece = vec![b'x'; 16 * 1024];
        let data = |end| Part::Data(Data::Borrowed(&piece), end);
        kept.push(&data(End::No));
        assert!(kept.take().is_none(), "nothing was begun");
        kept.begin(&head(Method::Post), End::No);
        kept.push(&data(End::No));
        kept.push(&data(End::Yes));
        assert!(!kept.may_be_repeated());
        assert_eq!(kept.parts().len(), 3);
        assert_eq!(kept.take().expect("three parts").len(), 3);
        assert!(kept.take().is_none());
        kept.begin(&head(Method::Post), End::No);
        (0..5).for_each(|_| kept.push(&data(End::No)));
        assert!(kept.take().is_none());
        assert_eq!(kept.rest.len(), 0);
    }

    #[test]
    fn a_request_that_is_kept_comes_through_a_snapshot() {
        let mut kept = Kept::default();
        assert!(kept.parts().is_empty());
        kept.begin(&head(Method::Put), End::No);
        kept.push(&Part::Data(Data::Borrowed(b"body"), End::Yes));
        let mut again = Kept::thawed(kept.parts());
        assert_eq!(again.rest_bytes, kept.rest_bytes);
        assert_eq!(format!("{:?}", again.take()), format!("{:?}", kept.take()));
    }

    #[test]
    fn an_answer_that_is_held_back_comes_through_a_snapshot_with_its_request() {
        let mut apart = Apart::default();
        apart.kept.begin(&head(Method::Post), End::Yes);
        let without = apart.kept_parts();
        assert_eq!(without.len(), 1);
        let mut answer = hangu_codecs::HttpResponse { status: 200, ..Default::default() };
        answer.fields.push(b"name", b"value");
        apart.answer = Some(Box::new(answer));
        for (parts, is_held) in [(without, false), (apart.kept_parts(), true)] {
            let thawed = Apart::thawed(apart.withheld, parts, None).expect("what was kept");
            assert_eq!(thawed.kept.parts().len(), 1);
            assert_eq!(thawed.answer.is_some(), is_held);
            let expected = apart.answer.as_ref().filter(|_| is_held);
            assert_eq!(format!("{:?}", thawed.answer.as_ref()), format!("{expected:?}"));
        }
    }
}
