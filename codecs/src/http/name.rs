//! Field names that mean something to the connection, and the alphabet of tokens.

/// A field that is not passed on as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Expect`
    Expect,
    /// `Host`
    Host,
    /// `TE`
    Te,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// Speaks of this connection only and is dropped: `Keep-Alive`, `Proxy-Connection`,
    /// `HTTP2-Settings`.
    HopByHop,
    /// `Content_Length` and the like: software that takes fields for environment variables
    /// (RFC 3875 §4.1.18) reads it as the one that it imitates.
    Disguised,
}

/// What is known of a name; `None` for a field that is passed on.
pub(crate) fn known(name: &[u8]) -> Option<Known> {
    // By length first: a field that is passed on is seldom compared with more than one name.
    match name.len() {
        2 => named(name, b"te", Known::Te),
        4 => named(name, b"host", Known::Host),
        6 => named(name, b"expect", Known::Expect),
        7 => named(name, b"upgrade", Known::Upgrade),
        10 => named(name, b"connection", Known::Connection)
            .or_else(|| named(name, b"keep-alive", Known::HopByHop)),
        14 => framing(name, b"content-length", Known::ContentLength)
            .or_else(|| named(name, b"http2-settings", Known::HopByHop)),
        16 => named(name, b"proxy-connection", Known::HopByHop),
        17 => framing(name, b"transfer-encoding", Known::TransferEncoding),
        _ => None,
    }
}

/// Whether a field is a codec's own to write: one of this name that came from elsewhere would
/// contradict the framing.
pub(crate) fn is_written_by_codec(name: &[u8]) -> bool {
    known(name).is_some_and(|it| it != Known::Expect)
}

/// Whether a field may not stand in trailers: what frames, routes, authenticates or describes the
/// content comes too late there (RFC 9110 §6.5.1).
pub(crate) fn is_refused_in_trailers(name: &[u8]) -> bool {
    const REFUSED: &[&[u8]] = &[
        b"authorization",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"proxy-authorization",
        b"set-cookie",
        b"trailer",
    ];
    known(name).is_some() || REFUSED.iter().any(|it| name.eq_ignore_ascii_case(it))
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
#[expect(clippy::indexing_slicing, reason = "a byte is a place in a table of 256")]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

/// Whether these bytes are a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether these bytes are a token without upper case: a field name of HTTP/2 (RFC 9113 §8.2.1).
pub(crate) fn is_lower_token(bytes: &[u8]) -> bool {
    let is_lower = |byte: &u8| is_token_byte(*byte) && !byte.is_ascii_uppercase();
    !bytes.is_empty() && bytes.iter().all(is_lower)
}

fn named(name: &[u8], lower: &[u8], known: Known) -> Option<Known> {
    name.eq_ignore_ascii_case(lower).then_some(known)
}

fn framing(name: &[u8], lower: &[u8], known: Known) -> Option<Known> {
    if name.eq_ignore_ascii_case(lower) {
        return Some(known);
    }
    let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.iter().map(dashed).eq(lower.iter().copied()).then_some(Known::Disguised)
}

/// A table: each name that is written is checked byte by byte.
#[expect(clippy::indexing_slicing, reason = "made by the compiler, which stops at a bad index")]
static TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        let is_token = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        table[byte as usize] = is_token;
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(known(b"HOST"), Some(Known::Host));
        assert_eq!(known(b"keep-ALIVE"), Some(Known::HopByHop));
        assert_eq!(known(b"transfer-Encoding"), Some(Known::TransferEncoding));
        assert_eq!(known(b"Cookie"), None);
        assert_eq!(known(b"X-Request-Id"), None);
    }

    #[test]
    fn an_underscore_does_not_hide_framing() {
        assert_eq!(known(b"Content_Length"), Some(Known::Disguised));
        assert_eq!(known(b"TRANSFER_ENCODING"), Some(Known::Disguised));
        assert_eq!(known(b"content_type"), None);
    }
}
