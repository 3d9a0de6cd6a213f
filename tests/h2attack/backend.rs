//! The upstream of the proxy under test: HTTP/1.1 on one thread, for an attack that a proxy passes on
//! is to cost the proxy more than its upstream.
//!
//! `/n/NUMBER` is answered with a text that holds the number, `/large` with 4 MiB; bodies of
//! requests are read and forgotten.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use socket2::SockRef;

use crate::poller::Poller;

/// Connections at a time: more than the streams that any attack parks.
const CONNECTIONS_MAX: usize = 8192;
/// What the kernel may hold of an answer, so that parked ones are parked here.
const SEND_BUFFER_BYTES: usize = 32 * 1024;
/// Bytes of a large answer.
const LARGE_BYTES: usize = 4 << 20;
/// A large answer is written in pieces of this length.
const PIECE: [u8; 16 * 1024] = [b'l'; 16 * 1024];
/// Bytes of a head, or of a line within a chunked body.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;
/// Lines of an answer.
const LINES: usize = 16;
/// The path of the large answer.
pub(crate) const LARGE_PATH: &str = "/large";
/// The token of the listener: no descriptor has it.
const LISTENER: u64 = u64::MAX;
/// Nothing is to be done without an event.
const SILENCE: Duration = Duration::from_secs(3600);

/// The path that is answered with [`body`].
pub(crate) fn path(number: u64) -> String {
    format!("/n/{number}")
}

/// What the answer to a number is to be.
pub(crate) fn body(number: u64) -> Vec<u8> {
    format!("this is the answer to {number}\n").repeat(LINES).into_bytes()
}

/// Begins to serve; it does until this process ends.
///
/// # Errors
/// The address cannot be listened at.
pub(crate) fn start(address: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    // As many as come at once; the standard library's queue is short.
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let poller = Poller::new()?;
    poller.add_listener(&listener, LISTENER)?;
    let backend = Backend { listener, poller, connections: HashMap::new(), next_token: 0 };
    thread::spawn(move || backend.serve());
    Ok(address)
}

struct Backend {
    listener: TcpListener,
    poller: Poller,
    connections: HashMap<u64, Connection>,
    next_token: u64,
}

impl Backend {
    fn serve(mut self) {
        let mut ready = Vec::new();
        while self.poller.wait(SILENCE, &mut ready).is_ok() {
            for event in &ready {
                if event.token == LISTENER {
                    self.accept();
                } else if let Some(connection) = self.connections.get_mut(&event.token) {
                    // Whatever is wrong with it, it is over.
                    if !connection.advance().unwrap_or(false) {
                        self.connections.remove(&event.token);
                    }
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            let is_ready = socket.set_nonblocking(true).is_ok()
                && socket.set_nodelay(true).is_ok()
                && SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES).is_ok()
                && self.connections.len() < CONNECTIONS_MAX;
            if is_ready && self.poller.add_stream(&socket, self.next_token).is_ok() {
                self.connections.insert(self.next_token, Connection::new(socket));
                self.next_token += 1;
            }
        }
    }
}

struct Connection {
    socket: TcpStream,
    input: Vec<u8>,
    reading: Reading,
    request: Request,
    output: Vec<u8>,
    /// Bytes of a large answer that are not written.
    large_left: usize,
}

/// What comes next from the proxy.
enum Reading {
    Head,
    /// So many bytes of a body.
    Sized(u64),
    /// The line before a chunk.
    ChunkSize,
    /// So many bytes of a chunk and of the end of its line; the last one is followed by the answer.
    Chunk {
        left: u64,
        is_last: bool,
    },
}

/// What matters of a request.
#[derive(Default)]
struct Request {
    is_head: bool,
    path: String,
}

impl Connection {
    fn new(socket: TcpStream) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        let (reading, request) = (Reading::Head, Request::default());
        Self { socket, input, reading, request, output, large_left: 0 }
    }

