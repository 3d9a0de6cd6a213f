//! A healthy client's connection in HTTP/1.1.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use super::{Answer, PATIENCE, left, told};

/// An answer is at most this long, head included.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;

/// An open connection.
pub(super) struct Connection {
    socket: TcpStream,
    authority: String,
    is_closing: bool,
}

impl Connection {
    pub(super) fn open(target: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&target, PATIENCE)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, authority: target.to_string(), is_closing: false })
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.is_closing
    }

    pub(super) fn ask(&mut self, path: &str, deadline: Instant) -> io::Result<Answer> {
        if !self.is_open()? {
            return Ok(Answer::Unseen);
        }
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.authority);
        self.socket.set_write_timeout(left(deadline)?)?;
        self.socket.write_all(request.as_bytes()).map_err(told)?;
        let mut bytes = Vec::new();
        loop {
            if let Some(answer) = parse(&bytes)? {
                self.is_closing = answer.is_last;
                return match answer.status {
                    200 => Ok(Answer::Body(answer.body)),
                    other => Err(io::Error::other(format!("status {other}"))),
                };
            }
            self.socket.set_read_timeout(left(deadline)?)?;
            let mut piece = [0; READ_BYTES];
            match self.socket.read(&mut piece).map_err(told)? {
                0 => {
                    let words = "the connection ended before the answer";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, words));
                }
                _ if bytes.len() > ANSWER_BYTES_MAX => {
                    return Err(io::Error::other("an answer that is too long"));
                }
                count => bytes.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// Whether the target has not ended the connection since the last answer.
    fn is_open(&self) -> io::Result<bool> {
        self.socket.set_nonblocking(true)?;
        let peeked = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false)?;
        Ok(peeked.is_err_and(|it| it.kind() == ErrorKind::WouldBlock))
    }
}

/// A whole answer.
#[derive(Debug)]
struct Whole {
    status: u16,
    is_last: bool,
    body: Vec<u8>,
}

/// The answer, once it is whole.
fn parse(bytes: &[u8]) -> io::Result<Option<Whole>> {
    let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let rest = &bytes[end + 4..];
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no status"))?;
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(it, _)| *it == name).map(|(_, value)| value.trim().to_owned()).next()
    };
    let is_last = field("connection").is_some_and(|it| it == "close");
    let body = match field("content-length").and_then(|it| it.parse::<usize>().ok()) {
        Some(length) => rest.get(..length).map(<[u8]>::to_vec),
        None if field("transfer-encoding").is_some() => dechunk(rest)?,
        None => return Err(io::Error::other("an answer without a length")),
    };
    Ok(body.map(|body| Whole { status, is_last, body }))
}

/// A chunked body, once it is whole.
fn dechunk(mut rest: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|it| it == b"\r\n") else { return Ok(None) };
        let line = String::from_utf8_lossy(&rest[..end]);
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| ErrorKind::InvalidData)?;
        let begin = end + 2;
        let Some(chunk) = rest.get(begin..begin + size) else { return Ok(None) };
        let Some(after) = rest.get(begin + size + 2..) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(chunk);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        for answer in [&sized[..], &chunked[..]] {
            for cut in 0..answer.len() {
                assert!(parse(&answer[..cut]).unwrap().is_none());
            }
            let whole = parse(answer).unwrap().unwrap();
            assert_eq!((whole.status, whole.body.as_slice()), (200, &b"abc"[..]));
        }
        assert!(parse(sized).unwrap().unwrap().is_last);
        assert!(!parse(chunked).unwrap().unwrap().is_last);
    }
}
