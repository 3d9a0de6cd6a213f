//! Reads and writes of sockets that do not block.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

/// Bytes that wait to be written to one socket.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// Where new output is appended.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes that are not written yet.
    pub(crate) fn unsent(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Writes until all is out or the kernel takes no more.
    pub(crate) fn flush(&mut self, mut stream: &TcpStream) -> io::Result<()> {
        while self.unsent() > 0 {
            match stream.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.written = 0;
        Ok(())
    }
}

/// One read buffer for all connections of a thread; a connection keeps only what it has not taken.
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
}

/// What one read gave.
pub(crate) enum Input<'a> {
    /// The kept bytes and the new ones after them.
    Bytes(&'a [u8]),
    /// Nothing is there.
    Nothing,
    /// The peer sends no more.
    End,
}

/// What one read takes at most, kept bytes included; also the longest message.
const BUFFER_BYTES: usize = 256 * 1024;

impl ReadBuffer {
    /// A buffer.
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BUFFER_BYTES] }
    }

    /// Reads once, at most so many bytes, behind the bytes that were kept. Those stay where they
    /// are unless bytes came: then whoever parses the input puts back what it leaves.
    pub(crate) fn read(
        &mut self,
        mut stream: &TcpStream,
        kept: &mut Vec<u8>,
        bytes_max: usize,
    ) -> io::Result<Input<'_>> {
        let start = kept.len();
        if start >= self.bytes.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message longer than buffer"));
        }
        let end = self.bytes.len().min(start.saturating_add(bytes_max));
        if end == start {
            return Ok(Input::Nothing);
        }
        match stream.read(&mut self.bytes[start..end]) {
            Ok(0) => Ok(Input::End),
            Ok(count) => {
                self.bytes[..start].copy_from_slice(kept);
                kept.clear();
                Ok(Input::Bytes(&self.bytes[..start + count]))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Input::Nothing),
                _ => Err(error),
            },
        }
    }
}
