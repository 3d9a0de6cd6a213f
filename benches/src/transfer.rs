//! Reads and writes of a socket that does not block.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;

/// The outcome of one read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// So many bytes were moved, at least one.
    Moved(usize),
    /// The kernel has nothing to give or no room to take.
    Blocked,
    /// The peer sends no more.
    Ended,
}

/// Reads once.
///
/// # Errors
/// The connection is broken.
pub fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Transfer> {
    outcome(stream.read(buffer))
}

/// Writes once.
///
/// # Errors
/// The connection is broken.
pub fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<Transfer> {
    outcome(stream.write(bytes))
}

/// Writes several pieces by one call.
///
/// # Errors
/// The connection is broken.
pub fn write_vectored(mut stream: &TcpStream, pieces: &[IoSlice<'_>]) -> io::Result<Transfer> {
    outcome(stream.write_vectored(pieces))
}

fn outcome(result: io::Result<usize>) -> io::Result<Transfer> {
    match result {
        Ok(0) => Ok(Transfer::Ended),
        Ok(bytes) => Ok(Transfer::Moved(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Transfer::Blocked),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Transfer::Blocked),
        Err(error) => Err(error),
    }
}

/// Bytes that wait to be written to one socket.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// Where new output is appended.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Writes until all is out (`true`) or the kernel takes no more (`false`).
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while !self.is_empty() {
            match write(stream, &self.bytes[self.written..])? {
                Transfer::Moved(bytes) => self.written += bytes,
                Transfer::Blocked => return Ok(false),
                Transfer::Ended => return Err(io::ErrorKind::WriteZero.into()),
            }
        }
        self.bytes.clear();
        self.written = 0;
        Ok(true)
    }
}

/// One read buffer for all connections of a thread; a connection keeps only the bytes of a message
/// that has not come whole.
#[derive(Debug)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
}

/// Bytes of a message that has not come whole.
pub type Partial = Vec<u8>;

/// What one read gave.
#[derive(Debug)]
pub struct Input<'a> {
    /// The kept bytes and the new ones after them.
    pub bytes: &'a [u8],
    /// What the read itself did.
    pub transfer: Transfer,
    /// Whether the kernel may hold more: the read filled the buffer.
    pub is_full: bool,
}

impl ReadBuffer {
    /// A buffer of this size, which is the longest message that it can gather.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes] }
    }

    /// Reads once, behind the bytes that `partial` kept, which is empty afterwards: whoever parses
    /// the input puts back what it leaves.
    ///
    /// # Errors
    /// The connection is broken, or a message is longer than the buffer.
    pub fn read(&mut self, stream: &TcpStream, partial: &mut Partial) -> io::Result<Input<'_>> {
        let kept = partial.len();
        if kept == self.bytes.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message longer than buffer"));
        }
        self.bytes[..kept].copy_from_slice(partial);
        let transfer = read(stream, &mut self.bytes[kept..])?;
        let Transfer::Moved(bytes) = transfer else {
            return Ok(Input { bytes: &[], transfer, is_full: false });
        };
        partial.clear();
        let end = kept + bytes;
        Ok(Input { bytes: &self.bytes[..end], transfer, is_full: end == self.bytes.len() })
    }
}
