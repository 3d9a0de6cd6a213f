//! HTTP/2 (RFC 9113), both roles, with field compression (RFC 7541) and WebSocket by extended
//! CONNECT (RFC 8441).
//!
//! | file | holds |
//! |---|---|
//! | `connection.rs` | a connection: its state, and [`crate::Codec`] around it. Start here |
//! | `receive.rs` | what each frame that comes does |
//! | `send.rs` | parts as they go, and what waits for a window |
//! | `heads.rs` | field blocks read into heads |
//! | `stream.rs`, `streams.rs` | one stream; the table of them |
//! | `flow.rs` | windows |
//! | `abuse.rs` | budgets of what a peer may make us do for nothing |
//! | `peer.rs`, `limits.rs` | what the peer has set; what we allow |
//! | [`frame`], [`hpack`], `fields.rs` | frames as typed values; field compression; field rules |
//!
//! # What a caller should know
//! * A request that is not well formed is reset, or answered where HTTP has a status for it; the
//!   connection goes on, and [`crate::codec::Note::StreamError`] tells the reason. What breaks the
//!   connection is an error; [`crate::Codec::refuse`] writes the GOAWAY.
//! * Data that the windows of the peer do not take waits in the stream, without bound: ask
//!   [`crate::Codec::capacity`] and stop at 0, until [`crate::Event::Writable`] comes. It counts as
//!   in flight until it is sent.
//! * Received data must be given back by [`crate::Codec::release`], or the peer stops. What a
//!   stream that is gone still owed is given back with it.
//! * Bytes held for a peer that does not take them are bounded by what the caller encodes; bytes
//!   held for a receiver by [`Limits::connection_window_bytes`] and
//!   [`Limits::unreleased_bytes_max`].
//! * An upgrade to WebSocket is the same part in all versions: a GET that offers it, a 101 that
//!   accepts it, and data both ways, each to its own end.
//! * [`crate::Codec::drain`] says goodbye twice (RFC 9113 §6.8), so it takes a round trip, or
//!   [`Limits::goaway_wait_ms`], and no request that is under way is lost.
//! * PRIORITY and priorities in HEADERS are checked and ignored; pushes are refused.

mod abuse;
mod connection;
mod error_code;
mod fields;
mod flow;
pub mod frame;
mod heads;
pub mod hpack;
mod limits;
mod peer;
mod receive;
mod send;
mod stream;
mod streams;

use crate::protocol::{Kind, Pooling, Sniff};
use crate::{Codec, Frozen, Protocol, Role, ThawError, Time};

pub use error_code::ErrorCode;
pub use limits::{Limits, STREAMS_CEILING};

/// The protocol, as [`crate::PROTOCOLS`] lists it.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    sniff,
    pooling: Pooling::Multiplexed,
    kind: Kind::Http,
    codec,
    snapshots: &[SNAPSHOT_VERSION],
    thaw,
    rpc_head: None,
};

const NAME: &str = "http2";

/// Version of the layout of frozen states.
const SNAPSHOT_VERSION: u16 = 1;

/// What a client sends first (RFC 9113 §3.4). It looks like a request of HTTP/1.1 on purpose, so
/// that a server which knows only that refuses it.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn sniff(first: &[u8]) -> Sniff {
    let there = first.len().min(PREFACE.len());
    match first.get(..there) == PREFACE.get(..there) {
        true if there == PREFACE.len() => Sniff::Yes,
        true => Sniff::More,
        false => Sniff::No,
    }
}

fn codec(role: Role, limits: &crate::Limits, now: Time) -> Box<dyn Codec> {
    Box::new(connection::Connection::new(role, &limits.http2, now))
}

fn thaw(frozen: &Frozen, limits: &crate::Limits, now: Time) -> Result<Box<dyn Codec>, ThawError> {
    if frozen.version != SNAPSHOT_VERSION {
        return Err(ThawError::UnknownVersion);
    }
    Ok(Box::new(connection::Connection::thaw(frozen, &limits.http2, now)?))
}
