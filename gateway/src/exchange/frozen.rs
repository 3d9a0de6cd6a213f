//! What a worker's connections and exchanges are in a snapshot, version 1 of the layout.
//!
//! `docs/upgrade.md` describes it for those who keep it readable: fields are only added with a new
//! [`VERSION`], variants only at the end. Listeners, clusters and endpoints are named by their
//! place with the old owner ([`Places`](super::Places) tells the new one's), connections and exchanges by their
//! position in the lists here, times by their age or by what remains of them, in microseconds.

use std::net::SocketAddr;

use bytes::Bytes;
use hangu_codecs::{Frozen, OwnedPart, StreamId, grpc::Web};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Asks, Progress, Withheld, text::Text};
use crate::{telemetry::Outcome, upstream::Pooled};

/// Version of the layout.
pub const VERSION: u16 = 1;

/// All connections and exchanges of one worker.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FrozenWorker {
    /// What stands in front.
    pub head: FrozenHead,
    /// The connections of either side, but for those of [`FrozenHead::ahead`].
    pub connections: Vec<FrozenConnection>,
    /// The exchanges that join their streams.
    pub exchanges: Vec<FrozenExchange>,
}

/// What a worker has beside connections and exchanges.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FrozenHead {
    /// Connections whose values were passed ahead and still hold, by index and generation, those to
    /// endpoints with where they stand in their pools. They stand in front of the others where
    /// positions are counted.
    pub ahead: Vec<((u32, u32), Option<Pooled>)>,
    /// Service, method and caller under which requests in flight are counted.
    pub names: Vec<[Bytes; 3]>,
    /// What is left of the budgets of retries, by place of the cluster: hundredths of a try.
    pub budgets: Vec<u64>,
}

/// All that one worker has as bytes: those of a [`FrozenWorker`], which was never made.
#[derive(Default)]
pub struct FrozenBytes {
    /// The bytes, in order.
    pub pieces: [Zeroizing<Vec<u8>>; 3],
    /// Output that is left out there because it is large.
    pub output: Vec<LargeOutput>,
    /// Exchanges there.
    pub exchanges: u32,
    /// See [`Away`].
    pub away: Away,
}

/// The output of a connection that is left out of a snapshot because it is large.
#[derive(Debug)]
pub struct LargeOutput {
    /// Position among the connections of the snapshot.
    pub at: u32,
    /// Index and generation of the connection.
    pub id: (u32, u32),
    /// So many bytes of the output that was passed ahead are sent by now; the rest of it stands in
    /// front of `pieces`. `None` if nothing that was passed ahead is of use.
    pub skip: Option<u64>,
    /// The bytes, in order; shared with the connection.
    pub pieces: Vec<Bytes>,
}

/// Reads one value after another from the bytes of a [`FrozenWorker`].
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next value.
    pub(super) fn take<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(value)
    }

    /// The values of a list; `None` in the place of one that cannot be read.
    pub(super) fn list<T: Deserialize<'a>>(&mut self) -> impl Iterator<Item = Option<T>> {
        let count = self.take::<u64>();
        // A list whose length cannot be read is one value that cannot.
        let left = count.map_or(1, |it| usize::try_from(it).unwrap_or(usize::MAX));
        (0..left).map(move |_| count.and_then(|_| self.take()))
    }
}

