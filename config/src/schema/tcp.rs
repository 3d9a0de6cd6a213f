//! Options of TCP as they are written.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::DurationText;

/// How a peer that is gone without a word is noticed.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Probes on connections on which nothing moves.
    #[serde(default)]
    pub keepalive: Keepalive,
    /// Sent bytes may stay unacknowledged this long (`TCP_USER_TIMEOUT`, tcp(7)), 1ms to 24h. One
    /// shorter than the idle time and all probes together also cuts the probes short. Default:
    /// `90s`, which is idle time and probes together.
    #[serde(default)]
    pub user_timeout: Option<DurationText>,
}

/// Probes of TCP (`SO_KEEPALIVE`, tcp(7)), in whole seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keepalive {
    /// Whether they are sent. Default: true.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Nothing came for so long before the first probe. Default: `60s`.
    #[serde(default)]
    pub idle: Option<DurationText>,
    /// Between probes. Default: `10s`.
    #[serde(default)]
    pub interval: Option<DurationText>,
    /// Probes without an answer after which the connection is given up. Default: 3.
    #[serde(default)]
    #[schemars(range(min = 1, max = 127))]
    pub probes: Option<NonZeroU32>,
}
