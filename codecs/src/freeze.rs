//! A codec's state as a versioned value.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Visitor},
};

use crate::{Output, PROTOCOLS};

/// The whole state of a codec, to be thawed by [`crate::Protocol::thaw`] anywhere, by any build
/// that reads this protocol and version. Contains what the codec has taken and not yet given
/// away; bytes that were never given to it travel beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// [`crate::Protocol::name`].
    #[serde(deserialize_with = "read_name")]
    pub protocol: Cow<'static, str>,
    /// Version of the layout of `state`, counted per protocol from 1.
    pub version: u16,
    /// The state: postcard of the codec's own struct of that version.
    pub state: Bytes,
    /// The output that is pending, in order. It stands beside the state because it may be large:
    /// here it is shared with the codec, not copied.
    pub output: Vec<Bytes>,
}

impl Frozen {
    /// Freezes a state struct of a protocol, with the output that is pending.
    pub fn new<S: Serialize>(
        protocol: &'static str,
        version: u16,
        state: &S,
        output: &Output,
    ) -> Self {
        // Most states fit here, and cost one allocation then.
        let mut room = [0; STATE_BYTES];
        let state = match postcard::to_slice(state, &mut room) {
            Ok(bytes) => Bytes::copy_from_slice(bytes),
            // Plain structs of integers, bytes and enums serialise without a failure path.
            Err(_) => postcard::to_stdvec(state).unwrap_or_default().into(),
        };
        Self { protocol: Cow::Borrowed(protocol), version, state, output: output.share() }
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

/// A state of an idle connection has some ten bytes, one with a hundred streams some thousand.
const STATE_BYTES: usize = 256;

/// The name of a protocol; one that this build knows costs no allocation.
fn read_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, str>, D::Error> {
    struct Name;
    impl Visitor<'_> for Name {
        type Value = Cow<'static, str>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("the name of a protocol")
        }

        fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
            let known = PROTOCOLS.iter().find(|it| it.name == name);
            Ok(known.map_or_else(|| Cow::Owned(name.to_owned()), |it| Cow::Borrowed(it.name)))
        }
    }
    deserializer.deserialize_str(Name)
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
