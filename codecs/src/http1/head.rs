//! Heads, read by `httparse` and held to stricter rules (RFC 9112 §2 to §5).

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig};

use crate::http::name::is_refused_in_trailers;
use crate::http::target::check_host;
use crate::{BodySize, Error, Fault, Fields, HttpRequest, HttpResponse, Method, Status, Version};

use super::body::{BODY_TOO_LARGE, Body};
use super::chunked::Chunked;
use super::fields::{Sorted, sort};
use super::limits::{FIELDS_CEILING, Limits};
use super::scan::{Bounds, Broken, Scan};
use super::state::{Asked, Incoming, fields_too_large, malformed};
use super::target;
use super::websocket::Key;

/// What a head decides beside the parts that are passed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    /// What follows.
    pub(super) incoming: Incoming,
    /// Whether the connection may be used again.
    pub(super) keep: bool,
    /// Server role: what the response depends on.
    pub(super) asked: Asked,
}

/// Bytes of the request head at the front of the input; `None` when its end is not there yet.
///
/// # Errors
/// A line has no proper end, or a limit is passed.
pub(super) fn request_section(
    input: &[u8],
    scan: &mut Scan,
    limits: &Limits,
) -> Result<Option<usize>, Error> {
    let bounds = Bounds {
        section_bytes_max: limits.head_bytes_max as usize,
        first_line_bytes_max: limits.request_line_bytes_max(),
    };
    scan.section(input, bounds).map_err(|broken| match broken {
        Broken::FirstLineTooLong => REQUEST_LINE_TOO_LONG,
        Broken::TooLong => TOO_LARGE,
        Broken::BareLineFeed => BARE_LINE_FEED,
    })
}

/// Bytes of the response head or trailers at the front of the input; see [`request_section`].
///
/// # Errors
/// See [`request_section`].
pub(super) fn section(
    input: &[u8],
    scan: &mut Scan,
    section_bytes_max: u32,
) -> Result<Option<usize>, Error> {
    let bytes_max = section_bytes_max as usize;
    let bounds = Bounds { section_bytes_max: bytes_max, first_line_bytes_max: bytes_max };
    scan.section(input, bounds).map_err(|broken| match broken {
        Broken::FirstLineTooLong | Broken::TooLong => TOO_LARGE,
        Broken::BareLineFeed => BARE_LINE_FEED,
    })
}

/// Reads a whole request head.
///
/// # Errors
/// It is not one, can be read in more than one way, passes a limit, or asks for what is not spoken.
pub(super) fn read_request(
    bytes: &[u8],
    limits: &Limits,
    into: &mut HttpRequest,
) -> Result<Read, Error> {
    into.clear();
    let mut slots = empty_slots();
    let slots = slots.get_mut(..limits.fields()).unwrap_or_default();
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, slots) {
        Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
        Ok(_) => return Err(HEAD),
        Err(httparse::Error::Version) => return Err(version_error(bytes)),
        Err(error) => return Err(explain(error)),
    }
    let method = parsed.method.unwrap_or_default().as_bytes();
    if method.len() > usize::from(limits.method_bytes_max) {
        return Err(METHOD_TOO_LONG);
    }
    into.method = Method::from_token(method);
    into.version = version(parsed.version);
    let target = target::read(&into.method, parsed.path.unwrap_or_default().as_bytes(), limits)?;
    let sorted = sort(parsed.headers, limits, &mut into.fields)?;
    let authority = authority(&sorted, target.authority, into.version, limits)?;
    into.authority.extend_from_slice(authority);
    if target.lacks_slash {
        into.path.push(b'/');
    }
    into.path.extend_from_slice(target.path);
    finish_request(&sorted, limits, into)
}

/// RFC 9112 §3.2, §3.2.2 and RFC 9110 §7.2: whom the request is for.
fn authority<'a>(
    sorted: &Sorted<'a>,
    target: Option<&'a [u8]>,
    version: Version,
    limits: &Limits,
) -> Result<&'a [u8], Error> {
    match (target, sorted.host) {
        (_, None) if version == Version::Http11 => Err(HOST_MISSING),
        (None, None) => Ok(b""),
        (Some(target), None) => Ok(target),
        (None, Some(host)) => check_host(host).map(|()| host),
        (Some(target), Some(host)) => {
            check_host(host)?;
            let is_same = target.eq_ignore_ascii_case(host);
            let is_taken = is_same || limits.lenient.other_host_in_target;
            if is_taken { Ok(target) } else { Err(HOST_DIFFERS) }
        }
    }
}

