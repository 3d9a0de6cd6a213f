//! HTTP/1.1 (RFC 9112), both roles.

use serde::{Deserialize, Serialize};

/// Limits of HTTP/1.1, each with its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {}
