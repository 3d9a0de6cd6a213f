//! The counters of all workers as the text that Prometheus scrapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use hangu_codecs::protocol::Kind;
use prometheus::proto::{Bucket, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::access_log::LogCounters;
use super::outcome::status_name;
use super::rpc::RpcTotals;
use super::{
    CLASSES, Class, ClusterCounters, Counter, Counters, EndpointCounters, Histogram, Layout,
    ListenerCounters, Quantiles, RPC_RESULTS, ReasonPlace, Ring, WorkerCounters,
};

/// All that is rendered: the workers' counters and the names behind their indices.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The names.
    pub layout: Arc<Layout>,
    /// One block per worker, in the order of the workers.
    pub workers: Vec<Arc<Counters>>,
    /// Counters of the access log, where there is one.
    pub access_log: Vec<Arc<LogCounters>>,
}

/// Facts of the process that no counter holds; taken by the caller at the time of the scrape.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessFacts {
    /// Whether the gateway takes traffic.
    pub is_ready: bool,
    /// Seconds since the Unix epoch at which the process started.
    pub started_unix_seconds: f64,
    /// Memory of the process that is in RAM, bytes.
    pub resident_bytes: u64,
    /// CPU time used by all threads, seconds.
    pub cpu_seconds: f64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Most descriptors that may be open (the soft limit).
    pub descriptors_max: u64,
    /// What the allocator tells.
    pub allocator: AllocatorFacts,
}

/// What mimalloc tells of its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocatorFacts {
    /// Memory that is backed, in use or kept for later, bytes.
    pub committed_bytes: u64,
    /// The most that this ever was, bytes.
    pub committed_bytes_max: u64,
    /// The most memory that the process ever had in RAM, bytes.
    pub resident_bytes_max: u64,
    /// Page faults that needed a disk.
    pub page_faults: u64,
}

impl Metrics {
    /// The text (exposition format 0.0.4). Takes time and memory in proportion to listeners,
    /// endpoints and routes; runs on the control thread.
    pub fn render(&self, process: &ProcessFacts) -> String {
        let mut families = Families::default();
        process_families(process, &mut families);
        self.worker_families(&mut families);
        self.listener_families(&mut families);
        self.cluster_families(&mut families);
        self.endpoint_families(&mut families);
        self.route_families(&mut families);
        self.rpc_families(&mut families);
        self.error_families(&mut families);
        self.log_families(&mut families);
        families.encode()
    }

    /// Durations of the exchanges of a cluster, all workers together.
    pub fn cluster_durations(&self, cluster: usize) -> Quantiles {
        let mut total = Quantiles::default();
        self.workers.iter().for_each(|it| it.cluster(cluster).duration.add_to(&mut total));
        total
    }

    /// The sum over all workers of one counter of a cluster.
    pub fn cluster_sum(&self, cluster: usize, pick: fn(&ClusterCounters) -> &Counter) -> u64 {
        self.sum(|worker| pick(worker.cluster(cluster)).value())
    }

    /// The sum over all workers of one counter of an endpoint.
    pub fn endpoint_sum(
        &self,
        cluster: usize,
        endpoint: usize,
        pick: fn(&EndpointCounters) -> &Counter,
    ) -> u64 {
        self.sum(|worker| pick(worker.endpoint(cluster, endpoint)).value())
    }

    fn sum(&self, value: impl Fn(&Counters) -> u64) -> u64 {
        self.workers.iter().map(|worker| value(worker)).fold(0, u64::wrapping_add)
    }

    fn classes(
        &self,
        value: impl Fn(&Counters) -> [u64; CLASSES.len()],
    ) -> impl Iterator<Item = (Class, u64)> {
        let mut total = [0_u64; CLASSES.len()];
        for worker in &self.workers {
            for (sum, count) in total.iter_mut().zip(value(worker)) {
                *sum = sum.wrapping_add(count);
            }
        }
        CLASSES.into_iter().zip(total)
    }

