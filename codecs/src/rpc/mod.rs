//! The engine of every multiplexed RPC protocol.

use serde::{Deserialize, Serialize};

/// Limits of multiplexed RPC protocols, each with its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {}
