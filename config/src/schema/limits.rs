//! Limits of the codecs as they are written: every member of [`hangu_codecs::Limits`], with the
//! same name, default and meaning; sizes may have a unit, and what the codecs count in
//! milliseconds is a duration here.
//!
//! The conversions name every member of the codecs' structs, so that a new limit breaks the build
//! here until it can be set.

use std::{num::NonZero, time::Duration};

use hangu_codecs as codecs;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, SizeText};

/// Limits of what one connection may ask of the gateway.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Limits of HTTP/1.1.
    #[serde(default)]
    pub http1: Http1Limits,
    /// Limits of RPC protocols (bolt).
    #[serde(default)]
    pub rpc: RpcLimits,
}

/// Limits of HTTP/1.1.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http1Limits {
    /// Bytes of a request or response head, its last empty line included; more is answered with
    /// 431, or 414 within the request line. Default: `64KiB`, what most servers take at the utmost.
    #[serde(default)]
    pub head_bytes_max: Option<SizeText<1, { u32::MAX as u64 }>>,
    /// Fields of a head or of trailers, at most 256; more is answered with 431. Default: 100, as in
    /// most servers.
    #[serde(default)]
    #[schemars(range(min = 1, max = 256))]
    pub fields_max: Option<NonZero<u16>>,
    /// Bytes of a method; more is answered with 501. Default: 24, the longest registered one has 17.
    #[serde(default)]
    pub method_bytes_max: Option<NonZero<u8>>,
    /// Bytes of a request target; more is answered with 414. Default: `8KiB`.
    #[serde(default)]
    pub target_bytes_max: Option<SizeText<1, { u32::MAX as u64 }>>,
    /// Options in the `Connection` fields of a head together; more is answered with 431. Default:
    /// 16, real heads carry one or two.
    #[serde(default)]
    pub connection_options_max: Option<NonZero<u8>>,
    /// Bytes of the body of a request; more is answered with 413. Default: no limit, bodies are
    /// streamed and their length costs no memory.
    #[serde(default)]
    pub body_bytes_max: Option<SizeText>,
    /// Bytes of all chunk extensions of a body together, which are dropped; more is answered with
    /// 400. Default: `4KiB`.
    #[serde(default)]
    pub chunk_extension_bytes_max: Option<SizeText<0, { u32::MAX as u64 }>>,
    /// Digits of a chunk size, leading zeros included; more is answered with 400. Default: 16, as
    /// many as 64 bits have.
    #[serde(default)]
    pub chunk_size_digits_max: Option<NonZero<u8>>,
    /// Bytes of a trailer section; more is answered with 431. Default: `8KiB`.
    #[serde(default)]
    pub trailer_bytes_max: Option<SizeText<0, { u32::MAX as u64 }>>,
    /// Informational responses (1xx) before a response; more is answered with 502. Default: 16.
    #[serde(default)]
    pub informational_max: Option<u8>,
    /// Empty lines before a request line, which are dropped; more is answered with 400. Default: 0,
    /// they can hide a second request.
    #[serde(default)]
    pub empty_lines_max: Option<u8>,
    /// Bytes of a request body that are read and dropped after the response has ended, so that the
    /// connection can be kept; at more it is closed. Default: `64KiB`.
    #[serde(default)]
    pub discard_bytes_max: Option<SizeText<0, { u32::MAX as u64 }>>,
    /// What is read although it could be refused.
    #[serde(default)]
    pub lenient: Lenient,
}

/// What is read although it could be refused: one switch each, all off. Each lets something pass
/// that has been used to smuggle requests.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lenient {
    /// `Content-Length` repeated, or as a list, with equal numbers. Default: false.
    #[serde(default)]
    pub equal_content_lengths: bool,
    /// A request target that names another authority than `Host`; the target wins. Default: false.
    #[serde(default)]
    pub other_host_in_target: bool,
    /// Bytes above 0x7f in a request target, as far as they are UTF-8. Default: false.
    #[serde(default)]
    pub target_above_ascii: bool,
    /// Folded field lines in a response; a fold counts as spaces. Default: false.
    #[serde(default)]
    pub response_folds: bool,
    /// Spaces between name and colon in a response; they are dropped. Default: false.
    #[serde(default)]
    pub response_space_before_colon: bool,
}

