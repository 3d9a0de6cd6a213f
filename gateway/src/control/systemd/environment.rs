//! What the service manager gives a process at its start, by the environment: sd_notify(3),
//! sd_listen_fds(3), sd_watchdog_enabled(3).

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{SockRef, Type};

/// The first descriptor that the manager gives.
const DESCRIPTORS_START: RawFd = 3;

/// More than any manager gives; a number from the environment is not to make us try for long.
const DESCRIPTORS_MAX: RawFd = 65_536;

/// Variables that are for this process alone. A child must not take them for its own: the
/// descriptors that they tell of are closed when another program begins. `NOTIFY_SOCKET` and
/// `WATCHDOG_USEC` stay, for the process that will take this one's place.
const OWN: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// What there was, not looked at any closer.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) notify_socket: Option<OsString>,
    /// The manager ends the process that says nothing for so long.
    pub(super) watchdog: Option<Duration>,
    pub(super) sockets: Vec<Given>,
}

/// A listening socket with the name under which the manager gave it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) socket: TcpListener,
}

/// Takes what is for this process out of the environment, descriptors included.
///
/// # Safety
/// No other thread may run, for the environment is changed; and the descriptors that the
/// environment tells of must belong to nobody yet.
pub(super) unsafe fn take() -> Environment {
    let read = |name: &str| std::env::var(name).ok();
    let own = std::process::id();
    let is_for_us = |pid: Option<String>| pid.is_some_and(|it| it.parse() == Ok(own));
    let watchdog_pid = read("WATCHDOG_PID");
    let watchdog = watchdog_pid.is_none() || is_for_us(watchdog_pid);
    let environment = Environment {
        notify_socket: std::env::var_os("NOTIFY_SOCKET").filter(|it| !it.is_empty()),
        watchdog: read("WATCHDOG_USEC").filter(|_| watchdog).and_then(|it| duration(&it)),
        sockets: if is_for_us(read("LISTEN_PID")) {
            let names = read("LISTEN_FDNAMES").unwrap_or_default();
            // SAFETY: the caller's promise.
            unsafe { sockets(&read("LISTEN_FDS").unwrap_or_default(), &names) }
        } else {
            Vec::new()
        },
    };
    for name in OWN {
        // SAFETY: no other thread runs, the caller promises.
        unsafe { std::env::remove_var(name) };
    }
    environment
}

fn duration(microseconds: &str) -> Option<Duration> {
    let duration = Duration::from_micros(microseconds.parse().ok()?);
    (!duration.is_zero()).then_some(duration)
}

/// The TCP listening sockets among the descriptors that were given; others are closed.
///
/// # Safety
/// The descriptors must belong to nobody.
unsafe fn sockets(count: &str, names: &str) -> Vec<Given> {
    let count = count.parse().unwrap_or(0).clamp(0, DESCRIPTORS_MAX);
    let mut names = names.split(':');
    let mut given = Vec::new();
    for number in DESCRIPTORS_START..DESCRIPTORS_START + count {
        let name = names.next().unwrap_or_default().to_owned();
        // SAFETY: borrowed for this call alone, which fails for what is not open.
        let is_open = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok();
        if !is_open {
            continue;
        }
        // SAFETY: it is open, and belongs to nobody, the caller promises.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        match listening(descriptor) {
            Some(socket) => given.push(Given { name, socket }),
            None => eprintln!("warning: descriptor {number} ({name}) is no TCP listening socket"),
        }
    }
    given
}

fn listening(descriptor: OwnedFd) -> Option<TcpListener> {
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC).ok()?;
    let socket = SockRef::from(&descriptor);
    let is_ours = socket.is_listener().ok()?
        && socket.r#type().ok()? == Type::STREAM
        && socket.local_addr().ok()?.as_socket().is_some();
    is_ours.then(|| descriptor.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_tcp_sockets_that_listen_are_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let taken = listening(listener.into()).unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
        let path = std::env::temp_dir().join(format!("hangu-given-{}", std::process::id()));
        assert!(listening(UnixListener::bind(&path).unwrap().into()).is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(listening(std::fs::File::open("/dev/null").unwrap().into()).is_none());
        let client = std::net::TcpStream::connect(address).unwrap();
        assert!(listening(client.into()).is_none());
    }

    #[test]
    fn a_count_that_is_no_number_gives_nothing() {
        for count in ["", "x", "-1", "0"] {
            // SAFETY: no descriptor is touched.
            assert!(unsafe { sockets(count, "") }.is_empty());
        }
    }

    #[test]
    fn a_watchdog_without_time_is_none() {
        assert_eq!(duration("30000000"), Some(Duration::from_secs(30)));
        assert_eq!(duration("0"), None);
        assert_eq!(duration("soon"), None);
    }
}
