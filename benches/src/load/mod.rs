//! The clients in front of the proxies: one thread, epoll, every answer verified.
//!
//! A [`Load`] keeps its connections and what is in flight on them from one [`Load::run`] to the
//! next, so that a warm-up can be followed by a measured window without a break.
//!
//! Latency counts from the instant at which a request was *due*. In a closed loop that is when its
//! place became free; at a fixed rate it is its place in the schedule, even if the connection had
//! no room then, so that a slow answer also delays, visibly, the requests behind it.

mod bolt;
mod client;
mod http;
mod http2;
mod one;
mod schedule;
mod tally;

pub use client::Fault;
pub use one::Single;
pub use tally::{Latency, Tally};

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::clock;
use crate::poller::{Events, Poller, Ready};
use crate::transfer::{Outbox, Partial, ReadBuffer, Transfer};
use crate::workload::{Pace, Protocol, Workload};
use client::{Answer, Client};
use schedule::Schedule;

/// What one read takes at most; also the longest message head.
const BUFFER_BYTES: usize = 256 * 1024;
/// Requests that wait on one connection at a fixed rate: half a minute's worth of a usual row.
/// One more is an error, for the proxy does not keep up.
const BACKLOG_MAX: usize = 16 * 1024;
/// Connections opened anew in one run before the proxy is given up: it closes them all.
const REOPENED_MAX: u64 = 1000;
/// With requests in flight and no answer for so long, the proxy has lost them; a machine with much
/// else to do may take seconds.
const STALL: Duration = Duration::from_secs(10);

/// Connections to one address that carry one workload.
#[derive(Debug)]
pub struct Load {
    target: SocketAddr,
    workload: Workload,
    poller: Poller,
    events: Events,
    connections: Vec<Connection>,
    buffer: ReadBuffer,
    answers: Vec<Answer>,
    schedule: Option<Schedule>,
    stall: Duration,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    client: Box<dyn Client>,
    partial: Partial,
    outbox: Outbox,
    /// Due instants of requests for which there was no place.
    backlog: VecDeque<Instant>,
    /// The end of the stream is somewhere behind the bytes in the kernel.
    is_ending: bool,
}

impl Load {
    /// Opens all connections.
    ///
    /// # Errors
    /// The target refuses them, or the process has no descriptor left.
    pub fn connect(target: SocketAddr, workload: Workload, pace: Pace) -> io::Result<Self> {
        let poller = Poller::new()?;
        let schedule = match pace {
            Pace::Closed => None,
            Pace::Fixed { per_second } => Some(Schedule::new(per_second)?),
        };
        if let Some(schedule) = &schedule {
            poller.add_source(schedule, SCHEDULE)?;
        }
        let mut load = Self {
            target,
            workload,
            poller,
            events: Events::new(),
            connections: Vec::with_capacity(workload.connections),
            buffer: ReadBuffer::new(BUFFER_BYTES),
            answers: Vec::new(),
            schedule,
            stall: STALL,
        };
        for number in 0..workload.connections {
            let connection = load.open(number)?;
            load.connections.push(connection);
        }
        Ok(load)
    }

    /// Sends and verifies for `duration`, and on until there is an answer: a run without one says
    /// that the proxy lost its requests, not that the machine had no time for it.
    ///
    /// # Errors
    /// The proxy no longer takes connections, or closes them all the time. Wrong answers are no
    /// error of the run: they are counted in the [`Tally`].
    pub fn run(&mut self, duration: Duration) -> io::Result<Tally> {
        let start = clock::now();
        let mut tally = Tally::new();
        let mut events = std::mem::take(&mut self.events);
        let mut now = start;
        let mut last_answer = start;
        if self.schedule.is_none() {
            self.fill(start, &mut tally)?;
        }
        while now < start + duration || (tally.is_empty() && self.in_flight() > 0) {
            let left = (start + duration).saturating_duration_since(now);
            let wait = if left.is_zero() { self.stall } else { left };
            self.poller.wait(&mut events, Some(wait))?;
            now = clock::now();
            let answered = tally.requests();
            for ready in events.iter() {
                match ready.token {
                    SCHEDULE => self.send_due(now, &mut tally)?,
                    number => self.serve(number as usize, ready, now, &mut tally)?,
                }
            }
            if tally.requests() != answered || self.in_flight() == 0 {
                last_answer = now;
            }
            if now - last_answer >= self.stall {
                tally.fault(Fault::Lost, self.in_flight() as u64);
                break;
            }
        }
        self.events = events;
        tally.elapsed = clock::now() - start;
        Ok(tally)
    }

