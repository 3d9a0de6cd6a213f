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
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use hangu_codecs::Time;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, send, sendmsg, sockopt,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use zeroize::{Zeroize, Zeroizing};

use super::message::Message;
use crate::clock;

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

    /// Sends a message with descriptors, at most [`DESCRIPTORS_MAX`]. All of it is to be taken
    /// within `wait`.
    pub(super) fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
        wait: Duration,
    ) -> Result<(), ChannelError> {
        let end = clock::now().after(wait);
        let mut frame = vec![0; HEADER_BYTES];
        frame = postcard::to_extend(message, frame).map_err(|_| ChannelError::Malformed)?;
        let sent = self.send_frame(&mut frame, descriptors, end);
        frame.zeroize();
        sent
    }

    fn send_frame(
        &self,
        frame: &mut [u8],
        descriptors: &[BorrowedFd<'_>],
        end: Time,
    ) -> Result<(), ChannelError> {
        let bytes = u32::try_from(frame.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        if bytes > MESSAGE_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
            return Err(ChannelError::Malformed);
        }
        let (length, rest) = frame.split_at_mut(4);
        length.copy_from_slice(&bytes.to_le_bytes());
        rest[..2].copy_from_slice(&(descriptors.len() as u16).to_le_bytes());
        let sent = loop {
            let mut room = [MaybeUninit::uninit(); CONTROL_BYTES];
            let mut control = SendAncillaryBuffer::new(&mut room);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let slices = [IoSlice::new(frame)];
            match sendmsg(&self.stream, &slices, &mut control, SEND_FLAGS) {
                Ok(sent) => break sent,
                Err(error) => self.wait_after(error, PollFlags::OUT, end)?,
            }
        };
        self.send_all(frame.get(sent..).unwrap_or_default(), end)
    }

    fn send_all(&self, mut bytes: &[u8], end: Time) -> Result<(), ChannelError> {
        while !bytes.is_empty() {
            match send(&self.stream, bytes, SEND_FLAGS) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(error) => self.wait_after(error, PollFlags::OUT, end)?,
            }
        }
        Ok(())
    }

    /// Sends bytes that a message has announced, as they are.
    pub(super) fn send_bytes(&self, bytes: &[u8], wait: Duration) -> Result<(), ChannelError> {
        self.send_all(bytes, clock::now().after(wait))
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
        let mut received = Zeroizing::new(Vec::with_capacity(bytes.min(ROOM_BYTES_MAX) as usize));
        self.receive_all(&mut received, bytes as usize, clock::now().after(wait))?;
        Ok(received)
    }

    /// Appends so many bytes. Memory grows with what comes, not with what was announced.
    fn receive_all(
        &self,
        into: &mut Vec<u8>,
        mut bytes: usize,
        end: Time,
    ) -> Result<(), ChannelError> {
        while bytes > 0 {
            let step = bytes.min(STEP_BYTES);
            into.reserve(step);
            let room = into.spare_capacity_mut().get_mut(..step).unwrap_or_default();
            let received = match recv(&self.stream, room, RecvFlags::DONTWAIT) {
                Ok(((received, _), _)) => received.len(),
                Err(error) => {
                    self.wait_after(error, PollFlags::IN, end)?;
                    continue;
                }
            };
            if received == 0 {
                return Err(ChannelError::Gone);
            }
            // SAFETY: the kernel wrote so many bytes behind those that were there.
            unsafe { into.set_len(into.len() + received) };
            bytes -= received;
        }
        Ok(())
    }

    /// After a call that could not go on: waits until it can, or tells why it never will.
    fn wait_after(&self, error: Errno, what: PollFlags, end: Time) -> Result<(), ChannelError> {
        match error {
            Errno::INTR => return Ok(()),
            Errno::AGAIN => {}
            error => return Err(io::Error::from(error).into()),
        }
        let left = end.until(clock::now());
        if left.is_zero() {
            return Err(ChannelError::TimedOut);
        }
        let wait = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.stream, what)], Some(&wait)) {
            // Whoever called tries again, and comes back here if it was in vain.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// The next message with its descriptors, all of it within `wait`.
    pub(super) fn receive(&self, wait: Duration) -> Result<(Message, Vec<OwnedFd>), ChannelError> {
        let end = clock::now().after(wait);
        let mut first = [0; HEADER_BYTES];
        let (received, descriptors) = self.receive_first(&mut first, end)?;
        let mut header = first.get(..received).unwrap_or_default().to_vec();
        self.receive_all(&mut header, HEADER_BYTES - received, end)?;
        let &[a, b, c, d, e, f] = &header[..] else { return Err(ChannelError::Malformed) };
        let bytes = u32::from_le_bytes([a, b, c, d]);
        if bytes > MESSAGE_BYTES_MAX || descriptors.len() != usize::from(u16::from_le_bytes([e, f]))
        {
            return Err(ChannelError::Malformed);
        }
        let mut frame = Zeroizing::new(Vec::new());
        self.receive_all(&mut frame, bytes as usize, end)?;
        let message = postcard::from_bytes(&frame).map_err(|_| ChannelError::Malformed);
        Ok((message?, descriptors))
    }

    fn receive_first(
        &self,
        header: &mut [u8],
        end: Time,
    ) -> Result<(usize, Vec<OwnedFd>), ChannelError> {
        let mut room = [MaybeUninit::uninit(); CONTROL_BYTES];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = loop {
            let mut slices = [IoSliceMut::new(header)];
            match recvmsg(&self.stream, &mut slices, &mut control, flags) {
                Ok(received) => break received,
                Err(error) => self.wait_after(error, PollFlags::IN, end)?,
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

/// Nothing is waited for in a call, so that a peer which takes or gives a little at a time cannot
/// stretch the whole.
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// Bytes that room is made for at a time.
const STEP_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener};

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
