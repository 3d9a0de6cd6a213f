//! The table of routes, compiled from a [`config::RouteConfig`].

use std::{cell::RefCell, sync::Arc, time::Duration};

use hangu_codecs::{HttpRequest, Method, RpcHead, protocol::Kind};
use hangu_config::{self as config, regex::Case};
use regex::bytes::Regex;

use super::{
    field::{Field, Text, compile_regex},
    host::{Hosts, without_port},
    index::{Aspect, Demand, Index, Places, Subject},
    path,
};

/// All routes of a route table, ready to be searched.
///
/// Searching allocates nothing once a thread is warm. Expressions keep caches for the threads that
/// use them: give each worker a clone of its own, so that workers never meet at one.
#[derive(Clone, Debug)]
pub struct RouteTable {
    ignores_port: bool,
    domains: Hosts,
    services: Hosts,
    /// For each virtual host the index of its routes.
    hosts: Vec<Index>,
    routes: Vec<Route>,
}

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its place among all routes of the table, virtual host after virtual host.
    pub index: usize,
    /// Its name, for metrics and logs.
    pub name: Arc<str>,
    /// Name of its virtual host.
    pub virtual_host: Arc<str>,
    /// From the begin of a request to the end of its response; `None` sets no limit.
    pub timeout: Option<Duration>,
    pub(super) matcher: Matcher,
    targets: Targets,
}

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The route.
    pub route: &'a Route,
    /// The cluster that was drawn: index into [`config::Config::clusters`].
    pub cluster: usize,
}

/// Why a table cannot be compiled. Does not happen to a table that [`config::load`] gave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the regular expression `{pattern}` is wrong: {what}")]
pub struct CompileError {
    /// The expression.
    pub pattern: String,
    /// What is wrong with it.
    pub what: String,
}

impl RouteTable {
    /// Compiles a route table.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn compile(table: &config::RouteConfig) -> Result<Self, CompileError> {
        let mut compiled = Self {
            ignores_port: table.ignore_port_in_host_matching,
            domains: Hosts::default(),
            services: Hosts::default(),
            hosts: Vec::with_capacity(table.virtual_hosts.len()),
            routes: Vec::new(),
        };
        for (number, host) in (0u32..).zip(&table.virtual_hosts) {
            compiled.add_host(number, host)?;
        }
        Ok(compiled)
    }

    fn add_host(&mut self, number: u32, host: &config::VirtualHost) -> Result<(), CompileError> {
        let names = match host.kind {
            Kind::Http => &mut self.domains,
            Kind::Rpc => &mut self.services,
        };
        for pattern in &host.patterns {
            names.add(pattern, number);
        }
        let mut filed = Vec::with_capacity(host.routes.len());
        let virtual_host: Arc<str> = host.name.as_str().into();
        for route in &host.routes {
            // Other actions than forwarding will be told apart here and in `Found`.
            let config::Action::Forward(forward) = &route.action;
            let matcher = Matcher::compile(&route.matches)?;
            let index = self.routes.len();
            // 2^32 routes would take more memory than a machine has.
            filed.push((u32::try_from(index).unwrap_or(u32::MAX), matcher.demands()));
            self.routes.push(Route {
                index,
                name: route.name.as_str().into(),
                virtual_host: Arc::clone(&virtual_host),
                timeout: forward.timeout,
                matcher,
                targets: Targets::compile(&forward.clusters),
            });
        }
        self.hosts.push(Index::build(&filed));
        Ok(())
    }

    /// The route of an HTTP request whose path is normalised ([`path::normalize`]). `random` is
    /// drawn once per request.
    pub fn find_http(&self, request: &HttpRequest, random: u64) -> Option<Found<'_>> {
        let host = self.find_domain(&request.authority)?;
        let path = path::basis(&request.path);
        let index = self.hosts.get(host as usize)?;
        let takes = |it: &Route| it.matcher.takes_http(request, path);
        let route = index.first(&Http { request, path }, |it| self.route(it).is_some_and(takes))?;
        let route = self.route(route)?;
        Some(Found { route, cluster: route.targets.draw(random) })
    }

    /// The route of an RPC request. `random` is drawn once per request.
    pub fn find_rpc(&self, head: &RpcHead<'_>, random: u64) -> Option<Found<'_>> {
        let host = self.services.find(head.service)?;
        let index = self.hosts.get(host as usize)?;
        let takes = |it: &Route| it.matcher.takes_rpc(head);
        let route = index.first(head, |it| self.route(it).is_some_and(takes))?;
        let route = self.route(route)?;
        Some(Found { route, cluster: route.targets.draw(random) })
    }

    /// All routes in the order of [`Route::index`].
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn route(&self, route: u32) -> Option<&Route> {
        self.routes.get(route as usize)
    }

    fn find_domain(&self, authority: &[u8]) -> Option<u32> {
        if authority.is_empty() {
            return None;
        }
        let host = if self.ignores_port { without_port(authority) } else { authority };
        if !host.iter().any(u8::is_ascii_uppercase) {
            return self.domains.find(host);
        }
        LOWERED.with_borrow_mut(|lowered| {
            lowered.clear();
            lowered.extend_from_slice(host);
            lowered.make_ascii_lowercase();
            self.domains.find(lowered)
        })
    }
}