    /// Closed loop: every free place is taken.
    fn fill(&mut self, now: Instant, tally: &mut Tally) -> io::Result<()> {
        for number in 0..self.connections.len() {
            let connection = &mut self.connections[number];
            while connection.client.has_room() {
                connection.client.send(now, connection.outbox.tail());
            }
            if connection.outbox.flush(&connection.stream).is_err() {
                self.reopen(number, Fault::Closed, now, tally)?;
            }
        }
        Ok(())
    }

    /// Fixed rate: all requests that are due by now.
    fn send_due(&mut self, now: Instant, tally: &mut Tally) -> io::Result<()> {
        let Some(schedule) = &mut self.schedule else { return Ok(()) };
        schedule.acknowledge();
        while let Some((due, turn)) = self.schedule.as_mut().and_then(|it| it.next_due(now)) {
            let number = turn % self.connections.len();
            let connection = &mut self.connections[number];
            if !connection.submit(due) {
                tally.fault(Fault::Overrun, 1);
            }
            if connection.outbox.flush(&connection.stream).is_err() {
                self.reopen(number, Fault::Closed, now, tally)?;
            }
        }
        Ok(())
    }

    fn serve(
        &mut self,
        number: usize,
        ready: Ready,
        now: Instant,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let connection = &mut self.connections[number];
        connection.is_ending |= ready.is_hung_up;
        self.answers.clear();
        let result = connection.receive(&mut self.buffer, &mut self.answers);
        for answer in &self.answers {
            match answer.verdict {
                Ok(()) => tally.answer(now.saturating_duration_since(answer.due)),
                Err(fault) => tally.fault(fault, 1),
            }
        }
        let result = result.and_then(|()| {
            connection.refill(self.schedule.is_none().then_some(now));
            connection.client.settle(connection.outbox.tail());
            connection.outbox.flush(&connection.stream).map_err(|_| Fault::Closed)
        });
        match result {
            Ok(_) => Ok(()),
            Err(fault) => self.reopen(number, fault, now, tally),
        }
    }

    /// Counts what was in flight as lost and begins anew.
    fn reopen(
        &mut self,
        number: usize,
        fault: Fault,
        now: Instant,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let lost = self.connections[number].client.in_flight().max(1);
        tally.fault(fault, lost as u64);
        tally.reopened += 1;
        if tally.reopened > REOPENED_MAX {
            return Err(io::Error::other(format!("connections keep ending: {fault}")));
        }
        let backlog = std::mem::take(&mut self.connections[number].backlog);
        self.connections[number] = self.open(number)?;
        let connection = &mut self.connections[number];
        connection.backlog = backlog;
        connection.refill(self.schedule.is_none().then_some(now));
        // A write to a connection that is broken already shows with its next event.
        let _ = connection.outbox.flush(&connection.stream);
        Ok(())
    }

    fn open(&self, number: usize) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.target)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.poller.add_stream(&stream, number as u64)?;
        let client = client_of(&self.workload, number);
        Ok(Connection {
            stream,
            client,
            partial: Partial::new(),
            outbox: Outbox::default(),
            backlog: VecDeque::new(),
            is_ending: false,
        })
    }

    fn in_flight(&self) -> usize {
        self.connections.iter().map(|connection| connection.client.in_flight()).sum()
    }
}

/// The client of connection `number`.
fn client_of(workload: &Workload, number: usize) -> Box<dyn Client> {
    match workload.protocol {
        Protocol::Http1 { body_bytes } => {
            Box::new(http::HttpClient::new(body_bytes, workload.route))
        }
        Protocol::Bolt { content_bytes } => {
            Box::new(bolt::BoltClient::new(number, workload.in_flight, content_bytes))
        }
        Protocol::Http2 { asks, .. } => {
            Box::new(http2::Http2Client::new(number, workload.in_flight, asks))
        }
    }
}

