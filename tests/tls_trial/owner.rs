//! A process that owns a connection for a while: it takes socket and snapshot, serves, freezes in
//! the state that it was told to wait for, and gives the snapshot back.

use std::{
    io::{ErrorKind, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::TcpStream,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
};

use hangu_codecs::Frozen;
use hangu_tests::wait::PATIENCE;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    exchange,
    record::{self, Alert, Event, HEADER_BYTES, Records},
};

/// Tells a run of this program that it is an owner, with the socket on its standard input.
const OWNER: &str = "TLS_TRIAL_OWNER";

/// Unsent bytes with which nothing more is read.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// What an owner is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// New keys to begin with; true asks the client for the same.
    pub(crate) update: Option<bool>,
    /// Requests that are answered before it looks for its end.
    pub(crate) requests: u32,
    /// Bytes of one read.
    pub(crate) read_bytes: usize,
    /// Bytes of one write.
    pub(crate) write_bytes: usize,
    /// The state in which it freezes.
    pub(crate) end: End,
}

/// A state to freeze in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// Between two records in both directions.
    Between,
    /// In the header of a record that comes.
    InHeader,
    /// In a record that comes.
    InInput,
    /// In a record that goes.
    InOutput,
    /// In a record of either direction.
    InBoth,
    /// With whole records that are not sent.
    Unsent,
    /// The client has closed, and was told the same.
    Closed,
}

/// What travels beside the records: in the gateway, the codec's state and the counters.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Decrypted, no whole request.
    content: Vec<u8>,
    pub(crate) requests: u32,
    pub(crate) updates_received: u32,
    pub(crate) updates_sent: u32,
    /// Bytes of requests and answers, not encrypted.
    pub(crate) content_bytes: u64,
    /// Bytes that are left to send of a record that was sent in part.
    rest_bytes: usize,
    is_closed: bool,
}

impl Progress {
    /// Nothing but content that is there already.
    pub(crate) fn new(content: Vec<u8>) -> Self {
        Self { content, ..Self::default() }
    }
}

/// From one process to the other.
#[derive(Serialize, Deserialize)]
struct Passed {
    frozen: Frozen,
    progress: Progress,
    turn: Turn,
    /// When the state was thawed, and when it was frozen, on the clock that all processes share.
    at_ns: [u64; 2],
}

/// A process that was started ahead, and waits for a connection.
pub(crate) struct Owner {
    socket: UnixStream,
    process: Child,
}

/// What an owner gives back.
pub(crate) struct Given {
    pub(crate) frozen: Frozen,
    pub(crate) progress: Progress,
    pub(crate) thawed_ns: u64,
    pub(crate) frozen_ns: u64,
}

