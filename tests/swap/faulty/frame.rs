//! The frames of a hand-over as bytes, read and written with their descriptors: a second reading
//! of them beside the gateway's own.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Length of the message, four bytes, and number of descriptors, two; both little endian.
const HEADER_BYTES: usize = 6;
/// More than come with one message.
const DESCRIPTORS_MAX: usize = 253;
const CONTROL_BYTES: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX));

/// A message as it travels.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The message; its first byte tells its kind.
    pub(crate) message: Vec<u8>,
    /// The bytes that it announces and that follow it.
    pub(crate) announced: Vec<u8>,
    /// What came with it.
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Frame {
    /// A frame without descriptors.
    pub(crate) fn new(message: Vec<u8>) -> Self {
        Self { message, announced: Vec::new(), descriptors: Vec::new() }
    }

    /// The name of the message.
    pub(crate) fn kind(&self) -> &'static str {
        let first = self.message.first().copied().unwrap_or(u8::MAX);
        hangu::swap::KINDS.get(usize::from(first)).copied().unwrap_or("unknown")
    }

    /// Reads one; `None` at the end.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn read(mut stream: &UnixStream) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_BYTES];
        let mut room = [MaybeUninit::uninit(); CONTROL_BYTES];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let mut slices = [IoSliceMut::new(&mut header)];
        let first = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        if first == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut header[first..])?;
        let [a, b, c, d, _, _] = header;
        let mut message = vec![0; u32::from_le_bytes([a, b, c, d]) as usize];
        stream.read_exact(&mut message)?;
        let mut frame = Self { message, announced: Vec::new(), descriptors };
        frame.announced = vec![0; frame.announces()];
        stream.read_exact(&mut frame.announced)?;
        Ok(Some(frame))
    }

    /// How many bytes follow the message.
    fn announces(&self) -> usize {
        let mut numbers = Numbers(self.message.get(1..).unwrap_or_default());
        match self.kind() {
            // Of which worker, and of which connection.
            "output" => numbers.nth(3).expect("a length"),
            "worker" => {
                let state = numbers.nth(1).expect("a length");
                let outputs = numbers.next().expect("a number of outputs");
                (0..outputs).fold(state, |sum, _| {
                    // Position, name, and whether something of what came ahead is left out.
                    if numbers.nth(3) == Some(1) {
                        numbers.next();
                    }
                    sum + numbers.next().expect("a length")
                })
            }
            _ => 0,
        }
    }

    /// Leaves half of the state of a worker, and says so.
    pub(crate) fn halve(&mut self) {
        let state = Numbers(&self.message[1..]).nth(1).expect("a length");
        self.announced.truncate(state / 2);
        self.message.truncate(WORKER_BYTES);
        let mut left = self.announced.len();
        while left >= 0x80 {
            self.message.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        self.message.push(left as u8);
        // No large output.
        self.message.push(0);
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn write(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut bytes = (self.message.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&(self.descriptors.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&self.message);
        let descriptors: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
        let mut room = [MaybeUninit::uninit(); CONTROL_BYTES];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let slices = [IoSlice::new(&bytes)];
        let sent = sendmsg(stream, &slices, &mut control, SendFlags::NOSIGNAL)?;
        stream.write_all(&bytes[sent..])?;
        stream.write_all(&self.announced)
    }
}

/// Kind and number of the worker; there are less than 128.
const WORKER_BYTES: usize = 2;

/// Numbers one after the other, seven bits a byte, the lowest first.
struct Numbers<'a>(&'a [u8]);

impl Iterator for Numbers<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let digits = self.0.iter().position(|it| *it < 0x80)? + 1;
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some(number.iter().rev().fold(0, |sum, it| sum << 7 | usize::from(it & 0x7f)))
    }
}
