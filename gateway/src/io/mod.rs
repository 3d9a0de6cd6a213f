//! The thin layer over monoio: drivers, sockets, connecting, waking. It decides nothing.

mod accept;
mod address;
mod dial;
mod driver;
mod haste;
mod signal;
mod socket;

pub use accept::{Accepted, Acceptor};
pub use address::own_address;
pub use dial::{DialError, dial};
pub use driver::{Driver, DriverChoice, DriverKind};
pub use haste::Haste;
pub use signal::Signal;
pub use socket::{Socket, adjust, bind};
