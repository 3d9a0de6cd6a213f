//! Connecting to an endpoint.

use std::{io, net::SocketAddr, time::Duration};

use monoio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use hangu_config::Tcp;

use super::{DriverKind, Socket, socket::set_options};

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answered in time.
    #[error("no answer within the connect timeout")]
    TimedOut,
    /// The system's or the peer's refusal.
    #[error("{0}")]
    Refused(#[from] io::Error),
}

/// Connects to `address` within `timeout`.
///
/// The connect itself is started without waiting and then only its end is polled for, because a
/// poll may be dropped at any time, and a connect in flight may not.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(
    address: SocketAddr,
    timeout: Duration,
    tcp: Tcp,
    driver: DriverKind,
) -> Result<Socket, DialError> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    set_options(&socket, tcp)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    // A second descriptor waits for the end, the first stays ours to be made a `Socket` of.
    let waiting = TcpStream::from_std(socket.try_clone()?.into())?;
    let connected = monoio::time::timeout(timeout, waiting.writable(false)).await;
    connected.map_err(|_| DialError::TimedOut)??;
    if let Some(error) = SockRef::from(&socket).take_error()? {
        return Err(error.into());
    }
    Ok(Socket::new(socket.into(), driver)?)
}
