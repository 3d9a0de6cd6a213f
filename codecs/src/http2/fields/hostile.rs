//! Field lists of requests that somebody reads in another way, each with its verdict; and those
//! that look odd and are well formed.

use crate::{BodySize, EncodeError, Fields, HttpRequest, HttpResponse, Method, Status, Version};

use super::FieldsErrorKind::{Malformed, TooLarge, Unsupported};
use super::{
    Asked, FieldLimits, FieldsError, FieldsErrorKind, Peer, RequestFields, RequestRead,
    ResponseFields, write_request, write_response, write_trailers,
};

/// Fields of a list of lines `name: value`, in which `\r`, `\n`, `\t`, `\0` and `\xff` are bytes.
pub(super) fn pairs(list: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    list.lines().map(|line| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        (unescaped(name), unescaped(value))
    })
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&kind, after) = rest.split_first().unwrap();
        rest = after;
        bytes.push(match kind {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    bytes
}

fn read_within(
    list: &str,
    end_stream: bool,
    limits: &FieldLimits,
) -> Result<(RequestRead, HttpRequest), FieldsError> {
    // What was there before must not show.
    let mut request = HttpRequest { authority: b"old".to_vec(), ..HttpRequest::default() };
    request.upgrade = b"old".to_vec();
    let mut fields = RequestFields::new(&mut request, limits);
    pairs(list).for_each(|(name, value)| fields.push(&name, &value));
    let read = fields.finish(end_stream)?;
    Ok((read, request))
}

fn read(list: &str, end_stream: bool) -> Result<(RequestRead, HttpRequest), FieldsError> {
    read_within(list, end_stream, &FieldLimits::default())
}

const GET: &str = ":method: GET\n:scheme: https\n:authority: a\n:path: /\n";
const POST: &str = ":method: POST\n:scheme: https\n:authority: a\n:path: /\n";

/// What is refused behind the pseudo fields of a GET.
const FIELDS: &[(&str, FieldsErrorKind, &str)] = &[
    // Names: upper case, colons, spaces, control bytes, bytes above ASCII, none.
    ("X: y", Malformed, "field_name"),
    ("Content-Length: 0", Malformed, "field_name"),
    ("xY: z", Malformed, "field_name"),
    ("x:y: z", Malformed, "field_name"),
    ("x : y", Malformed, "field_name"),
    (" x: y", Malformed, "field_name"),
    ("x y: z", Malformed, "field_name"),
    ("x\\t: y", Malformed, "field_name"),
    ("x\\r\\n: y", Malformed, "field_name"),
    ("x\\ny: z", Malformed, "field_name"),
    ("x\\0: y", Malformed, "field_name"),
    ("\\x7f: y", Malformed, "field_name"),
    ("\\xe9: y", Malformed, "field_name"),
    ("x\"y\": z", Malformed, "field_name"),
    ("x/y: z", Malformed, "field_name"),
    ("x(y): z", Malformed, "field_name"),
    ("x\\r\\ntransfer-encoding: chunked", Malformed, "field_name"),
    ("host\\0: b", Malformed, "field_name"),
    ("content-length\\x0b: 5", Malformed, "field_name"),
    (": y", Malformed, "field_name"),
    // Values: what ends a line or a text, and what stands around them.
    ("x: y\\r\\ntransfer-encoding: chunked", Malformed, "field_value"),
    ("x: y\\r\\n\\r\\nGET / HTTP/1.1", Malformed, "field_value"),
    ("x: y\\rz", Malformed, "field_value"),
    ("x: y\\nz", Malformed, "field_value"),
    ("x: y\\r", Malformed, "field_value"),
    ("x: \\n", Malformed, "field_value"),
    ("x: y\\0z", Malformed, "field_value"),
    ("x: \\0", Malformed, "field_value"),
    ("x: y\\x01", Malformed, "field_value"),
    ("x: y\\x0b", Malformed, "field_value"),
    ("x: y\\x0cz", Malformed, "field_value"),
    ("x: y\\x1bz", Malformed, "field_value"),
    ("x: y\\x7f", Malformed, "field_value"),
    ("x:  y", Malformed, "field_value"),
    ("x: y ", Malformed, "field_value"),
    ("x: \\ty", Malformed, "field_value"),
    ("x: y\\t", Malformed, "field_value"),
    ("x:  ", Malformed, "field_value"),
    ("cookie: a=b\\r\\nx: y", Malformed, "field_value"),
    // Fields of connections.
    ("connection: close", Malformed, "connection_specific_field"),
    ("connection: keep-alive", Malformed, "connection_specific_field"),
    ("connection: x", Malformed, "connection_specific_field"),
    ("connection: ", Malformed, "connection_specific_field"),
    ("proxy-connection: keep-alive", Malformed, "connection_specific_field"),
    ("keep-alive: timeout=5", Malformed, "connection_specific_field"),
    ("transfer-encoding: chunked", Malformed, "connection_specific_field"),
    ("transfer-encoding: identity", Malformed, "connection_specific_field"),
    ("transfer-encoding: ", Malformed, "connection_specific_field"),
    ("upgrade: h2c", Malformed, "connection_specific_field"),
    ("upgrade: websocket", Malformed, "connection_specific_field"),
    ("http2-settings: AAMAAABk", Malformed, "connection_specific_field"),
    ("te: gzip", Malformed, "te_malformed"),
    ("te: trailers, gzip", Malformed, "te_malformed"),
    ("te: trailers;q=0.5", Malformed, "te_malformed"),
    ("te: chunked", Malformed, "te_malformed"),
    ("te: ", Malformed, "te_malformed"),
    ("te: trailers\nte: chunked", Malformed, "te_malformed"),
    // Framing in disguise.
    ("content_length: 5", Malformed, "field_name_disguised"),
    ("transfer_encoding: chunked", Malformed, "field_name_disguised"),
    // Lengths that somebody reads as another number.
    ("content-length: +5", Malformed, "content_length_malformed"),
    ("content-length: -5", Malformed, "content_length_malformed"),
    ("content-length: -0", Malformed, "content_length_malformed"),
    ("content-length: 05", Malformed, "content_length_malformed"),
    ("content-length: 00", Malformed, "content_length_malformed"),
    ("content-length: 0x5", Malformed, "content_length_malformed"),
    ("content-length: 5,5", Malformed, "content_length_malformed"),
    ("content-length: 5, 5", Malformed, "content_length_malformed"),
    ("content-length: 5 5", Malformed, "content_length_malformed"),
    ("content-length: 5.0", Malformed, "content_length_malformed"),
    ("content-length: 1e1", Malformed, "content_length_malformed"),
    ("content-length: \"5\"", Malformed, "content_length_malformed"),
    ("content-length: a", Malformed, "content_length_malformed"),
    ("content-length: \\xd9\\xa5", Malformed, "content_length_malformed"),
    ("content-length: ", Malformed, "content_length_malformed"),
    ("content-length: 5 ", Malformed, "field_value"),
    ("content-length: 9223372036854775808", Malformed, "content_length_overflow"),
    ("content-length: 18446744073709551621", Malformed, "content_length_overflow"),
    ("content-length: 5\ncontent-length: 5", Malformed, "content_length_repeated"),
    ("content-length: 5\ncontent-length: 0", Malformed, "content_length_repeated"),
    ("content-length: 0\nx: y\ncontent-length: 0", Malformed, "content_length_repeated"),
    // Content that is announced and does not come.
    ("content-length: 5", Malformed, "content_length_without_data"),
    ("content-length: 1", Malformed, "content_length_without_data"),
    // Host against :authority.
    ("host: b", Malformed, "host_differs_from_target"),
    ("host: a:80", Malformed, "host_differs_from_target"),
    ("host: a.", Malformed, "host_differs_from_target"),
    ("host: a\nhost: a", Malformed, "host_repeated"),
    ("host: a\nhost: b", Malformed, "host_repeated"),
    ("host: ", Malformed, "host_malformed"),
    ("host: u@a", Malformed, "host_malformed"),
    ("host: a/b", Malformed, "host_malformed"),
    ("host: a, b", Malformed, "host_malformed"),
    ("host: a:x", Malformed, "host_malformed"),
    // Pseudo fields that come late, whatever they say.
    ("x: y\n:path: /b", Malformed, "pseudo_field_late"),
    ("x: y\n:protocol: websocket", Malformed, "pseudo_field_late"),
    ("x: y\n:unknown: z", Malformed, "pseudo_field_late"),
    ("x: y\n:: z", Malformed, "pseudo_field_late"),
    // Twice, equal or not.
    (":method: GET", Malformed, "pseudo_field_repeated"),
    (":path: /", Malformed, "pseudo_field_repeated"),
    (":path: /b", Malformed, "pseudo_field_repeated"),
    (":scheme: https", Malformed, "pseudo_field_repeated"),
    (":authority: a", Malformed, "pseudo_field_repeated"),
    (":authority: b", Malformed, "pseudo_field_repeated"),
    // Unknown ones, and those of responses.
    (":status: 200", Malformed, "pseudo_field_unknown"),
    (":host: a", Malformed, "pseudo_field_unknown"),
    (":version: HTTP/1.1", Malformed, "pseudo_field_unknown"),
    (":Path: /", Malformed, "pseudo_field_unknown"),
    (":path : /", Malformed, "pseudo_field_unknown"),
    (":: x", Malformed, "pseudo_field_unknown"),
    ("::path: /", Malformed, "pseudo_field_unknown"),
    (":protocol: websocket", Malformed, "protocol_without_connect"),
    // Expectations.
    ("expect: 200-ok", Unsupported(Status::ExpectationFailed), "expect_unknown"),
    ("expect: 100-continue, x", Unsupported(Status::ExpectationFailed), "expect_unknown"),
    ("expect: ", Unsupported(Status::ExpectationFailed), "expect_unknown"),
];

/// Whole lists that are refused.
const LISTS: &[(&str, FieldsErrorKind, &str)] = &[
    ("", Malformed, "method_missing"),
    ("x: y", Malformed, "method_missing"),
    (":scheme: http\n:authority: a\n:path: /", Malformed, "method_missing"),
    (":method: GET\n:authority: a\n:path: /", Malformed, "scheme_missing"),
    (":method: GET\n:scheme: http\n:authority: a", Malformed, "path_missing"),
    (":method: GET\n:scheme: http\n:path: /", Malformed, "host_missing"),
    (":method: OPTIONS\n:scheme: http\n:path: *", Malformed, "host_missing"),
    // Methods.
    (":method: ", Malformed, "method_malformed"),
    (":method: GE T", Malformed, "method_malformed"),
    (":method: GET ", Malformed, "method_malformed"),
    (":method:  GET", Malformed, "method_malformed"),
    (":method: GET / HTTP/1.1\\r\\nx:", Malformed, "method_malformed"),
    (":method: GET\\0", Malformed, "method_malformed"),
    (":method: G\\xc9T", Malformed, "method_malformed"),
    (":method: \"GET\"", Malformed, "method_malformed"),
    (":method: AAAAAAAAAAAAAAAAAAAAAAAAA", Unsupported(Status::NotImplemented), "method_too_long"),
    // Schemes.
    (":method: GET\n:scheme: ", Malformed, "scheme_malformed"),
    (":method: GET\n:scheme: http:", Malformed, "scheme_malformed"),
    (":method: GET\n:scheme: http://b/?", Malformed, "scheme_malformed"),
    (":method: GET\n:scheme: http ", Malformed, "scheme_malformed"),
    (":method: GET\n:scheme:  http", Malformed, "scheme_malformed"),
    (":method: GET\n:scheme: http\\r\\nx: y", Malformed, "scheme_malformed"),
    (":method: GET\n:scheme: http\\0", Malformed, "scheme_malformed"),
    (":method: GET\n:scheme: 1http", Malformed, "scheme_malformed"),
    (":method: GET\n:scheme: ftp", Unsupported(Status::BadRequest), "scheme_unknown"),
    (":method: GET\n:scheme: wss", Unsupported(Status::BadRequest), "scheme_unknown"),
    // Paths.
    (":method: GET\n:path: ", Malformed, "target_form"),
    (":method: GET\n:path: a", Malformed, "target_form"),
    (":method: GET\n:path: ?a", Malformed, "target_form"),
    (":method: GET\n:path: http://b/", Malformed, "target_form"),
    (":method: GET\n:path: a:80", Malformed, "target_form"),
    (":method: GET\n:path: **", Malformed, "target_form"),
    (":method: OPTIONS\n:path: */", Malformed, "target_form"),
    (":method: GET\n:path: / HTTP/1.1", Malformed, "target_bytes"),
    (":method: GET\n:path: / HTTP/1.1\\r\\nhost: b", Malformed, "target_bytes"),
    (":method: GET\n:path: /a\\tb", Malformed, "target_bytes"),
    (":method: GET\n:path: /\\r", Malformed, "target_bytes"),
    (":method: GET\n:path: /\\n", Malformed, "target_bytes"),
    (":method: GET\n:path: /\\0", Malformed, "target_bytes"),
    (":method: GET\n:path: /\\x7f", Malformed, "target_bytes"),
    (":method: GET\n:path: /\\xe9", Malformed, "target_bytes"),
    (":method: GET\n:path: /#a", Malformed, "target_bytes"),
    (":method: GET\n:path: /?a#b", Malformed, "target_bytes"),
    (":method: GET\n:path: /\\\\b", Malformed, "target_bytes"),
    (":method: GET\n:path: /<b>", Malformed, "target_bytes"),
    (":method: GET\n:path: /\"", Malformed, "target_bytes"),
    (":method: GET\n:path:  /", Malformed, "target_bytes"),
    (":method: GET\n:path: / ", Malformed, "target_bytes"),
    (":method: GET\n:scheme: http\n:authority: a\n:path: *", Malformed, "target_form"),
    (":path: *\n:method: GET\n:scheme: http\n:authority: a", Malformed, "target_form"),
    // Authorities.
    (":method: GET\n:authority: ", Malformed, "target_authority"),
    (":method: GET\n:authority: u@a", Malformed, "target_authority"),
    (":method: GET\n:authority: u:p@a", Malformed, "target_authority"),
    (":method: GET\n:authority: a/b", Malformed, "target_authority"),
    (":method: GET\n:authority: a?b", Malformed, "target_authority"),
    (":method: GET\n:authority: a#b", Malformed, "target_authority"),
    (":method: GET\n:authority: a b", Malformed, "target_authority"),
    (":method: GET\n:authority: a,b", Malformed, "target_authority"),
    (":method: GET\n:authority: a\\r\\nx: y", Malformed, "target_authority"),
    (":method: GET\n:authority: a\\0", Malformed, "target_authority"),
    (":method: GET\n:authority:  a", Malformed, "target_authority"),
    (":method: GET\n:authority: a:", Malformed, "target_authority"),
    (":method: GET\n:authority: a:x", Malformed, "target_authority"),
    (":method: GET\n:authority: a:65536", Malformed, "target_authority"),
    (":method: GET\n:authority: [::1", Malformed, "target_authority"),
    (":method: GET\n:authority: http://a", Malformed, "target_authority"),
    // CONNECT.
    (":method: CONNECT", Malformed, "connect_form"),
    (":method: CONNECT\nhost: a:1", Malformed, "connect_form"),
    (":method: CONNECT\n:authority: a:1\n:path: /", Malformed, "connect_form"),
    (":method: CONNECT\n:authority: a:1\n:scheme: http", Malformed, "connect_form"),
    (":method: CONNECT\n:authority: a:1\n:scheme: http\n:path: /", Malformed, "connect_form"),
    (":method: CONNECT\n:authority: a", Malformed, "target_authority"),
    (":method: CONNECT\n:authority: a:1\nhost: b:1", Malformed, "host_differs_from_target"),
    (":method: CONNECT\n:authority: a:1\ncontent-length: 5", Malformed, "body_not_allowed"),
    (":method: CONNECT\n:authority: a:1\ncontent-length: 0", Malformed, "body_not_allowed"),
    // Extended CONNECT.
    (":method: CONNECT\n:protocol: websocket\n:authority: a", Malformed, "scheme_missing"),
    (
        ":method: CONNECT\n:protocol: websocket\n:authority: a\n:scheme: http",
        Malformed,
        "path_missing",
    ),
    (
        ":method: CONNECT\n:protocol: websocket\n:scheme: http\n:path: /\nhost: a",
        Malformed,
        "connect_form",
    ),
    (
        ":method: CONNECT\n:protocol: websocket\n:scheme: http\n:path: *\n:authority: a",
        Malformed,
        "target_form",
    ),
    (
        ":method: CONNECT\n:protocol: websocket\n:scheme: http\n:path: /\n:authority: a\n\
         content-length: 0",
        Malformed,
        "body_not_allowed",
    ),
    (
        ":method: CONNECT\n:protocol: websocket\n:protocol: websocket",
        Malformed,
        "pseudo_field_repeated",
    ),
    (":method: CONNECT\n:protocol: ", Malformed, "protocol_malformed"),
    (":method: CONNECT\n:protocol: web socket", Malformed, "protocol_malformed"),
    (":method: CONNECT\n:protocol: websocket\\r\\nx: y", Malformed, "protocol_malformed"),
    (":method: CONNECT\n:protocol: a/b/c", Malformed, "protocol_malformed"),
    (
        ":method: CONNECT\n:protocol: connect-udp",
        Unsupported(Status::NotImplemented),
        "protocol_unknown",
    ),
    (":method: CONNECT\n:protocol: h2c/1", Unsupported(Status::NotImplemented), "protocol_unknown"),
    // Content where there is none.
    (
        ":method: TRACE\n:scheme: http\n:authority: a\n:path: /\ncontent-length: 0",
        Malformed,
        "body_not_allowed",
    ),
];

#[test]
fn every_spelling_of_a_hostile_list_is_refused_for_its_reason() {
    for (fields, kind, reason) in FIELDS {
        let error = read(&format!("{GET}{fields}"), true).unwrap_err();
        assert_eq!((error.reason, error.kind), (*reason, *kind), "{fields}");
    }
    for (list, kind, reason) in LISTS {
        let error = read(list, true).unwrap_err();
        assert_eq!((error.reason, error.kind), (*reason, *kind), "{list}");
    }
}

#[test]
fn data_on_a_request_that_has_none_is_refused() {
    let list = ":method: TRACE\n:scheme: http\n:authority: a\n:path: /";
    assert_eq!(read(list, false).unwrap_err().reason, "body_not_allowed");
    assert_eq!(read(list, true).unwrap().1.method, Method::Trace);
}

#[test]
fn the_first_thing_that_is_wrong_is_told_whatever_follows() {
    let list = format!("{GET}X: y\nx: y\\0\ncontent-length: a\n:path: b");
    assert_eq!(read(&list, true).unwrap_err().reason, "field_name");
}

#[test]
fn what_is_well_formed_is_taken_as_it_is() {
    for fields in [
        "x: ",
        "x: y",
        "x: a\\tb c",
        "x: \\xe9\\xff",
        "x!#$%&'*+-.^_`|~0: y",
        "host: a",
        "host: A",
        "te: Trailers",
        "te: trailers\nte: trailers",
        "content_type: x",
        "x: y\nx: y",
        "expect: 100-Continue",
        "content-length: 0",
    ] {
        assert!(read(&format!("{GET}{fields}"), true).is_ok(), "{fields}");
    }
}

#[test]
fn a_request_is_what_its_list_says() {
    let list = ":path: /p?q=\\\\\n:authority: a.b:8080\n:scheme: HTTP\n:method: POST\n\
        content-type: application/grpc+proto\nte: trailers\nx-one: 1\nexpect: 100-continue\n\
        content-length: 12";
    let (read, request) = read(list, false).unwrap();
    let mut expected = HttpRequest {
        method: Method::Post,
        authority: b"a.b:8080".to_vec(),
        path: b"/p?q=\\".to_vec(),
        body: BodySize::Sized(12),
        expects_continue: true,
        takes_trailers: true,
        version: Version::Http2,
        ..HttpRequest::default()
    };
    expected.fields.push(b"content-type", b"application/grpc+proto");
    expected.fields.push(b"x-one", b"1");
    assert_eq!(request, expected);
    assert_eq!(
        read,
        RequestRead {
            content_length: Some(12),
            is_connect: false,
            is_extended_connect: false,
            is_grpc: true,
            is_head: false,
        }
    );
}

#[test]
fn the_body_is_what_length_and_end_say() {
    for (fields, end_stream, body, expects) in [
        ("", true, BodySize::None, false),
        ("", false, BodySize::Unknown, false),
        ("content-length: 0", true, BodySize::Sized(0), false),
        ("content-length: 0", false, BodySize::Sized(0), false),
        ("content-length: 5", false, BodySize::Sized(5), false),
        ("expect: 100-continue", true, BodySize::None, false),
        ("expect: 100-continue", false, BodySize::Unknown, true),
        ("expect: 100-continue\ncontent-length: 0", false, BodySize::Sized(0), false),
        ("expect: 100-continue\ncontent-length: 1", false, BodySize::Sized(1), true),
    ] {
        let (_, request) = read(&format!("{POST}{fields}"), end_stream).unwrap();
        assert_eq!((request.body, request.expects_continue), (body, expects), "{fields}");
    }
}

#[test]
fn host_stands_in_for_a_missing_authority() {
    let (_, request) =
        read(":method: OPTIONS\n:scheme: http\n:path: *\nx: y\nhost: a:80", true).unwrap();
    assert_eq!((&request.authority[..], &request.path[..]), (&b"a:80"[..], &b"*"[..]));
    assert_eq!(request.fields.find(b"host"), None);
}

#[test]
fn grpc_is_told_by_its_content_type() {
    for (value, expected) in [
        ("application/grpc", true),
        ("Application/GRPC;x=y", true),
        ("application/grpc+json", true),
        ("application/grpc-web", false),
        ("application/grpcx", false),
        ("application/json", false),
    ] {
        let (read, _) = read(&format!("{POST}content-type: {value}"), false).unwrap();
        assert_eq!(read.is_grpc, expected, "{value}");
    }
}

#[test]
fn cookies_become_one_field_where_the_first_stood() {
    let (_, request) =
        read(&format!("{GET}cookie: a=1\nx: y\ncookie: b=2\ncookie: \ncookie: c\ncookie: "), true)
            .unwrap();
    let expected = [("cookie", "a=1; b=2; c"), ("x", "y")];
    let expected = expected.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    assert_eq!(request.fields.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn each_limit_holds_to_the_last_byte_and_nothing_more_is_kept() {
    let limits = FieldLimits {
        // The four pseudo fields, and 100 for others.
        list_bytes_max: 42 + 44 + 43 + 38 + 100,
        trailer_bytes_max: 0,
        fields_max: 3,
        cookie_crumbs_max: 2,
        target_bytes_max: 4,
        method_bytes_max: 3,
    };
    let base = ":method: GET\n:scheme: https\n:authority: a\n:path: /\n";
    let case = |list: String| {
        read_within(&list, true, &limits)
            .map(|(_, request)| request.fields.len())
            .map_err(|error| (error.reason, error.kind))
    };
    assert_eq!(case(base.to_owned()), Ok(0));
    let too_large = Err(("fields_too_large", TooLarge));
    assert_eq!(case(format!("{base}x: {}", "y".repeat(67))), Ok(1));
    assert_eq!(case(format!("{base}x: {}", "y".repeat(68))), too_large);
    assert_eq!(case(format!("{base}{}: y", "x".repeat(68))), too_large);
    assert_eq!(case(format!("{base}a: \nb: \nc: ")), Ok(3));
    assert_eq!(case(format!("{base}a: \nb: \nc: \nd: ")), too_large);
    let wide = FieldLimits { list_bytes_max: 1000, ..limits };
    let case = |list: String| {
        read_within(&list, true, &wide)
            .map(|(_, request)| request.fields.len())
            .map_err(|error| (error.reason, error.kind))
    };
    assert_eq!(case(format!("{base}a: \nb: \nc: \nd: ")), Err(("too_many_fields", TooLarge)));
    // Known fields are counted, too.
    let known = format!("{base}te: trailers\na: \nb: \nc: ");
    assert_eq!(case(known), Err(("too_many_fields", TooLarge)));
    assert_eq!(case(format!("{base}a: \ncookie: a\ncookie: b\nb: ")), Ok(3));
    let crumbs = format!("{base}cookie: a\ncookie: b\ncookie: c");
    assert_eq!(case(crumbs), Err(("too_many_cookie_crumbs", TooLarge)));
    assert_eq!(case(base.replace(":path: /", ":path: /123")), Ok(0));
    let target = Unsupported(Status::TargetTooLong);
    assert_eq!(case(base.replace(":path: /", ":path: /1234")), Err(("target_too_long", target)));
    let method = Unsupported(Status::NotImplemented);
    assert_eq!(case(base.replace("GET", "POST")), Err(("method_too_long", method)));
}

#[test]
fn a_list_without_end_holds_no_more_than_its_limit() {
    let limits = FieldLimits { fields_max: u16::MAX, ..FieldLimits::default() };
    let mut request = HttpRequest::default();
    let mut fields = RequestFields::new(&mut request, &limits);
    pairs(GET).for_each(|(name, value)| fields.push(&name, &value));
    for _ in 0..100_000 {
        fields.push(b"x", &[b'y'; 100]);
    }
    assert_eq!(fields.finish(true).unwrap_err().kind, TooLarge);
    assert!(request.fields.bytes() <= limits.list_bytes_max as usize);
    // Fields without bytes are bounded by what each costs.
    let mut fields = RequestFields::new(&mut request, &limits);
    pairs(GET).for_each(|(name, value)| fields.push(&name, &value));
    for _ in 0..100_000 {
        fields.push(b"x", b"");
    }
    assert_eq!(fields.finish(true).unwrap_err().kind, TooLarge);
    assert!(request.fields.len() < 2_000);
}

#[test]
fn connect_is_its_authority_and_has_no_body() {
    let (read, request) = read(":method: CONNECT\n:authority: a:443\nx: y", false).unwrap();
    assert!(read.is_connect && !read.is_extended_connect);
    assert_eq!((&request.authority[..], &request.path[..]), (&b"a:443"[..], &b""[..]));
    assert_eq!((request.method, request.body), (Method::Connect, BodySize::None));
}

const WEBSOCKET: &str = ":method: CONNECT\n:protocol: WebSocket\n:scheme: https\n:path: /chat\n\
    :authority: a\nsec-websocket-version: 13\nexpect: 100-continue";

#[test]
fn an_extended_connect_is_an_offer_to_upgrade() {
    let (read, request) = read(WEBSOCKET, false).unwrap();
    assert!(!read.is_connect && read.is_extended_connect && !read.is_head);
    assert_eq!((&request.method, request.body), (&Method::Get, BodySize::None));
    assert_eq!((&request.upgrade[..], &request.path[..]), (&b"websocket"[..], &b"/chat"[..]));
    assert!(!request.expects_continue);
    assert_eq!(request.fields.find(b"sec-websocket-version"), Some(&b"13"[..]));
}

/// What is put, as lines.
fn lines(write: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]))) -> String {
    let mut out = String::new();
    write(&mut |name: &[u8], value: &[u8]| {
        out.push_str(&format!("{}: {}\n", name.escape_ascii(), value.escape_ascii()));
    });
    out
}

