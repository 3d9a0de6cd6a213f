//! The HTTP upstream of the demo: answers with what it received, as JSON.
//!
//! It reads the head itself, for no library hands the fields on in their order and with their
//! case, `Host` and the framing fields among them.

use std::io;

use bytes::{Buf, BytesMut};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a head, and of a line of a chunked body.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// Fields of a head.
const FIELDS_MAX: usize = 512;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// What the upstream received.
#[derive(Debug, Serialize)]
struct Received {
    method: String,
    /// The request target, query included.
    path: String,
    /// Name and value, in the order and with the case in which they came.
    headers: Vec<(String, String)>,
    /// In lower-case hexadecimal, of the body without its framing.
    body_sha256: String,
    body_bytes: u64,
}

/// How the body ends.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Sized(u64),
    Chunked,
}

#[derive(Debug)]
struct Head {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    framing: Framing,
    expects_continue: bool,
    keeps_alive: bool,
}

/// Answers the requests of one connection, one after the other.
pub(super) async fn serve(stream: TcpStream) -> io::Result<()> {
    let mut connection = Connection { stream, input: BytesMut::new() };
    while let Some(head) = connection.read_head().await? {
        if head.expects_continue {
            connection.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut body = Body { hash: Sha256::new(), bytes: 0 };
        match head.framing {
            Framing::Sized(bytes) => connection.read_sized(bytes, &mut body).await?,
            Framing::Chunked => connection.read_chunked(&mut body).await?,
        }
        let keeps_alive = head.keeps_alive;
        connection.stream.write_all(&answer(head, body)?).await?;
        if !keeps_alive {
            break;
        }
    }
    connection.stream.shutdown().await
}

struct Body {
    hash: Sha256,
    bytes: u64,
}

impl Body {
    fn add(&mut self, piece: &[u8]) {
        self.hash.update(piece);
        self.bytes += piece.len() as u64;
    }
}

fn answer(head: Head, body: Body) -> io::Result<Vec<u8>> {
    let digest = body.hash.finalize();
    let has_no_body = head.method == "HEAD";
    let connection = if head.keeps_alive { "" } else { "Connection: close\r\n" };
    let received = Received {
        method: head.method,
        path: head.path,
        headers: head.headers,
        body_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        body_bytes: body.bytes,
    };
    let mut json = serde_json::to_vec(&received)?;
    json.push(b'\n');
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{connection}\r\n",
        json.len()
    )
    .into_bytes();
    if !has_no_body {
        answer.extend_from_slice(&json);
    }
    Ok(answer)
}

struct Connection {
    stream: TcpStream,
    input: BytesMut,
}

impl Connection {
    /// Reads more; an end of input in the middle is an error.
    async fn fill(&mut self) -> io::Result<()> {
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The next head; `None` when the other side closed between two requests.
    async fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some((head, bytes)) = parse_head(&self.input)? {
                self.input.advance(bytes);
                return Ok(Some(head));
            }
            if self.input.len() > HEAD_BYTES_MAX {
                return Err(invalid("the head is too large"));
            }
            let was_empty = self.input.is_empty();
            match self.fill().await {
                Err(error) if was_empty && error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(None);
                }
                filled => filled?,
            }
        }
    }

    async fn read_sized(&mut self, mut left: u64, body: &mut Body) -> io::Result<()> {
        while left > 0 {
            if self.input.is_empty() {
                self.fill().await?;
            }
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
            body.add(&self.input[..piece]);
            self.input.advance(piece);
            left -= piece as u64;
        }
        Ok(())
    }

    async fn read_chunked(&mut self, body: &mut Body) -> io::Result<()> {
        loop {
            let line = self.read_line().await?;
            let size = line.as_ref().split(|it| *it == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(size.trim_ascii()).ok();
            let size = size.and_then(|it| u64::from_str_radix(it, 16).ok());
            match size.ok_or_else(|| invalid("no chunk size"))? {
                0 => break,
                bytes => self.read_sized(bytes, body).await?,
            }
            if !self.read_line().await?.is_empty() {
                return Err(invalid("no end of line after a chunk"));
            }
        }
        while !self.read_line().await?.is_empty() {}
        Ok(())
    }

    /// A line without its end.
    async fn read_line(&mut self) -> io::Result<BytesMut> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.input) {
                let mut line = self.input.split_to(at + 1);
                line.truncate(at);
                if line.last() == Some(&b'\r') {
                    line.truncate(at - 1);
                }
                return Ok(line);
            }
            if self.input.len() > HEAD_BYTES_MAX {
                return Err(invalid("a line is too long"));
            }
            self.fill().await?;
        }
    }
}

