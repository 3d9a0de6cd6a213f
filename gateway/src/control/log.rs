//! What the process says of itself: lines on standard error or in a file.
//!
//! ```text
//! any thread ── tracing event ──► bounded queue, never waits ──► thread `log` ──► file
//! ```
//! A worker that says something formats one line and goes on; a slow disk or terminal holds up the
//! thread `log` alone. That thread also keeps each place of the program from saying too much.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, UNIX_EPOCH};

use hangu_codecs::Time;
use hangu_config::{Log, LogFormat, LogLevel};
use serde_json::{Map, Value};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock;
use crate::telemetry::write_time;

/// Lines that wait to be written. What comes while the target takes none is dropped and counted.
const QUEUE_LINES_MAX: usize = 4096;

/// A place that said too much gets its "more like this" after this long.
const WINDOW: Duration = Duration::from_secs(1);

/// How long the end of the process waits for its last lines.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// How soon an order that found the queue full is sent again.
const SEND_RETRY: Duration = Duration::from_millis(10);

/// Bytes of one line; a longer one is cut.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// The log of the process. Clones are of the same log.
#[derive(Clone, Debug)]
pub struct ProcessLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    level: AtomicU8,
    is_json: AtomicU8,
    lost: AtomicU64,
    queue: SyncSender<Order>,
}

#[derive(Debug)]
enum Order {
    Line(Line),
    Settings(Log),
    Reopen,
    Flush(SyncSender<()>),
}

#[derive(Debug)]
struct Line {
    level: Level,
    place: Identifier,
    text: String,
}

/// Starts the log and makes it that of the whole process.
///
/// # Errors
/// The file cannot be opened, or no thread can be started.
pub fn start(settings: &Log) -> io::Result<ProcessLog> {
    let (log, orders) = ProcessLog::new(settings);
    let output = Output::open(settings.path.clone())?;
    let lost = Arc::clone(&log.shared);
    let writer = Writer::new(output, settings.repeats_per_second_max, lost);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&orders))?;
    // Fails when there is a subscriber already, which only a test has.
    let _ = tracing_subscriber::registry().with(Says(Arc::clone(&log.shared))).try_init();
    Ok(log)
}

impl ProcessLog {
    fn new(settings: &Log) -> (Self, Receiver<Order>) {
        let (queue, orders) = sync_channel(QUEUE_LINES_MAX);
        let shared = Shared {
            level: AtomicU8::new(settings.level as u8),
            is_json: AtomicU8::new(u8::from(settings.format == LogFormat::Json)),
            lost: AtomicU64::new(0),
            queue,
        };
        (Self { shared: Arc::new(shared) }, orders)
    }

    /// What is said: this and what is graver.
    pub fn level(&self) -> LogLevel {
        self.shared.level()
    }

    /// Says this and what is graver from now on.
    pub fn set_level(&self, level: LogLevel) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Takes on other settings: the next line follows them. A file that cannot be opened is told,
    /// and the lines go where they went.
    pub fn apply(&self, settings: &Log) {
        self.shared.is_json.store(u8::from(settings.format == LogFormat::Json), Ordering::Relaxed);
        self.send(Order::Settings(settings.clone()));
        self.set_level(settings.level);
    }

    /// Opens the file anew, for one that was moved away (logrotate).
    pub fn reopen(&self) {
        self.send(Order::Reopen);
    }

    /// Waits until what was said so far is written, at most two seconds.
    pub fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        self.send(Order::Flush(done));
        // A target that takes nothing is not waited for any longer.
        let _ = is_done.recv_timeout(FLUSH_WAIT);
    }

    /// Puts an order behind the lines that wait. Where none are taken for a second, because the
    /// target is stuck, the order is dropped: neither a reload nor the end of the process waits for
    /// a terminal.
    fn send(&self, mut order: Order) {
        // A channel that nobody sends on is a wait of a bounded length.
        let (_keep, never) = sync_channel::<()>(0);
        for _ in 0..FLUSH_WAIT.div_duration_f64(SEND_RETRY) as u32 {
            match self.shared.queue.try_send(order) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => order = back,
            }
            // Nothing comes; see above.
            let _ = never.recv_timeout(SEND_RETRY);
        }
    }
}