fn written(head: &HttpRequest, peer: Peer) -> (Asked, String) {
    let mut asked = Asked::default();
    let lines = lines(|mut put| asked = write_request(head, peer, &mut put).unwrap());
    (asked, lines)
}

const PEER: Peer = Peer { is_https: false, takes_extended_connect: true };

/// The same fields without the bytes of those that were joined.
fn compact(fields: &Fields) -> Fields {
    let mut compact = Fields::new();
    fields.iter().for_each(|(name, value)| compact.push(name, value));
    compact
}

#[test]
fn a_request_is_written_pseudo_fields_first_and_read_back() {
    for list in [
        format!("{GET}x: y"),
        format!("{POST}content-length: 5\nexpect: 100-continue\nte: trailers\nx: y\nx: z"),
        ":method: OPTIONS\n:scheme: http\n:authority: a\n:path: *".to_owned(),
        ":method: CONNECT\n:authority: a:1\nx: y".to_owned(),
        WEBSOCKET.to_owned(),
        format!("{GET}cookie: a\ncookie: b"),
    ] {
        let end_stream = list.starts_with(GET);
        let (read, mut request) = self::read(&list, end_stream).unwrap();
        request.fields = compact(&request.fields);
        let (asked, lines) = written(&request, PEER);
        let (again, same) = self::read(&lines, end_stream).unwrap();
        assert_eq!((again, &same, asked), (read, &request, read.asked()), "{lines}");
    }
}

