//! Real peers that others wrote, and the gateway's own binary as an operator runs it.
#![allow(
    missing_docs,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests are ordinary blocking threads; no worker reaches them"
)]

mod command_line;
mod curl;
mod demo;
mod java;
mod nginx;
mod operation;
mod service_manager;
mod upgrade;

pub(crate) use hangu_tests::binary as gateway;
