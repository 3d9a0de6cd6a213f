//! Every example is a valid configuration, alone and by the published schema's own words.

use std::{fs, path::Path};

use hangu_config::{NoValues, Source, load};

fn examples() -> Vec<Source> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut sources: Vec<Source> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| Source {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            text: fs::read_to_string(&path).unwrap(),
        })
        .collect();
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    sources
}

fn told(problems: &[hangu_config::Problem]) -> String {
    problems.iter().map(|it| format!("{it}\n")).collect()
}

#[test]
fn every_example_is_valid() {
    let examples = examples();
    assert!(examples.len() >= 4);
    for source in examples {
        assert!(source.name.ends_with(".yaml"), "{}", source.name);
        if let Err(problems) = load(&[source], &NoValues) {
            panic!("{}", told(&problems));
        }
    }
}

#[test]
fn the_schema_file_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    let schema = hangu_config::json_schema();
    if std::env::var_os("HANGU_WRITE_SCHEMA").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == schema,
        "config/schema.json is not that of the types; write it anew with\n    \
         HANGU_WRITE_SCHEMA=1 cargo test -p hangu-config --test examples"
    );
}

#[test]
fn what_is_not_written_has_the_documented_default() {
    let text = r#"
listeners: [{name: web, address: "127.0.0.1:80", protocols: [http1], route_config: web}]
route_configs:
  - name: web
    virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {}, route: {cluster: web}}]}]
clusters:
  - {name: web, protocol: http1, endpoints: [{address: "127.0.0.1:81"}], health_check: {http: {path: /health}}}
  - name: sofa
    protocol: bolt
    dns:
      names:
        - {host: App.internal., port: 80}
        - {service: _sofa._tcp.app.internal, labels: {zone: a}}
"#;
    let tcp = serde_json::json!({
        "keepalive": { "idle": "1m", "interval": "10s", "probes": 3 }, "user_timeout": "1m30s",
    });
    let config = load(&[Source { name: "a.yaml".into(), text: text.into() }], &NoValues)
        .unwrap_or_else(|it| panic!("{}", told(&it)));
    let json = serde_json::to_value(&config).unwrap();
    let at = |pointer: &str| json.pointer(pointer).cloned().unwrap_or_default();
    for (pointer, value) in [
        ("/workers", serde_json::Value::Null),
        ("/driver", "auto".into()),
        ("/admin/address", "127.0.0.1:9901".into()),
        ("/access_log/path", "-".into()),
        ("/access_log/enabled", true.into()),
        ("/drain_timeout", "30s".into()),
        (
            "/log",
            serde_json::json!({
                "level": "info", "format": "text", "path": "-", "repeats_per_second_max": 10,
            }),
        ),
        ("/access_log/format", "json".into()),
        ("/metrics/rpc", serde_json::json!({ "enabled": true, "series_max": 2000 })),
        ("/zone", serde_json::Value::Null),
        ("/watch", false.into()),
        ("/drain_delay", "0s".into()),
        ("/admin/token", serde_json::Value::Null),
        ("/admin/token_path", serde_json::Value::Null),
        ("/listeners/0/accept_rate_max", serde_json::Value::Null),
        ("/listeners/0/requests_max", serde_json::Value::Null),
        ("/listeners/0/backlog", 4096.into()),
        ("/listeners/0/trace_ids", "generate".into()),
        ("/listeners/0/tcp", tcp.clone()),
        ("/clusters/0/tcp", tcp),
        ("/clusters/0/connections_max", serde_json::Value::Null),
        ("/clusters/0/requests_max", serde_json::Value::Null),
        ("/clusters/0/app", serde_json::Value::Null),
        (
            "/clusters/0/retry",
            serde_json::json!({
                "attempts_max": 2, "budget": { "percent": 20, "min_per_second": 10 },
                "grpc_on": [],
            }),
        ),
        (
            "/clusters/0/health_check",
            serde_json::json!({
                "http": { "path": "/health", "host": null, "expected_statuses": ["200-299"] },
                "interval": "5s", "timeout": "1s", "unhealthy_threshold": 3, "healthy_threshold": 2,
                "jitter_percent": 10,
            }),
        ),
        ("/clusters/1/health_check", serde_json::Value::Null),
        ("/clusters/0/dns", serde_json::Value::Null),
        (
            "/clusters/1/dns",
            serde_json::json!({
                "names": [
                    { "host": "app.internal", "port": 80, "weight": 1, "labels": {} },
                    { "service": "_sofa._tcp.app.internal", "labels": { "zone": "a" } },
                ],
                "family": "any", "ttl_min": "1s", "ttl_max": "5m", "servers": [], "timeout": "2s",
                "endpoints_max": 1024,
            }),
        ),
        ("/listeners/0/timeouts/idle", "1h".into()),
        ("/listeners/0/timeouts/request_head", "10s".into()),
        ("/listeners/0/xff/trusted_hops", 0.into()),
        ("/listeners/0/path_normalization/enabled", true.into()),
        ("/listeners/0/path_normalization/escaped_slashes", "refuse".into()),
        ("/clusters/0/connect_timeout", "5s".into()),
        ("/clusters/0/idle_timeout", "10m".into()),
        ("/clusters/0/connections_per_endpoint_max", 1024.into()),
        ("/clusters/1/connections_per_endpoint_max", 1.into()),
        ("/clusters/0/pending_max", 1024.into()),
        ("/clusters/0/endpoints/0/weight", 1.into()),
        ("/clusters/0/balance", "round_robin".into()),
        ("/route_configs/0/virtual_hosts/0/routes/0/name", "all/0".into()),
        ("/route_configs/0/virtual_hosts/0/routes/0/route/timeout", serde_json::Value::Null),
    ] {
        assert_eq!(at(pointer), value, "{pointer}");
    }
    assert_eq!(config.listeners[0].limits, hangu_codecs::Limits::default());
    assert_eq!(config.clusters[0].limits, hangu_codecs::Limits::default());
}

