//! Server-sent events: numbered in their order and in the ledger, one every [`EVERY`] until the run
//! is over, then a last one that says how many there were.

use std::time::Duration;

use crate::{client::hex, content, stream::TICK};

/// An event comes so often.
pub(crate) const EVERY: Duration = Duration::from_millis(100);
/// The same in ticks.
pub(crate) const TICKS: u32 = (EVERY.as_millis() / TICK.as_millis()) as u32;
/// The type of such a body.
pub(crate) const CONTENT_TYPE: &str = "text/event-stream";

/// Bytes of an event's content, which stands there as hexadecimal text.
const CONTENT_BYTES: usize = 24;

/// The event at this place of the stream, with its number in the ledger.
pub(crate) fn event(place: u64, number: u64) -> String {
    let mut bytes = Vec::new();
    content::append(number, 0, CONTENT_BYTES, &mut bytes);
    format!("id: {place}\ndata: {number} {}\n\n", hex(&bytes))
}

/// The last event, after so many.
pub(crate) fn last(count: u64) -> String {
    format!("event: end\ndata: {count}\n\n")
}

/// Reads them.
#[derive(Default)]
pub(crate) struct Reader {
    came: Vec<u8>,
    next: u64,
    is_over: bool,
}

/// Something else came than the next event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong;

impl Reader {
    /// Takes bytes; tells the numbers of the whole events in them.
    ///
    /// # Errors
    /// One is missing, was there before or is not what it was.
    pub(crate) fn take(&mut self, bytes: &[u8], numbers: &mut Vec<u64>) -> Result<(), Wrong> {
        self.came.extend_from_slice(bytes);
        while let Some(at) = self.came.windows(2).position(|it| it == b"\n\n") {
            let text: Vec<u8> = self.came.drain(..at + 2).collect();
            let text = String::from_utf8(text).map_err(|_| Wrong)?;
            if self.is_over {
                return Err(Wrong);
            }
            if text == last(self.next) {
                self.is_over = true;
                continue;
            }
            let data = text.split_once("data: ").and_then(|(_, it)| it.split_once(' '));
            let number = data.and_then(|(it, _)| it.parse().ok()).ok_or(Wrong)?;
            if text != event(self.next, number) {
                return Err(Wrong);
            }
            self.next += 1;
            numbers.push(number);
        }
        Ok(())
    }

    /// Whether the last one has come, and nothing after it.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over && self.came.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_missing_or_comes_again_is_wrong() {
        let mut numbers = Vec::new();
        let mut reader = Reader::default();
        let text = event(0, 70) + &event(1, 50) + &last(2);
        for byte in text.as_bytes() {
            reader.take(&[*byte], &mut numbers).unwrap();
        }
        assert_eq!((numbers, reader.is_over()), (vec![70, 50], true));
        for text in [event(1, 7), event(0, 7) + &event(0, 7), last(1), last(0) + &last(0)] {
            assert_eq!(Reader::default().take(text.as_bytes(), &mut Vec::new()), Err(Wrong));
        }
    }
}
