//! Texts with a meaning of their own: durations, sizes, addresses, patterns, regular expressions.
//!
//! Each reader gives the value or a [`Fault`]: what is wrong and, where it can be known, what to
//! write instead.

use std::{net::SocketAddr, time::Duration};

use hangu_codecs::Method;

use crate::{NamePattern, Statuses, regex};

/// Why a text does not have the meaning that its place asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// What to write instead; a text to copy where there is one.
    pub instead: Option<String>,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, instead: &str) -> Self {
        Self { what: what.into(), instead: Some(instead.to_owned()) }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.instead {
            Some(instead) => write!(formatter, "{}; write {instead}", self.what),
            None => formatter.write_str(&self.what),
        }
    }
}

impl std::error::Error for Fault {}

/// Reads a duration: one or more whole numbers, each with its unit (`250ms`, `1m30s`). Not zero,
/// at most ten years.
///
/// # Errors
/// See [`Fault`].
pub fn read_duration(text: &str) -> Result<Duration, Fault> {
    let wrong = |what: &str| {
        Fault::new(format!("`{text}` {what}"), "a duration such as `250ms`, `3s` or `1m30s`")
    };
    let mut micros: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, after) = split_where(rest, |it| !it.is_ascii_digit());
        let (unit, after) = split_where(after, |it| it.is_ascii_digit());
        let count: u64 = digits.parse().map_err(|_| wrong("is no duration"))?;
        if unit.is_empty() {
            return Err(Fault::new(
                format!("the duration `{text}` has no unit"),
                &format!("`{text}s` for seconds or `{text}ms` for milliseconds"),
            ));
        }
        let Some((_, unit_micros)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(wrong("has a unit other than us, ms, s, m, h and d"));
        };
        micros = micros.saturating_add(u128::from(count).saturating_mul(*unit_micros));
        rest = after;
    }
    if text.is_empty() {
        return Err(wrong("is no duration"));
    }
    if micros == 0 {
        return Err(Fault::new(
            format!("the duration `{text}` is zero"),
            "one above zero, or leave the key out",
        ));
    }
    match u64::try_from(micros) {
        Ok(micros) if micros <= DURATION_MICROS_MAX => Ok(Duration::from_micros(micros)),
        _ => Err(Fault::new(
            format!("the duration `{text}` is longer than ten years"),
            "a shorter one",
        )),
    }
}

/// A duration as [`read_duration`] reads it.
pub fn write_duration(duration: Duration) -> String {
    let mut micros = duration.as_micros();
    let mut text = String::new();
    for (unit, unit_micros) in DURATION_UNITS {
        let count = micros / unit_micros;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            micros %= unit_micros;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads a size: a whole number of bytes, or one with a unit (`64KiB`, `8MiB`, `1GiB`).
///
/// # Errors
/// See [`Fault`].
pub fn read_size(text: &str) -> Result<u64, Fault> {
    let (digits, unit) = split_where(text, |it| !it.is_ascii_digit());
    let wrong = |what: &str| {
        Fault::new(format!("`{text}` {what}"), "a size such as `64KiB`, `8MiB` or `65536`")
    };
    let count: u64 = digits.parse().map_err(|_| wrong("is no size"))?;
    let Some((_, unit_bytes)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(wrong("has a unit other than B, KiB, MiB and GiB"));
    };
    count.checked_mul(*unit_bytes).ok_or_else(|| wrong("is too large"))
}

/// A size as [`read_size`] reads it, in the largest unit that keeps it whole.
pub fn write_size(bytes: u64) -> String {
    let unit =
        SIZE_UNITS.iter().rev().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match unit {
        Some((name, unit_bytes)) if *unit_bytes > 1 => format!("{}{name}", bytes / unit_bytes),
        _ => bytes.to_string(),
    }
}

/// Reads an IP address with a port. Names are not resolved.
///
/// # Errors
/// See [`Fault`].
pub fn read_address(text: &str) -> Result<SocketAddr, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let example = "an IP address with a port, such as `127.0.0.1:8080` or `[::1]:8080`";
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err(Fault::new(format!("the address `{text}` has no port"), example));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if host.is_empty() && port.parse::<u16>().is_ok() {
        let instead = format!(
            "`0.0.0.0:{port}` for all IPv4 addresses, `[::]:{port}` for all, `127.0.0.1:{port}` for this machine alone"
        );
        return Err(Fault::new(format!("the address `{text}` names no host"), &instead));
    }
    if host == "localhost" && port.parse::<u16>().is_ok() {
        return Err(Fault::new("names are not resolved", &format!("`127.0.0.1:{port}`")));
    }
    if port.parse::<u16>().is_ok()
        && host.contains(|it: char| it.is_ascii_alphabetic())
        && !host.contains(':')
    {
        return Err(Fault::new(
            format!("names are not resolved: `{host}` is no IP address"),
            example,
        ));
    }
    Err(Fault::new(format!("`{text}` is no address"), example))
}

/// Reads one status of HTTP (`204`) or a range of them (`200-299`), within 100 to 599.
///
/// # Errors
/// See [`Fault`].
pub fn read_statuses(text: &str) -> Result<Statuses, Fault> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |it: &str| match it.parse::<u16>() {
        Ok(number) if it.len() == 3 && (100..=599).contains(&number) => Some(number),
        Ok(_) | Err(_) => None,
    };
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok(Statuses { first, last }),
        _ => Err(Fault::new(
            format!("`{text}` is no status of HTTP"),
            "one of 100 to 599, or a range such as `200-299`",
        )),
    }
}

