//! The servers behind the proxy: one thread with epoll. Each request is entered into the ledger;
//! each connection that the proxy opens or ends is noted.

mod bolt;
mod h2;
mod http;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::{
    ask::Ask,
    clock,
    ledger::Ledger,
    plan::SPREAD,
    poller::{Poller, Ready},
    stream::TICK,
    timeline::Timeline,
    transfer::{Input, Outbox, ReadBuffer},
};

/// Connections that wait to be accepted at most.
const QUEUE_MAX: i32 = 4096;

/// Servers that listen and do not serve yet.
pub(crate) struct Backend {
    poller: Poller,
    listeners: [TcpListener; 3],
    hold_max: Duration,
    upstreams: Arc<Upstreams>,
}

/// Servers that serve; they stay in their thread.
struct Server {
    poller: Poller,
    listeners: [TcpListener; 3],
    connections: Vec<Option<Connection>>,
    generations: Vec<u32>,
    free: Vec<usize>,
    /// Connections on which something goes on by itself.
    streaming: Vec<usize>,
    buffer: ReadBuffer,
    late: BinaryHeap<Reverse<Late>>,
    held: Vec<Held>,
    /// A request that waits for the end of a swap is answered after this time whatever happens.
    hold_max: Duration,
    upstreams: Arc<Upstreams>,
}

/// What happened to connections from the proxy.
#[derive(Default)]
pub(crate) struct Upstreams {
    opened: Mutex<Vec<Instant>>,
    closed: Mutex<Vec<Instant>>,
    malformed: Mutex<u64>,
}

const HTTP: usize = 0;
const BOLT: usize = 1;
const HTTP2: usize = 2;

struct Connection {
    stream: TcpStream,
    kept: Vec<u8>,
    outbox: Outbox,
    serve: Box<dyn Serve>,
}

/// An answer that is given later.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Late {
    at: Instant,
    token: u64,
    bytes: Vec<u8>,
}

/// An answer that is given when a swap is over.
struct Held {
    swap: u32,
    deadline: Instant,
    token: u64,
    bytes: Vec<u8>,
}

/// What there is besides the connection.
struct Around<'a> {
    ledger: &'a Ledger,
    /// Answers, each with when it is to be given.
    answers: Vec<(Ask, Vec<u8>)>,
    /// Whether what has no end of its own is to end.
    is_ending: bool,
}

/// The peer sent something that nobody here takes.
struct Refused;

/// A protocol, without IO.
trait Serve {
    /// Takes what it can of the input; gives how many bytes it took.
    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Refused>;

    /// An answer that was to be given later, or at once, is given now.
    fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
    }

    /// What is to be sent besides answers, because of what was received.
    fn take_output(&mut self, _out: &mut Vec<u8>) {}

    /// Whether something goes on by itself.
    fn is_streaming(&self) -> bool {
        false
    }

    /// Time has gone by.
    fn tick(&mut self, _unsent: usize, _around: &Around<'_>, _out: &mut Vec<u8>) {}

    /// How much it reads until the next tick.
    fn appetite(&self) -> usize {
        usize::MAX
    }

    /// Whether the connection is to be closed when all is written.
    fn is_last(&self) -> bool {
        false
    }
}

impl Upstreams {
    /// How many connections were opened and ended by the proxy at instants like these.
    pub(crate) fn count(&self, is_meant: impl Fn(Instant) -> bool) -> (u64, u64) {
        let count = |instants: &Mutex<Vec<Instant>>| {
            let instants = instants.lock().expect("no poison");
            instants.iter().filter(|it| is_meant(**it)).count() as u64
        };
        (count(&self.opened), count(&self.closed))
    }

    /// Connections on which the proxy sent what is no request.
    pub(crate) fn malformed(&self) -> u64 {
        *self.malformed.lock().expect("no poison")
    }
}

