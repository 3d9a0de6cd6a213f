//! The limits of HTTP/2.

use serde::{Deserialize, Serialize};

use super::fields::FieldLimits;
use super::frame;

/// Limits of HTTP/2, each with its default and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Streams open at once, at most 65,536. Server role: announced, and one more is refused, which
    /// is safe to repeat (RFC 9113 §5.1.2). Client role: [`crate::OpenError::Full`], also at what
    /// the peer announced. 256: as much as shared connections between zones carry, and twice what
    /// the RFC recommends at least.
    pub streams_max: u32,
    /// Bytes that a peer may send on a stream before its receiver has taken them, 65,535 to
    /// 2^31-1. 256 KiB: a full line at 20 ms and 100 Mbit/s, and what a slow receiver makes us
    /// hold.
    pub stream_window_bytes: u32,
    /// The same for a connection. 1 MiB.
    pub connection_window_bytes: u32,
    /// Server role: bytes that were received on a connection and not taken by their receivers,
    /// above which the peer gets no more credit for the connection. So some slow receivers do not stop the others,
    /// and cannot make us hold more than this and `connection_window_bytes`. 8 MiB.
    pub unreleased_bytes_max: u32,
    /// Bytes of a field block as it comes, compressed. Passed: the connection ends, for the rest
    /// of it would have to be decoded. 64 KiB.
    pub block_bytes_max: u32,
    /// CONTINUATION frames of a field block. Passed: the connection ends. 16: four carry 64 KiB
    /// in frames of the smallest limit.
    pub continuations_max: u16,
    /// Bytes of the fields of a head, names and values and 32 for each (RFC 9113 §6.5.2);
    /// announced. Passed: 431. 64 KiB: as in HTTP/1.1.
    pub fields_bytes_max: u32,
    /// Fields of a head or of trailers. Passed: 431. 100: as in HTTP/1.1.
    pub fields_max: u16,
    /// `Cookie` fields that one head may come in (RFC 9113 §8.2.3). Passed: 431. 128: browsers send
    /// one for each cookie, and keep 50 to 180 for a site.
    pub cookies_max: u16,
    /// Bytes of a method. Passed: 501. 24: as in HTTP/1.1.
    pub method_bytes_max: u8,
    /// Bytes of a request target. Passed: 414. 8 KiB: as in HTTP/1.1.
    pub target_bytes_max: u32,
    /// Bytes of the fields of trailers, counted as those of a head. Passed: the stream is reset.
    /// 8 KiB.
    pub trailer_bytes_max: u32,
    /// Bytes of the body of a request (server role). Passed: 413. Unlimited: bodies are streamed.
    pub body_bytes_max: u64,
    /// Informational responses (1xx) before a response. Passed: the stream is reset. 16: more is a
    /// loop.
    pub informational_max: u8,
    /// Bytes of the table that the peer's field blocks may refer to; announced. 4 KiB: the
    /// protocol's own default.
    pub table_bytes_max: u32,
    /// Streams that a peer may give up, or make us give up by its errors, before their response,
    /// beyond `resets_per_second`. Passed: the connection ends. 100: a page that is left takes
    /// as many with it. (Rapid reset, CVE-2023-44487, and its sister CVE-2025-8671.)
    pub resets_max: u32,
    /// Streams given up that are forgiven in a second; each that ends well forgives one, too. 50.
    pub resets_per_second: u32,
    /// Frames that carry nothing (SETTINGS, PING, PRIORITY, GOAWAY, WINDOW_UPDATE, empty DATA, unknown
    /// types, and what is late for a stream) beyond `idle_frames_per_second`. Passed: the connection
    /// ends. 1,000.
    pub idle_frames_max: u32,
    /// Frames that carry nothing and are forgiven in a second; a frame of content that came
    /// forgives one, one that went forgives four, as receivers answer them. 200.
    pub idle_frames_per_second: u32,
    /// Milliseconds between the first GOAWAY, which names no stream, and the second, which does,
    /// if the peer does not show earlier that it has seen the first (RFC 9113 §6.8). 1,000.
    pub goaway_wait_ms: u32,
    /// Milliseconds after which a connection takes no new streams, and ends when the last one
    /// has. 0, the default, for never.
    pub age_max_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams_max: 256,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 1024 * 1024,
            unreleased_bytes_max: 8 * 1024 * 1024,
            block_bytes_max: 64 * 1024,
            continuations_max: 16,
            fields_bytes_max: 64 * 1024,
            fields_max: 100,
            cookies_max: 128,
            method_bytes_max: 24,
            target_bytes_max: 8 * 1024,
            trailer_bytes_max: 8 * 1024,
            body_bytes_max: u64::MAX,
            informational_max: 16,
            table_bytes_max: 4096,
            resets_max: 100,
            resets_per_second: 50,
            idle_frames_max: 1000,
            idle_frames_per_second: 200,
            goaway_wait_ms: 1000,
            age_max_ms: 0,
        }
    }
}

impl Limits {
    /// Streams open at once.
    pub(super) fn streams(&self) -> u32 {
        self.streams_max.clamp(1, STREAMS_CEILING)
    }

    /// What bounds a field list.
    pub(super) fn fields(&self) -> FieldLimits {
        FieldLimits {
            list_bytes_max: self.fields_bytes_max,
            trailer_bytes_max: self.trailer_bytes_max,
            fields_max: self.fields_max,
            cookie_crumbs_max: self.cookies_max,
            target_bytes_max: self.target_bytes_max,
            method_bytes_max: self.method_bytes_max,
        }
    }

    /// The window of a stream.
    pub(super) fn stream_window(&self) -> u32 {
        self.stream_window_bytes.clamp(INITIAL_WINDOW, frame::STREAM_MAX)
    }

    /// The window of the connection.
    pub(super) fn connection_window(&self) -> u32 {
        self.connection_window_bytes.clamp(INITIAL_WINDOW, frame::STREAM_MAX)
    }
}

/// Every window at first (RFC 9113 §6.9.2); that of the connection can only grow.
pub(super) const INITIAL_WINDOW: u32 = 65_535;

/// The most streams that [`Limits::streams_max`] can allow.
pub const STREAMS_CEILING: u32 = 65_536;
