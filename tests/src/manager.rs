//! A service manager that hears what a gateway tells it.

use std::{
    os::{linux::net::SocketAddrExt, unix::net::SocketAddr, unix::net::UnixDatagram},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::wait::PATIENCE;

/// Hears the messages of sd_notify(3). Descriptors that come with them are closed.
pub struct Manager {
    socket: UnixDatagram,
    /// The value of `NOTIFY_SOCKET`.
    pub address: String,
}

impl Manager {
    /// A manager that nobody knows yet.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::new_without_default, reason = "each one is another")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hangu-manager-{}-{count}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        Self { socket, address: format!("@{name}") }
    }

    /// The next message, if there is one within this time.
    pub fn hear(&self, wait: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(wait)).expect("a time");
        let mut text = [0; 4096];
        let length = loop {
            match self.socket.recv(&mut text) {
                Ok(length) => break length,
                // A ring that this thread tried and closed interrupts it once.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        };
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    /// Waits for a message that begins so, and passes those before it over.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn wait_for(&self, begin: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        while Instant::now() < end {
            match self.hear(PATIENCE) {
                Some(message) if message.starts_with(begin) => return message,
                message => before.extend(message),
            }
        }
        panic!("no {begin}, but {before:?}")
    }
}
