//! Every limit of HTTP/1.1: what reaches it passes, one more is refused, however it is cut.

mod support;

use hangu_codecs::http1::{self, FIELDS_CEILING};
use hangu_codecs::message::End;
use hangu_codecs::{Head, HttpRequest, Limits, Part, Role};
use support::driver::Side;
use support::seen::quote;

/// What a codec makes of bytes: `ok`, or the error's reason and status.
fn outcome(role: Role, limits: &http1::Limits, bytes: &[u8]) -> String {
    let deliver = |pieces: &[&[u8]]| {
        let limits = Limits { http1: limits.clone(), ..Limits::default() };
        let mut side = Side::new(&http1::PROTOCOL, role, &limits);
        if role == Role::Client {
            side.stream = side.codec.open().unwrap();
            let mut head = HttpRequest { path: b"/".to_vec(), ..HttpRequest::default() };
            side.encode(Part::Head(Head::HttpRequest(&mut head), End::Yes)).unwrap();
        }
        pieces.iter().for_each(|piece| side.feed(piece));
        match side.error {
            Some(error) => format!("{} {:?}", error.reason, error.status),
            None if side.events.0.is_empty() => "nothing".to_owned(),
            None => "ok".to_owned(),
        }
    };
    let whole = deliver(&[bytes]);
    let trickled = deliver(&bytes.chunks(1).collect::<Vec<_>>());
    assert_eq!(trickled, whole, "byte by byte: {}", quote(bytes));
    for cut in (1..bytes.len()).step_by((bytes.len() / 50).max(1)) {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(deliver(&[first, second]), whole, "cut at {cut}: {}", quote(bytes));
    }
    whole
}

fn server(limits: &http1::Limits, text: &str) -> String {
    outcome(Role::Server, limits, text.as_bytes())
}

fn client(limits: &http1::Limits, text: &str) -> String {
    outcome(Role::Client, limits, text.as_bytes())
}

/// A request head of exactly so many bytes.
fn head_of(bytes: usize) -> String {
    let bare = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes - bare))
}

#[test]
fn a_head_may_be_as_large_as_its_limit() {
    let default = http1::Limits::default();
    let max = default.head_bytes_max as usize;
    assert_eq!(server(&default, &head_of(max)), "ok");
    assert_eq!(server(&default, &head_of(max + 1)), "fields_too_large FieldsTooLarge");
    let small = http1::Limits { head_bytes_max: 60, ..default };
    assert_eq!(server(&small, &head_of(60)), "ok");
    assert_eq!(server(&small, &head_of(61)), "fields_too_large FieldsTooLarge");
    // A head without end is refused as soon as it has passed the limit.
    let endless = head_of(200).replace("\r\n\r\n", "");
    assert_eq!(server(&small, &endless), "fields_too_large FieldsTooLarge");
    let response =
        |bytes: usize| format!("HTTP/1.1 204 OK\r\nX: {}\r\n\r\n", "x".repeat(bytes - 24));
    assert_eq!(response(60).len(), 60);
    assert_eq!(client(&small, &response(60)), "ok");
    assert_eq!(client(&small, &response(61)), "fields_too_large UpstreamFailed");
}

#[test]
fn a_request_line_that_is_too_long_is_414() {
    let limits = http1::Limits::default();
    let with = |method: &str, target_bytes: usize| {
        let target = "a".repeat(target_bytes - 1);
        server(&limits, &format!("{method} /{target} HTTP/1.1\r\nHost: a\r\n\r\n"))
    };
    assert_eq!(with("GET", 8192), "ok");
    assert_eq!(with("GET", 8193), "target_too_long TargetTooLong");
    assert_eq!(with("GET", 20_000), "request_line_too_long TargetTooLong");
    let endless = format!("GET /{}", "a".repeat(20_000));
    assert_eq!(server(&limits, &endless), "request_line_too_long TargetTooLong");
    let small = http1::Limits { head_bytes_max: 30, ..limits };
    let line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(30));
    assert_eq!(server(&small, &line), "request_line_too_long TargetTooLong");
}

#[test]
fn a_method_may_have_as_many_bytes_as_its_limit() {
    let limits = http1::Limits::default();
    let with =
        |bytes| server(&limits, &format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(bytes)));
    assert_eq!(with(24), "ok");
    assert_eq!(with(25), "method_too_long NotImplemented");
}

#[test]
fn fields_are_counted() {
    let head = |fields: usize| {
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1))
    };
    let limits = http1::Limits::default();
    assert_eq!(server(&limits, &head(100)), "ok");
    assert_eq!(server(&limits, &head(101)), "too_many_fields FieldsTooLarge");
    let two = http1::Limits { fields_max: 2, ..limits.clone() };
    assert_eq!(server(&two, &head(2)), "ok");
    assert_eq!(server(&two, &head(3)), "too_many_fields FieldsTooLarge");
    let most = http1::Limits { fields_max: u16::MAX, ..limits };
    assert_eq!(server(&most, &head(FIELDS_CEILING)), "ok");
    assert_eq!(server(&most, &head(FIELDS_CEILING + 1)), "too_many_fields FieldsTooLarge");
    assert_eq!(client(&two, "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n"), "ok");
    let three = "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\nE: f\r\n\r\n";
    assert_eq!(client(&two, three), "too_many_fields UpstreamFailed");
}