/// The framing of a request (RFC 9112 §6.3) and what else its fields decide.
fn finish_request(
    sorted: &Sorted<'_>,
    limits: &Limits,
    into: &mut HttpRequest,
) -> Result<Read, Error> {
    let is_http10 = into.version == Version::Http10;
    let has_framing = sorted.is_chunked || sorted.content_length.is_some();
    // RFC 9112 §6.1: a message of HTTP/1.0 with this field has faulty framing.
    if is_http10 && sorted.is_chunked {
        return Err(CHUNKED_IN_HTTP10);
    }
    // RFC 9110 §9.3.6 and §9.3.8: neither has content, and what reads one as such is confused.
    if has_framing && matches!(into.method, Method::Connect | Method::Trace) {
        return Err(BODY_NOT_ALLOWED);
    }
    if sorted.content_length.is_some_and(|it| it > limits.body_bytes_max) {
        return Err(BODY_TOO_LARGE);
    }
    into.body = match sorted.content_length {
        _ if sorted.is_chunked => BodySize::Unknown,
        Some(bytes) => BodySize::Sized(bytes),
        None => BodySize::None,
    };
    let is_connect = into.method == Method::Connect;
    let offers_upgrade = !is_http10 && !is_connect && !has_framing && !sorted.upgrade.is_empty();
    if offers_upgrade {
        into.upgrade.extend_from_slice(sorted.upgrade);
    }
    let incoming = match into.body {
        BodySize::Unknown => Incoming::Body(Body::Chunked(Chunked::new(limits.body_bytes_max))),
        BodySize::Sized(left) if left > 0 => Incoming::Body(Body::Sized { left }),
        BodySize::Sized(_) => Incoming::Ended,
        BodySize::None if is_connect || offers_upgrade => Incoming::Offered,
        BodySize::None => Incoming::Ended,
    };
    // RFC 9110 §10.1.1: without a body, and in HTTP/1.0, the expectation means nothing.
    into.expects_continue =
        sorted.expects_continue && !is_http10 && matches!(incoming, Incoming::Body(_));
    into.takes_trailers = sorted.takes_trailers && !is_http10;
    let asked = Asked {
        is_head: into.method == Method::Head,
        is_connect,
        offers_upgrade,
        is_http10,
        awaits_continue: into.expects_continue,
        websocket_key: Key::of(into),
    };
    Ok(Read { incoming, keep: keeps(sorted, is_http10), asked })
}

/// Reads a whole response head.
///
/// # Errors
/// See [`read_request`].
pub(super) fn read_response(
    bytes: &[u8],
    asked: Asked,
    limits: &Limits,
    into: &mut HttpResponse,
) -> Result<Read, Error> {
    into.clear();
    let mut slots = empty_slots();
    let slots = slots.get_mut(..limits.fields()).unwrap_or_default();
    let mut parsed = httparse::Response::new(&mut []);
    let mut config = ParserConfig::default();
    config
        .allow_obsolete_multiline_headers_in_responses(limits.lenient.response_folds)
        .allow_spaces_after_header_name_in_responses(limits.lenient.response_space_before_colon);
    match config.parse_response_with_uninit_headers(&mut parsed, bytes, slots) {
        Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
        Ok(_) => return Err(HEAD),
        Err(httparse::Error::Version) => return Err(VERSION),
        Err(error) => return Err(explain(error)),
    }
    into.status = parsed.code.filter(|it| *it >= 100).ok_or(STATUS)?;
    into.version = version(parsed.version);
    into.reason.extend_from_slice(reason(bytes));
    let sorted = sort(parsed.headers, limits, &mut into.fields)?;
    let is_http10 = into.version == Version::Http10;
    if is_http10 && sorted.is_chunked {
        return Err(CHUNKED_IN_HTTP10);
    }
    let incoming = response_framing(&sorted, asked, into)?;
    let lasts = matches!(incoming, Incoming::Raw | Incoming::Body(Body::UntilClose));
    Ok(Read { incoming, keep: !lasts && keeps(&sorted, is_http10), asked })
}

/// RFC 9112 §6.3, in its order.
fn response_framing(
    sorted: &Sorted<'_>,
    asked: Asked,
    into: &mut HttpResponse,
) -> Result<Incoming, Error> {
    let has_framing = sorted.is_chunked || sorted.content_length.is_some_and(|it| it > 0);
    // RFC 9110 §8.6, RFC 9112 §6.1: none in 1xx and 204. `Content-Length: 0` in a 204 is widely
    // sent and says nothing else.
    if has_framing && (into.status < 200 || into.status == 204) {
        return Err(BODY_NOT_ALLOWED);
    }
    if asked.accepts_raw(into.status) {
        if into.status == 101 && sorted.upgrade.is_empty() {
            return Err(UPGRADE_NOT_NAMED);
        }
        into.upgrade.extend_from_slice(sorted.upgrade);
        // RFC 9110 §9.3.6: framing fields in the 2xx to a CONNECT are ignored.
        into.body = BodySize::Unknown;
        return Ok(Incoming::Raw);
    }
    if into.status == 101 {
        return Err(UPGRADE_NOT_ASKED);
    }
    into.body = match sorted.content_length {
        _ if sorted.is_chunked => BodySize::Unknown,
        Some(_) if into.status < 200 || into.status == 204 => BodySize::None,
        Some(bytes) => BodySize::Sized(bytes),
        None if asked.allows_body(into.status) => BodySize::Unknown,
        None => BodySize::None,
    };
    if !asked.allows_body(into.status) {
        return Ok(Incoming::Ended);
    }
    Ok(match into.body {
        BodySize::Unknown if sorted.is_chunked => {
            Incoming::Body(Body::Chunked(Chunked::new(u64::MAX)))
        }
        BodySize::Sized(0) | BodySize::None => Incoming::Ended,
        BodySize::Sized(left) => Incoming::Body(Body::Sized { left }),
        BodySize::Unknown => Incoming::Body(Body::UntilClose),
    })
}

