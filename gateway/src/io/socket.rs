//! TCP sockets: one value that a reader and a writer task share.

use std::{
    cell::UnsafeCell,
    io,
    net::{Shutdown, SocketAddr, TcpStream as StdStream},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
};

use bytes::{Bytes, BytesMut};
use monoio::{buf::IoVecBuf, io::AsyncWriteRent, net::TcpStream};
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use super::DriverKind;

/// A connected TCP socket on this thread's driver.
///
/// Shared by the reader and the writer task of a connection. Dropping a future of
/// [`Socket::write`] may lose bytes: it is always awaited to the end; [`Socket::shutdown`] makes
/// it, and [`Socket::readable`], end.
///
/// Reading is waiting for [`Socket::readable`] and then [`Socket::read_now`]: a read that waited
/// in the kernel would hold a buffer for each idle connection. The call of its own that this takes
/// is saved by the first try of a waiting read, which finds nothing.
pub struct Socket {
    stream: UnsafeCell<TcpStream>,
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
        Ok(Self { stream: UnsafeCell::new(TcpStream::from_std(stream)?), fd })
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

    /// Writes from the front of `buffer`; says how much went.
    pub async fn write(&self, buffer: BytesMut) -> (io::Result<usize>, BytesMut) {
        // SAFETY: `TcpStream::write` only clones the shared descriptor before its first suspension
        // and keeps no reference to the stream; reads and writes of one socket are independent.
        let stream = unsafe { &mut *self.stream.get() };
        stream.write(buffer).await
    }

    /// Writes several pieces in one call; says how many bytes went.
    pub async fn write_segments(&self, segments: Vec<Bytes>) -> (io::Result<usize>, Vec<Bytes>) {
        // SAFETY: as in `write`.
        let stream = unsafe { &mut *self.stream.get() };
        let (result, gather) = stream.writev(Gather::new(segments)).await;
        (result, gather.segments)
    }

    /// Waits until the peer has sent something; holds no buffer meanwhile. May be dropped.
    ///
    /// # Errors
    /// The driver's.
    pub async fn readable(&self) -> io::Result<()> {
        // SAFETY: as in `write`; `readable` takes a shared reference.
        unsafe { &*self.stream.get() }.readable(false).await
    }

    /// Ends one or both directions. Reads and writes that wait come to an end.
    pub fn shutdown(&self, how: Shutdown) {
        // A socket that is not connected any more is as shut as it can be.
        let _ = SockRef::from(&self.borrow()).shutdown(how);
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: `self.stream` owns the descriptor and lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// Segments as the vector that `writev` takes.
struct Gather {
    segments: Vec<Bytes>,
    vectors: Vec<libc::iovec>,
}

impl Gather {
    fn new(segments: Vec<Bytes>) -> Self {
        let vectors = segments
            .iter()
            .map(|it| libc::iovec { iov_base: it.as_ptr().cast_mut().cast(), iov_len: it.len() })
            .collect();
        Self { segments, vectors }
    }
}

// SAFETY: the vectors point into `segments`, whose bytes are immutable, reference-counted and do
// not move; both are owned by the value until the operation gives it back.
unsafe impl IoVecBuf for Gather {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.vectors.as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.vectors.len()
    }
}

/// Connections that wait in the kernel to be accepted, per listening socket. The kernel caps it at
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A listening socket with `SO_REUSEPORT`, so that every worker has one of its own.
///
/// # Errors
/// The system's; the address in use above all.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
