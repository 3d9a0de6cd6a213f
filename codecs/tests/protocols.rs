//! What holds for every protocol alike.

mod support;

use hangu_codecs::protocol::{Kind, SNIFF_BYTES_MAX, Sniff, Sniffed};
use hangu_codecs::{Frozen, Limits, OpenError, PROTOCOLS, Protocol, Role, ThawError, Time};
use support::driver::Side;

const ROLES: [Role; 2] = [Role::Server, Role::Client];

#[test]
fn names_are_unique_and_findable() {
    assert!(!PROTOCOLS.is_empty());
    for protocol in PROTOCOLS {
        let found = Protocol::find(protocol.name).expect("found by its name");
        assert!(std::ptr::eq(found, *protocol), "{protocol:?} is hidden by another");
        let is_snake = protocol
            .name
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_');
        assert!(is_snake, "{protocol:?}");
        assert_eq!(protocol.rpc_head.is_some(), protocol.kind == Kind::Rpc, "{protocol:?}");
    }
}

#[test]
fn a_new_connection_freezes_small_and_thaws_alike() {
    for protocol in PROTOCOLS {
        for role in ROLES {
            let mut side = Side::new(protocol, role, &Limits::default());
            let bytes = side.codec.freeze(side.now).to_bytes();
            assert!(bytes.len() <= 512, "{protocol:?} {role:?}: {} bytes", bytes.len());
            // HTTP/2 clients speak first (RFC 9113 §3.4).
            let first_words = side.codec.output().len();
            side.thaw_anew();
            assert_eq!(side.codec.in_flight(), 0);
            assert!(side.codec.wants_input() && !side.codec.is_finished());
            assert_eq!(side.codec.output().len(), first_words);
        }
    }
}

#[test]
fn only_the_client_role_opens_streams() {
    for protocol in PROTOCOLS {
        let mut server = Side::new(protocol, Role::Server, &Limits::default());
        assert_eq!(server.codec.open(), Err(OpenError::Closing), "{protocol:?}");
        let mut client = Side::new(protocol, Role::Client, &Limits::default());
        assert!(client.codec.open().is_ok(), "{protocol:?}");
        assert_eq!(client.codec.in_flight(), 1, "{protocol:?}");
        let mut drained = Side::new(protocol, Role::Client, &Limits::default());
        drained.codec.drain();
        assert_eq!(drained.codec.open(), Err(OpenError::Closing), "{protocol:?}");
    }
}

#[test]
fn foreign_and_damaged_snapshots_are_refused_without_a_panic() {
    let thaw = |frozen: &Frozen| {
        Protocol::thaw(frozen, &Limits::default(), Time::default()).map(|codec| {
            codec.freeze(Time::default());
        })
    };
    for protocol in PROTOCOLS {
        for role in ROLES {
            let good = Side::new(protocol, role, &Limits::default()).codec.freeze(Time::default());
            assert_eq!(thaw(&good), Ok(()));
            let unknown = Frozen { protocol: "none".into(), ..good.clone() };
            assert_eq!(thaw(&unknown), Err(ThawError::UnknownProtocol));
            let newer = Frozen { version: u16::MAX, ..good.clone() };
            assert_eq!(thaw(&newer), Err(ThawError::UnknownVersion));
            for bytes in 0..good.state.len() {
                let cut = Frozen { state: good.state.slice(..bytes), ..good.clone() };
                assert_eq!(thaw(&cut), Err(ThawError::Damaged), "{protocol:?} {bytes}");
            }
            for at in 0..good.state.len() {
                for value in 0..=u8::MAX {
                    let mut state = good.state.to_vec();
                    state[at] = value;
                    let damaged = Frozen { state: state.into(), ..good.clone() };
                    // Some of these are other valid states; none may panic.
                    let _ = thaw(&damaged);
                }
            }
        }
    }
}

#[test]
fn first_bytes_are_decided_at_the_limit_and_the_decision_stands() {
    let firsts: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\0",
        b"\x01\x01\x00\x01\x01\x00\x00\x00\x01\x01\x00\x00\x0b\xb8\x00\x2c\x00\x10\x00\x00\x00\x08\0\0\0",
        b"\x02\x01\x01\x00\x01\x01\x00\x00\x00\x01\x01\x00\x00\x00\x0b\xb8\x00\x2c\x00\x10\x00\x00\x00\x08\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xda\xbb\xc2\x00\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        &[b'A'; 30],
        b"-----------------------PRI * -G1\0\r\0/",
        b"AAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n",
        &[0; 30],
        &[1; 30],
        &[2; 30],
    ];
    for first in firsts {
        let mut decided = None;
        for bytes in 0..=first.len() {
            let now = match Protocol::sniff(PROTOCOLS, &first[..bytes]) {
                Sniffed::Protocol(protocol) => Some(protocol.name),
                Sniffed::None => Some("none"),
                Sniffed::More => None,
            };
            assert!(decided.is_none() || decided == now, "{first:?} at {bytes}");
            decided = now;
        }
        assert!(first.len() >= SNIFF_BYTES_MAX && decided.is_some(), "{first:?}");
    }
}

#[test]
fn no_bytes_belong_to_two_protocols() {
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let mut bytes = [b' '; 32];
            bytes[..2].copy_from_slice(&[first, second]);
            let sure = PROTOCOLS.iter().filter(|it| (it.sniff)(&bytes) == Sniff::Yes).count();
            assert!(sure <= 1, "{bytes:?}");
        }
    }
}
