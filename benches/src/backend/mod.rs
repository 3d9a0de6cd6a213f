//! The server behind the proxies: one thread, epoll, cheap enough not to be what is measured.
//!
//! It answers everything that one read brought by one write, so a proxy that gathers many requests
//! into one write gets their answers as cheaply.

mod bolt;
mod http;
mod http2;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::poller::{Events, Poller, Ready};
use crate::transfer::{Partial, ReadBuffer, Transfer};

/// What one read takes at most; also the longest message.
const BUFFER_BYTES: usize = 256 * 1024;

/// A server that listens and has not begun to serve.
#[derive(Debug)]
pub struct Backend {
    poller: Poller,
    listeners: [TcpListener; 3],
}

/// A server that serves; unlike what is to be served it stays on its thread.
#[derive(Debug)]
struct Serving {
    poller: Poller,
    listeners: [TcpListener; 3],
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: ReadBuffer,
}

const HTTP: usize = 0;
const HTTP2: usize = 1;
const BOLT: usize = 2;

/// Where the backend listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For HTTP/1.1.
    pub http: SocketAddr,
    /// For HTTP/2 without TLS.
    pub http2: SocketAddr,
    /// For Bolt.
    pub bolt: SocketAddr,
}

impl Addresses {
    /// Free ports of loopback, which the kernel chooses.
    #[must_use]
    pub fn any() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { http: any, http2: any, bolt: any }
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    partial: Partial,
    dialogue: Dialogue,
    /// The end of the stream is somewhere behind the bytes in the kernel.
    is_ending: bool,
}

/// The protocol that a connection speaks.
#[derive(Debug)]
enum Dialogue {
    Http(http::Dialogue),
    Http2(Box<http2::Dialogue>),
    Bolt(bolt::Dialogue),
}

/// The peer sent something that the backend does not take; its connection is closed.
#[derive(Debug)]
struct Refused;

impl Backend {
    /// Listens; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub fn bind(addresses: Addresses) -> io::Result<Self> {
        let poller = Poller::new()?;
        let Addresses { http, http2, bolt } = addresses;
        let listeners =
            [TcpListener::bind(http)?, TcpListener::bind(http2)?, TcpListener::bind(bolt)?];
        for (token, listener) in (0..).zip(&listeners) {
            listener.set_nonblocking(true)?;
            poller.add_source(listener, token)?;
        }
        Ok(Self { poller, listeners })
    }

    /// Where each protocol is served.
    ///
    /// # Errors
    /// As `getsockname`.
    pub fn addresses(&self) -> io::Result<Addresses> {
        let address = |listener: usize| self.listeners[listener].local_addr();
        Ok(Addresses { http: address(HTTP)?, http2: address(HTTP2)?, bolt: address(BOLT)? })
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn run(self) -> io::Result<()> {
        let Self { poller, listeners } = self;
        let buffer = ReadBuffer::new(BUFFER_BYTES);
        Serving { poller, listeners, connections: Vec::new(), free: Vec::new(), buffer }.run()
    }
}

impl Serving {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::new();
        loop {
            self.poller.wait(&mut events, None)?;
            for ready in events.iter() {
                let token = ready.token as usize;
                match token.checked_sub(self.listeners.len()) {
                    None => self.accept(token)?,
                    Some(index) => self.serve(index, ready),
                }
            }
        }
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let stream = match self.listeners[listener].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.connections.len());
            self.poller.add_stream(&stream, (self.listeners.len() + index) as u64)?;
            let dialogue = match listener {
                HTTP => Dialogue::Http(http::Dialogue::default()),
                HTTP2 => Dialogue::Http2(Box::default()),
                _ => Dialogue::Bolt(bolt::Dialogue::default()),
            };
            let connection =
                Connection { stream, partial: Partial::new(), dialogue, is_ending: false };
            if index == self.connections.len() {
                self.connections.push(None);
            }
            self.connections[index] = Some(connection);
        }
    }

    fn serve(&mut self, index: usize, ready: Ready) {
        let Some(connection) = &mut self.connections[index] else { return };
        connection.is_ending |= ready.is_hung_up;
        if !matches!(connection.serve(&mut self.buffer), Ok(Served::Open)) {
            self.connections[index] = None;
            self.free.push(index);
        }
    }
}

/// What became of a connection.
enum Served {
    Open,
    Ended,
}

impl Connection {
    /// Reads and answers until the peer has nothing more, or takes nothing more: unsent answers
    /// leave further requests in the kernel.
    fn serve(&mut self, buffer: &mut ReadBuffer) -> io::Result<Served> {
        loop {
            if !self.dialogue.flush(&self.stream)? {
                return Ok(Served::Open);
            }
            let input = buffer.read(&self.stream, &mut self.partial)?;
            match input.transfer {
                Transfer::Moved(_) => {}
                Transfer::Blocked => return Ok(Served::Open),
                Transfer::Ended => return Ok(Served::Ended),
            }
            let taken = self.dialogue.receive(input.bytes).map_err(|Refused| REFUSED)?;
            self.partial.extend_from_slice(&input.bytes[taken..]);
            let may_hold_more = input.is_full || self.is_ending;
            if !self.dialogue.flush(&self.stream)? || !may_hold_more {
                return Ok(Served::Open);
            }
        }
    }
}

const REFUSED: io::ErrorKind = io::ErrorKind::InvalidData;

impl Dialogue {
    /// Answers all whole requests of `input`; gives the bytes that they took.
    fn receive(&mut self, input: &[u8]) -> Result<usize, Refused> {
        match self {
            Self::Http(http) => http.receive(input),
            Self::Http2(http2) => http2.receive(input),
            Self::Bolt(bolt) => bolt.receive(input),
        }
    }

    fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        match self {
            Self::Http(http) => http.flush(stream),
            Self::Http2(http2) => http2.flush(stream),
            Self::Bolt(bolt) => bolt.flush(stream),
        }
    }
}
