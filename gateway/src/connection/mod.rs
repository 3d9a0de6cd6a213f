//! One live connection of either side, as a value, and the worker's slab of them.
//!
//! All that a connection is, apart from its descriptor, stands in [`Connection`]: the state of its
//! codec, unread input, unsent output, which exchange each stream belongs to, and the instants at
//! which something is due. Its tasks keep nothing across an `await` but the buffer that they lent
//! to the kernel, so the value can be frozen whenever no operation is in flight.

mod buffers;
mod load;
mod outbox;
mod slab;

pub use buffers::Buffers;
pub use load::{Admitted, Load};
pub use outbox::Outbox;
pub use slab::{Id, Slab};

use std::{io, net::SocketAddr, rc::Rc};

use bytes::BytesMut;
use hangu_codecs::{
    Codec, EncodeError, Part, Protocol, StreamId, Time,
    message::End,
    protocol::{Kind, Pooling},
};

use crate::io::{Signal, Socket};

/// Names a connection of this worker; refuses what was meant for an earlier one in its place.
pub type ConnectionId = Id<Connection>;

/// A live connection.
pub struct Connection {
    /// Whose it is.
    pub side: Side,
    /// The peer.
    pub peer: SocketAddr,
    /// The peer's IP address as text, for the heads of requests.
    pub peer_text: Box<[u8]>,
    /// The descriptor, shared with the tasks that read and write it.
    pub socket: Rc<Socket>,
    /// What is spoken on it.
    pub talk: Talk,
    /// What is to become of it.
    pub state: State,
    /// Read and not yet decoded.
    pub input: BytesMut,
    /// Capacity of the next read.
    pub read_bytes: u32,
    /// The exchange of each stream, by slot.
    pub exchanges: Vec<Option<StreamSlot>>,
    /// What stops this one from being read.
    pub blocked: Option<Blocked>,
    /// Connections that this one's unsent output stops from being read.
    pub blocking: Vec<ConnectionId>,
    /// Whether senders wait for their credit until this one's unsent output is written.
    pub withholds: bool,
    /// The peer sends no more.
    pub input_ended: bool,
    /// The peer was told that no more comes (one way of a tunnel).
    pub output_shut: bool,
    /// Whether it stands in the outbox.
    pub is_queued: bool,
    /// Whether the kernel takes no more of its output at the moment.
    pub is_stalled: bool,
    /// Wakes the task that reads.
    pub reader: Signal,
    /// When something was last read or written.
    pub active_at: Time,
    /// Since when a request head is incomplete.
    pub head_since: Option<Time>,
    /// When the timer that is set for this connection goes off.
    pub timer_at: Time,
    /// When it was accepted or established.
    pub since: Time,
    /// Bytes read.
    pub bytes_received: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// What it had carried when that was last looked at.
    pub bytes_marked: u64,
    /// The request that is in flight, if it may be repeated when this connection turns out to have
    /// been closed before it came; empty again once a byte of the answer came.
    pub repeatable: Option<Box<Vec<u8>>>,
    /// What a process that waits to take over has of it.
    pub passed: Passed,
    /// The output that it has: how many bytes went before it, and its own.
    pub passed_output: (u64, u64),
}

/// What a process that waits to take over has of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passed {
    /// Nothing.
    #[default]
    No,
    /// Its descriptor.
    Descriptor,
    /// Its descriptor, and its value as it is.
    Value,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client's, accepted on a listener.
    Downstream {
        /// Index of the listener.
        listener: usize,
    },
    /// Ours to an endpoint.
    Upstream {
        /// Index of the cluster.
        cluster: usize,
        /// Index of the endpoint in its cluster.
        endpoint: usize,
    },
}

/// What is spoken on a connection.
pub enum Talk {
    /// The first bytes have not told yet.
    Unknown,
    /// This protocol, with the state of its codec.
    Known {
        /// The protocol.
        protocol: &'static Protocol,
        /// Its codec.
        codec: Box<dyn Codec>,
    },
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is read, decoded and written.
    Open,
    /// It is closed when its output is written; nothing is decoded any more.
    Flushing,
    /// All is written and said to be the last; what still comes is read and dropped, so that the
    /// kernel does not cut off the last words with a reset, until the peer closes or this instant.
    Lingering {
        /// The latest end.
        until: Time,
    },
}

/// What stops a connection from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The unsent output of this connection.
    Output(ConnectionId),
    /// Its exchange waits for an upstream connection and holds as much as it may.
    Waiting,
    /// The stream that the parts of its exchange go to takes no more: the peer's window is shut, or
    /// another worker has not said yet that they were taken. Only of connections that carry one
    /// stream at a time.
    Stream,
}