impl Owner {
    /// Starts this program again, to run the test of that name as the owner.
    pub(crate) fn start(test: &str) -> Self {
        let (socket, theirs) = UnixStream::pair().expect("a pair of sockets");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let process = Command::new(std::env::current_exe().expect("this program"))
            .args([test, "--exact", "--nocapture", "--test-threads", "1"])
            .env(OWNER, "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .expect("this program runs again");
        Self { socket, process }
    }

    /// Lets it own the connection for a turn.
    pub(crate) fn own(
        mut self,
        socket: &TcpStream,
        frozen: Frozen,
        progress: Progress,
        turn: Turn,
    ) -> Given {
        let passed = Passed { frozen, progress, turn, at_ns: [0; 2] };
        send(&self.socket, passed, Some(socket));
        let (given, _) = receive(&self.socket);
        assert!(self.process.wait().expect("its end").success(), "the owner failed in {turn:?}");
        let Passed { frozen, progress, at_ns: [thawed_ns, frozen_ns], .. } = given;
        Given { frozen, progress, thawed_ns, frozen_ns }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Nothing, unless this process was started as an owner.
pub(crate) fn run_if_started() {
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().expect("a socket");
    let parent = UnixStream::from(stdin);
    let (passed, socket) = receive(&parent);
    let mut socket = TcpStream::from(socket.expect("the connection"));
    socket.set_nonblocking(true).expect("it does not block");
    let Passed { frozen, mut progress, turn, .. } = passed;
    let mut records = Records::thaw(&frozen).expect("a snapshot of this build");
    record::wipe(frozen);
    let thawed_ns = now_ns();
    serve(&mut socket, &mut records, &mut progress, turn);
    let frozen_ns = now_ns();
    let frozen = records.freeze();
    send(&parent, Passed { frozen, progress, turn, at_ns: [thawed_ns, frozen_ns] }, None);
}

fn serve(socket: &mut TcpStream, records: &mut Records, progress: &mut Progress, turn: Turn) {
    let enough = progress.requests + turn.requests;
    if let Some(asks_peer) = turn.update {
        records.update_keys(asks_peer);
        progress.updates_sent += 1;
    }
    let mut room = vec![0; turn.read_bytes];
    // What the owner before had received may hold whole records.
    take(records, progress);
    while !(progress.requests >= enough && turn.end.holds(records, progress)) {
        let mut wanted = PollFlags::empty();
        let wants_input = !progress.is_closed && records.output().len() < OUTPUT_BYTES_MAX;
        wanted.set(PollFlags::IN, wants_input);
        wanted.set(PollFlags::OUT, !records.output().is_empty());
        let mut ready = [PollFd::new(socket, wanted)];
        let patience = Timespec::try_from(PATIENCE).expect("a time");
        assert_ne!(
            poll(&mut ready, Some(&patience)).expect("poll"),
            0,
            "{turn:?} has no end, {progress:?}"
        );
        let ready = ready[0].revents();
        if ready.contains(PollFlags::IN) {
            let read = socket.read(&mut room).expect("a client that writes");
            assert!(read > 0, "the client went away without a word, {turn:?}, {progress:?}");
            records.receive(&room[..read]);
            take(records, progress);
        }
        if ready.contains(PollFlags::OUT) {
            write(socket, records, progress, turn.write_bytes);
        }
    }
}

/// Takes what came.
fn take(records: &mut Records, progress: &mut Progress) {
    // Content that came right behind the handshake may be all there is for now.
    answer(records, progress);
    while let Some(event) = records.next().expect("a client that keeps to the protocol") {
        match event {
            Event::Data(content) => {
                progress.content.extend_from_slice(&content);
                answer(records, progress);
            }
            Event::KeysUpdated => progress.updates_received += 1,
            Event::Ticket(_) => panic!("a client has no tickets to give"),
            Event::Closed => {
                assert_eq!(progress.content.len(), 0, "a part of a request at the end");
                records.end(Alert::CloseNotify);
                progress.is_closed = true;
            }
        }
    }
}

/// Answers the requests that are there as a whole.
fn answer(records: &mut Records, progress: &mut Progress) {
    while let Some((number, answer_bytes, length)) = exchange::request(&progress.content) {
        progress.content.drain(..length);
        let answer = exchange::message(number, answer_bytes, 0);
        records.send(&answer);
        progress.requests += 1;
        progress.content_bytes += (length + answer.len()) as u64;
    }
}

fn write(socket: &mut TcpStream, records: &mut Records, progress: &mut Progress, most: usize) {
    let output = records.output();
    let written = match socket.write(&output[..most.min(output.len())]) {
        Ok(written) => written,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return,
        Err(error) => panic!("a client that reads: {error}"),
    };
    let mut end = progress.rest_bytes;
    while end < written {
        let length = u16::from_be_bytes([output[end + 3], output[end + 4]]);
        end += HEADER_BYTES + usize::from(length);
    }
    progress.rest_bytes = end - written;
    records.sent(written);
}

impl End {
    fn holds(self, records: &Records, progress: &Progress) -> bool {
        let (input, output) = (records.input(), records.output());
        let (is_in_input, is_in_output) = (!input.is_empty(), progress.rest_bytes > 0);
        match self {
            Self::Between => !is_in_input && output.is_empty(),
            Self::InHeader => is_in_input && input.len() < HEADER_BYTES,
            Self::InInput => input.len() > HEADER_BYTES,
            Self::InOutput => is_in_output,
            Self::InBoth => input.len() > HEADER_BYTES && is_in_output,
            Self::Unsent => !output.is_empty() && !is_in_output,
            Self::Closed => progress.is_closed && output.is_empty(),
        }
    }
}

/// A frame: four bytes of length, postcard of the message, and a descriptor with the first byte.
fn send(to: &UnixStream, passed: Passed, socket: Option<&TcpStream>) {
    // Room for all at once: a buffer that grows leaves copies of secrets behind.
    let room = passed.frozen.state.len() + passed.progress.content.len() + 1024;
    let mut frame = Vec::with_capacity(room);
    frame.extend_from_slice(&[0; 4]);
    let mut frame = Zeroizing::new(postcard::to_extend(&passed, frame).expect("a message"));
    assert!(frame.len() <= room);
    record::wipe(passed.frozen);
    let length = u32::try_from(frame.len() - 4).expect("a length");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let descriptors = socket.map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(descriptor) = &descriptors {
        assert!(control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor))));
    }
    let sent = sendmsg(to, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL);
    let mut to = to;
    to.write_all(&frame[sent.expect("it was sent")..]).expect("a reader");
}

fn receive(from: &UnixStream) -> (Passed, Option<OwnedFd>) {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut length)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = recvmsg(from, &mut slices, &mut control, flags).expect("a message");
    assert_eq!(received.bytes, 4, "the other process is gone");
    let mut descriptors = control.drain().filter_map(|it| match it {
        RecvAncillaryMessage::ScmRights(mut some) => some.next(),
        _ => None,
    });
    let descriptor = descriptors.next();
    let mut frame = Zeroizing::new(vec![0; u32::from_le_bytes(length) as usize]);
    let mut from = from;
    from.read_exact(&mut frame).expect("the rest of a message");
    (postcard::from_bytes(&frame).expect("a message"), descriptor)
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec * 1_000_000_000 + now.tv_nsec) as u64
}
