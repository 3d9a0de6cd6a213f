//! What concerns the process as a whole.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Serialize, Serializer};

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Admin {
    /// On a TCP address.
    Tcp {
        /// IP address and port.
        address: SocketAddr,
        /// The address may be one that other machines reach.
        allow_remote: bool,
        /// What a request that changes something must show, 16 to 1024 visible ASCII characters;
        /// `None` for a random one that is made at the start.
        token: Option<Secret>,
        /// The file that keeps a random token, absolute; `None` for the usual place. Never together
        /// with `token`.
        token_path: Option<PathBuf>,
    },
    /// On a Unix socket.
    Unix {
        /// Absolute path, at most 107 bytes.
        path: PathBuf,
    },
}

/// What is counted beyond the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// Counts of RPC requests.
    pub rpc: RpcMetrics,
}

/// Counts of RPC requests by service, method, caller application and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RpcMetrics {
    /// Whether they are counted.
    pub enabled: bool,
    /// Distinct combinations of service, method and caller that are counted, 1 to 1,000,000; what comes later is `_other`.
    pub series_max: u32,
}

/// A text that is never shown: not in logs, not by the admin API.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one who needs it to do its work.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

const HIDDEN: &str = "<hidden>";
