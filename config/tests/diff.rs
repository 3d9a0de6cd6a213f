//! Differences of two configurations, and what tells them apart.

use hangu_config::{
    Canonical, Config, Diff, Effect, NoValues, Part, Source, copy_process_keys, diff, fingerprint,
    load,
};

const BASE: &str = r#"
admin: { token: 0123456789abcdef }
listeners:
  - { name: web, address: "127.0.0.1:80", protocols: [http1], route_config: r, timeouts: { idle: 1m } }
  - { name: two, address: "127.0.0.1:81", protocols: [http1], route_config: r }
route_configs:
  - name: r
    virtual_hosts:
      - name: v
        domains: ["a.com", "b.com"]
        routes:
          - { name: one, match: { prefix: /1 }, route: { cluster: c } }
          - { name: all, match: {}, route: { cluster: d } }
clusters:
  - { name: c, protocol: http1, endpoints: [{ address: "127.0.0.1:1" }, { address: "127.0.0.1:2" }] }
  - { name: d, protocol: http1, endpoints: [{ address: "127.0.0.1:3" }] }
"#;

fn config(text: &str) -> Config {
    let source = Source { name: "a.yaml".to_owned(), text: text.to_owned() };
    load(&[source], &NoValues).unwrap_or_else(|it| panic!("{it:?}"))
}

fn changed(edits: &[(&str, &str)]) -> Config {
    let mut text = BASE.to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "{old}");
        text = text.replacen(old, new, 1);
    }
    config(&text)
}

fn told(edits: &[(&str, &str)]) -> String {
    diff(&config(BASE), &changed(edits)).to_string()
}

#[test]
fn the_order_of_lists_means_nothing_where_names_are_looked_up() {
    let reordered = r#"
clusters:
  - { name: d, protocol: http1, endpoints: [{ address: "127.0.0.1:3" }] }
  - { name: c, protocol: http1, endpoints: [{ address: "127.0.0.1:2" }, { address: "127.0.0.1:1" }] }
route_configs:
  - name: r
    virtual_hosts:
      - name: v
        domains: ["b.com", "a.com"]
        routes:
          - { name: one, match: { prefix: /1 }, route: { cluster: c } }
          - { name: all, match: { }, route: { cluster: d, } }
listeners:
  - { name: two, address: "127.0.0.1:81", protocols: [http1], route_config: r }
  - { name: web, address: "127.0.0.1:80", protocols: [http1], route_config: r, timeouts: { idle: 60s } }
admin: { token: 0123456789abcdef, address: "127.0.0.1:9901" }
"#;
    assert_eq!(diff(&config(BASE), &config(reordered)), Diff::default());
    assert_eq!(fingerprint(&config(BASE)), fingerprint(&config(reordered)));
}

#[test]
fn the_fingerprint_is_short_to_show_and_another_after_each_change() {
    let base = fingerprint(&config(BASE));
    let text = base.to_string();
    assert!(text.len() == 12 && text.bytes().all(|it| it.is_ascii_hexdigit()), "{text}");
    for edit in [
        ("0123456789abcdef", "0123456789abcdeg"),
        ("idle: 1m", "idle: 2m"),
        ("/1", "/2"),
        ("127.0.0.1:3", "127.0.0.1:4"),
        ("cluster: c", "cluster: d"),
    ] {
        assert_ne!(fingerprint(&changed(&[edit])), base, "{edit:?}");
    }
}

#[test]
fn a_listener_is_kept_unless_its_address_or_protocols_change() {
    assert_eq!(
        told(&[("idle: 1m", "idle: 2m")]),
        "listener `web`: changed; open connections are kept\n    timeouts.idle: 1m -> 2m\n"
    );
    assert_eq!(
        told(&[("127.0.0.1:81", "127.0.0.1:82")]),
        "listener `two`: changed; new sockets; its old connections are drained\n    \
         address: 127.0.0.1:81 -> 127.0.0.1:82\n"
    );
    assert_eq!(
        told(&[("name: two", "name: three")]),
        "listener `three`: added\n\
         listener `two`: removed; accepts no more; its connections are drained\n"
    );
}

#[test]
fn endpoints_and_clusters_are_told_by_name() {
    assert_eq!(
        told(&[
            ("{ address: \"127.0.0.1:1\" }", "{ address: \"127.0.0.1:1\", weight: 3 }"),
            ("127.0.0.1:2", "127.0.0.1:9"),
            ("name: d, protocol: http1,", "name: d, protocol: http1, pending_max: 7,"),
        ]),
        "cluster `d`: changed; open connections are kept\n    pending_max: 1024 -> 7\n\
         endpoint `c` / `127.0.0.1:1`: changed; open connections are kept\n    weight: 1 -> 3\n\
         endpoint `c` / `127.0.0.1:2`: removed; its connections are drained\n\
         endpoint `c` / `127.0.0.1:9`: added\n"
    );
}

#[test]
fn routes_are_told_by_name_and_their_order_counts() {
    assert_eq!(
        told(&[("name: one, match: { prefix: /1 }", "name: one, match: { path: /1 }")]),
        "route `r` / `v` / `one`: changed\n    \
         match.path.exact: none -> /1\n    match.path.prefix: /1 -> none\n"
    );
    let swapped = config(&BASE.replace("{ name: one,", "{ name: one-new,"));
    let changes = diff(&config(BASE), &swapped).changes;
    let parts: Vec<Part> = changes.iter().map(|it| it.part).collect();
    assert_eq!(parts, [Part::VirtualHost, Part::Route, Part::Route]);
    assert_eq!(changes[0].keys[0].key, "order of routes");
}

#[test]
fn what_moves_connections_to_other_workers_is_told() {
    let edits = [
        (
            "admin: {",
            "workers: 3\ndriver: epoll\nzone: z\naccess_log: { enabled: false }\n\
          metrics: { rpc: { enabled: false } }\ndrain_timeout: 1m\nadmin: {",
        ),
        ("0123456789abcdef", "not-to-be-shown-1"),
    ];
    let running = config(BASE);
    let mut new = changed(&edits);
    let all = diff(&running, &new);
    let text = all.to_string();
    for line in [
        "process: changed\n    drain_timeout: 30s -> 1m\n    zone: none -> z\n",
        "process: changed; workers are replaced, and connections move to the new ones\n",
        "process: changed; the admin API is served so from now on\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for key in [
        "access_log.enabled: true -> false",
        "admin.token: <hidden> -> <hidden>",
        "driver: auto -> epoll",
        "metrics.rpc.enabled: true -> false",
        "workers: none -> 3",
    ] {
        assert!(text.contains(key), "{key}: {text}");
    }
    copy_process_keys(&running, &mut new);
    let rest = diff(&running, &new);
    assert!(!rest.is_empty() && rest.changes.iter().all(|it| it.effect == Effect::Kept));
}

#[test]
fn the_canonical_form_goes_through_json_and_holds_no_secret() {
    let form = Canonical::of(&config(BASE));
    let text = serde_json::to_string(&form).unwrap();
    assert!(!text.contains("0123456789abcdef"));
    assert_eq!(serde_json::from_str::<Canonical>(&text).unwrap(), form);
    let other = Canonical::of(&changed(&[("0123456789abcdef", "fedcba9876543210")]));
    let shown = serde_json::to_string(&form.diff(&other)).unwrap();
    assert!(shown.contains("admin.token") && !shown.contains("sha256"), "{shown}");
}