/// What became of a part that was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that the connection has not written yet.
    pub unsent: usize,
    /// Whether the stream takes more data; false where data waits for the peer's window and more
    /// is to follow.
    pub takes_more: bool,
}

/// An exchange that a stream belongs to.
#[derive(Clone, Copy, Debug)]
pub struct StreamSlot {
    /// Generation of the stream in its slot.
    pub generation: u32,
    /// The exchange: index and generation in the worker's slab.
    pub exchange: (u32, u32),
}

impl Connection {
    /// A connection that was just accepted or established.
    pub fn new(side: Side, peer: SocketAddr, socket: Socket, talk: Talk, now: Time) -> Self {
        Self {
            side,
            peer,
            peer_text: peer.ip().to_string().into_bytes().into(),
            socket: Rc::new(socket),
            talk,
            state: State::Open,
            input: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            exchanges: Vec::new(),
            blocked: None,
            blocking: Vec::new(),
            withholds: false,
            input_ended: false,
            output_shut: false,
            is_queued: false,
            is_stalled: false,
            reader: Signal::default(),
            active_at: now,
            head_since: None,
            timer_at: Time::from_micros(u64::MAX),
            since: now,
            bytes_received: 0,
            bytes_sent: 0,
            bytes_marked: 0,
            repeatable: None,
            passed: Passed::No,
            passed_output: (0, 0),
        }
    }

    /// The codec, once the protocol is known; it may be changed.
    pub fn codec(&mut self) -> Option<&mut dyn Codec> {
        self.touch();
        match &mut self.talk {
            Talk::Unknown => None,
            Talk::Known { codec, .. } => Some(codec.as_mut()),
        }
    }

