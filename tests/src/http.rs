//! A second, plain reading of HTTP/1.1.

use crate::{Peer, peer::show};

/// A request or a response, read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The first line, without its end.
    pub start: String,
    /// The fields in order, names as they came.
    pub fields: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Sizes of the chunks; empty when the body was not chunked.
    pub chunks: Vec<usize>,
    /// The fields after a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// The value of the only field of that name.
    ///
    /// # Panics
    /// When there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        let first = values.next();
        assert!(values.next().is_none(), "several fields {name}: {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    /// The status code of a response.
    ///
    /// # Panics
    /// When this is no response.
    pub fn status(&self) -> u16 {
        let code = self.start.strip_prefix("HTTP/1.1 ").or(self.start.strip_prefix("HTTP/1.0 "));
        code.and_then(|it| it.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {}", self.start))
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked"))
    }

    fn content_length(&self) -> Option<usize> {
        self.field("content-length").map(|it| it.parse().expect("a content length"))
    }
}

/// A request with the usual fields, to be ended by the caller's own ones.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A POST with a sized body.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A 200 with a sized body.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One chunk.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

impl Peer {
    /// The head of a message; `None` when the connection ended before its first byte.
    ///
    /// # Panics
    /// When it is none, or is cut off.
    pub fn try_read_head(&mut self) -> Option<Message> {
        let start = text(&self.try_read_line()?);
        Some(Message { start, fields: self.read_fields(), ..Message::default() })
    }

    /// The head of a message.
    ///
    /// # Panics
    /// When the connection ended before.
    pub fn read_head(&mut self) -> Message {
        self.try_read_head().expect("a head, but the connection ended")
    }

    /// The next request with its body; `None` when the connection ended before its first byte.
    pub fn try_read_request(&mut self) -> Option<Message> {
        let mut message = self.try_read_head()?;
        if message.is_chunked() {
            self.read_chunks(&mut message);
        } else if let Some(bytes) = message.content_length() {
            message.body = self.read_exactly(bytes);
        }
        Some(message)
    }

    /// The next request with its body.
    ///
    /// # Panics
    /// When the connection ended before.
    pub fn read_request(&mut self) -> Message {
        self.try_read_request().expect("a request, but the connection ended")
    }

    /// The next final response to a request of that method, with its body. Informational
    /// responses are left out.
    ///
    /// # Panics
    /// When the connection ended before.
    pub fn read_response(&mut self, method: &str) -> Message {
        let mut message = self.read_head();
        while (100..200).contains(&message.status()) && message.status() != 101 {
            message = self.read_head();
        }
        let status = message.status();
        if method == "HEAD" || status == 204 || status == 304 || status == 101 {
            return message;
        }
        if message.is_chunked() {
            self.read_chunks(&mut message);
        } else if let Some(bytes) = message.content_length() {
            message.body = self.read_exactly(bytes);
        } else {
            message.body = self.read_to_end().0;
        }
        message
    }

    /// One chunk of a body: its data, empty at the end (whose trailers are still to be read).
    ///
    /// # Panics
    /// When it is none, or is cut off.
    pub fn read_chunk(&mut self) -> Vec<u8> {
        let line = text(&self.try_read_line().expect("a chunk, but the connection ended"));
        let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("no chunk: {line}"));
        if size == 0 {
            return Vec::new();
        }
        let data = self.read_exactly(size);
        let end = self.read_exactly(2);
        assert_eq!(end, b"\r\n", "no line end after a chunk: {}", show(&end));
        data
    }

    fn read_chunks(&mut self, message: &mut Message) {
        loop {
            let data = self.read_chunk();
            if data.is_empty() {
                break;
            }
            message.chunks.push(data.len());
            message.body.extend_from_slice(&data);
        }
        message.trailers = self.read_fields();
    }

    fn read_fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = text(&self.try_read_line().expect("a field, but the connection ended"));
            if line.is_empty() {
                return fields;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line}"));
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r\n").unwrap_or(line)).into_owned()
}
