//! The Hangu gateway as a library.

pub mod cluster;
pub mod control;
pub mod route;
pub mod telemetry;
