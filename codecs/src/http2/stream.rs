//! One stream: a request and its response (RFC 9113 §5.1).

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fields::Asked;
use super::flow::{Inbound, Outbound};
use crate::message::End;
use crate::{Fields, HttpRequest, Output};

/// A stream that is open in at least one direction, or whose last bytes wait for a window.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stream {
    /// Its id on the wire; 0 while nothing of it is sent (client role).
    pub(super) id: u32,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    /// Bytes that were handed out and not given back.
    pub(super) unreleased: u32,
    /// What is still to come of the length that the head said.
    pub(super) expected: Option<u64>,
    /// Bytes of the body so far, counted where they are limited and no length was said.
    pub(super) taken: u64,
    /// What is still to be sent of the length that the head said.
    pub(super) left: Option<u64>,
    /// The head of a request whose offer to change protocols waits for the peer's first SETTINGS,
    /// which tell whether it takes such (client role).
    pub(super) held: Option<Box<(HttpRequest, End)>>,
    /// What waits for a window.
    pub(super) queue: Option<Box<Queue>>,
    pub(super) asked: Asked,
    /// A call of gRPC, which is answered in its own words.
    pub(super) is_grpc: bool,
    /// Whether data may follow the head.
    pub(super) allows_body: bool,
    /// Both directions carry bytes of another protocol, each to its own end.
    pub(super) is_tunnel: bool,
    /// Informational responses so far.
    pub(super) informational: u8,
    /// It waits in [`super::connection::State::waiting`] for the window of the connection.
    pub(super) is_waiting: bool,
}

/// The direction that is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Receiving {
    /// The head has not come (client role).
    Head,
    /// Data or trailers may come.
    Body,
    /// Read to its end.
    Ended,
}

/// The direction that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sending {
    /// The head is not written.
    Head,
    /// Data or trailers may follow.
    Body,
    /// Nothing follows what is written and queued.
    Ended,
}

/// What waits for a window: data, and perhaps the end behind it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Queue {
    #[serde(serialize_with = "write_data", deserialize_with = "read_data")]
    pub(super) data: Output,
    pub(super) end: Option<QueuedEnd>,
}

/// The end of a direction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum QueuedEnd {
    /// With the last data.
    Data,
    /// With fields behind the data.
    Trailers(Fields),
}

impl Stream {
    pub(super) fn new(id: u32, inbound: Inbound, outbound: Outbound) -> Self {
        Self {
            id,
            receiving: Receiving::Head,
            sending: Sending::Head,
            inbound,
            outbound,
            unreleased: 0,
            expected: None,
            taken: 0,
            left: None,
            held: None,
            queue: None,
            asked: Asked::default(),
            is_grpc: false,
            allows_body: true,
            is_tunnel: false,
            informational: 0,
            is_waiting: false,
        }
    }

    /// Whether its own window takes data now. Also before the head: whoever asks then is to be told
    /// as well.
    pub(super) fn takes_data(&self) -> bool {
        let is_begun = self.id > 0 && self.sending != Sending::Ended;
        is_begun && self.queue.is_none() && self.outbound.available() > 0
    }

    /// Whether the end of what is sent is written.
    pub(super) fn is_sent(&self) -> bool {
        self.sending == Sending::Ended && self.queue.is_none()
    }
}

fn write_data<S: Serializer>(data: &Output, serializer: S) -> Result<S::Ok, S::Error> {
    data.share().serialize(serializer)
}

fn read_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Output, D::Error> {
    let pieces: Vec<Bytes> = Vec::deserialize(deserializer)?;
    Ok(Output::of(&pieces))
}
