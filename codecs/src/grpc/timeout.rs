//! `grpc-timeout`: how long the caller waits (gRPC over HTTP/2, "Timeout").

use std::time::Duration;

/// The value of `grpc-timeout`: one to eight digits and a unit (`H`, `M`, `S`, `m`, `u`, `n`).
/// `None` when it is anything else. Zero is taken for a deadline that has passed, as peers write
/// it then.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=DIGITS_MAX).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |number, it| number * 10 + u64::from(it - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A value of `grpc-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutText {
    bytes: [u8; DIGITS_MAX + 1],
    length: usize,
}

impl TimeoutText {
    /// The most exact text of a duration that says no more than that, but for one of less than a
    /// nanosecond: none says that no time is left. Ends at 99,999,999 hours.
    pub fn new(duration: Duration) -> Self {
        let nanos = duration.as_nanos().max(1);
        let units: [(u128, u8); 6] = [
            (1, b'n'),
            (1_000, b'u'),
            (1_000_000, b'm'),
            (1_000_000_000, b'S'),
            (60_000_000_000, b'M'),
            (3_600_000_000_000, b'H'),
        ];
        let fits = |(size, unit): &(u128, u8)| {
            Some(nanos / size).filter(|it| *it <= NUMBER_MAX).map(|it| (it, *unit))
        };
        let (number, unit) = units.iter().find_map(fits).unwrap_or((NUMBER_MAX, b'H'));
        let mut text = itoa::Buffer::new();
        let digits = text.format(number).as_bytes();
        let mut bytes = [0; DIGITS_MAX + 1];
        let said = digits.iter().chain([&unit]);
        bytes.iter_mut().zip(said).for_each(|(to, from)| *to = *from);
        Self { bytes, length: digits.len().saturating_add(1) }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

const DIGITS_MAX: usize = 8;
const NUMBER_MAX: u128 = 99_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(duration: Duration) -> String {
        String::from_utf8(TimeoutText::new(duration).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn every_unit_is_read() {
        for (value, duration) in [
            (&b"1H"[..], Duration::from_secs(3600)),
            (b"2M", Duration::from_secs(120)),
            (b"3S", Duration::from_secs(3)),
            (b"4m", Duration::from_millis(4)),
            (b"5u", Duration::from_micros(5)),
            (b"6n", Duration::from_nanos(6)),
            (b"0n", Duration::ZERO),
            (b"00000001S", Duration::from_secs(1)),
            (b"99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse_timeout(value), Some(duration), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn anything_else_is_no_timeout() {
        for value in [
            &b""[..],
            b"1",
            b"S",
            b"-1S",
            b"+1S",
            b" 1S",
            b"1S ",
            b"1x",
            b"1s",
            b"1h",
            b"1.5S",
            b"123456789n",
            b"1SS",
            b"\xb2S",
            b"1\0",
        ] {
            assert_eq!(parse_timeout(value), None, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn the_most_exact_unit_is_written() {
        assert_eq!(text(Duration::ZERO), "1n");
        assert_eq!(text(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(text(Duration::from_nanos(100_000_999)), "100000u");
        assert_eq!(text(Duration::from_secs(3)), "3000000u");
        assert_eq!(text(Duration::from_secs(100)), "100000m");
        assert_eq!(text(Duration::from_secs(100_000)), "100000S");
        assert_eq!(text(Duration::from_secs(100_000_000)), "1666666M");
        assert_eq!(text(Duration::from_secs(6_000_000_000)), "1666666H");
        assert_eq!(text(Duration::MAX), "99999999H");
    }

    #[test]
    fn what_is_written_is_read_as_no_more_and_hardly_less() {
        let mut nanos = 1_u64;
        while nanos < u64::MAX / 3 {
            let duration = Duration::from_nanos(nanos);
            let read = parse_timeout(TimeoutText::new(duration).as_bytes()).unwrap();
            assert!(read <= duration && duration - read <= duration / 100_000, "{duration:?}");
            nanos = nanos * 3 + 1;
        }
    }
}
