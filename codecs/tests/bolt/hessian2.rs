//! The bounded reader of the first object of a SOFA request.

use hangu_codecs::bolt::CLASS_REQUEST;
use hangu_codecs::hessian2::{BODY_BYTES_MAX, CLASSES_MAX, DEPTH_MAX, sofa_method};

fn string(text: &str) -> Vec<u8> {
    assert!(text.len() < 32 && text.is_ascii());
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// A class definition after which an object of it begins.
fn definition(class: &[u8], fields: &[&str]) -> Vec<u8> {
    let mut bytes = vec![b'O', 0x90 + class.len() as u8];
    bytes.extend_from_slice(class);
    bytes.push(0x90 + fields.len() as u8);
    fields.iter().for_each(|it| bytes.extend(string(it)));
    bytes
}

/// A request whose method comes after one value.
fn after(value: &[u8]) -> Vec<u8> {
    let mut body = definition(CLASS_REQUEST, &["props", "methodName"]);
    body.extend_from_slice(b"o\x90");
    body.extend_from_slice(value);
    body.extend(string("hello"));
    body
}

const HELLO: Option<&[u8]> = Some(b"hello");

#[test]
fn every_kind_of_value_is_passed_over() {
    let long = "a".repeat(300);
    let mut point = definition(b"demo.Point", &["x", "y"]);
    point.extend_from_slice(b"o\x91\x90\x91");
    let values: Vec<Vec<u8>> = vec![
        b"N".to_vec(),
        b"T".to_vec(),
        b"\x80".to_vec(),
        b"\xbf".to_vec(),
        b"\xc8\x01".to_vec(),
        b"\xd4\x01\x02".to_vec(),
        b"I\0\0\0\0".to_vec(),
        b"\xe0".to_vec(),
        b"\xf8\0".to_vec(),
        b"\x3c\0\0".to_vec(),
        b"\x77\0\0\0\0".to_vec(),
        b"L\0\0\0\0\0\0\0\0".to_vec(),
        b"\x67".to_vec(),
        b"\x68".to_vec(),
        b"\x69\0".to_vec(),
        b"\x6a\0\0".to_vec(),
        b"\x6b\0\0\0\0".to_vec(),
        b"D\x7f\xf8\0\0\0\0\0\0".to_vec(),
        b"d\0\0\0\0\0\0\0\0".to_vec(),
        b"\0".to_vec(),
        string("text"),
        [b"S\x01\x2c", long.as_bytes()].concat(),
        [b"s\x01\x2c", long.as_bytes(), b"\x01b"].concat(),
        "\u{2}中文".as_bytes().to_vec(),
        b"\x02\xed\xa0\xbd\xed\xb8\x80".to_vec(), // one character beyond the basic plane
        b"\x23abc".to_vec(),
        b"b\0\x02abB\0\x01c".to_vec(),
        b"Vz".to_vec(),
        b"Vt\0\x07[stringn\x02\x01a\x01bz".to_vec(),
        b"Vl\0\0\0\x01\x90z".to_vec(),
        b"v\x90\x92\x90\x91".to_vec(),
        b"Mz".to_vec(),
        b"Mt\0\x01a\x01k\x01vz".to_vec(),
        b"Mu\x90\x01kM\x01k\x90zz".to_vec(),
        b"J\0".to_vec(),
        b"K\0\0".to_vec(),
        b"R\0\0\0\0".to_vec(),
        point,
    ];
    for value in values {
        let body = after(&value);
        assert_eq!(sofa_method(&body), HELLO, "{}", value.escape_ascii());
        let end = body.len() - 6;
        for cut in 0..=end {
            assert_eq!(sofa_method(&body[..cut]), None, "cut at {cut}: {}", body.escape_ascii());
        }
    }
}

#[test]
fn the_method_is_found_wherever_it_stands() {
    for fields in [&["methodName"][..], &["methodName", "b"], &["a", "b", "methodName", "c"]] {
        let mut body = definition(CLASS_REQUEST, fields);
        body.extend_from_slice(b"o\x90");
        fields
            .iter()
            .for_each(|it| body.extend(string(if *it == "methodName" { "hello" } else { "x" })));
        assert_eq!(sofa_method(&body), HELLO);
    }
    let long = "m".repeat(100);
    let mut body = definition(CLASS_REQUEST, &["methodName"]);
    body.extend_from_slice(b"o\x90S\0\x64");
    body.extend_from_slice(long.as_bytes());
    assert_eq!(sofa_method(&body), Some(long.as_bytes()));
}

#[test]
fn what_cannot_be_read_has_no_method() {
    let mut other_class = after(b"N");
    other_class[3] = b'C';
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("lone H", b"H".to_vec()),
        ("lone C", b"C".to_vec()),
        ("lone O", b"O".to_vec()),
        ("object of an undefined class", b"o\x90".to_vec()),
        ("another class", other_class),
        ("reference to another class", {
            let mut body = definition(CLASS_REQUEST, &["methodName"]);
            body.extend_from_slice(b"o\x91\x05hello");
            body
        }),
        ("no such field", {
            let mut body = definition(CLASS_REQUEST, &["name"]);
            body.extend_from_slice(b"o\x90\x05hello");
            body
        }),
        ("2^31-1 fields", [&definition(CLASS_REQUEST, &[])[..46], b"I\x7f\xff\xff\xff"].concat()),
        ("negative number of fields", [&definition(CLASS_REQUEST, &[])[..46], b"\x80"].concat()),
        ("class name beyond the end", b"OI\x7f\xff\xff\xffabc".to_vec()),
        ("negative class name", b"OI\xff\xff\xff\xffabc".to_vec()),
        ("null method", [&after(b"N")[..after(b"N").len() - 6], b"N"].concat()),
        ("int for a method", [&after(b"N")[..after(b"N").len() - 6], b"\x90"].concat()),
        ("empty method", [&after(b"N")[..after(b"N").len() - 6], b"\0"].concat()),
        ("method in chunks", [&after(b"N")[..after(b"N").len() - 6], b"s\0\x01a\x01b"].concat()),
        ("unknown tag", after(b"@")),
        ("reserved tag", after(b"\x30")),
        ("Hessian 1 call", after(b"c\x01\x00")),
        ("list of 2^31-1", after(b"v\x90I\x7f\xff\xff\xff")),
        ("list of -1", after(b"v\x90I\xff\xff\xff\xff")),
        ("list without an end", after(b"V")),
        ("undefined class within", after(b"o\x95")),
        ("negative class within", after(b"oI\xff\xff\xff\xff")),
        ("string of four-byte characters", after("\u{1}😀".as_bytes())),
        ("stray continuation byte", after(b"\x01\x80")),
        ("end of a map alone", after(b"z")),
        ("chunks without an end", after(&b"s\0\0".repeat(10_000))),
        ("bytes without an end", after(&b"b\0\0".repeat(10_000))),
        ("ten megabytes of z", after(&vec![b'z'; 10_000_000])),
        ("many classes", after(&definition(b"C", &[]).repeat(CLASSES_MAX + 1))),
    ];
    for (name, body) in cases {
        assert_eq!(sofa_method(&body), None, "{name}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |tag: &[u8], depth: usize| [tag.repeat(depth), b"z".repeat(depth)].concat();
    // One level is the value itself.
    assert_eq!(sofa_method(&after(&nested(b"V", DEPTH_MAX - 1))), HELLO);
    assert_eq!(sofa_method(&after(&nested(b"V", DEPTH_MAX))), None);
    assert_eq!(sofa_method(&after(&nested(b"M", DEPTH_MAX - 1))), HELLO);
    assert_eq!(sofa_method(&after(&nested(b"M", 100_000))), None);
}

#[test]
fn no_more_than_the_beginning_is_looked_at() {
    let fixed = after(b"").len() + 3;
    let fits = BODY_BYTES_MAX - fixed;
    let value = |length: usize| {
        let mut value = vec![b'B'];
        value.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        value.resize(3 + length, 0);
        value
    };
    assert_eq!(after(&value(fits)).len(), BODY_BYTES_MAX);
    assert_eq!(sofa_method(&after(&value(fits))), HELLO);
    assert_eq!(sofa_method(&after(&value(fits + 1))), None);
}

#[test]
fn no_bytes_make_it_fail_otherwise_than_by_none() {
    // Every single byte changed to every value, in a body that has everything.
    let body =
        after(b"Mt\0\x01a\x01kVt\0\x01bn\x01\x90z\x01lO\x91C\x91\x01xo\x91d\0\0\0\0\0\0\0\0z");
    assert_eq!(sofa_method(&body), HELLO);
    for at in 0..body.len() {
        for byte in 0..=255 {
            let mut body = body.clone();
            body[at] = byte;
            let method = sofa_method(&body);
            assert!(method.is_none_or(|it| it.len() <= body.len()));
        }
    }
}