impl Connection {
    /// Sends a request, or lets it wait; `false` if too many wait.
    fn submit(&mut self, due: Instant) -> bool {
        if self.client.has_room() {
            self.client.send(due, self.outbox.tail());
        } else if self.backlog.len() < BACKLOG_MAX {
            self.backlog.push_back(due);
        } else {
            return false;
        }
        true
    }

    /// Takes the free places: by what waits, and in a closed loop by requests due at `closed`.
    fn refill(&mut self, closed: Option<Instant>) {
        while self.client.has_room() {
            let Some(due) = self.backlog.pop_front().or(closed) else { return };
            self.client.send(due, self.outbox.tail());
        }
    }

    fn receive(&mut self, buffer: &mut ReadBuffer, answers: &mut Vec<Answer>) -> Result<(), Fault> {
        loop {
            let input = buffer.read(&self.stream, &mut self.partial).map_err(|_| Fault::Closed)?;
            match input.transfer {
                Transfer::Moved(_) => {}
                Transfer::Blocked => return Ok(()),
                Transfer::Ended => return Err(Fault::Closed),
            }
            let taken = self.client.receive(input.bytes, answers)?;
            self.partial.extend_from_slice(&input.bytes[taken..]);
            if !input.is_full && !self.is_ending {
                return Ok(());
            }
        }
    }
}

/// The token of the schedule's timer; connections have their numbers.
const SCHEDULE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Addresses, Backend};
    use crate::workload::WORKLOADS;

    fn backend() -> Addresses {
        let backend = Backend::bind(Addresses::any()).unwrap();
        let addresses = backend.addresses().unwrap();
        std::thread::spawn(move || backend.run());
        addresses
    }

    fn paces(workload: &Workload) -> impl Iterator<Item = (&Workload, Pace)> {
        workload.paces().iter().map(move |pace| (workload, *pace))
    }

    #[test]
    fn every_workload_is_answered_rightly_by_the_backend() {
        let backend = backend();
        for (workload, pace) in WORKLOADS.iter().flat_map(paces) {
            let target = match workload.protocol {
                Protocol::Http1 { .. } => backend.http,
                Protocol::Bolt { .. } => backend.bolt,
                Protocol::Http2 { .. } => backend.http2,
            };
            let mut load = Load::connect(target, *workload, pace).unwrap();
            for _ in 0..2 {
                let tally = load.run(Duration::from_millis(100)).unwrap();
                assert_eq!(tally.faults().count(), 0, "{}", workload.name);
                assert!(tally.requests() > 0, "{}", workload.name);
            }
        }
    }

    #[test]
    fn a_server_that_never_answers_has_lost_the_requests() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let workload = Workload { connections: 2, ..WORKLOADS[0] };
        let mut load =
            Load::connect(listener.local_addr().unwrap(), workload, Pace::Closed).unwrap();
        load.stall = Duration::from_millis(20);
        let tally = load.run(Duration::from_millis(1)).unwrap();
        assert_eq!(tally.faults().collect::<Vec<_>>(), [(Fault::Lost, 2)]);
        assert!(tally.elapsed >= load.stall);
    }

    #[test]
    fn a_server_that_answers_wrongly_and_closes_is_seen() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write(b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno");
            }
        });
        let workload = Workload { connections: 1, ..WORKLOADS[0] };
        let mut load = Load::connect(target, workload, Pace::Closed).unwrap();
        let run = load.run(Duration::from_millis(100));
        // A fast machine reaches the end of the load's patience within the run.
        match run {
            Ok(tally) => {
                let faults: Vec<_> = tally.faults().map(|(fault, _)| fault).collect();
                assert_eq!(faults, [Fault::Status, Fault::Closed]);
                assert_eq!(tally.requests(), 0);
            }
            Err(error) => assert!(error.to_string().starts_with("connections keep ending")),
        }
    }
}
