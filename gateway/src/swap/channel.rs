//! The socket between two generations: messages with descriptors.
//!
//! ```text
//! frame   bytes  meaning
//! 0       4      length of the message, little endian
//! 4       2      number of descriptors that travel with the first byte of the frame
//! 6       ..     the message: postcard of [`Message`]
//! ..      ..     the bytes that the message announces, if it does
//! ```

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};
use zeroize::{Zeroize, Zeroizing};

use super::message::Message;

/// Descriptors of one message. The kernel takes 253 (`SCM_MAX_FD`).
pub(super) const DESCRIPTORS_MAX: usize = 250;

/// Bytes of one message: a worker with all its unsent output is the largest.
pub(super) const MESSAGE_BYTES_MAX: u32 = 1 << 30;

/// Room that is made at once for the state of a worker; some ten thousand connections have less.
const ROOM_BYTES_MAX: u64 = 16 * 1024 * 1024;

const HEADER_BYTES: usize = 6;

/// Room for the descriptors of one message, aligned as the kernel wants it.
const CONTROL_BYTES: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX));

/// One end.
pub(super) struct Channel {
    stream: UnixStream,
}

/// Why nothing came, or nothing could be sent.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is gone.
    #[error("the other process is gone")]
    Gone,
    /// Nothing came in time.
    #[error("the other process does not answer")]
    TimedOut,
    /// What came is no message of this version.
    #[error("what the other process sent cannot be read")]
    Malformed,
    /// The system's word.
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Gone,
            _ => Self::Io(error),
        }
    }
}

impl Channel {
    /// An end of a connected socket.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// A second handle of the same end.
    pub(super) fn again(&self) -> Result<Self, ChannelError> {
        Ok(Self { stream: self.stream.try_clone()? })
    }

    /// Process and user at the other end, as the kernel knows them.
    pub(super) fn peer(&self) -> io::Result<(u32, u32)> {
        let peer = sockopt::socket_peercred(&self.stream)?;
        Ok((peer.pid.as_raw_nonzero().get().unsigned_abs(), peer.uid.as_raw()))
    }

