//! The yardstick: a byte relay that does as little as a proxy can do.
//!
//! One thread, epoll edge-triggered, one upstream connection for each client connection, one
//! buffer of 64 KiB for all, no parsing. A wake-up costs one read and one write; a read that did
//! not fill the buffer has emptied the socket, so no second read is made to be told so.

pub mod uring;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use crate::poller::{Events, Poller, Ready};
use crate::transfer::{self, Outbox, Transfer};

/// What one read takes at most.
const BUFFER_BYTES: usize = 64 * 1024;

/// One listening address and where its connections lead.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the relay connects.
    pub upstream: SocketAddr,
}

/// Relays until the process ends.
///
/// # Errors
/// An address cannot be listened on, or the process has no descriptor left.
pub fn run(hops: &[Hop]) -> io::Result<()> {
    let mut relay = Relay::new(hops)?;
    let mut events = Events::new();
    loop {
        relay.turn(&mut events)?;
    }
}

struct Relay {
    poller: Poller,
    listeners: Vec<(TcpListener, SocketAddr)>,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

/// A client connection and its upstream connection.
struct Pair {
    sockets: [TcpStream; 2],
    /// `flows[CLIENT]` starts at the client, `flows[UPSTREAM]` at the upstream.
    flows: [Flow; 2],
}

/// One direction of a pair.
#[derive(Default)]
struct Flow {
    unsent: Outbox,
    /// The end of the stream is somewhere behind the bytes in the kernel: a short read proves
    /// nothing any more.
    is_ending: bool,
    has_ended: bool,
}

const CLIENT: usize = 0;
const UPSTREAM: usize = 1;

impl Relay {
    fn new(hops: &[Hop]) -> io::Result<Self> {
        let poller = Poller::new()?;
        let mut listeners = Vec::with_capacity(hops.len());
        for hop in hops {
            let listener = TcpListener::bind(hop.listen)?;
            listener.set_nonblocking(true)?;
            poller.add_source(&listener, listeners.len() as u64)?;
            listeners.push((listener, hop.upstream));
        }
        let buffer = vec![0; BUFFER_BYTES];
        Ok(Self { poller, listeners, pairs: Vec::new(), free: Vec::new(), buffer })
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.poller.wait(events, None)?;
        for ready in events.iter() {
            let token = ready.token as usize;
            match token.checked_sub(self.listeners.len()) {
                None => self.accept(token)?,
                Some(socket) => self.carry(socket / 2, socket % 2, ready),
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let (listener, upstream) = &self.listeners[listener];
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            // A refused upstream drops the client: the relay has no words of its own.
            if let Ok(upstream) = TcpStream::connect(upstream) {
                self.join(client, upstream)?;
            }
        }
    }

    fn join(&mut self, client: TcpStream, upstream: TcpStream) -> io::Result<()> {
        let sockets = [client, upstream];
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
        }
        let index = self.free.pop().unwrap_or(self.pairs.len());
        let first_token = (self.listeners.len() + 2 * index) as u64;
        self.poller.add_stream(&sockets[CLIENT], first_token)?;
        self.poller.add_stream(&sockets[UPSTREAM], first_token + 1)?;
        if index == self.pairs.len() {
            self.pairs.push(None);
        }
        self.pairs[index] = Some(Pair { sockets, flows: [Flow::default(), Flow::default()] });
        Ok(())
    }

    /// An event may be meant for a pair that ended earlier in the same batch; then it costs the
    /// pair that has its place now one read in vain.
    fn carry(&mut self, index: usize, side: usize, ready: Ready) {
        let Some(pair) = &mut self.pairs[index] else { return };
        if pair.carry(side, ready, &mut self.buffer).is_err() || pair.has_ended() {
            self.pairs[index] = None;
            self.free.push(index);
        }
    }
}

impl Pair {
    fn carry(&mut self, side: usize, ready: Ready, buffer: &mut [u8]) -> io::Result<()> {
        let other = 1 - side;
        self.flows[side].is_ending |= ready.is_hung_up;
        if ready.is_writable && !self.flows[other].unsent.is_empty() {
            self.pump(other, buffer)?;
        }
        if ready.is_readable && self.flows[side].unsent.is_empty() {
            self.pump(side, buffer)?;
        }
        Ok(())
    }

    /// Moves bytes from `side` to the other until one of them has enough.
    fn pump(&mut self, side: usize, buffer: &mut [u8]) -> io::Result<()> {
        let (source, sink) = (&self.sockets[side], &self.sockets[1 - side]);
        let flow = &mut self.flows[side];
        if !flow.unsent.flush(sink)? {
            return Ok(());
        }
        while !flow.has_ended {
            let bytes = match transfer::read(source, buffer)? {
                Transfer::Moved(bytes) => bytes,
                Transfer::Blocked => return Ok(()),
                Transfer::Ended => {
                    flow.has_ended = true;
                    return sink.shutdown(Shutdown::Write);
                }
            };
            if !flow.send(sink, &buffer[..bytes])? {
                return Ok(());
            }
            if bytes < buffer.len() && !flow.is_ending {
                return Ok(());
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.flows.iter().all(|flow| flow.has_ended)
    }
}

impl Flow {
    /// Writes straight from the read buffer; only what the kernel refuses is copied.
    fn send(&mut self, sink: &TcpStream, bytes: &[u8]) -> io::Result<bool> {
        let sent = match transfer::write(sink, bytes)? {
            Transfer::Moved(sent) => sent,
            Transfer::Blocked => 0,
            Transfer::Ended => return Err(io::ErrorKind::WriteZero.into()),
        };
        if sent == bytes.len() {
            return Ok(true);
        }
        self.unsent.tail().extend_from_slice(&bytes[sent..]);
        self.unsent.flush(sink)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::body::{BODY_BYTES_MAX, body};

    /// A relay on its own thread, which the end of the test process ends, and its upstream.
    fn relay_to(upstream: &TcpListener) -> SocketAddr {
        let listen = "127.0.0.1:0".parse().unwrap();
        let hop = Hop { listen, upstream: upstream.local_addr().unwrap() };
        let mut relay = Relay::new(&[hop]).unwrap();
        let address = relay.listeners[0].0.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut events = Events::new();
            while relay.turn(&mut events).is_ok() {}
        });
        address
    }

    #[test]
    fn bytes_and_ends_cross_both_ways_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(relay_to(&listener)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        // More than all the buffers between them hold, so that writes are short.
        let echo = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for _ in 0..16 {
                server.write_all(body(BODY_BYTES_MAX)).unwrap();
            }
            server.shutdown(Shutdown::Write).unwrap();
            server.read_to_end(&mut seen).unwrap();
            seen
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), 16 * BODY_BYTES_MAX);
        assert!(received.chunks(BODY_BYTES_MAX).all(|chunk| chunk == body(BODY_BYTES_MAX)));
        for _ in 0..16 {
            client.write_all(body(BODY_BYTES_MAX)).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        let seen = echo.join().unwrap();
        assert_eq!(seen.len(), 16 * BODY_BYTES_MAX);
        assert!(seen.chunks(BODY_BYTES_MAX).all(|chunk| chunk == body(BODY_BYTES_MAX)));
    }

    #[test]
    fn a_refused_upstream_ends_the_client_connection() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = gone.local_addr().unwrap();
        let hop = Hop { listen: "127.0.0.1:0".parse().unwrap(), upstream: address };
        drop(gone);
        let mut relay = Relay::new(&[hop]).unwrap();
        let address = relay.listeners[0].0.local_addr().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        relay.turn(&mut Events::new()).unwrap();
        assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
}
