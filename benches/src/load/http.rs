//! An HTTP/1.1 client: one request at a time, the body compared as it comes.

use std::time::Instant;

use memchr::memmem;

use super::client::{Answer, Client, Fault};
use crate::body::body;
use crate::workload::{ROUTE_FIELD, Route, route_name};

/// Response heads are small; a longer one is a mistake of the proxy.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct HttpClient {
    request: Vec<u8>,
    expected: &'static [u8],
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Head { due: Instant },
    Body { due: Instant, received: usize, declared: usize, verdict: Result<(), Fault> },
}

impl HttpClient {
    /// A client that asks for `body_bytes` by way of `route`.
    pub(super) fn new(body_bytes: usize, route: Route) -> Self {
        let route = match route {
            Route::Only => String::new(),
            Route::Numbered(number) => format!("{ROUTE_FIELD}: {}\r\n", route_name(number)),
        };
        let request = format!(
            "GET /{body_bytes} HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: hangu-bench\r\n\
             Accept: */*\r\n{route}\r\n"
        );
        Self { request: request.into_bytes(), expected: body(body_bytes), state: State::Idle }
    }

    fn head(&self, head: &[u8], due: Instant) -> Result<State, Fault> {
        let status = head.strip_prefix(b"HTTP/1.1 ").ok_or(Fault::Malformed)?;
        let declared = content_length(head).ok_or(Fault::Malformed)?;
        let verdict = match (status.starts_with(b"200 "), declared == self.expected.len()) {
            (true, true) => Ok(()),
            (true, false) => Err(Fault::Length),
            (false, _) => Err(Fault::Status),
        };
        Ok(State::Body { due, received: 0, declared, verdict })
    }
}

impl Client for HttpClient {
    fn has_room(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    fn in_flight(&self) -> usize {
        usize::from(!self.has_room())
    }

    fn send(&mut self, due: Instant, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.request);
        self.state = State::Head { due };
    }

    fn receive(&mut self, input: &[u8], answers: &mut Vec<Answer>) -> Result<usize, Fault> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            match self.state {
                State::Idle if rest.is_empty() => return Ok(taken),
                State::Idle => return Err(Fault::Unasked),
                State::Head { due } => {
                    let Some(length) = memmem::find(rest, b"\r\n\r\n") else {
                        let is_too_long = rest.len() > HEAD_BYTES_MAX;
                        return if is_too_long { Err(Fault::Malformed) } else { Ok(taken) };
                    };
                    self.state = self.head(&rest[..length + 2], due)?;
                    taken += length + 4;
                }
                State::Body { due, received, declared, verdict } => {
                    let bytes = rest.len().min(declared - received);
                    let end = received + bytes;
                    let is_right = self.expected.get(received..end) == Some(&rest[..bytes]);
                    let verdict = verdict.and(if is_right { Ok(()) } else { Err(Fault::Content) });
                    taken += bytes;
                    if end < declared {
                        self.state = State::Body { due, received: end, declared, verdict };
                        return Ok(taken);
                    }
                    answers.push(Answer { due, verdict });
                    self.state = State::Idle;
                }
            }
        }
    }
}

/// The length that a head declares; each of its lines ends in CRLF.
fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            return std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn verdict_of(response: &[u8], cut: usize) -> Result<(), Fault> {
        let mut client = HttpClient::new(100, Route::Only);
        client.send(clock::now(), &mut Vec::new());
        let mut answers = Vec::new();
        let taken = client.receive(&response[..cut], &mut answers)?;
        client.receive(&response[taken..], &mut answers)?;
        assert_eq!(answers.len(), 1);
        answers[0].verdict
    }

    fn response(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    #[test]
    fn a_right_answer_is_right_however_it_is_cut() {
        let response = response("200 OK", body(100));
        for cut in 0..=response.len() {
            assert_eq!(verdict_of(&response, cut), Ok(()), "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_status_length_or_content_is_a_fault_however_it_is_cut() {
        let mut wrong = body(100).to_vec();
        wrong[99] ^= 1;
        let cases = [
            (response("503 No", b"no"), Fault::Status),
            (response("200 OK", body(99)), Fault::Length),
            (response("200 OK", body(10240)), Fault::Length),
            (response("200 OK", &wrong), Fault::Content),
        ];
        for (response, fault) in cases {
            for cut in 0..=response.len() {
                assert_eq!(verdict_of(&response, cut), Err(fault), "cut at {cut}");
            }
        }
    }

    #[test]
    fn bytes_after_an_answer_and_a_missing_length_are_faults() {
        let mut long = response("200 OK", body(100));
        long.push(b'x');
        assert_eq!(verdict_of(&long, long.len()), Err(Fault::Unasked));
        assert_eq!(verdict_of(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", 0), Err(Fault::Malformed));
    }
}
