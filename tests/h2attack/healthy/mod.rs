//! Healthy clients: they ask at a low fixed rate, verify each answer and measure how long it took.
//!
//! Times count from the instant at which a request was due, so that a stall is seen by all requests
//! that it delays.

mod h2;
mod http1;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{backend, clock};

/// How long an answer may take; what takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many kinds of errors are told in words.
const WORDS_MAX: usize = 8;
/// Latencies in microseconds: up to a minute, to three digits.
const LATENCY_MAX: u64 = 60_000_000;

/// What is asked for and what the answer is to be.
#[derive(Debug)]
pub(crate) enum Answers {
    /// Those of our own backend: each has its number.
    Numbered,
    /// All the same, as the first one was.
    Same {
        /// What is asked for.
        path: String,
        /// The first answer.
        first: Mutex<Option<Vec<u8>>>,
    },
}

impl Answers {
    fn path(&self, number: u64) -> String {
        match self {
            Self::Numbered => backend::path(number),
            Self::Same { path, .. } => path.clone(),
        }
    }

    fn is_right(&self, number: u64, body: &[u8]) -> bool {
        match self {
            Self::Numbered => body == backend::body(number),
            Self::Same { first, .. } => {
                let mut first = first.lock().expect("no poison");
                first.get_or_insert_with(|| body.to_vec()) == body
            }
        }
    }
}

/// Which protocol a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// HTTP/2 by prior knowledge.
    H2,
    /// HTTP/1.1.
    Http1,
}

/// A group of clients.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// What they speak.
    pub(crate) speech: Speech,
    /// Where they ask.
    pub(crate) target: SocketAddr,
    /// Connections, each with one request at a time.
    pub(crate) connections: u32,
    /// Requests a second, over all connections.
    pub(crate) per_second: f64,
    /// What they ask for.
    pub(crate) answers: Arc<Answers>,
}

/// When the attack begins and ends; before it, for as long, there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// The first request.
    pub(crate) begin: Instant,
    /// The first request that counts.
    pub(crate) counted: Instant,
    /// The attack begins.
    pub(crate) attack: Instant,
    /// The attack ends.
    pub(crate) calm: Instant,
    /// The last request.
    pub(crate) end: Instant,
}

/// What clients saw within a time.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Right answers.
    pub(crate) right: u64,
    /// Wrong ones, and those that did not come.
    pub(crate) wrong: u64,
    /// Errors in words, and how often each came; of some kinds.
    pub(crate) words: BTreeMap<String, u64>,
    /// Of right answers, in microseconds.
    pub(crate) latencies: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        let latencies =
            Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("bounds that are allowed");
        Self { right: 0, wrong: 0, words: BTreeMap::new(), latencies }
    }

    fn count(&mut self, result: Result<(), String>, latency: Duration) {
        match result {
            Ok(()) => {
                self.right += 1;
                let us = latency.as_micros().clamp(1, u128::from(LATENCY_MAX)) as u64;
                self.latencies.saturating_record(us);
            }
            Err(words) => {
                self.wrong += 1;
                self.add_words(words, 1);
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        for (words, count) in other.words {
            self.add_words(words, count);
        }
        self.latencies.add(other.latencies).expect("the same bounds");
    }

    fn add_words(&mut self, words: String, count: u64) {
        if self.words.len() < WORDS_MAX || self.words.contains_key(&words) {
            *self.words.entry(words).or_default() += count;
        }
    }
}

/// What a group saw: before the attack, during it, and after it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Before.
    pub(crate) before: Tally,
    /// During.
    pub(crate) during: Tally,
    /// After.
    pub(crate) after: Tally,
}

impl Seen {
    fn new() -> Self {
        Self { before: Tally::new(), during: Tally::new(), after: Tally::new() }
    }

    /// Where a request that was due then counts; those of the warm-up nowhere.
    fn at(&mut self, due: Instant, schedule: &Schedule) -> Option<&mut Tally> {
        match due {
            _ if due < schedule.counted => None,
            _ if due < schedule.attack => Some(&mut self.before),
            _ if due < schedule.calm => Some(&mut self.during),
            _ => Some(&mut self.after),
        }
    }
}

/// Begins to ask; [`finish`] waits for the end of the schedule.
pub(crate) fn start(group: &Group, schedule: Schedule) -> Vec<JoinHandle<Seen>> {
    let client = |number| {
        let group = group.clone();
        thread::spawn(move || ask_all(&group, number, &schedule))
    };
    (0..group.connections).map(client).collect()
}

/// Waits for the end of the schedule.
pub(crate) fn finish(threads: Vec<JoinHandle<Seen>>) -> Seen {
    let mut all = Seen::new();
    for thread in threads {
        let one = thread.join().expect("a client does not panic");
        all.before.add(one.before);
        all.during.add(one.during);
        all.after.add(one.after);
    }
    all
}

