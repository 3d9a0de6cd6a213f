//! HTTP/1.1 (RFC 9112 and RFC 9110) and HTTP/1.0, both roles.
//!
//! Owns the reading and writing of heads, the framing of bodies and the life of a connection that
//! carries one exchange after the other. Never owns a buffer of input, never decides where a
//! request goes, and never passes a byte of a head on: heads are read into parts and written anew.
//!
//! What cannot be read in exactly one way is refused. Each leniency is a switch of [`Lenient`],
//! and all are off.
//!
//! # States of the server role
//! ```text
//!          request head                    response ends, request read to its end
//!  Idle ----------------> Exchange ------------------------------------------------> Idle
//!   ^                      |  |  \--- response ends, request not read ---> Discard ---^
//!   |                      |  |                                              | too much
//!   |                      |  \--- 101, or CONNECT and 2xx: raw both ways    v
//!   \-- next request ------/            both ended, close, error ---------> Finished
//! ```
//! # States of the client role
//! ```text
//!        open          request head            both ended, connection may be kept
//!  Idle ------> Open ----------------> Exchange ------------------------------------> Idle
//!                 \-- reset --> Idle       \--- reset, close, error, raw ended ---> Finished
//! ```
//! # What a caller should know
//! * A request that offers an upgrade, and CONNECT, come as a head with [`crate::message::End::No`].
//!   If the response accepts (101, or 2xx to CONNECT), data follows in both directions, each until
//!   its own end ([`crate::Codec::is_output_finished`] tells when to half-close). If not, the
//!   request had its end with its head, without a part that says so.
//! * A WebSocket whose other side has no key (HTTP/2, RFC 8441) gets one: the client role writes
//!   `Sec-WebSocket-Key` where a request has none, holds the answer to it and takes that off; the
//!   server role writes `Sec-WebSocket-Accept` where a response has none.
//! * Offers of `h2c`, and offers in a request with a body or in HTTP/1.0, are dropped.
//! * After a response has ended the caller decodes again: the next request may have been read.
//! * A connection that ends with unread input should be closed in such a way that the peer can
//!   still read the last response (shut down writing, read and drop for a while, then close).
//! * Cutting off a response to an HTTP/1.0 client that lasts until close cannot be told from its
//!   end unless the socket is reset.

mod body;
mod chunked;
mod client;
mod encode;
mod fields;
mod head;
mod limits;
mod reply;
mod scan;
mod server;
mod sniff;
mod state;
mod target;
mod websocket;

use crate::protocol::{Kind, Pooling};
use crate::{Codec, Frozen, Protocol, Role, ThawError, Time};

pub use limits::{FIELDS_CEILING, Lenient, Limits};
pub(crate) use reply::words as reply_words;

/// The protocol, as [`crate::PROTOCOLS`] lists it.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    sniff: sniff::sniff,
    pooling: Pooling::Exclusive,
    kind: Kind::Http,
    codec,
    snapshots: &[SNAPSHOT_VERSION],
    thaw,
    rpc_head: None,
};

const NAME: &str = "http1";

/// Version of the layout of frozen states.
const SNAPSHOT_VERSION: u16 = 1;

fn codec(role: Role, limits: &crate::Limits, now: Time) -> Box<dyn Codec> {
    match role {
        Role::Server => Box::new(server::Server::new(&limits.http1)),
        Role::Client => Box::new(client::Client::new(&limits.http1, now)),
    }
}

fn thaw(frozen: &Frozen, limits: &crate::Limits, _now: Time) -> Result<Box<dyn Codec>, ThawError> {
    if frozen.version != SNAPSHOT_VERSION {
        return Err(ThawError::UnknownVersion);
    }
    // The role stands first in both layouts.
    Ok(match frozen.read::<Role>()? {
        Role::Server => Box::new(server::Server::thaw(frozen, &limits.http1)?),
        Role::Client => Box::new(client::Client::thaw(frozen, &limits.http1)?),
    })
}
