//! The index against a walk over all routes: both find the same one, whatever the routes and the
//! request are.

use hangu_codecs::{
    Fields, HttpRequest, Method, RpcHead,
    message::{RpcFields, RpcOutcome, RpcPayload, RpcTrace},
    protocol::Kind,
};
use hangu_config::{
    self as config, FieldMatch, FieldTest, Forward, HttpMatch, NamePattern, PathMatch, RouteMatch,
    RpcMatch, TextMatch, TextTest, VirtualHost, WeightedCluster,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{Route, RouteTable, path};

/// Few and alike, so that routes and requests meet.
const PATHS: [&str; 9] = ["", "/", "/a", "/a/", "/a/b", "/a/bc", "/ab", "/b", "/b/c/d"];
const VALUES: [&str; 6] = ["", "1", "2", "1,2", "ab", "AB"];
const HTTP_NAMES: [&str; 14] = [
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    ":method",
    ":path",
    ":authority",
    "host",
    "upgrade",
];
const RPC_NAMES: [&str; 5] = ["a", "b", "c", "A", ":path"];

fn path_match() -> impl Strategy<Value = PathMatch> {
    let path = || select(&PATHS[..]).prop_map(str::to_owned);
    prop_oneof![
        1 => Just(PathMatch::Any),
        4 => path().prop_map(PathMatch::Exact),
        4 => path().prop_map(PathMatch::Prefix),
        1 => Just(PathMatch::Regex("/a.*".into())),
    ]
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    let value = || select(&VALUES[..]).prop_map(str::to_owned);
    let test = prop_oneof![
        6 => value().prop_map(TextTest::Exact),
        1 => value().prop_map(TextTest::Prefix),
        1 => value().prop_map(TextTest::Suffix),
        1 => value().prop_map(TextTest::Contains),
        1 => Just(TextTest::Regex("[0-9]".into())),
    ];
    let ignore_case = prop::bool::weighted(0.2);
    (test, ignore_case).prop_map(|(test, ignore_case)| TextMatch { test, ignore_case })
}

fn field_match(names: &'static [&'static str]) -> impl Strategy<Value = FieldMatch> {
    let test = prop_oneof![
        6 => text_match().prop_map(FieldTest::Text),
        1 => any::<bool>().prop_map(FieldTest::Present),
    ];
    let rarely = || prop::bool::weighted(0.2);
    (select(names), test, rarely(), rarely()).prop_map(
        |(name, test, invert, treat_missing_as_empty)| FieldMatch {
            name: name.to_owned(),
            test,
            invert,
            treat_missing_as_empty,
        },
    )
}

fn http_match() -> impl Strategy<Value = RouteMatch> {
    let methods = vec(select(vec![Method::Get, Method::Connect]), 0..2);
    (path_match(), methods, vec(field_match(&HTTP_NAMES), 0..3))
        .prop_map(|(path, methods, headers)| RouteMatch::Http(HttpMatch { path, methods, headers }))
}

fn rpc_match() -> impl Strategy<Value = RouteMatch> {
    (option::of(text_match()), option::of(text_match()), vec(field_match(&RPC_NAMES), 0..3))
        .prop_map(|(service, method, fields)| RouteMatch::Rpc(RpcMatch { service, method, fields }))
}

fn pairs(
    names: &'static [&'static str],
) -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    vec((select(names), select(&VALUES[..])), 0..5)
}

fn table(kind: Kind, matches: Vec<RouteMatch>) -> RouteTable {
    let routes = matches.into_iter().enumerate().map(|(cluster, matches)| config::Route {
        name: cluster.to_string(),
        matches,
        action: config::Action::Forward(Forward {
            clusters: vec![WeightedCluster { cluster, weight: 1 }],
            timeout: None,
        }),
    });
    let host = VirtualHost {
        name: "all".to_owned(),
        kind,
        patterns: vec![NamePattern::Any],
        routes: routes.collect(),
    };
    let name = "table".to_owned();
    let virtual_hosts = vec![host];
    let ignore_port_in_host_matching = false;
    RouteTable::compile(&config::RouteConfig { name, ignore_port_in_host_matching, virtual_hosts })
        .unwrap()
}

fn walked(table: &RouteTable, takes: impl Fn(&Route) -> bool) -> Option<usize> {
    table.routes().iter().position(takes)
}

/// `name=value;` pairs.
fn read_pair(block: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let end = memchr::memchr(b';', block)?;
    let middle = memchr::memchr(b'=', block)?;
    Some((&block[..middle], &block[middle + 1..end], &block[end + 1..]))
}

proptest! {
    #[test]
    fn an_http_request_finds_what_a_walk_finds(
        matches in vec(http_match(), 1..40),
        requests in vec((select(&PATHS[..]), pairs(&HTTP_NAMES[..9]), any::<bool>()), 1..20),
    ) {
        let table = table(Kind::Http, matches);
        for (path, pairs, gets) in requests {
            let mut fields = Fields::new();
            for (name, value) in &pairs {
                fields.push(name.as_bytes(), value.as_bytes());
            }
            let request = HttpRequest {
                method: if gets { Method::Get } else { Method::Connect },
                authority: b"ab".to_vec(),
                path: format!("{path}?q").into_bytes(),
                fields,
                ..HttpRequest::default()
            };
            let basis = path::basis(&request.path);
            let found = table.find_http(&request, 0).map(|it| it.route.index);
            let expected = walked(&table, |it| it.matcher.takes_http(&request, basis));
            prop_assert_eq!(found, expected, "{:?}", request);
        }
    }

    #[test]
    fn an_rpc_request_finds_what_a_walk_finds(
        matches in vec(rpc_match(), 1..40),
        requests in vec((select(&VALUES[..]), select(&VALUES[..]), pairs(&RPC_NAMES)), 1..20),
    ) {
        let table = table(Kind::Rpc, matches);
        for (service, method, pairs) in requests {
            let block: String = pairs.iter().map(|(name, value)| format!("{name}={value};")).collect();
            let head = RpcHead {
                protocol: "bolt",
                two_way: true,
                service: service.as_bytes(),
                method: method.as_bytes(),
                timeout: None,
                outcome: RpcOutcome::Success,
                fields: RpcFields::new(block.as_bytes(), read_pair),
                head: b"",
                payload: RpcPayload::Slice(b""),
                timeout_in_fields: false,
                checksum: None,
                trace: RpcTrace::default(),
                added: None,
            };
            let found = table.find_rpc(&head, 0).map(|it| it.route.index);
            let expected = walked(&table, |it| it.matcher.takes_rpc(&head));
            prop_assert_eq!(found, expected, "{:?}", (service, method, &pairs));
        }
    }
}
