//! What is asked of the proxies.

use serde::Serialize;

/// The sizes that the HTTP backend knows.
pub const HTTP_BODY_BYTES: [usize; 3] = [100, 10 * 1024, 1024 * 1024];

/// Content of a Bolt request, echoed in its response: a small Hessian argument.
const BOLT_CONTENT_BYTES: usize = 128;

/// Routes of a workload that asks for one of many.
pub const ROUTES: usize = 1000;

/// The field that names the route of a request where there are many.
pub const ROUTE_FIELD: &str = "x-route";

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The name on the command line and in the report.
    pub name: &'static str,
    /// What is spoken on both sides of the proxy.
    pub protocol: Protocol,
    /// Which of how many routes is asked for.
    pub route: Route,
    /// Client connections.
    pub connections: usize,
    /// Requests in flight on each connection.
    pub in_flight: usize,
    /// What is measured.
    pub measure: Measure,
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
    /// HTTP/2 without TLS, by prior knowledge.
    Http2 {
        /// What each stream asks for.
        asks: Asks,
        /// What the backend speaks.
        backend: Version,
    },
}

/// What a stream asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A GET answered by `body_bytes`, one of [`HTTP_BODY_BYTES`].
    Page {
        /// Bytes of the response body.
        body_bytes: usize,
    },
    /// A call of gRPC answered with its own message, and with trailers.
    Grpc {
        /// Bytes of the message.
        message_bytes: usize,
        /// How often it comes back, at most [`GRPC_TIMES_MAX`].
        times: usize,
    },
}

/// What stands before the number in the path of a call.
pub const GRPC_SERVICE: &str = "/bench.Echo/";

/// The most messages that answer one call.
pub const GRPC_TIMES_MAX: usize = 1000;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// Which of how many routes is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The only one, which takes everything.
    Only,
    /// One of [`ROUTES`]: the one whose number stands in [`ROUTE_FIELD`]. A request that names
    /// none of them is not answered by the backend.
    Numbered(usize),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The cost of requests, at each of these paces in turn.
    Requests(&'static [Pace]),
    /// The memory that connections take which have asked once and then say nothing.
    IdleConnections,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// As soon as a place in flight is free: shows the cost at saturation.
    Closed,
    /// So many a second, whatever the answers do: shows latency and the cost of a calm machine.
    Fixed {
        /// Requests a second over all connections.
        per_second: u32,
    },
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("saturation"),
            Self::Fixed { per_second } => write!(f, "{per_second}/s"),
        }
    }
}

/// All rows. To add one is to add a line; a new protocol adds a variant of [`Protocol`], which the
/// compiler then asks for in `load` and `proxy`.
///
/// Each fixed rate is one that the slowest peer reaches on a quiet machine with half of its core,
/// so that all of them answer the same requests.
pub const WORKLOADS: &[Workload] = &[
    http1("http1-100b", 64, HTTP_BODY_BYTES[0], CLOSED_AND_12K),
    http1("http1-10k", 64, HTTP_BODY_BYTES[1], CLOSED_AND_8K),
    // Sixteen bodies of 1 MiB under way fill the sockets' buffers; more only take memory.
    http1("http1-1m", 16, HTTP_BODY_BYTES[2], CLOSED_AND_400),
    bolt("bolt-64x1", 64, 1, CLOSED_AND_12K),
    bolt("bolt-16x32", 16, 32, CLOSED_AND_12K),
    bolt("bolt-64x8-20k", 64, 8, FIXED_20K),
    http2("h2-to-http1-8x32", 32, PAGE, Version::Http1, CLOSED_AND_12K),
    http2("h2-to-h2-8x32", 32, PAGE, Version::Http2, CLOSED_AND_12K),
    http2("grpc-unary-8x32", 32, grpc(1), Version::Http2, CLOSED_AND_8K),
    http2("grpc-stream", 1, grpc(GRPC_TIMES_MAX), Version::Http2, CLOSED_AND_100),
    route("routes-first", 0),
    route("routes-last", ROUTES - 1),
    http1("idle-5000", 5_000, HTTP_BODY_BYTES[0], Measure::IdleConnections),
];

const fn fixed(per_second: u32) -> Pace {
    Pace::Fixed { per_second }
}

