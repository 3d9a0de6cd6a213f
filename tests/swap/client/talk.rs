//! What a client says on its connection and makes of what it hears; no IO.

use std::time::Instant;

use crate::{ask::Ask, group::Group, ledger::Ledger, tally::Fault};

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Its number in the ledger.
    pub(super) number: u64,
    /// When it was to be sent.
    pub(super) due: Instant,
    /// When it was sent.
    pub(super) sent: Instant,
    /// When it is to be answered.
    pub(super) ask: Ask,
}

/// The end of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// Which.
    pub(super) request: Request,
    /// The right answer, or why not.
    pub(super) verdict: Result<(), Fault>,
    /// Whether the time until the answer says something.
    pub(super) is_timed: bool,
}

/// Whether a client can send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It can.
    Free,
    /// An answer must come first, and is to come soon.
    Busy,
    /// An answer must come first that was asked to be late: send on another connection.
    Kept,
    /// It sends by itself, as time goes by.
    Streaming,
}

/// What there is besides the connection.
pub(super) struct Around<'a> {
    /// The present.
    pub(super) now: Instant,
    /// Gives numbers.
    pub(super) ledger: &'a Ledger,
    /// Whether nothing new is to begin.
    pub(super) is_ending: bool,
    /// Where ends of requests go.
    pub(super) heard: &'a mut Vec<Heard>,
}

impl Around<'_> {
    /// A request that is due and sent now; `None` when the ledger is full.
    pub(super) fn request(&self, group: Group) -> Option<Request> {
        let number = self.ledger.open(group)?;
        Some(Request { number, due: self.now, sent: self.now, ask: Ask::Now })
    }
}

/// One client's side of a protocol.
pub(super) trait Talk {
    /// Whether [`Talk::ask`] may be called.
    fn room(&self) -> Room;

    /// Sends a request.
    fn ask(&mut self, request: Request, out: &mut Vec<u8>);

    /// Time has gone by: what sends by itself sends on, unless so many bytes are unsent.
    fn tick(&mut self, _around: &mut Around<'_>, _unsent: usize, _out: &mut Vec<u8>) {}

    /// How much it reads until the next tick.
    fn appetite(&mut self) -> usize {
        usize::MAX
    }

    /// Whether bytes are coming evenly now, so that the time between two reads says something.
    fn is_steady(&self) -> bool {
        false
    }

    /// Takes what it can of the input; gives how many bytes it took.
    ///
    /// # Errors
    /// The connection is of no more use.
    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Fault>;

    /// What is to be sent because of what was received.
    fn take_output(&mut self, _out: &mut Vec<u8>) {}

    /// The peer said that it closes the connection after what it has said.
    fn is_closed_next(&self) -> bool {
        false
    }

    /// Requests in flight: handed over once, when the connection is gone.
    fn take_in_flight(&mut self) -> Vec<Request>;

    /// Whether anything is in flight.
    fn is_quiet(&self) -> bool;

    /// All is over and was right: what only ends with the connection.
    fn finish(&mut self, _around: &mut Around<'_>) {}
}