#[test]
fn the_scheme_is_that_of_the_peer() {
    let (_, request) = read(GET, true).unwrap();
    assert_eq!(written(&request, PEER).1, GET.replace("https", "http"));
    assert_eq!(written(&request, Peer { is_https: true, ..PEER }).1, GET);
}

fn offer() -> HttpRequest {
    let mut head = HttpRequest { upgrade: b"WebSocket".to_vec(), ..HttpRequest::default() };
    head.authority = b"a".to_vec();
    head.path = b"/chat".to_vec();
    head.fields.push(b"Sec-WebSocket-Key", b"dGVzdA==");
    head.fields.push(b"Sec-WebSocket-Version", b"13");
    head
}

#[test]
fn an_offer_to_upgrade_becomes_an_extended_connect_where_it_is_taken() {
    let (asked, lines) = written(&offer(), PEER);
    assert!(asked.is_extended_connect && !asked.is_connect);
    assert_eq!(
        lines,
        ":method: CONNECT\n:scheme: http\n:authority: a\n:path: /chat\n:protocol: websocket\n\
         Sec-WebSocket-Version: 13\n"
    );
    let (asked, lines) = written(&offer(), Peer::default());
    assert!(!asked.is_extended_connect && lines.starts_with(":method: GET\n"), "{lines}");
    assert!(!lines.contains("upgrade") && !lines.contains(":protocol"), "{lines}");
    let other = HttpRequest { upgrade: b"foo, websocket".to_vec(), ..offer() };
    assert!(!written(&other, PEER).0.is_extended_connect);
}