const CLOSED_AND_12K: Measure = Measure::Requests(&[Pace::Closed, fixed(12_000)]);
const CLOSED_AND_8K: Measure = Measure::Requests(&[Pace::Closed, fixed(8_000)]);
const CLOSED_AND_4K: Measure = Measure::Requests(&[Pace::Closed, fixed(4_000)]);
const CLOSED_AND_400: Measure = Measure::Requests(&[Pace::Closed, fixed(400)]);
const CLOSED_AND_100: Measure = Measure::Requests(&[Pace::Closed, fixed(100)]);
const FIXED_20K: Measure = Measure::Requests(&[fixed(20_000)]);

/// The row of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name)
}

impl Workload {
    /// Routes that the proxy is to have.
    #[must_use]
    pub fn routes(&self) -> usize {
        match self.route {
            Route::Only => 1,
            Route::Numbered(_) => ROUTES,
        }
    }

    /// The paces at which requests are measured; none where only memory is.
    #[must_use]
    pub fn paces(&self) -> &'static [Pace] {
        match self.measure {
            Measure::Requests(paces) => paces,
            Measure::IdleConnections => &[],
        }
    }

    /// The same, asking for a route that is not there; `None` where everything has a route.
    #[must_use]
    pub fn astray(&self) -> Option<Self> {
        match self.route {
            Route::Only => None,
            Route::Numbered(_) => Some(Self { route: Route::Numbered(ROUTES), ..*self }),
        }
    }

    /// What it asks for, for people.
    #[must_use]
    pub fn description(&self) -> String {
        let what = match self.protocol {
            Protocol::Http1 { body_bytes } => format!("HTTP/1.1 GET, {} of body", size(body_bytes)),
            Protocol::Bolt { content_bytes } => format!("Bolt v1, {} echoed", size(content_bytes)),
            Protocol::Http2 { asks, backend } => {
                let asks = match asks {
                    Asks::Page { body_bytes } => format!("GET, {} of body", size(body_bytes)),
                    Asks::Grpc { message_bytes, times } => {
                        format!("gRPC, {} echoed {times} ×", size(message_bytes))
                    }
                };
                let backend = match backend {
                    Version::Http1 => "HTTP/1.1",
                    Version::Http2 => "HTTP/2",
                };
                format!("HTTP/2 {asks}, backend {backend}")
            }
        };
        let route = match self.route {
            Route::Only => String::new(),
            Route::Numbered(number) => {
                format!(", route {} of {ROUTES} by a header field", number + 1)
            }
        };
        format!("{what}{route}, {} connections × {}", self.connections, self.in_flight)
    }
}

/// The name of a numbered route, as it stands in [`ROUTE_FIELD`].
#[must_use]
pub fn route_name(number: usize) -> String {
    format!("route-{number}")
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

const fn http1(
    name: &'static str,
    connections: usize,
    body_bytes: usize,
    measure: Measure,
) -> Workload {
    let protocol = Protocol::Http1 { body_bytes };
    Workload { name, protocol, route: Route::Only, connections, in_flight: 1, measure }
}

const fn bolt(
    name: &'static str,
    connections: usize,
    in_flight: usize,
    measure: Measure,
) -> Workload {
    let protocol = Protocol::Bolt { content_bytes: BOLT_CONTENT_BYTES };
    Workload { name, protocol, route: Route::Only, connections, in_flight, measure }
}

/// Eight connections: what is compared is many streams on few connections.
const fn http2(
    name: &'static str,
    in_flight: usize,
    asks: Asks,
    backend: Version,
    measure: Measure,
) -> Workload {
    let protocol = Protocol::Http2 { asks, backend };
    Workload { name, protocol, route: Route::Only, connections: 8, in_flight, measure }
}

const PAGE: Asks = Asks::Page { body_bytes: HTTP_BODY_BYTES[0] };

const fn grpc(times: usize) -> Asks {
    Asks::Grpc { message_bytes: 100, times }
}

const fn route(name: &'static str, number: usize) -> Workload {
    let workload = http1(name, 64, HTTP_BODY_BYTES[0], CLOSED_AND_4K);
    Workload { route: Route::Numbered(number), ..workload }
}