    fn worker_families(&self, into: &mut Families) {
        for (index, worker) in self.workers.iter().enumerate() {
            let worker_label = ("worker", index.to_string());
            let driver = worker.worker.driver.get().copied().unwrap_or("not_started");
            into.push(&WORKER_INFO, &[worker_label.clone(), ("driver", driver.to_owned())], 1);
            for (family, pick) in WORKER_COUNTERS {
                into.push(
                    family,
                    std::slice::from_ref(&worker_label),
                    pick(&worker.worker).value(),
                );
            }
            if let Some(ring) = worker.worker.ring.get() {
                for (family, pick) in RING_COUNTERS {
                    let value = pick(ring).value();
                    into.push(family, std::slice::from_ref(&worker_label), value);
                }
            }
            let spent = worker.worker.cpu_us.value() + worker.worker.cpu_before_us.value();
            into.push_f64(&WORKER_CPU, std::slice::from_ref(&worker_label), spent as f64 / 1e6);
            let active = self.layout.listeners.iter().enumerate();
            let active = active.map(|(it, _)| worker.listener(it).connections_active.value()).sum();
            into.push(&WORKER_CONNECTIONS, &[worker_label], active);
        }
    }

    fn listener_families(&self, into: &mut Families) {
        for (index, listener) in self.layout.listeners.iter().enumerate() {
            if !listener.is_present {
                continue;
            }
            let label = ("listener", listener.name.clone());
            for (family, pick) in LISTENER_COUNTERS {
                let value = self.sum(|worker| pick(worker.listener(index)).value());
                into.push(family, std::slice::from_ref(&label), value);
            }
            for (class, count) in self.classes(|worker| worker.listener(index).classes().values()) {
                let class = ("class", class.as_str().to_owned());
                into.push(&LISTENER_CLASSES, &[label.clone(), class], count);
            }
            let mut replies = BTreeMap::new();
            for worker in &self.workers {
                for (status, count) in worker.listener(index).replies() {
                    *replies.entry(status_name(status)).or_insert(0) += count;
                }
            }
            for (status, count) in replies {
                let status = ("status", status.to_owned());
                into.push(&LISTENER_REPLIES, &[label.clone(), status], count);
            }
            let durations = self.workers.iter().map(|worker| &worker.listener(index).duration);
            into.histogram(&LISTENER_DURATION, &[label], durations);
        }
    }

    fn cluster_families(&self, into: &mut Families) {
        for (index, names) in self.layout.clusters.iter().enumerate() {
            if !names.is_present {
                continue;
            }
            let label = ("cluster", names.name.clone());
            for (family, pick) in CLUSTER_COUNTERS {
                let value = self.cluster_sum(index, *pick);
                into.push(family, std::slice::from_ref(&label), value);
            }
            let classes = self.classes(|worker| worker.cluster(index).classes().values());
            for (class, count) in
                classes.filter(|(it, count)| *count > 0 || occurs(*it, names.kind))
            {
                let class = ("class", class.as_str().to_owned());
                into.push(&CLUSTER_CLASSES, &[label.clone(), class], count);
            }
            let durations = self.workers.iter().map(|worker| &worker.cluster(index).duration);
            into.histogram(&CLUSTER_DURATION, &[label], durations);
        }
    }

    fn endpoint_families(&self, into: &mut Families) {
        for (cluster, names) in self.layout.clusters.iter().enumerate() {
            for (endpoint, name) in names.endpoints.iter().enumerate() {
                if !name.is_present {
                    continue;
                }
                let labels = [("cluster", names.name.clone()), ("endpoint", name.address.clone())];
                for (family, pick) in ENDPOINT_COUNTERS {
                    into.push(family, &labels, self.endpoint_sum(cluster, endpoint, *pick));
                }
                let classes =
                    self.classes(|worker| worker.endpoint(cluster, endpoint).classes().values());
                for (class, count) in classes.filter(|(_, count)| *count > 0) {
                    let [cluster, endpoint] = labels.clone();
                    let class = ("class", class.as_str().to_owned());
                    into.push(&ENDPOINT_CLASSES, &[cluster, endpoint, class], count);
                }
            }
        }
    }

    /// Routes may be many thousands: only what happened is shown.
    fn route_families(&self, into: &mut Families) {
        for (index, names) in self.layout.routes.iter().enumerate() {
            let classes = self.classes(|worker| worker.route(index).classes().values());
            for (class, count) in classes.filter(|(_, count)| *count > 0) {
                let labels = [
                    ("route_config", names.route_config.clone()),
                    ("virtual_host", names.virtual_host.clone()),
                    ("route", names.name.clone()),
                    ("class", class.as_str().to_owned()),
                ];
                into.push(&ROUTE_CLASSES, &labels, count);
            }
        }
    }

