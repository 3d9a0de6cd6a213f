//! The blocks inside an upgraded connection: a number, and the bytes that belong to it.

use crate::content;

/// What the connection is upgraded to.
pub(crate) const PROTOCOL: &str = "echo";

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 500;

/// Bytes of its number.
pub(crate) const NUMBER_BYTES: usize = 8;

/// The block of this number.
pub(crate) fn block(number: u64) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    content::append(number, 0, BLOCK_BYTES - NUMBER_BYTES, &mut bytes);
    bytes
}