thread_local! {
    /// An authority in lower case: kept, so that it is allocated once per thread.
    static LOWERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a request must be like.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    Http { path: PathMatcher, methods: Vec<Method>, fields: Vec<Field> },
    Rpc { service: Option<Text>, method: Option<Text>, fields: Vec<Field> },
}

#[derive(Clone, Debug)]
pub(super) enum PathMatcher {
    Any,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Regex(Regex),
}

impl Matcher {
    fn compile(matches: &config::RouteMatch) -> Result<Self, CompileError> {
        let text = |it: &Option<config::TextMatch>| it.as_ref().map(Text::compile).transpose();
        Ok(match matches {
            config::RouteMatch::Http(http) => Self::Http {
                path: PathMatcher::compile(&http.path)?,
                methods: http.methods.clone(),
                fields: http.headers.iter().map(Field::compile_http).collect::<Result<_, _>>()?,
            },
            config::RouteMatch::Rpc(rpc) => Self::Rpc {
                service: text(&rpc.service)?,
                method: text(&rpc.method)?,
                fields: rpc.fields.iter().map(Field::compile_rpc).collect::<Result<_, _>>()?,
            },
        })
    }

    /// The texts that every request that it takes has.
    fn demands(&self) -> Vec<Demand> {
        let exact = |aspect, text: &Option<Text>| {
            text.as_ref().and_then(Text::demand).map(|it| Demand::Exact(aspect, it))
        };
        let (firsts, fields) = match self {
            Self::Http { path, fields, .. } => ([path.demand(), None], fields),
            Self::Rpc { service, method, fields } => {
                ([exact(Aspect::Service, service), exact(Aspect::Method, method)], fields)
            }
        };
        firsts.into_iter().flatten().chain(fields.iter().filter_map(Field::demand)).collect()
    }

    pub(super) fn takes_http(&self, request: &HttpRequest, basis: &[u8]) -> bool {
        let Self::Http { path, methods, fields } = self else { return false };
        takes_method(methods, &request.method)
            && path.matches(basis)
            && fields.iter().all(|it| it.matches_http(request))
    }

    pub(super) fn takes_rpc(&self, head: &RpcHead<'_>) -> bool {
        let Self::Rpc { service, method, fields } = self else { return false };
        service.as_ref().is_none_or(|it| it.matches(head.service))
            && method.as_ref().is_none_or(|it| it.matches(head.method))
            && fields.iter().all(|it| it.matches_rpc(head))
    }
}

/// CONNECT asks for a tunnel and not for a resource: only a route that names it takes it.
fn takes_method(methods: &[Method], method: &Method) -> bool {
    if methods.is_empty() { *method != Method::Connect } else { methods.contains(method) }
}

