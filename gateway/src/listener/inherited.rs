//! Listening sockets that are older than this process.

use std::{
    collections::HashSet,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
};

/// Listening sockets that this process was given instead of binding them: kept by the service
/// manager when an earlier process died, made by a socket unit, or handed over. What queues on them
/// is served as if nothing had happened.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(SocketAddr, TcpListener)>,
}

impl Inherited {
    /// Takes listening sockets. A socket that came twice counts once.
    pub fn new(sockets: impl IntoIterator<Item = TcpListener>) -> Self {
        let mut seen = HashSet::new();
        let is_new = |it: &TcpListener| identity(it).is_none_or(|it| seen.insert(it));
        let sockets = sockets.into_iter().filter(is_new);
        let addressed = sockets.filter_map(|it| Some((it.local_addr().ok()?, it)));
        Self { sockets: addressed.collect() }
    }

    /// Whether there is a socket for a listener with this address.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.sockets.iter().any(|it| it.0 == address)
    }

    /// The sockets with their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &TcpListener)> {
        self.sockets.iter().map(|(address, socket)| (*address, socket))
    }

    /// Addresses of the sockets for which there was no listener so far.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.sockets.iter().map(|it| it.0).collect();
        addresses.dedup();
        addresses
    }

    /// Hands out the sockets of an address, in the order in which they came.
    pub(super) fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        self.sockets.extract_if(.., |it| it.0 == address).map(|it| it.1).collect()
    }
}

/// What a socket is known by, whichever descriptor it is seen through; `None` when the system does
/// not tell.
pub fn identity(socket: impl AsFd) -> Option<u64> {
    rustix::fs::fstat(socket).ok().map(|it| it.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_given_to_its_address_and_to_no_other() {
        let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let (wanted, other) = (first.local_addr().unwrap(), second.local_addr().unwrap());
        let mut inherited = Inherited::new([first, second]);
        assert!(inherited.has(wanted));
        let taken = inherited.take(wanted);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].local_addr().unwrap(), wanted);
        assert!(!inherited.has(wanted));
        assert_eq!(inherited.addresses(), [other]);
    }

    #[test]
    fn a_socket_that_came_twice_counts_once() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let again = socket.try_clone().unwrap();
        assert_eq!(identity(&socket), identity(&again));
        assert_eq!(Inherited::new([socket, again]).take(address).len(), 1);
    }
}
