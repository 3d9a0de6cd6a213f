//! The one rule by which paths are brought to one spelling, before they are matched and forwarded.
//!
//! Two spellings of one path must not find two routes, and the endpoint must not read another path
//! than the one that was matched. So (RFC 3986 §6.2.2), in the path alone, never in the query:
//!
//! 1. A percent-escape of an unreserved character (`A-Z a-z 0-9 - . _ ~`) is decoded.
//! 2. Every other escape stays, its hexadecimal digits in upper case.
//! 3. The segments `.` and `..` are removed with what they take back; nothing lies above `/`.
//!
//! What endpoints read in different ways is refused, unless its named switch
//! ([`PathNormalization`]) lets it pass: `%2F` and `%5C` (kept as they are), `%00` (kept as it is),
//! and a `%` that is no escape (goes on as `%25`, so that it can never become half of one). Control
//! characters, spaces, `\` and `#` are always refused: none may stand in a path (RFC 3986 §3.3).
//! Empty segments stay: `//` is another path than `/`.
//!
//! The result of the rule is a path that the rule does not change.

use hangu_config::{Ambiguous, PathNormalization};

/// What the rule did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalized {
    /// Nothing: the path is as it should be.
    Unchanged,
    /// The path, with its query, is now in the scratch.
    Changed,
}

/// Why a path is refused; the answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not begin with `/`.
    #[error("path_not_absolute")]
    NotAbsolute,
    /// It has a byte that cannot stand in a path.
    #[error("path_invalid_byte")]
    InvalidByte,
    /// It has `%2F` or `%5C`.
    #[error("path_escaped_slash")]
    EscapedSlash,
    /// It has `%00`.
    #[error("path_escaped_nul")]
    EscapedNul,
    /// It has a `%` that two hexadecimal digits do not follow.
    #[error("path_malformed_escape")]
    MalformedEscape,
}

impl Refusal {
    /// Label of the counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path_not_absolute",
            Self::InvalidByte => "path_invalid_byte",
            Self::EscapedSlash => "path_escaped_slash",
            Self::EscapedNul => "path_escaped_nul",
            Self::MalformedEscape => "path_malformed_escape",
        }
    }
}

/// Normalises a path with its query. When it gives [`Normalized::Changed`], the new path is in
/// `scratch`; swap the two. `*` (OPTIONS) and the empty path (CONNECT) are left as they are.
///
/// # Errors
/// See [`Refusal`].
pub fn normalize(
    target: &[u8],
    rule: &PathNormalization,
    scratch: &mut Vec<u8>,
) -> Result<Normalized, Refusal> {
    if !rule.enabled || target.is_empty() || target == b"*" {
        return Ok(Normalized::Unchanged);
    }
    if target.first() != Some(&b'/') {
        return Err(Refusal::NotAbsolute);
    }
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    if is_normal(path)? {
        return Ok(Normalized::Unchanged);
    }
    scratch.clear();
    decode(path, rule, scratch)?;
    remove_dot_segments(scratch);
    scratch.extend_from_slice(query);
    Ok(if scratch == target { Normalized::Unchanged } else { Normalized::Changed })
}

/// The path without query and fragment: what matches look at.
pub fn basis(target: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
    target.get(..end).unwrap_or(target)
}

/// Whether there is surely nothing to do: no escape, and no segment that begins with a dot.
fn is_normal(path: &[u8]) -> Result<bool, Refusal> {
    let (mut is_normal, mut before) = (true, 0);
    for byte in path {
        match CLASS[usize::from(*byte)] {
            Class::Plain => {}
            Class::Dot => is_normal &= before != b'/',
            Class::Escape => is_normal = false,
            Class::Invalid => return Err(Refusal::InvalidByte),
        }
        before = *byte;
    }
    Ok(is_normal)
}

fn decode(path: &[u8], rule: &PathNormalization, decoded: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let (plain, escape) = rest.split_at(at);
        decoded.extend_from_slice(plain);
        let Some(byte) = read_escape(escape) else {
            refuse_unless_kept(rule.malformed_escapes, Refusal::MalformedEscape)?;
            decoded.extend_from_slice(b"%25");
            rest = escape.get(1..).unwrap_or_default();
            continue;
        };
        match byte {
            b'/' | b'\\' => refuse_unless_kept(rule.escaped_slashes, Refusal::EscapedSlash)?,
            0 => refuse_unless_kept(rule.escaped_nul, Refusal::EscapedNul)?,
            _ => {}
        }
        if is_unreserved(byte) {
            decoded.push(byte);
        } else {
            decoded.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
        }
        rest = escape.get(3..).unwrap_or_default();
    }
    decoded.extend_from_slice(rest);
    Ok(())
}

fn refuse_unless_kept(what: Ambiguous, refusal: Refusal) -> Result<(), Refusal> {
    match what {
        Ambiguous::Keep => Ok(()),
        Ambiguous::Refuse => Err(refusal),
    }
}

fn read_escape(escape: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*escape.get(at)?).to_digit(16);
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

const fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }
}

/// RFC 3986 §5.2.4 for a path that begins with `/`, in place.
fn remove_dot_segments(path: &mut Vec<u8>) {
    let (mut read, mut written) = (0, 0);
    while read < path.len() {
        // `read` stands at the `/` before a segment.
        let after = path.get(read + 1..).unwrap_or_default();
        let end = memchr::memchr(b'/', after).map_or(path.len(), |it| read + 1 + it);
        let is_dots = match path.get(read + 1..end) {
            Some(b".") => true,
            Some(b"..") => {
                let before = path.get(..written).unwrap_or_default();
                written = memchr::memrchr(b'/', before).unwrap_or(0);
                true
            }
            _ => false,
        };
        if !is_dots {
            path.copy_within(read..end, written);
            written += end - read;
        } else if end == path.len() {
            // `/a/.` is `/a/`: the slash before the last segment stays.
            path.copy_within(read..=read, written);
            written += 1;
        }
        read = end;
    }
    path.truncate(written);
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a byte is in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself.
    Plain,
    /// May be a dot segment.
    Dot,
    /// Begins an escape.
    Escape,
    /// Cannot stand there, not even by mistake of a lenient client.
    Invalid,
}

