//! Codecs of network protocols that do no IO.
//!
//! A codec is a state machine for one side of one connection. Bytes and time go in, [`Event`]s
//! and bytes come out; where the bytes come from and go to is the caller's business. So one relay
//! serves every pair of protocols, every codec can be fuzzed and simulated alone, and the whole
//! state of a connection can be *frozen* into bytes and *thawed* in another process.
//!
//! Start with [`Codec`], then [`protocol::PROTOCOLS`].
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation
    )
)]

mod base64;
pub mod codec;
pub mod fields;
pub mod freeze;
pub mod message;
pub mod output;
pub mod protocol;
pub mod time;

pub mod bolt;
pub mod grpc;
pub mod hessian2;
mod http;
pub mod http1;
pub mod http2;
pub mod rpc;

pub use codec::{Codec, EncodeError, Error, Event, Fault, OpenError, Role, Scratch};
pub use fields::Fields;
pub use freeze::{Frozen, ThawError};
pub use message::{
    BodySize, Data, Head, HttpRequest, HttpResponse, Method, OwnedPart, Part, Reason, RpcChecksum,
    RpcHead, RpcPayload, RpcTrace, Status, StreamId, Version,
};
pub use output::Output;
pub use protocol::{Limits, PROTOCOLS, Protocol};
pub use time::Time;
