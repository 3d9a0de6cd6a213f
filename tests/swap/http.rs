//! A plain reading of HTTP/1.1, for both ends: heads, and bodies piece by piece.

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body, or one until the end of the connection, which nobody here sends.
    Unsaid,
    /// So many bytes.
    Sized(u64),
    /// Chunks.
    Chunked,
}

/// A head at the front of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// The first line.
    pub(crate) start: &'a str,
    /// What follows.
    pub(crate) framing: Framing,
    /// The key of a WebSocket (RFC 6455 §4.1).
    pub(crate) websocket_key: Option<&'a str>,
    /// The sender closes the connection afterwards.
    pub(crate) closes: bool,
    /// Bytes of the head, its end included.
    pub(crate) bytes: usize,
}

/// Input that is no HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Longer heads are a mistake of the proxy.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longer lines around chunks are, too.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// Reads the head at the front; `None` if it has not come whole.
pub(crate) fn head(input: &[u8]) -> Result<Option<Head<'_>>, Malformed> {
    let Some(length) = input.windows(4).position(|it| it == b"\r\n\r\n") else {
        return if input.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    let text = std::str::from_utf8(&input[..length]).map_err(|_| Malformed)?;
    let mut lines = text.split("\r\n");
    let start = lines.next().ok_or(Malformed)?;
    let mut head = Head {
        start,
        framing: Framing::Unsaid,
        websocket_key: None,
        closes: false,
        bytes: length + 4,
    };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Malformed)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.framing = Framing::Sized(value.parse().map_err(|_| Malformed)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(Malformed);
            }
            head.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("sec-websocket-key") {
            head.websocket_key = Some(value);
        } else if name.eq_ignore_ascii_case("connection") {
            let mut options = value.split(',');
            head.closes |= options.any(|it| it.trim().eq_ignore_ascii_case("close"));
        }
    }
    Ok(Some(head))
}

/// The status code in the first line of a response.
pub(crate) fn status(start: &str) -> Result<u16, Malformed> {
    let code = start.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3)).ok_or(Malformed)?;
    code.parse().map_err(|_| Malformed)
}

/// A body that comes piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Body(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sized { left: u64 },
    ChunkSize,
    Chunk { left: u64 },
    ChunkEnd,
    Trailers,
    Done,
}

impl Body {
    /// What follows a head.
    pub(crate) fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Unsaid | Framing::Sized(0) => State::Done,
            Framing::Sized(left) => State::Sized { left },
            Framing::Chunked => State::ChunkSize,
        })
    }

    /// Whether it has come whole.
    pub(crate) fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Takes what belongs to it from the front of the input and hands the content over; gives how
    /// many bytes it took.
    pub(crate) fn take(
        &mut self,
        input: &[u8],
        mut content: impl FnMut(&[u8]),
    ) -> Result<usize, Malformed> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            match self.0 {
                State::Done => return Ok(taken),
                State::Sized { left } | State::Chunk { left } => {
                    let count = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if count == 0 {
                        return Ok(taken);
                    }
                    content(&rest[..count]);
                    taken += count;
                    self.0 = self.after(left - count as u64);
                }
                State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    let Some(line) = line(rest)? else { return Ok(taken) };
                    taken += line.len() + 2;
                    self.0 = self.after_line(line)?;
                }
            }
        }
    }

    fn after(self, left: u64) -> State {
        match (self.0, left) {
            (State::Sized { .. }, 0) => State::Done,
            (State::Sized { .. }, left) => State::Sized { left },
            (_, 0) => State::ChunkEnd,
            (_, left) => State::Chunk { left },
        }
    }

    fn after_line(self, line: &str) -> Result<State, Malformed> {
        match (self.0, line) {
            (State::ChunkEnd, "") => Ok(State::ChunkSize),
            (State::Trailers, "") => Ok(State::Done),
            (State::Trailers, _) => Ok(State::Trailers),
            (State::ChunkSize, _) => {
                let digits = line.split(';').next().unwrap_or_default().trim();
                match u64::from_str_radix(digits, 16).map_err(|_| Malformed)? {
                    0 => Ok(State::Trailers),
                    left => Ok(State::Chunk { left }),
                }
            }
            _ => Err(Malformed),
        }
    }
}

/// The line at the front, without its end; `None` if it has not come whole.
fn line(input: &[u8]) -> Result<Option<&str>, Malformed> {
    let Some(length) = input.windows(2).position(|it| it == b"\r\n") else {
        return if input.len() > LINE_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    Ok(Some(std::str::from_utf8(&input[..length]).map_err(|_| Malformed)?))
}

/// Appends a piece of a chunked body as one chunk.
pub(crate) fn put_chunk(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>), bytes: usize) {
    out.extend_from_slice(format!("{bytes:x}\r\n").as_bytes());
    put(out);
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_what_follows() {
        let input = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: a, Close\r\n\r\nrest";
        let whole = head(input).unwrap().unwrap();
        assert_eq!((whole.framing, whole.closes), (Framing::Sized(12), true));
        assert_eq!((&input[whole.bytes..], status(whole.start)), (&b"rest"[..], Ok(200)));
        assert_eq!(head(&input[..whole.bytes - 1]), Ok(None));
        assert_eq!(head(b"no head\r\nat all\r\n\r\n"), Err(Malformed));
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let mut chunked = Vec::new();
        for piece in [&b"one"[..], b"and another"] {
            put_chunk(&mut chunked, |out| out.extend_from_slice(piece), piece.len());
        }
        chunked.extend_from_slice(LAST_CHUNK);
        let bodies = [(Framing::Chunked, chunked), (Framing::Sized(14), b"oneand another".into())];
        for (framing, mut bytes) in bodies {
            let length = bytes.len();
            bytes.extend_from_slice(b"next");
            for cut in 0..length {
                let (mut body, mut content) = (Body::new(framing), Vec::new());
                let taken = body.take(&bytes[..cut], |it| content.extend_from_slice(it)).unwrap();
                assert!(!body.is_done(), "cut at {cut}");
                let rest = &bytes[taken..];
                let more = body.take(rest, |it| content.extend_from_slice(it)).unwrap();
                assert!(body.is_done(), "cut at {cut}");
                assert_eq!((&rest[more..], &content[..]), (&b"next"[..], &b"oneand another"[..]));
            }
        }
    }

    #[test]
    fn a_broken_chunk_is_malformed() {
        assert_eq!(Body::new(Framing::Chunked).take(b"xyz\r\n", |_| {}), Err(Malformed));
        assert_eq!(Body::new(Framing::Chunked).take(b"1\r\nabc\r\n", |_| {}), Err(Malformed));
    }
}
