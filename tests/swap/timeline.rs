//! What clients, backend and swapper know of each other: when swaps begin and end, and what the
//! clients saw meanwhile.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A swap is near for so long after its end: what it delayed has come by then.
pub(crate) const AFTERMATH: Duration = Duration::from_millis(300);

/// Shared by all threads of a run.
pub(crate) struct Timeline {
    base: Instant,
    announced: AtomicU32,
    begun: AtomicU32,
    ended: AtomicU32,
    /// Of the last swap, in nanoseconds since the base.
    window_begin: AtomicU64,
    /// [`RUNNING`] while it runs.
    window_end: AtomicU64,
    spans: Mutex<Vec<Span>>,
    ready: AtomicU32,
    holders: AtomicU32,
    holds_sent: AtomicU64,
    holds_seen: AtomicU64,
    last_answer: AtomicU64,
    noticed: Box<[Noticed]>,
    far_silence: AtomicU64,
    is_sending_over: AtomicBool,
    is_over: AtomicBool,
    is_dead: AtomicBool,
}

/// When a swap ran.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// When it was ordered.
    pub(crate) begin: Instant,
    /// When the order was carried out or had failed.
    pub(crate) end: Instant,
}

/// What clients noticed near a swap, in nanoseconds.
#[derive(Default)]
struct Noticed {
    silence: AtomicU64,
    lag: AtomicU64,
}

const RUNNING: u64 = u64::MAX;

impl Timeline {
    /// A run with so many swaps.
    pub(crate) fn new(swaps: u32, base: Instant) -> Self {
        Self {
            base,
            announced: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            window_begin: AtomicU64::new(0),
            window_end: AtomicU64::new(0),
            spans: Mutex::default(),
            ready: AtomicU32::new(0),
            holders: AtomicU32::new(0),
            holds_sent: AtomicU64::new(0),
            holds_seen: AtomicU64::new(0),
            last_answer: AtomicU64::new(0),
            noticed: (0..swaps).map(|_| Noticed::default()).collect(),
            far_silence: AtomicU64::new(0),
            is_sending_over: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            is_dead: AtomicBool::new(false),
        }
    }

    // ---- of the swapper

    /// Whether all connections of so many threads of clients have come about.
    pub(crate) fn is_ready(&self, threads: u32) -> bool {
        self.ready.load(Ordering::SeqCst) >= threads
    }

    /// The next swap comes soon: the clients whose turn it is send what is to be in flight.
    pub(crate) fn announce(&self) {
        self.announced.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether all that is to be in flight at the swaps announced so far has reached the backend.
    pub(crate) fn is_held(&self, threads: u32) -> bool {
        self.holders.load(Ordering::SeqCst) == threads * self.announced()
            && self.holds_seen.load(Ordering::SeqCst) >= self.holds_sent.load(Ordering::SeqCst)
    }

    /// The swap announced last begins.
    pub(crate) fn begin(&self, now: Instant) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.window_begin.store(self.nanos(now), Ordering::SeqCst);
        self.window_end.store(RUNNING, Ordering::SeqCst);
    }

    /// The swap that began last is over.
    pub(crate) fn end(&self, begin: Instant, end: Instant) {
        self.window_end.store(self.nanos(end + AFTERMATH), Ordering::SeqCst);
        self.spans.lock().expect("no poison").push(Span { begin, end });
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// No further requests.
    pub(crate) fn stop_sending(&self) {
        self.is_sending_over.store(true, Ordering::SeqCst);
    }

    /// All that is in flight was waited for: connections that end from now on mean nothing.
    pub(crate) fn close(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    // ---- of clients and backend

    /// Swaps announced so far.
    pub(crate) fn announced(&self) -> u32 {
        self.announced.load(Ordering::SeqCst)
    }

    /// Whether a swap runs now.
    pub(crate) fn is_swapping(&self) -> bool {
        self.begun.load(Ordering::SeqCst) > self.ended.load(Ordering::SeqCst)
    }

    /// Swaps that are over.
    pub(crate) fn ended(&self) -> u32 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Whether the time for new requests is over.
    pub(crate) fn is_sending_over(&self) -> bool {
        self.is_sending_over.load(Ordering::SeqCst)
    }

    /// Whether the run is over.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// The proxy is gone for good: no further requests, and nothing is waited for.
    pub(crate) fn give_up(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        self.stop_sending();
    }

    /// Whether the proxy is gone for good.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// All connections of a client thread have come about.
    pub(crate) fn ready(&self) {
        self.ready.fetch_add(1, Ordering::SeqCst);
    }

    /// A client thread has sent all that is to be in flight at the swap announced last.
    pub(crate) fn hold(&self, sent: u64) {
        self.holds_sent.fetch_add(sent, Ordering::SeqCst);
        self.holders.fetch_add(1, Ordering::SeqCst);
    }

    /// The backend has one of these.
    pub(crate) fn see_hold(&self) {
        self.holds_seen.fetch_add(1, Ordering::SeqCst);
    }

    /// How many swaps ran from begin to end within this time.
    pub(crate) fn swaps_within(&self, from: Instant, to: Instant) -> u32 {
        let spans = self.spans.lock().expect("no poison");
        let within = |it: &&Span| from <= it.begin && it.end <= to;
        spans.iter().filter(within).count().try_into().unwrap_or(u32::MAX)
    }

    /// Whether the last swap was near at any instant of this time.
    pub(crate) fn is_near(&self, from: Instant, to: Instant) -> bool {
        let begin = self.window_begin.load(Ordering::Relaxed);
        begin != 0
            && self.nanos(to) >= begin
            && self.nanos(from) <= self.window_end.load(Ordering::Relaxed)
    }

    /// Answers came. The time since those before is a silence of all connections.
    pub(crate) fn answers(&self, now: Instant) {
        let before = self.last_answer.swap(self.nanos(now), Ordering::Relaxed);
        if before == 0 || self.is_sending_over() {
            return;
        }
        let silence = self.nanos(now).saturating_sub(before);
        if self.is_near(self.base + Duration::from_nanos(before), now) {
            if let Some(noticed) = self.noticed() {
                noticed.silence.fetch_max(silence, Ordering::Relaxed);
            }
        } else {
            self.far_silence.fetch_max(silence, Ordering::Relaxed);
        }
    }

    /// A request was sent later than it was due: this much is the clients' own.
    pub(crate) fn lag(&self, due: Instant, now: Instant) {
        if let Some(noticed) = self.noticed().filter(|_| self.is_near(due, now)) {
            let lag = now.saturating_duration_since(due);
            noticed.lag.fetch_max(lag.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    // ---- of the report

    /// The longest silence of all connections, and the longest lag of the clients themselves, near
    /// a swap.
    pub(crate) fn noticed_near(&self, swap: u32) -> (Duration, Duration) {
        let nanos = |it: &AtomicU64| Duration::from_nanos(it.load(Ordering::SeqCst));
        let noticed = self.noticed.get(swap as usize);
        noticed.map_or_else(Default::default, |it| (nanos(&it.silence), nanos(&it.lag)))
    }

    /// The longest silence of all connections while no swap was near.
    pub(crate) fn far_silence(&self) -> Duration {
        Duration::from_nanos(self.far_silence.load(Ordering::SeqCst))
    }

    /// When swaps ran.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("no poison").clone()
    }

    /// What is noticed near the last swap.
    fn noticed(&self) -> Option<&Noticed> {
        let last = self.begun.load(Ordering::Relaxed).checked_sub(1)?;
        self.noticed.get(last as usize)
    }

    fn nanos(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.base).as_nanos() as u64
    }
}