    /// Names may be thousands: only what happened is shown.
    fn rpc_families(&self, into: &mut Families) {
        let workers: Vec<_> = self.workers.iter().filter_map(|it| it.worker.rpc.get()).collect();
        if workers.is_empty() {
            return;
        }
        let totals = RpcTotals::of(&workers);
        for ([service, method, caller], counts) in totals.results {
            for (class, count) in RPC_RESULTS.into_iter().zip(counts).filter(|it| it.1 > 0) {
                let labels = [
                    ("service", service.to_owned()),
                    ("method", method.to_owned()),
                    ("caller", caller.to_owned()),
                    ("result", class.as_str().to_owned()),
                ];
                into.push(&RPC_REQUESTS, &labels, count);
            }
        }
        for ([service, method], total) in totals.durations {
            if total.count() > 0 {
                let labels = [("service", service.to_owned()), ("method", method.to_owned())];
                into.quantiles(&RPC_DURATION, &labels, &total, total.wide_octaves());
            }
        }
        into.push(&RPC_DROPPED, &[], totals.dropped);
    }

    fn error_families(&self, into: &mut Families) {
        // By name, not by place: a listener or cluster that got another place is still the same.
        let mut total = BTreeMap::new();
        for worker in &self.workers {
            for (place, reason, count) in worker.errors() {
                let (family, label, name) = match place {
                    ReasonPlace::Downstream(at) => {
                        let name = self.layout.listeners.get(at).map(|it| &*it.name);
                        (&DOWNSTREAM_ERRORS, "listener", name)
                    }
                    ReasonPlace::Upstream(at) => {
                        let name = self.layout.clusters.get(at).map(|it| &*it.name);
                        (&UPSTREAM_ERRORS, "cluster", name)
                    }
                };
                let key = (label, name.unwrap_or("other"), reason);
                total.entry(key).or_insert((family, 0_u64)).1 += count;
            }
        }
        for ((label, name, reason), (family, count)) in total {
            into.push(family, &[(label, name.to_owned()), ("reason", reason.to_owned())], count);
        }
    }

    fn log_families(&self, into: &mut Families) {
        if self.access_log.is_empty() {
            return;
        }
        for (family, pick) in LOG_COUNTERS {
            let value = self.access_log.iter().map(|it| pick(it).value()).sum();
            into.push(family, &[], value);
        }
    }
}

/// Whether an outcome can occur in a cluster whose requests are of that kind: such a class is
/// shown from the beginning, so that the first error is a rise from zero.
fn occurs(class: Class, kind: Kind) -> bool {
    match class {
        Class::Gateway | Class::Reset => true,
        Class::Http1xx => false,
        Class::Http2xx | Class::Http3xx | Class::Http4xx | Class::Http5xx => kind == Kind::Http,
        Class::Success | Class::ApplicationError | Class::ProviderError | Class::Oneway => {
            kind == Kind::Rpc
        }
    }
}

fn process_families(process: &ProcessFacts, into: &mut Families) {
    into.push(&BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION").to_owned())], 1);
    into.push(&READY, &[], u64::from(process.is_ready));
    into.push_f64(&STARTED, &[], process.started_unix_seconds);
    into.push(&RESIDENT, &[], process.resident_bytes);
    into.push_f64(&CPU, &[], process.cpu_seconds);
    into.push(&DESCRIPTORS, &[], process.descriptors);
    into.push(&DESCRIPTORS_MAX, &[], process.descriptors_max);
    let AllocatorFacts { committed_bytes, committed_bytes_max, resident_bytes_max, page_faults } =
        process.allocator;
    into.push(&COMMITTED, &[], committed_bytes);
    into.push(&COMMITTED_MAX, &[], committed_bytes_max);
    into.push(&RESIDENT_MAX, &[], resident_bytes_max);
    into.push(&PAGE_FAULTS, &[], page_faults);
}

/// A metric family: name (unit last), type and HELP text.
struct Family {
    name: &'static str,
    kind: MetricType,
    help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: MetricType::COUNTER, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: MetricType::GAUGE, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: MetricType::HISTOGRAM, help }
}

