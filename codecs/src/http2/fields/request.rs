//! The field list of a request (RFC 9113 §8.3.1, §8.5; RFC 8441).

use crate::http::name::{Known, is_token};
use crate::http::target::{Port, check_authority, check_bytes, check_host};
use crate::{BodySize, HttpRequest, Method, Status, Version};

use super::{
    Asked, BODY_NOT_ALLOWED, Budget, FieldLimits, FieldsError, LENGTH_WITHOUT_DATA, PSEUDO_LATE,
    PSEUDO_REPEATED, PSEUDO_UNKNOWN, WEBSOCKET, add_length, check, malformed, unsupported,
};

/// Fills a request head.
#[derive(Debug)]
pub(in crate::http2) struct RequestFields<'a> {
    request: &'a mut HttpRequest,
    limits: FieldLimits,
    budget: Budget,
    seen: Seen,
    /// The pseudo fields are complete: another field has come.
    pseudo_has_ended: bool,
    has_host: bool,
    content_length: Option<u64>,
    crumbs: u16,
    is_grpc: bool,
    error: Option<FieldsError>,
}

/// Which pseudo fields have come.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    method: bool,
    scheme: bool,
    path: bool,
    authority: bool,
    protocol: bool,
}

/// What a request decides beside the head that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http2) struct RequestRead {
    /// Bytes of content that must come, if it says so.
    pub(in crate::http2) content_length: Option<u64>,
    /// `CONNECT` to an authority.
    pub(in crate::http2) is_connect: bool,
    /// `CONNECT` with `:protocol`: the head offers an upgrade. Never together with `is_connect`.
    pub(in crate::http2) is_extended_connect: bool,
    /// gRPC: errors are told in `grpc-status`.
    pub(in crate::http2) is_grpc: bool,
    /// `HEAD`
    pub(in crate::http2) is_head: bool,
}

impl RequestRead {
    /// What the response depends on.
    pub(in crate::http2) fn asked(&self) -> Asked {
        Asked {
            is_head: self.is_head,
            is_connect: self.is_connect,
            is_extended_connect: self.is_extended_connect,
        }
    }
}

impl<'a> RequestFields<'a> {
    /// Begins a list; what the head held is forgotten.
    pub(in crate::http2) fn new(request: &'a mut HttpRequest, limits: &FieldLimits) -> Self {
        request.clear();
        request.version = Version::Http2;
        Self {
            request,
            limits: *limits,
            budget: Budget::new(limits.list_bytes_max, limits),
            seen: Seen::default(),
            pseudo_has_ended: false,
            has_host: false,
            content_length: None,
            crumbs: 0,
            is_grpc: false,
            error: None,
        }
    }

