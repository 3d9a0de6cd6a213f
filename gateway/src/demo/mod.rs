//! The demo: a gateway with a configuration and upstreams of its own.
//!
//! The upstreams run in a child process, so that what the gateway does can be seen apart from what
//! they do, and so that they survive a gateway that hands over to another.
//!
//! ```text
//!  hangu demo ── life (pipe) ──► hangu demo-upstreams      HTTP and Bolt on ports of their own
//!      ▲                                │
//!      └──────── report (pipe) ─────────┘                  the addresses, once
//! ```
//! The child ends when no process holds the writing end of the *life* pipe any more: with the last
//! gateway of the demo, however that dies.

mod bolt;
mod child;
mod config;
mod http;
mod try_bolt;
mod upstreams;

pub use child::{Child, SUBCOMMAND, start};
pub use config::{Ports, hints, yaml};
pub use try_bolt::try_bolt;
pub use upstreams::{Addresses, run as run_upstreams};