type Label = (&'static str, String);

/// Families in the making. Samples of one family come from many places and stand together in the
/// text, as the format wants it.
#[derive(Default)]
struct Families(BTreeMap<&'static str, MetricFamily>);

impl Families {
    fn push(&mut self, family: &Family, labels: &[Label], value: u64) {
        self.push_f64(family, labels, value as f64);
    }

    fn push_f64(&mut self, family: &Family, labels: &[Label], value: f64) {
        let mut metric = Metric::from_label(pairs(labels));
        if family.kind == MetricType::COUNTER {
            let mut counter = prometheus::proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = prometheus::proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.add(family, metric);
    }

    fn histogram<'a>(
        &mut self,
        family: &Family,
        labels: &[Label],
        parts: impl Iterator<Item = &'a Histogram>,
    ) {
        let mut total = Quantiles::default();
        parts.for_each(|part| part.add_to(&mut total));
        self.quantiles(family, labels, &total, total.octaves());
    }

    /// A histogram with some of its buckets.
    fn quantiles(
        &mut self,
        family: &Family,
        labels: &[Label],
        total: &Quantiles,
        buckets: impl Iterator<Item = (f64, u64)>,
    ) {
        let mut rendered = prometheus::proto::Histogram::default();
        let bucket = |(bound, below)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(below);
            bucket
        };
        rendered.set_bucket(buckets.map(bucket).collect());
        rendered.set_sample_count(total.count());
        rendered.set_sample_sum(total.sum_seconds());
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(rendered);
        self.add(family, metric);
    }

    fn add(&mut self, family: &Family, metric: Metric) {
        let entry = self.0.entry(family.name).or_insert_with(|| {
            let mut made = MetricFamily::default();
            made.set_name(family.name.to_owned());
            made.set_help(family.help.to_owned());
            made.set_field_type(family.kind);
            made
        });
        entry.mut_metric().push(metric);
    }

    fn encode(self) -> String {
        let families: Vec<_> = self.0.into_values().collect();
        let mut text = Vec::new();
        // Writing to memory does not fail, and no family is empty or without a name.
        let _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn pairs(labels: &[Label]) -> Vec<LabelPair> {
    let pair = |(name, value): &Label| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.clone());
        pair
    };
    labels.iter().map(pair).collect()
}

const BUILD_INFO: Family =
    gauge("hangu_build_info", "Always 1; the label says which version runs.");
const READY: Family = gauge("hangu_ready", "1 while the gateway takes traffic, else 0.");
const STARTED: Family =
    gauge("hangu_start_time_seconds", "When the process started, seconds since the Unix epoch.");
const RESIDENT: Family =
    gauge("hangu_resident_memory_bytes", "Memory of the process that is in RAM.");
const CPU: Family = counter("hangu_cpu_seconds_total", "CPU time used by all threads.");
const DESCRIPTORS: Family = gauge("hangu_open_descriptors", "Descriptors that are open.");
const DESCRIPTORS_MAX: Family =
    gauge("hangu_open_descriptors_max", "Descriptors that may be open at most.");

const COMMITTED: Family = gauge(
    "hangu_allocator_committed_bytes",
    "Memory that the allocator has backed, in use or kept for later.",
);
const COMMITTED_MAX: Family = gauge(
    "hangu_allocator_committed_bytes_max",
    "The most memory that the allocator ever had backed.",
);
const RESIDENT_MAX: Family = gauge(
    "hangu_resident_memory_bytes_max",
    "The most memory of the process that ever was in RAM.",
);
const PAGE_FAULTS: Family =
    counter("hangu_page_faults_total", "Page faults that had to wait for a disk.");

const WORKER_INFO: Family =
    gauge("hangu_worker_info", "Always 1; the label says which driver the worker runs on.");
const WORKER_CPU: Family = counter(
    "hangu_worker_cpu_seconds_total",
    "Time that the worker's thread has spent on its core: shows how even the workers are.",
);
const WORKER_CONNECTIONS: Family = gauge(
    "hangu_worker_downstream_connections_active",
    "Downstream connections that are open, by worker: shows how even the workers are.",
);

type Pick<T> = fn(&T) -> &Counter;

const WORKER_COUNTERS: &[(Family, Pick<WorkerCounters>)] = &[
    (
        counter("hangu_worker_panics_total", "Panics that were caught; each cost one connection."),
        |it| &it.panics,
    ),
    (
        counter("hangu_worker_wakeups_total", "Times that the worker woke up with work to do."),
        |it| &it.wakeups,
    ),
    (
        counter(
            "hangu_worker_connections_taken_total",
            "Connections that came from other workers to make them even.",
        ),
        |it| &it.connections_taken,
    ),
    (
        counter(
            "hangu_worker_connections_given_total",
            "Connections that were given to other workers to make them even.",
        ),
        |it| &it.connections_given,
    ),
    (
        counter(
            "hangu_worker_accept_failures_total",
            "Connections that could not be accepted for want of descriptors or memory.",
        ),
        |it| &it.accept_failures,
    ),
];

const RING_COUNTERS: &[(Family, Pick<Ring>)] = &[
    (counter("hangu_worker_ring_submissions_total", "Operations that io_uring took."), |it| {
        &it.submissions
    }),
    (counter("hangu_worker_ring_completions_total", "Completions that io_uring gave."), |it| {
        &it.completions
    }),
    (
        gauge(
            "hangu_worker_ring_completions_waiting",
            "Completions that the worker has not taken yet.",
        ),
        |it| &it.completions_waiting,
    ),
    (
        gauge(
            "hangu_worker_ring_completions_overflowed",
            "Completions that found the ring full and wait in a list of the kernel.",
        ),
        |it| &it.completions_overflowed,
    ),
];

const LISTENER_COUNTERS: &[(Family, Pick<ListenerCounters>)] = &[
    (counter("hangu_downstream_connections_total", "Connections accepted."), |it| {
        &it.connections_accepted
    }),
    (gauge("hangu_downstream_connections_active", "Connections that are open."), |it| {
        &it.connections_active
    }),
    (
        counter(
            "hangu_downstream_connections_refused_total",
            "Connections closed at once because connections_max was reached.",
        ),
        |it| &it.connections_refused,
    ),
    (counter("hangu_downstream_requests_total", "Requests that came."), |it| &it.requests),
    (gauge("hangu_downstream_requests_active", "Requests that have not ended."), |it| {
        &it.requests_active
    }),
    (counter("hangu_downstream_received_bytes_total", "Bytes read from clients."), |it| {
        &it.bytes_received
    }),
    (counter("hangu_downstream_sent_bytes_total", "Bytes written to clients."), |it| {
        &it.bytes_sent
    }),
    (
        counter("hangu_downstream_heartbeats_total", "Heartbeats of clients that were answered."),
        |it| &it.heartbeats,
    ),
];
const LISTENER_CLASSES: Family = counter(
    "hangu_downstream_responses_total",
    "Requests that ended, by how: HTTP status class, RPC outcome, answered by the gateway, reset.",
);
const LISTENER_REPLIES: Family = counter(
    "hangu_gateway_replies_total",
    "Answers that the gateway gave itself, by the status it gave.",
);
const LISTENER_DURATION: Family = histogram(
    "hangu_downstream_request_duration_seconds",
    "From the request's head to the end of its answer.",
);

const CLUSTER_COUNTERS: &[(Family, Pick<ClusterCounters>)] = &[
    (counter("hangu_upstream_connections_total", "Connections established."), |it| {
        &it.connections_opened
    }),
    (gauge("hangu_upstream_connections_active", "Connections that are open."), |it| {
        &it.connections_active
    }),
    (
        counter(
            "hangu_upstream_connect_failures_total",
            "Connections that could not be established: refused or unreachable.",
        ),
        |it| &it.connect_failures,
    ),
    (
        counter(
            "hangu_upstream_connect_timeouts_total",
            "Connections that were not established in time.",
        ),
        |it| &it.connect_timeouts,
    ),
    (
        counter(
            "hangu_upstream_connections_lost_total",
            "Connections that broke while requests were in flight on them.",
        ),
        |it| &it.connections_lost,
    ),
    (counter("hangu_upstream_requests_total", "Requests given to a connection."), |it| {
        &it.requests
    }),
    (gauge("hangu_upstream_requests_active", "Requests that wait for an answer."), |it| {
        &it.requests_active
    }),
    (gauge("hangu_upstream_requests_pending", "Requests that wait for a connection."), |it| {
        &it.requests_pending
    }),
    (
        counter(
            "hangu_upstream_retries_total",
            "Further tries of requests that no endpoint had begun to work on.",
        ),
        |it| &it.retries,
    ),
    (counter("hangu_upstream_timeouts_total", "Requests whose deadline passed."), |it| {
        &it.timeouts
    }),
    (
        counter(
            "hangu_upstream_cancelled_total",
            "Requests given up because their client went away.",
        ),
        |it| &it.cancelled,
    ),
    (
        counter(
            "hangu_upstream_late_responses_total",
            "Answers that came after their request was given up; dropped.",
        ),
        |it| &it.late_responses,
    ),
    (
        counter(
            "hangu_upstream_unknown_responses_total",
            "Answers that nobody asked for; dropped.",
        ),
        |it| &it.unknown_responses,
    ),
    (counter("hangu_upstream_heartbeats_total", "Heartbeats that an upstream answered."), |it| {
        &it.heartbeats
    }),
    (counter("hangu_upstream_received_bytes_total", "Bytes read from upstreams."), |it| {
        &it.bytes_received
    }),
    (counter("hangu_upstream_sent_bytes_total", "Bytes written to upstreams."), |it| {
        &it.bytes_sent
    }),
];
const CLUSTER_CLASSES: Family = counter(
    "hangu_upstream_responses_total",
    "Requests of a cluster that ended, by how: HTTP status class, RPC outcome, answered by the \
     gateway, reset.",
);
const CLUSTER_DURATION: Family = histogram(
    "hangu_upstream_request_duration_seconds",
    "From the request's forwarding to the end of its answer.",
);

const ENDPOINT_COUNTERS: &[(Family, Pick<EndpointCounters>)] = &[
    (counter("hangu_endpoint_requests_total", "Requests given to the endpoint."), |it| {
        &it.requests
    }),
    (
        gauge("hangu_endpoint_requests_active", "Requests that wait for the endpoint's answer."),
        |it| &it.requests_active,
    ),
    (gauge("hangu_endpoint_connections_active", "Open connections to the endpoint."), |it| {
        &it.connections_active
    }),
    (
        counter(
            "hangu_endpoint_connect_failures_total",
            "Connections to the endpoint that could not be established, timeouts included.",
        ),
        |it| &it.connect_failures,
    ),
];
const ENDPOINT_CLASSES: Family = counter(
    "hangu_endpoint_responses_total",
    "Requests given to the endpoint that ended, by how; see hangu_upstream_responses_total.",
);
const ROUTE_CLASSES: Family = counter(
    "hangu_route_responses_total",
    "Requests that a route matched, by how they ended; see hangu_upstream_responses_total.",
);
const RPC_REQUESTS: Family = counter(
    "hangu_rpc_requests_total",
    "RPC requests that ended, by service, method, calling application and result; _other where \
     metrics.rpc.series_max left no room for the names.",
);
const RPC_DURATION: Family = histogram(
    "hangu_rpc_request_duration_seconds",
    "From an RPC request's head to the end of its answer, by service and method.",
);
const RPC_DROPPED: Family = counter(
    "hangu_rpc_series_dropped_total",
    "RPC requests whose names found no room and that are counted as _other.",
);
const DOWNSTREAM_ERRORS: Family = counter(
    "hangu_downstream_errors_total",
    "What went wrong on downstream connections, by reason.",
);
const UPSTREAM_ERRORS: Family =
    counter("hangu_upstream_errors_total", "What went wrong on upstream connections, by reason.");

const LOG_COUNTERS: &[(Family, Pick<LogCounters>)] = &[
    (counter("hangu_access_log_records_total", "Records made."), |it| &it.records),
    (
        counter(
            "hangu_access_log_dropped_records_total",
            "Records lost because the log's target did not take them in time or failed.",
        ),
        |it| &it.dropped,
    ),
    (
        counter("hangu_access_log_write_failures_total", "Writes to the log's target that failed."),
        |it| &it.write_failures,
    ),
    (
        counter(
            "hangu_access_log_reopened_total",
            "Times that the log's file was opened anew, as asked.",
        ),
        |it| &it.reopened,
    ),
    (
        counter(
            "hangu_access_log_reopen_failures_total",
            "Times that the log's file could not be opened anew; it went on in the old one.",
        ),
        |it| &it.reopen_failures,
    ),
    (counter("hangu_access_log_written_bytes_total", "Bytes written to the log's target."), |it| {
        &it.written_bytes
    }),
];

#[cfg(test)]
mod tests {
    use hangu_codecs::Status;

    use super::*;
    use crate::telemetry::{
        ClusterNames, Ended, EndpointName, ListenerName, Outcome, RouteNames, RpcCounters,
        RpcNamed, RpcNames, RpcSeries,
    };

    fn metrics() -> Metrics {
        let layout = Layout {
            listeners: vec![ListenerName { name: "fro\"nt\\".to_owned(), is_present: true }],
            clusters: vec![ClusterNames {
                name: "back".to_owned(),
                kind: Kind::Http,
                is_present: true,
                endpoints: vec![EndpointName {
                    address: "127.0.0.1:1".to_owned(),
                    is_present: true,
                }],
            }],
            routes: vec![RouteNames {
                route_config: "main".to_owned(),
                virtual_host: "all".to_owned(),
                name: "root".to_owned(),
            }],
        };
        let workers = vec![Arc::new(Counters::new(&layout)), Arc::new(Counters::new(&layout))];
        let names = Arc::new(RpcNames::new(1));
        for worker in &workers {
            worker.worker.rpc.set(RpcCounters::new(Arc::clone(&names))).unwrap();
            worker.worker.ring.set(Ring::new(0)).unwrap();
        }
        Metrics { layout: Arc::new(layout), workers, access_log: vec![Arc::default()] }
    }

    fn ended(outcome: Outcome) -> Ended {
        Ended {
            listener: 0,
            route: Some(0),
            target: Some((0, 0)),
            outcome,
            duration_us: 700,
            upstream_us: Some(600),
        }
    }

    /// One sample of the text: name, labels as they stand, value.
    fn samples(text: &str) -> Vec<(String, String, f64)> {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').expect("a value after a blank");
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
                None => (series, ""),
            };
            let value = value.parse().expect("a number");
            (name.to_owned(), labels.to_owned(), value)
        };
        text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
    }

    fn value(text: &str, series: &str) -> f64 {
        let prefix = format!("{series} ");
        let line = text.lines().find(|line| line.starts_with(&prefix));
        line.unwrap_or_else(|| panic!("no {series} in:\n{text}"))[prefix.len()..].parse().unwrap()
    }

    #[test]
    fn workers_are_added_up() {
        let metrics = metrics();
        metrics.workers[0].end(&ended(Outcome::Http(200)));
        metrics.workers[1].end(&ended(Outcome::Http(204)));
        metrics.workers[1].end(&ended(Outcome::Gateway(Status::TimedOut)));
        metrics.workers[1].error(ReasonPlace::Upstream(0), "bad_chunk");
        metrics.workers[0].error(ReasonPlace::Upstream(0), "bad_chunk");
        let text = metrics.render(&ProcessFacts::default());
        let at = |series: &str| value(&text, series);
        assert_eq!(at(r#"hangu_upstream_responses_total{cluster="back",class="2xx"}"#), 2.0);
        assert_eq!(at(r#"hangu_upstream_responses_total{cluster="back",class="5xx"}"#), 0.0);
        assert_eq!(
            at(r#"hangu_gateway_replies_total{listener="fro\"nt\\",status="timed_out"}"#),
            1.0
        );
        assert_eq!(
            at(
                r#"hangu_route_responses_total{route_config="main",virtual_host="all",route="root",class="gateway"}"#
            ),
            1.0
        );
        assert_eq!(at(r#"hangu_upstream_errors_total{cluster="back",reason="bad_chunk"}"#), 2.0);
        assert_eq!(at(r#"hangu_upstream_request_duration_seconds_count{cluster="back"}"#), 3.0);
        assert!(!text.contains(r#"cluster="back",class="success""#), "{text}");
    }

    #[test]
    fn rpc_requests_are_shown_by_name_and_what_found_no_room_as_other() {
        let metrics = metrics();
        let rpc = |worker: usize| metrics.workers[worker].worker.rpc.get().unwrap();
        let count = |worker, service: &str, class| {
            let named =
                RpcNamed { service: service.as_bytes(), method: b"say\"Hi\n", caller: b"shop" };
            let series = rpc(worker).find(named);
            rpc(worker).end(series, class, 700);
        };
        count(0, "a.B:1.0", Class::Success);
        count(1, "a.B:1.0", Class::Success);
        count(1, "a.B:1.0", Class::ProviderError);
        count(1, "a.C:1.0", Class::Success);
        rpc(0).end(RpcSeries::NoRoute, Class::Gateway, 0);
        let text = metrics.render(&ProcessFacts::default());
        let at = |series: &str| value(&text, series);
        let named = r#"service="a.B:1.0",method="say\"Hi\n""#;
        let with = |result| {
            format!(r#"hangu_rpc_requests_total{{{named},caller="shop",result="{result}"}}"#)
        };
        assert_eq!((at(&with("success")), at(&with("provider_error"))), (2.0, 1.0));
        assert!(!text.contains(&with("reset")), "{text}");
        let other = r#"service="_other",method="_other""#;
        let total =
            format!(r#"hangu_rpc_requests_total{{{other},caller="_other",result="success"}}"#);
        assert_eq!((at(&total), at("hangu_rpc_series_dropped_total")), (1.0, 1.0));
        let unrouted = r#"{service="_no_route",method="",caller="",result="gateway"}"#;
        assert_eq!(at(&format!("hangu_rpc_requests_total{unrouted}")), 1.0);
        let bucket =
            |le| format!(r#"hangu_rpc_request_duration_seconds_bucket{{{named},le="{le}"}}"#);
        assert_eq!((at(&bucket("0.000256")), at(&bucket("0.001024"))), (0.0, 3.0));
        assert_eq!(at(&bucket("67.108864")), 3.0);
        assert_eq!(at(&format!("hangu_rpc_request_duration_seconds_count{{{other}}}")), 1.0);
    }

    #[test]
    fn every_family_has_help_a_type_and_the_prefix_and_stands_together() {
        let metrics = metrics();
        metrics.workers[0].end(&ended(Outcome::Http(200)));
        metrics.workers[0].error(ReasonPlace::Downstream(0), "bad_request_line");
        let rpc = metrics.workers[0].worker.rpc.get().unwrap();
        rpc.end(RpcSeries::Other, Class::Success, 0);
        let text = metrics.render(&ProcessFacts::default());
        let mut families: Vec<(&str, &str)> = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a text after the name");
                assert!(name.starts_with("hangu_") && help.ends_with('.'), "{name}: {help}");
                assert!(families.iter().all(|(it, _)| *it != name), "{name} stands twice");
                families.push((name, ""));
                continue;
            }
            let (family, kind) = families.last_mut().expect("HELP before anything else");
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                *kind = rest.strip_prefix(*family).expect("the type of the same family");
                assert_eq!(family.ends_with("_total"), *kind == " counter", "{family}{kind}");
                continue;
            }
            let series = line.split(['{', ' ']).next().expect("a name");
            let suffix = series.strip_prefix(*family).expect("a sample of the same family");
            let suffixes: &[&str] =
                if *kind == " histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{series} in {family}");
        }
        assert!(families.len() > 40, "{families:?}");
    }

    #[test]
    fn buckets_of_a_histogram_rise_to_its_count() {
        let metrics = metrics();
        metrics.workers[0].end(&ended(Outcome::Http(200)));
        let text = metrics.render(&ProcessFacts::default());
        let buckets: Vec<f64> = samples(&text)
            .into_iter()
            .filter(|(name, _, _)| name == "hangu_upstream_request_duration_seconds_bucket")
            .map(|(_, _, value)| value)
            .collect();
        assert_eq!(buckets.len(), 28);
        assert!(buckets.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(buckets.last(), Some(&1.0));
        let at = |le: &str| {
            value(
                &text,
                &format!(
                    r#"hangu_upstream_request_duration_seconds_bucket{{cluster="back",le="{le}"}}"#
                ),
            )
        };
        assert_eq!((at("0.000512"), at("0.001024")), (0.0, 1.0));
    }

    #[test]
    fn the_log_is_silent_where_there_is_none() {
        let mut metrics = metrics();
        metrics.access_log.clear();
        assert!(!metrics.render(&ProcessFacts::default()).contains("access_log"));
    }
}