    /// Takes the next field.
    pub(in crate::http2) fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.error.is_none() {
            self.error = self.take(name, value).err();
        }
    }

    /// Ends the list. `end_stream`: no content follows.
    ///
    /// # Errors
    /// The first thing that was wrong; the head is not to be used then.
    pub(in crate::http2) fn finish(mut self, end_stream: bool) -> Result<RequestRead, FieldsError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.pseudo_has_ended {
            self.end_pseudo()?;
        }
        // RFC 9113 §8.3.1: a request with one of these schemes has an authority.
        if self.request.authority.is_empty() {
            return Err(HOST_MISSING);
        }
        let is_connect = self.request.method == Method::Connect && !self.seen.protocol;
        self.request.body = self.body(end_stream)?;
        let has_body =
            !end_stream && !matches!(self.request.body, BodySize::None | BodySize::Sized(0));
        // RFC 9110 §10.1.1: without a body the expectation means nothing.
        self.request.expects_continue &= has_body;
        // RFC 9113 §8.2.3
        if self.crumbs > 1 {
            self.request.fields.join(b"cookie", b"; ");
        }
        if self.seen.protocol {
            self.request.method = Method::Get;
            self.request.upgrade.extend_from_slice(WEBSOCKET);
        }
        Ok(RequestRead {
            content_length: self.content_length,
            is_connect,
            is_extended_connect: self.seen.protocol,
            is_grpc: self.is_grpc,
            is_head: self.request.method == Method::Head,
        })
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldsError> {
        self.budget.pay(name, value)?;
        if let Some(name) = name.strip_prefix(b":") {
            // RFC 9113 §8.3: all of them come before all other fields.
            return if self.pseudo_has_ended {
                Err(PSEUDO_LATE)
            } else {
                self.take_pseudo(name, value)
            };
        }
        if !self.pseudo_has_ended {
            self.end_pseudo()?;
        }
        self.take_field(name, value)
    }

    fn take_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldsError> {
        let seen = match name {
            b"method" => &mut self.seen.method,
            b"scheme" => &mut self.seen.scheme,
            b"path" => &mut self.seen.path,
            b"authority" => &mut self.seen.authority,
            b"protocol" => &mut self.seen.protocol,
            _ => return Err(PSEUDO_UNKNOWN),
        };
        if std::mem::replace(seen, true) {
            return Err(PSEUDO_REPEATED);
        }
        match name {
            b"method" => self.request.method = method(value, &self.limits)?,
            b"scheme" => check_scheme(value)?,
            b"path" => {
                check_path(value, &self.limits)?;
                self.request.path.extend_from_slice(value);
            }
            b"authority" => {
                check_authority(value, Port::Optional)?;
                self.request.authority.extend_from_slice(value);
            }
            _ => check_protocol(value)?,
        }
        Ok(())
    }

    /// The pseudo fields are complete; judges them together.
    fn end_pseudo(&mut self) -> Result<(), FieldsError> {
        self.pseudo_has_ended = true;
        let seen = self.seen;
        let is_connect = self.request.method == Method::Connect;
        if !seen.method {
            return Err(METHOD_MISSING);
        }
        if seen.protocol && !is_connect {
            return Err(PROTOCOL_WITHOUT_CONNECT);
        }
        // RFC 9113 §8.5: the authority and nothing else.
        if is_connect && !seen.protocol {
            if seen.scheme || seen.path || !seen.authority {
                return Err(CONNECT_FORM);
            }
            return Ok(check_authority(&self.request.authority, Port::Required)?);
        }
        if !seen.scheme {
            return Err(SCHEME_MISSING);
        }
        if !seen.path {
            return Err(PATH_MISSING);
        }
        // RFC 8441 §4: an extended CONNECT names its authority in the same way.
        if is_connect && !seen.authority {
            return Err(CONNECT_FORM);
        }
        // RFC 9113 §8.3.1: the asterisk is for OPTIONS alone.
        if self.request.path == b"*" && self.request.method != Method::Options {
            return Err(TARGET_FORM);
        }
        Ok(())
    }

    fn take_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldsError> {
        let is_cookie = name == b"cookie";
        if is_cookie {
            self.budget.count_crumb()?;
            // Joined at the end it would leave a space there, which no value ends with.
            if value.is_empty() {
                return Ok(());
            }
            self.crumbs = self.crumbs.saturating_add(1);
        }
        if !is_cookie || self.crumbs == 1 {
            self.budget.count_field()?;
        }
        match check(name, value)? {
            None => {
                self.is_grpc |= name == b"content-type" && is_grpc(value);
                self.request.fields.push(name, value);
                Ok(())
            }
            Some(Known::ContentLength) => add_length(&mut self.content_length, value),
            Some(Known::Host) => self.take_host(value),
            Some(Known::Expect) if !value.eq_ignore_ascii_case(b"100-continue") => Err(EXPECT),
            Some(Known::Expect) => {
                self.request.expects_continue = true;
                Ok(())
            }
            Some(Known::Te) => {
                self.request.takes_trailers = true;
                Ok(())
            }
            // Refused by `check`.
            Some(
                Known::Connection
                | Known::Disguised
                | Known::HopByHop
                | Known::TransferEncoding
                | Known::Upgrade,
            ) => Ok(()),
        }
    }

    /// RFC 9113 §8.3.1: what differs from `:authority` is malformed; what stands alone replaces it.
    fn take_host(&mut self, value: &[u8]) -> Result<(), FieldsError> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(HOSTS);
        }
        check_host(value)?;
        let authority = &mut self.request.authority;
        if !self.seen.authority {
            authority.extend_from_slice(value);
        }
        if authority.eq_ignore_ascii_case(value) { Ok(()) } else { Err(HOST_DIFFERS) }
    }

    fn body(&self, end_stream: bool) -> Result<BodySize, FieldsError> {
        match (&self.request.method, self.content_length) {
            // RFC 9110 §9.3.6 and §9.3.8: neither has content.
            (Method::Connect | Method::Trace, Some(_)) => Err(BODY_NOT_ALLOWED),
            (Method::Connect, None) => Ok(BodySize::None),
            (Method::Trace, None) if !end_stream => Err(BODY_NOT_ALLOWED),
            // RFC 9113 §8.1.1: the length is that of all DATA together.
            (_, Some(bytes)) if end_stream && bytes > 0 => Err(LENGTH_WITHOUT_DATA),
            (_, Some(bytes)) => Ok(BodySize::Sized(bytes)),
            (_, None) if end_stream => Ok(BodySize::None),
            (_, None) => Ok(BodySize::Unknown),
        }
    }
}