/// Limits of multiplexed RPC protocols.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RpcLimits {
    /// Bytes of a whole frame; a larger one closes the connection. Default: `16MiB`, twice what
    /// Dubbo takes; Java's Bolt has no limit of its own.
    #[serde(default)]
    pub frame_bytes_max: Option<SizeText<1, { u32::MAX as u64 }>>,
    /// Bytes of a frame up to and including its fields. Default: `64KiB`, real ones have half a
    /// kilobyte.
    #[serde(default)]
    pub head_bytes_max: Option<SizeText<1, { u32::MAX as u64 }>>,
    /// Fields of one frame. Default: 1024, a dozen is usual.
    #[serde(default)]
    pub fields_max: Option<NonZero<u32>>,
    /// Requests in flight on one connection; no more is read from a client until one ends, and no
    /// more is sent to an endpoint. Default: 16384.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub streams_max: Option<NonZero<u32>>,
    /// Requests that were given up and whose late answers are still waited for, so that their ids
    /// are not used anew. Default: 16384.
    #[serde(default)]
    #[schemars(range(max = 1_048_576))]
    pub given_up_max: Option<u32>,
    /// How long a late answer is waited for. Default: `1m`.
    #[serde(default)]
    pub given_up: Option<DurationText>,
    /// Bytes of answers that a client has not taken; above it no more is read from it. Default:
    /// `1MiB`.
    #[serde(default)]
    pub unsent_bytes_max: Option<SizeText<1, { u32::MAX as u64 }>>,
    /// An endpoint is sent a heartbeat after so long without a frame. Default: `15s`, as the Java
    /// peers do, which close a connection that was silent for 90 s.
    #[serde(default)]
    pub heartbeat_interval: Option<DurationText>,
    /// How long the answer to a heartbeat is waited for. Default: `1s`, as in Java.
    #[serde(default)]
    pub heartbeat_timeout: Option<DurationText>,
    /// Heartbeats in a row without an answer after which a connection is dead. Default: 3, as in
    /// Java.
    #[serde(default)]
    pub heartbeat_misses_max: Option<NonZero<u8>>,
}

impl Limits {
    /// The limits, with every member that is not written at its default.
    pub fn resolve(&self) -> codecs::Limits {
        codecs::Limits { http1: self.http1.resolve(), rpc: self.rpc.resolve() }
    }
}

impl Http1Limits {
    fn resolve(&self) -> codecs::http1::Limits {
        let or = codecs::http1::Limits::default();
        codecs::http1::Limits {
            head_bytes_max: self.head_bytes_max.map_or(or.head_bytes_max, bytes),
            fields_max: self.fields_max.map_or(or.fields_max, NonZero::get),
            method_bytes_max: self.method_bytes_max.map_or(or.method_bytes_max, NonZero::get),
            target_bytes_max: self.target_bytes_max.map_or(or.target_bytes_max, bytes),
            connection_options_max: self
                .connection_options_max
                .map_or(or.connection_options_max, NonZero::get),
            body_bytes_max: self.body_bytes_max.map_or(or.body_bytes_max, |it| it.0),
            chunk_extension_bytes_max: self
                .chunk_extension_bytes_max
                .map_or(or.chunk_extension_bytes_max, bytes),
            chunk_size_digits_max: self
                .chunk_size_digits_max
                .map_or(or.chunk_size_digits_max, NonZero::get),
            trailer_bytes_max: self.trailer_bytes_max.map_or(or.trailer_bytes_max, bytes),
            informational_max: self.informational_max.unwrap_or(or.informational_max),
            empty_lines_max: self.empty_lines_max.unwrap_or(or.empty_lines_max),
            discard_bytes_max: self.discard_bytes_max.map_or(or.discard_bytes_max, bytes),
            lenient: codecs::http1::Lenient {
                equal_content_lengths: self.lenient.equal_content_lengths,
                other_host_in_target: self.lenient.other_host_in_target,
                target_above_ascii: self.lenient.target_above_ascii,
                response_folds: self.lenient.response_folds,
                response_space_before_colon: self.lenient.response_space_before_colon,
            },
        }
    }
}

impl RpcLimits {
    fn resolve(&self) -> codecs::rpc::Limits {
        let or = codecs::rpc::Limits::default();
        codecs::rpc::Limits {
            frame_bytes_max: self.frame_bytes_max.map_or(or.frame_bytes_max, length),
            head_bytes_max: self.head_bytes_max.map_or(or.head_bytes_max, length),
            fields_max: self.fields_max.map_or(or.fields_max, |it| it.get() as usize),
            streams_max: self.streams_max.map_or(or.streams_max, |it| it.get() as usize),
            given_up_max: self.given_up_max.map_or(or.given_up_max, |it| it as usize),
            given_up_ms: self.given_up.map_or(or.given_up_ms, millis),
            unsent_bytes_max: self.unsent_bytes_max.map_or(or.unsent_bytes_max, length),
            heartbeat_interval_ms: self.heartbeat_interval.map_or(or.heartbeat_interval_ms, millis),
            heartbeat_timeout_ms: self.heartbeat_timeout.map_or(or.heartbeat_timeout_ms, millis),
            heartbeat_misses_max: self
                .heartbeat_misses_max
                .map_or(or.heartbeat_misses_max, NonZero::get),
        }
    }
}

// The bounds of the types make these conversions exact; they saturate rather than wrap.

fn bytes<const MIN: u64, const MAX: u64>(size: SizeText<MIN, MAX>) -> u32 {
    u32::try_from(size.0).unwrap_or(u32::MAX)
}

fn length<const MIN: u64, const MAX: u64>(size: SizeText<MIN, MAX>) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// At least one: a duration that is written is not zero, and zero means "never" to the codecs.
fn millis(duration: DurationText) -> u32 {
    let millis = duration.0.max(Duration::from_millis(1)).as_millis();
    u32::try_from(millis).unwrap_or(u32::MAX)
}