const CLASS: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte <= b' ' as usize {
        classes[byte] = Class::Invalid;
        byte += 1;
    }
    classes[0x7f] = Class::Invalid;
    classes[b'\\' as usize] = Class::Invalid;
    classes[b'#' as usize] = Class::Invalid;
    classes[b'.' as usize] = Class::Dot;
    classes[b'%' as usize] = Class::Escape;
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENIENT: PathNormalization = PathNormalization {
        enabled: true,
        escaped_slashes: Ambiguous::Keep,
        escaped_nul: Ambiguous::Keep,
        malformed_escapes: Ambiguous::Keep,
    };

    fn run(target: &str, rule: &PathNormalization) -> Result<String, Refusal> {
        let mut scratch = b"left from before".to_vec();
        let result = normalize(target.as_bytes(), rule, &mut scratch)?;
        let path = match result {
            Normalized::Unchanged => target.as_bytes(),
            Normalized::Changed => &scratch,
        };
        Ok(String::from_utf8(path.to_vec()).unwrap())
    }

    #[test]
    fn dot_segments_are_removed_as_in_rfc_3986() {
        let rule = PathNormalization::default();
        for (target, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/.", "/"),
            ("/..", "/"),
            ("/./", "/"),
            ("/../../a", "/a"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a//../b", "/a/b"),
            ("//", "//"),
            ("//..", "/"),
            ("/a//b", "/a//b"),
            ("/.a/..b/c./...", "/.a/..b/c./..."),
            ("/a/../?q=/../x", "/?q=/../x"),
            ("/.?x", "/?x"),
        ] {
            assert_eq!(run(target, &rule).unwrap(), expected, "{target}");
        }
    }

    #[test]
    fn escapes_of_unreserved_characters_are_decoded_before_dots_are_removed() {
        let rule = PathNormalization::default();
        for (target, expected) in [
            ("/%61%2D%2e%5F%7e%30", "/a-._~0"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/%e4%bd%a0", "/%E4%BD%A0"),
            ("/%3f%23%25", "/%3F%23%25"),
            ("/%252e%252e/", "/%252e%252e/"),
            ("/a%20b?%61", "/a%20b?%61"),
        ] {
            assert_eq!(run(target, &rule).unwrap(), expected, "{target}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_unless_its_switch_is_on() {
        let strict = PathNormalization::default();
        for (target, refusal, kept) in [
            ("/a%2fb", Refusal::EscapedSlash, "/a%2Fb"),
            ("/a%2F..%2fb", Refusal::EscapedSlash, "/a%2F..%2Fb"),
            ("/a%5cb", Refusal::EscapedSlash, "/a%5Cb"),
            ("/a%00", Refusal::EscapedNul, "/a%00"),
            ("/100%", Refusal::MalformedEscape, "/100%25"),
            ("/a%2", Refusal::MalformedEscape, "/a%252"),
            ("/a%zz", Refusal::MalformedEscape, "/a%25zz"),
            ("/%%32f", Refusal::MalformedEscape, "/%252f"),
            ("/%+1", Refusal::MalformedEscape, "/%25+1"),
        ] {
            assert_eq!(run(target, &strict), Err(refusal), "{target}");
            assert_eq!(run(target, &LENIENT).unwrap(), kept, "{target}");
        }
    }

    #[test]
    fn bytes_that_no_path_has_are_always_refused() {
        for target in ["/a\\b", "/a b", "/a\tb", "/a\0", "/a\x7f", "/a#b", "/\r\n"] {
            assert_eq!(run(target, &LENIENT), Err(Refusal::InvalidByte), "{target:?}");
        }
        assert_eq!(run("a/b", &LENIENT), Err(Refusal::NotAbsolute));
        assert_eq!(run("?a", &LENIENT), Err(Refusal::NotAbsolute));
    }

    #[test]
    fn a_path_as_it_should_be_is_not_copied() {
        let rule = PathNormalization::default();
        let mut scratch = Vec::new();
        for target in ["/", "*", "", "/a/b.html?x=%zz", "/.well-known/a", "/%20", "/a..b"] {
            let result = normalize(target.as_bytes(), &rule, &mut scratch);
            assert_eq!(result, Ok(Normalized::Unchanged), "{target}");
        }
        let off = PathNormalization { enabled: false, ..rule };
        assert_eq!(run("/a/../%2f%", &off).unwrap(), "/a/../%2f%");
    }

    #[test]
    fn the_rule_does_not_change_its_own_result_and_lets_no_dots_through() {
        // All strings of up to six of these letters.
        let letters: [&str; 8] = ["/", ".", "%", "2", "e", "f", "%2e", "a"];
        for number in 0..8usize.pow(6) {
            let mut target = String::from("/");
            let mut left = number;
            while left > 0 {
                target.push_str(letters[left % 8]);
                left /= 8;
            }
            let once = run(&target, &LENIENT).unwrap();
            assert_eq!(run(&once, &LENIENT).unwrap(), once, "{target}");
            assert!(once.starts_with('/'), "{target}: {once}");
            assert!(!once.split('/').any(|it| it == "." || it == ".."), "{target}: {once}");
        }
    }
}