#[test]
fn an_accepted_upgrade_becomes_a_200_and_nothing_else_does() {
    let asked = Asked { is_extended_connect: true, ..Asked::default() };
    let mut head = HttpResponse { status: 101, ..HttpResponse::default() };
    head.upgrade = b"websocket".to_vec();
    head.body = BodySize::Unknown;
    head.fields.push(b"sec-websocket-accept", b"x");
    head.fields.push(b"sec-websocket-protocol", b"chat");
    let told = lines(|mut put| write_response(&head, asked, &mut put).unwrap());
    assert_eq!(told, ":status: 200\nsec-websocket-protocol: chat\n");
    // A plain 200 would be taken for acceptance, and a 101 for nothing.
    for (status, asked) in [(200, asked), (204, asked), (101, Asked::default())] {
        head.status = status;
        let mut count = 0;
        let result = write_response(&head, asked, &mut |_, _| count += 1);
        assert_eq!((result, count), (Err(EncodeError::Unfit), 0), "{status}");
    }
    head.status = 403;
    let told = lines(|mut put| write_response(&head, asked, &mut put).unwrap());
    assert!(told.starts_with(":status: 403\n"));
}

#[test]
fn a_response_is_written_and_read_back() {
    for (status, body, asked, expected) in [
        (200, BodySize::Sized(5), Asked::default(), ":status: 200\nx: y\ncontent-length: 5\n"),
        (200, BodySize::Unknown, Asked::default(), ":status: 200\nx: y\n"),
        (204, BodySize::Sized(0), Asked::default(), ":status: 204\nx: y\n"),
        (103, BodySize::Sized(0), Asked::default(), ":status: 103\nx: y\n"),
        (304, BodySize::Sized(9), Asked::default(), ":status: 304\nx: y\ncontent-length: 9\n"),
        (
            200,
            BodySize::Sized(9),
            Asked { is_connect: true, ..Asked::default() },
            ":status: 200\nx: y\n",
        ),
    ] {
        let mut head = HttpResponse { status, body, ..HttpResponse::default() };
        head.fields.push(b"x", b" y\t");
        let told = lines(|mut put| write_response(&head, asked, &mut put).unwrap());
        assert_eq!(told, expected);
        let mut again = HttpResponse::default();
        let mut fields = ResponseFields::new(&mut again, &FieldLimits::default(), asked);
        pairs(&told).for_each(|(name, value)| fields.push(&name, &value));
        assert!(fields.finish(false).is_ok());
        assert_eq!(again.status, status);
    }
}

