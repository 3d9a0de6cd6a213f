//! The counters of one worker.

use std::{collections::HashMap, sync::Arc};

use super::outcome::{STATUSES, status_index};
use super::reasons::Reasons;
use super::{CLASSES, Counter, Histogram, Layout, Outcome, ReasonPlace, Ring, RpcCounters};

/// All counters of one worker. The worker writes them, the control thread reads them.
///
/// An index that is out of range (which would be a mistake in the caller) is counted in a spare
/// block that is never rendered, for a counter is no reason to fail.
#[derive(Debug, Default)]
pub struct Counters {
    /// What concerns the worker as a whole.
    pub worker: Arc<WorkerCounters>,
    listeners: Box<[Arc<ListenerCounters>]>,
    clusters: Box<[ClusterBlock]>,
    routes: Box<[Arc<RouteCounters>]>,
    reasons: Arc<Reasons>,
    spare: Arc<Spare>,
}

#[derive(Debug)]
struct ClusterBlock {
    counters: Arc<ClusterCounters>,
    endpoints: Box<[Arc<EndpointCounters>]>,
}

#[derive(Debug, Default)]
struct Spare {
    listener: ListenerCounters,
    cluster: ClusterCounters,
    endpoint: EndpointCounters,
    route: RouteCounters,
}

/// What concerns a worker as a whole.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// The driver that runs (`io_uring_defer_taskrun`, `epoll`, …); set before the worker starts.
    pub driver: std::sync::OnceLock<&'static str>,
    /// RPC requests by name; set before the worker starts, and not where they are not counted.
    pub rpc: std::sync::OnceLock<RpcCounters>,
    /// The worker's ring, where it runs on one; set before it starts.
    pub ring: std::sync::OnceLock<Ring>,
    /// Panics that were caught; each cost one connection.
    pub panics: Counter,
    /// Times that the worker woke up with something to do.
    pub wakeups: Counter,
    /// Time that the worker's thread has spent on its core, microseconds.
    pub cpu_us: Counter,
    /// What threads whose place this one took had spent.
    pub cpu_before_us: Counter,
    /// Connections that came from other workers.
    pub connections_taken: Counter,
    /// Connections that were given to other workers.
    pub connections_given: Counter,
    /// `accept` failed (no descriptor, no memory).
    pub accept_failures: Counter,
}

/// Counters of one listener.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Level: connections that are open.
    pub connections_active: Counter,
    /// Connections refused before their first byte was read (`connections_max`).
    pub connections_refused: Counter,
    /// Requests whose head was decoded.
    pub requests: Counter,
    /// Level: requests that have not ended.
    pub requests_active: Counter,
    /// Bytes read from clients.
    pub bytes_received: Counter,
    /// Bytes written to clients.
    pub bytes_sent: Counter,
    /// Heartbeats of clients that were answered.
    pub heartbeats: Counter,
    /// From the request's head to the end of its answer.
    pub duration: Histogram,
    replies: [Counter; STATUSES.len()],
    classes: Classes,
}

/// Counters of one cluster.
#[derive(Debug, Default)]
pub struct ClusterCounters {
    /// Connections that were established.
    pub connections_opened: Counter,
    /// Level: connections that are open.
    pub connections_active: Counter,
    /// Connections that could not be established: refused, unreachable.
    pub connect_failures: Counter,
    /// Connections that were not established in time.
    pub connect_timeouts: Counter,
    /// Connections that broke while requests were in flight on them.
    pub connections_lost: Counter,
    /// Requests that were given to an upstream connection.
    pub requests: Counter,
    /// Level: requests that wait for an answer.
    pub requests_active: Counter,
    /// Level: requests that wait for a connection.
    pub requests_pending: Counter,
    /// Further tries of requests that no endpoint had begun to work on.
    pub retries: Counter,
    /// Requests whose deadline passed.
    pub timeouts: Counter,
    /// Requests that were given up because their client went away.
    pub cancelled: Counter,
    /// Answers that came after their request was given up.
    pub late_responses: Counter,
    /// Answers that nobody asked for.
    pub unknown_responses: Counter,
    /// Heartbeats that the upstream answered.
    pub heartbeats: Counter,
    /// Bytes read from upstreams.
    pub bytes_received: Counter,
    /// Bytes written to upstreams.
    pub bytes_sent: Counter,
    /// From the request's forwarding to the end of its answer.
    pub duration: Histogram,
    classes: Classes,
}