impl PathMatcher {
    fn compile(matches: &config::PathMatch) -> Result<Self, CompileError> {
        Ok(match matches {
            config::PathMatch::Any => Self::Any,
            config::PathMatch::Exact(text) => Self::Exact(text.as_bytes().into()),
            config::PathMatch::Prefix(text) => Self::Prefix(text.as_bytes().into()),
            config::PathMatch::Regex(pattern) => Self::Regex(compile_regex(pattern, Case::Kept)?),
        })
    }

    fn demand(&self) -> Option<Demand> {
        match self {
            Self::Exact(text) => Some(Demand::Exact(Aspect::Path, text.clone())),
            Self::Prefix(text) => Some(Demand::PathPrefix(text.clone())),
            Self::Any | Self::Regex(_) => None,
        }
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => path == &text[..],
            Self::Prefix(text) => path.starts_with(text),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// An HTTP request to look routes up for.
struct Http<'a> {
    request: &'a HttpRequest,
    path: &'a [u8],
}

impl Subject for Http<'_> {
    fn path(&self) -> &[u8] {
        self.path
    }

    fn look_up<'i>(&self, aspect: &Aspect, places: &'i Places) -> &'i [u32] {
        let found = |value: Option<&[u8]>| value.and_then(|it| places.get(it));
        let routes = match aspect {
            Aspect::Path => found(Some(self.path)),
            Aspect::Field(name) => name.of_http(self.request, found),
            // Of RPC alone: no HTTP route is filed there.
            Aspect::Service | Aspect::Method => None,
        };
        routes.map_or(&[], |it| it)
    }
}

impl Subject for RpcHead<'_> {
    fn path(&self) -> &[u8] {
        &[]
    }

    fn look_up<'i>(&self, aspect: &Aspect, places: &'i Places) -> &'i [u32] {
        let value = match aspect {
            Aspect::Service => Some(self.service),
            Aspect::Method => Some(self.method),
            Aspect::Field(name) => name.of_rpc(self),
            // Of HTTP alone: no RPC route is filed there.
            Aspect::Path => None,
        };
        value.and_then(|it| places.get(it)).map_or(&[], |it| it)
    }
}

/// Where requests of a route go.
#[derive(Clone, Debug)]
enum Targets {
    One(usize),
    /// Each cluster with the end of its half-open interval; the last end is the sum of the
    /// weights, 1 to 2^32-1.
    Several(Vec<(u32, usize)>),
}

impl Targets {
    fn compile(clusters: &[config::WeightedCluster]) -> Self {
        if let [one] = clusters {
            return Self::One(one.cluster);
        }
        let mut end: u32 = 0;
        let intervals = clusters.iter().map(|it| {
            end = end.saturating_add(it.weight);
            (end, it.cluster)
        });
        Self::Several(intervals.collect())
    }

    fn draw(&self, random: u64) -> usize {
        let intervals = match self {
            Self::One(cluster) => return *cluster,
            Self::Several(intervals) => intervals,
        };
        let sum = intervals.last().map_or(1, |(end, _)| u64::from(*end).max(1));
        let value = random % sum;
        let place = intervals.partition_point(|(end, _)| u64::from(*end) <= value);
        intervals.get(place).map_or(0, |(_, cluster)| *cluster)
    }
}

#[cfg(test)]
mod tests {
    use hangu_codecs::{
        Fields,
        message::{RpcFields, RpcOutcome, RpcPayload, RpcTrace},
    };
    use hangu_config::{
        FieldMatch, FieldTest, Forward, HttpMatch, NamePattern, PathMatch, RouteConfig, RouteMatch,
        RpcMatch, TextMatch, TextTest, VirtualHost, WeightedCluster,
    };

    use super::*;

    fn forward(clusters: &[(usize, u32)]) -> config::Action {
        let each = clusters.iter();
        config::Action::Forward(Forward {
            clusters: each
                .map(|(cluster, weight)| WeightedCluster { cluster: *cluster, weight: *weight })
                .collect(),
            timeout: None,
        })
    }

