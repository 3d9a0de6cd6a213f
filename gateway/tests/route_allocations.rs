//! Searching routes, normalising paths and choosing endpoints allocate nothing once a thread is
//! warm. A test binary of its own, for the allocator counts for the whole process.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
};

use hangu::{
    cluster::{Balance, EndpointState},
    route::{
        RouteTable,
        path::{self, Normalized},
    },
};
use hangu_codecs::{
    HttpRequest, RpcHead, message::RpcFields, message::RpcOutcome, message::RpcPayload,
    message::RpcTrace,
};
use hangu_config::{PathNormalization, Source};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it came; the counter allocates
// nothing, for it is a constant-initialised cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|it| it.set(it.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(mut work: impl FnMut()) -> usize {
    work();
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        work();
    }
    ALLOCATIONS.get() - before
}

const CONFIG: &str = r#"
listeners: [{name: a, address: "127.0.0.1:1", protocols: [http1, bolt], route_config: r}]
route_configs:
  - name: r
    ignore_port_in_host_matching: true
    virtual_hosts:
      - name: http
        domains: ["*.example.com"]
        routes:
          - match: {regex: "/(a|b)+/c[0-9]{1,9}"}
            route: {cluster: web}
          - match: {prefix: /, headers: [{name: x-a, contains: two, ignore_case: true}, {name: x-b, regex: "(.*)z"}]}
            route: {weighted_clusters: [{name: web, weight: 1}, {name: more, weight: 2}]}
      - name: rpc
        services: ["com.*"]
        routes:
          - match: {rpc: {service: {regex: ".*[0-9]"}, method: {contains: Hello}, fields: [{name: b, present: true}]}}
            route: {cluster: sofa}
clusters:
  - {name: web, protocol: http1, endpoints: [{address: "127.0.0.1:2"}]}
  - {name: more, protocol: http1, endpoints: [{address: "127.0.0.1:2"}]}
  - {name: sofa, protocol: bolt, endpoints: [{address: "127.0.0.1:3"}]}
"#;

fn table() -> RouteTable {
    let source = Source { name: "test.yaml".to_owned(), text: CONFIG.to_owned() };
    let config = hangu_config::load(&[source], &hangu_config::NoValues)
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    RouteTable::compile(&config.route_configs[0]).unwrap()
}

#[test]
fn finding_a_route_allocates_nothing() {
    let table = table();
    let mut request = HttpRequest {
        authority: b"WWW.Example.COM:8080".to_vec(),
        path: b"/other?q".to_vec(),
        ..HttpRequest::default()
    };
    request.fields.push(b"X-A", b"one");
    request.fields.push(b"X-B", b"xyz");
    request.fields.push(b"x-a", b"TWO");
    assert_eq!(table.find_http(&request, 1).map(|it| it.cluster), Some(1));
    assert_eq!(allocations(|| _ = black_box(table.find_http(&request, 1))), 0);
    let head = RpcHead {
        protocol: "bolt",
        two_way: true,
        service: b"com.example.Hello:1.0",
        method: b"sayHello",
        timeout: None,
        outcome: RpcOutcome::Success,
        fields: RpcFields::new(b"ab", |block| Some((block.get(..1)?, b"", block.get(1..)?))),
        head: b"",
        payload: RpcPayload::Slice(b""),
        timeout_in_fields: false,
        checksum: None,
        trace: RpcTrace::default(),
        added: None,
    };
    assert_eq!(table.find_rpc(&head, 1).map(|it| it.cluster), Some(2));
    assert_eq!(allocations(|| _ = black_box(table.find_rpc(&head, 1))), 0);
}

#[test]
fn normalising_a_path_allocates_nothing() {
    let (rule, mut scratch) = (PathNormalization::default(), Vec::new());
    let mut run = |target: &[u8], expected| {
        let mut last = None;
        let count = allocations(|| last = Some(path::normalize(target, &rule, &mut scratch)));
        assert_eq!((last, count), (Some(Ok(expected)), 0));
    };
    run(b"/a/b?c", Normalized::Unchanged);
    run(b"/%61/./b/../c%e4?c", Normalized::Changed);
}

#[test]
fn choosing_an_endpoint_allocates_nothing_even_when_health_changes() {
    for kind in [hangu_config::Balance::RoundRobin, hangu_config::Balance::LeastRequest] {
        for weight in [1, 3] {
            let mut endpoints = vec![EndpointState { weight: 1, active: 0, healthy: true }; 64];
            endpoints[7].weight = weight;
            let mut balance = Balance::new(kind, &endpoints, 5);
            let mut turn = 0;
            let count = allocations(|| {
                turn += 1;
                endpoints[turn % 64].healthy = turn % 3 == 0;
                assert!(balance.pick(&endpoints, turn as u64).is_some());
            });
            assert_eq!(count, 0, "{kind:?} {weight}");
        }
    }
}

#[test]
fn the_counter_counts() {
    assert_ne!(allocations(|| drop(black_box(vec![1_u8; 8]))), 0);
}
