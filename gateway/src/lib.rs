//! The Hangu gateway as a library.

pub mod control;
pub mod telemetry;
