//! The clients: a few threads with epoll, each with its share of all kinds of connections. Nothing
//! is ever sent again: a request whose connection ends has failed.

mod bolt;
mod connections;
mod events;
mod exchange;
mod h2;
mod hearing;
mod http;
mod rotor;
mod slot;
mod stream;
mod talk;
mod tunnel;

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use http::ANSWER_BYTES;
use rotor::Rotor;
use slot::Slot;
pub(crate) use stream::hex;
use talk::{Around, Heard, Request, Room};

use crate::{
    ask::Ask,
    clock,
    group::Group,
    ledger::Ledger,
    plan::{Plan, SPREAD},
    poller::Poller,
    stream::TICK,
    tally::{Fault, Tally},
    timeline::Timeline,
    transfer::ReadBuffer,
};

/// Connections that one thread lets come about at once: fewer than any queue of a listener.
const CONNECTING_MAX: usize = 64;
/// Requests that wait on one connection at most.
const WAITING_MAX: usize = 10_000;
/// Connections are opened anew so often at most in a run.
const REOPENED_MAX: u64 = 1_000_000;
/// Requests of a connection that are in flight or wait while a proxy's capacity is measured.
const CLOSED_IN_FLIGHT: usize = 4;
/// A connection that was refused is tried again after this time.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// A proxy that has no connection of any client for so long is dead: the run is over.
const DEAD: Duration = Duration::from_secs(5);
/// Connections for one request each that are open at once in a thread; what is due beyond fails.
const ONCE_MAX: usize = 8_000;
/// The clients come from so many addresses of loopback, each with all its ports.
const SOURCES: u64 = 16;
/// A wait is at least so long: a wake-up for each request would cost more than it measures.
const WAIT_MIN: Duration = Duration::from_micros(200);

/// Where the proxy listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    /// For HTTP/1.1.
    pub(crate) http: SocketAddr,
    /// For HTTP/2.
    pub(crate) http2: SocketAddr,
    /// For Bolt.
    pub(crate) bolt: SocketAddr,
}

/// What all threads of clients share.
#[derive(Clone)]
pub(crate) struct Stage {
    /// What to do.
    pub(crate) plan: Arc<Plan>,
    /// Where to.
    pub(crate) targets: Targets,
    /// Who did what.
    pub(crate) ledger: Arc<Ledger>,
    /// When.
    pub(crate) timeline: Arc<Timeline>,
}

/// The clients of one thread.
pub(crate) struct Crowd {
    stage: Stage,
    poller: Poller,
    buffer: ReadBuffer,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Clients that are to get a connection.
    unopened: VecDeque<usize>,
    /// Clients that have lost theirs, and when they are to get another one.
    ended: Vec<(Instant, usize)>,
    connecting: usize,
    connected: usize,
    opened: u64,
    once: usize,
    rotors: Vec<Rotor>,
    storm: Rotor,
    /// What is to be in flight at the next swap, and when it is sent.
    holds: VecDeque<(Instant, usize, Ask)>,
    held: u64,
    announced: u32,
    /// Connections that are to be in the listener's queue and have not been served yet.
    queued: usize,
    is_ready: bool,
    /// When a lasting client was connected last.
    alive: Instant,
    heard: Vec<Heard>,
    tally: Tally,
}

/// What is left of the clients of one thread when all is over.
pub(crate) struct Finished {
    /// What they counted.
    pub(crate) tally: Tally,
    /// Their connections, closed when dropped.
    _connections: Vec<TcpStream>,
}

