//! The Hangu gateway as a library.
//!
//! [`Gateway::start`](start::Gateway::start) is what the command line and the tests use. The
//! modules are in the order of what may name what: a module names only those before it.

pub mod clock;

pub mod telemetry;

pub mod io;

pub mod route;

pub mod cluster;

pub mod snapshot;

pub mod connection;

pub mod upstream;

pub mod exchange;

pub mod listener;

pub mod worker;

pub mod start;

pub mod swap;

pub mod control;

pub mod demo;

pub mod cli;