    /// The protocol, once it is known.
    pub fn protocol(&self) -> Option<&'static Protocol> {
        match &self.talk {
            Talk::Unknown => None,
            Talk::Known { protocol, .. } => Some(protocol),
        }
    }

    /// Whether its peer sends no more data of a stream than it is given credit for, and gives
    /// credit itself.
    pub fn has_windows(&self) -> bool {
        self.protocol().is_some_and(has_windows)
    }

    /// Whether it carries one stream at a time.
    pub fn is_exclusive(&self) -> bool {
        self.protocol().is_some_and(|it| it.pooling == Pooling::Exclusive)
    }

    /// Whether it carries many streams without windows: nothing but the whole connection can be
    /// held back.
    pub fn carries_many_rpc(&self) -> bool {
        self.protocol().is_some_and(|it| it.pooling == Pooling::Multiplexed && !has_windows(it))
    }

    /// Whether a stream takes data now; true where there are no windows.
    pub fn takes_data(&self, stream: StreamId) -> bool {
        match &self.talk {
            Talk::Known { protocol, codec } if has_windows(protocol) => codec.capacity(stream) > 0,
            Talk::Known { .. } | Talk::Unknown => true,
        }
    }

    /// Its value changes: what was passed of it does not hold any more.
    fn touch(&mut self) {
        if self.passed == Passed::Value {
            self.passed = Passed::Descriptor;
        }
    }

    /// Whether nothing is under way on it, so that its value may well stay what it is.
    pub fn is_at_rest(&self) -> bool {
        self.state == State::Open
            && self.in_flight() == 0
            && self.input.is_empty()
            && self.blocked.is_none()
            && self.blocking.is_empty()
            && self.head_since.is_none()
            && self.exchanges.iter().all(Option::is_none)
            && !(self.input_ended || self.output_shut || self.is_queued || self.is_stalled)
            && !self.withholds
    }

    /// Bytes of both directions.
    pub fn bytes_carried(&self) -> u64 {
        self.bytes_received.saturating_add(self.bytes_sent)
    }

    /// Streams that have not ended.
    pub fn in_flight(&self) -> usize {
        match &self.talk {
            Talk::Unknown => 0,
            Talk::Known { codec, .. } => codec.in_flight(),
        }
    }

    /// Whether an open connection has come to its end.
    pub fn is_finished(&self) -> bool {
        match &self.talk {
            Talk::Unknown => false,
            Talk::Known { codec, .. } => self.state == State::Open && codec.is_finished(),
        }
    }

    /// Something moved. An upstream's heartbeats do not count: without a stream it is idle.
    pub fn renew(&mut self, now: Time) {
        if matches!(self.side, Side::Downstream { .. }) || self.in_flight() > 0 {
            self.active_at = now;
        }
    }

    /// Bytes that the peer has not taken yet.
    pub fn unsent_bytes(&mut self) -> usize {
        match &mut self.talk {
            Talk::Unknown => 0,
            Talk::Known { codec, .. } => codec.output().len(),
        }
    }

    /// Joins a stream to an exchange.
    pub fn join(&mut self, stream: StreamId, exchange: (u32, u32)) {
        self.touch();
        let index = stream.slot as usize;
        // No codec gives so many; a damaged snapshot may.
        if index >= SLOTS_CEILING {
            return;
        }
        if self.exchanges.len() <= index {
            let places = index.saturating_add(1).next_power_of_two();
            self.exchanges.resize(places, None);
        }
        if let Some(slot) = self.exchanges.get_mut(index) {
            *slot = Some(StreamSlot { generation: stream.generation, exchange });
        }
    }

    /// The exchange of a stream.
    pub fn exchange(&self, stream: StreamId) -> Option<(u32, u32)> {
        let slot = (*self.exchanges.get(stream.slot as usize)?)?;
        (slot.generation == stream.generation).then_some(slot.exchange)
    }

    /// All streams that belong to an exchange.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, (u32, u32))> + '_ {
        let slots = self.exchanges.iter().zip(0..);
        slots.filter_map(|(slot, index)| {
            let StreamSlot { generation, exchange } = (*slot)?;
            Some((StreamId { slot: index, generation }, exchange))
        })
    }

    /// Takes a stream apart from its exchange.
    pub fn part(&mut self, stream: StreamId) {
        let Some(place) = self.exchanges.get_mut(stream.slot as usize) else { return };
        if place.is_some_and(|slot| slot.generation == stream.generation) {
            *place = None;
        }
    }

    /// Whether the reader may read: nothing holds it back, or it only watches for the peer to
    /// leave while little is parked.
    pub fn may_read(&self) -> bool {
        match self.state {
            State::Flushing => false,
            State::Lingering { .. } => true,
            State::Open if self.blocked.is_some() => false,
            State::Open => match &self.talk {
                Talk::Unknown => true,
                Talk::Known { codec, .. } => {
                    codec.wants_input() || self.input.len() < PARKED_BYTES_MAX
                }
            },
        }
    }

    /// Reads what the peer has sent behind the input that is not decoded yet. Little input is
    /// moved into `lent` for that: then it is the connection's memory that comes back, for
    /// [`Connection::give_back`]. At most `room_max` bytes are read.
    ///
    /// # Errors
    /// The system's; `WouldBlock` if nothing is there.
    pub fn read(
        &mut self,
        lent: &mut BytesMut,
        room_max: usize,
    ) -> (io::Result<usize>, Option<BytesMut>) {
        self.touch();
        // Parked input waits for a stream to end: it is read only to see whether the peer leaves.
        let is_parked = match &self.talk {
            Talk::Unknown => false,
            Talk::Known { codec, .. } => !codec.wants_input(),
        };
        let room = if is_parked { PARKED_BYTES_MAX } else { self.read_bytes as usize };
        let room = room.min(room_max);
        let mut own = None;
        if self.input.len() <= COPIED_BYTES_MAX {
            let mut lent = std::mem::take(lent);
            lent.clear();
            lent.reserve(self.input.len() + room);
            lent.extend_from_slice(&self.input);
            own = Some(std::mem::replace(&mut self.input, lent));
        }
        let read = self.socket.read_now(&mut self.input, room);
        if let Ok(bytes) = &read {
            self.learn_read(*bytes, room);
        }
        (read, own)
    }

    /// Gives back what was lent for [`Connection::read`]; what is left in it moves to `own`.
    pub fn give_back(&mut self, mut own: BytesMut) -> BytesMut {
        if self.input.len() >= HANDED_OVER_BYTES_MIN {
            return BytesMut::new();
        }
        own.clear();
        own.extend_from_slice(&self.input);
        std::mem::replace(&mut self.input, own)
    }

    /// Learns from a read of `bytes` into room for `room` how large the next should be.
    fn learn_read(&mut self, bytes: usize, room: usize) {
        if bytes == room {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if bytes < room / 8 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
    }

    /// Encodes a part into the output of the connection `id`, which this one is; says what became
    /// of it.
    ///
    /// # Errors
    /// The codec's; one that has no codec yet takes no part.
    pub fn encode(
        &mut self,
        id: ConnectionId,
        stream: StreamId,
        part: &Part<'_>,
        outbox: &mut Outbox,
    ) -> Result<Sent, EncodeError> {
        let Talk::Known { protocol, codec } = &mut self.talk else {
            return Err(EncodeError::UnknownStream);
        };
        // What is queued already has its buffer.
        if !self.is_queued {
            let tail = codec.output().tail();
            if tail.capacity() == 0 {
                *tail = outbox.buffers.lend();
            }
        }
        let encoded = codec.encode(stream, part);
        let is_limited = matches!(part, Part::Data(_, End::No)) && has_windows(protocol);
        let takes_more = !is_limited || codec.capacity(stream) > 0;
        let unsent = codec.output().len();
        self.wants_to_write(id, outbox);
        encoded.map(|()| Sent { unsent, takes_more })
    }

    /// Gives the peer of the connection `id`, which this one is, credit for so many bytes of data
    /// that it sent on a stream.
    pub fn release(
        &mut self,
        id: ConnectionId,
        stream: StreamId,
        bytes: usize,
        outbox: &mut Outbox,
    ) {
        if self.state != State::Open || !self.has_windows() {
            return;
        }
        let Some(codec) = self.codec() else { return };
        codec.release(stream, bytes);
        if !codec.output().is_empty() {
            self.wants_to_write(id, outbox);
        }
    }

    /// There is something to write, or to do when all is written, on the connection `id`, which
    /// this one is.
    pub fn wants_to_write(&mut self, id: ConnectionId, outbox: &mut Outbox) {
        self.touch();
        if !self.is_queued && !self.is_stalled {
            self.is_queued = true;
            outbox.add(id);
        }
    }

    /// Keeps what is about to be written, so that it can be repeated.
    pub fn keep_repeatable(&mut self) {
        let kept = self.repeatable.get_or_insert_default();
        kept.clear();
        if let Talk::Known { codec, .. } = &mut self.talk
            && codec.output().len() <= REPEATABLE_BYTES_MAX
        {
            codec.output().pieces().for_each(|it| kept.extend_from_slice(it));
        }
    }

    /// Writes as much of the output as the kernel takes; says how many bytes went.
    ///
    /// # Errors
    /// The system's. That the kernel takes no more is none: the connection is stalled then.
    pub fn write(&mut self) -> io::Result<usize> {
        let Talk::Known { codec, .. } = &mut self.talk else { return Ok(0) };
        let output = codec.output();
        let mut written = 0;
        while !output.is_empty() {
            match self.socket.write_now(output.pieces()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    output.advance(bytes);
                    written += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_stalled = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if output.is_empty() && output.tail().capacity() > OUTPUT_BYTES_KEPT {
            *output.tail() = BytesMut::new();
        }
        Ok(written)
    }

    /// Gives back what memory the connection holds, if nothing is in flight and all is written.
    pub fn rest(&mut self, buffers: &mut Buffers) {
        let Talk::Known { codec, .. } = &mut self.talk else { return };
        if codec.in_flight() > 0 || !codec.output().is_empty() {
            return;
        }
        let output = codec.output();
        buffers.take_back(std::mem::take(output.tail()));
        output.shrink();
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.exchanges.len() > EXCHANGES_KEPT {
            self.exchanges = Vec::new();
        }
    }
}

/// Whether a protocol limits how much data of a stream may be under way (HTTP/2): HTTP on
/// connections that carry many streams.
fn has_windows(protocol: &Protocol) -> bool {
    protocol.pooling == Pooling::Multiplexed && protocol.kind == Kind::Http
}

/// Slots of streams of one connection: several times as many as any limit allows.
const SLOTS_CEILING: usize = 1 << 20;

/// Longer requests are not kept to be repeated; heads have some hundred bytes.
const REPEATABLE_BYTES_MAX: usize = 4 * 1024;

/// Room of the first reads. They fill the one buffer of the worker, so a large one costs a
/// connection nothing, and takes what many requests sent at once.
const READ_BYTES_MIN: u32 = 64 * 1024;

/// Room of the largest read. Reads double while they come back full: large bodies then pass in
/// few and large kernel calls, and in pieces that need not be copied.
const READ_BYTES_MAX: u32 = 256 * 1024;

/// Undecoded input up to here moves into the lent buffer before a read and out of it after; more
/// is read on where it is, so that a large frame that comes in small pieces is not moved again
/// and again.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// As much undecoded input keeps the buffer that it was read into; less is moved out of it.
const HANDED_OVER_BYTES_MIN: usize = 64 * 1024;

/// A written buffer larger than this is given back to the allocator. As much as a connection holds
/// unsent before it holds others back: a shared upstream under load writes that much at once, and
/// would otherwise grow a new buffer each time.
const OUTPUT_BYTES_KEPT: usize = 1024 * 1024;

/// Places for exchanges that a connection without any keeps: what a client that asks 32 things at
/// once needs, in 1 KiB. Places are taken in turn, twice as many as requests are in flight.
const EXCHANGES_KEPT: usize = 64;

/// Input that may be parked behind a stream that must end first, while the connection is still
/// read to see whether its peer leaves.
const PARKED_BYTES_MAX: usize = 4 * 1024;