#[test]
fn the_files_of_a_directory_are_joined_in_their_order() {
    let source = |name: &str, text: &str| Source { name: name.into(), text: text.into() };
    let config = load(&[
        source("10-listener.yaml", "listeners: [{name: a, address: \"127.0.0.1:1\", protocols: [http1], route_config: r}]"),
        source("20-comment.yaml", "# nothing yet\n"),
        source("30-routes.yaml", "admin: {allow_remote: true}\nroute_configs: [{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {}, route: {cluster: two}}]}]}]"),
        source("40-one.yaml", "admin: {address: '0.0.0.0:9901'}\nclusters: [{name: one, protocol: http1, endpoints: [{address: '127.0.0.1:2'}]}]"),
        source("50-two.yaml", "clusters: [{name: two, protocol: http1, endpoints: [{address: '127.0.0.1:3'}]}]"),
    ], &NoValues)
    .unwrap_or_else(|it| panic!("{}", told(&it)));
    let names: Vec<&str> = config.clusters.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    let hangu_config::Action::Forward(forward) =
        &config.route_configs[0].virtual_hosts[0].routes[0].action;
    assert_eq!(forward.clusters[0].cluster, 1);
}

#[test]
fn every_limit_of_the_codecs_can_be_set() {
    let text = r#"
listeners:
  - name: web
    address: 127.0.0.1:80
    protocols: [http1, bolt]
    route_config: web
    limits:
      http1:
        head_bytes_max: 1KiB
        fields_max: 2
        method_bytes_max: 3
        target_bytes_max: 4
        connection_options_max: 5
        body_bytes_max: 6GiB
        chunk_extension_bytes_max: 7
        chunk_size_digits_max: 8
        trailer_bytes_max: 9
        informational_max: 10
        empty_lines_max: 11
        discard_bytes_max: 12
        lenient:
          equal_content_lengths: true
          other_host_in_target: true
          target_above_ascii: true
          response_folds: true
          response_space_before_colon: true
      http2:
        streams_max: 1
        stream_window_bytes: 65535
        connection_window_bytes: 1MiB
        unreleased_bytes_max: 4
        block_bytes_max: 5
        continuations_max: 6
        fields_bytes_max: 7
        fields_max: 8
        cookies_max: 9
        method_bytes_max: 10
        target_bytes_max: 11
        trailer_bytes_max: 12
        body_bytes_max: 13
        informational_max: 14
        table_bytes_max: 15
        resets_max: 16
        resets_per_second: 17
        idle_frames_max: 18
        idle_frames_per_second: 19
        goaway_wait: 20ms
        age_max: 21s
      rpc:
        frame_bytes_max: 1MiB
        head_bytes_max: 2
        fields_max: 3
        streams_max: 4
        given_up_max: 5
        given_up: 6s
        unsent_bytes_max: 7
        heartbeat_interval: 8ms
        heartbeat_timeout: 9us
        heartbeat_misses_max: 10
route_configs:
  - name: web
    virtual_hosts:
      - {name: http, domains: ["*"], routes: [{match: {}, route: {cluster: web}}]}
      - {name: rpc, services: ["*"], routes: [{match: {}, route: {cluster: sofa}}]}
clusters:
  - {name: web, protocol: http1, endpoints: [{address: "127.0.0.1:81"}]}
  - {name: sofa, protocol: bolt, endpoints: [{address: "127.0.0.1:82"}]}
"#;
    let config = load(&[Source { name: "a.yaml".into(), text: text.into() }], &NoValues)
        .unwrap_or_else(|it| panic!("{}", told(&it)));
    let limits = &config.listeners[0].limits;
    assert_eq!(
        serde_json::to_value(limits).unwrap(),
        serde_json::json!({
            "http1": {
                "head_bytes_max": 1024,
                "fields_max": 2,
                "method_bytes_max": 3,
                "target_bytes_max": 4,
                "connection_options_max": 5,
                "body_bytes_max": 6_442_450_944u64,
                "chunk_extension_bytes_max": 7,
                "chunk_size_digits_max": 8,
                "trailer_bytes_max": 9,
                "informational_max": 10,
                "empty_lines_max": 11,
                "discard_bytes_max": 12,
                "lenient": {
                    "equal_content_lengths": true,
                    "other_host_in_target": true,
                    "target_above_ascii": true,
                    "response_folds": true,
                    "response_space_before_colon": true,
                },
            },
            "http2": {
                "streams_max": 1,
                "stream_window_bytes": 65_535,
                "connection_window_bytes": 1_048_576,
                "unreleased_bytes_max": 4,
                "block_bytes_max": 5,
                "continuations_max": 6,
                "fields_bytes_max": 7,
                "fields_max": 8,
                "cookies_max": 9,
                "method_bytes_max": 10,
                "target_bytes_max": 11,
                "trailer_bytes_max": 12,
                "body_bytes_max": 13,
                "informational_max": 14,
                "table_bytes_max": 15,
                "resets_max": 16,
                "resets_per_second": 17,
                "idle_frames_max": 18,
                "idle_frames_per_second": 19,
                "goaway_wait_ms": 20,
                "age_max_ms": 21_000
            },
            "rpc": {
                "frame_bytes_max": 1_048_576,
                "head_bytes_max": 2,
                "fields_max": 3,
                "streams_max": 4,
                "given_up_max": 5,
                "given_up_ms": 6000,
                "unsent_bytes_max": 7,
                "heartbeat_interval_ms": 8,
                "heartbeat_timeout_ms": 1,
                "heartbeat_misses_max": 10,
            },
        })
    );
}

#[test]
fn statuses_of_calls_that_are_sent_again_are_named_once_in_the_order_of_their_numbers() {
    let text = r#"
listeners: [{name: rpc, address: "127.0.0.1:80", protocols: [http2], route_config: rpc}]
route_configs:
  - name: rpc
    virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {}, route: {cluster: rpc}}]}]
clusters:
  - name: rpc
    protocol: http2
    retry: {grpc_on: [unavailable, resource_exhausted, cancelled, unavailable]}
    endpoints: [{address: "127.0.0.1:81"}]
"#;
    let config = load(&[Source { name: "a.yaml".into(), text: text.into() }], &NoValues)
        .unwrap_or_else(|it| panic!("{}", told(&it)));
    let json = serde_json::to_value(config.clusters[0].retry.grpc_on).unwrap();
    assert_eq!(json, serde_json::json!(["cancelled", "resource_exhausted", "unavailable"]));
}
