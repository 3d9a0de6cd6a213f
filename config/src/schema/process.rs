//! What concerns the process as a whole, as it is written.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::AddressText;
use crate::model;

/// Where the admin API listens, `address` or `path`, and who may change something by it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// IP address and port. Only a loopback address (127.0.0.1, ::1), unless `allow_remote`.
    #[serde(default)]
    pub address: Option<AddressText>,
    /// Absolute path of a Unix socket. Whoever may open it may use the whole API.
    #[serde(default)]
    pub path: Option<String>,
    /// Lets `address` be one that other machines reach. Whoever reaches it reads metrics and
    /// configuration; changes need the token. Default: false.
    #[serde(default)]
    pub allow_remote: bool,
    /// What a request that changes something must show (`Authorization: Bearer TOKEN`), 16 to 1024
    /// visible characters. Better as `${file:PATH}` or `${env:NAME}` than in clear. With `address`
    /// only. Default: a random one, made at each start and kept in `token_path`.
    #[serde(default)]
    pub token: Option<String>,
    /// Absolute path of the file that keeps a random token for `hangu stop` and the like, readable
    /// by its owner alone. With `address` only. Default: a file of the user's own below
    /// `$XDG_RUNTIME_DIR`, `/run` or the directory for temporary files.
    #[serde(default)]
    pub token_path: Option<String>,
}

/// What the process says of itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// What is said: this and what is graver. Default: `info`.
    #[serde(default)]
    pub level: model::LogLevel,
    /// Lines for people or JSON objects. Default: `text`.
    #[serde(default)]
    pub format: model::LogFormat,
    /// A file that is appended to, or `-` for standard error. Default: `-`.
    #[serde(default)]
    pub path: Option<String>,
    /// Warnings and errors per second from one place of the program; what is more is counted and
    /// told in one line. Default: 10.
    #[serde(default)]
    pub repeats_per_second_max: Option<NonZeroU32>,
}

/// The access log.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// Whether it is written. Default: true.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// A file that is appended to, or `-` for standard output. Default: `-`.
    #[serde(default)]
    pub path: Option<String>,
    /// `json`, or a text with fields such as `%{time} %{method} %{path} %{status}`; `%%` is a
    /// percent sign. The fields are the keys of the JSON form. Default: `json`.
    #[serde(default)]
    pub format: Option<String>,
}

/// What is counted beyond the usual.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Counts of RPC services.
    #[serde(default)]
    pub rpc: RpcMetrics,
}

/// Counts of RPC requests by service, method, caller application and result.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RpcMetrics {
    /// Whether they are counted. Default: true.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Distinct combinations of service, method and caller; what comes after so many is counted
    /// as `_other`. Default: 2000, so that hostile names cost little memory.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub series_max: Option<NonZeroU32>,
}