    /// Goes on until there is nothing to read or no room to write. `false`: it is over.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            if !self.flush()? {
                return Ok(true);
            }
            if self.step()? {
                continue;
            }
            if self.input.len() > HEAD_BYTES_MAX {
                return Ok(false);
            }
            let mut bytes = [0; READ_BYTES];
            match self.socket.read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what there is. `false`: there is no room for all of it.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.output.is_empty() || self.large_left > 0 {
            let bytes = match self.output.is_empty() {
                true => &PIECE[..PIECE.len().min(self.large_left)],
                false => &self.output[..],
            };
            match self.socket.write(bytes) {
                Ok(count) if self.output.is_empty() => self.large_left -= count,
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Takes the next part of a request. `false`: it is not there yet.
    fn step(&mut self) -> io::Result<bool> {
        match self.reading {
            Reading::Head => {
                let Some(head) = self.take_until(b"\r\n\r\n") else { return Ok(false) };
                self.reading = self.read_head(&head);
                self.answer_if_whole();
                Ok(true)
            }
            Reading::Sized(left) => {
                let left = self.skip(left);
                self.reading = Reading::Sized(left);
                self.answer_if_whole();
                Ok(left == 0)
            }
            Reading::ChunkSize => {
                let Some(line) = self.take_until(b"\r\n") else { return Ok(false) };
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| ErrorKind::InvalidData)?;
                self.reading = Reading::Chunk { left: size.saturating_add(2), is_last: size == 0 };
                Ok(true)
            }
            Reading::Chunk { left, is_last } => {
                let left = self.skip(left);
                self.reading = match (left, is_last) {
                    (0, true) => Reading::Sized(0),
                    (0, false) => Reading::ChunkSize,
                    (left, is_last) => Reading::Chunk { left, is_last },
                };
                self.answer_if_whole();
                Ok(left == 0)
            }
        }
    }

    /// What follows a head.
    fn read_head(&mut self, head: &str) -> Reading {
        let mut words = head.split_ascii_whitespace();
        let is_head = words.next() == Some("HEAD");
        self.request = Request { is_head, path: words.next().unwrap_or_default().to_owned() };
        let mut reading = Reading::Sized(0);
        for (name, value) in head.lines().filter_map(|it| it.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                reading = Reading::Sized(value.trim().parse().unwrap_or(0));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Reading::ChunkSize;
            }
        }
        reading
    }

    fn answer_if_whole(&mut self) {
        if matches!(self.reading, Reading::Sized(0)) {
            self.reading = Reading::Head;
            self.answer();
        }
    }

    fn answer(&mut self) {
        let path = &self.request.path;
        let number = path.strip_prefix("/n/").and_then(|it| it.parse().ok());
        let (status, length, body) = match number.map(body) {
            Some(body) => ("200 OK", body.len(), body),
            None if path == LARGE_PATH => ("200 OK", LARGE_BYTES, Vec::new()),
            None => ("404 Not Found", 0, Vec::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
        self.output.extend_from_slice(head.as_bytes());
        if !self.request.is_head {
            self.output.extend_from_slice(&body);
            self.large_left = length - body.len();
        }
    }

    /// What comes before a mark, if that has come.
    fn take_until(&mut self, mark: &[u8]) -> Option<String> {
        let end = self.input.windows(mark.len()).position(|it| it == mark)?;
        let text = String::from_utf8_lossy(&self.input[..end]).into_owned();
        self.input.drain(..end + mark.len());
        Some(text)
    }

    /// Forgets so many bytes; how many of them are still to come.
    fn skip(&mut self, bytes: u64) -> u64 {
        let here = bytes.min(self.input.len() as u64);
        self.input.drain(..here as usize);
        bytes - here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_answered_and_bodies_are_skipped_at_any_cut() {
        let requests = b"POST /n/1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
            POST /n/2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
            GET /none HTTP/1.1\r\n\r\nHEAD /large HTTP/1.1\r\n\r\n";
        let address = start(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        for cut in (0..requests.len()).step_by(7) {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.set_nodelay(true).unwrap();
            for part in [&requests[..cut], &requests[cut..]] {
                socket.write_all(part).unwrap();
            }
            let mut answers = String::new();
            while answers.matches("HTTP/1.1 ").count() < 4 || !answers.ends_with("\r\n\r\n") {
                let mut bytes = [0; 4096];
                let count = socket.read(&mut bytes).unwrap();
                assert!(count > 0, "{answers}");
                answers.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            }
            let lines: Vec<_> = answers.lines().filter(|it| it.starts_with("HTTP")).collect();
            let expected = ["200 OK", "200 OK", "404 Not Found", "200 OK"];
            assert_eq!(lines, expected.map(|it| format!("HTTP/1.1 {it}")));
            assert!(answers.contains("answer to 1\n") && answers.contains("answer to 2\n"));
            assert!(answers.ends_with("Content-Length: 4194304\r\n\r\n"));
        }
    }

    #[test]
    fn a_large_answer_is_long() {
        let address = start(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(b"GET /large HTTP/1.1\r\n\r\n").unwrap();
        let mut left = LARGE_BYTES;
        while left > 0 {
            let count = socket.read(&mut [0; 65_536]).unwrap();
            assert!(count > 0);
            left = left.saturating_sub(count);
        }
    }
}
