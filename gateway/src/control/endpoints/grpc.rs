//! The health service of gRPC ([GRPC Health Checking Protocol][health]): two messages, written and
//! read by hand.
//!
//! [health]: https://github.com/grpc/grpc/blob/master/doc/health-checking.md

use hangu_codecs::{BodySize, HttpRequest, Method, grpc::Code};

use super::{ask::Answer, health::USER_AGENT};

/// A call of `Check`: its head and its body.
pub(super) fn request(service: &str, host: &str) -> (HttpRequest, Vec<u8>) {
    let mut message = Vec::new();
    if !service.is_empty() {
        // HealthCheckRequest: string service = 1.
        message.push(1 << 3 | LENGTH_DELIMITED);
        write_number(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    let mut head = HttpRequest {
        method: Method::Post,
        authority: host.as_bytes().to_vec(),
        path: b"/grpc.health.v1.Health/Check".to_vec(),
        body: BodySize::Sized(body.len() as u64),
        takes_trailers: true,
        ..HttpRequest::default()
    };
    head.fields.push(b"content-type", b"application/grpc");
    head.fields.push(b"user-agent", USER_AGENT.as_bytes());
    (head, body)
}

/// Whether an answer says that the service is served.
pub(super) fn is_serving(answer: &Answer) -> Result<(), String> {
    let code = match answer.fields.find(b"grpc-status") {
        Some(value) => Code::of_field(value),
        None => Code::of_http(answer.status),
    };
    if code != Code::Ok {
        return Err(format!("gRPC status {}", code.name()));
    }
    match status(&answer.body) {
        Some(SERVING) => Ok(()),
        Some(other) => Err(format!("serving status {other}")),
        None => Err("the answer is no message of the health service".to_owned()),
    }
}

/// HealthCheckResponse: ServingStatus status = 1. A message without it says 0.
fn status(body: &[u8]) -> Option<u64> {
    let (head, message) = body.split_at_checked(5)?;
    let (compressed, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    if *compressed != 0 || message.len() != length {
        return None;
    }
    let (mut rest, mut status) = (message, 0);
    while !rest.is_empty() {
        let tag = read_number(&mut rest)?;
        match (tag >> 3, (tag & 7) as u8) {
            (field, VARINT) => {
                let value = read_number(&mut rest)?;
                if field == 1 {
                    status = value;
                }
            }
            (_, FIXED_64) => rest = rest.get(8..)?,
            (_, FIXED_32) => rest = rest.get(4..)?,
            (_, LENGTH_DELIMITED) => {
                let length = usize::try_from(read_number(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

/// A varint: seven bits a byte, the lowest first.
fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for place in 0..10 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The wire types of protobuf.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

const SERVING: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut answer = Answer { status, body: body.to_vec(), ..Answer::default() };
        fields.iter().for_each(|it| answer.fields.push(it.0.as_bytes(), it.1.as_bytes()));
        answer
    }

    #[test]
    fn a_service_is_named_in_the_request_and_the_server_as_a_whole_is_not() {
        assert_eq!(request("", "a").1, b"\0\0\0\0\0");
        assert_eq!(request("a.B", "a").1, b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "x".repeat(200);
        assert_eq!(request(&long, "a").1[..8], *b"\0\0\0\0\xcb\x0a\xc8\x01");
    }

    #[test]
    fn only_serving_is_serving() {
        let ok = [("grpc-status", "0")];
        assert_eq!(is_serving(&answer(200, &ok, b"\0\0\0\0\x02\x08\x01")), Ok(()));
        // Fields that a later version may have.
        let more = b"\0\0\0\0\x16\x12\x02hi\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0\x28\x07\x08\x01";
        assert_eq!(is_serving(&answer(200, &ok, more)), Ok(()));
        for (status, fields, body) in [
            (200, &ok[..], &b"\0\0\0\0\x02\x08\x02"[..]),
            (200, &ok[..], b"\0\0\0\0\0"),
            (200, &ok[..], b""),
            (200, &ok[..], b"\x01\0\0\0\x02\x08\x01"),
            (200, &ok[..], b"\0\0\0\0\x03\x08\x01"),
            (200, &ok[..], b"\0\0\0\0\x02\x12\x7f"),
            (200, &[("grpc-status", "5")][..], b""),
            (200, &[][..], b"\0\0\0\0\x02\x08\x01"),
            (404, &[][..], b""),
        ] {
            assert!(is_serving(&answer(status, fields, body)).is_err(), "{fields:?} {body:?}");
        }
    }
}
