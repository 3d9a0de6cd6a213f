//! What one RPC protocol says of its bytes.

use std::fmt::Debug;

use bytes::BytesMut;
use serde::{Serialize, de::DeserializeOwned};

use crate::{EncodeError, Error, RpcChecksum, RpcHead, RpcPayload, Status};

/// The byte layout of an RPC protocol: how to add one in Rust.
///
/// A frame is `head | payload | checksum`: the head up to and including the fields, contiguous;
/// the payload, which is forwarded untouched; and, where [`Prefix::is_checked`] says so, a CRC-32
/// of all that stands before, four bytes big-endian. All else (streams, ids, order, gathering,
/// heartbeats, limits, freezing) is done by [`super::Rpc`]. A wire keeps no state.
pub trait Wire: 'static {
    /// [`crate::Protocol::name`].
    const NAME: &'static str;
    /// The largest id that we give to a request of ours; ids run from 1 to here and around.
    const ID_MAX: u32;
    /// What a request tells of the form that its answer must have (version, codec, switches).
    /// The default is the form of a heartbeat on a connection that carried nothing yet.
    type Shape: Copy + Debug + Default + Serialize + DeserializeOwned;

    /// Reads the beginning of a frame: what it is and how long it is. `None`: more bytes are
    /// needed. Lengths are only reported here, limits are held by the engine.
    ///
    /// # Errors
    /// The bytes begin no frame of this protocol.
    fn prefix(input: &[u8]) -> Result<Option<Prefix<Self::Shape>>, Error>;

    /// Reads a whole head; walks the fields once, or not at all if their form is known.
    ///
    /// # Errors
    /// The head cannot be read, or has more than `fields_max` fields.
    fn head<'a>(
        head: &'a [u8],
        payload: RpcPayload<'a>,
        checksum: Option<RpcChecksum>,
        fields_max: usize,
        forms: &mut Forms,
    ) -> Result<RpcHead<'a>, Error>;

    /// Appends the head of a request under another id, with no timeout larger than what
    /// `frame.timeout` leaves.
    ///
    /// # Errors
    /// [`EncodeError::Unfit`]: no request of this wire. The caller takes back what was appended.
    fn write_request(
        frame: &RpcHead<'_>,
        id: u64,
        output: &mut BytesMut,
    ) -> Result<Written<Self::Shape>, EncodeError>;

    /// Appends the head of a response under another id, in the shape of its request.
    ///
    /// # Errors
    /// [`EncodeError::Unfit`]: no response of this wire. The caller takes back what was appended.
    fn write_response(
        frame: &RpcHead<'_>,
        id: u64,
        shape: Self::Shape,
        output: &mut BytesMut,
    ) -> Result<Written<Self::Shape>, EncodeError>;

    /// Appends a response without a payload that tells of `status`.
    fn write_status(
        id: u64,
        shape: Self::Shape,
        status: Status,
        output: &mut BytesMut,
    ) -> Written<Self::Shape>;

    /// Appends a whole heartbeat, checksum included where the protocol wants one.
    fn write_heartbeat(id: u64, shape: Self::Shape, output: &mut BytesMut);

    /// Appends the whole answer to a heartbeat of that id and shape.
    fn write_heartbeat_answer(id: u64, shape: Self::Shape, output: &mut BytesMut);
}

/// What wires have learnt of the heads that a thread reads: nothing that an event depends on.
#[derive(Debug, Default)]
pub struct Forms {
    /// Of Bolt.
    pub(crate) bolt: crate::bolt::Forms,
}

/// A head that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<S> {
    /// Its form.
    pub shape: S,
    /// Whether a CRC-32 is to follow the payload.
    pub is_checked: bool,
}

/// The beginning of a frame, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<S> {
    /// What the frame is.
    pub kind: FrameKind,
    /// Its id as it stands on the wire.
    pub id: u64,
    /// Bytes up to and including the fields.
    pub head_bytes: usize,
    /// Bytes of what follows the head.
    pub payload_bytes: usize,
    /// Whether a CRC-32 follows the payload.
    pub is_checked: bool,
    /// The form of the frame.
    pub shape: S,
}

/// The kinds of frames that an engine tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A request that is to be answered.
    Request,
    /// A request without an answer.
    Oneway,
    /// The answer to a request.
    Response,
    /// A heartbeat that is to be answered.
    Heartbeat,
    /// The answer to a heartbeat.
    HeartbeatAnswer,
}

impl<S> Prefix<S> {
    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        let checksum = if self.is_checked { super::checksum::BYTES } else { 0 };
        self.head_bytes.saturating_add(self.payload_bytes).saturating_add(checksum)
    }
}