#[test]
fn connection_options_are_counted_over_all_lines() {
    let limits = http1::Limits::default();
    let with = |first: usize, second: usize| {
        let list = |count| vec!["a"; count].join(",");
        let fields = format!("Connection: {}\r\nConnection: {}\r\n", list(first), list(second));
        server(&limits, &format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    };
    assert_eq!(with(8, 8), "ok");
    assert_eq!(with(16, 0), "ok");
    assert_eq!(with(8, 9), "connection_options FieldsTooLarge");
}

#[test]
fn the_body_of_a_request_may_be_as_large_as_its_limit() {
    let limits = http1::Limits { body_bytes_max: 5, ..http1::Limits::default() };
    let sized = |bytes: usize| {
        let body = "x".repeat(bytes);
        server(
            &limits,
            &format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{body}"),
        )
    };
    assert_eq!(sized(5), "ok");
    assert_eq!(sized(6), "body_too_large BodyTooLarge");
    let chunked = |chunks: &str| {
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        server(&limits, &format!("{head}{chunks}"))
    };
    assert_eq!(chunked("2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"), "ok");
    assert_eq!(chunked("2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n"), "body_too_large BodyTooLarge");
    assert_eq!(chunked("7fffffffffffffff\r\n"), "body_too_large BodyTooLarge");
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{}", "x".repeat(6));
    assert_eq!(client(&limits, &response), "ok");
}

#[test]
fn chunk_sizes_and_extensions_are_bounded() {
    let limits = http1::Limits {
        chunk_size_digits_max: 3,
        chunk_extension_bytes_max: 6,
        ..http1::Limits::default()
    };
    let chunked = |chunks: &str| {
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        server(&limits, &format!("{head}{chunks}"))
    };
    assert_eq!(chunked("001\r\na\r\n000\r\n\r\n"), "ok");
    assert_eq!(chunked("0001\r\na\r\n0\r\n\r\n"), "chunk_size BadRequest");
    assert_eq!(chunked("1;a=bc\r\na\r\n0;\r\n\r\n"), "chunk_extension BadRequest");
    assert_eq!(chunked("1;a=bcd\r\na\r\n0\r\n\r\n"), "ok");
    assert_eq!(chunked("1;a=bcde\r\na\r\n0\r\n\r\n"), "chunk_extension_too_long BadRequest");
    // The limit is for all chunks of a body together.
    assert_eq!(chunked("1;ab\r\na\r\n1;ab\r\nb\r\n0\r\n\r\n"), "ok");
    assert_eq!(
        chunked("1;ab\r\na\r\n1;abc\r\nb\r\n0\r\n\r\n"),
        "chunk_extension_too_long BadRequest"
    );
    assert_eq!(chunked(&format!("1;{}", "a".repeat(50))), "chunk_line_too_long BadRequest");
}

#[test]
fn trailers_are_bounded() {
    let limits = http1::Limits { trailer_bytes_max: 20, fields_max: 3, ..http1::Limits::default() };
    let chunked = |trailers: &str| {
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        server(&limits, &format!("{head}{trailers}"))
    };
    assert_eq!(chunked("X: 3456789012345\r\n\r\n"), "ok");
    assert_eq!(chunked("X: 34567890123456\r\n\r\n"), "fields_too_large FieldsTooLarge");
    assert_eq!(chunked(&"x".repeat(60)), "fields_too_large FieldsTooLarge");
    assert_eq!(chunked("A:\r\nB:\r\nC:\r\n\r\n"), "ok");
    assert_eq!(chunked("A:\r\nB:\r\nC:\r\nD:\r\n\r\n"), "too_many_fields FieldsTooLarge");
}

#[test]
fn informational_responses_are_counted_per_response() {
    let limits = http1::Limits { informational_max: 2, ..http1::Limits::default() };
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let last = "HTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(client(&limits, &format!("{early}{early}{last}")), "ok");
    let three = format!("{early}{early}{early}{last}");
    assert_eq!(client(&limits, &three), "too_many_informational UpstreamFailed");
}

#[test]
fn empty_lines_before_a_request_are_counted() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let limits = http1::Limits { empty_lines_max: 2, ..http1::Limits::default() };
    assert_eq!(server(&limits, &format!("\r\n\r\n{head}")), "ok");
    let refused = "empty_line_before_request BadRequest";
    assert_eq!(server(&limits, &format!("\r\n\r\n\r\n{head}")), refused);
    assert_eq!(server(&http1::Limits::default(), &format!("\r\n{head}")), refused);
}

#[test]
fn every_limit_can_be_written_in_a_configuration() {
    let json = serde_json::to_value(http1::Limits::default()).unwrap();
    let names = json.as_object().unwrap();
    assert_eq!(names.len(), 13, "a new limit wants a test above");
    let back: http1::Limits = serde_json::from_value(json).unwrap();
    assert_eq!(back, http1::Limits::default());
    let partial: http1::Limits = serde_json::from_str(r#"{"fields_max": 7}"#).unwrap();
    assert_eq!(partial, http1::Limits { fields_max: 7, ..http1::Limits::default() });
    assert!(serde_json::from_str::<http1::Limits>(r#"{"field_max": 7}"#).is_err());
}
