//! Messages to the service manager, as sd_notify(3) describes them.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hangu_codecs::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};

/// Descriptors of one message; the kernel takes 253 of them.
const DESCRIPTORS_MAX: usize = 128;

/// The manager reads within microseconds. One that does not read must not stop the control thread
/// for longer than this.
const SEND_WAIT: Duration = Duration::from_secs(1);

/// The manager gets this long to have dealt with all that it was told before a hand-over.
const BARRIER_WAIT: Duration = Duration::from_secs(5);

/// Tells the service manager what becomes of this process. May be cloned; tells nothing where there
/// is no manager. The manager listens to the main process of the unit alone (`NotifyAccess=main`),
/// so a process that takes over is silent until the one before it has done [`Notifier::hand_over`].
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Manager>>);

struct Manager {
    socket: UnixDatagram,
    address: SocketAddrUnix,
    /// Whether this process is not the main one, or not any more.
    is_silent: AtomicBool,
}

impl fmt::Debug for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Manager").field(&self.address).finish()
    }
}

impl Notifier {
    /// A notifier for the value of `NOTIFY_SOCKET`: a path, or an abstract name after an `@`.
    ///
    /// # Errors
    /// It is neither, or there are no descriptors left.
    pub fn new(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            path @ [b'/', ..] => SocketAddrUnix::new(path)?,
            _ => return Err(io::Error::other("neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_WAIT))?;
        Ok(Self(Some(Arc::new(Manager { socket, address, is_silent: false.into() }))))
    }

    /// Whether there is a manager that listens.
    pub fn is_heard(&self) -> bool {
        self.manager().is_some()
    }

    /// Tells nothing from now on, as long as another process is the main one.
    pub(super) fn be_silent(&self) {
        if let Some(manager) = &self.0 {
            manager.is_silent.store(true, Ordering::Relaxed);
        }
    }

    /// This process is the main one now.
    pub(super) fn speak(&self) {
        if let Some(manager) = &self.0 {
            manager.is_silent.store(false, Ordering::Relaxed);
        }
    }

    /// The gateway serves, or serves again after a reload.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\n{}", status_line(status)));
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.tell(&status_line(status));
    }

    /// The configuration is loaded again; [`Notifier::ready`] ends it. `now` is the monotonic
    /// clock.
    pub fn reloading(&self, now: Time) {
        let now = now.as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Loading the configuration"));
    }

    /// The gateway stops, and needs as long as `wait` for it.
    pub fn stopping(&self, status: &str, wait: Duration) {
        let wait = wait.as_micros();
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={wait}\n{}", status_line(status)));
    }

    /// The watchdog may rest until the next time.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Gives the manager descriptors to keep, which it gives to the next process of the unit when
    /// this one dies. `name` is of printable ASCII characters without a colon, at most 255 of
    /// them. A socket that the manager keeps already is not kept twice.
    pub fn store(&self, name: &str, descriptors: &[BorrowedFd<'_>]) {
        for some in descriptors.chunks(DESCRIPTORS_MAX) {
            self.tell_with(&format!("FDSTORE=1\nFDNAME={name}"), some);
        }
    }

    /// Lets the manager close what it keeps under a name.
    pub fn forget(&self, name: &str) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    /// Makes another process of the unit its main process, and waits until the manager has dealt
    /// with that and all that was told before. From then on this process is not heard any more, and
    /// tells nothing. Does nothing where there is no manager.
    ///
    /// # Errors
    /// The manager does not read or does not answer. Whether it took the other process for the main
    /// one is not known then.
    pub fn hand_over(&self, successor: u32) -> io::Result<()> {
        let Some(manager) = self.manager() else { return Ok(()) };
        manager.send(&format!("MAINPID={successor}"), &[])?;
        manager.is_silent.store(true, Ordering::Relaxed);
        manager.wait(BARRIER_WAIT)
    }

    /// Waits until the manager has dealt with all that it was told. Blocks the thread.
    ///
    /// # Errors
    /// The manager does not read or does not answer.
    pub fn barrier(&self) -> io::Result<()> {
        self.manager().map_or(Ok(()), |it| it.wait(BARRIER_WAIT))
    }

    fn tell(&self, message: &str) {
        self.tell_with(message, &[]);
    }

    fn tell_with(&self, message: &str, descriptors: &[BorrowedFd<'_>]) {
        let Some(manager) = self.manager() else { return };
        if let Err(error) = manager.send(message, descriptors) {
            let what = message.lines().next().unwrap_or_default();
            tracing::warn!(%error, "the service manager cannot be told {what}");
        }
    }

    fn manager(&self) -> Option<&Manager> {
        self.0.as_deref().filter(|it| !it.is_silent.load(Ordering::Relaxed))
    }
}

impl Manager {
    fn send(&self, message: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        let text = [IoSlice::new(message.as_bytes())];
        let flags = SendFlags::NOSIGNAL;
        rustix::net::sendmsg_addr(&self.socket, &self.address, &text, &mut control, flags)?;
        Ok(())
    }

    /// The manager closes the descriptor that comes with `BARRIER=1` when it has come so far.
    fn wait(&self, wait: Duration) -> io::Result<()> {
        let (ours, theirs) = io::pipe()?;
        self.send("BARRIER=1", &[theirs.as_fd()])?;
        drop(theirs);
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        // A pipe without a writer hangs up, which is told unasked.
        match poll(&mut [PollFd::new(&ours, PollFlags::empty())], Some(&wait))? {
            0 => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the service manager does not answer"))
            }
            _ => Ok(()),
        }
    }
}

fn status_line(status: &str) -> String {
    format!("STATUS={}", status.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    use std::path::PathBuf;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

    use super::*;
    use crate::listener::identity;

    /// A manager of the test's own, at a path.
    struct Fake {
        socket: UnixDatagram,
        path: PathBuf,
    }

    impl Fake {
        fn new(name: &str) -> (Self, Notifier) {
            let name = format!("hangu-notify-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = std::fs::remove_file(&path);
            let socket = UnixDatagram::bind(&path).unwrap();
            let notifier = Notifier::new(path.as_os_str()).unwrap();
            (Self { socket, path }, notifier)
        }

        fn next(&self) -> (String, Vec<OwnedFd>) {
            receive(&self.socket)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn receive(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [io::IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = rustix::net::recvmsg(socket, &mut slices, &mut control, flags).unwrap();
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        (String::from_utf8(text[..got.bytes].to_vec()).unwrap(), descriptors)
    }

    #[test]
    fn each_message_has_the_words_of_sd_notify() {
        let (manager, notifier) = Fake::new("words");
        notifier.ready("serving");
        assert_eq!(manager.next().0, "READY=1\nSTATUS=serving");
        notifier.status("two\nlines");
        assert_eq!(manager.next().0, "STATUS=two lines");
        notifier.reloading(Time::from_micros(7));
        assert!(manager.next().0.starts_with("RELOADING=1\nMONOTONIC_USEC=7\n"));
        notifier.stopping("draining", Duration::from_millis(1500));
        let told = "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\nSTATUS=draining";
        assert_eq!(manager.next().0, told);
        notifier.alive();
        assert_eq!(manager.next().0, "WATCHDOG=1");
        notifier.forget("listener");
        assert_eq!(manager.next().0, "FDSTOREREMOVE=1\nFDNAME=listener");
    }

    #[test]
    fn a_manager_with_an_abstract_name_is_found() {
        let name = format!("hangu-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(OsStr::new(&format!("@{name}"))).unwrap();
        notifier.alive();
        assert_eq!(receive(&socket).0, "WATCHDOG=1");
    }

    #[test]
    fn an_address_that_is_no_socket_of_this_machine_is_refused() {
        assert!(Notifier::new(OsStr::new("vsock:2:1234")).is_err());
        assert!(Notifier::new(OsStr::new("")).is_err());
    }

    #[test]
    fn without_a_manager_nothing_is_told_and_nothing_fails() {
        let notifier = Notifier::default();
        assert!(!notifier.is_heard());
        notifier.ready("serving");
        notifier.hand_over(1).unwrap();
        let (manager, gone) = Fake::new("gone");
        drop(manager);
        gone.ready("serving");
    }

    #[test]
    fn descriptors_go_with_their_name() {
        let (manager, notifier) = Fake::new("store");
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let many: Vec<_> = (0..DESCRIPTORS_MAX + 1).map(|_| socket.as_fd()).collect();
        notifier.store("a name", &many);
        let (text, first) = manager.next();
        assert_eq!(text, "FDSTORE=1\nFDNAME=a name");
        assert_eq!(first.len(), DESCRIPTORS_MAX);
        assert_eq!(identity(&first[0]), identity(&socket));
        assert_eq!(manager.next().1.len(), 1);
    }

    #[test]
    fn a_hand_over_waits_until_the_manager_has_come_so_far_and_is_the_last_word() {
        let (manager, notifier) = Fake::new("barrier");
        let handing = notifier.clone();
        let thread = std::thread::spawn(move || handing.hand_over(42));
        assert_eq!(manager.next().0, "MAINPID=42");
        let (text, descriptors) = manager.next();
        assert_eq!((text.as_str(), descriptors.len()), ("BARRIER=1", 1));
        assert!(!thread.is_finished());
        drop(descriptors);
        thread.join().unwrap().unwrap();
        notifier.stopping("too late", Duration::ZERO);
        manager.socket.set_nonblocking(true).unwrap();
        assert!(manager.socket.recv(&mut [0; 64]).is_err());
        assert!(!notifier.is_heard());
    }

    #[test]
    fn a_process_that_is_not_the_main_one_yet_is_silent() {
        let (manager, notifier) = Fake::new("early");
        notifier.be_silent();
        notifier.ready("too early");
        notifier.speak();
        notifier.ready("in time");
        assert_eq!(manager.next().0, "READY=1\nSTATUS=in time");
    }

    #[test]
    fn a_manager_that_does_not_answer_fails_a_barrier() {
        let (manager, notifier) = Fake::new("silent");
        let waited = notifier.0.as_deref().unwrap().wait(Duration::from_millis(10));
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(manager.next().0, "BARRIER=1");
    }
}
