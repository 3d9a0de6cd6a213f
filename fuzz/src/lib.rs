//! What fuzz targets share: how a target's input is split into choices and bytes.

/// Takes choices (where to cut, when to freeze) off the end of a fuzz input, so that a mutation of
/// a choice leaves the bytes at the front as they are. Gives zeros when nothing is left.
#[derive(Debug)]
pub struct Choices<'a> {
    left: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Splits an input into its bytes and its choices: the last byte says how many bytes before it
    /// are choices.
    pub fn split(input: &'a [u8]) -> (&'a [u8], Self) {
        let Some((&count, rest)) = input.split_last() else { return (&[], Self { left: &[] }) };
        let at = rest.len().saturating_sub(usize::from(count));
        let (bytes, left) = rest.split_at(at);
        (bytes, Self { left })
    }

    /// The next choice, 0 to 255.
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, left)) = self.left.split_last() else { return 0 };
        self.left = left;
        byte
    }

    /// The next choice, from 0 to `max`, both included.
    pub fn up_to(&mut self, max: usize) -> usize {
        let wide = usize::from(self.byte()) << 8 | usize::from(self.byte());
        wide % max.saturating_add(1)
    }

    /// Whether nothing but zeros will follow.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }
}
