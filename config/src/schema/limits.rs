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
    /// Limits of HTTP/2.
    #[serde(default)]
    pub http2: Http2Limits,
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

/// Limits of HTTP/2.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http2Limits {
    /// Streams open at once on a connection. Clients are told, and one more is refused in a way
    /// that is safe to repeat; endpoints get no more, nor more than they announce. Default: 256.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65536))]
    pub streams_max: Option<NonZero<u32>>,
    /// Bytes that a peer may send on a stream before its receiver has taken them. Default:
    /// `256KiB`, a full line at 20 ms and 100 Mbit/s.
    #[serde(default)]
    pub stream_window_bytes: Option<SizeText<65_535, 2_147_483_647>>,
    /// The same for all streams of a connection together. Default: `1MiB`.
    #[serde(default)]
    pub connection_window_bytes: Option<SizeText<65_535, 2_147_483_647>>,
    /// Bytes of a connection that their receivers have not taken, above which the peer may send no
    /// more than `connection_window_bytes` beyond. Default: `8MiB`, so some slow receivers do not
    /// stop the others.
    #[serde(default)]
    pub unreleased_bytes_max: Option<SizeText<1, { u32::MAX as u64 }>>,
    /// Bytes of the fields of a head as they come, compressed; more ends the connection. Default:
    /// `64KiB`.
    #[serde(default)]
    pub block_bytes_max: Option<SizeText<1, { u32::MAX as u64 }>>,
    /// CONTINUATION frames of a head; more ends the connection. Default: 16.
    #[serde(default)]
    pub continuations_max: Option<u16>,
    /// Bytes of the fields of a head, 32 for each field included; more is answered with 431.
    /// Default: `64KiB`.
    #[serde(default)]
    pub fields_bytes_max: Option<SizeText<1, { u32::MAX as u64 }>>,
    /// Fields of a head or of trailers; more is answered with 431. Default: 100.
    #[serde(default)]
    pub fields_max: Option<NonZero<u16>>,
    /// `Cookie` fields that one head may come in, which are joined; more is answered with 431.
    /// Default: 128.
    #[serde(default)]
    pub cookies_max: Option<NonZero<u16>>,
    /// Bytes of a method; more is answered with 501. Default: 24.
    #[serde(default)]
    pub method_bytes_max: Option<NonZero<u8>>,
    /// Bytes of a request target; more is answered with 414. Default: `8KiB`.
    #[serde(default)]
    pub target_bytes_max: Option<SizeText<1, { u32::MAX as u64 }>>,
    /// Bytes of the fields of trailers; more resets the stream. Default: `8KiB`.
    #[serde(default)]
    pub trailer_bytes_max: Option<SizeText<0, { u32::MAX as u64 }>>,
    /// Bytes of the body of a request; more is answered with 413. Default: no limit, bodies are
    /// streamed and their length costs no memory.
    #[serde(default)]
    pub body_bytes_max: Option<SizeText>,
    /// Informational responses (1xx) before a response; more resets the stream. Default: 16.
    #[serde(default)]
    pub informational_max: Option<u8>,
    /// Bytes of the table of fields that a peer may refer to. Default: `4KiB`, what the protocol
    /// begins with.
    #[serde(default)]
    pub table_bytes_max: Option<SizeText<0, { u32::MAX as u64 }>>,
    /// Streams that a peer may give up before their response at once; more ends the connection
    /// (rapid reset, CVE-2023-44487). Default: 100, a page that is left takes as many with it.
    #[serde(default)]
    pub resets_max: Option<NonZero<u32>>,
    /// Streams given up that are forgiven in a second; each that ends well forgives one more.
    /// Default: 50.
    #[serde(default)]
    pub resets_per_second: Option<u32>,
    /// Frames that carry nothing (settings, pings, empty data) at once; more ends the connection.
    /// Default: 1000.
    #[serde(default)]
    pub idle_frames_max: Option<NonZero<u32>>,
    /// Frames that carry nothing and are forgiven in a second. Default: 200.
    #[serde(default)]
    pub idle_frames_per_second: Option<u32>,
    /// From the first word of an end, which clients answer by opening no more streams, to the
    /// second, which names the last one that is served; sooner when the client shows that it heard
    /// the first. Default: `1s`.
    #[serde(default)]
    pub goaway_wait: Option<DurationText>,
    /// Age at which a connection takes no new streams and ends with the last that is open.
    /// Default: no limit.
    #[serde(default)]
    pub age_max: Option<DurationText>,
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
        codecs::Limits {
            http1: self.http1.resolve(),
            http2: self.http2.resolve(),
            rpc: self.rpc.resolve(),
        }
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

impl Http2Limits {
    fn resolve(&self) -> codecs::http2::Limits {
        let or = codecs::http2::Limits::default();
        codecs::http2::Limits {
            streams_max: self.streams_max.map_or(or.streams_max, NonZero::get),
            stream_window_bytes: self.stream_window_bytes.map_or(or.stream_window_bytes, bytes),
            connection_window_bytes: self
                .connection_window_bytes
                .map_or(or.connection_window_bytes, bytes),
            unreleased_bytes_max: self.unreleased_bytes_max.map_or(or.unreleased_bytes_max, bytes),
            block_bytes_max: self.block_bytes_max.map_or(or.block_bytes_max, bytes),
            continuations_max: self.continuations_max.unwrap_or(or.continuations_max),
            fields_bytes_max: self.fields_bytes_max.map_or(or.fields_bytes_max, bytes),
            fields_max: self.fields_max.map_or(or.fields_max, NonZero::get),
            cookies_max: self.cookies_max.map_or(or.cookies_max, NonZero::get),
            method_bytes_max: self.method_bytes_max.map_or(or.method_bytes_max, NonZero::get),
            target_bytes_max: self.target_bytes_max.map_or(or.target_bytes_max, bytes),
            trailer_bytes_max: self.trailer_bytes_max.map_or(or.trailer_bytes_max, bytes),
            body_bytes_max: self.body_bytes_max.map_or(or.body_bytes_max, |it| it.0),
            informational_max: self.informational_max.unwrap_or(or.informational_max),
            table_bytes_max: self.table_bytes_max.map_or(or.table_bytes_max, bytes),
            resets_max: self.resets_max.map_or(or.resets_max, NonZero::get),
            resets_per_second: self.resets_per_second.unwrap_or(or.resets_per_second),
            idle_frames_max: self.idle_frames_max.map_or(or.idle_frames_max, NonZero::get),
            idle_frames_per_second: self
                .idle_frames_per_second
                .unwrap_or(or.idle_frames_per_second),
            goaway_wait_ms: self.goaway_wait.map_or(or.goaway_wait_ms, millis),
            age_max_ms: self.age_max.map_or(or.age_max_ms, |it| u64::from(millis(it))),
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