/// Counters of one endpoint.
#[derive(Debug, Default)]
pub struct EndpointCounters {
    /// Requests that were given to it.
    pub requests: Counter,
    /// Level: requests that wait for its answer.
    pub requests_active: Counter,
    /// Level: open connections to it.
    pub connections_active: Counter,
    /// Connections to it that could not be established, timeouts included.
    pub connect_failures: Counter,
    classes: Classes,
}

/// Counters of one route.
#[derive(Debug, Default)]
pub struct RouteCounters {
    classes: Classes,
}

/// Outcomes by class.
#[derive(Debug, Default)]
pub(super) struct Classes([Counter; CLASSES.len()]);

impl Classes {
    #[inline]
    fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.0.get(outcome.class() as usize) {
            counter.increment();
        }
    }

    fn absorb(&self, other: &Self) {
        self.0.iter().zip(&other.0).for_each(|(own, others)| own.absorb(others));
    }

    pub(super) fn values(&self) -> [u64; CLASSES.len()] {
        std::array::from_fn(|index| self.0.get(index).map_or(0, Counter::value))
    }
}

/// How an exchange ended and what it had been given to.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Index of the listener.
    pub listener: usize,
    /// Index of the route, once one was found.
    pub route: Option<usize>,
    /// Index of the cluster and of the endpoint in it, once they were chosen.
    pub target: Option<(usize, usize)>,
    /// How it ended.
    pub outcome: Outcome,
    /// From the request's head to the end, microseconds.
    pub duration_us: u64,
    /// From the request's forwarding to the end, microseconds; `None` when it was not forwarded.
    pub upstream_us: Option<u64>,
}

impl Counters {
    /// Counters, all zero, for what the layout names.
    pub fn new(layout: &Layout) -> Self {
        Self::default().succeeded_by(&Layout::default(), layout)
    }

    /// Counters for the next configuration: what `then` and `now` both name goes on counting
    /// where it stands, what is new begins at zero. Listeners and clusters keep their places; one
    /// that got another place (its address changed, say) counts on in the same counters. Endpoints
    /// are told by place and address, routes by their names.
    #[must_use]
    pub fn succeeded_by(&self, then: &Layout, now: &Layout) -> Self {
        let cluster = |(place, names): (usize, &super::ClusterNames)| {
            let block = self.clusters.get(place);
            let namesake = then.clusters.iter().rposition(|it| it.name == names.name);
            let counters = block.or_else(|| self.clusters.get(namesake?));
            let before = then.clusters.get(place).map_or(&[][..], |it| &it.endpoints);
            let endpoint = |(place, name): (usize, &super::EndpointName)| {
                let is_same = before.get(place).is_some_and(|it| it.address == name.address);
                let kept = block.and_then(|it| it.endpoints.get(place)).filter(|_| is_same);
                kept.map(Arc::clone).unwrap_or_default()
            };
            ClusterBlock {
                counters: counters.map(|it| Arc::clone(&it.counters)).unwrap_or_default(),
                endpoints: names.endpoints.iter().enumerate().map(endpoint).collect(),
            }
        };
        let listener = |(place, named): (usize, &super::ListenerName)| {
            let namesake = then.listeners.iter().rposition(|it| it.name == named.name);
            let kept = self.listeners.get(place).or_else(|| self.listeners.get(namesake?));
            kept.map(Arc::clone).unwrap_or_default()
        };
        let routes: HashMap<_, _> = then.routes.iter().zip(&self.routes).collect();
        let route = |it: &super::RouteNames| routes.get(it).map(|it| Arc::clone(it));
        Self {
            worker: Arc::clone(&self.worker),
            listeners: now.listeners.iter().enumerate().map(listener).collect(),
            clusters: now.clusters.iter().enumerate().map(cluster).collect(),
            routes: now.routes.iter().map(|it| route(it).unwrap_or_default()).collect(),
            reasons: Arc::clone(&self.reasons),
            spare: Arc::clone(&self.spare),
        }
    }