    /// A table of one virtual host whose route number n goes to cluster n.
    fn table(kind: Kind, matches: Vec<RouteMatch>) -> RouteTable {
        let routes = matches.into_iter().enumerate().map(|(index, matches)| config::Route {
            name: index.to_string(),
            matches,
            action: forward(&[(index, 1)]),
        });
        let host = VirtualHost {
            name: "all".to_owned(),
            kind,
            patterns: vec![NamePattern::Any],
            routes: routes.collect(),
        };
        compile(vec![host], false)
    }

    fn compile(virtual_hosts: Vec<VirtualHost>, ignore_port: bool) -> RouteTable {
        let name = "table".to_owned();
        let ignore_port_in_host_matching = ignore_port;
        RouteTable::compile(&RouteConfig { name, ignore_port_in_host_matching, virtual_hosts })
            .unwrap()
    }

    fn http(path: PathMatch) -> RouteMatch {
        RouteMatch::Http(HttpMatch { path, ..HttpMatch::default() })
    }

    fn with_header(field: FieldMatch) -> RouteTable {
        let matches = HttpMatch { headers: vec![field], ..HttpMatch::default() };
        table(Kind::Http, vec![RouteMatch::Http(matches)])
    }

    fn field(name: &str, test: TextTest) -> FieldMatch {
        FieldMatch {
            name: name.to_owned(),
            test: FieldTest::Text(TextMatch { test, ignore_case: false }),
            invert: false,
            treat_missing_as_empty: false,
        }
    }

    fn request(path: &str, fields: &[(&str, &str)]) -> HttpRequest {
        let mut all = Fields::new();
        for (name, value) in fields {
            all.push(name.as_bytes(), value.as_bytes());
        }
        HttpRequest {
            authority: b"a.com".to_vec(),
            path: path.as_bytes().to_vec(),
            fields: all,
            ..HttpRequest::default()
        }
    }

    fn cluster(table: &RouteTable, request: &HttpRequest) -> Option<usize> {
        table.find_http(request, 0).map(|it| it.cluster)
    }

    fn matches(table: &RouteTable, fields: &[(&str, &str)]) -> bool {
        cluster(table, &request("/", fields)).is_some()
    }

    #[test]
    fn the_first_route_that_matches_is_taken_however_exact_a_later_one_is() {
        let table = table(
            Kind::Http,
            vec![
                http(PathMatch::Prefix("/foo".into())),
                http(PathMatch::Exact("/foo/bar".into())),
                http(PathMatch::Exact("/bar".into())),
                http(PathMatch::Regex("/b[0-9]+|/c".into())),
            ],
        );
        for (path, expected) in [
            ("/foo/bar", Some(0)),
            ("/foobar", Some(0)),
            ("/bar", Some(2)),
            ("/bar/", None),
            ("/b12", Some(3)),
            ("/b12/x", None),
            ("/c", Some(3)),
            ("/fo", None),
        ] {
            assert_eq!(cluster(&table, &request(path, &[])), expected, "{path}");
        }
    }

    #[test]
    fn query_and_fragment_are_left_out_for_every_kind_of_path() {
        let table = table(
            Kind::Http,
            vec![
                http(PathMatch::Exact("/exact".into())),
                http(PathMatch::Regex("/[a-z]+".into())),
                http(PathMatch::Prefix("/1/2".into())),
            ],
        );
        for (path, expected) in [
            ("/exact?a=/b", Some(0)),
            ("/exact#b", Some(0)),
            ("/regex?1", Some(1)),
            ("/1?/2", None),
            ("/1/2?", Some(2)),
        ] {
            assert_eq!(cluster(&table, &request(path, &[])), expected, "{path}");
        }
    }

