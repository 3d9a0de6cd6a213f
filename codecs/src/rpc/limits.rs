//! What bounds a connection of a multiplexed RPC protocol.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits of multiplexed RPC protocols, each with its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a whole frame, checksum included. Default 16 MiB: Java's Bolt has no limit of its
    /// own and Dubbo refuses 8 MiB, so twice that lets everything pass that real peers exchange
    /// while a connection can never hold more than one such frame.
    pub frame_bytes_max: usize,
    /// Bytes of a frame up to and including its fields, which stand in one piece. Default 64 KiB:
    /// real heads have half a kilobyte, and the lengths of Bolt allow 65,558.
    pub head_bytes_max: usize,
    /// Fields of one frame. Default 1,024: baggage is flattened into fields, a dozen is usual.
    pub fields_max: usize,
    /// Requests in flight on one connection, at most 65,536. Default 16,384: a shared upstream
    /// connection at 10,000 requests a second with answers after a second stays below. Server
    /// role: no more is read until one ends. Client role: [`crate::OpenError::Full`].
    pub streams_max: usize,
    /// Streams that were given up and whose late answers are still waited for, so that their ids
    /// are not used anew. Default 16,384, as many as can be in flight. The oldest is forgotten
    /// when one more comes.
    pub given_up_max: usize,
    /// How long a late answer is waited for, in milliseconds. Default 60,000: the longest timeout
    /// that callers commonly set.
    pub given_up_ms: u32,
    /// Bytes that the peer has not taken. Default 1 MiB, some seconds of a slow line. Above it
    /// heartbeats are not answered, and the server role wants no input, so that a peer which never
    /// reads cannot make us hold its answers.
    pub unsent_bytes_max: usize,
    /// Client role: a heartbeat is sent after so many milliseconds without a frame. Default
    /// 15,000, as the Java peers do, which close a connection that was silent for 90 s. 0 sends
    /// none.
    pub heartbeat_interval_ms: u32,
    /// How long the answer to a heartbeat is waited for, in milliseconds. Default 1,000, as in
    /// Java.
    pub heartbeat_timeout_ms: u32,
    /// Heartbeats in a row without an answer after which the peer is dead. Default 3, as in Java.
    pub heartbeat_misses_max: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 16 * 1024 * 1024,
            head_bytes_max: 64 * 1024,
            fields_max: 1024,
            streams_max: 16 * 1024,
            given_up_max: 16 * 1024,
            given_up_ms: 60_000,
            unsent_bytes_max: 1024 * 1024,
            heartbeat_interval_ms: 15_000,
            heartbeat_timeout_ms: 1_000,
            heartbeat_misses_max: 3,
        }
    }
}

impl Limits {
    pub(super) fn streams(&self) -> usize {
        self.streams_max.min(STREAMS_MAX)
    }

    pub(super) fn given_up(&self) -> usize {
        self.given_up_max.min(STREAMS_MAX)
    }

    pub(super) fn given_up_for(&self) -> Duration {
        Duration::from_millis(u64::from(self.given_up_ms))
    }
}

/// Above this a configured number of streams is taken as this: 8 MiB of table for a connection.
pub(super) const STREAMS_MAX: usize = 1 << 16;
