//! Reading of header blocks (RFC 7541 §3 and §6).
//!
//! | first byte | representation |
//! |------------|----------------|
//! | `1xxxxxxx` | an entry of a table (§6.1) |
//! | `01xxxxxx` | a literal that enters the table (§6.2.1) |
//! | `001xxxxx` | the table's new size (§6.3) |
//! | `0001xxxx` | a literal that never enters any table (§6.2.3) |
//! | `0000xxxx` | a literal that does not enter the table (§6.2.2) |

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::dynamic_table::{DynamicTable, Name};
use super::{Error, TABLE_BYTES_CEILING, TABLE_BYTES_DEFAULT, huffman, integer, static_table};

/// The receiving side of one connection.
///
/// Freezes between blocks. What it holds is its table, at most some four times the size that was
/// announced, and the memory for one literal as long as that is small.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Frozen")]
pub struct Decoder {
    table: DynamicTable,
    /// What the peer may set its table to.
    table_bytes_max: u32,
    /// The smallest size that the peer was told since its last block, when its table is larger: its
    /// next block begins with one that is no larger.
    owed_bytes_max: Option<u32>,
    /// The decoded strings of one literal.
    #[serde(skip)]
    scratch: Vec<u8>,
}

/// A field as it stands in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The name as the peer wrote it: any bytes.
    pub name: &'a [u8],
    /// The value as the peer wrote it: any bytes.
    pub value: &'a [u8],
    /// The sender asks that no table on the way ever holds the field (RFC 7541 §7.1.3): it is to
    /// be passed on by [`super::Encoder::secret`].
    pub is_never_indexed: bool,
}

impl Decoder {
    /// A decoder for a peer that is told `table_bytes_max` as SETTINGS_HEADER_TABLE_SIZE, at most
    /// [`TABLE_BYTES_CEILING`].
    ///
    /// The peer begins with [`TABLE_BYTES_DEFAULT`] and may go up to what it is told. Less than
    /// that it need not hold to before it acknowledged the SETTINGS: see
    /// [`Decoder::set_table_bytes_max`].
    pub fn new(table_bytes_max: u32) -> Self {
        Self {
            table: DynamicTable::new(TABLE_BYTES_DEFAULT),
            table_bytes_max: table_bytes_max.clamp(TABLE_BYTES_DEFAULT, TABLE_BYTES_CEILING),
            owed_bytes_max: None,
            scratch: Vec::new(),
        }
    }

    /// The peer has acknowledged SETTINGS with this SETTINGS_HEADER_TABLE_SIZE, at most
    /// [`TABLE_BYTES_CEILING`]. Where it makes the table smaller, the next block must begin with
    /// the peer's change of it (RFC 7541 §4.2), and only then entries go.
    pub fn set_table_bytes_max(&mut self, table_bytes_max: u32) {
        self.table_bytes_max = table_bytes_max.min(TABLE_BYTES_CEILING);
        if self.table_bytes_max < self.table.bytes_max() {
            let owed = self.owed_bytes_max.unwrap_or(u32::MAX);
            self.owed_bytes_max = Some(owed.min(self.table_bytes_max));
        }
    }