impl Crowd {
    /// The share of thread `part`, not connected yet.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub(crate) fn new(stage: Stage, part: u32) -> io::Result<Self> {
        let plan = Arc::clone(&stage.plan);
        let threads = plan.threads;
        let now = clock::now();
        let mut slots = Vec::new();
        let mut rotors = Vec::new();
        for group in Group::ALL {
            let clients = plan.clients(group);
            let first = slots.len();
            let own = (0..clients).filter(|index| *index as u32 % threads == part);
            slots.extend(own.map(|index| Slot::new(group, index)));
            let Some(per_second) = plan.per_second(group).filter(|_| slots.len() > first) else {
                continue;
            };
            if plan.is_closed_loop {
                // Each answer is followed by a request; these are the first ones.
                let ask =
                    |slot: &mut Slot| slot.waiting.extend([(now, Ask::Now); CLOSED_IN_FLIGHT]);
                slots[first..].iter_mut().for_each(ask);
                continue;
            }
            let share = (slots.len() - first) as f64 / clients as f64;
            rotors.push(Rotor::new(group, (first..slots.len()).collect(), per_second * share, now));
        }
        let storm = Rotor::new(
            Group::Storm,
            if plan.storm_per_second > 0.0 { vec![0] } else { Vec::new() },
            plan.storm_per_second / f64::from(threads),
            now,
        );
        Ok(Self {
            poller: Poller::new()?,
            buffer: ReadBuffer::new(),
            unopened: (0..slots.len()).collect(),
            slots,
            ended: Vec::new(),
            free: Vec::new(),
            connecting: 0,
            connected: 0,
            opened: 0,
            once: 0,
            rotors,
            storm,
            holds: VecDeque::new(),
            held: 0,
            announced: 0,
            queued: 0,
            is_ready: false,
            alive: now,
            heard: Vec::new(),
            tally: Tally::new(),
            stage,
        })
    }

    /// Asks until it is told to stop, waits for what is then in flight and gives what it counted.
    ///
    /// # Errors
    /// The process has no descriptor left, or connections end all the time.
    pub(crate) fn run(mut self) -> io::Result<Finished> {
        let mut ready = Vec::new();
        let mut next_tick = clock::now();
        let mut deadline = None;
        loop {
            let now = clock::now();
            let is_ending = self.stage.timeline.is_sending_over();
            if is_ending {
                let deadline = *deadline.get_or_insert(now + self.stage.plan.grace());
                if self.stage.timeline.is_dead()
                    || now >= deadline
                    || (now >= next_tick && self.slots.iter().all(Slot::is_quiet))
                {
                    break;
                }
            } else if self.is_ready {
                self.send_due(now);
            }
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now);
            }
            self.open_some(now)?;
            let next = self.next_due().filter(|_| !is_ending && self.is_ready);
            let next = next.map_or(next_tick, |it| it.min(next_tick));
            let patience = next.saturating_duration_since(clock::now()).max(WAIT_MIN);
            self.poller.wait(patience, &mut ready)?;
            let now = clock::now();
            let mut has_heard = false;
            for event in &ready {
                has_heard |= self.serve(*event, now);
            }
            if has_heard {
                self.stage.timeline.answers(now);
            }
        }
        Ok(self.finish())
    }

    // ---- what is due

    fn next_due(&self) -> Option<Instant> {
        let rotors = self.rotors.iter().chain(Some(&self.storm).filter(|_| self.has_storm()));
        let holds = self.holds.front().map(|(due, ..)| *due);
        rotors.map(Rotor::next).chain(holds).min()
    }

    fn has_storm(&self) -> bool {
        self.stage.plan.storm_per_second > 0.0
    }

    fn send_due(&mut self, now: Instant) {
        self.prepare_holds(now);
        let mut rotors = std::mem::take(&mut self.rotors);
        for rotor in &mut rotors {
            while let Some((due, ask)) = rotor.due(now) {
                self.stage.timeline.lag(due, now);
                let slot = rotor.pick(|slot| !self.is_kept(slot));
                self.submit(slot, due, ask, now);
            }
        }
        self.rotors = rotors;
        while let Some((due, slot, ask)) = self.holds.pop_front() {
            if due > now {
                self.holds.push_front((due, slot, ask));
                break;
            }
            self.submit(slot, due, ask, now);
            self.held += u64::from(matches!(ask, Ask::PastSwap(_)));
            if self.holds.is_empty() && self.announced > 0 {
                self.stage.timeline.hold(std::mem::take(&mut self.held));
            }
        }
        while let Some((due, _)) = self.storm.due(now) {
            self.open_once(Group::Storm, due, now);
        }
        if self.stage.timeline.is_swapping() {
            while self.queued < self.stage.plan.backlog / self.stage.plan.threads as usize {
                self.queued += 1;
                self.open_once(Group::Backlog, now, now);
            }
        }
    }

    /// Prepares what is to be in flight at a swap that was announced.
    fn prepare_holds(&mut self, now: Instant) {
        while self.announced < self.stage.timeline.announced() {
            let swap = self.announced;
            self.announced += 1;
            self.hold(swap, Ask::PastSwap(swap), now);
            if self.holds.is_empty() {
                self.stage.timeline.hold(0);
            }
        }
    }

    fn hold(&mut self, swap: u32, ask: Ask, now: Instant) {
        let plan = &self.stage.plan;
        let is_held = |it: &Slot| plan.is_held(it.group, it.index, swap);
        let held: Vec<usize> =
            (0..self.slots.len()).filter(|slot| is_held(&self.slots[*slot])).collect();
        let step = SPREAD / (held.len().max(1) as u32);
        self.holds.extend((0..).zip(held).map(|(nth, slot)| (now + step * nth, slot, ask)));
    }

    /// Whether a request would have to wait for an answer that is late on demand.
    fn is_kept(&self, slot: usize) -> bool {
        let client = &self.slots[slot];
        let is_late = |(_, ask): &(Instant, Ask)| *ask != Ask::Now;
        let will_be = !client.group.is_multiplexed() && client.waiting.iter().any(is_late);
        let connection = client.connection.as_ref();
        will_be || connection.is_some_and(|it| it.talk.room() == Room::Kept)
    }

    // ---- sending

    /// Sends a request on a client's connection, or lets it wait there.
    fn submit(&mut self, slot: usize, due: Instant, ask: Ask, now: Instant) {
        let client = &mut self.slots[slot];
        if client.waiting.len() >= WAITING_MAX {
            self.tally.of(client.group).fault(Fault::Overrun, 1);
            return;
        }
        client.waiting.push_back((due, ask));
        self.send_waiting(slot, now);
    }

    /// Sends what waits, as far as there is room, each request by a write of its own.
    fn send_waiting(&mut self, slot: usize, now: Instant) {
        loop {
            let client = &mut self.slots[slot];
            let group = client.group;
            let Some(connection) = &mut client.connection else { return };
            let has_room = connection.is_connected() && connection.talk.room() == Room::Free;
            if !has_room {
                return;
            }
            let Some((due, ask)) = client.waiting.pop_front() else { return };
            let Some(number) = self.stage.ledger.open(group) else {
                self.tally.of(group).fault(Fault::Overrun, 1);
                return;
            };
            let request = Request { number, due, sent: now, ask };
            if let Err(fault) = connection.say(|talk, _, out| talk.ask(request, out)) {
                self.end(slot, fault, now);
                return;
            }
        }
    }

    /// Streams go on.
    fn tick(&mut self, now: Instant) {
        let is_ending = self.stage.timeline.is_sending_over();
        if self.connected > 0 {
            self.alive = now;
        } else if now - self.alive > DEAD {
            self.stage.timeline.give_up();
        }
        for slot in 0..self.slots.len() {
            let client = &mut self.slots[slot];
            let Some(connection) = &mut client.connection else { continue };
            if !connection.is_connected() || connection.talk.room() != Room::Streaming {
                continue;
            }
            let ledger = &self.stage.ledger;
            let mut around = Around { now, ledger, is_ending, heard: &mut self.heard };
            let said = connection.say(|talk, unsent, out| talk.tick(&mut around, unsent, out));
            match said {
                Ok(()) => drop(self.hear(slot, now)),
                Err(fault) => self.end(slot, fault, now),
            }
        }
    }

    // ---- the end

    fn finish(mut self) -> Finished {
        let now = clock::now();
        for slot in 0..self.slots.len() {
            let client = &mut self.slots[slot];
            if let Some(connection) = &mut client.connection {
                let ledger = &self.stage.ledger;
                let mut around = Around { now, ledger, is_ending: true, heard: &mut self.heard };
                connection.talk.finish(&mut around);
                let lost = connection.talk.take_in_flight().len() as u64;
                if lost > 0 {
                    self.tally.of(client.group).fault(Fault::Unanswered, lost);
                }
            }
            self.take_heard(slot, now);
            let client = &self.slots[slot];
            let unsent = client.waiting.len() as u64;
            if unsent > 0 {
                self.tally.of(client.group).fault(Fault::Overrun, unsent);
            }
            if client.group.is_lasting() {
                self.tally.of(client.group).clients.push(client.client);
            }
        }
        let connections = self.slots.into_iter().filter_map(|it| it.connection);
        let connections = connections.map(slot::Connection::into_stream).collect();
        Finished { tally: self.tally, _connections: connections }
    }
}
