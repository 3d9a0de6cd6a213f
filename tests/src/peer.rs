//! One end of a TCP connection, blocking, byte by byte.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use crate::wait::PATIENCE;

/// One end of a TCP connection. Reading waits at most [`PATIENCE`].
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a FIN.
    Closed,
    /// With an RST.
    Reset,
}

impl Peer {
    /// Connects.
    ///
    /// # Panics
    /// When nothing listens there.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Self::new(stream)
    }

    /// Connects with a receive buffer of so many bytes (the kernel doubles it and has a least), so
    /// that little is under way when this end does not read.
    ///
    /// # Panics
    /// When nothing listens there.
    pub fn connect_with_buffer(address: SocketAddr, bytes: usize) -> Self {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("a receive buffer");
        socket
            .connect_timeout(&address.into(), PATIENCE)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Self::new(socket.into())
    }

    /// Takes over an accepted connection.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        Self { stream, unread: Vec::new() }
    }

    /// A second handle of the same connection, to send from another thread.
    pub fn sender(&self) -> Self {
        Self::new(self.stream.try_clone().expect("a second handle"))
    }

    /// The address at this end.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a local address")
    }

    /// The address at the other end.
    pub fn remote(&self) -> SocketAddr {
        self.stream.peer_addr().expect("a remote address")
    }

    /// Sends all bytes.
    ///
    /// # Panics
    /// When the other end has gone or takes nothing.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the other end takes the bytes");
    }

    /// Sends all bytes, or says that the other end has gone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends each byte in a segment of its own.
    pub fn send_byte_by_byte(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref().chunks(1) {
            self.send(byte);
            std::thread::yield_now();
        }
    }

    /// Says that no more will be sent (FIN); reading goes on.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Goes away with an RST.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Whether what is asked for stands in the bytes received so far; reads until it does. `None`
    /// when the connection ended before.
    pub fn read_until_some<T>(
        &mut self,
        what: &str,
        mut find: impl FnMut(&[u8]) -> Option<(T, usize)>,
    ) -> Option<T> {
        loop {
            if let Some((found, taken)) = find(&self.unread) {
                self.unread.drain(..taken);
                return Some(found);
            }
            if self.fill(what).is_some() {
                return None;
            }
        }
    }

    /// Exactly so many bytes; `None` when the connection ended before.
    pub fn try_read_exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        self.read_until_some(&format!("{bytes} bytes"), |unread| {
            Some((unread.get(..bytes)?.to_vec(), bytes))
        })
    }

    /// Exactly so many bytes.
    ///
    /// # Panics
    /// When they do not come.
    pub fn read_exactly(&mut self, bytes: usize) -> Vec<u8> {
        self.try_read_exactly(bytes)
            .unwrap_or_else(|| panic!("ended before {bytes} bytes: {}", self.shown()))
    }

    /// All bytes up to the end of a line (CR LF included); `None` when the connection ended
    /// before.
    pub fn try_read_line(&mut self) -> Option<Vec<u8>> {
        self.read_until_some("a line", |unread| {
            let end = unread.windows(2).position(|it| it == b"\r\n")? + 2;
            Some((unread[..end].to_vec(), end))
        })
    }

    /// Everything up to the end of the connection, and how it ended.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        loop {
            if let Some(ending) = self.fill("the end of the connection") {
                return (std::mem::take(&mut self.unread), ending);
            }
        }
    }

    /// The connection ends and nothing came before.
    ///
    /// # Panics
    /// When bytes come, or nothing at all happens.
    pub fn expect_end(&mut self) {
        let (bytes, _) = self.read_to_end();
        assert!(bytes.is_empty(), "bytes before the end: {}", show(&bytes));
    }

    /// Bytes that are here already, without waiting for more.
    pub fn received(&mut self) -> &[u8] {
        self.stream.set_nonblocking(true).expect("O_NONBLOCK");
        while let Ok(1..) = self.read_some() {}
        self.stream.set_nonblocking(false).expect("O_NONBLOCK");
        &self.unread
    }

    /// Whether the other end still holds the connection, as far as is known here.
    pub fn is_open(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("O_NONBLOCK");
        let open = loop {
            match self.read_some() {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).expect("O_NONBLOCK");
        open
    }

    fn shown(&self) -> String {
        show(&self.unread)
    }

    fn fill(&mut self, what: &str) -> Option<Ending> {
        match self.read_some() {
            Ok(0) => Some(Ending::Closed),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(Ending::Reset),
            Err(error) => {
                panic!("waiting for {what}: {error}; received so far: {}", self.shown())
            }
        }
    }

    fn read_some(&mut self) -> std::io::Result<usize> {
        let mut piece = [0; 64 * 1024];
        let count = loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.unread.extend_from_slice(&piece[..count]);
        Ok(count)
    }
}

/// Bytes as a text for messages, shortened.
pub fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(400)];
    format!("{} bytes \"{}\"", bytes.len(), shown.escape_ascii())
}
