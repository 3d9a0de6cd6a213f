//! Carries out an attack: its connections, its pace, and beginning anew when the target cuts one.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    attacks::{Attack, Next, Opening, Pace, Reading},
    clock,
    flow::{Asked, Flow, Heard},
    frame::{self, Unread},
    random::Random,
    sockets,
};

/// What the kernel may hold of what we sent: little, for what it holds the target has not accepted.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(1);
/// From one connection of an attack to the next, over all its threads: 500 a second. A target that
/// cuts each one at once does not turn another attack into one by connections without a bound.
const CONNECTION_EVERY: Duration = Duration::from_millis(2);
/// The wait after a connection that did not come about.
const REFUSED_WAIT: Duration = Duration::from_millis(50);
/// Stack of a thread that holds one connection.
const STACK_BYTES: usize = 256 * 1024;
/// More than all answers of a run, and far from the most that a window may be.
const WINDOW_INCREMENT: u32 = 1 << 30;
/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;
/// What is late by more is not sent later.
const LATE_MAX: Duration = Duration::from_millis(100);
/// Threads begin this far apart, so that they do not send at the same instant.
const STAGGER: Duration = Duration::from_millis(1);

/// What is attacked, when and how fast.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Where the target listens.
    pub(crate) target: SocketAddr,
    /// What requests ask for.
    pub(crate) asked: Asked,
    /// Bytes a second, over all connections.
    pub(crate) bytes_per_second: f64,
    /// When it begins.
    pub(crate) begin: Instant,
    /// When it ends.
    pub(crate) end: Instant,
    /// From which everything random follows.
    pub(crate) seed: u64,
}

/// What became of an attack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Bytes that the target's process took from its sockets, as far as the kernel tells.
    pub(crate) accepted_bytes: u64,
    /// Connections that came about.
    pub(crate) connections: u64,
    /// Of these, those that the target ended, by a word (GOAWAY) or without.
    pub(crate) cut: u64,
    /// Connections that did not come about.
    pub(crate) refused: u64,
    /// What the target said.
    pub(crate) heard: Heard,
}

/// Begins an attack; [`finish`] waits for its end.
///
/// # Errors
/// A thread cannot be started.
pub(crate) fn start(attack: &Attack, order: &Order) -> io::Result<Vec<JoinHandle<Outcome>>> {
    let order = Arc::new(order.clone());
    let mut threads = Vec::new();
    for number in 0..attack.connections {
        let (attack, order) = (*attack, Arc::clone(&order));
        let work = move || Attacker::new(attack, &order, number).run();
        threads.push(thread::Builder::new().stack_size(STACK_BYTES).spawn(work)?);
    }
    Ok(threads)
}

/// Waits for the end of an attack.
pub(crate) fn finish(threads: Vec<JoinHandle<Outcome>>) -> Outcome {
    let mut all = Outcome::default();
    for thread in threads {
        let one = thread.join().expect("an attacker does not panic");
        all.accepted_bytes += one.accepted_bytes;
        all.connections += one.connections;
        all.cut += one.cut;
        all.refused += one.refused;
        all.heard.add(&one.heard);
    }
    all
}

/// One connection after the other.
struct Attacker<'a> {
    attack: Attack,
    order: &'a Order,
    number: u32,
    bytes_per_second: f64,
    /// Bytes written, over all connections.
    written: u64,
    /// Bytes by which the pace goes: those written, and those for which the time has passed unused.
    paced: f64,
    outcome: Outcome,
}

/// How a connection ended.
enum End {
    /// The time is over.
    Time,
    /// The target ended it.
    Cut,
    /// We ended it, as the attack has it.
    Ours,
}

impl<'a> Attacker<'a> {
    fn new(attack: Attack, order: &'a Order, number: u32) -> Self {
        let bytes_per_second = order.bytes_per_second / f64::from(attack.connections);
        let outcome = Outcome::default();
        Self { attack, order, number, bytes_per_second, written: 0, paced: 0.0, outcome }
    }

