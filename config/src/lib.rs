//! The configuration of the Hangu gateway.
#![forbid(unsafe_code)]
