//! Clusters: which endpoint takes a request. Pure: nothing here does IO or reads a clock.

pub mod balance;

pub use balance::{Balance, EndpointState};