impl Backend {
    /// Listens for HTTP/1.1, HTTP/2 and Bolt on free ports. A request that is to be in flight through a
    /// swap is answered after this time even if the swap is not over.
    ///
    /// # Errors
    /// No port is free.
    pub(crate) fn bind(hold_max: Duration) -> io::Result<Self> {
        let poller = Poller::new()?;
        let listeners = [listen()?, listen()?, listen()?];
        for (token, listener) in (0..).zip(&listeners) {
            poller.add_listener(listener, token)?;
        }
        Ok(Self { poller, listeners, hold_max, upstreams: Arc::default() })
    }

    /// Where HTTP/1.1 is served.
    pub(crate) fn http(&self) -> io::Result<SocketAddr> {
        self.listeners[HTTP].local_addr()
    }

    /// Where HTTP/2 is served.
    pub(crate) fn http2(&self) -> io::Result<SocketAddr> {
        self.listeners[HTTP2].local_addr()
    }

    /// Where Bolt is served.
    pub(crate) fn bolt(&self) -> io::Result<SocketAddr> {
        self.listeners[BOLT].local_addr()
    }

    /// What becomes of connections.
    pub(crate) fn upstreams(&self) -> Arc<Upstreams> {
        Arc::clone(&self.upstreams)
    }

    /// Serves until the run is over.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub(crate) fn run(self, ledger: &Ledger, timeline: &Timeline) -> io::Result<()> {
        let server = Server {
            poller: self.poller,
            listeners: self.listeners,
            connections: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            streaming: Vec::new(),
            buffer: ReadBuffer::new(),
            late: BinaryHeap::new(),
            held: Vec::new(),
            hold_max: self.hold_max,
            upstreams: self.upstreams,
        };
        server.run(ledger, timeline)
    }
}

impl Server {
    fn run(mut self, ledger: &Ledger, timeline: &Timeline) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut next_tick = clock::now();
        while !timeline.is_over() {
            let now = clock::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.release_held(timeline, now);
                self.tick(ledger, timeline, now);
            }
            self.answer_late(now);
            let next = self.late.peek().map_or(next_tick, |Reverse(it)| it.at.min(next_tick));
            self.poller.wait(next.saturating_duration_since(clock::now()), &mut ready)?;
            let now = clock::now();
            for event in &ready {
                match self.listeners.get(event.token as usize) {
                    Some(_) => self.accept(event.token as usize, now)?,
                    None => self.serve(*event, ledger, timeline, now),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: usize, now: Instant) -> io::Result<()> {
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
            if index == self.connections.len() {
                self.connections.push(None);
                self.generations.push(0);
            }
            let serve: Box<dyn Serve> = match listener {
                HTTP => Box::new(http::Http::default()),
                HTTP2 => Box::new(h2::Http2::new()),
                _ => Box::new(bolt::Bolt),
            };
            self.poller.add_stream(&stream, self.token(index))?;
            let (kept, outbox) = (Vec::new(), Outbox::default());
            self.connections[index] = Some(Connection { stream, kept, outbox, serve });
            self.upstreams.opened.lock().expect("no poison").push(now);
        }
    }

    /// The number under which a connection is known to the kernel; one that was there before in
    /// its place had another one.
    fn token(&self, index: usize) -> u64 {
        let number = (index + self.listeners.len()) as u64;
        u64::from(self.generations[index]) << 32 | number
    }

    fn index(&self, token: u64) -> Option<usize> {
        let index = ((token & 0xffff_ffff) as usize).checked_sub(self.listeners.len())?;
        let is_current = u64::from(*self.generations.get(index)?) == token >> 32;
        (is_current && self.connections[index].is_some()).then_some(index)
    }

    fn serve(&mut self, ready: Ready, ledger: &Ledger, timeline: &Timeline, now: Instant) {
        if let Some(index) = self.index(ready.token) {
            self.go_on(index, ledger, timeline, now);
        }
    }

