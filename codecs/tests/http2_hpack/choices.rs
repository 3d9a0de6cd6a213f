//! In which way the encoder writes a field, and what it keeps.

use super::allocations::counted;
use super::*;

/// Bytes of a block of one field.
fn bytes_for(encoder: &mut Encoder, name: &str, value: &str) -> usize {
    encode(encoder, &[(name, value)]).len()
}

const SECRETS: [&str; 12] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "x-amz-security-token",
    "x-csrf-token",
    "Authorization",
    "COOKIE",
    "X-Api-Key",
    "api-key",
];

#[test]
fn a_secret_never_enters_a_table() {
    for name in SECRETS {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        let empty = (frozen(&encoder), frozen(&decoder));
        for value in ["0123456789-secret", "0123456789-secret", ""] {
            let block = encode(&mut encoder, &[(name, value)]);
            assert_eq!(block[0] & 0xf0, 0x10, "{name} is marked");
            let lower = name.to_ascii_lowercase().into_bytes();
            let fields = decode(&mut decoder, &block);
            assert_eq!(fields, Ok(vec![(lower, value.as_bytes().to_vec(), true)]));
        }
        assert_eq!((frozen(&encoder), frozen(&decoder)), empty, "{name}");
    }
}

#[test]
fn a_field_that_came_as_a_secret_goes_on_as_one() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let empty = frozen(&encoder);
    for (name, value) in [("x-user", "somebody"), ("X-User", "somebody"), (":method", "GET")] {
        let mut out = BytesMut::new();
        encoder.begin(&mut out);
        encoder.secret(name.as_bytes(), value.as_bytes(), &mut out);
        let fields = decode(&mut decoder, &out).unwrap();
        assert_eq!(fields, [(name.to_ascii_lowercase().into(), value.into(), true)]);
    }
    assert_eq!(frozen(&encoder), empty);
}

#[test]
fn what_has_few_values_enters_at_once() {
    let mut encoder = Encoder::new();
    for (name, value) in [
        (":authority", "shop.example.com"),
        ("content-type", "application/grpc+proto"),
        ("te", "trailers"),
        ("server", "hangu"),
        ("accept", "application/json"),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "identity,gzip"),
    ] {
        assert!(bytes_for(&mut encoder, name, value) > 4);
        assert_eq!(bytes_for(&mut encoder, name, value), 1, "{name}");
    }
}

#[test]
fn any_other_field_enters_when_it_comes_a_second_time() {
    let mut encoder = Encoder::new();
    for (name, value) in [
        (":path", "/shop.Orders/Place"),
        ("user-agent", "curl/8.5.0"),
        ("date", "today"),
        ("x-a", "b"),
    ] {
        let first = bytes_for(&mut encoder, name, value);
        encoder = thawed(&encoder);
        // The index of its name may take a byte less now.
        assert!(bytes_for(&mut encoder, name, value) + 1 >= first, "{name}");
        assert_eq!(bytes_for(&mut encoder, name, value), 1, "{name}");
    }
}

#[test]
fn a_name_of_ones_own_costs_one_byte_from_the_third_time_though_its_values_differ() {
    for name in ["traceparent", "x-request-id", "x-user-id", "sofa-traceid"] {
        let mut encoder = Encoder::new();
        let whole = bytes_for(&mut encoder, name, "00000000");
        assert_eq!(bytes_for(&mut encoder, name, "00000001"), whole);
        let third = bytes_for(&mut encoder, name, "00000002");
        assert!(third + name.len() / 2 <= whole, "{name}: {third} of {whole} bytes");
        let before = frozen(&encoder).len();
        for number in 3..50 {
            // In zeros and ones, which are equally long in Huffman code.
            assert_eq!(bytes_for(&mut encoder, name, &format!("{number:08b}")), third);
        }
        assert!(frozen(&encoder).len() <= before + 128, "{name}: one entry is enough");
    }
}

