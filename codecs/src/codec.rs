//! The trait of a protocol.

use bytes::{Bytes, BytesMut};

use crate::{Fields, Frozen, HttpRequest, HttpResponse, Output, Part, Status, StreamId, Time};

/// One side of one connection of one protocol, as a state machine without IO.
///
/// # How it is driven
/// The owner of the socket appends what it reads to an input buffer and calls [`Codec::decode`]
/// until it gives `None`; it passes each part to the codec of the stream's other side by
/// [`Codec::encode`]; and when all that was read is decoded it writes what stands in
/// [`Codec::output`], all at once. After an `Err` nothing is decoded any more: [`Codec::refuse`]
/// says the protocol's last words, and the connection is closed when they are written.
///
/// # What every implementation holds
/// * Events do not depend on how the input was cut.
/// * Freeze and thaw at any point between two calls change no later event and no later byte.
/// * No input panics, recurses without bound, or makes it hold more than [`crate::Limits`] allow;
///   a declared length allocates nothing.
/// * A part that does not fit the state of its stream is an [`EncodeError`], never a broken frame.
pub trait Codec {
    /// Takes what it can from the front of `input`.
    ///
    /// The event borrows `input` and `scratch`, not the codec, so that the caller may answer at
    /// once. What the event borrowed is taken off the input by the next call. `None` means that
    /// more input is needed, or that nothing can be taken now ([`Codec::wants_input`] is false).
    ///
    /// # Errors
    /// The peer broke the protocol or a limit; see [`Error`].
    fn decode<'a>(
        &mut self,
        input: &'a mut BytesMut,
        scratch: &'a mut Scratch,
        now: Time,
    ) -> Result<Option<Event<'a>>, Error>;

    /// The peer will send no more. The next calls of [`Codec::decode`] give what follows from that:
    /// the end of a body that lasts until close, or an error when something was cut off.
    fn end_input(&mut self);

    /// Whether to read more. False while a limit is reached or the current request must be
    /// answered first; unread input then waits.
    fn wants_input(&self) -> bool;

    /// Gives back received bytes of a stream, once its other side took them (HTTP/2:
    /// WINDOW_UPDATE). Protocols without windows do nothing.
    fn release(&mut self, stream: StreamId, bytes: usize);

    /// Client role: a new stream, to be begun by encoding a request head.
    ///
    /// # Errors
    /// [`OpenError::Full`] when all streams are in use, [`OpenError::Closing`] when no stream will
    /// ever be opened again. Server role: always `Closing`.
    fn open(&mut self) -> Result<StreamId, OpenError>;

    /// Bytes of data that the stream takes now without queueing them. Protocols without windows
    /// answer `usize::MAX` while the stream is open.
    fn capacity(&self, stream: StreamId) -> usize;

    /// Appends one part of a stream to the output: copies what it needs of it, but for large pieces
    /// that are shared. A [`Part::Reset`] gives the stream up: a
    /// protocol without a word for it forgets the stream or ends the connection
    /// ([`Codec::is_finished`]).
    ///
    /// # Errors
    /// The part does not fit; nothing was written. See [`EncodeError`].
    fn encode(&mut self, stream: StreamId, part: &Part<'_>) -> Result<(), EncodeError>;

    /// Server role: answers a stream that has no response yet in the protocol's own terms, and
    /// ends it. Does nothing for a stream that is gone or whose response has begun.
    fn reply(&mut self, stream: StreamId, status: Status);

    /// Server role, after `decode` failed: says what the protocol has to say of the error (an
    /// HTTP 400, an HTTP/2 GOAWAY, nothing in Bolt).
    fn refuse(&mut self, error: &Error);

    /// Bytes that are to be sent.
    fn output(&mut self) -> &mut Output;

    /// When [`Codec::timeout`] is to be called next; the earliest of all timers of the protocol's
    /// own (heartbeats, pings).
    fn next_timeout(&self) -> Option<Time>;

    /// Time has come to be `now`; sends heartbeats and notices a dead peer.
    ///
    /// # Errors
    /// The peer is dead: the connection is to be closed.
    fn timeout(&mut self, now: Time) -> Result<(), Error>;

    /// Takes no new streams and says so where the protocol has a word for it.
    fn drain(&mut self);

    /// Whether [`Codec::drain`] has begun a goodbye that takes a while, in which requests that were
    /// under way may still come: the connection is to be kept until it is finished.
    fn is_parting(&self) -> bool {
        false
    }

    /// Streams that have not ended.
    fn in_flight(&self) -> usize;

    /// Whether nothing more will come of this connection: close it when the output is written.
    fn is_finished(&self) -> bool;

    /// Whether nothing will be written after the output that is pending, though input may still
    /// come: shut down the writing side when the output is written. So a tunnel passes on the end
    /// of one direction while the other lasts.
    fn is_output_finished(&self) -> bool {
        self.is_finished()
    }

    /// The whole state as a versioned value, the pending output included; times as what remains.
    fn freeze(&self, now: Time) -> Frozen;
}

