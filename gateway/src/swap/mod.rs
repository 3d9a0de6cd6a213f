//! Swapping the binary while traffic runs: the hand-over between two generations of the gateway.
//!
//! The predecessor ([`give`]) starts its successor and goes on serving while that one checks itself
//! and takes descriptors. Then it holds all workers still, gives away their values, and waits for
//! the word that they are thawed. One message makes them the successor's ([`take`]); until then the
//! predecessor can let its workers go on at any time, for nothing of theirs has changed.
//! `docs/upgrade.md` tells operators, [`message`] what is said, [`owner`] who owns when.

mod channel;
mod give;
mod message;
mod owner;
mod report;
mod take;

pub use channel::ChannelError;
pub use give::{Given, Order, Refusal, Words, give};
pub use message::{FORMATS, Hello, KINDS, LastWords, SocketName, Welcome};
pub use owner::{Event, Owner, Predecessor, Successor as SuccessorState};
pub use report::{Phase, Report};
pub use take::{Farewell, Gone, Successor, TakeError, Taken, meet};
