//! First bytes: a decision, once made, stands however many bytes follow, and is made at the limit;
//! and no snapshot panics when it is thawed.
#![no_main]

use hangu_codecs::protocol::{SNIFF_BYTES_MAX, Sniffed};
use hangu_codecs::{Frozen, Limits, PROTOCOLS, Protocol, Time};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut decided = None;
    for bytes in 0..=input.len().min(SNIFF_BYTES_MAX + 8) {
        let now = match Protocol::sniff(PROTOCOLS, &input[..bytes]) {
            Sniffed::Protocol(protocol) => Some(protocol.name),
            Sniffed::None => Some("none"),
            Sniffed::More => None,
        };
        assert!(now.is_some() || bytes < SNIFF_BYTES_MAX, "undecided at {bytes} bytes");
        assert!(decided.is_none() || decided == now, "{decided:?} became {now:?} at {bytes} bytes");
        decided = now;
    }
    for protocol in PROTOCOLS {
        let frozen = Frozen {
            protocol: protocol.name.into(),
            version: 1,
            state: input.to_vec().into(),
            output: Vec::new(),
        };
        if let Ok(codec) = Protocol::thaw(&frozen, &Limits::default(), Time::default()) {
            codec.freeze(Time::default());
        }
    }
});