/// A field with a value of its own.
type Own = (&'static str, String);

/// Requests of which half the fields are their own.
fn request(number: usize) -> Vec<Own> {
    vec![
        (":method", "POST".to_owned()),
        (":scheme", "http".to_owned()),
        (":path", format!("/orders/{}?page={number}", number * 7919)),
        (":authority", "shop.example.com".to_owned()),
        ("user-agent", "curl/8.5.0".to_owned()),
        ("accept", "application/json".to_owned()),
        ("accept-encoding", "gzip, br".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("content-length", (number * 31 % 5000).to_string()),
        ("if-none-match", format!("\"{:x}\"", number * 104_729)),
        ("x-request-id", format!("{:032x}", number * 7)),
        ("traceparent", format!("00-{:032x}-{:016x}-01", number * 11, number * 13)),
        ("x-forwarded-for", format!("10.0.{}.{}", number / 250, number % 250)),
        ("grpc-timeout", format!("{}m", number * 3)),
        ("cookie", format!("id={number}")),
    ]
}

#[test]
fn what_comes_once_pushes_nothing_out() {
    let mut encoder = Encoder::new();
    for number in 0..2000 {
        encode(&mut encoder, &request(number));
    }
    for (name, value) in [
        (":authority", "shop.example.com"),
        ("user-agent", "curl/8.5.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(bytes_for(&mut encoder, name, value), 1, "{name}");
    }
    let bytes = frozen(&encoder).len();
    assert!(bytes < 1000, "{bytes} bytes frozen");
}

#[test]
fn a_field_that_would_push_out_half_of_the_table_does_not_enter() {
    let mut encoder = Encoder::new();
    let value = |bytes| "x".repeat(bytes);
    for _ in 0..3 {
        assert!(bytes_for(&mut encoder, "accept", &value(2048 - 6 - 32 + 1)) > 1000);
    }
    assert!(bytes_for(&mut encoder, "accept", &value(2048 - 6 - 32)) > 1000);
    assert_eq!(bytes_for(&mut encoder, "accept", &value(2048 - 6 - 32)), 1);
}

#[test]
fn huffman_code_is_used_where_it_is_shorter() {
    let mut encoder = Encoder::new();
    for (value, bytes) in [
        (&b"0000"[..], &b"\x0f\x0d\x83\x00\x00\x0f"[..]),
        (b"{}", b"\x0f\x0d\x02{}"),
        (b"\xff\xff", b"\x0f\x0d\x02\xff\xff"),
        (b"X", b"\x0f\x0d\x01X"),
        (b"", b"\x5c\x00"),
    ] {
        // Content-length, the 28th static entry.
        let block = encode(&mut encoder, &[(&b"content-length"[..], value)]);
        if value.is_empty() {
            assert_eq!(block, b"\x9c", "the static entry itself");
        } else {
            assert_eq!(block, bytes, "{value:x?}");
        }
    }
}

#[test]
fn names_are_written_in_lower_case() {
    let mut decoder = Decoder::new(4096);
    let block = encode(&mut Encoder::new(), &[("Content-Type", "Text"), ("X-Other_1", "Case")]);
    let expected = list(&[("content-type", "Text"), ("x-other_1", "Case")]);
    assert_eq!(decode(&mut decoder, &block), Ok(expected));
    assert_eq!(encode(&mut Encoder::new(), &[(":METHOD", "GET")]), b"\x82");
}

#[test]
fn changes_of_the_size_are_told_once_with_the_smallest_one() {
    let mut encoder = Encoder::new();
    let mut told = |sizes: &[u32]| {
        for size in sizes {
            encoder.set_table_bytes_max(*size);
            encoder = thawed(&encoder);
        }
        let block = encode(&mut encoder, &[(":method", "GET")]);
        assert_eq!(block.last(), Some(&0x82));
        assert_eq!(encode(&mut encoder, &[(":method", "GET")]), b"\x82", "told once");
        block[..block.len() - 1].to_vec()
    };
    assert_eq!(told(&[4096]), b"", "nothing changed");
    assert_eq!(told(&[65536]), b"", "we do not use more");
    assert_eq!(told(&[100]), b"\x3f\x45");
    assert_eq!(told(&[100]), b"");
    assert_eq!(told(&[4096]), b"\x3f\xe1\x1f");
    assert_eq!(told(&[0, 65536]), b"\x20\x3f\xe1\x1f");
    assert_eq!(told(&[300, 10, 200, 30]), b"\x2a\x3e");
    assert_eq!(told(&[4096, 50, 0]), b"\x20");
    assert_eq!(told(&[31]), b"\x3f\x00");
}

#[test]
fn a_size_that_went_down_and_up_again_empties_the_table() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let fields = [("accept", "text/html"), ("server", "hangu")];
    let pairs = decode_pairs(&mut decoder, &encode(&mut encoder, &fields)).unwrap();
    encoder.set_table_bytes_max(0);
    encoder.set_table_bytes_max(4096);
    let block = encode(&mut encoder, &fields);
    assert_eq!(block[..4], *b"\x20\x3f\xe1\x1f");
    assert_eq!(decode_pairs(&mut decoder, &block), Ok(pairs));
}

#[test]
fn a_peer_without_a_table_gets_literals() {
    let mut encoder = Encoder::new();
    encoder.set_table_bytes_max(0);
    let mut decoder = Decoder::new(0);
    decoder.set_table_bytes_max(0);
    let fields = [("accept", "text/html"), ("x-a", "b")];
    assert_eq!(encode(&mut encoder, &[("", ""); 0]), b"\x20");
    assert_eq!(decode(&mut decoder, b"\x20"), Ok(vec![]));
    for _ in 0..4 {
        let block = encode(&mut encoder, &fields);
        assert_eq!(block[0] & 0xf0, 0, "not to be indexed");
        assert_eq!(decode(&mut decoder, &block), Ok(list(&fields)));
    }
}

#[test]
fn once_warm_nothing_is_allocated() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut out = BytesMut::with_capacity(4096);
    let requests: Vec<_> = (0..300).map(request).collect();
    let (mut fields, mut bytes) = (0, 0);
    let mut round = |request: &Vec<Own>| {
        out.clear();
        encoder.begin(&mut out);
        for (name, value) in request {
            encoder.field(name.as_bytes(), value.as_bytes(), &mut out);
        }
        bytes += out.len();
        decoder.decode(&out, |it| fields += usize::from(!it.name.is_empty())).unwrap();
    };
    let (warm, after) = requests.split_at(100);
    warm.iter().for_each(&mut round);
    let (allocations, _) = counted(|| after.iter().for_each(&mut round));
    assert_eq!(allocations, 0);
    assert_eq!(fields, 300 * 15);
    println!("{} bytes for each request", bytes / 300);
}

#[test]
fn what_is_idle_is_small() {
    println!("{} and {} bytes", size_of::<Encoder>(), size_of::<Decoder>());
    assert!(size_of::<Encoder>() <= 384 && size_of::<Decoder>() <= 192);
    assert!(frozen(&Encoder::new()).len() <= 8 && frozen(&Decoder::new(4096)).len() <= 8);
    let (allocations, _) = counted(|| {
        std::mem::forget((Encoder::new(), Decoder::new(4096)));
    });
    assert_eq!(allocations, 0);
}
