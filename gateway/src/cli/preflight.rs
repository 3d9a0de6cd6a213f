//! What is looked at before anything starts, so that a gateway that cannot work says why at once.

use std::io;
use std::net::{SocketAddr, TcpListener};

use hangu_config::{Config, Driver};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::listener::Inherited;

/// Descriptors that the process needs beside its connections: log, admin API, rings, timers, with
/// room to spare.
const DESCRIPTORS_OWN: u64 = 64;

/// Descriptors of a worker beside its connections.
const DESCRIPTORS_PER_WORKER: u64 = 8;

/// Connections that a gateway must be able to hold to be of any use.
const CONNECTIONS_MIN: u64 = 64;

/// Entries of a worker's ring, as the workers make theirs.
const RING_ENTRIES: u32 = 4096;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// What the gateway can live with.
    pub(super) warnings: Vec<String>,
    /// What keeps it from starting, each with what to do.
    pub(super) problems: Vec<String>,
}

/// Looks at everything that may keep the gateway from its work. An address whose sockets were
/// inherited is the gateway's own.
pub(super) fn check(config: &Config, workers: usize, inherited: &Inherited) -> Findings {
    let mut found = Findings::default();
    let listeners = config.listeners.iter().filter(|it| !inherited.has(it.address));
    found.problems.extend(listeners.filter_map(|it| address_problem(&it.name, it.address)));
    match descriptors(needed_descriptors(config, workers), workers as u64) {
        Descriptors::Enough => {}
        Descriptors::Fewer(warning) => found.warnings.push(warning),
        Descriptors::TooFew(problem) => found.problems.push(problem),
    }
    match (ring_problem(workers), config.driver) {
        (None, _) | (_, Driver::Epoll) => {}
        (Some(why), Driver::Auto) => {
            found.warnings.push(format!("{why}; another driver will be used"));
        }
        (Some(why), Driver::IoUring) => found
            .problems
            .push(format!("{why}; `driver: auto` lets the gateway use another driver then")),
    }
    found
}

/// What keeps a listener from its address. Binds it without `SO_REUSEPORT`, with which the kernel
/// would let two gateways of one user share the port, silently.
fn address_problem(listener: &str, address: SocketAddr) -> Option<String> {
    let error = TcpListener::bind(address).err()?;
    let port = address.port();
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the port is in use; `ss -ltnp 'sport = :{port}'` tells by whom: stop that process or \
             choose another port"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {}; `ip address` lists those that it has",
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => format!(
            "only a privileged process may take port {port}: give the program CAP_NET_BIND_SERVICE \
             or lower the sysctl net.ipv4.ip_unprivileged_port_start"
        ),
        _ => error.to_string(),
    };
    Some(format!("listener `{listener}` cannot listen on {address}: {why}"))
}

/// Whether there are descriptors for all connections that the configuration allows.
#[derive(Debug, PartialEq, Eq)]
enum Descriptors {
    Enough,
    Fewer(String),
    TooFew(String),
}

/// Two descriptors for each connection that is allowed: its own, and one to an upstream.
fn needed_descriptors(config: &Config, workers: usize) -> u64 {
    let connections = config.listeners.iter().map(|it| u64::from(it.connections_max));
    connections.fold(base_descriptors(workers as u64), |sum, it| sum.saturating_add(2 * it))
}

fn base_descriptors(workers: u64) -> u64 {
    DESCRIPTORS_OWN + DESCRIPTORS_PER_WORKER * workers
}

/// Raises the soft limit to the hard one; only then looks whether it is enough.
fn descriptors(needed: u64, workers: u64) -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // What cannot be raised stays as it is and is judged below.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let available = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    judge(available, needed, workers)
}

fn judge(available: u64, needed: u64, workers: u64) -> Descriptors {
    let least = base_descriptors(workers) + 2 * CONNECTIONS_MIN;
    let how = "raise it with `ulimit -Hn` in the shell or LimitNOFILE= in the systemd unit";
    if available < least {
        return Descriptors::TooFew(format!(
            "the process may open {available} descriptors and needs at least {least}: {how}"
        ));
    }
    if available < needed {
        return Descriptors::Fewer(format!(
            "the process may open {available} descriptors; all connections that connections_max \
             allows, and one upstream connection for each, would take {needed}: {how}, or lower \
             connections_max"
        ));
    }
    Descriptors::Enough
}

/// What keeps the workers from rings of their own. Makes as many as there will be, at once, for
/// before Linux 5.12 all count against the locked memory of the user.
fn ring_problem(workers: usize) -> Option<String> {
    let rings: io::Result<Vec<io_uring::IoUring>> =
        (0..workers).map(|_| io_uring::IoUring::new(RING_ENTRIES)).collect();
    let error = rings.err()?;
    let why = match error.raw_os_error() {
        Some(libc::ENOMEM) => {
            let locked = getrlimit(Resource::Memlock).current;
            let locked = locked.map_or("unlimited".to_owned(), |it| format!("{} KiB", it / 1024));
            format!(
                "too little locked memory ({locked}): raise it with `ulimit -l` or LimitMEMLOCK= in \
                 the systemd unit"
            )
        }
        Some(libc::EPERM | libc::EACCES) => "the sysctl kernel.io_uring_disabled or a seccomp \
             filter forbids it"
            .to_owned(),
        Some(libc::ENOSYS) => "the kernel has none".to_owned(),
        _ => error.to_string(),
    };
    Some(format!("io_uring cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_command_that_finds_its_owner() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let problem = address_problem("front", address).unwrap();
        assert!(problem.contains("`front`"), "{problem}");
        assert!(problem.contains(&format!("ss -ltnp 'sport = :{}'", address.port())), "{problem}");
    }

    #[test]
    fn a_port_shared_with_so_reuseport_is_in_use_all_the_same() {
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        other.set_reuse_port(true).unwrap();
        other.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        other.listen(1).unwrap();
        let address = other.local_addr().unwrap().as_socket().unwrap();
        assert!(address_problem("front", address).unwrap().contains("in use"));
    }

    #[test]
    fn an_address_of_another_machine_is_told_from_a_port_in_use() {
        let problem = address_problem("front", "192.0.2.7:0".parse().unwrap()).unwrap();
        assert!(problem.contains("no address 192.0.2.7"), "{problem}");
    }

    #[test]
    fn a_free_port_is_no_problem_and_is_free_afterwards() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(address_problem("front", free), None);
        assert_eq!(address_problem("front", free), None);
        assert_eq!(address_problem("front", "[::1]:0".parse().unwrap()), None);
    }

    #[test]
    fn descriptors_are_judged_by_what_the_configuration_allows() {
        assert_eq!(judge(1_000_000, 200_000, 2), Descriptors::Enough);
        let Descriptors::Fewer(warning) = judge(20_000, 200_000, 2) else { panic!() };
        assert!(warning.contains("20000") && warning.contains("200000"), "{warning}");
        let Descriptors::TooFew(problem) = judge(100, 200_000, 2) else { panic!() };
        assert!(problem.contains("at least 208"), "{problem}");
        assert_eq!(judge(208, 208, 2), Descriptors::Enough);
    }
}