fn method(value: &[u8], limits: &FieldLimits) -> Result<Method, FieldsError> {
    if !is_token(value) {
        return Err(METHOD);
    }
    if value.len() > usize::from(limits.method_bytes_max) {
        return Err(METHOD_TOO_LONG);
    }
    Ok(Method::from_token(value))
}

/// Both schemes are taken: behind a load balancer that ends TLS the scheme of the connection says
/// nothing of that of the request. Others would need another way to the server.
fn check_scheme(value: &[u8]) -> Result<(), FieldsError> {
    if value.eq_ignore_ascii_case(b"http") || value.eq_ignore_ascii_case(b"https") {
        return Ok(());
    }
    // RFC 3986 §3.1
    let is_scheme = value.first().is_some_and(u8::is_ascii_alphabetic)
        && value.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'-' | b'.'));
    Err(if is_scheme { SCHEME_UNKNOWN } else { SCHEME })
}

/// The asterisk is judged when the method is known.
fn check_path(value: &[u8], limits: &FieldLimits) -> Result<(), FieldsError> {
    if value.len() > limits.target_bytes_max as usize {
        return Err(TARGET_TOO_LONG);
    }
    check_bytes(value, false)?;
    if value.starts_with(b"/") || value == b"*" { Ok(()) } else { Err(TARGET_FORM) }
}

fn check_protocol(value: &[u8]) -> Result<(), FieldsError> {
    if value.eq_ignore_ascii_case(WEBSOCKET) {
        return Ok(());
    }
    // RFC 9110 §7.8: a name, and perhaps a version.
    let is_protocol = value.splitn(2, |byte| *byte == b'/').all(is_token);
    Err(if is_protocol { PROTOCOL_UNKNOWN } else { PROTOCOL })
}

/// `application/grpc`, perhaps with a serialisation behind it.
fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((begin, rest)) = content_type.split_at_checked(GRPC.len()) else { return false };
    begin.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';'))
}

const CONNECT_FORM: FieldsError = malformed("connect_form");
const EXPECT: FieldsError = unsupported(Status::ExpectationFailed, "expect_unknown");
const HOSTS: FieldsError = malformed("host_repeated");
const HOST_DIFFERS: FieldsError = malformed("host_differs_from_target");
const HOST_MISSING: FieldsError = malformed("host_missing");
const METHOD: FieldsError = malformed("method_malformed");
const METHOD_MISSING: FieldsError = malformed("method_missing");
const METHOD_TOO_LONG: FieldsError = unsupported(Status::NotImplemented, "method_too_long");
const PATH_MISSING: FieldsError = malformed("path_missing");
const PROTOCOL: FieldsError = malformed("protocol_malformed");
const PROTOCOL_UNKNOWN: FieldsError = unsupported(Status::NotImplemented, "protocol_unknown");
const PROTOCOL_WITHOUT_CONNECT: FieldsError = malformed("protocol_without_connect");
const SCHEME: FieldsError = malformed("scheme_malformed");
const SCHEME_MISSING: FieldsError = malformed("scheme_missing");
const SCHEME_UNKNOWN: FieldsError = unsupported(Status::BadRequest, "scheme_unknown");
const TARGET_FORM: FieldsError = malformed("target_form");
const TARGET_TOO_LONG: FieldsError = unsupported(Status::TargetTooLong, "target_too_long");
