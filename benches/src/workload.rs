//! What is asked of the proxies.

/// The sizes that the HTTP backend knows.
pub const HTTP_BODY_BYTES: [usize; 3] = [100, 10 * 1024, 1024 * 1024];

/// Content of a Bolt request, echoed in its response: a small Hessian argument.
const BOLT_CONTENT_BYTES: usize = 128;

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The name on the command line and in the report.
    pub name: &'static str,
    /// What is spoken on both sides of the proxy.
    pub protocol: Protocol,
    /// Client connections.
    pub connections: usize,
    /// Requests in flight on each connection.
    pub in_flight: usize,
    /// When requests are sent.
    pub pace: Pace,
}

/// A protocol with the size that it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive: a GET answered by `body_bytes`, one of [`HTTP_BODY_BYTES`].
    Http1 {
        /// Bytes of the response body.
        body_bytes: usize,
    },
    /// Bolt v1: a request answered with its own content.
    Bolt {
        /// Bytes of content, both ways.
        content_bytes: usize,
    },
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As soon as a place in flight is free: shows the cost at saturation.
    Closed,
    /// So many a second, whatever the answers do: shows latency and the cost of a calm machine.
    Fixed {
        /// Requests a second over all connections.
        per_second: u32,
    },
}

/// All rows. To add one is to add a line; a new protocol adds a variant of [`Protocol`], which the
/// compiler then asks for in `load` and `proxy`.
pub const WORKLOADS: &[Workload] = &[
    http1("http1-100b", 64, HTTP_BODY_BYTES[0]),
    http1("http1-10k", 64, HTTP_BODY_BYTES[1]),
    // Sixteen bodies of 1 MiB under way fill the sockets' buffers; more only take memory.
    http1("http1-1m", 16, HTTP_BODY_BYTES[2]),
    bolt("bolt-16x32", 16, 32, Pace::Closed),
    bolt("bolt-64x1", 64, 1, Pace::Closed),
    bolt("bolt-64x8-20k", 64, 8, Pace::Fixed { per_second: 20_000 }),
];

/// The row of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name)
}

const fn http1(name: &'static str, connections: usize, body_bytes: usize) -> Workload {
    let protocol = Protocol::Http1 { body_bytes };
    Workload { name, protocol, connections, in_flight: 1, pace: Pace::Closed }
}

const fn bolt(name: &'static str, connections: usize, in_flight: usize, pace: Pace) -> Workload {
    let protocol = Protocol::Bolt { content_bytes: BOLT_CONTENT_BYTES };
    Workload { name, protocol, connections, in_flight, pace }
}
