//! The access log: one line per exchange, failures too; JSON, or in the operator's own form.
//!
//! ```text
//! worker ── record() ──► its buffer ── flush(), never waits ──► bounded queue ──► writer thread
//!   ▲                                                                                  │
//!   └──────────────────────────── empty buffers come back ◄────────────────────────────┘
//! ```
//! A worker appends to a buffer of its own, which is written as it is; nothing is allocated per
//! record. When the target does not keep up the queue fills, then the worker's buffer, and then
//! records are dropped and counted. A worker never waits for the log.

mod json;
mod line;
mod record;
mod room;
mod writer;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use hangu_config::AccessLogFormat;

pub use record::{Call, Record, Subject, TEXT_BYTES_MAX, write_time};
pub use writer::{Reopener, Settings, Target, Writer, start};

use self::room::Room;
use super::Counter;

/// Bytes of a worker's buffer, which is handed over when the next record does not fit, and written
/// at once: page by page the kernel takes three times as long.
const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes that a worker keeps while the queue is full; what comes after is dropped. With the queue
/// it holds a fraction of a second of a fast worker's records.
pub const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// Buffers on their way to the writer, of all workers together.
pub const QUEUE_BUFFERS_MAX: usize = 64;

/// Empty buffers kept per worker for the next batches: one is being written while the next is
/// filled. More would only take turns in the core's cache.
const SPARE_BUFFERS_MAX: usize = 2;

/// What is counted of the access log. One for each worker, one for the writer.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Records made.
    pub records: Counter,
    /// Records lost: the target did not take them in time, or failed.
    pub dropped: Counter,
    /// Writes to the target that failed.
    pub write_failures: Counter,
    /// Bytes that the target took.
    pub written_bytes: Counter,
    /// Times that the file was opened anew, as asked.
    pub reopened: Counter,
    /// Times that this failed; the log went on in the file that was open.
    pub reopen_failures: Counter,
}

impl LogCounters {
    /// Goes on with what another one counted, whose log is written and closed.
    pub fn absorb(&self, other: &Self) {
        let Self { records, dropped, write_failures, written_bytes, reopened, reopen_failures } =
            other;
        self.records.absorb(records);
        self.dropped.absorb(dropped);
        self.write_failures.absorb(write_failures);
        self.written_bytes.absorb(written_bytes);
        self.reopened.absorb(reopened);
        self.reopen_failures.absorb(reopen_failures);
    }
}

/// Records on their way to the writer.
#[derive(Debug)]
struct Batch {
    buffer: Buffer,
    records: u64,
    worker: usize,
}

/// Bytes that are all there from the beginning, of which the first are a text.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    fn text(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.used..).unwrap_or_default()
    }

    /// Makes room for so many bytes; says whether that is within [`BUFFER_BYTES_MAX`].
    fn make_room(&mut self, bytes: usize) -> bool {
        let wanted = self.used.saturating_add(bytes);
        if wanted > BUFFER_BYTES_MAX {
            return false;
        }
        if wanted > self.bytes.len() {
            self.bytes.resize(wanted.next_power_of_two().max(BUFFER_BYTES), 0);
        }
        true
    }
}

/// The access log of one worker. Made by [`start`]; a worker without one has
/// [`AccessLog::disabled`].
#[derive(Debug)]
pub struct AccessLog {
    buffer: Buffer,
    records: u64,
    clock: record::Timestamp,
    format: Arc<AccessLogFormat>,
    counters: Arc<LogCounters>,
    sink: Option<Sink>,
}

#[derive(Debug)]
struct Sink {
    worker: usize,
    queue: SyncSender<Batch>,
    /// Takes what is left when the worker ends; has room for one batch of every worker.
    last: SyncSender<Batch>,
    spares: Receiver<Buffer>,
}

impl AccessLog {
    /// A log that takes nothing.
    pub fn disabled() -> Self {
        Self {
            buffer: Buffer::default(),
            records: 0,
            clock: record::Timestamp::default(),
            format: Arc::default(),
            counters: Arc::default(),
            sink: None,
        }
    }

    /// Whether records go anywhere: when not, the caller need not gather what one wants to know.
    pub fn is_enabled(&self) -> bool {
        self.sink.is_some()
    }

    /// What was counted.
    pub fn counters(&self) -> &Arc<LogCounters> {
        &self.counters
    }

    /// Appends one record. Never waits; drops the record when the log has not kept up.
    pub fn record(&mut self, record: &Record<'_>) {
        if self.sink.is_none() {
            return;
        }
        self.counters.records.increment();
        let Err(bytes) = self.append(record) else { return };
        self.flush();
        if !self.buffer.make_room(bytes) || self.append(record).is_err() {
            self.counters.dropped.increment();
        }
    }

    /// Appends a record where there is room for it; how much it needs, where there is not.
    fn append(&mut self, record: &Record<'_>) -> Result<(), usize> {
        let room = self.buffer.room();
        let bytes_max = room.len();
        let room = Room::new(room);
        let bytes = match &*self.format {
            AccessLogFormat::Json => record.write(&mut self.clock, room),
            AccessLogFormat::Text(pieces) => record.write_line(pieces, &mut self.clock, room),
        };
        if bytes > bytes_max {
            return Err(bytes);
        }
        self.buffer.used += bytes;
        self.records += 1;
        Ok(())
    }

    /// Hands over what was recorded: to be called some times a second, so that nothing stays here
    /// for long. Never waits; while the queue is full the records stay here.
    pub fn flush(&mut self) {
        if self.records == 0 {
            return;
        }
        let Some(sink) = &self.sink else { return };
        let buffer = std::mem::take(&mut self.buffer);
        let batch = Batch { buffer, records: self.records, worker: sink.worker };
        match sink.queue.try_send(batch) {
            Ok(()) => self.buffer = sink.spares.try_recv().unwrap_or_default(),
            Err(TrySendError::Full(batch)) => {
                self.buffer = batch.buffer;
                return;
            }
            Err(TrySendError::Disconnected(batch)) => self.counters.dropped.add(batch.records),
        }
        self.records = 0;
    }
}

impl AccessLog {
    /// Hands over what is left and takes nothing more. The writer ends when the logs of all
    /// workers are closed or dropped.
    pub fn close(&mut self) {
        let Some(sink) = self.sink.take() else { return };
        let buffer = std::mem::take(&mut self.buffer);
        let records = std::mem::take(&mut self.records);
        let batch = Batch { buffer, records, worker: sink.worker };
        if sink.last.try_send(batch).is_err() {
            self.counters.dropped.add(records);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}