    fn run(mut self) -> Outcome {
        clock::wait_until(self.order.begin + STAGGER * self.number);
        let mut allowed = clock::now();
        while clock::now() < self.order.end {
            clock::wait_until(allowed.min(self.order.end));
            allowed = clock::now() + CONNECTION_EVERY * self.attack.connections;
            let Ok(mut socket) = connect(self.order.target) else {
                self.outcome.refused += 1;
                clock::wait_until(clock::now() + REFUSED_WAIT);
                continue;
            };
            self.outcome.connections += 1;
            let place = u64::from(self.number) << 32 | self.outcome.connections;
            let mut flow = Flow::new(self.order.asked.clone(), Random::new(self.order.seed, place));
            let before = self.written;
            let end = self.attack(&mut socket, &mut flow);
            self.outcome.heard.add(&flow.heard);
            let mut lost = sockets::unacknowledged(&socket);
            match end {
                // An orderly end.
                Ok(End::Ours) => {}
                Ok(End::Time) => {
                    lost += self.unread_by_target(&socket);
                    reset_on_close(&socket);
                }
                Ok(End::Cut) | Err(_) => {
                    self.outcome.cut += 1;
                    reset_on_close(&socket);
                }
            }
            self.outcome.accepted_bytes += (self.written - before).saturating_sub(lost);
        }
        self.outcome
    }

    /// One connection to its end.
    fn attack(&mut self, socket: &mut TcpStream, flow: &mut Flow) -> io::Result<End> {
        let mut out = Vec::new();
        match self.attack.opening {
            Opening::HalfPreface => out.extend_from_slice(&frame::PREFACE[..12]),
            Opening::Whole => {
                out.extend_from_slice(frame::PREFACE);
                frame::settings(&mut out, self.attack.settings);
                // Answers do not wait unless the windows of streams make them.
                frame::window_update(&mut out, 0, WINDOW_INCREMENT);
                (self.attack.begin)(flow, &mut out);
            }
        }
        let mut unread = Unread::default();
        let mut replies = Vec::new();
        let mut is_last = false;
        loop {
            // What the target is owed goes between two pieces, never into one.
            out.append(&mut replies);
            let due = self.due();
            if !self.pass(socket, due, flow, &mut unread, &mut replies)? {
                return Ok(self.ended());
            }
            if !self.send(socket, &mut out, flow, &mut unread, &mut replies)? {
                return Ok(self.ended());
            }
            if is_last {
                return Ok(End::Ours);
            }
            let next = (self.attack.go_on)(flow, &mut out);
            flow.turn += 1;
            match next {
                Next::GoOn => {}
                Next::Wait(wait) => {
                    if !out.is_empty()
                        && !self.send(socket, &mut out, flow, &mut unread, &mut replies)?
                    {
                        return Ok(self.ended());
                    }
                    let until = clock::now() + wait;
                    if !self.pass(socket, until, flow, &mut unread, &mut replies)? {
                        return Ok(self.ended());
                    }
                }
                Next::Close(wait) => {
                    let until = clock::now() + wait;
                    if !self.pass(socket, until, flow, &mut unread, &mut replies)? {
                        return Ok(self.ended());
                    }
                    is_last = true;
                }
            }
        }
    }

    /// Looked at once for each connection, where bytes are what counts: it takes the kernel
    /// milliseconds.
    fn unread_by_target(&self, socket: &TcpStream) -> u64 {
        match self.attack.pace {
            Pace::Bytes => sockets::unread_by_peer(socket).unwrap_or(0),
            Pace::Waits => 0,
        }
    }

    /// After a `false`: the time is over, or the target has ended the connection.
    fn ended(&self) -> End {
        if clock::now() >= self.order.end { End::Time } else { End::Cut }
    }

    /// When the next piece is due at an even rate. What a slow target did not take in time is not
    /// made up for.
    fn due(&mut self) -> Instant {
        let now = clock::now();
        if self.attack.pace != Pace::Bytes {
            return now;
        }
        let passed = now.saturating_duration_since(self.order.begin).as_secs_f64();
        let least = (passed - LATE_MAX.as_secs_f64()) * self.bytes_per_second;
        self.paced = self.paced.max(least);
        self.order.begin + Duration::from_secs_f64(self.paced / self.bytes_per_second)
    }

    /// Lets time pass, and hears what is said meanwhile. `false`: the connection or the time is over.
    fn pass(
        &mut self,
        socket: &mut TcpStream,
        until: Instant,
        flow: &mut Flow,
        unread: &mut Unread,
        replies: &mut Vec<u8>,
    ) -> io::Result<bool> {
        loop {
            let ready = wait(socket, PollFlags::empty(), self.attack.reading, until)?;
            if ready.intersects(PollFlags::IN) && !hear(socket, flow, unread, replies)? {
                return Ok(false);
            }
            if is_over(ready) || clock::now() >= self.order.end {
                return Ok(false);
            }
            if clock::now() >= until {
                return Ok(true);
            }
        }
    }

