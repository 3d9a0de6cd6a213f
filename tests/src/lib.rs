//! Peers for tests: plain blocking sockets and threads, in control of every byte.
//!
//! Nothing here uses the codecs under test: what a peer sends is written out, and what it
//! receives is read by a second, independent reading of the protocol; only [`setup`] and
//! [`binary`], which start the gateway itself, know it. Nothing sleeps: a test
//! waits for a condition ([`wait::until`]) or for bytes, and fails when [`wait::PATIENCE`] is over.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test peers are ordinary blocking threads; no worker reaches them"
)]

pub mod binary;
pub mod bolt;
pub mod dns;
pub mod http;
pub mod http2;
pub mod manager;
pub mod peer;
pub mod process;
pub mod setup;
pub mod upstream;
pub mod wait;
pub mod websocket;

pub use peer::Peer;
pub use upstream::Upstream;
