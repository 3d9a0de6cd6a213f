//! When the backend is to answer a request: said in the request itself, so that it is known which
//! requests are in flight at a swap.

use std::time::Duration;

/// When a request is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// At once.
    Now,
    /// After so many milliseconds.
    After(u32),
    /// When the swap of this number, counted from 0, is over: the request is in flight through all
    /// of it.
    PastSwap(u32),
}

/// Bytes of an [`Ask`] in a Bolt request.
pub(crate) const ASK_BYTES: usize = 5;

impl Ask {
    /// By how much the answer is late on demand; `None` when that is not known beforehand.
    pub(crate) fn delay(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::After(ms) => Some(Duration::from_millis(ms.into())),
            Self::PastSwap(_) => None,
        }
    }

    /// As it stands in a path.
    pub(crate) fn to_text(self) -> String {
        let (tag, value) = self.parts();
        format!("{}{value}", char::from(tag))
    }

    /// Reads it from a path.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (tag, value) = text.split_at_checked(1)?;
        Self::from_parts(tag.as_bytes()[0], value.parse().ok()?)
    }

    /// As it stands in the content of a Bolt request.
    pub(crate) fn to_bytes(self) -> [u8; ASK_BYTES] {
        let (tag, value) = self.parts();
        let mut bytes = [tag; ASK_BYTES];
        bytes[1..].copy_from_slice(&value.to_be_bytes());
        bytes
    }

    /// Reads it from the content of a Bolt request.
    pub(crate) fn from_bytes(bytes: [u8; ASK_BYTES]) -> Option<Self> {
        let [tag, value @ ..] = bytes;
        Self::from_parts(tag, u32::from_be_bytes(value))
    }

    fn parts(self) -> (u8, u32) {
        match self {
            Self::Now => (b'n', 0),
            Self::After(ms) => (b'a', ms),
            Self::PastSwap(swap) => (b's', swap),
        }
    }

    fn from_parts(tag: u8, value: u32) -> Option<Self> {
        match tag {
            b'n' => Some(Self::Now),
            b'a' => Some(Self::After(value)),
            b's' => Some(Self::PastSwap(value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_reads_as_it_was_written() {
        for ask in [Ask::Now, Ask::After(25), Ask::PastSwap(3)] {
            assert_eq!(Ask::from_text(&ask.to_text()), Some(ask));
            assert_eq!(Ask::from_bytes(ask.to_bytes()), Some(ask));
        }
        assert_eq!(Ask::from_text(""), None);
        assert_eq!(Ask::from_text("x1"), None);
    }
}
