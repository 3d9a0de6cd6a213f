//! epoll, edge-triggered.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// Events taken by one wait: more would only make one wake-up longer.
const EVENTS_PER_WAIT: usize = 256;

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The number under which the descriptor was added.
    pub token: u64,
    /// Bytes, a connection to accept, or the end of the stream can be read.
    pub is_readable: bool,
    /// A write that was short may go on.
    pub is_writable: bool,
    /// The peer sends no more, or the connection is broken: read until the end shows.
    pub is_hung_up: bool,
}

/// Where a wait puts its events; kept by the caller so that nothing is allocated per wait.
pub struct Events(Vec<epoll::Event>);

impl Poller {
    /// A new epoll instance.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a socket both ways, edge-triggered, for as long as it is open.
    ///
    /// Both ways at once, because changing the set costs a system call each time; writability is
    /// an edge only after a write was short, so it wakes nobody in vain.
    ///
    /// # Errors
    /// No memory, or the user's limit of watched descriptors is reached.
    pub fn add_stream(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        self.add(socket, token, flags)
    }

    /// Watches a listener, a timer or an eventfd, level-triggered.
    ///
    /// # Errors
    /// As [`Poller::add_stream`].
    pub fn add_source(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        self.add(source, token, epoll::EventFlags::IN)
    }

    /// Waits for events, at most `timeout` (rounded up to milliseconds).
    ///
    /// # Errors
    /// None that a correct program sees; a signal counts as no event.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.0.clear();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let buffer = rustix::buffer::spare_capacity(&mut events.0);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn add(&self, source: impl AsFd, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(token), flags)?)
    }
}

impl Events {
    /// Room for the events of one wait.
    #[must_use]
    pub fn new() -> Self {
        Self(Vec::with_capacity(EVENTS_PER_WAIT))
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        self.0.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let broken = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            let is_hung_up = flags.intersects(broken | epoll::EventFlags::RDHUP);
            Ready {
                token: data.u64(),
                is_readable: flags.contains(epoll::EventFlags::IN) || is_hung_up,
                is_writable: flags.intersects(broken | epoll::EventFlags::OUT),
                is_hung_up,
            }
        })
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}