impl Shared {
    fn level(&self) -> LogLevel {
        let level = self.level.load(Ordering::Relaxed);
        LogLevel::ALL.into_iter().find(|it| *it as u8 == level).unwrap_or_default()
    }
}

/// The side of the threads that say something.
struct Says(Arc<Shared>);

impl<S: Subscriber> Layer<S> for Says {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        // The level may change.
        tracing::subscriber::Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(tracing_level(self.0.level())))
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // What libraries whisper is for their authors.
        let is_own = metadata.target().starts_with("hangu");
        let least = if is_own { tracing_level(self.0.level()) } else { Level::WARN };
        *metadata.level() <= least.min(tracing_level(self.0.level()))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let unix_ms = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let unix_ms = u64::try_from(unix_ms).unwrap_or(u64::MAX);
        let text = match self.0.is_json.load(Ordering::Relaxed) {
            0 => as_text(event, unix_ms),
            _ => as_json(event, unix_ms),
        };
        let line = Line { level: *metadata.level(), place: metadata.callsite(), text };
        match self.0.queue.try_send(Order::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.0.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn tracing_level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    }
}

fn time(unix_ms: u64) -> String {
    let mut text = Vec::new();
    write_time(unix_ms, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// `2026-11-22T20:15:00.123Z  WARN what happened name=value`, one line whatever the values hold.
fn as_text(event: &Event<'_>, unix_ms: u64) -> String {
    let mut words = Words::default();
    event.record(&mut words);
    let level = event.metadata().level();
    let mut line = format!("{} {level:>5} {}{}", time(unix_ms), words.message, words.fields);
    cut(&mut line);
    line.push('\n');
    line
}

fn cut(line: &mut String) {
    if line.len() > LINE_BYTES_MAX {
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        line.push_str("...");
    }
}

/// One JSON object: `time`, `level`, `message`, and the fields of the event.
fn as_json(event: &Event<'_>, unix_ms: u64) -> String {
    let mut members = Members(Map::new());
    members.0.insert("time".to_owned(), time(unix_ms).into());
    let level = event.metadata().level().as_str().to_ascii_lowercase();
    members.0.insert("level".to_owned(), level.into());
    event.record(&mut members);
    format!("{}\n", Value::Object(members.0))
}

/// The fields of an event for people.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Words {
    fn add(&mut self, field: &Field, value: &str) {
        let plain = one_line(value);
        if field.name() == "message" {
            self.message = plain;
        } else {
            // Writing to memory does not fail.
            let _ = write!(self.fields, " {}={plain}", field.name());
        }
    }
}

/// Control characters are escaped, so that no value can make a line of its own.
fn one_line(value: &str) -> String {
    if !value.contains(char::is_control) {
        return value.to_owned();
    }
    let escape = |it: char| match it.is_control() {
        true => it.escape_default().to_string(),
        false => it.to_string(),
    };
    value.chars().map(escape).collect()
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// The fields of an event as members of an object.
struct Members(Map<String, Value>);

impl Members {
    fn add(&mut self, field: &Field, value: Value) {
        let value = match value {
            Value::String(mut text) => {
                cut(&mut text);
                Value::String(text)
            }
            other => other,
        };
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Members {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

/// Where lines go.
#[derive(Debug)]
struct Output {
    path: Option<PathBuf>,
    file: Option<File>,
}

impl Output {
    fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let open = |path| File::options().append(true).create(true).open(path);
        let file = path.as_ref().map(open).transpose()?;
        Ok(Self { path, file })
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(text.as_bytes()),
            None => io::stderr().write_all(text.as_bytes()),
        }
    }
}

/// What one place has said in the second that began at `since`.
struct Place {
    since: Time,
    said: u32,
    more: u64,
    /// The last line that was not written.
    last: String,
}

/// The thread that writes.
struct Writer {
    output: Output,
    repeats_max: u32,
    places: HashMap<Identifier, Place>,
    shared: Arc<Shared>,
}

impl Writer {
    fn new(output: Output, repeats_max: u32, shared: Arc<Shared>) -> Self {
        Self { output, repeats_max, places: HashMap::new(), shared }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(WINDOW) {
                Ok(order) => self.follow(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tell_more(clock::now());
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Line(line) => self.line(line, clock::now()),
            Order::Settings(settings) => {
                self.repeats_max = settings.repeats_per_second_max;
                if settings.path != self.output.path {
                    self.open(settings.path);
                }
            }
            Order::Reopen => self.open(self.output.path.clone()),
            // Whoever asked may have given up.
            Order::Flush(done) => drop(done.try_send(())),
        }
    }

    fn open(&mut self, path: Option<PathBuf>) {
        let name = path.as_ref().map_or("-".to_owned(), |it| it.display().to_string());
        match Output::open(path) {
            Ok(output) => self.output = output,
            Err(error) => self.own(&format!("the log {name} cannot be opened: {error}")),
        }
    }

    fn line(&mut self, line: Line, now: Time) {
        if line.level <= Level::WARN && !self.admit(&line, now) {
            return;
        }
        // There is nobody to tell that the log cannot be written.
        let _ = self.output.write(&line.text);
    }

    /// Whether this place may say one more.
    fn admit(&mut self, line: &Line, now: Time) -> bool {
        let fresh = Place { since: now, said: 0, more: 0, last: String::new() };
        let max = self.repeats_max;
        let place = self.places.entry(line.place.clone()).or_insert(fresh);
        if place.more == 0 && place.since.since(now) >= WINDOW {
            (place.since, place.said) = (now, 0);
        }
        if place.said < max {
            place.said += 1;
            return true;
        }
        place.more += 1;
        place.last.clone_from(&line.text);
        false
    }

    /// Says of each place how much it did not say, when its second is over.
    fn tell_more(&mut self, now: Time) {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.own(&format!(
                "{lost} lines of this log were lost, for it was not written in time"
            ));
        }
        for place in self.places.values_mut() {
            if place.more == 0 || place.since.since(now) < WINDOW {
                continue;
            }
            let last = place.last.trim_end();
            let text = match self.shared.is_json.load(Ordering::Relaxed) {
                0 => format!("{last} ({} more like this)\n", place.more),
                _ => with_count(last, place.more),
            };
            // As above.
            let _ = self.output.write(&text);
            (place.since, place.said, place.more) = (now, 0, 0);
        }
    }

    /// A line of the log's own.
    fn own(&mut self, text: &str) {
        let since = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let line = match self.shared.is_json.load(Ordering::Relaxed) {
            0 => format!("{time}  WARN {text}\n"),
            _ => format!(
                "{}\n",
                serde_json::json!({ "time": time, "level": "warn", "message": text })
            ),
        };
        // As above.
        let _ = self.output.write(&line);
    }
}

/// A JSON line with the number of those that were like it.
fn with_count(line: &str, more: u64) -> String {
    let mut object: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
    object.insert("more_like_this".to_owned(), more.into());
    format!("{}\n", Value::Object(object))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn settings(path: &std::path::Path, format: LogFormat) -> Log {
        Log {
            level: LogLevel::Info,
            format,
            path: Some(path.to_owned()),
            repeats_per_second_max: 3,
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hangu-log-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    /// A log of this thread alone, with its writer run by hand.
    struct Bench {
        log: ProcessLog,
        orders: Receiver<Order>,
        writer: Writer,
        path: PathBuf,
        _guard: tracing::subscriber::DefaultGuard,
    }

    fn bench(name: &str, format: LogFormat) -> Bench {
        let path = scratch(name);
        let settings = settings(&path, format);
        let (log, orders) = ProcessLog::new(&settings);
        let output = Output::open(settings.path.clone()).unwrap();
        let writer = Writer::new(output, settings.repeats_per_second_max, Arc::clone(&log.shared));
        let says = Says(Arc::clone(&log.shared));
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(says));
        Bench { log, orders, writer, path, _guard: guard }
    }

    impl Bench {
        fn written(&mut self) -> String {
            while let Ok(order) = self.orders.try_recv() {
                self.writer.follow(order);
            }
            fs::read_to_string(&self.path).unwrap()
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.path);
        }
    }

    #[test]
    fn a_line_has_time_level_message_and_fields_and_stays_one_line() {
        let mut bench = bench("text", LogFormat::Text);
        tracing::info!(peer = "10.0.0.1:1\nERROR forged", "hello");
        tracing::debug!("not said");
        let text = bench.written();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("Z  INFO hello peer=10.0.0.1:1\\nERROR forged\n"), "{text}");
    }

    #[test]
    fn a_json_line_is_an_object_with_numbers_and_texts() {
        let mut bench = bench("json", LogFormat::Json);
        tracing::warn!(worker = 3, why = "a \"b\"", "it is {}", "so");
        let text = bench.written();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "it is so");
        assert_eq!((&line["level"], &line["worker"]), (&Value::from("warn"), &Value::from(3)));
        assert_eq!(line["why"], "a \"b\"");
    }

    #[test]
    fn the_level_can_change_while_the_process_runs() {
        let mut bench = bench("level", LogFormat::Text);
        bench.log.set_level(LogLevel::Error);
        tracing::warn!("first");
        bench.log.set_level(LogLevel::Debug);
        tracing::debug!("second");
        assert_eq!(bench.log.level(), LogLevel::Debug);
        let text = bench.written();
        assert!(!text.contains("first") && text.contains("second"), "{text}");
    }

    #[test]
    fn a_place_that_says_too_much_is_counted_and_others_are_heard() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let mut bench = bench("repeats", format);
            for number in 0..10 {
                tracing::error!(number, "again");
                if number == 9 {
                    tracing::error!("another place");
                }
            }
            let text = bench.written();
            assert_eq!(text.matches("again").count(), 3, "{text}");
            assert!(text.contains("another place"), "{text}");
            let later = clock::now().after(WINDOW);
            bench.writer.tell_more(later);
            let text = bench.written();
            let more = match format {
                LogFormat::Text => "number=9 (7 more like this)",
                LogFormat::Json => "\"more_like_this\":7",
            };
            assert!(text.contains(more), "{text}");
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew_and_one_that_cannot_be_is_told() {
        let mut bench = bench("reopen", LogFormat::Text);
        let moved = scratch("moved");
        tracing::info!("before");
        bench.written();
        fs::rename(&bench.path, &moved).unwrap();
        bench.log.reopen();
        tracing::info!("after");
        let text = bench.written();
        assert!(text.contains("after") && !text.contains("before"), "{text}");
        bench.log.apply(&settings("/proc/none/log".as_ref(), LogFormat::Text));
        tracing::info!("still here");
        let text = bench.written();
        assert!(text.contains("/proc/none/log cannot be opened"), "{text}");
        assert!(text.contains("still here"), "{text}");
        fs::remove_file(moved).unwrap();
    }

    #[test]
    fn a_full_queue_holds_nobody_up() {
        let mut bench = bench("full", LogFormat::Text);
        for number in 0..QUEUE_LINES_MAX + 5 {
            tracing::info!(number, "line");
        }
        bench.written();
        bench.writer.tell_more(clock::now());
        assert!(bench.written().contains("5 lines of this log were lost"));
    }
}