    /// Sends a message with descriptors, at most [`DESCRIPTORS_MAX`]. A receiver that takes
    /// nothing for `wait` is given up.
    pub(super) fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
        wait: Duration,
    ) -> Result<(), ChannelError> {
        self.stream.set_write_timeout(Some(wait.max(WAIT_MIN)))?;
        let mut frame = vec![0; HEADER_BYTES];
        frame = postcard::to_extend(message, frame).map_err(|_| ChannelError::Malformed)?;
        let sent = self.send_frame(&mut frame, descriptors);
        frame.zeroize();
        sent
    }

    fn send_frame(
        &self,
        frame: &mut [u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let bytes = u32::try_from(frame.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        if bytes > MESSAGE_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
            return Err(ChannelError::Malformed);
        }
        let (length, rest) = frame.split_at_mut(4);
        length.copy_from_slice(&bytes.to_le_bytes());
        rest[..2].copy_from_slice(&(descriptors.len() as u16).to_le_bytes());
        let mut room = [MaybeUninit::uninit(); CONTROL_BYTES];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let sent = loop {
            let slices = [IoSlice::new(frame)];
            match sendmsg(&self.stream, &slices, &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => break sent,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        };
        (&self.stream).write_all(frame.get(sent..).unwrap_or_default())?;
        Ok(())
    }

    /// Sends bytes that a message has announced, as they are.
    pub(super) fn send_bytes(&self, bytes: &[u8], wait: Duration) -> Result<(), ChannelError> {
        self.stream.set_write_timeout(Some(wait.max(WAIT_MIN)))?;
        Ok((&self.stream).write_all(bytes)?)
    }

    /// The bytes that a message has announced.
    pub(super) fn receive_bytes(
        &self,
        bytes: u64,
        wait: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        if bytes > u64::from(MESSAGE_BYTES_MAX) {
            return Err(ChannelError::Malformed);
        }
        self.stream.set_read_timeout(Some(wait.max(WAIT_MIN)))?;
        // More memory than this grows with what comes, not with what was announced.
        let room = bytes.min(ROOM_BYTES_MAX) as usize;
        let mut received = Zeroizing::new(Vec::with_capacity(room));
        (&self.stream).take(bytes).read_to_end(&mut received)?;
        if received.len() as u64 != bytes {
            return Err(ChannelError::Gone);
        }
        Ok(received)
    }

    /// The next message with its descriptors.
    pub(super) fn receive(&self, wait: Duration) -> Result<(Message, Vec<OwnedFd>), ChannelError> {
        self.stream.set_read_timeout(Some(wait.max(WAIT_MIN)))?;
        let mut header = [0; HEADER_BYTES];
        let (first, descriptors) = self.receive_first(&mut header)?;
        (&self.stream).read_exact(header.get_mut(first..).unwrap_or_default())?;
        let [a, b, c, d, e, f] = header;
        let bytes = u32::from_le_bytes([a, b, c, d]);
        if bytes > MESSAGE_BYTES_MAX || descriptors.len() != usize::from(u16::from_le_bytes([e, f]))
        {
            return Err(ChannelError::Malformed);
        }
        let mut frame = Vec::new();
        // Memory grows with what comes, not with what was announced.
        (&self.stream).take(u64::from(bytes)).read_to_end(&mut frame)?;
        if frame.len() != bytes as usize {
            return Err(ChannelError::Gone);
        }
        let message = postcard::from_bytes(&frame).map_err(|_| ChannelError::Malformed);
        frame.zeroize();
        Ok((message?, descriptors))
    }

    fn receive_first(&self, header: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), ChannelError> {
        let mut room = [MaybeUninit::uninit(); CONTROL_BYTES];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let received = loop {
            let mut slices = [IoSliceMut::new(header)];
            match recvmsg(&self.stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        if received.bytes == 0 {
            return Err(ChannelError::Gone);
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            // The kernel dropped some for want of room or of descriptors.
            return Err(ChannelError::Io(io::Error::other("too few descriptors (LimitNOFILE)")));
        }
        Ok((received.bytes, descriptors))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A timeout of zero would mean to wait for ever.
const WAIT_MIN: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one), Channel::new(other))
    }

    #[test]
    fn messages_and_descriptors_arrive_together_and_in_order() {
        let (one, other) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let many = vec![listener.as_fd(); DESCRIPTORS_MAX];
        let large = Message::Refused("x".repeat(3_000_000));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                one.send(&Message::Received, &many, WAIT).unwrap();
                one.send(&large, &[], WAIT).unwrap();
                one.send(&Message::Commit, &many[..1], WAIT).unwrap();
            });
            let (message, descriptors) = other.receive(WAIT).unwrap();
            assert!(matches!(message, Message::Received));
            assert_eq!(descriptors.len(), DESCRIPTORS_MAX);
            let (message, descriptors) = other.receive(WAIT).unwrap();
            assert!(matches!(message, Message::Refused(text) if text.len() == 3_000_000));
            assert!(descriptors.is_empty());
            let (message, mut descriptors) = other.receive(WAIT).unwrap();
            assert!(matches!(message, Message::Commit));
            let again = TcpListener::from(descriptors.remove(0));
            assert_eq!(again.local_addr().unwrap(), listener.local_addr().unwrap());
        });
    }

    #[test]
    fn an_end_that_is_gone_silent_or_talks_rubbish_is_told_apart() {
        let (one, other) = pair();
        let wait = Duration::from_millis(20);
        assert!(matches!(other.receive(wait), Err(ChannelError::TimedOut)));
        (&one.stream).write_all(&[0xff; 64]).unwrap();
        assert!(matches!(other.receive(wait), Err(ChannelError::Malformed)));
        let (one, other) = pair();
        (&one.stream).write_all(&[200, 0, 0, 0, 0, 0, 1]).unwrap();
        drop(one);
        assert!(matches!(other.receive(WAIT), Err(ChannelError::Gone)));
        assert!(matches!(other.send(&Message::Commit, &[], WAIT), Err(ChannelError::Gone)));
    }
}
