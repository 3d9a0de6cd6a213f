//! Answers `GET /BYTES` with so many bytes of the known text; knows three sizes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::sync::OnceLock;

use memchr::memmem;

use super::Refused;
use crate::body::body;
use crate::transfer::{self, Transfer};
use crate::workload::HTTP_BODY_BYTES;

/// Pieces of one gathered write; the kernel takes up to 1024.
const PIECES_PER_WRITE: usize = 64;
/// Requests heads are small; a longer one is a mistake of the proxy.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    /// What remains to be written of each answer, in the order of the requests.
    answers: VecDeque<&'static [u8]>,
}

impl Dialogue {
    pub(super) fn receive(&mut self, input: &[u8]) -> Result<usize, Refused> {
        let mut taken = 0;
        while let Some(length) = memmem::find(&input[taken..], b"\r\n\r\n") {
            let head = &input[taken..taken + length];
            self.answers.push_back(answer_to(head).ok_or(Refused)?);
            taken += length + 4;
        }
        let is_too_long = input.len() - taken > HEAD_BYTES_MAX;
        if is_too_long { Err(Refused) } else { Ok(taken) }
    }

    pub(super) fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while let Some(first) = self.answers.front() {
            let transfer = if self.answers.len() == 1 {
                transfer::write(stream, first)?
            } else {
                let mut pieces = [IoSlice::new(&[]); PIECES_PER_WRITE];
                for (piece, answer) in pieces.iter_mut().zip(&self.answers) {
                    *piece = IoSlice::new(answer);
                }
                transfer::write_vectored(
                    stream,
                    &pieces[..self.answers.len().min(PIECES_PER_WRITE)],
                )?
            };
            match transfer {
                Transfer::Moved(bytes) => self.advance(bytes),
                Transfer::Blocked => return Ok(false),
                Transfer::Ended => return Err(io::ErrorKind::WriteZero.into()),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(first) = self.answers.front_mut() {
            if bytes < first.len() {
                *first = &first[bytes..];
                return;
            }
            bytes -= first.len();
            self.answers.pop_front();
        }
    }
}

/// The load sends no bodies; a request that has one, or asks for anything else, is refused.
fn answer_to(head: &[u8]) -> Option<&'static [u8]> {
    let path = head.strip_prefix(b"GET /")?;
    let path = &path[..memchr::memchr(b' ', path)?];
    let known = pages().iter().find(|page| page.path.as_bytes() == path)?;
    Some(&known.answer)
}

/// A path and the bytes that answer it.
struct Page {
    path: String,
    answer: Vec<u8>,
}

fn pages() -> &'static [Page] {
    static PAGES: OnceLock<Vec<Page>> = OnceLock::new();
    let page = |bytes: &usize| Page { path: bytes.to_string(), answer: answer(*bytes) };
    PAGES.get_or_init(|| HTTP_BODY_BYTES.iter().map(page).collect())
}

fn answer(bytes: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n"
    );
    [head.as_bytes(), body(bytes)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelined_requests_are_answered_in_order_however_they_are_cut() {
        let input = b"GET /100 HTTP/1.1\r\nHost: a\r\n\r\nGET /10240 HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..=input.len() {
            let mut dialogue = Dialogue::default();
            let taken = dialogue.receive(&input[..cut]).unwrap();
            dialogue.receive(&input[taken..]).unwrap();
            assert_eq!(dialogue.answers, [answer(100).leak(), answer(10240).leak()], "cut {cut}");
        }
    }

    #[test]
    fn an_unknown_path_or_method_is_refused() {
        let mut dialogue = Dialogue::default();
        assert!(dialogue.receive(b"GET /101 HTTP/1.1\r\n\r\n").is_err());
        assert!(dialogue.receive(b"POST /100 HTTP/1.1\r\n\r\n").is_err());
    }

    #[test]
    fn a_short_write_goes_on_where_it_stopped() {
        let mut dialogue = Dialogue::default();
        dialogue.receive(b"GET /100 HTTP/1.1\r\n\r\nGET /100 HTTP/1.1\r\n\r\n").unwrap();
        let length = answer(100).len();
        dialogue.advance(length + 7);
        assert_eq!(dialogue.answers, [&answer(100)[7..]]);
    }
}
