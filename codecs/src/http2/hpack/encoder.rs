//! Writing of header blocks (RFC 7541 §6): which field is written in which way.
//!
//! | field | representation |
//! |-------|----------------|
//! | an entry of the static table | its index |
//! | a secret, by its name or as the sender marked it | a literal that never enters a table |
//! | an entry of the dynamic table | its index |
//! | one whose name has few values | a literal that enters the table |
//! | one that came a short while ago | a literal that enters the table |
//! | one whose name came a short while ago and has no index | a literal that enters the table: the name will cost one byte |
//! | any other | a literal that does not enter the table |
//!
//! So what comes once, which is most of what differs at all, pushes out nothing that is of use.

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};

use super::dynamic_table::{DynamicTable, ENTRY_BYTES, Name};
use super::index::{Hashes, Index};
use super::memory::Memory;
use super::names::{Habit, Known, known};
use super::{TABLE_BYTES_DEFAULT, huffman, integer, static_table};

/// The most that an encoder's table has, whatever the peer allows. 4 KiB, the default of the
/// protocol: a larger one costs every connection memory, and gains little.
pub const ENCODER_TABLE_BYTES_MAX: u32 = 4096;

/// The sending side of one connection.
///
/// Freezes between blocks. Holds a table of at most [`ENCODER_TABLE_BYTES_MAX`], at most some four
/// times that in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Frozen")]
pub struct Encoder {
    table: DynamicTable,
    /// What the table's size becomes with the next block.
    table_bytes_max: u32,
    /// The smallest size that the peer asked for since the last block.
    smallest_bytes_max: Option<u32>,
    memory: Memory,
    #[serde(skip)]
    index: Index,
    /// A name in lower case.
    #[serde(skip)]
    lower: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder for a peer that has not sent SETTINGS yet: it keeps a table of
    /// [`TABLE_BYTES_DEFAULT`].
    pub fn new() -> Self {
        let table_bytes_max = TABLE_BYTES_DEFAULT.min(ENCODER_TABLE_BYTES_MAX);
        Self {
            table: DynamicTable::new(table_bytes_max),
            table_bytes_max,
            smallest_bytes_max: None,
            memory: Memory::new(),
            index: Index::default(),
            lower: Vec::new(),
        }
    }

    /// The peer said SETTINGS_HEADER_TABLE_SIZE. The next block tells it what the table's size
    /// becomes, and the smallest one that it asked for in between (RFC 7541 §4.2).
    pub fn set_table_bytes_max(&mut self, peer: u32) {
        self.table_bytes_max = peer.min(ENCODER_TABLE_BYTES_MAX);
        let smallest = self.smallest_bytes_max.unwrap_or(u32::MAX);
        self.smallest_bytes_max = Some(smallest.min(self.table_bytes_max));
    }

    /// Begins a block: writes the changes of the table's size that are due.
    pub fn begin(&mut self, out: &mut BytesMut) {
        let smallest = self.smallest_bytes_max.take();
        if let Some(bytes_max) = smallest.filter(|it| *it < self.table.bytes_max()) {
            self.resize(bytes_max, out);
        }
        if self.table_bytes_max != self.table.bytes_max() {
            self.resize(self.table_bytes_max, out);
        }
    }

