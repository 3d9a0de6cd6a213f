//! A healthy client's connection in HTTP/2: one request at a time.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use super::{Answer, PATIENCE, left, told};
use crate::{
    frame::{self, Frame, Unread, flag, kind, setting},
    hpack::{self, End, fixed},
};

/// The window of the connection is widened once, by more than all answers of a run.
const WINDOW_INCREMENT: u32 = 1 << 30;
/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;

/// An open connection.
pub(super) struct Connection {
    socket: TcpStream,
    unread: Unread,
    authority: String,
    next_stream: u32,
    /// The last stream that the target takes, once it has said so.
    last_stream: Option<u32>,
}

/// The stream on which an answer is awaited.
struct Awaited {
    stream: u32,
    is_ok: bool,
    body: Vec<u8>,
}

/// What a frame means for the stream.
enum Heard {
    Nothing,
    End,
    Unseen,
    Wrong(String),
}

impl Connection {
    pub(super) fn open(target: SocketAddr) -> io::Result<Self> {
        let mut socket = TcpStream::connect_timeout(&target, PATIENCE)?;
        socket.set_nodelay(true)?;
        let mut out = frame::PREFACE.to_vec();
        // Without a table, the status is readable by itself.
        frame::settings(&mut out, &[(setting::HEADER_TABLE_SIZE, 0)]);
        frame::window_update(&mut out, 0, WINDOW_INCREMENT);
        socket.write_all(&out)?;
        let authority = target.to_string();
        Ok(Self { socket, unread: Unread::default(), authority, next_stream: 1, last_stream: None })
    }

    pub(super) fn goes_on(&self) -> bool {
        self.last_stream.is_none()
    }

    pub(super) fn ask(&mut self, path: &str, deadline: Instant) -> io::Result<Answer> {
        if !self.catch_up()? {
            return Ok(Answer::Unseen);
        }
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut out = Vec::new();
        let block = hpack::request(fixed::METHOD_GET, &self.authority, path);
        hpack::headers(&mut out, stream, End::Stream, &block);
        self.socket.set_write_timeout(left(deadline)?)?;
        self.socket.write_all(&out).map_err(told)?;
        let mut awaited = Awaited { stream, is_ok: false, body: Vec::new() };
        loop {
            match self.take(&mut awaited)? {
                Some(Heard::Nothing) => continue,
                Some(Heard::End) if awaited.is_ok => return Ok(Answer::Body(awaited.body)),
                Some(Heard::End) => return Err(io::Error::other("another status than 200")),
                Some(Heard::Unseen) => return Ok(Answer::Unseen),
                Some(Heard::Wrong(words)) => return Err(io::Error::other(words)),
                None => {}
            }
            self.socket.set_read_timeout(left(deadline)?)?;
            if !self.read()? {
                let words = "the connection ended before the answer";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, words));
            }
        }
    }

    /// Reads what came since the last answer. `false`: the connection is of no use any more.
    fn catch_up(&mut self) -> io::Result<bool> {
        self.socket.set_nonblocking(true)?;
        let is_open = loop {
            match self.read() {
                Ok(true) => {}
                Ok(false) => break false,
                Err(error) if error.kind() == ErrorKind::TimedOut => break true,
                Err(_) => break false,
            }
        };
        self.socket.set_nonblocking(false)?;
        let mut nothing = Awaited { stream: 0, is_ok: false, body: Vec::new() };
        while self.take(&mut nothing)?.is_some() {}
        Ok(is_open && self.last_stream.is_none())
    }

    /// Reads once; `false` at the end of the connection.
    fn read(&mut self) -> io::Result<bool> {
        let mut bytes = [0; READ_BYTES];
        let count = self.socket.read(&mut bytes).map_err(told)?;
        self.unread.push(&bytes[..count]);
        Ok(count > 0)
    }

    /// Takes the next frame that is whole, and answers what is to be answered.
    fn take(&mut self, awaited: &mut Awaited) -> io::Result<Option<Heard>> {
        let mut reply = Vec::new();
        let heard = match self.unread.next() {
            Ok(Some(frame)) => hear(&frame, awaited, &mut self.last_stream, &mut reply),
            Ok(None) => return Ok(None),
            Err(frame::TooLong) => return Err(io::Error::other("a frame that is too long")),
        };
        if !reply.is_empty() {
            self.socket.write_all(&reply).map_err(told)?;
        }
        Ok(Some(heard))
    }
}

fn hear(
    frame: &Frame<'_>,
    awaited: &mut Awaited,
    last_stream: &mut Option<u32>,
    reply: &mut Vec<u8>,
) -> Heard {
    let is_meant = frame.stream == awaited.stream && frame.stream != 0;
    let ended = match frame.flags & flag::END_STREAM {
        0 => Heard::Nothing,
        _ => Heard::End,
    };
    match frame.kind {
        kind::HEADERS if is_meant => {
            let begin = if frame.flags & flag::PRIORITY != 0 { 5 } else { 0 };
            let block = frame.payload.get(begin..).unwrap_or_default();
            awaited.is_ok = awaited.is_ok || hpack::is_ok(block);
            ended
        }
        kind::DATA if is_meant => {
            awaited.body.extend_from_slice(content(frame));
            ended
        }
        kind::RST_STREAM if is_meant => Heard::Wrong(format!("reset with {}", frame.number(0))),
        kind::SETTINGS if frame.flags & flag::ACK == 0 => {
            frame::frame(reply, kind::SETTINGS, flag::ACK, 0, &[]);
            Heard::Nothing
        }
        kind::PING if frame.flags & flag::ACK == 0 => {
            frame::frame(reply, kind::PING, flag::ACK, 0, frame.payload);
            Heard::Nothing
        }
        kind::GOAWAY => {
            let last = frame.number(0) & 0x7fff_ffff;
            *last_stream = Some(last);
            match (frame.number(4), last < awaited.stream) {
                (_, true) => Heard::Unseen,
                (frame::error::NO_ERROR, false) => Heard::Nothing,
                (code, false) => Heard::Wrong(format!("GOAWAY with {code}")),
            }
        }
        _ => Heard::Nothing,
    }
}

/// DATA without its padding.
fn content<'a>(frame: &Frame<'a>) -> &'a [u8] {
    if frame.flags & flag::PADDED == 0 {
        return frame.payload;
    }
    let Some((padding, rest)) = frame.payload.split_first() else { return &[] };
    &rest[..rest.len().saturating_sub(usize::from(*padding))]
}
