//! Measures what a proxy costs per request, against a plain byte relay in the same run.
//!
//! One core runs the proxy, another the backend and the load. Rounds of the proxies are interleaved,
//! because a machine's speed drifts more from minute to minute than the proxies differ. Every
//! answer is verified: a fast wrong answer is an error, not a request.
//!
//! | module | owns |
//! |---|---|
//! | [`workload`] | what is asked: protocol, route, connections, requests in flight, size, rate |
//! | [`proxy`] | how each proxy is started in its cheapest honest configuration |
//! | [`relay`] | the yardsticks: bytes from one socket to another, on epoll and on io_uring |
//! | [`backend`] | the server behind the proxies |
//! | [`load`] | the clients in front of them |
//! | [`http2`] | HTTP/2 of load and backend, on the gateway's codec |
//! | [`idle`] | clients that say nothing, and the memory that they take |
//! | [`process`] | a child process on its core: CPU time, memory, end |
//! | [`compare`] | the rounds |
//! | [`report`] | medians, ratios, tables, JSON |
//! | [`targets`] | what the gateway is to reach, and whether it does |
//! | [`plot`], [`record`] | the picture, and the document that holds it |
//! | [`codecs`] | instructions and allocations of the codecs alone |
#![forbid(unsafe_code)]

pub mod backend;
pub mod body;
pub mod bolt;
pub mod clock;
pub mod codecs;
pub mod compare;
pub mod http2;
pub mod idle;
pub mod load;
pub mod machine;
pub mod plot;
pub mod poller;
pub mod process;
pub mod proxy;
pub mod record;
pub mod relay;
pub mod report;
pub mod targets;
pub mod transfer;
pub mod workload;