    /// Reads one whole block and calls `each` for every field in order.
    ///
    /// The block is always read to its end, so that the table stays in step: whoever has enough
    /// stops keeping fields. A field that is an entry of a table costs no copy.
    ///
    /// # Errors
    /// See [`Error`]. The connection cannot go on; `each` was called for the fields before.
    pub fn decode(&mut self, block: &[u8], mut each: impl FnMut(Found<'_>)) -> Result<(), Error> {
        let mut input = block;
        self.size_updates(&mut input)?;
        while let Some(first) = input.first() {
            match first {
                0x80.. => self.indexed(&mut input, &mut each)?,
                0x40..=0x7f => self.literal(&mut input, Literal::Incremental, &mut each)?,
                // RFC 7541 §4.2: a change stands at the beginning of a block.
                0x20..=0x3f => return Err(Error::SizeUpdateLate),
                0x10..=0x1f => self.literal(&mut input, Literal::NeverIndexed, &mut each)?,
                0x00..=0x0f => self.literal(&mut input, Literal::NotIndexed, &mut each)?,
            }
        }
        if self.scratch.capacity() > SCRATCH_BYTES_KEPT {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    /// The changes of size at the beginning of a block.
    fn size_updates(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        while let Some(0x20..=0x3f) = input.first() {
            let bytes_max = integer::read(input, 0x1f)?;
            // RFC 7541 §6.3: a size above the limit is a decoding error.
            if bytes_max > self.table_bytes_max {
                return Err(Error::SizeUpdateTooLarge);
            }
            self.owed_bytes_max = self.owed_bytes_max.filter(|owed| bytes_max > *owed);
            self.table.set_bytes_max(bytes_max);
        }
        if self.owed_bytes_max.is_some() {
            return Err(Error::SizeUpdateMissing);
        }
        Ok(())
    }

    fn indexed(&self, input: &mut &[u8], each: &mut impl FnMut(Found<'_>)) -> Result<(), Error> {
        let index = integer::read(input, 0x7f)?;
        let (name, value) = entry(&self.table, index).ok_or(Error::Index)?;
        each(Found { name, value, is_never_indexed: false });
        Ok(())
    }

    fn literal(
        &mut self,
        input: &mut &[u8],
        literal: Literal,
        each: &mut impl FnMut(Found<'_>),
    ) -> Result<(), Error> {
        self.scratch.clear();
        let index = integer::read(input, literal.mask())?;
        let name = match index {
            0 => Some(string(input, &mut self.scratch)?),
            _ => None,
        };
        let value = string(input, &mut self.scratch)?;
        let value = value.resolve(&self.scratch);
        let name_bytes = match &name {
            Some(text) => text.resolve(&self.scratch),
            None => entry(&self.table, index).ok_or(Error::Index)?.0,
        };
        let is_never_indexed = literal == Literal::NeverIndexed;
        each(Found { name: name_bytes, value, is_never_indexed });
        if literal != Literal::Incremental {
            return Ok(());
        }
        let name = match (&name, index.checked_sub(FIRST_DYNAMIC)) {
            (Some(text), _) => Name::Bytes(text.resolve(&self.scratch)),
            (None, Some(index)) => Name::Entry(index),
            (None, None) => Name::Bytes(static_table::get(index).ok_or(Error::Index)?.0),
        };
        self.table.insert(name, value);
        Ok(())
    }
}

/// The entry of an index in the one space of both tables (RFC 7541 §2.3.3).
fn entry(table: &DynamicTable, index: u32) -> Option<(&[u8], &[u8])> {
    match index.checked_sub(FIRST_DYNAMIC) {
        Some(index) => table.get(index),
        None => static_table::get(index),
    }
}

/// The three kinds of literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    Incremental,
    NotIndexed,
    NeverIndexed,
}

impl Literal {
    /// The prefix of the index of the name.
    const fn mask(self) -> u8 {
        match self {
            Self::Incremental => 0x3f,
            Self::NotIndexed | Self::NeverIndexed => 0x0f,
        }
    }
}

/// A string of a literal: where it stands.
enum Text<'a> {
    Block(&'a [u8]),
    Scratch(Range<usize>),
}

impl<'a> Text<'a> {
    fn resolve<'s>(&self, scratch: &'s [u8]) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            Self::Block(bytes) => bytes,
            Self::Scratch(range) => scratch.get(range.clone()).unwrap_or_default(),
        }
    }
}

/// Takes a string off the front (RFC 7541 §5.2); one in Huffman code is decoded into `scratch`.
fn string<'a>(input: &mut &'a [u8], scratch: &mut Vec<u8>) -> Result<Text<'a>, Error> {
    let is_huffman = input.first().is_some_and(|first| first & 0x80 != 0);
    let bytes = integer::read(input, 0x7f)? as usize;
    let (text, rest) = input.split_at_checked(bytes).ok_or(Error::Truncated)?;
    *input = rest;
    if !is_huffman {
        return Ok(Text::Block(text));
    }
    let start = scratch.len();
    huffman::decode(text, scratch)?;
    Ok(Text::Scratch(start..scratch.len()))
}

/// The first index of the dynamic table.
const FIRST_DYNAMIC: u32 = static_table::LEN + 1;

/// Memory for strings that is kept between blocks. 1 KiB: the longest fields of usual requests.
const SCRATCH_BYTES_KEPT: usize = 1024;

/// The members that are frozen, in their order.
#[derive(Deserialize)]
struct Frozen {
    table: DynamicTable,
    table_bytes_max: u32,
    owed_bytes_max: Option<u32>,
}

impl TryFrom<Frozen> for Decoder {
    type Error = &'static str;

    fn try_from(frozen: Frozen) -> Result<Self, Self::Error> {
        let Frozen { table, table_bytes_max, owed_bytes_max } = frozen;
        let is_sound = table_bytes_max <= TABLE_BYTES_CEILING
            && match owed_bytes_max {
                Some(owed) => owed <= table_bytes_max && owed < table.bytes_max(),
                None => table.bytes_max() <= table_bytes_max,
            };
        if !is_sound {
            return Err("a decoder whose sizes do not add up");
        }
        Ok(Self { table, table_bytes_max, owed_bytes_max, scratch: Vec::new() })
    }
}
