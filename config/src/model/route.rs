//! Route tables. The rules by which they are read stand in `hangu::route`.

use std::time::Duration;

use hangu_codecs::{Method, protocol::Kind};
use serde::{Serialize, Serializer};

/// A table of routes, used by one or more listeners.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteConfig {
    /// Unique among route tables.
    pub name: String,
    /// Whether the port of the authority is left out when virtual hosts are matched.
    pub ignore_port_in_host_matching: bool,
    /// No two have a name or a pattern in common.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// The routes for one authority (HTTP) or one service (RPC).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VirtualHost {
    /// Unique in its table.
    pub name: String,
    /// Whether it takes HTTP or RPC requests; each route's match is of the same kind.
    #[serde(serialize_with = "kind")]
    pub kind: Kind,
    /// Authorities (in lower case) or services, at least one.
    pub patterns: Vec<NamePattern>,
    /// The first route that matches is taken.
    pub routes: Vec<Route>,
}

/// Which authorities or services a virtual host takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NamePattern {
    /// This one.
    Exact(String),
    /// `*X`: all that end in `X`, with at least one byte before.
    Suffix(String),
    /// `X*`: all that begin with `X`, with at least one byte after.
    Prefix(String),
    /// `*`: all.
    Any,
}

impl std::fmt::Display for NamePattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => formatter.write_str(name),
            Self::Suffix(end) => write!(formatter, "*{end}"),
            Self::Prefix(start) => write!(formatter, "{start}*"),
            Self::Any => formatter.write_str("*"),
        }
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A match and what is done when it holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// The label in metrics and logs; `VIRTUAL_HOST/INDEX` when the configuration names none.
    pub name: String,
    /// All of it must hold.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

/// What a request must be like.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RouteMatch {
    /// In a virtual host for HTTP.
    Http(HttpMatch),
    /// In a virtual host for RPC.
    Rpc(RpcMatch),
}

/// What an HTTP request must be like.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HttpMatch {
    /// The path, normalised, without query and fragment.
    pub path: PathMatch,
    /// One of these; empty for any but CONNECT, which must be named.
    #[serde(serialize_with = "methods")]
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<FieldMatch>,
}

/// What a path must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// Anything.
    #[default]
    Any,
    /// Equal, byte by byte.
    Exact(String),
    /// Begins with, byte by byte: `/foo` takes `/foobar`.
    Prefix(String),
    /// Matched as a whole by a regular expression.
    Regex(String),
}

/// What an RPC request must be like.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RpcMatch {
    /// The service as it stands on the wire.
    pub service: Option<TextMatch>,
    /// The method; a request that names none is matched as the empty text.
    pub method: Option<TextMatch>,
    /// All of these.
    pub fields: Vec<FieldMatch>,
}

/// What one field of a head must be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldMatch {
    /// HTTP: in lower case, compared without case; `:method`, `:path`, `:authority` (or `host`)
    /// and `upgrade` name those parts of the head. RPC: compared with case.
    pub name: String,
    /// The test.
    #[serde(flatten)]
    pub test: FieldTest,
    /// The result is negated; but a missing field never matches a test of its text, negated or
    /// not.
    pub invert: bool,
    /// A missing field is tested as an empty one.
    pub treat_missing_as_empty: bool,
}

/// The test of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldTest {
    /// The field is there (true) or not (false).
    Present(bool),
    /// HTTP: the values of all fields of that name, joined with `,`. RPC: the last value.
    Text(TextMatch),
}

/// What a text must be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextMatch {
    /// The test.
    #[serde(flatten)]
    pub test: TextTest,
    /// ASCII letters are compared without case.
    pub ignore_case: bool,
}

/// The test of a text, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextTest {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Ends in.
    Suffix(String),
    /// Has it somewhere.
    Contains(String),
    /// Matched as a whole by a regular expression.
    Regex(String),
}

/// What is done with a request. Redirects, direct responses and the like will be variants.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is forwarded; `route` in the configuration.
    #[serde(rename = "route")]
    Forward(Forward),
}

/// Where a request is forwarded to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forward {
    /// At least one; the sum of the weights is 1 to 2^32-1. A route to one cluster has one entry
    /// of weight 1.
    pub clusters: Vec<WeightedCluster>,
    /// From the begin of the request to the end of the response; `None` sets no limit.
    #[serde(serialize_with = "super::duration_or_none")]
    pub timeout: Option<Duration>,
}

/// A cluster and its share of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WeightedCluster {
    /// Index into [`crate::Config::clusters`].
    pub cluster: usize,
    /// Share in proportion to the others; 0 gives none.
    pub weight: u32,
}

fn kind<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match kind {
        Kind::Http => "http",
        Kind::Rpc => "rpc",
    })
}

fn methods<S: Serializer>(methods: &[Method], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(methods.iter().map(Method::as_str))
}
