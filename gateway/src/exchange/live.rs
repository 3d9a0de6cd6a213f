//! A connection at work: the tasks that move its bytes, and what is done with them.
//!
//! A task waits for the input of each connection, and one task writes for all of them. They hold
//! ids and nothing else, and are restartable: all state stands in the [`Connection`]. The readers
//! that one wake-up made ready run before the writer that they wake, so that one write carries what
//! all of them had to say.
//!
//! [`Connection`]: crate::connection::Connection

use std::{
    future::{Future, poll_fn},
    io,
    net::Shutdown,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hangu_codecs::{
    Event, OpenError, Part, Protocol, Role, codec::Note, message::End, protocol::Sniffed,
};

use super::{Core, ExchangeId, Peer, Work, ending::Closed, is_exclusive, release::unless_released};
use crate::{
    clock,
    connection::{Blocked, ConnectionId, Side, State, Talk},
    io::Socket,
    telemetry::ReasonPlace,
};

/// Reads a connection until it ends. It waits without a buffer, so that an idle connection holds
/// none, and reads into the one buffer of the worker.
pub(super) async fn read_all(work: Rc<Work>, id: ConnectionId, socket: Rc<Socket>) {
    while poll_fn(|context| work.with(|core| core.poll_input(id, context))).await {
        // Whatever is wrong with the socket makes it readable, and reading tells what. An error
        // here is the driver's; waiting again at once would not end.
        let ready = {
            let mut ready = pin!(socket.readable());
            poll_fn(|context| match work.is_released() {
                true => Poll::Ready(None),
                false => ready.as_mut().poll(context).map(Some),
            })
            .await
        };
        match ready {
            None => return,
            Some(Ok(())) => guard(&work, id, |core| core.on_readable(id)),
            Some(Err(error)) => return guard(&work, id, |core| core.on_driver_failed(id, &error)),
        }
    }
}

/// Writes for all connections of a worker.
pub async fn write_all(work: Rc<Work>) {
    let has_some = |context: &mut Context<'_>| match work.is_released() {
        true => Poll::Ready(false),
        false => work.with(|core| core.outbox.poll(context)).map(|()| true),
    };
    while poll_fn(has_some).await {
        work.with(Core::write_batch);
    }
}

/// Waits until a stalled connection can be written again.
async fn resume_writing(work: Rc<Work>, id: ConnectionId, socket: Rc<Socket>) {
    match unless_released(&work, socket.writable()).await {
        None => {}
        Some(Ok(())) => work.with(|core| core.on_writable_again(id)),
        Some(Err(error)) => guard(&work, id, |core| core.on_driver_failed(id, &error)),
    }
}

/// Lets all other tasks that are ready have their turn.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs what a connection has to do. A panic costs that connection and no other.
fn guard(work: &Work, id: ConnectionId, step: impl FnOnce(&mut Core)) {
    let outcome = catch_unwind(AssertUnwindSafe(|| work.with(step)));
    if outcome.is_err() {
        work.with(|core| core.on_panic(id));
    }
}

impl Work {
    /// Does what a letter says. A panic costs what the letter was about, not the worker.
    pub fn read_letter(&self, letter: super::Letter) {
        let read = |core: &mut Core| {
            core.now = clock::now();
            core.on_letter(letter);
            core.work_off();
        };
        if catch_unwind(AssertUnwindSafe(|| self.with(read))).is_err() {
            self.with(|core| {
                core.counters.worker.panics.increment();
                if let Some(more) = core.panics_told.admit(core.now) {
                    tracing::error!(more, "a panic was caught while a letter was read");
                }
            });
        }
    }
}

impl Core {
    /// The driver cannot wait for the socket of a connection.
    fn on_driver_failed(&mut self, id: ConnectionId, error: &io::Error) {
        tracing::debug!(?id, %error, "the driver cannot wait for a connection");
        self.close(id, Closed::Lost);
        self.work_off();
    }

    fn on_writable_again(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.is_stalled = false;
        connection.wants_to_write(id, &mut self.outbox);
    }

