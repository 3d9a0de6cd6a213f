//! TCP sockets: one value that a reader and a writer task share.

use std::{
    io::{self, IoSlice},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream as StdStream},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
};

use bytes::BytesMut;
use hangu_config::Tcp;
use monoio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};

use super::DriverKind;

/// A connected TCP socket on this thread's driver.
///
/// The driver says when there is something to read or room to write; reading and writing are then
/// plain calls that never wait. So the kernel holds no buffer of ours at any time: an idle
/// connection costs none, and a connection can be frozen at any instant. Measured, an operation in
/// the ring costs as much as the call that it saves.
pub struct Socket {
    stream: TcpStream,
    fd: RawFd,
}

impl Socket {
    /// Puts a connected socket on this thread's driver.
    ///
    /// # Errors
    /// The system's, when the socket is already dead.
    pub fn new(stream: StdStream, driver: DriverKind) -> io::Result<Self> {
        // io_uring answers EAGAIN at once on a non-blocking socket instead of waiting for data;
        // epoll must never block.
        stream.set_nonblocking(driver == DriverKind::Epoll)?;
        stream.set_nodelay(true)?;
        let fd = stream.as_raw_fd();
        Ok(Self { stream: TcpStream::from_std(stream)?, fd })
    }

    /// Puts a socket that another owner has set up on this thread's driver.
    ///
    /// # Errors
    /// The system's.
    pub fn adopt(stream: StdStream, driver: DriverKind) -> io::Result<Self> {
        // Shared with the other owner, who only waits for readiness on either driver.
        stream.set_nonblocking(driver == DriverKind::Epoll)?;
        let fd = stream.as_raw_fd();
        Ok(Self { stream: TcpStream::from_std(stream)?, fd })
    }

    /// The descriptor, to be passed to another process.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.borrow()
    }

    /// Appends to `buffer` what the peer has sent, at most `bytes_max`, without waiting. Zero
    /// bytes mean that the peer sends no more.
    ///
    /// # Errors
    /// The system's; `WouldBlock` if nothing is there.
    pub fn read_now(&self, buffer: &mut BytesMut, bytes_max: usize) -> io::Result<usize> {
        buffer.reserve(bytes_max);
        let room = buffer.spare_capacity_mut();
        let room = room.get_mut(..bytes_max).unwrap_or_default();
        let ((read, _), _) = rustix::net::recv(self.borrow(), room, RecvFlags::DONTWAIT)?;
        let read = read.len();
        // SAFETY: the kernel wrote so many bytes behind those that were there.
        unsafe { buffer.set_len(buffer.len() + read) };
        Ok(read)
    }

    /// Sends the pieces in order without waiting, as far as the kernel takes them and at most 64 of
    /// them; says how many bytes went.
    ///
    /// # Errors
    /// The system's; `WouldBlock` if the kernel takes nothing now.
    pub fn write_now<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut pieces = pieces.peekable();
        let first = pieces.next().unwrap_or_default();
        if pieces.peek().is_none() {
            return Ok(rustix::net::send(self.borrow(), first, flags)?);
        }
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(std::iter::once(first).chain(pieces)) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        let slices = slices.get(..count).unwrap_or_default();
        Ok(rustix::net::sendmsg(self.borrow(), slices, &mut Default::default(), flags)?)
    }

    /// Waits until the peer takes more. May be dropped.
    ///
    /// # Errors
    /// The driver's.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable(false).await
    }

    /// Waits until the peer has sent something; holds no buffer meanwhile. May be dropped.
    ///
    /// # Errors
    /// The driver's.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable(false).await
    }

    /// How long sent bytes may stay unacknowledged, and whether the peer is probed when nothing
    /// moves; `None` for a socket that is dead.
    pub fn options(&self) -> Option<(std::time::Duration, bool)> {
        let descriptor = self.borrow();
        let socket = SockRef::from(&descriptor);
        Some((socket.tcp_user_timeout().ok()??, socket.keepalive().ok()?))
    }

    /// Ends one or both directions. Whoever waits on the socket is woken.
    pub fn shutdown(&self, how: Shutdown) {
        // A socket that is not connected any more is as shut as it can be.
        let _ = SockRef::from(&self.borrow()).shutdown(how);
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: `self.stream` owns the descriptor and lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// Pieces of one gathering write; more than some dozens save nothing.
const PIECES_MAX: usize = 64;

/// A listening socket with `SO_REUSEPORT`, so that every worker has one of its own.
///
/// # Errors
/// The system's; the address in use above all.
pub fn bind(address: SocketAddr, backlog: u32, tcp: Tcp) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    set_options(&socket, tcp)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Gives a listening socket another backlog and other options; connections that were accepted
/// keep theirs.
///
/// # Errors
/// The system's.
pub fn adjust(listener: &TcpListener, backlog: u32, tcp: Tcp) -> io::Result<()> {
    let socket = SockRef::from(listener);
    set_options(&socket, tcp)?;
    // A socket that listens already only gets the new backlog (listen(2)).
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Sets how a peer that is gone without a word is noticed. Accepted connections inherit it from
/// the listening socket.
pub(super) fn set_options(socket: &RawSocket, tcp: Tcp) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(tcp.user_timeout))?;
    match tcp.keepalive {
        None => socket.set_keepalive(false),
        Some(keepalive) => socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(keepalive.idle)
                .with_interval(keepalive.interval)
                .with_retries(keepalive.probes),
        ),
    }
}
