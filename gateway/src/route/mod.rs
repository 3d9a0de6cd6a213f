//! Which route a request takes. Pure: nothing here does IO.
//!
//! The rules are those of the sidecars:
//!
//! 1. The virtual host is chosen by the authority (HTTP, without regard to case) or the service
//!    (RPC): an exact pattern, else the longest `*X`, else the longest `X*`, else `*`. The star of
//!    `*X` and `X*` stands for at least one byte. The port is part of the authority unless
//!    `ignore_port_in_host_matching`.
//! 2. Within it the first route in list order is taken of which everything matches. There is no
//!    way back to another virtual host.
//! 3. A cluster of several is drawn by weight, in half-open intervals in list order.
//!
//! [`RouteTable`] keeps the virtual hosts in hash tables and the routes of each in an index by what
//! they demand, so that a search costs the same however many routes there are (`index.rs`).

mod field;
mod host;
mod index;
pub mod path;
mod table;
#[cfg(test)]
mod walk;

pub use table::{CompileError, Found, Route, RouteTable};