    /// Goes on with what another worker counted under the same layout; levels are left to whoever
    /// takes over what they tell of. Both workers stand still.
    pub fn absorb(&self, other: &Self) {
        self.worker.absorb(&other.worker);
        for (own, others) in self.listeners.iter().zip(&other.listeners) {
            own.absorb(others);
        }
        for (own, others) in self.clusters.iter().zip(&other.clusters) {
            own.counters.absorb(&others.counters);
            for (own, others) in own.endpoints.iter().zip(&others.endpoints) {
                own.absorb(others);
            }
        }
        for (own, others) in self.routes.iter().zip(&other.routes) {
            own.classes.absorb(&others.classes);
        }
        self.reasons.absorb(&other.reasons);
    }

    /// The counters of a listener.
    #[inline]
    pub fn listener(&self, index: usize) -> &ListenerCounters {
        self.listeners.get(index).map_or(&self.spare.listener, |it| it)
    }

    /// The counters of a cluster.
    #[inline]
    pub fn cluster(&self, index: usize) -> &ClusterCounters {
        self.clusters.get(index).map_or(&self.spare.cluster, |it| &it.counters)
    }

    /// The counters of an endpoint of a cluster.
    #[inline]
    pub fn endpoint(&self, cluster: usize, endpoint: usize) -> &EndpointCounters {
        let endpoints = self.clusters.get(cluster).map_or(&[][..], |it| &it.endpoints);
        endpoints.get(endpoint).map_or(&self.spare.endpoint, |it| it)
    }

    /// The counters of a route.
    #[inline]
    pub fn route(&self, index: usize) -> &RouteCounters {
        self.routes.get(index).map_or(&self.spare.route, |it| it)
    }

    /// Counts an exchange that ended, everywhere it belongs. Levels (`requests_active`) are the
    /// caller's, who raised them.
    #[inline]
    pub fn end(&self, ended: &Ended) {
        let listener = self.listener(ended.listener);
        listener.classes.count(ended.outcome);
        listener.duration.record_us(ended.duration_us);
        if let Outcome::Gateway(status) = ended.outcome
            && let Some(counter) = listener.replies.get(status_index(status))
        {
            counter.increment();
        }
        if let Some(route) = ended.route {
            self.route(route).classes.count(ended.outcome);
        }
        let Some((cluster, endpoint)) = ended.target else { return };
        self.endpoint(cluster, endpoint).classes.count(ended.outcome);
        let cluster = self.cluster(cluster);
        cluster.classes.count(ended.outcome);
        if let Some(us) = ended.upstream_us {
            cluster.duration.record_us(us);
        }
    }

    /// Counts something that went wrong, by its constant reason
    /// ([`hangu_codecs::Error::reason`]). At most [`super::REASONS_MAX`] places and reasons are
    /// told apart.
    pub fn error(&self, place: ReasonPlace, reason: &'static str) {
        self.reasons.count(place, reason);
    }