/// A connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct FrozenConnection {
    /// Index and generation with the old owner; its descriptor travels under this name.
    pub id: (u32, u32),
    /// Whose it is.
    pub side: FrozenSide,
    /// The peer.
    pub peer: SocketAddr,
    /// The codec with the output that is not written; none before the protocol is known.
    pub codec: Option<Frozen>,
    /// What is to become of it.
    pub state: FrozenState,
    /// Read and not yet decoded.
    pub input: Bytes,
    /// Capacity of the next read.
    pub read_bytes: u32,
    /// Streams with the position of their exchange.
    pub streams: Vec<(StreamId, u32)>,
    /// What stops it from being read.
    pub blocked: Option<FrozenBlocked>,
    /// The peer sends no more.
    pub input_ended: bool,
    /// The peer was told that no more comes.
    pub output_shut: bool,
    /// Age of the last movement.
    pub active: u64,
    /// Age of a request head that is not complete.
    pub head_since: Option<u64>,
    /// Age of the connection.
    pub since: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// The request that may be repeated.
    pub repeatable: Option<Bytes>,
    /// Where it stands in its endpoint's pool.
    pub pooled: Pooled,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum FrozenSide {
    /// Accepted by the listener of this place.
    Downstream(u32),
    /// Made to an endpoint: places of the cluster and in it.
    Upstream(u32, u32),
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum FrozenState {
    /// It goes on.
    Open,
    /// It is closed when its output is written.
    Flushing,
    /// It is closed when the peer closes, at the latest after what remains.
    Lingering(u64),
}

/// What stops a connection from being read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum FrozenBlocked {
    /// The unsent output of the connection of this position.
    Output(u32),
    /// Its exchange waits for a connection.
    Waiting,
    /// The stream that the parts of its exchange go to takes no more.
    Stream,
}

/// An exchange.
#[derive(Debug, Serialize, Deserialize)]
pub struct FrozenExchange {
    /// The side that asked.
    pub downstream: FrozenPeer,
    /// The side that is to answer.
    pub upstream: FrozenUpstream,
    /// Place of the listener.
    pub listener: u32,
    /// Index of the route in the configuration that travels along.
    pub route: Option<u32>,
    /// Where it is counted by its names.
    pub series: FrozenSeries,
    /// Places of the cluster and of its endpoint.
    pub target: Option<(u32, u32)>,
    /// Age.
    pub began: u64,
    /// Age of its forwarding.
    pub forwarded: Option<u64>,
    /// What remains until its deadline.
    pub deadline: Option<u64>,
    /// How far the two directions are.
    pub progress: Progress,
    /// What the response said.
    pub outcome: Option<Outcome>,
    /// What it asks for.
    pub asks: Asks,
    /// It was counted at its listener.
    pub counts_downstream: bool,
    /// It was counted at the cluster of this place.
    pub counts_upstream: Option<u32>,
    /// Tries before this one.
    pub retries: u8,
    /// The translation of a call of a browser.
    pub web: Option<Web>,
    /// Sweeps for dead exchanges since something of it moved.
    pub quiet: u8,
    /// Bytes for which their senders have no credit yet.
    pub withheld: Withheld,
    /// The request, if it may have to be sent again; behind it the head of an answer that is held
    /// back until that is known.
    pub kept: Vec<OwnedPart>,
    /// What is logged of the request.
    pub text: Text,
    /// Bytes that came from the client.
    pub received_bytes: u64,
    /// Bytes that went to the client.
    pub sent_bytes: u64,
}

/// The other end of an exchange's side.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum FrozenPeer {
    /// A stream of the connection of this position.
    Local(u32, StreamId),
    /// An exchange of another worker: its index, and the id that both halves know it by.
    Remote(u32, (u32, u32)),
}

/// The upstream side of an exchange.
#[derive(Debug, Serialize, Deserialize)]
pub enum FrozenUpstream {
    /// None was chosen.
    None,
    /// It waits for a connection, with the parts that came meanwhile.
    Waiting(Vec<OwnedPart>),
    /// It has a stream.
    Joined(FrozenPeer),
    /// The stream is ended or given up.
    Ended,
}

/// Where a request is counted by its names.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum FrozenSeries {
    /// Nowhere.
    None,
    /// Under the names of this position.
    Named(u32),
    /// Under the label of all names that found no room.
    Other,
    /// Under the label of requests without a route.
    NoRoute,
}

/// What others must know of a worker before they thaw theirs: exchanges that another worker's
/// exchange refers to, by the id that both know, with their position.
pub type Away = Vec<((u32, u32), u32)>;
