//! Which listening sockets the service manager keeps, so that their queues outlive the process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use super::Notifier;
use super::environment::Given;
use crate::listener::{Inherited, identity};

/// Names of sockets that this program had kept begin so.
const PREFIX: &str = "listener-";

/// What the manager keeps, as far as this process knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// Identities of the sockets by the name of their listener.
    kept: BTreeMap<String, BTreeSet<u64>>,
    /// Sockets of socket units: the manager has them anyway.
    of_units: BTreeSet<u64>,
}

impl Store {
    /// What the manager kept for this process.
    pub(super) fn new(given: &[Given]) -> Self {
        let mut store = Self::default();
        for Given { name, socket } in given {
            let Some(identity) = identity(socket) else { continue };
            if name.starts_with(PREFIX) {
                store.kept.entry(name.clone()).or_default().insert(identity);
            } else {
                store.of_units.insert(identity);
            }
        }
        store
    }

    /// Takes sockets for kept that another process of the unit has handed over.
    pub(super) fn take_over(&mut self, handed_over: &Inherited) {
        for (address, socket) in handed_over.iter() {
            let kept = self.kept.entry(name_of(address)).or_default();
            kept.extend(identity(socket));
        }
    }

    /// Lets the manager keep exactly these sockets. What it has already is not sent again.
    pub(super) fn keep(&mut self, sockets: &[TcpListener], notifier: &Notifier) {
        let mut wanted: BTreeMap<String, BTreeMap<u64, &TcpListener>> = BTreeMap::new();
        for socket in sockets {
            let (Some(identity), Ok(address)) = (identity(socket), socket.local_addr()) else {
                continue;
            };
            if !self.of_units.contains(&identity) {
                wanted.entry(name_of(address)).or_default().insert(identity, socket);
            }
        }
        let is_stale = |(name, had): &(&String, &BTreeSet<u64>)| {
            wanted.get(*name).is_none_or(|it| had.iter().any(|had| !it.contains_key(had)))
        };
        let stale: Vec<_> = self.kept.iter().filter(is_stale).map(|it| it.0.clone()).collect();
        for name in stale {
            notifier.forget(&name);
            self.kept.remove(&name);
        }
        for (name, sockets) in wanted {
            let identities: BTreeSet<_> = sockets.keys().copied().collect();
            if self.kept.get(&name) != Some(&identities) {
                let descriptors: Vec<_> = sockets.values().map(|it| it.as_fd()).collect();
                notifier.store(&name, &descriptors);
                self.kept.insert(name, identities);
            }
        }
    }
}

/// The name under which the sockets of an address are kept. A colon is not allowed in it, for it
/// stands between the names in `LISTEN_FDNAMES`.
fn name_of(address: SocketAddr) -> String {
    format!("{PREFIX}{address}").replace(':', "_")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

    use super::*;

    /// A manager that tells what it was told.
    struct Fake(UnixDatagram);

    impl Fake {
        fn new(name: &str) -> (Self, Notifier) {
            let name = format!("hangu-store-{name}-{}", std::process::id());
            let address = UnixAddr::from_abstract_name(&name).unwrap();
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            socket.set_nonblocking(true).unwrap();
            (Self(socket), Notifier::new(OsStr::new(&format!("@{name}"))).unwrap())
        }

        fn told(&self) -> Vec<String> {
            let mut text = [0; 1024];
            let next = || self.0.recv(&mut text).ok().map(|it| text[..it].to_vec());
            std::iter::from_fn(next).map(|it| String::from_utf8(it).unwrap()).collect()
        }
    }

    fn sockets<const N: usize>() -> [TcpListener; N] {
        [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn name(socket: &TcpListener) -> String {
        name_of(socket.local_addr().unwrap())
    }

    fn given(name: String, socket: &TcpListener) -> Given {
        Given { name, socket: socket.try_clone().unwrap() }
    }

    #[test]
    fn a_name_has_no_colon_and_tells_the_address() {
        assert_eq!(name_of("127.0.0.1:80".parse().unwrap()), "listener-127.0.0.1_80");
        assert_eq!(name_of("[::1]:80".parse().unwrap()), "listener-[__1]_80");
    }

    #[test]
    fn a_listener_is_kept_once_and_forgotten_when_it_is_closed() {
        let (manager, notifier) = Fake::new("once");
        let mut store = Store::default();
        let [socket] = sockets();
        let socket = [socket];
        store.keep(&socket, &notifier);
        let kept = format!("FDSTORE=1\nFDNAME={}", name(&socket[0]));
        assert_eq!(manager.told(), [kept]);
        store.keep(&socket, &notifier);
        assert!(manager.told().is_empty());
        store.keep(&[], &notifier);
        assert_eq!(manager.told(), [format!("FDSTOREREMOVE=1\nFDNAME={}", name(&socket[0]))]);
        store.keep(&[], &notifier);
        assert!(manager.told().is_empty());
    }

    #[test]
    fn what_was_kept_for_an_address_that_has_no_listener_any_more_is_forgotten() {
        let (manager, notifier) = Fake::new("left");
        let [used, left] = sockets();
        let mut store = Store::new(&[given(name(&used), &used), given(name(&left), &left)]);
        store.keep(&[used], &notifier);
        assert_eq!(manager.told(), [format!("FDSTOREREMOVE=1\nFDNAME={}", name(&left))]);
    }

    #[test]
    fn other_sockets_on_the_same_address_take_the_place_of_the_old_ones() {
        let (manager, notifier) = Fake::new("other");
        let [socket] = sockets();
        let address = socket.local_addr().unwrap();
        let mut store = Store::default();
        store.keep(&[socket], &notifier);
        manager.told();
        let other = TcpListener::bind(address).unwrap();
        store.keep(&[other], &notifier);
        let words: Vec<_> = manager.told();
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(words[0].starts_with("FDSTOREREMOVE=1\n") && words[1].starts_with("FDSTORE=1\n"));
    }

    #[test]
    fn what_another_process_handed_over_is_forgotten_when_there_is_no_listener_for_it() {
        let (manager, notifier) = Fake::new("handed");
        let [used, left] = sockets();
        let left_name = name(&left);
        let handed_over = Inherited::new([used.try_clone().unwrap(), left]);
        let mut store = Store::default();
        store.take_over(&handed_over);
        store.keep(&[used], &notifier);
        assert_eq!(manager.told(), [format!("FDSTOREREMOVE=1\nFDNAME={left_name}")]);
    }

    #[test]
    fn sockets_of_a_socket_unit_are_left_to_it() {
        let (manager, notifier) = Fake::new("unit");
        let [of_unit, own] = sockets();
        let mut store = Store::new(&[given("http".to_owned(), &of_unit)]);
        let own_name = name(&own);
        store.keep(&[of_unit, own], &notifier);
        assert_eq!(manager.told(), [format!("FDSTORE=1\nFDNAME={own_name}")]);
    }
}