/// The head at the front of the input and its bytes; `None` when it is not whole.
fn parse_head(input: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(bytes) = request.parse(input).map_err(invalid)? else {
        return Ok(None);
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<(String, String)> =
        request.headers.iter().map(|it| (it.name.to_owned(), text(it.value))).collect();
    let find = |name: &str| {
        let found = headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let framing = match (find("transfer-encoding"), find("content-length")) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(length)) => Framing::Sized(length.parse().map_err(invalid)?),
        (None, None) => Framing::Sized(0),
    };
    let asks_to_close = find("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        framing,
        expects_continue: find("expect").is_some_and(|it| it.eq_ignore_ascii_case("100-continue")),
        keeps_alive: request.version == Some(1) && !asks_to_close,
        headers,
    };
    Ok(Some((head, bytes)))
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use serde_json::{Value, json};

    use super::*;

    /// Sends one request in pieces of a given size and gives all that comes back.
    fn exchange(request: &[u8], piece_bytes: usize) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async { serve(TcpStream::from_std(stream)?).await })
        });
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        request.chunks(piece_bytes).for_each(|piece| stream.write_all(piece).unwrap());
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        // A request that was cut off ends in an error, which the test sees in the answer.
        let _ = server.join().unwrap();
        answer
    }

    fn body_of(answer: &str) -> Value {
        let (_, body) = answer.rsplit_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn fields_are_shown_in_their_order_and_with_their_case() {
        let request = b"POST /a?b=%20c HTTP/1.1\r\nX-Two: 2\r\nHost: h\r\nx-oNE: 1\r\n\
            Content-Length: 3\r\nX-Two: 3\r\n\r\nabc";
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for piece_bytes in [1, 7, 4096] {
            assert_eq!(
                body_of(&exchange(request, piece_bytes)),
                json!({
                    "method": "POST", "path": "/a?b=%20c",
                    "headers": [["X-Two", "2"], ["Host", "h"], ["x-oNE", "1"],
                                ["Content-Length", "3"], ["X-Two", "3"]],
                    "body_sha256": sha, "body_bytes": 3
                })
            );
        }
    }

    #[test]
    fn a_chunked_body_is_hashed_without_its_framing_and_the_connection_goes_on() {
        let request = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n\
            2\r\nbc\r\n0\r\nT: v\r\n\r\nGET /next HTTP/1.1\r\n\r\n";
        for piece_bytes in [1, 4096] {
            let answers = exchange(request, piece_bytes);
            let first = answers.split("HTTP/1.1 200 OK").nth(1).unwrap();
            assert_eq!(body_of(first.trim_end())["body_bytes"], 3);
            assert!(first.contains("ba7816bf8f01cfea"));
            assert_eq!(body_of(&answers)["path"], "/next");
        }
    }

    #[test]
    fn head_is_answered_without_a_body_and_close_closes() {
        let answer =
            exchange(b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n", 4096);
        assert!(answer.ends_with("Connection: close\r\n\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1);
    }

    #[test]
    fn a_client_that_waits_is_told_to_go_on() {
        let request = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
        let answer = exchange(request, 4096);
        assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    }

    #[test]
    fn nonsense_ends_the_connection_without_an_answer() {
        for request in [&b"nonsense\r\n\r\n"[..], b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"] {
            assert_eq!(exchange(request, 4096), "");
        }
    }
}
