//! What long bodies look like.

use std::time::Duration;

/// Streams move on so often.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Which end makes a stream slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Piece by piece as time goes by: the proxy holds nothing.
    Sender,
    /// As fast as the peer takes it, and the peer takes little: the proxy always holds unsent
    /// bytes.
    Receiver,
}

impl Pace {
    /// As it stands in a path.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }

    /// Reads it from a path.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Sender, Self::Receiver].into_iter().find(|it| it.name() == name)
    }
}

/// What a long body looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Which end makes it slow.
    pub(crate) pace: Pace,
    /// Its length.
    pub(crate) bytes: u64,
    /// Bytes that move in a [`TICK`].
    pub(crate) bytes_per_tick: usize,
    /// Sent in chunks.
    pub(crate) is_chunked: bool,
}

/// A receiver that makes a stream slow has a buffer of so many bytes, so that what it does not take
/// waits in the proxy and not in the kernel.
pub(crate) const SLOW_BUFFER_BYTES: usize = 16 * 1024;

/// What a sender gives at once that is not the one who makes the stream slow.
pub(crate) const FAST_PIECE_BYTES: usize = 256 * 1024;

impl Shape {
    /// One of a number of streams that last about this long: all kinds take turns.
    pub(crate) fn of(index: usize, lasts: Duration) -> Self {
        let pace = if index.is_multiple_of(2) { Pace::Sender } else { Pace::Receiver };
        let bytes_per_tick = match pace {
            Pace::Sender => 2 * 1024,
            Pace::Receiver => 16 * 1024,
        };
        let ticks = (lasts.as_millis() / TICK.as_millis()).max(1) as u64;
        let bytes = ticks * bytes_per_tick as u64;
        Self { pace, bytes, bytes_per_tick, is_chunked: index / 2 % 2 == 1 }
    }

    /// What this end moves in a tick.
    pub(crate) fn piece(&self, end: Pace) -> usize {
        match (end == self.pace, end) {
            (true, _) => self.bytes_per_tick,
            (false, Pace::Sender) => FAST_PIECE_BYTES,
            (false, Pace::Receiver) => usize::MAX,
        }
    }
}