    /// Reads and answers what there is.
    fn go_on(&mut self, index: usize, ledger: &Ledger, timeline: &Timeline, now: Instant) {
        let token = self.token(index);
        let Some(connection) = &mut self.connections[index] else { return };
        let is_ending = timeline.is_sending_over();
        let mut around = Around { ledger, answers: Vec::new(), is_ending };
        let was_streaming = connection.serve.is_streaming();
        let outcome = connection.read(&mut self.buffer, &mut around);
        for (ask, bytes) in around.answers {
            match ask {
                Ask::Now => {
                    connection.serve.answer(&bytes, connection.outbox.tail());
                }
                Ask::After(ms) => {
                    let at = now + Duration::from_millis(ms.into());
                    self.late.push(Reverse(Late { at, token, bytes }));
                }
                Ask::PastSwap(swap) => {
                    timeline.see_hold();
                    self.held.push(Held { swap, deadline: now + self.hold_max, token, bytes });
                }
            }
        }
        connection.serve.take_output(connection.outbox.tail());
        let is_streaming = connection.serve.is_streaming();
        let is_written = connection.outbox.flush(&connection.stream).is_ok();
        let is_last = connection.serve.is_last() && connection.outbox.unsent() == 0;
        if is_streaming && !was_streaming {
            self.streaming.push(index);
        }
        match outcome {
            Ok(Outcome::Open) if is_written && !is_last => {}
            Ok(Outcome::Open) if is_last => self.close(index),
            Ok(_) => {
                self.upstreams.closed.lock().expect("no poison").push(now);
                self.close(index);
            }
            Err(Refused) => {
                *self.upstreams.malformed.lock().expect("no poison") += 1;
                self.close(index);
            }
        }
    }

    fn close(&mut self, index: usize) {
        self.connections[index] = None;
        self.generations[index] = self.generations[index].wrapping_add(1);
        self.free.push(index);
        self.streaming.retain(|it| *it != index);
    }

    fn tick(&mut self, ledger: &Ledger, timeline: &Timeline, now: Instant) {
        let connections = &self.connections;
        self.streaming
            .retain(|index| connections[*index].as_ref().is_some_and(|it| it.serve.is_streaming()));
        for index in self.streaming.clone() {
            let Some(connection) = &mut self.connections[index] else { continue };
            let unsent = connection.outbox.unsent();
            let is_ending = timeline.is_sending_over();
            let around = Around { ledger, answers: Vec::new(), is_ending };
            connection.serve.tick(unsent, &around, connection.outbox.tail());
            self.go_on(index, ledger, timeline, now);
        }
    }

    fn release_held(&mut self, timeline: &Timeline, now: Instant) {
        let ended = timeline.ended();
        let is_due = |it: &mut Held| it.swap < ended || now >= it.deadline;
        let due: Vec<Held> = self.held.extract_if(.., is_due).collect();
        let step = SPREAD / (due.len().max(1) as u32);
        for (nth, Held { token, bytes, .. }) in (0..).zip(due) {
            self.late.push(Reverse(Late { at: now + step * nth, token, bytes }));
        }
    }

    fn answer_late(&mut self, now: Instant) {
        while let Some(Reverse(next)) = self.late.peek() {
            if next.at > now {
                return;
            }
            let Some(Reverse(Late { token, bytes, .. })) = self.late.pop() else { return };
            let Some(index) = self.index(token) else { continue };
            let Some(connection) = &mut self.connections[index] else { continue };
            connection.serve.answer(&bytes, connection.outbox.tail());
            // If the connection is broken, that shows when it is read.
            let _ = connection.outbox.flush(&connection.stream);
        }
    }
}

/// What became of a connection.
enum Outcome {
    Open,
    Ended,
}

impl Connection {
    fn read(
        &mut self,
        buffer: &mut ReadBuffer,
        around: &mut Around<'_>,
    ) -> Result<Outcome, Refused> {
        loop {
            let input = buffer.read(&self.stream, &mut self.kept, self.serve.appetite());
            match input {
                Ok(Input::Nothing) => return Ok(Outcome::Open),
                Ok(Input::End) | Err(_) => return Ok(Outcome::Ended),
                Ok(Input::Bytes(bytes)) => {
                    let taken = self.serve.receive(bytes, around)?;
                    self.kept.extend_from_slice(&bytes[taken..]);
                }
            }
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(QUEUE_MAX)?;
    Ok(socket.into())
}
