//! epoll, edge-triggered.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::event::{Timespec, epoll};

/// Events taken by one wait: more would only make one wake-up longer.
const EVENTS_PER_WAIT: usize = 256;

/// An epoll instance.
pub(crate) struct Poller {
    epoll: OwnedFd,
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// The number under which the descriptor was added.
    pub(crate) token: u64,
    /// A write that was short may go on, or a connection has come about.
    pub(crate) is_writable: bool,
}

impl Poller {
    /// A new epoll instance.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a socket both ways, edge-triggered, for as long as it is open.
    pub(crate) fn add_stream(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token), flags)?)
    }

    /// Watches a listener, level-triggered.
    pub(crate) fn add_listener(&self, listener: impl AsFd, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN;
        Ok(epoll::add(&self.epoll, listener, epoll::EventData::new_u64(token), flags)?)
    }

    /// Waits for events, at most for this time; a signal counts as no event.
    pub(crate) fn wait(&self, patience: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let timeout = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut room = [const { MaybeUninit::uninit() }; EVENTS_PER_WAIT];
        let events = match epoll::wait(&self.epoll, &mut room[..], Some(&timeout)) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        ready.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let broken = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            Ready {
                token: data.u64(),
                is_writable: flags.intersects(broken | epoll::EventFlags::OUT),
            }
        }));
        Ok(())
    }
}
