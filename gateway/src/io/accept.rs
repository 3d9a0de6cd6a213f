//! Accepting connections.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener, TcpStream as StdStream},
};

use monoio::net::TcpStream;
use socket2::Socket as RawSocket;

/// A listening socket on this thread's driver.
///
/// Only readiness is waited for, by an operation that may be dropped at any time, and then all
/// that queue are taken without waiting: a completed accept that nobody awaits would leak its
/// connection.
pub struct Acceptor {
    listener: TcpListener,
    ready: TcpStream,
    reserve: Option<File>,
}

/// What there was to accept.
pub enum Accepted {
    /// A connection.
    Connection(StdStream, SocketAddr),
    /// Nothing more for now.
    Nothing,
    /// A connection was refused, for the process has no descriptor left.
    Refused,
    /// The system's error.
    Failed(io::Error),
}

impl Acceptor {
    /// Puts a listening socket on this thread's driver.
    ///
    /// # Errors
    /// The system's: no descriptor left.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let second: RawSocket = listener.try_clone()?.into();
        let ready = TcpStream::from_std(second.into())?;
        Ok(Self { listener, ready, reserve: reserve() })
    }

    /// Waits until a connection queues. May be dropped.
    ///
    /// # Errors
    /// The driver's.
    pub async fn ready(&self) -> io::Result<()> {
        self.ready.readable(false).await
    }

    /// Takes the next connection that queues.
    pub fn accept(&mut self) -> Accepted {
        match self.listener.accept() {
            Ok((stream, peer)) => Accepted::Connection(stream, peer),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Accepted::Nothing,
                Some(libc::ECONNABORTED | libc::EINTR) => self.accept_next(),
                Some(libc::EMFILE | libc::ENFILE) => self.refuse(error),
                _ => Accepted::Failed(error),
            },
        }
    }

    /// The connection that queued was gone before it was taken: the next one, if there is one, is
    /// taken at the next turn.
    fn accept_next(&mut self) -> Accepted {
        match self.listener.accept() {
            Ok((stream, peer)) => Accepted::Connection(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::Nothing,
            Err(error) => Accepted::Failed(error),
        }
    }

    /// Uses the descriptor kept in reserve to take the connection and close it, so that its
    /// client learns at once that it has to go elsewhere.
    fn refuse(&mut self, error: io::Error) -> Accepted {
        if self.reserve.take().is_none() {
            self.reserve = reserve();
            return Accepted::Failed(error);
        }
        let taken = self.listener.accept();
        drop(taken);
        self.reserve = reserve();
        Accepted::Refused
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
