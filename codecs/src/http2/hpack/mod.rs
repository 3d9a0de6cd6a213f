//! HPACK (RFC 7541): the field sections of HTTP/2 in few bytes.
//!
//! Owns both directions of one connection: a [`Decoder`] for what the peer sends, an [`Encoder`]
//! for what we send. Never decides what a field means, and keeps nothing of a field but what the
//! peers agreed to keep, in tables whose size is bounded.
//!
//! Every block must go through, in the order of the wire, even one of a stream that is refused:
//! the tables of both peers change with each. What a receiver does not want it does not keep.
//!
//! | file | RFC 7541 |
//! |------|----------|
//! | `integer.rs` | §5.1, integers with a prefix |
//! | `huffman.rs` | §5.2 and appendix B, the code of strings |
//! | `static_table.rs` | appendix A |
//! | `dynamic_table.rs` | §2.3.2 and §4, what both peers remember |
//! | `decoder.rs` | §3 and §6, reading |
//! | `encoder.rs` | §6, writing; `names.rs`, `memory.rs`, `index.rs` and `hash.rs` say which representation |

mod decoder;
mod dynamic_table;
mod encoder;
mod hash;
mod huffman;
mod index;
mod integer;
mod memory;
mod names;
mod static_table;

pub use decoder::{Decoder, Found};
pub use encoder::{ENCODER_TABLE_BYTES_MAX, Encoder};

/// Bytes of a table until SETTINGS say otherwise (RFC 9113 §6.5.2).
pub const TABLE_BYTES_DEFAULT: u32 = 4096;

/// The most that a decoder's table may be allowed. 1 MiB: some 250 times the default, which no
/// real traffic fills; every connection may take that much.
pub const TABLE_BYTES_CEILING: u32 = 1024 * 1024;

/// A block that cannot be read. The table is out of step with the peer's, so the connection ends
/// with `COMPRESSION_ERROR` (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// The block ends within a representation, or a string is longer than what is left of it.
    #[error("the block ends within a representation")]
    Truncated,
    /// An integer does not fit into 32 bits, or is written in more than six bytes.
    #[error("an integer is too large or too long")]
    Integer,
    /// No table has an entry of that index (RFC 7541 §2.3.3, §6.1).
    #[error("no table has an entry of that index")]
    Index,
    /// The end-of-string symbol stands within a string (RFC 7541 §5.2).
    #[error("a string holds the end-of-string symbol")]
    HuffmanEnd,
    /// What fills the last byte of a string is longer than seven bits or not all ones (RFC 7541
    /// §5.2).
    #[error("a string ends in bits that are no padding")]
    HuffmanPadding,
    /// A change of the table's size stands after a field (RFC 7541 §4.2).
    #[error("a change of the table's size stands after a field")]
    SizeUpdateLate,
    /// The peer sets a size above what it was allowed (RFC 7541 §6.3).
    #[error("the table would become larger than allowed")]
    SizeUpdateTooLarge,
    /// The peer was told to make its table smaller and has not done so (RFC 7541 §4.2).
    #[error("the table has not become as small as it had to")]
    SizeUpdateMissing,
}

impl Error {
    /// The label of the counter.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "hpack_truncated",
            Self::Integer => "hpack_integer",
            Self::Index => "hpack_index",
            Self::HuffmanEnd => "hpack_huffman_end",
            Self::HuffmanPadding => "hpack_huffman_padding",
            Self::SizeUpdateLate => "hpack_size_update_late",
            Self::SizeUpdateTooLarge => "hpack_size_update_too_large",
            Self::SizeUpdateMissing => "hpack_size_update_missing",
        }
    }
}