    /// Sends all of it, however long the target takes. `false`: the connection or the time is over.
    fn send(
        &mut self,
        socket: &mut TcpStream,
        out: &mut Vec<u8>,
        flow: &mut Flow,
        unread: &mut Unread,
        replies: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let mut at = 0;
        while at < out.len() {
            match socket.write(&out[at..]) {
                Ok(count) => {
                    at += count;
                    self.written += count as u64;
                    self.paced += count as f64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let end = self.order.end;
                    let ready = wait(socket, PollFlags::OUT, self.attack.reading, end)?;
                    if ready.intersects(PollFlags::IN) && !hear(socket, flow, unread, replies)? {
                        return Ok(false);
                    }
                    if is_over(ready) || clock::now() >= end {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        out.clear();
        Ok(true)
    }
}

/// Waits for a socket at most until an instant.
fn wait(
    socket: &TcpStream,
    wanted: PollFlags,
    reading: Reading,
    until: Instant,
) -> io::Result<PollFlags> {
    let wanted = match reading {
        Reading::All => wanted | PollFlags::IN,
        Reading::Nothing => wanted,
    } | PollFlags::RDHUP;
    let left = until.saturating_duration_since(clock::now());
    let timeout = Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut polled = [PollFd::new(socket, wanted)];
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) => Ok(polled[0].revents()),
        Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the target has closed the connection.
fn is_over(ready: PollFlags) -> bool {
    ready.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}

/// Reads what is there. `false`: the target has ended the connection.
fn hear(
    socket: &mut TcpStream,
    flow: &mut Flow,
    unread: &mut Unread,
    replies: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut bytes = [0; READ_BYTES];
    let count = match socket.read(&mut bytes) {
        Ok(0) => return Ok(false),
        Ok(count) => count,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    unread.push(&bytes[..count]);
    loop {
        match unread.next() {
            Ok(Some(frame)) if flow.hear(&frame, replies) => return Ok(false),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(frame::TooLong) => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_tcp_nodelay(true)?;
    socket.connect_timeout(&target.into(), CONNECT)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Leaves nothing behind in the kernel: thousands of connections a minute would use up its ports.
fn reset_on_close(socket: &TcpStream) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

    use super::*;
    use crate::attacks::ATTACKS;

    const LASTS: Duration = Duration::from_millis(400);

    fn attack(name: &str, target: SocketAddr) -> Outcome {
        let attack = ATTACKS.iter().find(|it| it.name == name).unwrap();
        let asked = Asked { authority: "a".into(), path: "/".into(), large_path: "/l".into() };
        let begin = clock::now();
        let (end, bytes_per_second) = (begin + LASTS, 1_000_000.0);
        let order = Order { target, asked, bytes_per_second, begin, end, seed: 1 };
        finish(start(attack, &order).unwrap())
    }

    /// A target that reads so many bytes of each connection and then closes it, or goes on for ever.
    fn target(bytes: Option<u64>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let read =
                    move || io::copy(&mut socket.take(bytes.unwrap_or(u64::MAX)), &mut io::sink());
                thread::spawn(read);
            }
        });
        address
    }

    #[test]
    fn what_is_sent_and_how_often_is_begun_anew_is_bounded() {
        for attack_name in ["ping", "half-preface", "idle-streams"] {
            let outcome = attack(attack_name, target(Some(1)));
            assert!(outcome.cut > 0, "{outcome:?}");
            // 500 a second, and those with which all threads begin.
            assert!(outcome.connections <= 200 + 200, "{outcome:?}");
        }
        let outcome = attack("ping", target(None));
        let allowed = LASTS.as_secs_f64() * 1e6 + 8.0 * 2.0 * 4096.0;
        assert!(outcome.accepted_bytes > 100_000, "{outcome:?}");
        assert!(outcome.accepted_bytes as f64 <= allowed, "{outcome:?}");
        assert_eq!((outcome.connections, outcome.cut), (8, 0));
    }

    #[test]
    fn a_target_that_is_not_there_is_told() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let outcome = attack("churn", address);
        assert!(outcome.refused > 0 && outcome.connections == 0, "{outcome:?}");
    }
}
