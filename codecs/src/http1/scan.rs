//! Where a head or a trailer section ends, however it is cut.

use memchr::memchr;
use serde::{Deserialize, Serialize};

/// How far the lines at the front of the input were looked at, so that no byte is looked at
/// twice: a head that comes byte by byte costs what it costs at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scan {
    /// Bytes that hold no line end that was not yet seen.
    at: u32,
    /// Where the current line begins.
    line: u32,
}

/// What bounds a section of lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of all lines, the empty one at the end included.
    pub(super) section_bytes_max: usize,
    /// Bytes of the first line, its end not included.
    pub(super) first_line_bytes_max: usize,
}

/// Why a section of lines cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A line feed without a carriage return before it. RFC 9112 §2.2 lets a recipient take it for
    /// a line end; others do not, so it is refused.
    BareLineFeed,
    /// A limit was passed within the first line.
    FirstLineTooLong,
    /// The section is larger than its limit.
    TooLong,
}

impl Scan {
    /// Bytes up to and including the first empty line; `None` when it is not there yet.
    ///
    /// What is wrong is found in the order of the bytes, so that the answer does not depend on
    /// where the input was cut.
    pub(super) fn section(
        &mut self,
        input: &[u8],
        bounds: Bounds,
    ) -> Result<Option<usize>, Broken> {
        loop {
            let (at, line) = (self.at as usize, self.line as usize);
            let found = memchr(b'\n', input.get(at..).unwrap_or_default());
            let seen = found.map_or(input.len(), |bytes| at.saturating_add(bytes));
            let first_line_max = bounds.first_line_bytes_max.saturating_add(1);
            if line == 0 && seen > first_line_max.min(bounds.section_bytes_max) {
                return Err(Broken::FirstLineTooLong);
            }
            if seen > bounds.section_bytes_max {
                return Err(Broken::TooLong);
            }
            if found.is_none() {
                self.at = narrow(input.len());
                return Ok(None);
            }
            let next = seen.saturating_add(1);
            if seen == line || input.get(seen.wrapping_sub(1)) != Some(&b'\r') {
                return Err(Broken::BareLineFeed);
            }
            if next > bounds.section_bytes_max {
                return Err(if line == 0 { Broken::FirstLineTooLong } else { Broken::TooLong });
            }
            self.at = narrow(next);
            self.line = narrow(next);
            if seen.saturating_sub(line) == 1 {
                *self = Self::default();
                return Ok(Some(next));
            }
        }
    }

    /// Whether a section has begun and not ended.
    pub(super) fn has_begun(&self) -> bool {
        self.at > 0
    }
}

/// Section limits are 32 bits wide, so what was looked at always fits.
fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Bounds = Bounds { section_bytes_max: 1000, first_line_bytes_max: 900 };

    #[test]
    fn the_end_is_found_at_every_cut() {
        let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 0..input.len() {
            let mut scan = Scan::default();
            let first = scan.section(&input[..cut], WIDE);
            if cut < 27 {
                assert_eq!(first, Ok(None), "{cut}");
                assert_eq!(scan.section(input, WIDE), Ok(Some(27)), "{cut}");
            } else {
                assert_eq!(first, Ok(Some(27)), "{cut}");
            }
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused() {
        for input in [&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], b"a\r\n\n", b"\n", b"a\r\nb\n\r\n"] {
            assert_eq!(Scan::default().section(input, WIDE), Err(Broken::BareLineFeed));
        }
    }

    #[test]
    fn limits_hold_to_the_byte_at_every_cut() {
        let input = b"12345\r\n1234\r\n\r\n";
        let case = |section_bytes_max, first_line_bytes_max| {
            let bounds = Bounds { section_bytes_max, first_line_bytes_max };
            let whole = Scan::default().section(input, bounds);
            let mut scan = Scan::default();
            let trickled = (0..=input.len())
                .map(|cut| scan.section(&input[..cut], bounds))
                .find(|it| *it != Ok(None))
                .unwrap_or(Ok(None));
            assert_eq!(whole, trickled);
            whole
        };
        assert_eq!(case(15, 5), Ok(Some(15)));
        assert_eq!(case(14, 5), Err(Broken::TooLong));
        assert_eq!(case(15, 4), Err(Broken::FirstLineTooLong));
        assert_eq!(case(6, 5), Err(Broken::FirstLineTooLong));
        assert_eq!(case(7, 5), Err(Broken::TooLong));
    }
}