    /// What went wrong, with how often.
    pub fn errors(&self) -> impl Iterator<Item = (ReasonPlace, &'static str, u64)> + '_ {
        self.reasons.iter()
    }
}

impl WorkerCounters {
    fn absorb(&self, other: &Self) {
        let Self {
            driver: _,
            rpc,
            ring,
            panics,
            wakeups,
            cpu_us,
            cpu_before_us,
            connections_taken,
            connections_given,
            accept_failures,
        } = other;
        self.cpu_before_us.absorb(cpu_us);
        self.cpu_before_us.absorb(cpu_before_us);
        self.panics.absorb(panics);
        self.wakeups.absorb(wakeups);
        self.connections_taken.absorb(connections_taken);
        self.connections_given.absorb(connections_given);
        self.accept_failures.absorb(accept_failures);
        if let (Some(own), Some(others)) = (self.rpc.get(), rpc.get()) {
            own.absorb(others);
        }
        if let (Some(own), Some(others)) = (self.ring.get(), ring.get()) {
            own.absorb(others);
        }
    }
}

impl ListenerCounters {
    fn absorb(&self, other: &Self) {
        let Self {
            connections_accepted,
            connections_active: _,
            connections_refused,
            requests,
            requests_active: _,
            bytes_received,
            bytes_sent,
            heartbeats,
            duration,
            replies,
            classes,
        } = other;
        self.connections_accepted.absorb(connections_accepted);
        self.connections_refused.absorb(connections_refused);
        self.requests.absorb(requests);
        self.bytes_received.absorb(bytes_received);
        self.bytes_sent.absorb(bytes_sent);
        self.heartbeats.absorb(heartbeats);
        self.duration.absorb(duration);
        self.replies.iter().zip(replies).for_each(|(own, others)| own.absorb(others));
        self.classes.absorb(classes);
    }

    /// Answers that the gateway gave itself, by status.
    pub(super) fn replies(&self) -> impl Iterator<Item = (hangu_codecs::Status, u64)> + '_ {
        STATUSES.into_iter().zip(self.replies.iter().map(Counter::value))
    }

    pub(super) fn classes(&self) -> &Classes {
        &self.classes
    }
}

impl ClusterCounters {
    fn absorb(&self, other: &Self) {
        let Self {
            connections_opened,
            connections_active: _,
            connect_failures,
            connect_timeouts,
            connections_lost,
            requests,
            requests_active: _,
            requests_pending: _,
            retries,
            timeouts,
            cancelled,
            late_responses,
            unknown_responses,
            heartbeats,
            bytes_received,
            bytes_sent,
            duration,
            classes,
        } = other;
        self.connections_opened.absorb(connections_opened);
        self.connect_failures.absorb(connect_failures);
        self.connect_timeouts.absorb(connect_timeouts);
        self.connections_lost.absorb(connections_lost);
        self.requests.absorb(requests);
        self.retries.absorb(retries);
        self.timeouts.absorb(timeouts);
        self.cancelled.absorb(cancelled);
        self.late_responses.absorb(late_responses);
        self.unknown_responses.absorb(unknown_responses);
        self.heartbeats.absorb(heartbeats);
        self.bytes_received.absorb(bytes_received);
        self.bytes_sent.absorb(bytes_sent);
        self.duration.absorb(duration);
        self.classes.absorb(classes);
    }

    pub(super) fn classes(&self) -> &Classes {
        &self.classes
    }
}

impl EndpointCounters {
    fn absorb(&self, other: &Self) {
        let Self { requests, requests_active: _, connections_active: _, connect_failures, classes } =
            other;
        self.requests.absorb(requests);
        self.connect_failures.absorb(connect_failures);
        self.classes.absorb(classes);
    }

    pub(super) fn classes(&self) -> &Classes {
        &self.classes
    }
}

impl RouteCounters {
    pub(super) fn classes(&self) -> &Classes {
        &self.classes
    }
}

#[cfg(test)]
mod tests {
    use hangu_codecs::{Status, protocol::Kind};

    use super::*;
    use crate::telemetry::{Class, ClusterNames, EndpointName, ListenerName, RouteNames};

    fn endpoint(address: &str) -> EndpointName {
        EndpointName { address: address.to_owned(), is_present: true }
    }