    #[test]
    fn the_method_is_one_of_those_named_and_connect_must_be_named() {
        let with = |methods: Vec<Method>| {
            let matches = HttpMatch { methods, ..HttpMatch::default() };
            table(Kind::Http, vec![RouteMatch::Http(matches)])
        };
        let find = |table: &RouteTable, method| {
            cluster(table, &HttpRequest { method, ..request("/", &[]) }).is_some()
        };
        let any = with(vec![]);
        assert!(find(&any, Method::Get) && find(&any, Method::Other("PURGE".into())));
        assert!(!find(&any, Method::Connect));
        let some = with(vec![Method::Connect, Method::Other("PURGE".into())]);
        assert!(find(&some, Method::Connect) && find(&some, Method::Other("PURGE".into())));
        assert!(!find(&some, Method::Get) && !find(&some, Method::Other("purge".into())));
    }

    #[test]
    fn each_test_of_a_field_holds_for_the_values_that_it_names() {
        for (test, yes, no) in [
            (TextTest::Exact("ab".into()), &["ab"][..], &["abc", "AB", ""][..]),
            (TextTest::Prefix("ab".into()), &["ab", "abc"], &["cab", "a", "AB"]),
            (TextTest::Suffix("ab".into()), &["ab", "cab"], &["abc", "b", "AB"]),
            (TextTest::Contains("ab".into()), &["ab", "xabx"], &["a", "ba", "xABx"]),
            (TextTest::Regex("a[0-9]".into()), &["a1"], &["a12", "ba1", "A1"]),
        ] {
            let plain = with_header(field("x-a", test.clone()));
            let text = TextMatch { test, ignore_case: true };
            let folded = with_header(FieldMatch {
                test: FieldTest::Text(text),
                ..field("x-a", TextTest::Exact("".into()))
            });
            for value in yes {
                assert!(matches(&plain, &[("X-A", value)]), "{value}");
                assert!(matches(&folded, &[("x-a", &value.to_uppercase())]), "{value}");
            }
            for value in no {
                assert!(!matches(&plain, &[("x-a", value)]), "{value}");
            }
            assert!(!matches(&plain, &[("x-b", yes[0])]));
        }
    }

    #[test]
    fn the_values_of_repeated_fields_are_joined_with_a_comma_and_tested_once() {
        let fields = [("x-a", "1"), ("x-b", "9"), ("X-A", "2"), ("x-a", "3")];
        assert!(matches(&with_header(field("x-a", TextTest::Exact("1,2,3".into()))), &fields));
        assert!(matches(&with_header(field("x-a", TextTest::Contains("2,3".into()))), &fields));
        assert!(!matches(&with_header(field("x-a", TextTest::Exact("1".into()))), &fields));
    }

    #[test]
    fn a_missing_field_never_matches_a_test_of_its_value_inverted_or_not() {
        let inverted = FieldMatch { invert: true, ..field("x-a", TextTest::Exact("1".into())) };
        let table = with_header(inverted.clone());
        assert!(matches(&table, &[("x-a", "2")]));
        assert!(!matches(&table, &[("x-a", "1")]));
        assert!(!matches(&table, &[]));
        let table = with_header(FieldMatch { treat_missing_as_empty: true, ..inverted });
        assert!(matches(&table, &[]));
        let empty = field("x-a", TextTest::Exact(String::new()));
        assert!(matches(&with_header(empty.clone()), &[("x-a", "")]));
        assert!(!matches(&with_header(empty.clone()), &[]));
        assert!(matches(&with_header(FieldMatch { treat_missing_as_empty: true, ..empty }), &[]));
    }

    #[test]
    fn presence_is_inverted_like_any_other_test() {
        for (present, invert, wanted) in
            [(true, false, true), (true, true, false), (false, false, false), (false, true, true)]
        {
            let test = FieldTest::Present(present);
            let table = with_header(FieldMatch {
                test,
                invert,
                ..field("x-a", TextTest::Exact("".into()))
            });
            assert_eq!(matches(&table, &[("X-a", "")]), wanted);
            assert_eq!(matches(&table, &[]), !wanted);
        }
    }

