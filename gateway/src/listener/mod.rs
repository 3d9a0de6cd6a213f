//! Listening sockets: binding them, and saying why it cannot be done.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use hangu_config::Listener;

/// The listening sockets of one listener, one per worker, all on one address.
pub struct Sockets {
    /// The address; where the configuration says port 0, the one that was given.
    pub address: SocketAddr,
    /// One per worker.
    pub sockets: Vec<TcpListener>,
}

/// Binds the sockets of listeners.
///
/// # Errors
/// The first listener that could not be bound, with the system's word.
pub fn bind_all<'c>(
    listeners: impl Iterator<Item = &'c Listener>,
    workers: usize,
) -> Result<Vec<Sockets>, BindError> {
    listeners.map(|it| bind(it, workers)).collect()
}

/// A listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: cannot listen on {address}: {error}{}", hint(.error))]
pub struct BindError {
    /// Name of the listener.
    pub listener: String,
    /// The address.
    pub address: SocketAddr,
    /// The system's word.
    pub error: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process listens there; `ss -ltnp` shows which)",
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start)"
        }
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has that address)",
        _ => "",
    }
}

fn bind(listener: &Listener, workers: usize) -> Result<Sockets, BindError> {
    let Listener { address, backlog, tcp, .. } = *listener;
    let failed = |error| BindError { listener: listener.name.clone(), address, error };
    // SO_REUSEPORT would let two gateways share an address unnoticed: ask for it alone first.
    if address.port() != 0 {
        drop(TcpListener::bind(address).map_err(failed)?);
    }
    let first = crate::io::bind(address, backlog, tcp).map_err(failed)?;
    let address = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(crate::io::bind(address, backlog, tcp).map_err(failed)?);
    }
    Ok(Sockets { address, sockets })
}