/// What [`Codec::decode`] found.
#[derive(Debug)]
pub enum Event<'a> {
    /// A part of a stream. Server role: a request head begins a stream.
    Part(StreamId, Part<'a>),
    /// The stream takes data again ([`Codec::capacity`]).
    Writable(StreamId),
    /// The peer takes no new streams; those open go on.
    GoAway,
    /// Something that needs nothing but to be counted.
    Note(Note),
}

/// Something that happened inside a codec and is only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// The peer sent a heartbeat; it was answered.
    HeartbeatReceived,
    /// The peer answered our heartbeat.
    HeartbeatAnswered,
    /// A response came to a stream that was given up; it was dropped.
    LateResponse,
    /// A response came that nobody asked for; it was dropped.
    UnknownResponse,
    /// The peer in the server's role sent a request; it was refused, or dropped when oneway.
    RequestFromServer,
    /// The peer broke the rules on one stream, which was refused or reset; the connection goes on.
    /// The reason is the label of a counter, as that of an [`Error`].
    StreamError(&'static str),
}

/// Reused memory for heads, so that none is allocated per message. One serves all connections of
/// a thread.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The request head that an event borrows.
    pub request: HttpRequest,
    /// The response head that an event borrows.
    pub response: HttpResponse,
    /// The trailers that an event borrows.
    pub trailers: Fields,
    /// The head of a large RPC frame that an event borrows.
    pub frame_head: Bytes,
    /// The payload of a large RPC frame that an event borrows.
    pub segments: Vec<Bytes>,
    /// Small pieces of data that an event borrows as one.
    pub gathered: Vec<u8>,
    /// What is known of the heads of RPC frames.
    pub forms: crate::rpc::Forms,
}

/// Which side of the connection a codec plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Role {
    /// Takes requests: the gateway's downstream side.
    Server,
    /// Sends requests: the gateway's upstream side.
    Client,
}

/// The peer broke the protocol or a limit. The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Error {
    /// What is wrong, as a short constant text: also the label of the counter
    /// (`lower_snake_case`).
    pub reason: &'static str,
    /// What to tell a client, where the protocol lets us.
    pub status: Status,
    /// What kind of fault it is.
    pub fault: Fault,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The bytes are not what the protocol allows, or can be read in more than one way.
    Malformed,
    /// A limit was passed.
    Limit,
    /// Something valid that is not spoken here.
    Unsupported,
    /// The input ended in the middle.
    Truncated,
    /// The peer did not answer a heartbeat.
    Dead,
}

impl Error {
    /// An error; see the members.
    pub const fn new(fault: Fault, status: Status, reason: &'static str) -> Self {
        Self { reason, status, fault }
    }
}

/// Why no stream could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// All streams are in use; later may work.
    #[error("all streams are in use")]
    Full,
    /// The connection takes no new streams any more.
    #[error("the connection takes no new streams")]
    Closing,
}

/// Why a part could not be encoded. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The stream is not there any more.
    #[error("no such stream")]
    UnknownStream,
    /// The part is not one of this protocol or does not fit the stream's state.
    #[error("the part does not fit the protocol or the state of the stream")]
    Unfit,
    /// The data does not have the length that the head said; the stream cannot be completed.
    #[error("the body does not have the length that the head said")]
    WrongLength,
}
