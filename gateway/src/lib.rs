//! The Hangu gateway as a library.

pub mod telemetry;

pub mod cluster;
pub mod route;

pub mod control;

pub mod demo;
