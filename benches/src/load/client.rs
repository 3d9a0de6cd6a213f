//! What the load asks of a protocol.

use std::fmt;
use std::time::Instant;

/// The client's side of one connection: makes requests, verifies answers. No IO, no clock.
pub(super) trait Client: fmt::Debug {
    /// Whether one more request may be sent.
    fn has_room(&self) -> bool;

    /// Requests sent and not answered.
    fn in_flight(&self) -> usize;

    /// Appends a request; called only while there is room.
    fn send(&mut self, due: Instant, output: &mut Vec<u8>);

    /// Takes what it can from the front of `input` and gives the bytes that it took.
    ///
    /// # Errors
    /// The connection is of no more use.
    fn receive(&mut self, input: &[u8], answers: &mut Vec<Answer>) -> Result<usize, Fault>;

    /// Appends what the protocol itself has to say to what was received.
    fn settle(&mut self, _output: &mut Vec<u8>) {}
}

/// A request that has been answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// When the request was due.
    pub(super) due: Instant,
    /// Whether the answer was the right one.
    pub(super) verdict: Result<(), Fault>,
}

/// What can be wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Fault {
    /// A status that is not success.
    #[error("wrong status")]
    Status,
    /// A body longer or shorter than the one asked for.
    #[error("wrong length")]
    Length,
    /// Bytes that differ from the expected ones.
    #[error("wrong content")]
    Content,
    /// An answer to nothing that is in flight.
    #[error("answer to no request")]
    Unasked,
    /// Bytes that are not the protocol's.
    #[error("malformed answer")]
    Malformed,
    /// The connection ended with requests in flight.
    #[error("connection ended")]
    Closed,
    /// A stream that was given up.
    #[error("stream reset")]
    Reset,
    /// No answer for seconds.
    #[error("no answer")]
    Lost,
    /// At a fixed rate: more requests wait than the load keeps.
    #[error("rate not reached")]
    Overrun,
}
