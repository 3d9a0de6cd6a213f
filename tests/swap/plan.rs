//! What one run does: how many clients of each kind, how often they ask, how often is swapped.

use std::time::Duration;

use crate::{events::EVERY, group::Group, stream::TICK};

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Connections with small HTTP/1.1 requests.
    pub(crate) http: usize,
    /// Connections with Bolt requests.
    pub(crate) bolt: usize,
    /// HTTP/1.1 connections that are silent most of the time.
    pub(crate) idle_http: usize,
    /// Bolt connections that are silent most of the time.
    pub(crate) idle_bolt: usize,
    /// Connections with small HTTP/2 requests.
    pub(crate) http2: usize,
    /// HTTP/2 connections that are silent most of the time.
    pub(crate) idle_http2: usize,
    /// Connections with long bodies of requests.
    pub(crate) uploads: usize,
    /// Connections with long bodies of responses.
    pub(crate) downloads: usize,
    /// Upgraded connections.
    pub(crate) tunnels: usize,
    /// HTTP/2 connections with calls that last.
    pub(crate) calls: usize,
    /// HTTP/2 connections with WebSocket.
    pub(crate) sockets: usize,
    /// Connections with server-sent events.
    pub(crate) events: usize,
    /// Requests a second of [`Plan::http`].
    pub(crate) http_per_second: f64,
    /// Requests a second of [`Plan::bolt`].
    pub(crate) bolt_per_second: f64,
    /// Requests a second of [`Plan::http2`].
    pub(crate) http2_per_second: f64,
    /// How long a silent connection is silent.
    pub(crate) idle_every: Duration,
    /// New connections a second, each for one request.
    pub(crate) storm_per_second: f64,
    /// New connections, each for one request, that are under way at any time while a swap runs.
    pub(crate) backlog: usize,
    /// How often is swapped.
    pub(crate) swaps: u32,
    /// From the beginning of a swap to the beginning of the next.
    pub(crate) interval: Duration,
    /// How long a swap may take at most.
    pub(crate) swap_timeout: Duration,
    /// How long the old process is waited for after a swap.
    pub(crate) gone_patience: Duration,
    /// How long a long body takes.
    pub(crate) stream_lasts: Duration,
    /// From when all connections have come about to the first swap.
    pub(crate) warm_up: Duration,
    /// Threads of clients.
    pub(crate) threads: u32,
    /// Bolt is spoken in this version alone; else some connections speak v1 and some v2.
    pub(crate) is_bolt_v1_only: bool,
    /// Each answer is followed by a request: how a proxy's capacity is measured.
    pub(crate) is_closed_loop: bool,
}

/// Requests in flight on a Bolt connection at most.
pub(crate) const IN_FLIGHT_MAX: usize = 16;

/// One in so many connections has a request in flight through all of a swap, each in its turn.
pub(crate) const HELD_SHARE: usize = 4;

/// So many requests of a silent connection are in flight through a swap in a run.
const IDLE_HELD: usize = 2;

/// Requests that are to be in flight at a swap, and answers that waited for its end, are spread over
/// this time: all at once would be a load of its own.
pub(crate) const SPREAD: Duration = Duration::from_millis(100);

/// Connections for one request each that a proxy may serve in a second at most.
const QUEUED_PER_SECOND: f64 = 50_000.0;
/// Requests that a proxy may serve in a second at most.
const UNPACED_PER_SECOND: f64 = 500_000.0;
/// More requests are not sent in a run; each takes three bytes.
const REQUESTS_MAX: usize = 64_000_000;

impl Plan {
    /// How many clients of a group last for the whole run.
    pub(crate) fn clients(&self, group: Group) -> usize {
        match group {
            Group::Http => self.http,
            Group::Bolt => self.bolt,
            Group::IdleHttp => self.idle_http,
            Group::IdleBolt => self.idle_bolt,
            Group::Http2 => self.http2,
            Group::IdleHttp2 => self.idle_http2,
            Group::Upload => self.uploads,
            Group::Download => self.downloads,
            Group::Tunnel => self.tunnels,
            Group::Call => self.calls,
            Group::Socket => self.sockets,
            Group::Events => self.events,
            Group::Storm | Group::Backlog => 0,
        }
    }

    /// All clients that last for the whole run.
    pub(crate) fn connections(&self) -> usize {
        Group::ALL.iter().map(|group| self.clients(*group)).sum()
    }