    /// Writes a field. The name may have any case and is written in lower case (RFC 9113 §8.2).
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut BytesMut) {
        self.with_field(name, value, |encoder, field| {
            let habit = field.known.map_or(Habit::Unknown, |it| it.habit);
            encoder.write(field, habit, out);
        });
    }

    /// Writes a field that never enters any table on the way: one that came marked as such
    /// ([`super::Found::is_never_indexed`]; RFC 7541 §6.2.3), or that is otherwise known to be a
    /// secret. Those with usual names are known to [`Encoder::field`] as well.
    pub fn secret(&mut self, name: &[u8], value: &[u8], out: &mut BytesMut) {
        self.with_field(name, value, |encoder, field| {
            encoder.write(field, Habit::Secret, out);
        });
    }

    fn resize(&mut self, bytes_max: u32, out: &mut BytesMut) {
        integer::write(out, SIZE_UPDATE.kind, SIZE_UPDATE.mask, bytes_max);
        self.table.set_bytes_max(bytes_max);
        self.index.keep(self.table.len());
    }

    /// Does something with a field whose name is in lower case. One that comes so, as all do from
    /// HTTP/2, is not copied.
    fn with_field(&mut self, name: &[u8], value: &[u8], work: impl FnOnce(&mut Self, Field<'_>)) {
        let field = Field::new(name, value);
        // Names that are known are in lower case.
        if field.known.is_some() || !name.iter().any(u8::is_ascii_uppercase) {
            return work(self, field);
        }
        let mut lower = std::mem::take(&mut self.lower);
        lower.clear();
        lower.extend(name.iter().map(u8::to_ascii_lowercase));
        work(self, Field::new(&lower, value));
        if lower.capacity() <= LOWER_BYTES_KEPT {
            self.lower = lower;
        }
    }

    fn write(&mut self, field: Field<'_>, habit: Habit, out: &mut BytesMut) {
        if habit != Habit::Secret
            && let Some(index) = self.field_index(&field)
        {
            return integer::write(out, INDEXED.kind, INDEXED.mask, index);
        }
        let name_index = self.name_index(&field);
        let enters = self.fits(&field) && self.is_worth(&field, habit, name_index.is_some());
        let kind = match (habit, enters) {
            (Habit::Secret, _) => NEVER_INDEXED,
            (Habit::Steady | Habit::Passing | Habit::Unknown, true) => INCREMENTAL,
            (Habit::Steady | Habit::Passing | Habit::Unknown, false) => NOT_INDEXED,
        };
        let Field { name, value, hashes, known: _ } = field;
        out.reserve(LITERAL_BYTES.saturating_add(name.len()).saturating_add(value.len()));
        integer::write(out, kind.kind, kind.mask, name_index.unwrap_or(0));
        if name_index.is_none() {
            write_string(name, out);
        }
        write_string(value, out);
        if enters {
            self.table.insert(Name::Bytes(name), value);
            self.index.push(hashes, self.table.len());
        }
    }

    /// The entry that is this field.
    fn field_index(&self, field: &Field<'_>) -> Option<u32> {
        if let Some(index) = field.known.and_then(|it| it.field_index(field.value)) {
            return Some(index);
        }
        self.index.field(&self.table, field.hashes.field, (field.name, field.value)).map(dynamic)
    }

    /// An entry that has this name.
    fn name_index(&self, field: &Field<'_>) -> Option<u32> {
        if let Some(index) = field.known.and_then(Known::name_index) {
            return Some(index);
        }
        self.index.name(&self.table, field.hashes.name, field.name).map(dynamic)
    }

    /// Whether an entry is likely to be used again; see the module. Remembers the field.
    fn is_worth(&mut self, field: &Field<'_>, habit: Habit, has_name_index: bool) -> bool {
        match habit {
            Habit::Secret => false,
            Habit::Steady => true,
            Habit::Passing => !has_name_index && self.memory.sees(field.hashes.name),
            Habit::Unknown => {
                // Both are to be remembered.
                let name_came = !has_name_index && self.memory.sees(field.hashes.name);
                self.memory.sees(field.hashes.field) || name_came
            }
        }
    }

    /// Whether a field may enter the table: it pushes out no more than half of it.
    fn fits(&self, field: &Field<'_>) -> bool {
        let bytes = field.name.len().saturating_add(field.value.len());
        let bytes = bytes.saturating_add(ENTRY_BYTES as usize);
        bytes <= self.table.bytes_max() as usize / 2
    }
}

/// A field that is written.
struct Field<'a> {
    /// In lower case.
    name: &'a [u8],
    value: &'a [u8],
    hashes: Hashes,
    /// What is known of the name.
    known: Option<&'static Known>,
}

impl<'a> Field<'a> {
    fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        let hashes = Hashes::of(name, value);
        Self { name, value, hashes, known: known(name, hashes.name) }
    }
}

/// The index of an entry of the dynamic table in the one space of both tables.
const fn dynamic(index: u32) -> u32 {
    index.saturating_add(static_table::LEN + 1)
}

/// A string, in Huffman code where that is shorter (RFC 7541 §5.2).
fn write_string(text: &[u8], out: &mut BytesMut) {
    // A list of fields has less than 4 GiB.
    let Ok(bytes) = u32::try_from(text.len()) else { return out.put_u8(0) };
    match u32::try_from(huffman::encoded_bytes(text)) {
        Ok(encoded_bytes) if encoded_bytes < bytes => {
            integer::write(out, 0x80, 0x7f, encoded_bytes);
            huffman::encode(text, encoded_bytes as usize, out);
        }
        Ok(_) | Err(_) => {
            integer::write(out, 0, 0x7f, bytes);
            out.put_slice(text);
        }
    }
}

/// The first bits of a representation, and the prefix that they leave.
#[derive(Clone, Copy)]
struct Kind {
    kind: u8,
    mask: u8,
}

const INDEXED: Kind = Kind { kind: 0x80, mask: 0x7f };
const INCREMENTAL: Kind = Kind { kind: 0x40, mask: 0x3f };
const SIZE_UPDATE: Kind = Kind { kind: 0x20, mask: 0x1f };
const NEVER_INDEXED: Kind = Kind { kind: 0x10, mask: 0x0f };
const NOT_INDEXED: Kind = Kind { kind: 0x00, mask: 0x0f };

/// What a literal has at most beside its strings.
const LITERAL_BYTES: usize = 18;

/// Memory for a name in lower case that is kept.
const LOWER_BYTES_KEPT: usize = 256;

/// The members that are frozen, in their order.
#[derive(Deserialize)]
struct Frozen {
    table: DynamicTable,
    table_bytes_max: u32,
    smallest_bytes_max: Option<u32>,
    memory: Memory,
}

impl TryFrom<Frozen> for Encoder {
    type Error = &'static str;

    fn try_from(frozen: Frozen) -> Result<Self, Self::Error> {
        let Frozen { table, table_bytes_max, smallest_bytes_max, memory } = frozen;
        let is_sound = table.bytes_max().max(table_bytes_max) <= ENCODER_TABLE_BYTES_MAX
            && smallest_bytes_max.is_none_or(|it| it <= table_bytes_max);
        if !is_sound {
            return Err("an encoder whose sizes do not add up");
        }
        let index = Index::of(&table);
        Ok(Self { table, table_bytes_max, smallest_bytes_max, memory, index, lower: Vec::new() })
    }
}
