//! The Hangu gateway as a library.

pub mod telemetry;
