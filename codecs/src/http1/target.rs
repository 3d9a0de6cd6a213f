//! Request targets (RFC 9112 §3.2).

use crate::http::target::{Port, check_authority, check_bytes};
use crate::{Error, Fault, Method, Status};

use super::limits::Limits;

/// A request target, split into what a request head names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The authority that the target names; `None` for a target that names none.
    pub(super) authority: Option<&'a [u8]>,
    /// Whether a slash is to be put before the path: the absolute form may leave it out.
    pub(super) lacks_slash: bool,
    /// Path and query.
    pub(super) path: &'a [u8],
}

/// Reads the target of a request with this method.
///
/// # Errors
/// It is too long, has bytes that no target has, or a form that the method does not take.
pub(super) fn read<'a>(
    method: &Method,
    target: &'a [u8],
    limits: &Limits,
) -> Result<Target<'a>, Error> {
    if target.len() > limits.target_bytes_max as usize {
        return Err(TOO_LONG);
    }
    check_bytes(target, limits.lenient.target_above_ascii)?;
    // RFC 9112 §3.2.3: CONNECT takes the authority form, and nothing else does.
    if *method == Method::Connect {
        check_authority(target, Port::Required)?;
        return Ok(Target { authority: Some(target), lacks_slash: false, path: b"" });
    }
    if target.starts_with(b"/") {
        return Ok(Target { authority: None, lacks_slash: false, path: target });
    }
    // RFC 9112 §3.2.4: the asterisk form is for OPTIONS alone.
    if target == b"*" && *method == Method::Options {
        return Ok(Target { authority: None, lacks_slash: false, path: target });
    }
    absolute(method, target)
}

/// RFC 9112 §3.2.2. Both schemes are taken: behind a load balancer that ends TLS the scheme of the
/// connection says nothing of that of the request.
fn absolute<'a>(method: &Method, target: &'a [u8]) -> Result<Target<'a>, Error> {
    let after = strip_scheme(target, b"http://").or_else(|| strip_scheme(target, b"https://"));
    let after = after.ok_or(FORM)?;
    let split = after.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(after.len());
    let (authority, path) = after.split_at(split);
    check_authority(authority, Port::Optional)?;
    // RFC 9112 §3.2.4: OPTIONS on a target without a path means the server as a whole.
    if path.is_empty() && *method == Method::Options {
        return Ok(Target { authority: Some(authority), lacks_slash: false, path: b"*" });
    }
    Ok(Target { authority: Some(authority), lacks_slash: !path.starts_with(b"/"), path })
}

fn strip_scheme<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = target.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

const TOO_LONG: Error = Error::new(Fault::Limit, Status::TargetTooLong, "target_too_long");
const FORM: Error = Error::new(Fault::Malformed, Status::BadRequest, "target_form");

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, target: &str) -> Result<(Option<&str>, bool, &str), &'static str> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        read(&method, target.as_bytes(), &Limits::default())
            .map(|it| (it.authority.map(text), it.lacks_slash, text(it.path)))
            .map_err(|error| error.reason)
    }

    #[test]
    fn each_form_is_for_its_methods() {
        assert_eq!(of(Method::Get, "/a?b"), Ok((None, false, "/a?b")));
        assert_eq!(of(Method::Get, "http://a:1/p?q"), Ok((Some("a:1"), false, "/p?q")));
        assert_eq!(of(Method::Get, "HTTPS://a"), Ok((Some("a"), true, "")));
        assert_eq!(of(Method::Get, "http://a?q"), Ok((Some("a"), true, "?q")));
        assert_eq!(of(Method::Options, "http://a"), Ok((Some("a"), false, "*")));
        assert_eq!(of(Method::Options, "*"), Ok((None, false, "*")));
        assert_eq!(of(Method::Connect, "a:443"), Ok((Some("a:443"), false, "")));
        for (method, target) in [
            (Method::Get, "*"),
            (Method::Get, "a:443"),
            (Method::Get, "a/b"),
            (Method::Get, "ftp://a/"),
            (Method::Options, "a:443"),
        ] {
            assert_eq!(of(method, target), Err("target_form"), "{target}");
        }
        for target in ["/", "*", "http://a:1/", "a", "a:", "a:65536", "u@a:1"] {
            assert_eq!(of(Method::Connect, target), Err("target_authority"), "{target}");
        }
    }

    #[test]
    fn bytes_that_are_read_in_two_ways_are_refused() {
        for target in ["/a#b", "/a\\b", "/\u{e9}", "/\u{7f}", "/a\"", "/<", "\\\\a"] {
            assert_eq!(of(Method::Get, target), Err("target_bytes"), "{target}");
        }
        assert_eq!(of(Method::Get, "/?a\\b"), Ok((None, false, "/?a\\b")));
        assert_eq!(of(Method::Get, "/%2e%2e/%2F"), Ok((None, false, "/%2e%2e/%2F")));
    }
}
