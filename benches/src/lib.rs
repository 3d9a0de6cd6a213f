//! Measures what a proxy costs per request, against a plain byte relay in the same run.
//!
//! One core runs the proxy, another the backend and the load. Rounds of the proxies are interleaved,
//! because a machine's speed drifts more from minute to minute than the proxies differ. Every
//! answer is verified: a fast wrong answer is an error, not a request.
//!
//! | module | owns |
//! |---|---|
//! | [`workload`] | what is asked: protocol, connections, requests in flight, size, rate |
//! | [`proxy`] | how each proxy is started in its cheapest honest configuration |
//! | [`relay`] | the yardstick: bytes from one socket to another on epoll |
//! | [`backend`] | the server behind the proxies |
//! | [`load`] | the clients in front of them |
//! | [`process`] | a child process on its core: CPU time, memory, end |
//! | [`compare`] | the rounds |
//! | [`report`] | medians, ratios, table, JSON |
#![forbid(unsafe_code)]

pub mod backend;
pub mod body;
pub mod bolt;
pub mod clock;
pub mod compare;
pub mod load;
pub mod poller;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod report;
pub mod transfer;
pub mod workload;
