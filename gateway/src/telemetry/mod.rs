//! What is counted and logged: counters per worker, their rendering for Prometheus, and the
//! access log.
//!
//! A worker writes its own [`Counters`] and its own [`AccessLog`] and nothing else; it takes no
//! lock, makes no atomic read-modify-write, and waits for nobody. The control thread adds the
//! workers' counters up when it is asked for them; a thread of its own writes the access log.
//!
//! Everything is reached by index (listener, cluster, endpoint, route), as resolved in the
//! configuration. The names stand once in the [`Layout`].

pub mod access_log;
mod counter;
mod counters;
mod histogram;
mod layout;
mod metrics;
mod outcome;
mod reasons;
mod ring;
mod rpc;
mod throttle;

pub use access_log::{AccessLog, Call, Record, Subject, write_time};
pub use counter::Counter;
pub use counters::{
    ClusterCounters, Counters, Ended, EndpointCounters, ListenerCounters, RouteCounters,
    WorkerCounters,
};
pub use histogram::{Histogram, Quantiles};
pub use layout::{ClusterNames, EndpointName, Layout, ListenerName, RouteNames};
pub use metrics::{AllocatorFacts, Metrics, ProcessFacts};
pub use outcome::{CLASSES, Class, Outcome};
pub use reasons::{REASONS_MAX, ReasonPlace};
pub use ring::{Ring, RingFacts};
pub use rpc::{
    NO_ROUTE, OTHER, RPC_NAME_BYTES_MAX, RPC_RESULTS, RPC_SERIES_MAX, RpcCounters, RpcNamed,
    RpcNames, RpcSeries,
};
pub use throttle::Throttle;
