//! SOFA-Bolt, versions 1 and 2: its bytes, and its [`PROTOCOL`] over the engine of [`crate::rpc`].
//!
//! # Layout
//! All integers are big-endian. A frame is a fixed part, the name of the class of the content,
//! the header fields, the content, and in version 2.2 with [`SWITCH_CRC`] a CRC-32 (IEEE) of all
//! that. The version is each frame's own; both may stand on one connection.
//!
//! | v1 | v2 | bytes | name | meaning |
//! |----|----|-------|------|---------|
//! | 0 | 0 | 1 | protocol code | 1 or 2 |
//! | – | 1 | 1 | protocol version | 1 or 2 |
//! | 1 | 2 | 1 | type | 0 response, 1 request, 2 oneway |
//! | 2 | 3 | 2 | command | 0 heartbeat, 1 request, 2 response |
//! | 4 | 5 | 1 | command version | 1 |
//! | 5 | 6 | 4 | id | the same in the answer |
//! | 9 | 10 | 1 | codec | 1 is Hessian2 |
//! | – | 11 | 1 | switches | bit 0: checksum |
//! | 10 | 12 | 4 | timeout | requests only: milliseconds, signed |
//! | 10 | 12 | 2 | status | responses only: see [`status`] |
//! | 14 / 12 | 16 / 14 | 2 | class length | requests / responses; signed in Java |
//! | 16 / 14 | 18 / 16 | 2 | header length | signed in Java |
//! | 18 / 16 | 20 / 18 | 4 | content length | signed in Java |
//! | 22 / 20 | 24 / 22 | | class, header, content | |
//!
//! The header of SOFA's classes is a list of `{i32 length, name, i32 length, value}`; see
//! [`Field`].
//!
//! # Decisions
//! * **Versions**: a request goes on in the version in which it came. An answer goes out in the
//!   version, with the switches, of its request, for a provider answers all requests of a
//!   connection in the version of the first one, and a shared connection carries both.
//! * **Refused**, with the connection: unknown protocol codes, versions, types and commands
//!   (MOSN's GoAway, 100, among them, which is never sent either); lengths negative to Java;
//!   heartbeats with content; a wrong checksum; header fields that overrun in SOFA's classes.
//!   After any of these the next frame could not be found for sure.
//! * **Service** is `sofa_head_target_service`, else `service`. **Method** is
//!   `sofa_head_method_name`, else `methodName` of the first object of the body, as far as the
//!   first 8 KiB tell; a body that cannot be read leaves it empty.
//! * **Timeout** is the smallest of the fixed part's, if above zero, and
//!   `sofa_head_deadline_remain_time`. On the way out both are lowered to what remains; a two-way
//!   request that had none is given what remains.
//! * **A status that Java does not know** goes on as [`status::UNKNOWN`]: the Java client would
//!   close the connection with all its calls.
//! * **Heartbeats** never carry a checksum, as in Java.

use crate::protocol::{Kind as ProtocolKind, Pooling, Sniff};
use crate::rpc::Rpc;
use crate::{Codec, Frozen, Limits, Protocol, Role, RpcHead, RpcPayload, ThawError, Time};

mod fixed;
mod form;
mod frame;
mod header;
pub mod status;
mod wire;

pub use fixed::{FIXED_BYTES_MAX, Fixed, Kind, SWITCH_CRC, Version};
pub use form::Forms;
pub use frame::{Frame, Header};
pub use header::{Field, field};
pub use wire::{Bolt, Shape};

use crate::rpc::Wire;

/// Name of the protocol.
pub const NAME: &str = "bolt";

/// Class of SOFA's requests.
pub const CLASS_REQUEST: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
/// Class of SOFA's responses.
pub const CLASS_RESPONSE: &[u8] = b"com.alipay.sofa.rpc.core.response.SofaResponse";
/// Field that names the trace, as SOFATracer writes it.
pub const FIELD_TRACE_ID: &[u8] = b"rpc_trace_context.sofaTraceId";
/// Field that tells the place of a call in its trace.
pub const FIELD_RPC_ID: &[u8] = b"rpc_trace_context.sofaRpcId";
/// [`Fixed::codec`] of Hessian2.
pub const CODEC_HESSIAN2: u8 = 1;

/// SOFA-Bolt.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    sniff,
    pooling: Pooling::Multiplexed,
    kind: ProtocolKind::Rpc,
    codec,
    snapshots: crate::rpc::SNAPSHOTS,
    thaw,
    rpc_head: Some(rpc_head),
};

/// A server sees a request or a heartbeat first: protocol code, type and command are known by the
/// fifth byte at the latest. No protocol of text, TLS, HTTP/2 or Dubbo begins with 1 or 2.
fn sniff(first: &[u8]) -> Sniff {
    let allowed: &[&[u8]] = match first.first() {
        None => return Sniff::More,
        Some(1) => &[&[1], TYPES, &[0], COMMANDS],
        Some(2) => &[&[2], &[1, 2], TYPES, &[0], COMMANDS],
        Some(_) => return Sniff::No,
    };
    if first.iter().zip(allowed).any(|(byte, allowed)| !allowed.contains(byte)) {
        return Sniff::No;
    }
    if first.len() < allowed.len() { Sniff::More } else { Sniff::Yes }
}

const TYPES: &[u8] = &[fixed::REQUEST, fixed::ONEWAY];
/// The lower bytes of the commands of a heartbeat and a request.
const COMMANDS: &[u8] = &[0, 1];

fn codec(role: Role, limits: &Limits, now: Time) -> Box<dyn Codec> {
    Box::new(Rpc::<Bolt>::new(role, &limits.rpc, now))
}

fn thaw(frozen: &Frozen, limits: &Limits, now: Time) -> Result<Box<dyn Codec>, ThawError> {
    Ok(Box::new(Rpc::<Bolt>::thaw(frozen, &limits.rpc, now)?))
}

fn rpc_head<'a>(head: &'a [u8], payload: RpcPayload<'a>) -> Option<RpcHead<'a>> {
    // The limits were held when the frame came.
    Bolt::head(head, payload, None, usize::MAX, &mut crate::rpc::Forms::default()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_first_byte_is_waited_for() {
        for whole in [&[1_u8, 1, 0, 1, 1][..], &[1, 2, 0, 1], &[1, 1, 0, 0], &[2, 1, 1, 0, 1]] {
            let decided = if whole[0] == 1 { 4 } else { 5 };
            for cut in 0..decided {
                assert_eq!(sniff(&whole[..cut]), Sniff::More, "{whole:?} at {cut}");
            }
            assert_eq!(sniff(whole), Sniff::Yes);
        }
    }

    #[test]
    fn what_cannot_be_a_request_is_another_protocol() {
        for other in [
            &b"GET / HTTP/1.1"[..],
            b"PRI * HTTP/2.0",
            b"\x16\x03\x01",
            b"\xda\xbb\xc2",
            b"\x00",
            b"\x01\x00",
            b"\x01\x03",
            b"\x01\x01\x01",
            b"\x01\x01\x00\x64",
            b"\x02\x00",
            b"\x02\x03\x01",
            b"\x02\x01\x00",
        ] {
            assert_eq!(sniff(other), Sniff::No, "{other:?}");
        }
    }
}
