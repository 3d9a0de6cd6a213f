//! Routes as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, MethodText, PatternText, RegexText};

/// A table of routes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Unique among the tables; listeners name it.
    pub name: String,
    /// Leaves the port of the authority out when virtual hosts are matched. Default: false,
    /// `a.com:80` is not `a.com`.
    #[serde(default)]
    pub ignore_port_in_host_matching: bool,
    /// The virtual host is chosen first, by its most exact pattern, wherever it stands. When none
    /// of its routes matches, no other virtual host is tried.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// The routes for some authorities (HTTP, `domains`) or some services (RPC, `services`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VirtualHost {
    /// Unique in its table.
    pub name: String,
    /// HTTP authorities: `www.example.com`, `*.example.com`, `example.*` or `*`; case does not
    /// matter. An exact one goes before one that begins with `*`, then one that ends in `*`, then
    /// `*`; the longer before the shorter. A `*` stands for at least one character.
    #[serde(default)]
    pub domains: Option<Vec<PatternText>>,
    /// RPC services as they stand on the wire, such as `com.example.Hello:1.0` or
    /// `com.example.Hello:*`, in the same forms and order as `domains`; case matters. `*` also
    /// takes requests that name no service.
    #[serde(default)]
    pub services: Option<Vec<PatternText>>,
    /// The first that matches is taken, in the order of the list.
    pub routes: Vec<Route>,
}

/// A match and what is done when it holds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Stands in metrics and logs; unique in its virtual host. Default: name of the virtual host
    /// and place in the list, `users/0`.
    #[serde(default)]
    pub name: Option<String>,
    /// What the request must be like; all of it must hold. `{}` takes everything.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Where the request is forwarded to.
    pub route: Forward,
}

/// What a request must be like: at most one of `prefix`, `path` and `regex`, with `methods` and
/// `headers` for HTTP; `rpc` alone for RPC.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The path begins with this: `/foo` takes `/foobar` too. Paths are normalised first, query
    /// and fragment left out.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The path is this.
    #[serde(default)]
    pub path: Option<String>,
    /// The path as a whole matches this regular expression.
    #[serde(default)]
    pub regex: Option<RegexText>,
    /// The method is one of these. Default: any but CONNECT, which must be named.
    #[serde(default)]
    pub methods: Option<Vec<MethodText>>,
    /// All of these hold.
    #[serde(default)]
    pub headers: Vec<FieldMatch>,
    /// For virtual hosts with `services`.
    #[serde(default)]
    pub rpc: Option<RpcMatch>,
}

/// What an RPC request must be like.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RpcMatch {
    /// The service as it stands on the wire.
    #[serde(default)]
    pub service: Option<TextMatch>,
    /// The method; a request that names none has an empty one.
    #[serde(default)]
    pub method: Option<TextMatch>,
    /// All of these hold.
    #[serde(default)]
    pub fields: Vec<FieldMatch>,
}

/// What a text must be like: exactly one of `exact`, `prefix`, `suffix`, `contains`, `regex`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextMatch {
    /// It is this.
    #[serde(default)]
    pub exact: Option<String>,
    /// It begins with this.
    #[serde(default)]
    pub prefix: Option<String>,
    /// It ends in this.
    #[serde(default)]
    pub suffix: Option<String>,
    /// It has this somewhere.
    #[serde(default)]
    pub contains: Option<String>,
    /// It matches this regular expression as a whole.
    #[serde(default)]
    pub regex: Option<RegexText>,
    /// Compares letters (A to Z) without case. Default: false.
    #[serde(default)]
    pub ignore_case: bool,
}

/// What one field of the head must be like: at most one of `exact`, `prefix`, `suffix`, `contains`,
/// `regex` and `present`; none of them is `present: true`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldMatch {
    /// Name of the field. HTTP: case does not matter; several fields of the name are joined with
    /// `,`; `:method`, `:path` and `:authority` name those parts of the request. RPC: case matters;
    /// the last field of the name counts.
    pub name: String,
    /// The value is this.
    #[serde(default)]
    pub exact: Option<String>,
    /// The value begins with this.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The value ends in this.
    #[serde(default)]
    pub suffix: Option<String>,
    /// The value has this somewhere.
    #[serde(default)]
    pub contains: Option<String>,
    /// The value matches this regular expression as a whole.
    #[serde(default)]
    pub regex: Option<RegexText>,
    /// The field is there (true) or not (false).
    #[serde(default)]
    pub present: Option<bool>,
    /// Compares letters (A to Z) of the value without case. Default: false.
    #[serde(default)]
    pub ignore_case: bool,
    /// Negates the result; but a missing field does not match a test of its value, negated or not.
    /// Default: false.
    #[serde(default)]
    pub invert: bool,
    /// Tests a missing field as an empty one. Default: false.
    #[serde(default)]
    pub treat_missing_as_empty: bool,
}

/// Where a request is forwarded to: exactly one of `cluster` and `weighted_clusters`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Name of the cluster.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Clusters, each with its share of the requests.
    #[serde(default)]
    pub weighted_clusters: Option<Vec<WeightedCluster>>,
    /// From the begin of the request to the end of the response, or to the answer that makes a
    /// tunnel (WebSocket, CONNECT), which then lasts; what remains is forwarded to RPC
    /// endpoints, and a caller's shorter deadline goes before it. Default: no limit.
    #[serde(default)]
    pub timeout: Option<DurationText>,
}

/// A cluster and its share of the requests.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedCluster {
    /// Name of the cluster.
    pub name: String,
    /// Share in proportion to the others; 0 gives none.
    pub weight: u32,
}