#[test]
fn fields_of_connections_and_framing_from_elsewhere_are_not_written() {
    let mut head = HttpRequest { authority: b"a".to_vec(), ..HttpRequest::default() };
    head.path = b"/".to_vec();
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Transfer-Encoding",
        "Upgrade",
        "TE",
        "HTTP2-Settings",
        "Host",
        "Content-Length",
        "Content_Length",
    ] {
        head.fields.push(name.as_bytes(), b"x");
    }
    assert_eq!(written(&head, Peer { is_https: true, ..PEER }).1, GET);
    let trailers = lines(|mut put| write_trailers(&head.fields, &mut put).unwrap());
    assert_eq!(trailers, "");
}

#[test]
fn what_no_field_can_carry_is_not_written() {
    let sound =
        HttpRequest { authority: b"a".to_vec(), path: b"/".to_vec(), ..HttpRequest::default() };
    let with_field = |name: &[u8], value: &[u8]| {
        let mut head = sound.clone();
        head.fields.push(name, value);
        head
    };
    for head in [
        with_field(b"a", b"b\r\nc: d"),
        with_field(b"a", b"\0"),
        with_field(b"a b", b""),
        with_field(b"", b""),
        with_field(b":path", b"/b"),
        HttpRequest { path: b"/ b".to_vec(), ..sound.clone() },
        HttpRequest { path: b"/\n".to_vec(), ..sound.clone() },
        HttpRequest { authority: b"a b".to_vec(), ..sound.clone() },
        HttpRequest { method: Method::Other("a b".to_owned()), ..sound.clone() },
        HttpRequest { method: Method::Connect, authority: Vec::new(), ..sound.clone() },
        HttpRequest { authority: Vec::new(), ..offer() },
    ] {
        let mut count = 0;
        let result = write_request(&head, PEER, &mut |_, _| count += 1);
        assert_eq!((result, count), (Err(EncodeError::Unfit), 0), "{head:?}");
        if !head.fields.is_empty() && head.upgrade.is_empty() {
            let result = write_trailers(&head.fields, &mut |_, _| count += 1);
            assert_eq!((result, count), (Err(EncodeError::Unfit), 0));
            let response =
                HttpResponse { status: 200, fields: head.fields, ..HttpResponse::default() };
            let result = write_response(&response, Asked::default(), &mut |_, _| count += 1);
            assert_eq!((result, count), (Err(EncodeError::Unfit), 0));
        }
    }
    for status in [0, 99, 1000] {
        let response = HttpResponse { status, ..HttpResponse::default() };
        let result = write_response(&response, Asked::default(), &mut |_, _| ());
        assert_eq!(result, Err(EncodeError::Unfit), "{status}");
    }
}