    #[test]
    fn parts_of_the_head_that_are_no_fields_are_matched_by_name() {
        let request = HttpRequest {
            method: Method::Put,
            upgrade: b"websocket".to_vec(),
            ..request("/p?q=1", &[])
        };
        for (name, value) in [
            (":method", "PUT"),
            (":path", "/p?q=1"),
            (":authority", "a.com"),
            ("host", "a.com"),
            ("upgrade", "websocket"),
        ] {
            let table = with_header(field(name, TextTest::Exact(value.into())));
            assert!(cluster(&table, &request).is_some(), "{name}");
        }
        let table = with_header(field("upgrade", TextTest::Exact(String::new())));
        assert!(!matches(&table, &[]), "a request without an offer has no such field");
    }

    #[test]
    fn all_tests_of_a_match_must_hold() {
        let matches = HttpMatch {
            path: PathMatch::Prefix("/a".into()),
            methods: vec![Method::Get],
            headers: vec![
                field("x", TextTest::Exact("1".into())),
                field("y", TextTest::Exact("2".into())),
            ],
        };
        let table = table(Kind::Http, vec![RouteMatch::Http(matches)]);
        let good = request("/a", &[("x", "1"), ("y", "2")]);
        assert!(cluster(&table, &good).is_some());
        assert!(cluster(&table, &request("/a", &[("x", "1")])).is_none());
        assert!(cluster(&table, &request("/b", &[("x", "1"), ("y", "2")])).is_none());
        assert!(cluster(&table, &HttpRequest { method: Method::Post, ..good }).is_none());
    }

    fn host(name: &str, kind: Kind, pattern: &str, cluster: usize, path: &str) -> VirtualHost {
        let matches = match kind {
            Kind::Http => http(PathMatch::Prefix(path.to_owned())),
            Kind::Rpc => RouteMatch::Rpc(RpcMatch::default()),
        };
        VirtualHost {
            name: name.to_owned(),
            kind,
            patterns: vec![config::text::read_pattern(pattern).unwrap()],
            routes: vec![config::Route {
                name: format!("route of {name}"),
                matches,
                action: forward(&[(cluster, 1)]),
            }],
        }
    }

    #[test]
    fn the_host_is_compared_without_case_and_with_its_port_unless_told_otherwise() {
        let hosts =
            || vec![host("a", Kind::Http, "a.com", 0, "/"), host("all", Kind::Http, "*", 1, "/")];
        let (with, without) = (compile(hosts(), false), compile(hosts(), true));
        let find = |table: &RouteTable, authority: &str| {
            cluster(table, &HttpRequest { authority: authority.into(), ..request("/", &[]) })
        };
        for (authority, kept, cut) in [
            ("a.com", 0, 0),
            ("A.CoM", 0, 0),
            ("a.com:80", 1, 0),
            ("A.com:8080", 1, 0),
            ("b.com", 1, 1),
        ] {
            assert_eq!(find(&with, authority), Some(kept), "{authority}");
            assert_eq!(find(&without, authority), Some(cut), "{authority}");
        }
    }

    #[test]
    fn a_request_without_authority_has_no_route() {
        let table = table(Kind::Http, vec![http(PathMatch::Any)]);
        let nameless = HttpRequest { authority: Vec::new(), ..request("/", &[]) };
        assert_eq!(cluster(&table, &nameless), None);
    }

    #[test]
    fn there_is_no_way_back_to_another_virtual_host() {
        let table = compile(
            vec![host("a", Kind::Http, "a.com", 0, "/a"), host("all", Kind::Http, "*", 1, "/")],
            false,
        );
        assert_eq!(cluster(&table, &request("/b", &[])), None);
        let found = table.find_http(&request("/a", &[]), 0).map(|it| it.route).unwrap();
        assert_eq!((&*found.name, &*found.virtual_host, found.index), ("route of a", "a", 0));
        assert_eq!(table.routes()[1].index, 1);
    }

