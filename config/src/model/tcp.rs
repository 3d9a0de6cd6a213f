//! Options of TCP.

use std::time::Duration;

use serde::Serialize;

/// How a peer that is gone without a word is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tcp {
    /// Probes on connections on which nothing moves; `None` sends none.
    pub keepalive: Option<Keepalive>,
    /// Sent bytes may stay unacknowledged this long (`TCP_USER_TIMEOUT`); 1 ms to 24 h.
    #[serde(serialize_with = "super::duration")]
    pub user_timeout: Duration,
}

/// Probes of TCP (`SO_KEEPALIVE`, tcp(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Keepalive {
    /// Nothing came for so long before the first probe; whole seconds, 1 to 32767.
    #[serde(serialize_with = "super::duration")]
    pub idle: Duration,
    /// Between probes; whole seconds, 1 to 32767.
    #[serde(serialize_with = "super::duration")]
    pub interval: Duration,
    /// Probes without an answer after which the connection is given up; 1 to 127.
    pub probes: u32,
}

impl Default for Tcp {
    /// A peer that is gone is noticed after 90 s, whether something was sent to it or not.
    fn default() -> Self {
        let keepalive = Keepalive::default();
        let user_timeout = keepalive.idle + keepalive.interval * keepalive.probes;
        Self { keepalive: Some(keepalive), user_timeout }
    }
}

impl Default for Keepalive {
    /// One small packet a minute for a connection that nobody uses, and half a minute for a network
    /// that loses packets.
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), probes: 3 }
    }
}
