//! The thread that writes what the workers recorded.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use hangu_codecs::Time;
use hangu_config::AccessLogFormat;

use super::{
    AccessLog, BUFFER_BYTES, Batch, Buffer, LogCounters, QUEUE_BUFFERS_MAX, SPARE_BUFFERS_MAX,
    Sink, record,
};

/// A failing target is reported at most that often.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// A writer that has nothing to write looks this often whether it is to open its file anew.
const IDLE: Duration = Duration::from_millis(200);

/// Where the log goes, and who writes to it.
#[derive(Debug)]
pub struct Settings {
    /// Where it goes.
    pub target: Target,
    /// What a line looks like.
    pub format: AccessLogFormat,
    /// How many workers there are.
    pub workers: usize,
    /// The clock; only to keep the reports of a failing target apart.
    pub now: fn() -> Time,
}

/// Where the log goes.
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file; lines are appended, and it is made where it does not exist.
    File(PathBuf),
    /// Anything else that takes bytes.
    Stream(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => formatter.write_str("standard output"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Stream(_) => formatter.write_str("a stream"),
        }
    }
}

impl Target {
    /// Opens the target; with its path, where it has one.
    fn open(self) -> io::Result<(Box<dyn Write + Send>, Option<PathBuf>)> {
        Ok(match self {
            // The descriptor itself: the library's own handle would flush at every line.
            Self::Stdout => {
                (Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)), None)
            }
            Self::File(path) => (Box::new(open_file(&path)?), Some(path)),
            Self::Stream(stream) => (stream, None),
        })
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The thread that writes the log.
#[derive(Debug)]
pub struct Writer {
    counters: Arc<LogCounters>,
    reopener: Reopener,
    ended: Receiver<()>,
}

/// Lets a log be opened anew, after logrotate has moved its file away. May be cloned and used by
/// any thread.
#[derive(Clone, Debug, Default)]
pub struct Reopener(Arc<AtomicBool>);

impl Reopener {
    /// Asks the writer to open its file anew; comes back at once. It does so before the next line,
    /// within a fraction of a second even when there is none. Where it cannot, the log goes on in
    /// the file that is open, and the failure is counted and told. Standard output stays.
    pub fn reopen(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Acquire)
    }
}

/// Opens the target and starts the writer; gives one log per worker.
///
/// # Errors
/// The target cannot be opened, or no thread can be started.
pub fn start(settings: Settings) -> io::Result<(Vec<AccessLog>, Writer)> {
    let Settings { target, format, workers, now } = settings;
    let format = Arc::new(format);
    let reopener = Reopener::default();
    let name = format!("{target:?}");
    let (out, path) = target.open()?;
    let (queue, batches) = sync_channel(QUEUE_BUFFERS_MAX);
    let (last, lasts) = sync_channel(workers);
    let (empties, logs) = (0..workers).map(|worker| log_of(worker, &format, &queue, &last)).unzip();
    let counters = Arc::<LogCounters>::default();
    let (end, ended) = sync_channel(1);
    let thread = Thread {
        batches,
        lasts,
        empties,
        out: Out {
            out,
            path,
            name,
            reopener: reopener.clone(),
            counters: Arc::clone(&counters),
            now,
            reported: None,
            cut: false,
        },
    };
    std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
        thread.run();
        // Nobody waits when the process goes on without this log.
        let _ = end.send(());
    })?;
    Ok((logs, Writer { counters, reopener, ended }))
}

fn log_of(
    worker: usize,
    format: &Arc<AccessLogFormat>,
    queue: &SyncSender<Batch>,
    last: &SyncSender<Batch>,
) -> (SyncSender<Buffer>, AccessLog) {
    let (empties, spares) = sync_channel(SPARE_BUFFERS_MAX);
    let log = AccessLog {
        buffer: Buffer::default(),
        records: 0,
        clock: record::Timestamp::default(),
        format: Arc::clone(format),
        counters: Arc::default(),
        sink: Some(Sink { worker, queue: queue.clone(), last: last.clone(), spares }),
    };
    (empties, log)
}

