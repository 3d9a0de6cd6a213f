//! Connections come about and end.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use super::{
    CONNECTING_MAX, Crowd, ONCE_MAX, REFUSED_PAUSE, REOPENED_MAX, SOURCES, bolt, events, exchange,
    h2, http,
    slot::{Connection, Slot, Way},
    stream,
    talk::Talk,
    tunnel,
};
use crate::{
    ask::Ask,
    bolt::Version,
    exchange::Kind,
    group::Group,
    plan::{IN_FLIGHT_MAX, Plan, SPREAD},
    stream::{Pace, SLOW_BUFFER_BYTES, Shape},
    tally::Fault,
};

impl Crowd {
    pub(super) fn open_some(&mut self, now: Instant) -> io::Result<()> {
        let unopened = &mut self.unopened;
        self.ended.retain(|(at, slot)| {
            let is_later = *at > now;
            if !is_later {
                unopened.push_back(*slot);
            }
            is_later
        });
        while self.connecting < CONNECTING_MAX {
            let Some(slot) = self.unopened.pop_front() else { break };
            self.open(slot, now)?;
        }
        if !self.is_ready && self.connecting == 0 && self.unopened.is_empty() {
            self.is_ready = true;
            self.rotors.iter_mut().for_each(|it| it.start(now));
            self.storm.start(now);
            // As many requests at once as at a swap: what the proxy opens for them is there then.
            self.hold(0, Ask::After(SPREAD.as_millis() as u32 * 3), now);
            self.stage.timeline.ready();
        }
        Ok(())
    }

    fn open(&mut self, slot: usize, now: Instant) -> io::Result<()> {
        self.opened += 1;
        if self.opened > REOPENED_MAX {
            return Err(io::Error::other("connections keep ending"));
        }
        let client = &mut self.slots[slot];
        client.generation = client.generation.wrapping_add(1);
        let plan = &self.stage.plan;
        let talk = talk_of(client.group, client.index, plan);
        let host = 1 + (self.opened % SOURCES) as u8;
        let slow = Shape::of(client.index, plan.stream_lasts).pace == Pace::Receiver;
        let way = Way {
            target: match client.group {
                it if it.is_bolt() => self.stage.targets.bolt,
                it if it.is_http2() => self.stage.targets.http2,
                Group::Events if events::is_http2(client.index) => self.stage.targets.http2,
                _ => self.stage.targets.http,
            },
            source: SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)),
            buffer_bytes: (client.group == Group::Download && slow).then_some(SLOW_BUFFER_BYTES),
        };
        match Connection::open(&way, talk) {
            Ok(connection) => {
                let token = u64::from(client.generation) << 32 | slot as u64;
                self.poller.add_stream(connection.stream(), token)?;
                client.connection = Some(connection);
                self.connecting += 1;
            }
            Err(_) => self.end(slot, Fault::Refused, now),
        }
        Ok(())
    }

    /// A new connection for one request.
    pub(super) fn open_once(&mut self, group: Group, due: Instant, now: Instant) {
        if self.once >= ONCE_MAX {
            self.queued -= usize::from(group == Group::Backlog);
            self.tally.of(group).fault(Fault::Overrun, 1);
            return;
        }
        self.once += 1;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Slot::new(group, 0));
        }
        self.slots[slot].group = group;
        self.slots[slot].waiting.push_back((due, Ask::Now));
        if self.open(slot, now).is_err() {
            self.end(slot, Fault::Refused, now);
        }
    }

    /// A client whose connection has served is free for another one.
    pub(super) fn release(&mut self, slot: usize) {
        if self.slots[slot].connection.take().is_some() {
            self.connected -= 1;
        }
        self.slots[slot].waiting.clear();
        self.queued -= usize::from(self.slots[slot].group == Group::Backlog);
        self.free.push(slot);
        self.once -= 1;
    }

    /// A connection is of no more use: what was in flight on it has failed.
    pub(super) fn end(&mut self, slot: usize, fault: Fault, now: Instant) {
        let client = &mut self.slots[slot];
        let tally = self.tally.of(client.group);
        let (mut lost, mut is_announced) = (0, false);
        if let Some(mut connection) = client.connection.take() {
            match connection.is_connected() {
                true => self.connected -= 1,
                false => self.connecting -= 1,
            }
            is_announced = connection.talk.is_closed_next();
            lost = connection.talk.take_in_flight().len() as u64;
        }
        match fault {
            Fault::Closed | Fault::Reset if is_announced => tally.closed_announced += 1,
            Fault::Closed | Fault::Reset => tally.closed_unannounced += 1,
            _ => lost = lost.max(1),
        }
        if lost > 0 {
            tally.fault(fault, lost);
        }
        if !client.group.is_lasting() {
            // What was to be asked on it is in the ledger as sent and lost.
            for _ in 0..client.waiting.len() {
                let _ = self.stage.ledger.open(client.group);
            }
            self.release(slot);
            return;
        }
        client.client.replaced += 1;
        client.last_heard = None;
        if !self.stage.timeline.is_sending_over() || !client.waiting.is_empty() {
            let pause = if fault == Fault::Refused { REFUSED_PAUSE } else { Duration::ZERO };
            self.ended.push((now + pause, slot));
        }
    }
}

fn talk_of(group: Group, index: usize, plan: &Plan) -> Box<dyn Talk> {
    let shape = Shape::of(index, plan.stream_lasts);
    let is_v2 = index % 4 == 3 && !plan.is_bolt_v1_only;
    let version = if is_v2 { Version::V2Crc } else { Version::V1 };
    match group {
        Group::Http | Group::IdleHttp | Group::Storm | Group::Backlog => {
            Box::new(http::HttpTalk::default())
        }
        Group::Bolt | Group::IdleBolt => Box::new(bolt::BoltTalk::new(version, IN_FLIGHT_MAX)),
        Group::Http2 | Group::IdleHttp2 => Box::new(h2::Http2Talk::new()),
        Group::Call => Box::new(exchange::Exchange::new(Kind::Call, index)),
        Group::Socket => Box::new(exchange::Exchange::new(Kind::Socket, index)),
        Group::Events => Box::new(events::Events::new(index)),
        Group::Upload => Box::new(stream::Upload::new(shape)),
        Group::Download => Box::new(stream::Download::new(shape)),
        Group::Tunnel => Box::new(tunnel::Tunnel::default()),
    }
}
