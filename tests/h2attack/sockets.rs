//! What the kernel holds of what was sent to a process on the same machine.

use std::{fs, net::TcpStream, os::fd::AsRawFd};

/// Bytes of a connection that were written and that the other end's kernel has not got.
pub(crate) fn unacknowledged(socket: &TcpStream) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the pointer is valid
    // for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Bytes that the other end's kernel has and its process has not read, as long as both ends are open.
pub(crate) fn unread_by_peer(socket: &TcpStream) -> Option<u64> {
    let here = socket.local_addr().ok()?;
    let there = socket.peer_addr().ok()?;
    let file = if here.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    queue_of(&fs::read_to_string(file).ok()?, there.port(), here.port())
}

/// The receive queue of the socket with these ports in a table of the kernel's.
fn queue_of(table: &str, local: u16, remote: u16) -> Option<u64> {
    table.lines().find_map(|line| {
        // The number, local and remote address, the state, the queues for sending and receiving;
        // all hexadecimal.
        let mut fields = line.split_whitespace().skip(1);
        let (here, there) = (port(fields.next()?)?, port(fields.next()?)?);
        let (_, unread) = fields.nth(1)?.split_once(':')?;
        (here == local && there == remote).then(|| u64::from_str_radix(unread, 16).unwrap_or(0))
    })
}

fn port(address: &str) -> Option<u16> {
    u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_that_of_the_other_end() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 0100007F:1F90 0100007F:C001 01 00000000:00000010 00:00000000\n\
            1: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000\n";
        assert_eq!(queue_of(table, 0x1f90, 0xc001), Some(16));
        assert_eq!(queue_of(table, 1, 2), None);
    }
}