/// Reads a regular expression, as [`regex::compile`] takes it.
///
/// # Errors
/// See [`Fault`].
pub fn read_regex(text: &str) -> Result<(), Fault> {
    match regex::compile(text, regex::Case::Kept) {
        Ok(_) => Ok(()),
        Err(what) => {
            Err(Fault { what: format!("the regular expression is wrong: {what}"), instead: None })
        }
    }
}

/// Reads an HTTP method: a token (RFC 9110 §9.1).
///
/// # Errors
/// See [`Fault`].
pub fn read_method(text: &str) -> Result<Method, Fault> {
    if !is_token(text) {
        return Err(Fault::new(format!("`{text}` is no method"), "a method such as `GET`"));
    }
    let upper = text.to_ascii_uppercase();
    let known = !matches!(Method::from_token(upper.as_bytes()), Method::Other(_));
    if known && upper != text {
        return Err(Fault::new("methods are compared with case", &format!("`{upper}`")));
    }
    Ok(Method::from_token(text.as_bytes()))
}

/// Reads a domain or service: a name, `*X`, `X*` or `*`.
///
/// # Errors
/// See [`Fault`].
pub fn read_pattern(text: &str) -> Result<NamePattern, Fault> {
    let example = "a name, `*.example.com`, `example.*` or `*`";
    if text.is_empty() {
        return Err(Fault::new("the pattern is empty", example));
    }
    if text.bytes().any(|it| it <= b' ' || it == 0x7f) {
        return Err(Fault::new(
            format!("`{}` has a space or control character", text.escape_debug()),
            example,
        ));
    }
    if text == "*" {
        return Ok(NamePattern::Any);
    }
    let pattern = match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(end), _) => NamePattern::Suffix(end.to_owned()),
        (None, Some(start)) => NamePattern::Prefix(start.to_owned()),
        (None, None) => NamePattern::Exact(text.to_owned()),
    };
    let (NamePattern::Exact(fixed) | NamePattern::Suffix(fixed) | NamePattern::Prefix(fixed)) =
        &pattern
    else {
        return Ok(pattern);
    };
    if fixed.contains('*') {
        return Err(Fault::new(
            format!("`{text}` has a `*` that is not its first or its last character, or two"),
            example,
        ));
    }
    Ok(pattern)
}

/// Whether a text is a token (RFC 9110 §5.6.2): a field name or a method.
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it))
}

fn split_where(text: &str, at: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(at).unwrap_or(text.len()))
}

/// Units of durations with their microseconds, largest first.
const DURATION_UNITS: [(&str, u128); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Ten years: longer is a slip of the pen, and sums of durations never overflow.
const DURATION_MICROS_MAX: u64 = 10 * 365 * 86_400 * 1_000_000;

/// Units of sizes with their bytes, smallest first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        for text in ["250ms", "3s", "1m30s", "1h", "10d2h3m4s5ms6us"] {
            assert_eq!(write_duration(read_duration(text).unwrap()), text);
        }
        assert_eq!(read_duration("90s").unwrap(), Duration::from_secs(90));
    }

    #[test]
    fn durations_without_unit_or_sense_are_refused() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5 s",
            "0s",
            "5sec",
            "99999999999999999999s",
            "4000d",
            "1s5",
        ] {
            assert!(read_duration(text).is_err(), "{text}");
        }
        assert!(read_duration("5").unwrap_err().to_string().contains("`5s`"));
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in
            [("0", 0), ("65537", 65_537), ("64KiB", 65_536), ("3MiB", 3 << 20), ("2GiB", 2 << 30)]
        {
            assert_eq!(read_size(text).unwrap(), bytes);
            assert_eq!(write_size(bytes), text);
        }
        assert_eq!(read_size("12B").unwrap(), 12);
        for text in ["", "KiB", "1KB", "1k", "-1", "1.5MiB", "99999999999GiB", "1 KiB"] {
            assert!(read_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_need_an_ip_and_a_port() {
        assert!(read_address("[::1]:80").is_ok());
        for (text, hint) in [
            ("127.0.0.1", "has no port"),
            (":80", "`0.0.0.0:80`"),
            ("localhost:80", "`127.0.0.1:80`"),
            ("users.internal:80", "`users.internal` is no IP address"),
            ("1.2.3.4:99999", "is no address"),
            ("", "is no address"),
        ] {
            let fault = read_address(text).unwrap_err().to_string();
            assert!(fault.contains(hint), "{text}: {fault}");
        }
    }

    #[test]
    fn statuses_are_one_or_a_range() {
        assert_eq!(read_statuses("204").unwrap(), Statuses { first: 204, last: 204 });
        assert_eq!(read_statuses("200-299").unwrap(), Statuses { first: 200, last: 299 });
        for text in ["", "20", "99", "600", "299-200", "200-", "-200", "200-299-300", "+20", "2xx"]
        {
            assert!(read_statuses(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_have_one_star_at_one_end() {
        assert_eq!(read_pattern("*").unwrap(), NamePattern::Any);
        assert_eq!(read_pattern("*.a.b").unwrap(), NamePattern::Suffix(".a.b".to_owned()));
        assert_eq!(read_pattern("a.*").unwrap(), NamePattern::Prefix("a.".to_owned()));
        for text in ["", "**", "*a*", "a*b", "a b"] {
            assert!(read_pattern(text).is_err(), "{text}");
        }
    }
}
