//! Listening sockets: binding them, taking over those that are there, and saying why it cannot be
//! done.

mod inherited;

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use hangu_config::Listener;

pub use inherited::{Inherited, identity};

/// The listening sockets of one listener, at least one per worker, all on one address.
pub struct Sockets {
    /// The address; where the configuration says port 0, the one that was given.
    pub address: SocketAddr,
    /// At least one per worker. More were inherited from a process with more workers; each has a
    /// queue of its own, so each must be accepted on.
    pub sockets: Vec<TcpListener>,
}

/// Binds the sockets of listeners, those that were inherited excepted, which are taken as they are.
///
/// # Errors
/// The first listener that could not be bound, with the system's word.
pub fn bind_all<'c>(
    listeners: impl Iterator<Item = &'c Listener>,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<Sockets>, BindError> {
    listeners.map(|it| provide(it, workers, inherited)).collect()
}

/// A listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: cannot listen on {address}: {error}{}", hint(.error))]
pub struct BindError {
    /// Name of the listener.
    pub listener: String,
    /// The address.
    pub address: SocketAddr,
    /// The system's word.
    pub error: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process listens there; `ss -ltnp` shows which)",
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start)"
        }
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has that address)",
        _ => "",
    }
}

fn provide(
    listener: &Listener,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Sockets, BindError> {
    let Listener { address, backlog, tcp, .. } = *listener;
    let failed = |error| BindError { listener: listener.name.clone(), address, error };
    let mut sockets = inherited.take(address);
    for socket in &sockets {
        crate::io::adjust(socket, backlog, tcp).map_err(failed)?;
    }
    let is_shared = !sockets.is_empty();
    if !is_shared {
        sockets.push(bind_alone(listener).map_err(failed)?);
    }
    let Some(first) = sockets.first() else { return Ok(Sockets { address, sockets }) };
    let address = first.local_addr().map_err(failed)?;
    while sockets.len() < workers {
        let further = match crate::io::bind(address, backlog, tcp) {
            // A socket of another user, or one that was bound without SO_REUSEPORT, shares its
            // address with no other. So the workers share the socket.
            Err(error) if is_shared && error.kind() == io::ErrorKind::AddrInUse => share(&sockets),
            bound => bound,
        };
        sockets.push(further.map_err(failed)?);
    }
    Ok(Sockets { address, sockets })
}

/// Binds the first socket of a listener, unless somebody else listens there.
fn bind_alone(listener: &Listener) -> io::Result<TcpListener> {
    // SO_REUSEPORT would let two gateways share an address unnoticed: ask for it alone first.
    if listener.address.port() != 0 {
        drop(TcpListener::bind(listener.address)?);
    }
    crate::io::bind(listener.address, listener.backlog, listener.tcp)
}

/// One more descriptor of one of the sockets, of each in turn.
fn share(sockets: &[TcpListener]) -> io::Result<TcpListener> {
    let own: std::collections::HashSet<_> = sockets.iter().filter_map(identity).collect();
    let next = sockets.get(sockets.len() % own.len().max(1));
    next.ok_or(io::ErrorKind::AddrInUse)?.try_clone()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::TcpStream};

    use super::*;

    fn listener(address: SocketAddr) -> Listener {
        let text = format!(
            "listeners: [{{name: in, address: '{address}', protocols: [http1], route_config: r}}]\n\
             route_configs: [{{name: r, virtual_hosts: [{{name: all, domains: ['*'], routes: \
             [{{match: {{prefix: /}}, route: {{cluster: c}}}}]}}]}}]\n\
             clusters: [{{name: c, protocol: http1, endpoints: [{{address: '127.0.0.1:1'}}]}}]\n"
        );
        let source = hangu_config::Source { name: "test.yaml".to_owned(), text };
        hangu_config::load(&[source], &hangu_config::NoValues).unwrap().listeners.remove(0)
    }

    fn identities(sockets: &[TcpListener]) -> HashSet<u64> {
        sockets.iter().filter_map(identity).collect()
    }

    /// The sockets of an earlier process with so many workers.
    fn earlier(workers: usize) -> Sockets {
        let any = listener("127.0.0.1:0".parse().unwrap());
        provide(&any, workers, &mut Inherited::default()).unwrap()
    }

    #[test]
    fn fewer_sockets_than_workers_are_taken_and_more_are_bound() {
        let Sockets { address, sockets } = earlier(1);
        let old = identities(&sockets);
        let mut inherited = Inherited::new(sockets);
        let now = provide(&listener(address), 3, &mut inherited).unwrap();
        assert_eq!(now.address, address);
        assert_eq!(identities(&now.sockets).len(), 3);
        assert!(identities(&now.sockets).is_superset(&old));
        assert!(inherited.addresses().is_empty());
    }

    #[test]
    fn more_sockets_than_workers_are_all_kept() {
        let Sockets { address, sockets } = earlier(4);
        let old = identities(&sockets);
        let now = provide(&listener(address), 2, &mut Inherited::new(sockets)).unwrap();
        assert_eq!(identities(&now.sockets), old);
    }

    #[test]
    fn what_queued_before_is_accepted_after() {
        let Sockets { address, sockets } = earlier(1);
        let client = TcpStream::connect(address).unwrap();
        let now = provide(&listener(address), 1, &mut Inherited::new(sockets)).unwrap();
        let (_, peer) = now.sockets[0].accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    }

    #[test]
    fn a_socket_that_shares_its_address_with_no_other_is_shared_by_the_workers() {
        let alone = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alone.local_addr().unwrap();
        let old = identities(std::slice::from_ref(&alone));
        let now = provide(&listener(address), 3, &mut Inherited::new([alone])).unwrap();
        assert_eq!(now.sockets.len(), 3);
        assert_eq!(identities(&now.sockets), old);
    }

    #[test]
    fn an_address_that_somebody_else_has_is_still_refused() {
        let Sockets { address, sockets } = earlier(2);
        let refused = provide(&listener(address), 2, &mut Inherited::default());
        assert_eq!(refused.err().unwrap().error.kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
    }
}