/// Reads a whole trailer section.
///
/// # Errors
/// It has a malformed line, too many fields, or one that has no place there.
pub(super) fn read_trailers(bytes: &[u8], limits: &Limits, into: &mut Fields) -> Result<(), Error> {
    into.clear();
    let mut slots = [httparse::EMPTY_HEADER; FIELDS_CEILING];
    let slots = slots.get_mut(..limits.fields()).unwrap_or_default();
    let headers = match httparse::parse_headers(bytes, slots) {
        Ok(httparse::Status::Complete((end, headers))) if end == bytes.len() => headers,
        Ok(_) => return Err(HEAD),
        Err(error) => return Err(explain(error)),
    };
    for header in headers {
        if is_refused_in_trailers(header.name.as_bytes()) {
            return Err(TRAILER);
        }
        into.push(header.name.as_bytes(), header.value);
    }
    Ok(())
}

/// RFC 9112 §9.3.
fn keeps(sorted: &Sorted<'_>, is_http10: bool) -> bool {
    !sorted.says_close && (!is_http10 || sorted.says_keep_alive)
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::Http10 } else { Version::Http11 }
}

/// The reason phrase of a head that was parsed. `httparse` gives none that has bytes above 0x7f.
fn reason(head: &[u8]) -> &[u8] {
    let line = head.get(..memchr::memchr(b'\r', head).unwrap_or(0)).unwrap_or_default();
    line.get(STATUS_LINE_BYTES..).unwrap_or_default()
}

fn empty_slots<'a>() -> [MaybeUninit<Header<'a>>; FIELDS_CEILING] {
    [const { MaybeUninit::uninit() }; FIELDS_CEILING]
}

fn explain(error: httparse::Error) -> Error {
    match error {
        httparse::Error::HeaderName => FIELD_NAME,
        httparse::Error::HeaderValue => FIELD_VALUE,
        httparse::Error::NewLine => LINE_END,
        httparse::Error::Status => STATUS,
        httparse::Error::Token => REQUEST_LINE,
        httparse::Error::TooManyHeaders => TOO_MANY_FIELDS,
        httparse::Error::Version => VERSION,
    }
}

/// RFC 9110 §15.6.6: 505 is for another version of HTTP; anything else in that place is 400.
fn version_error(head: &[u8]) -> Error {
    let line = head.get(..memchr::memchr(b'\r', head).unwrap_or(0)).unwrap_or_default();
    match line.splitn(3, |byte| *byte == b' ').nth(2) {
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            VERSION
        }
        _ => REQUEST_LINE,
    }
}

/// `HTTP/1.1 200 `
const STATUS_LINE_BYTES: usize = 13;

const BARE_LINE_FEED: Error = malformed("bare_line_feed");
const BODY_NOT_ALLOWED: Error = malformed("body_not_allowed");
const CHUNKED_IN_HTTP10: Error = malformed("transfer_encoding_in_http10");
const FIELD_NAME: Error = malformed("field_name");
const FIELD_VALUE: Error = malformed("field_value");
const HEAD: Error = malformed("head_malformed");
const HOST_DIFFERS: Error = malformed("host_differs_from_target");
const HOST_MISSING: Error = malformed("host_missing");
const LINE_END: Error = malformed("line_end");
const METHOD_TOO_LONG: Error = Error::new(Fault::Limit, Status::NotImplemented, "method_too_long");
const REQUEST_LINE: Error = malformed("request_line");
const REQUEST_LINE_TOO_LONG: Error =
    Error::new(Fault::Limit, Status::TargetTooLong, "request_line_too_long");
const STATUS: Error = malformed("status_line");
const TOO_LARGE: Error = fields_too_large("fields_too_large");
const TOO_MANY_FIELDS: Error = fields_too_large("too_many_fields");
const TRAILER: Error = malformed("trailer_not_allowed");
const UPGRADE_NOT_ASKED: Error = malformed("upgrade_not_asked");
const UPGRADE_NOT_NAMED: Error = malformed("upgrade_not_named");
const VERSION: Error =
    Error::new(Fault::Unsupported, Status::VersionNotSupported, "version_not_supported");