    #[test]
    fn clusters_are_drawn_in_half_open_intervals_in_list_order() {
        let mut table = compile(vec![host("a", Kind::Http, "*", 0, "/")], false);
        let weights = [(7, 30), (8, 0), (9, 50), (5, 20)];
        let clusters: Vec<_> = weights
            .iter()
            .map(|(cluster, weight)| WeightedCluster { cluster: *cluster, weight: *weight })
            .collect();
        table.routes[0].targets = Targets::compile(&clusters);
        let draw = |random| table.find_http(&request("/", &[]), random).unwrap().cluster;
        for (random, cluster) in
            [(0, 7), (29, 7), (30, 9), (79, 9), (80, 5), (99, 5), (100, 7), (u64::MAX - 15, 7)]
        {
            assert_eq!(draw(random), cluster, "{random}");
        }
        let count = |cluster| (0..1000).filter(|it| draw(*it) == cluster).count();
        assert_eq!([count(7), count(8), count(9), count(5)], [300, 0, 500, 200]);
    }

    const BLOCK: &[u8] = b"canary=1;tag=a;tag=b;";

    /// `name=value;` pairs.
    fn read_pair(block: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
        let end = memchr::memchr(b';', block)?;
        let middle = memchr::memchr(b'=', block)?;
        Some((&block[..middle], &block[middle + 1..end], &block[end + 1..]))
    }

    fn rpc<'a>(service: &'a str, method: &'a str) -> RpcHead<'a> {
        RpcHead {
            protocol: "bolt",
            two_way: true,
            service: service.as_bytes(),
            method: method.as_bytes(),
            timeout: None,
            outcome: RpcOutcome::Success,
            fields: RpcFields::new(BLOCK, read_pair),
            head: b"",
            payload: RpcPayload::Slice(b""),
            timeout_in_fields: false,
            checksum: None,
            trace: RpcTrace::default(),
            added: None,
        }
    }

    fn text(test: TextTest) -> Option<TextMatch> {
        Some(TextMatch { test, ignore_case: false })
    }

    #[test]
    fn rpc_requests_are_matched_by_service_method_and_fields() {
        let of = |service, method, fields| RouteMatch::Rpc(RpcMatch { service, method, fields });
        let table = table(
            Kind::Rpc,
            vec![
                of(
                    text(TextTest::Prefix("com.a.".into())),
                    text(TextTest::Exact("get".into())),
                    vec![],
                ),
                of(None, text(TextTest::Exact(String::new())), vec![]),
                of(None, None, vec![field("tag", TextTest::Exact("a".into()))]),
                of(
                    None,
                    None,
                    vec![
                        field("tag", TextTest::Exact("b".into())),
                        field("Canary", TextTest::Exact("1".into())),
                    ],
                ),
                of(
                    None,
                    None,
                    vec![
                        field("tag", TextTest::Exact("b".into())),
                        field("canary", TextTest::Exact("1".into())),
                    ],
                ),
            ],
        );
        let find = |service, method| table.find_rpc(&rpc(service, method), 0).map(|it| it.cluster);
        assert_eq!(find("com.a.B:1.0", "get"), Some(0));
        assert_eq!(find("com.a.B:1.0", ""), Some(1), "a request without method has an empty one");
        assert_eq!(find("com.a.B:1.0", "set"), Some(4), "the last field counts, names have case");
    }

    #[test]
    fn services_are_chosen_like_domains_but_with_case_and_apart_from_them() {
        let table = compile(
            vec![
                host("http", Kind::Http, "com.a.B:1.0", 9, "/"),
                host("exact", Kind::Rpc, "com.a.B:1.0", 0, ""),
                host("versions", Kind::Rpc, "com.a.B:*", 1, ""),
                host("upper", Kind::Rpc, "COM.*", 2, ""),
            ],
            true,
        );
        let find = |service| table.find_rpc(&rpc(service, "m"), 0).map(|it| it.cluster);
        assert_eq!(find("com.a.B:1.0"), Some(0));
        assert_eq!(find("com.a.B:2.0:x"), Some(1));
        assert_eq!(find("COM.a"), Some(2));
        assert_eq!(find("com.a.b:1.0"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn the_star_takes_rpc_requests_that_name_no_service() {
        let table = table(Kind::Rpc, vec![RouteMatch::Rpc(RpcMatch::default())]);
        assert!(table.find_rpc(&rpc("", ""), 0).is_some());
    }
}