/// A connection of either protocol.
enum Connection {
    H2(h2::Connection),
    Http1(http1::Connection),
}

/// What came of a request.
enum Answer {
    /// A body with status 200.
    Body(Vec<u8>),
    /// The target had ended the connection before it saw the request: it may be sent again.
    Unseen,
}

impl Connection {
    fn open(group: &Group) -> io::Result<Self> {
        match group.speech {
            Speech::H2 => h2::Connection::open(group.target).map(Self::H2),
            Speech::Http1 => http1::Connection::open(group.target).map(Self::Http1),
        }
    }

    fn ask(&mut self, path: &str, deadline: Instant) -> io::Result<Answer> {
        match self {
            Self::H2(it) => it.ask(path, deadline),
            Self::Http1(it) => it.ask(path, deadline),
        }
    }

    fn goes_on(&self) -> bool {
        match self {
            Self::H2(it) => it.goes_on(),
            Self::Http1(it) => it.goes_on(),
        }
    }
}

fn ask_all(group: &Group, number: u32, schedule: &Schedule) -> Seen {
    let mut seen = Seen::new();
    let mut connection = None;
    let interval = 1.0 / group.per_second;
    let first = schedule.begin + Duration::from_secs_f64(interval * f64::from(number));
    let step = interval * f64::from(group.connections);
    for turn in 0u32.. {
        let due = first + Duration::from_secs_f64(step * f64::from(turn));
        if due >= schedule.end {
            return seen;
        }
        // Being woken late is no fault of the target's; a request that waits for the one before it
        // counts from when it was due.
        let is_late = clock::now() >= due;
        clock::wait_until(due);
        let asked = if is_late { due } else { clock::now() };
        let request = u64::from(turn) * u64::from(group.connections) + u64::from(number);
        // What could not even be sent in time is not sent later.
        let result = match clock::now() >= due + PATIENCE {
            true => Err("not sent within 2 s".to_owned()),
            false => ask(group, &mut connection, request),
        };
        if result.is_err() {
            connection = None;
        }
        let latency = clock::now().saturating_duration_since(asked);
        if let Some(tally) = seen.at(due, schedule) {
            tally.count(result, latency);
        }
    }
    seen
}

/// One request, on the connection that is there or on a new one.
fn ask(group: &Group, connection: &mut Option<Connection>, number: u64) -> Result<(), String> {
    let deadline = clock::now() + PATIENCE;
    let path = group.answers.path(number);
    while clock::now() < deadline {
        let mut open = match connection.take() {
            Some(it) => it,
            None => Connection::open(group).map_err(|it| format!("connecting: {it}"))?,
        };
        match open.ask(&path, deadline).map_err(|it| it.to_string())? {
            Answer::Body(body) => {
                if open.goes_on() {
                    *connection = Some(open);
                }
                return match group.answers.is_right(number, &body) {
                    true => Ok(()),
                    false => Err(format!("a wrong body of {} bytes", body.len())),
                };
            }
            Answer::Unseen => {}
        }
    }
    Err("every connection was ended at once".to_owned())
}

/// What is left until a deadline, as a timeout of a socket.
fn left(deadline: Instant) -> io::Result<Option<Duration>> {
    let left = deadline.saturating_duration_since(clock::now());
    match left.is_zero() {
        true => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 2 s")),
        false => Ok(Some(left)),
    }
}

/// The error of a socket, with a timeout told as one.
fn told(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, "no answer within 2 s")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;

    fn seen(target: SocketAddr) -> Seen {
        let begin = clock::now();
        let after = |ms| begin + Duration::from_millis(ms);
        let (counted, attack, calm, end) = (begin, after(200), after(400), after(600));
        let schedule = Schedule { begin, counted, attack, calm, end };
        let answers = Arc::new(Answers::Numbered);
        let (speech, connections, per_second) = (Speech::Http1, 2, 100.0);
        finish(start(&Group { speech, target, connections, per_second, answers }, schedule))
    }

    #[test]
    fn right_answers_are_counted_where_they_were_due() {
        let target = backend::start(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let seen = seen(target);
        for tally in [&seen.before, &seen.during, &seen.after] {
            assert_eq!((tally.right, tally.wrong), (20, 0), "{:?}", tally.words);
        }
    }

    #[test]
    fn another_body_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let mut bytes = [0; 1024];
                while socket.read(&mut bytes).is_ok_and(|it| it > 0) {
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
                    let _ = socket.shutdown(std::net::Shutdown::Write);
                }
            }
        });
        let seen = seen(target);
        assert_eq!((seen.before.right, seen.before.wrong), (0, 20));
        assert_eq!(seen.before.words.get("a wrong body of 1 bytes"), Some(&20));
    }
}
