//! The protocols: the one place to add one.

use serde::{Deserialize, Serialize};

use crate::{Codec, Frozen, Role, RpcHead, RpcPayload, ThawError, Time, bolt, http1, http2, rpc};

/// A protocol: how it is recognised, how its connections are pooled, and how its codecs are made.
pub struct Protocol {
    /// Name in configuration, metrics and snapshots, `lower_snake_case`.
    pub name: &'static str,
    /// Whether the first bytes of a connection are of this protocol.
    pub sniff: fn(&[u8]) -> Sniff,
    /// How upstream connections are shared.
    pub pooling: Pooling,
    /// Whether its requests are matched by service and method (RPC) or by host and path (HTTP).
    pub kind: Kind,
    /// A codec for a new connection.
    pub codec: fn(Role, &Limits, Time) -> Box<dyn Codec>,
    /// Versions of snapshots that it thaws, in order; it freezes in the last of them.
    pub snapshots: &'static [u16],
    /// A codec from a snapshot; use [`Protocol::thaw`], which checks name and version.
    pub thaw: Thaw,
    /// RPC protocols: reads a frame's head again from its bytes.
    pub rpc_head: Option<RpcHeadReader>,
}

/// See [`Protocol::thaw`].
pub type Thaw = fn(&Frozen, &Limits, Time) -> Result<Box<dyn Codec>, ThawError>;

/// See [`Protocol::rpc_head`].
pub type RpcHeadReader = for<'a> fn(&'a [u8], RpcPayload<'a>) -> Option<RpcHead<'a>>;

/// All protocols, in the order in which first bytes are tried.
pub static PROTOCOLS: &[&Protocol] = &[&bolt::PROTOCOL, &http2::PROTOCOL, &http1::PROTOCOL];

impl Protocol {
    /// The protocol of that name.
    pub fn find(name: &str) -> Option<&'static Protocol> {
        PROTOCOLS.iter().copied().find(|it| it.name == name)
    }

    /// The codec that a snapshot holds.
    ///
    /// # Errors
    /// See [`ThawError`].
    pub fn thaw(frozen: &Frozen, limits: &Limits, now: Time) -> Result<Box<dyn Codec>, ThawError> {
        let protocol = Self::find(&frozen.protocol).ok_or(ThawError::UnknownProtocol)?;
        (protocol.thaw)(frozen, limits, now)
    }

    /// The protocol among `allowed` that the first bytes of a connection belong to.
    ///
    /// Safe against a slow first byte: as long as one of the allowed protocols may still turn out
    /// to be right and none has, the answer is [`Sniffed::More`]. At [`SNIFF_BYTES_MAX`] bytes
    /// the answer is final.
    pub fn sniff(allowed: &[&'static Protocol], first: &[u8]) -> Sniffed {
        let first = first.get(..SNIFF_BYTES_MAX).unwrap_or(first);
        let mut undecided = false;
        for protocol in allowed {
            match (protocol.sniff)(first) {
                Sniff::Yes => return Sniffed::Protocol(protocol),
                Sniff::More => undecided = true,
                Sniff::No => {}
            }
        }
        if undecided && first.len() < SNIFF_BYTES_MAX { Sniffed::More } else { Sniffed::None }
    }
}

impl std::fmt::Debug for Protocol {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// Protocols are the same when their names are: each stands once in [`PROTOCOLS`].
impl PartialEq for Protocol {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Protocol {}

/// First bytes that are looked at before a connection is given up as of no known protocol. The
/// longest signature in use is the HTTP/2 preface, 24 bytes.
pub const SNIFF_BYTES_MAX: usize = 24;

/// What one protocol says of the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// They are of this protocol.
    Yes,
    /// They are not.
    No,
    /// More bytes are needed.
    More,
}

/// What the first bytes of a connection turned out to be.
#[derive(Clone, Copy, Debug)]
pub enum Sniffed {
    /// This protocol.
    Protocol(&'static Protocol),
    /// More bytes are needed.
    More,
    /// None of those allowed.
    None,
}

/// How upstream connections are shared between streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// One stream at a time.
    Exclusive,
    /// Many streams at once.
    Multiplexed,
}

/// By what the requests of a protocol are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Host, path, method and fields.
    Http,
    /// Service, method and fields.
    Rpc,
}

/// Every limit of every codec, with its default. A codec takes those that concern it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Limits of HTTP/1.1.
    pub http1: http1::Limits,
    /// Limits of HTTP/2.
    pub http2: http2::Limits,
    /// Limits of multiplexed RPC protocols.
    pub rpc: rpc::Limits,
}
