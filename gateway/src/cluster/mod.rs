//! Clusters: which endpoint takes a request. Pure: nothing here does IO or reads a clock.

pub mod balance;
mod retry;

pub use balance::{Balance, EndpointState};
pub use retry::Budget;
