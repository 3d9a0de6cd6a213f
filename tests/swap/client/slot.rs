//! One client: its connection, what waits to be sent on it, and what became of it so far.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use socket2::{Domain, Socket, Type};

use super::talk::{Around, Talk};
use crate::{
    ask::Ask,
    group::Group,
    tally::{Client, Fault},
    transfer::{Input, Outbox, ReadBuffer},
};

/// One client.
pub(super) struct Slot {
    /// What it is.
    pub(super) group: Group,
    /// Its number within the group.
    pub(super) index: usize,
    /// Counts its connections, so that an event of an earlier one is not taken for one of this.
    pub(super) generation: u32,
    /// Its connection, when there is one.
    pub(super) connection: Option<Connection>,
    /// Requests that are due and could not be sent yet.
    pub(super) waiting: VecDeque<(Instant, Ask)>,
    /// What became of it.
    pub(super) client: Client,
    /// When it heard something last.
    pub(super) last_heard: Option<Instant>,
}

/// A connection.
pub(super) struct Connection {
    stream: TcpStream,
    is_connected: bool,
    kept: Vec<u8>,
    outbox: Outbox,
    /// What is said on it.
    pub(super) talk: Box<dyn Talk>,
}

/// What a connection is for and where it leads.
pub(super) struct Way {
    /// The proxy.
    pub(super) target: SocketAddr,
    /// The address to come from; the kernel chooses the port.
    pub(super) source: SocketAddr,
    /// Bytes of the receive buffer, where the kernel's choice is too many.
    pub(super) buffer_bytes: Option<usize>,
}

impl Slot {
    /// A client without a connection.
    pub(super) fn new(group: Group, index: usize) -> Self {
        Self {
            group,
            index,
            generation: 0,
            connection: None,
            waiting: VecDeque::new(),
            client: Client::default(),
            last_heard: None,
        }
    }

    /// Whether nothing is in flight and nothing waits.
    pub(super) fn is_quiet(&self) -> bool {
        let is_quiet = |it: &Connection| it.is_connected && it.talk.is_quiet();
        self.waiting.is_empty() && self.connection.as_ref().is_none_or(is_quiet)
    }
}

impl Connection {
    /// Begins to connect.
    pub(super) fn open(way: &Way, talk: Box<dyn Talk>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = way.buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(&way.source.into())?;
        match socket.connect(&way.target.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        Ok(Self {
            stream: socket.into(),
            is_connected: false,
            kept: Vec::new(),
            outbox: Outbox::default(),
            talk,
        })
    }

    /// The socket alone.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// The socket.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether it has come about.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Whether it came about just now.
    ///
    /// # Errors
    /// It never will.
    pub(super) fn connects(&mut self) -> Result<bool, Fault> {
        match self.stream.take_error() {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return Err(Fault::Refused),
        }
        if self.stream.peer_addr().is_err() {
            return Ok(false);
        }
        self.is_connected = true;
        Ok(true)
    }

    /// Says something: what is appended goes out by one write.
    pub(super) fn say(
        &mut self,
        put: impl FnOnce(&mut dyn Talk, usize, &mut Vec<u8>),
    ) -> Result<(), Fault> {
        let unsent = self.outbox.unsent();
        put(self.talk.as_mut(), unsent, self.outbox.tail());
        self.flush()
    }

    /// Goes on with a write that was short.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        self.outbox.flush(&self.stream).map_err(|error| ending(&error))
    }

    /// Hears what has come; whether anything had.
    pub(super) fn hear(
        &mut self,
        buffer: &mut ReadBuffer,
        around: &mut Around<'_>,
    ) -> Result<bool, Fault> {
        let mut has_heard = false;
        loop {
            let appetite = self.talk.appetite();
            let input = buffer.read(&self.stream, &mut self.kept, appetite);
            match input.map_err(|error| ending(&error))? {
                Input::Nothing => return Ok(has_heard),
                Input::End => return Err(Fault::Closed),
                Input::Bytes(bytes) => {
                    has_heard = true;
                    let taken = self.talk.receive(bytes, around)?;
                    self.kept.extend_from_slice(&bytes[taken..]);
                    self.talk.take_output(self.outbox.tail());
                    self.flush()?;
                }
            }
        }
    }
}

fn ending(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::InvalidData => Fault::Malformed,
        _ => Fault::Reset,
    }
}