    /// Whether to wait for input; false once no more comes.
    fn poll_input(&mut self, id: ConnectionId, context: &Context<'_>) -> Poll<bool> {
        let Some(connection) = self.connections.get_mut(id) else { return Poll::Ready(false) };
        if connection.input_ended {
            return Poll::Ready(false);
        }
        if connection.may_read() {
            connection.reader.remember(context);
            return Poll::Ready(true);
        }
        connection.reader.wait(context);
        Poll::Pending
    }

    /// Writes what all connections in the outbox have to say.
    pub(super) fn write_batch(&mut self) {
        self.now = clock::now();
        let mut batch = std::mem::take(&mut self.writing);
        self.outbox.take(&mut batch);
        // What asks for work goes before what tells of work done, so that upstreams work meanwhile.
        for asks in [true, false] {
            for id in &batch {
                let side = self.connections.get(*id).map(|it| it.side);
                if matches!(side, Some(Side::Upstream { .. })) == asks {
                    self.shelter(*id, |core| core.write(*id));
                }
            }
        }
        batch.clear();
        self.writing = batch;
        self.work_off();
    }

    fn write(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.is_queued = false;
        match connection.write() {
            Ok(bytes) => self.on_written(id, bytes),
            Err(error) => {
                tracing::trace!(?id, %error, "write failed");
                return self.close(id, Closed::Lost);
            }
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_stalled {
            let socket = Rc::clone(&connection.socket);
            if let Some(work) = self.this.upgrade() {
                monoio::spawn(resume_writing(work, id, socket));
            }
            return;
        }
        connection.rest(&mut self.outbox.buffers);
        if connection.state == State::Flushing {
            return self.on_flushed(id);
        }
        let says_no_more = connection.codec().is_some_and(|codec| codec.is_output_finished());
        if says_no_more && !connection.output_shut {
            connection.output_shut = true;
            connection.socket.shutdown(Shutdown::Write);
        }
    }

    /// All is written of a connection that was to be closed then.
    fn on_flushed(&mut self, id: ConnectionId) {
        let until = self.now.after(LINGER);
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_client = matches!(connection.side, Side::Downstream { .. });
        if connection.input_ended || !is_client {
            return self.close(id, Closed::Done);
        }
        connection.state = State::Lingering { until };
        connection.input.clear();
        connection.socket.shutdown(Shutdown::Write);
        connection.reader.notify();
        self.set_timer(id);
    }

    /// Reads what the peer has sent, unless something has come up meanwhile that forbids it.
    fn on_readable(&mut self, id: ConnectionId) {
        self.now = clock::now();
        let room_max = self.read_room(id);
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.may_read() {
            return;
        }
        let (read, own) = connection.read(&mut self.read_buffer, room_max);
        match read {
            Ok(bytes) => self.on_read(id, bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::trace!(?id, %error, "read failed");
                connection.input_ended = true;
                self.close(id, Closed::Lost);
            }
        }
        if let Some(connection) = self.connections.get_mut(id) {
            if let Some(own) = own {
                self.read_buffer = connection.give_back(own);
            }
            connection.rest(&mut self.outbox.buffers);
        }
        self.work_off();
    }

    /// How much of a connection is to be read at once: of an upstream whose answer goes to a stream
    /// with a window of its own, about as much as that takes, for the rest would wait here.
    fn read_room(&self, id: ConnectionId) -> usize {
        let capacity = || {
            let connection = self.connections.get(id)?;
            let is_upstream = matches!(connection.side, Side::Upstream { .. });
            if !is_upstream || !connection.protocol().is_some_and(is_exclusive) {
                return None;
            }
            let slot = connection.exchanges.first().copied().flatten()?;
            let exchange = ExchangeId::new(slot.exchange.0, slot.exchange.1);
            let Peer::Local { connection, stream } = self.exchanges.get(exchange)?.downstream
            else {
                return None;
            };
            match &self.connections.get(connection)?.talk {
                Talk::Known { protocol, codec } if !is_exclusive(protocol) => {
                    Some(codec.capacity(stream))
                }
                Talk::Known { .. } | Talk::Unknown => None,
            }
        };
        capacity().map_or(usize::MAX, |it| it.max(STALLED_READ_BYTES))
    }

    /// `bytes` were read, and stand at the end of the connection's input.
    fn on_read(&mut self, id: ConnectionId, bytes: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        if matches!(connection.state, State::Flushing | State::Lingering { .. }) {
            connection.input.clear();
        }
        if bytes == 0 {
            return self.on_input_end(id);
        }
        connection.renew(now);
        connection.bytes_received += bytes as u64;
        match connection.side {
            Side::Downstream { listener } => {
                self.counters.listener(listener).bytes_received.add(bytes as u64);
            }
            Side::Upstream { cluster, .. } => {
                if let Some(kept) = &mut connection.repeatable {
                    kept.clear();
                }
                self.counters.cluster(cluster).bytes_received.add(bytes as u64);
            }
        }
        self.decode(id);
    }

    /// The peer sends no more.
    fn on_input_end(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.input_ended = true;
        if connection.state != State::Open {
            if matches!(connection.state, State::Lingering { .. }) {
                self.close(id, Closed::Done);
            }
            return;
        }
        let Some(codec) = connection.codec() else { return self.close(id, Closed::Lost) };
        codec.end_input();
        self.decode(id);
        // Whoever sends no more while it is owed an answer is taken to be gone, as a closed
        // socket looks the same from here; tunnels end each way on their own.
        if self.connections.get(id).is_some_and(|it| it.state == State::Open)
            && !self.is_tunnelling(id)
        {
            self.close(id, Closed::Lost);
        }
    }

    fn is_tunnelling(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get(id) else { return false };
        let mut joined = connection.exchanges.iter().flatten();
        joined.any(|slot| {
            let exchange = ExchangeId::new(slot.exchange.0, slot.exchange.1);
            self.exchanges.get(exchange).is_some_and(|it| it.progress.is_tunnel)
        })
    }

    fn on_written(&mut self, id: ConnectionId, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.renew(now);
        connection.bytes_sent += bytes as u64;
        match connection.side {
            Side::Downstream { listener } => {
                self.counters.listener(listener).bytes_sent.add(bytes as u64);
            }
            Side::Upstream { cluster, .. } => {
                self.counters.cluster(cluster).bytes_sent.add(bytes as u64);
            }
        }
        let is_awaited = connection.withholds || !connection.blocking.is_empty();
        if is_awaited && connection.unsent_bytes() <= UNSENT_LOW {
            self.on_drained(id);
            self.unblock_readers(id);
        }
    }

    pub(super) fn unblock_readers(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        for reader in std::mem::take(&mut connection.blocking) {
            self.unblock(reader, Blocked::Output(id));
        }
    }

    /// Lets a connection be read again, if it was this that stopped it.
    pub(super) fn unblock(&mut self, id: ConnectionId, by: Blocked) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.blocked == Some(by) {
            connection.blocked = None;
            self.resume.push(id);
        }
    }