impl Writer {
    /// What was counted.
    pub fn counters(&self) -> &Arc<LogCounters> {
        &self.counters
    }

    /// See [`Reopener::reopen`].
    pub fn reopen(&self) {
        self.reopener.reopen();
    }

    /// Lets others ask for the same.
    pub fn reopener(&self) -> &Reopener {
        &self.reopener
    }

    /// Whether all is written: the workers' logs were closed or dropped. The thread has ended then.
    pub fn has_ended(&self) -> bool {
        !matches!(self.ended.try_recv(), Err(TryRecvError::Empty))
    }

    /// Waits until all is written; the workers' logs must have been closed or dropped before. Gives up after
    /// `wait`, for the target may never take the rest. Says whether all was written.
    pub fn close(self, wait: Duration) -> bool {
        match self.ended.recv_timeout(wait) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }
}

struct Thread {
    batches: Receiver<Batch>,
    lasts: Receiver<Batch>,
    empties: Vec<SyncSender<Buffer>>,
    out: Out,
}

impl Thread {
    fn run(mut self) {
        loop {
            match self.batches.recv_timeout(IDLE) {
                Ok(batch) => self.write(batch),
                Err(RecvTimeoutError::Timeout) => self.out.reopen_if_asked(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // No worker is left; what each had when it ended is later than all that was queued.
        while let Ok(last) = self.lasts.recv() {
            self.out.write(last.buffer.text());
        }
    }

    /// Writes a batch and sends its buffer back to its worker.
    fn write(&mut self, batch: Batch) {
        let Batch { mut buffer, worker, .. } = batch;
        self.out.write(buffer.text());
        if buffer.bytes.len() > BUFFER_BYTES {
            return;
        }
        buffer.used = 0;
        if let Some(empties) = self.empties.get(worker) {
            // A worker with enough spare buffers lets this one go.
            let _ = empties.try_send(buffer);
        }
    }
}

/// The target, which may fail and recover.
struct Out {
    out: Box<dyn Write + Send>,
    /// Of a file.
    path: Option<PathBuf>,
    name: String,
    reopener: Reopener,
    counters: Arc<LogCounters>,
    now: fn() -> Time,
    reported: Option<Time>,
    /// The last line was cut off by a failure.
    cut: bool,
}

impl Out {
    /// Opens the file anew when that was asked for; keeps the old one when it cannot.
    fn reopen_if_asked(&mut self) {
        if !self.reopener.take() {
            return;
        }
        let Some(path) = &self.path else { return };
        match open_file(path) {
            Ok(file) => {
                self.out = Box::new(file);
                self.counters.reopened.increment();
            }
            Err(error) => {
                self.counters.reopen_failures.increment();
                tracing::error!(
                    "the access log cannot be opened anew at {}: {error}; it goes on in the file \
                     that is open",
                    self.name
                );
            }
        }
    }

    /// Writes whole lines. What the target does not take is lost and counted.
    fn write(&mut self, text: &[u8]) {
        self.reopen_if_asked();
        let mut rest = text;
        if let Err(error) = self.try_write(&mut rest) {
            self.cut = self.cut
                || rest.len() < text.len() && !text[..text.len() - rest.len()].ends_with(b"\n");
            let lost = memchr::memchr_iter(b'\n', rest).count() as u64;
            self.counters.write_failures.increment();
            self.counters.dropped.add(lost);
            self.report(&error);
        }
    }

    fn try_write(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            if self.cut {
                self.write_once(b"\n")?;
                self.cut = false;
            }
            let taken = self.write_once(rest)?;
            *rest = &rest[taken..];
        }
        Ok(())
    }

    fn write_once(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.counters.written_bytes.add(taken as u64);
                    return Ok(taken.min(bytes.len()));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn report(&mut self, error: &io::Error) {
        let now = (self.now)();
        if self.reported.is_some_and(|last| last.since(now) < REPORT_INTERVAL) {
            return;
        }
        self.reported = Some(now);
        let dropped = self.counters.dropped.value();
        tracing::error!(
            "the access log cannot be written to {}: {error}; {dropped} records are lost so far, \
             the gateway goes on",
            self.name
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc::{Sender, channel};

    use super::super::{Call, Subject};
    use super::*;
    use crate::telemetry::{Outcome, Record};

    fn record(request_id: u64) -> Record<'static> {
        Record {
            time_unix_ms: 0,
            listener: "front",
            protocol: "http1",
            downstream: None,
            request_id,
            subject: Subject::Http { method: b"GET", authority: b"a", path: b"/" },
            route: "",
            cluster: "",
            upstream: None,
            outcome: Outcome::Http(200),
            grpc: None,
            failure: None,
            received_bytes: 0,
            sent_bytes: 0,
            duration_us: 0,
            upstream_us: None,
            call: Call::default(),
            callee_zone: "",
            zone: "",
            worker: 0,
        }
    }

    fn settings(target: Target, workers: usize) -> Settings {
        Settings { target, format: AccessLogFormat::Json, workers, now: || Time::from_micros(0) }
    }

    fn ids(text: &[u8]) -> Vec<u64> {
        let id = |line: &[u8]| {
            let line: serde_json::Value = serde_json::from_slice(line).expect("a line of JSON");
            line["request_id"].as_u64().expect("an id")
        };
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(id).collect()
    }

    const WAIT: Duration = Duration::from_secs(20);

    #[test]
    fn all_records_of_all_workers_are_written_in_their_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (logs, thread) = start(settings(Target::Stream(Box::new(writer)), 2)).unwrap();
        let workers: Vec<_> = logs
            .into_iter()
            .enumerate()
            .map(|(worker, mut log)| {
                std::thread::spawn(move || {
                    for id in 0..5_000_u64 {
                        log.record(&record(id * 2 + worker as u64));
                        if id % 7 == 0 {
                            log.flush();
                        }
                    }
                    Arc::clone(log.counters())
                })
            })
            .collect();
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert!(thread.close(WAIT));
        let lost: u64 = workers.into_iter().map(|it| it.join().unwrap().dropped.value()).sum();
        let all = ids(&text);
        assert_eq!(all.len() as u64 + lost, 10_000);
        for worker in 0..2 {
            let of_worker: Vec<_> = all.iter().filter(|id| *id % 2 == worker).collect();
            assert!(of_worker.is_sorted());
        }
    }

    #[test]
    fn a_full_pipe_never_stops_a_worker_and_what_is_lost_is_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (mut logs, thread) = start(settings(Target::Stream(Box::new(writer)), 1)).unwrap();
        let mut log = logs.remove(0);
        let counters = Arc::clone(log.counters());
        // Nobody reads: pipe, queue and buffer fill up, and still every call comes back.
        let mut made = 0;
        while counters.dropped.value() < 1_000 {
            log.record(&record(made));
            log.flush();
            made += 1;
            assert!(made < 1_000_000, "nothing was dropped");
        }
        drop(log);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert!(thread.close(WAIT));
        let written = ids(&text);
        assert_eq!(counters.records.value(), made);
        assert_eq!(written.len() as u64 + counters.dropped.value(), made);
        assert!(written.is_sorted());
        assert_eq!(written[..3_000], (0..3_000).collect::<Vec<_>>()[..]);
    }

    #[test]
    fn a_writer_that_is_stuck_is_given_up_after_the_wait() {
        let (reader, writer) = io::pipe().unwrap();
        let (mut logs, thread) = start(settings(Target::Stream(Box::new(writer)), 1)).unwrap();
        let mut log = logs.remove(0);
        (0..10_000).for_each(|id| log.record(&record(id)));
        drop(log);
        assert!(!thread.close(Duration::from_millis(50)));
        drop(reader);
    }

    /// A target that takes `room` bytes, then is full until room is made; says when it was full.
    struct Disk {
        text: Sender<Vec<u8>>,
        room: Receiver<usize>,
        left: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Ok(room) = self.room.try_recv() {
                self.left += room;
            }
            if self.left == 0 {
                let _ = self.text.send(Vec::new());
                return Err(ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            let _ = self.text.send(bytes[..taken].to_vec());
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_records_and_no_line_after_it_is_damaged() {
        let (text, written) = channel();
        let (make_room, room) = channel();
        let disk = Disk { text, room, left: 30 };
        let (mut logs, thread) = start(settings(Target::Stream(Box::new(disk)), 1)).unwrap();
        let mut log = logs.remove(0);
        log.record(&record(0));
        log.record(&record(1));
        log.flush();
        let cut = written.recv_timeout(WAIT).unwrap();
        assert_eq!(cut.len(), 30);
        assert_eq!(written.recv_timeout(WAIT).unwrap(), b"");
        make_room.send(usize::MAX / 2).unwrap();
        log.record(&record(2));
        drop(log);
        let counters = Arc::clone(thread.counters());
        assert!(thread.close(WAIT));
        let after: Vec<u8> = written.iter().flatten().collect();
        assert_eq!(after[0], b'\n');
        assert_eq!(ids(&after), [2]);
        assert_eq!(counters.dropped.value(), 2);
        assert_eq!(counters.write_failures.value(), 1);
        assert_eq!(counters.written_bytes.value(), 30 + after.len() as u64);
    }

    #[test]
    fn a_file_is_appended_to() {
        let path = std::env::temp_dir().join(format!("hangu-log-{}", std::process::id()));
        for id in 0..2 {
            let (mut logs, thread) = start(settings(Target::File(path.clone()), 1)).unwrap();
            logs.remove(0).record(&record(id));
            assert!(thread.close(WAIT));
        }
        let text = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ids(&text), [0, 1]);
    }

    fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
        let (_never, nothing) = channel::<()>();
        for _ in 0..2_000 {
            if is() {
                return;
            }
            let _ = nothing.recv_timeout(Duration::from_millis(10));
        }
        panic!("not so in time: {what}");
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew_and_no_line_is_lost() {
        let place = std::env::temp_dir().join(format!("hangu-rotated-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let (path, moved) = (place.join("log"), place.join("log.1"));
        let (mut logs, thread) = start(settings(Target::File(path.clone()), 1)).unwrap();
        let counters = Arc::clone(thread.counters());
        logs[0].record(&record(0));
        logs[0].flush();
        wait_until("the first line is written", || counters.written_bytes.value() > 0);
        std::fs::rename(&path, &moved).unwrap();
        // Nothing is logged meanwhile, and still the new file comes.
        thread.reopen();
        wait_until("the file is there again", || path.exists());
        logs[0].record(&record(1));
        drop(logs);
        assert!(thread.close(WAIT));
        assert_eq!(ids(&std::fs::read(&moved).unwrap()), [0]);
        assert_eq!(ids(&std::fs::read(&path).unwrap()), [1]);
        assert_eq!((counters.reopened.value(), counters.reopen_failures.value()), (1, 0));
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_anew_is_written_to_as_before() {
        let place = std::env::temp_dir().join(format!("hangu-lost-{}", std::process::id()));
        let moved = place.with_extension("moved");
        std::fs::create_dir_all(&place).unwrap();
        let (mut logs, thread) = start(settings(Target::File(place.join("log")), 1)).unwrap();
        let counters = Arc::clone(thread.counters());
        std::fs::rename(&place, &moved).unwrap();
        thread.reopener().clone().reopen();
        wait_until("it was tried", || counters.reopen_failures.value() == 1);
        logs[0].record(&record(1));
        drop(logs);
        assert!(thread.close(WAIT));
        assert_eq!(ids(&std::fs::read(moved.join("log")).unwrap()), [1]);
        std::fs::remove_dir_all(&moved).unwrap();
    }

    #[test]
    fn a_closed_log_lets_the_writer_end_and_takes_nothing_more() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (mut logs, thread) = start(settings(Target::Stream(Box::new(writer)), 1)).unwrap();
        logs[0].record(&record(1));
        logs[0].close();
        logs[0].record(&record(2));
        assert!(!logs[0].is_enabled());
        assert!(thread.close(WAIT));
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert_eq!(ids(&text), [1]);
    }

    #[test]
    fn a_target_that_cannot_be_opened_is_an_error_at_once() {
        let settings = settings(Target::File("/nowhere/at/all".into()), 1);
        assert_eq!(start(settings).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
