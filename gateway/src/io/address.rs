//! The address under which others see this machine.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The IPv4 address from which this machine would send to others; that of loopback where it has
/// none. No packet is sent: the kernel only looks up the route.
pub fn own_address() -> Ipv4Addr {
    // An address for documentation (RFC 5737), which no network has of its own.
    let elsewhere = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let found = socket.and_then(|it| it.connect(elsewhere).and_then(|()| it.local_addr()));
    match found.map(|it| it.ip()) {
        Ok(IpAddr::V4(address)) => address,
        Ok(IpAddr::V6(_)) | Err(_) => Ipv4Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_has_an_address_that_is_one() {
        let address = super::own_address();
        assert!(!address.is_unspecified() && !address.is_multicast(), "{address}");
    }
}
