//! `grpc-message`: a text in percent-encoding (gRPC over HTTP/2, "Status-Message").

/// Appends the field value of a text: bytes that are not printable ASCII, and `%`, as `%` and two
/// digits.
pub fn encode_message(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b' '..=b'~' => out.push(*byte),
            _ => out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0xf)]),
        }
    }
}

/// Appends the text of a field value. What is no percent-encoding stands for itself, as the
/// specification asks: a message is never lost because of that.
pub fn decode_message(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        let decoded = match (byte, after) {
            (b'%', [high, low, ..]) => number(*high).zip(number(*low)),
            _ => None,
        };
        rest = match decoded {
            Some((high, low)) => {
                out.push(high << 4 | low);
                after.get(2..).unwrap_or_default()
            }
            None => {
                out.push(*byte);
                after
            }
        };
    }
}

fn digit(four_bits: u8) -> u8 {
    if four_bits < 10 { b'0' + four_bits } else { b'A' - 10 + four_bits }
}

fn number(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_message(text, &mut out);
        out
    }

    fn decoded(value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decode_message(value, &mut out);
        out
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(decoded(&encoded(&all)), all);
        assert!(encoded(&all).iter().all(|it| matches!(it, b' '..=b'~')));
        assert_eq!(encoded("50 % of 3 \u{20ac}\r\n".as_bytes()), b"50 %25 of 3 %E2%82%AC%0D%0A");
    }

    #[test]
    fn what_is_no_encoding_stands_for_itself() {
        for (value, text) in [
            (&b"%"[..], &b"%"[..]),
            (b"%4", b"%4"),
            (b"%zz", b"%zz"),
            (b"%%41", b"%A"),
            (b"%e2%82%ac", b"\xe2\x82\xac"),
            (b"a%41", b"aA"),
        ] {
            assert_eq!(decoded(value), text);
        }
    }
}