    /// Requests a second of a group that asks at a fixed rate on lasting connections.
    pub(crate) fn per_second(&self, group: Group) -> Option<f64> {
        let idle = |count: usize| count as f64 / self.idle_every.as_secs_f64();
        match group {
            Group::Http => Some(self.http_per_second),
            Group::Bolt => Some(self.bolt_per_second),
            Group::IdleHttp => Some(idle(self.idle_http)),
            Group::IdleBolt => Some(idle(self.idle_bolt)),
            Group::Http2 => Some(self.http2_per_second),
            Group::IdleHttp2 => Some(idle(self.idle_http2)),
            _ => None,
        }
    }

    /// Whether a client has a request in flight through all of this swap.
    pub(crate) fn is_held(&self, group: Group, index: usize, swap: u32) -> bool {
        let share = match group {
            Group::Http | Group::Bolt | Group::Http2 => HELD_SHARE.min(self.swaps as usize),
            Group::IdleHttp | Group::IdleBolt | Group::IdleHttp2 => self.swaps as usize / IDLE_HELD,
            _ => return false,
        };
        let share = share.max(1);
        index % share == swap as usize % share
    }

    /// So many requests a second in all, the same number in each protocol that is spoken.
    pub(crate) fn set_rate(&mut self, per_second: f64) {
        let clients = [self.http, self.bolt, self.http2];
        let spoken = clients.iter().filter(|it| **it > 0).count().max(1) as f64;
        let rate = |clients| if clients > 0 { per_second / spoken } else { 0.0 };
        [self.http_per_second, self.bolt_per_second, self.http2_per_second] = clients.map(rate);
    }

    /// A run that measures how many requests a second the proxy can serve of one protocol, by as
    /// many connections as it has, up to a limit.
    pub(crate) fn capacity_of(&self, group: Group) -> Self {
        let of = |other: Group, most: usize| match other == group {
            true => self.clients(other).min(most),
            false => 0,
        };
        Self {
            http: of(Group::Http, 64),
            bolt: of(Group::Bolt, 32),
            http2: of(Group::Http2, 32),
            idle_http: 0,
            idle_bolt: 0,
            idle_http2: 0,
            is_closed_loop: true,
            ..self.requests_alone()
        }
    }

    /// A short run without swaps, of small requests on lasting connections alone.
    fn requests_alone(&self) -> Self {
        Self {
            uploads: 0,
            downloads: 0,
            tunnels: 0,
            calls: 0,
            sockets: 0,
            events: 0,
            storm_per_second: 0.0,
            backlog: 0,
            swaps: 0,
            warm_up: Duration::from_secs(3),
            ..self.clone()
        }
    }

    /// A run that shows whether so many requests a second are kept up with, by all connections that
    /// ask at a fixed rate.
    pub(crate) fn trial_of(&self, per_second: f64) -> Self {
        let mut plan = self.requests_alone();
        plan.set_rate(per_second);
        plan
    }

    /// Whether Bolt is spoken.
    pub(crate) fn has_bolt(&self) -> bool {
        self.bolt + self.idle_bolt > 0
    }

    /// Whether HTTP/2 is spoken.
    pub(crate) fn has_http2(&self) -> bool {
        self.http2 + self.idle_http2 + self.calls + self.sockets + self.events > 0
    }

    /// How long the backend keeps a request that is to be in flight through a swap.
    pub(crate) fn hold_max(&self) -> Duration {
        self.swap_timeout + Duration::from_secs(5)
    }

    /// How long all that is in flight at the end may take to end.
    pub(crate) fn grace(&self) -> Duration {
        let has_streams = self.uploads + self.downloads > 0;
        Duration::from_secs(15) + if has_streams { 2 * self.stream_lasts } else { Duration::ZERO }
    }

    /// Room in the ledger: what a run sends if each swap takes as long as it may, up to a limit.
    pub(crate) fn requests_max(&self) -> usize {
        let seconds = (self.interval + self.swap_timeout).as_secs_f64() * f64::from(self.swaps)
            + self.warm_up.as_secs_f64()
            + 10.0;
        let rates: f64 = Group::ALL.iter().filter_map(|group| self.per_second(*group)).sum();
        let blocks = (self.tunnels + self.calls + self.sockets) as f64 / TICK.as_secs_f64()
            + self.events as f64 / EVERY.as_secs_f64();
        let held = self.connections() as f64 * f64::from(self.swaps + 1);
        let queued = if self.backlog > 0 { QUEUED_PER_SECOND } else { 0.0 };
        let unpaced = if self.is_closed_loop { UNPACED_PER_SECOND } else { 0.0 };
        let per_second = rates + blocks + self.storm_per_second + queued + unpaced;
        ((per_second * seconds + held) as usize).clamp(100_000, REQUESTS_MAX)
    }
}