    #[test]
    fn what_the_next_configuration_has_too_goes_on_counting_where_it_stands() {
        let route = |name: &str| RouteNames {
            route_config: "t".to_owned(),
            virtual_host: "v".to_owned(),
            name: name.to_owned(),
        };
        let then = Layout { routes: vec![route("a"), route("b")], ..layout() };
        let old = Counters::new(&then);
        old.listener(0).requests.increment();
        old.route(1).classes.count(Outcome::Oneway);
        old.endpoint(0, 0).requests.increment();
        old.error(ReasonPlace::Downstream(0), "too_long");
        let mut now = Layout { routes: vec![route("b"), route("c")], ..then.clone() };
        now.clusters[0].endpoints.push(endpoint("127.0.0.1:2"));
        let new = old.succeeded_by(&then, &now);
        assert_eq!(new.listener(0).requests.value(), 1);
        let oneway = Class::Oneway as usize;
        assert_eq!(new.route(0).classes().values()[oneway], 1);
        assert_eq!(new.route(1).classes().values()[oneway], 0);
        assert_eq!((new.endpoint(0, 0).requests.value(), new.errors().count()), (1, 1));
        // Another endpoint came to the place of the first.
        let mut later = now.clone();
        later.clusters[0].endpoints[0] = endpoint("127.0.0.1:3");
        assert_eq!(new.succeeded_by(&now, &later).endpoint(0, 0).requests.value(), 0);
    }

    fn layout() -> Layout {
        Layout {
            listeners: vec![ListenerName { name: "front".to_owned(), is_present: true }],
            clusters: vec![ClusterNames {
                name: "back".to_owned(),
                kind: Kind::Http,
                is_present: true,
                endpoints: vec![endpoint("127.0.0.1:1")],
            }],
            routes: Vec::new(),
        }
    }

    #[test]
    fn an_exchange_is_counted_everywhere_it_belongs() {
        let counters = Counters::new(&layout());
        counters.end(&Ended {
            listener: 0,
            route: None,
            target: Some((0, 0)),
            outcome: Outcome::Gateway(Status::TimedOut),
            duration_us: 5_000,
            upstream_us: None,
        });
        let class = Class::Gateway as usize;
        assert_eq!(counters.listener(0).classes().values()[class], 1);
        assert_eq!(counters.cluster(0).classes().values()[class], 1);
        assert_eq!(counters.endpoint(0, 0).classes().values()[class], 1);
        let replied: Vec<_> =
            counters.listener(0).replies().filter(|(_, count)| *count > 0).collect();
        assert_eq!(replied, [(Status::TimedOut, 1)]);
    }

    #[test]
    fn the_counters_of_another_worker_are_counted_on_and_its_levels_are_not() {
        let (old, new) = (Counters::new(&layout()), Counters::new(&layout()));
        for counters in [&old, &new] {
            counters.listener(0).requests.increment();
            counters.listener(0).requests_active.increment();
            counters.cluster(0).duration.record_us(7);
            counters.error(ReasonPlace::Downstream(0), "too_long");
        }
        old.error(ReasonPlace::Upstream(0), "bad_chunk");
        old.worker.panics.increment();
        new.absorb(&old);
        assert_eq!(new.listener(0).requests.value(), 2);
        assert_eq!(new.listener(0).requests_active.value(), 1);
        let mut durations = crate::telemetry::Quantiles::default();
        new.cluster(0).duration.add_to(&mut durations);
        assert_eq!((durations.count(), new.worker.panics.value()), (2, 1));
        let errors: Vec<_> = new.errors().map(|it| (it.1, it.2)).collect();
        assert_eq!(errors, [("too_long", 2), ("bad_chunk", 1)]);
    }

    #[test]
    fn an_index_out_of_range_harms_nothing() {
        let counters = Counters::new(&layout());
        counters.listener(7).requests.increment();
        counters.endpoint(7, 7).requests.increment();
        counters.endpoint(0, 7).requests.increment();
        assert_eq!(counters.listener(0).requests.value(), 0);
        assert_eq!(counters.endpoint(0, 0).requests.value(), 0);
    }
}