    /// Decodes what waits on connections that may go on, and gives freed upstream connections to
    /// whom they are due, until nothing is left to do.
    pub(crate) fn work_off(&mut self) {
        loop {
            if let Some(id) = self.freed.pop() {
                self.shelter(id, |core| core.offer(id));
            } else if let Some(id) = self.resume.pop() {
                self.shelter(id, |core| core.decode(id));
            } else {
                return;
            }
        }
    }

    /// Decodes all that was read of a connection and acts on it.
    fn decode(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.state != State::Open {
            return;
        }
        if matches!(connection.talk, Talk::Unknown) && !self.identify(id) {
            return self.wait_for_more(id);
        }
        if self.hold_back_asker(id) {
            return self.set_timer(id);
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        let mut input = std::mem::take(&mut connection.input);
        let mut scratch = self.scratch.take().unwrap_or_default();
        let mut has_decoded = false;
        while let Some(connection) = self.connections.get_mut(id) {
            if connection.state != State::Open || connection.blocked.is_some() {
                break;
            }
            let side = connection.side;
            let Talk::Known { codec, .. } = &mut connection.talk else { break };
            // Looked at where it is: an event is large beside what is done with it.
            let mut decoded = codec.decode(&mut input, &mut scratch, self.now);
            match &mut decoded {
                Ok(None) => break,
                Ok(Some(event)) => {
                    self.on_event(id, side, event);
                    has_decoded = true;
                }
                Err(error) => {
                    self.on_error(id, *error);
                    break;
                }
            }
        }
        self.scratch = Some(scratch);
        if has_decoded {
            self.say_goodbye_late(id);
        }
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.input = input;
        // What we do not read now cannot be late.
        let is_partial = connection.in_flight() == 0
            && !connection.input.is_empty()
            && connection.blocked.is_none();
        // What is partial after a whole one is another head than the one that was partial before.
        let since = connection.head_since.filter(|_| !has_decoded);
        connection.head_since = is_partial.then(|| since.unwrap_or(now));
        // The codec itself may have something to say (a heartbeat's answer).
        if connection.codec().is_some_and(|codec| !codec.output().is_empty()) {
            connection.wants_to_write(id, &mut self.outbox);
        }
        if connection.may_read() {
            connection.reader.notify();
        }
        if has_decoded && connection.has_windows() {
            self.offer_if_awaited(id);
        }
        self.settle(id);
        self.set_timer(id);
    }

    /// An upstream connection may have come to take more streams by what it said (RFC 9113 §6.5.2):
    /// gives it to those who wait.
    fn offer_if_awaited(&mut self, id: ConnectionId) {
        let side = self.connections.get(id).map(|it| it.side);
        let Some(Side::Upstream { cluster, endpoint }) = side else { return };
        if self.endpoints.pool(cluster, endpoint).is_some_and(|it| it.is_awaited_of(id)) {
            self.freed.push(id);
        }
    }

    /// The first bytes have not told yet what is spoken: the rest must come in time.
    fn wait_for_more(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.head_since.get_or_insert(now);
        self.set_timer(id);
    }

    /// Finds out what is spoken on a connection; false while that is not known.
    fn identify(&mut self, id: ConnectionId) -> bool {
        let snapshot = Rc::clone(&self.snapshot);
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let Side::Downstream { listener } = connection.side else { return false };
        let sniffed = match snapshot.protocols(listener) {
            // Nothing to find out; what is not of the protocol is refused in its words.
            [only] => Sniffed::Protocol(only),
            several => Protocol::sniff(several, &connection.input),
        };
        match sniffed {
            Sniffed::Protocol(protocol) => {
                let limits = snapshot.downstream_limits(listener);
                let codec = (protocol.codec)(Role::Server, limits, self.now);
                connection.talk = Talk::Known { protocol, codec };
                true
            }
            Sniffed::More => false,
            Sniffed::None => {
                self.counters.error(ReasonPlace::Downstream(listener), "unknown_protocol");
                self.close(id, Closed::Done);
                false
            }
        }
    }

    fn on_event(&mut self, id: ConnectionId, side: Side, event: &mut Event<'_>) {
        match (event, side) {
            (Event::Part(stream, part @ Part::Head(..)), Side::Downstream { listener }) => {
                self.begin(listener, id, *stream, part);
            }
            (Event::Part(stream, part), Side::Downstream { .. }) => {
                self.forward_request(id, *stream, part);
            }
            (Event::Part(stream, part), Side::Upstream { .. }) => {
                self.forward_response(id, *stream, part);
            }
            (Event::Writable(stream), _) => self.on_writable(id, *stream),
            (Event::GoAway, Side::Upstream { cluster, endpoint }) => {
                if let Some(pool) = self.endpoints.pool(cluster, endpoint) {
                    pool.withdraw(id);
                }
                // Who waited for a stream of it needs another one.
                self.dial_for_waiting(cluster, endpoint);
            }
            (Event::GoAway, Side::Downstream { .. }) => {}
            (Event::Note(note), side) => self.on_note(side, *note),
        }
    }

    fn on_note(&mut self, side: Side, note: Note) {
        match (side, note) {
            (Side::Downstream { listener }, Note::HeartbeatReceived) => {
                self.counters.listener(listener).heartbeats.increment();
            }
            (Side::Upstream { cluster, .. }, Note::HeartbeatAnswered) => {
                self.counters.cluster(cluster).heartbeats.increment();
            }
            (Side::Upstream { cluster, .. }, Note::LateResponse) => {
                self.counters.cluster(cluster).late_responses.increment();
            }
            (Side::Upstream { cluster, .. }, Note::RequestFromServer) => {
                self.counters.error(ReasonPlace::Upstream(cluster), "request_from_server");
            }
            (Side::Upstream { cluster, .. }, Note::UnknownResponse) => {
                self.counters.cluster(cluster).unknown_responses.increment();
            }
            (Side::Downstream { listener }, Note::StreamError(reason)) => {
                self.counters.error(ReasonPlace::Downstream(listener), reason);
            }
            (Side::Upstream { cluster, .. }, Note::StreamError(reason)) => {
                self.counters.error(ReasonPlace::Upstream(cluster), reason);
            }
            // The other combinations need no counter: an upstream may send heartbeats too.
            (Side::Upstream { .. }, Note::HeartbeatReceived)
            | (
                Side::Downstream { .. },
                Note::HeartbeatAnswered
                | Note::LateResponse
                | Note::UnknownResponse
                | Note::RequestFromServer,
            ) => {}
        }
    }

    /// Gives an upstream connection that takes streams to those who wait, or to the pool.
    pub(super) fn offer(&mut self, id: ConnectionId) {
        loop {
            let Some(connection) = self.connections.get_mut(id) else { return };
            let Side::Upstream { cluster, endpoint } = connection.side else { return };
            if connection.state != State::Open {
                return;
            }
            let Talk::Known { protocol, codec } = &mut connection.talk else { return };
            let is_wanted = self.endpoints.takes_requests(cluster, endpoint);
            let Some(pool) = self.endpoints.pool(cluster, endpoint) else { return };
            if pool.waiting() == 0 {
                if codec.in_flight() == 0 && !is_wanted {
                    return self.close(id, Closed::Done);
                }
                pool.offer(protocol.pooling, id);
                return self.set_timer(id);
            }
            let is_exclusive = is_exclusive(protocol);
            let stream = match codec.open() {
                Ok(stream) => stream,
                Err(OpenError::Full) => {
                    pool.fill(id);
                    return self.dial_for_waiting(cluster, endpoint);
                }
                Err(OpenError::Closing) => {
                    pool.withdraw(id);
                    self.leave_unused(id);
                    return self.dial_for_waiting(cluster, endpoint);
                }
            };
            let Some((index, generation)) = pool.next_waiting() else { return };
            self.serve(ExchangeId::new(index, generation), id, stream);
            if is_exclusive {
                return;
            }
        }
    }

    fn on_panic(&mut self, id: ConnectionId) {
        self.tell_panic(id);
        self.close(id, Closed::Broken("panic"));
        self.work_off();
    }

    fn tell_panic(&mut self, id: ConnectionId) {
        self.counters.worker.panics.increment();
        if let Some(more) = self.panics_told.admit(self.now) {
            tracing::error!(?id, more, "a panic was caught; its connection is closed");
        }
    }

    /// Lets a connection do a step that another one, a dial or a timer brought about. A panic
    /// costs the connection whose step it is, not the one that came before, nor the worker.
    pub(super) fn shelter(&mut self, id: ConnectionId, step: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| step(self))).is_err() {
            self.tell_panic(id);
            self.close(id, Closed::Broken("panic"));
        }
    }
}

/// An answer whose receiver takes nothing is read this far: its head is, and a receiver that takes
/// little gets it in pieces that are worth a read.
const STALLED_READ_BYTES: usize = 16 * 1024;

/// A client is read for this long at most after the last words to it.
const LINGER: Duration = Duration::from_secs(2);

/// Readers that a connection's unsent output stopped go on when no more than this is left, and
/// credit that was withheld for it is given.
pub(super) const UNSENT_LOW: usize = 64 * 1024;

/// Whether `end` is the end of its direction.
pub(super) fn is_end(end: End) -> bool {
    end == End::Yes
}
