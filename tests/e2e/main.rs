//! End to end, in process: real sockets, peers that control every byte, each of the three
//! drivers.
#![allow(
    missing_docs,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests are ordinary blocking threads; no worker reaches them"
)]

#[macro_use]
extern crate hangu_tests;

pub(crate) use hangu_tests::setup as support;

mod bolt;
mod bolt_failures;
mod connections;
mod endpoints;
mod forwarding;
mod grpc;
mod grpc_again;
mod hostile_peers;
mod http;
mod http2_flow;
mod http2_upstream;
mod http2_workers;
mod http_bodies;
mod http_failures;
mod http_refusals;
mod limits;
mod moving;
mod relief;
mod reload;
mod routing;
mod service_manager;
mod shared_connections;
mod snapshots;
mod telemetry;
mod traces;
mod websocket;
