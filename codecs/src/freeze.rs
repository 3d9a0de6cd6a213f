//! A codec's state as a versioned value.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The whole state of a codec, to be thawed by [`crate::Protocol::thaw`] anywhere, by any build
/// that reads this protocol and version. Contains what the codec has taken and not yet given
/// away; bytes that were never given to it travel beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// [`crate::Protocol::name`].
    pub protocol: String,
    /// Version of the layout of `state`, counted per protocol from 1.
    pub version: u16,
    /// The state: postcard of the codec's own struct of that version.
    pub state: Bytes,
}

impl Frozen {
    /// Freezes a state struct of a protocol.
    pub fn new<S: Serialize>(protocol: &str, version: u16, state: &S) -> Self {
        // Plain structs of integers, bytes and enums serialise without a failure path.
        let state = postcard::to_stdvec(state).unwrap_or_default().into();
        Self { protocol: protocol.to_owned(), version, state }
    }

    /// Reads the state back.
    ///
    /// # Errors
    /// [`ThawError::Damaged`] when the bytes are no such state.
    pub fn read<S: DeserializeOwned>(&self) -> Result<S, ThawError> {
        postcard::from_bytes(&self.state).map_err(|_| ThawError::Damaged)
    }

    /// The snapshot as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// A snapshot from bytes.
    ///
    /// # Errors
    /// [`ThawError::Damaged`] when the bytes are no snapshot.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ThawError> {
        postcard::from_bytes(bytes).map_err(|_| ThawError::Damaged)
    }
}

/// Why a snapshot could not be thawed. The connection then stays where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThawError {
    /// This build has no codec of that name.
    #[error("no such protocol in this build")]
    UnknownProtocol,
    /// This build does not read that version of the layout.
    #[error("this build does not read that version of the snapshot")]
    UnknownVersion,
    /// The bytes are not what they say.
    #[error("the snapshot is damaged")]
    Damaged,
}
