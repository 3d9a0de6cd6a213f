//! A running gateway as an operator handles it: reload, log files, tokens, endpoints.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    process::Command,
};

use hangu_tests::{Peer, Upstream, http, wait};
use serde_json::{Value, json};

use crate::command_line::{BAD_CONFIG, OK, UNAVAILABLE, hangu, valid};
use crate::gateway::{Running, ask, free_port};

pub(crate) fn signal(gateway: &Running, name: &str) {
    let id = gateway.process.id().to_string();
    let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill runs");
    assert!(sent.success());
}

pub(crate) fn metric(admin: SocketAddr, name: &str) -> Option<String> {
    let text = ask(admin, "/metrics").text();
    let line = text.lines().find(|it| it.starts_with(name))?;
    Some(line.rsplit(' ').next()?.to_owned())
}

pub(crate) fn hash(admin: SocketAddr) -> String {
    let text = ask(admin, "/metrics").text();
    let line = text.lines().find(|it| it.starts_with("hangu_config_info{"));
    line.expect("the fingerprint").to_owned()
}

pub(crate) fn admin_of(gateway: &Running) -> String {
    gateway.admin.to_string()
}

pub(crate) fn place_of(config: &Value) -> SocketAddr {
    config["listeners"][0]["address"].as_str().expect("one").parse().expect("an address")
}

/// A gateway before an upstream that echoes.
pub(crate) fn with_upstream(name: &str, change: impl FnOnce(&mut Value)) -> (Running, Upstream) {
    let (upstream, _requests) = Upstream::http_echo();
    let mut config = valid();
    config["clusters"][0]["endpoints"][0]["address"] = json!(upstream.address.to_string());
    change(&mut config);
    (Running::start(name, config), upstream)
}

#[test]
fn a_reload_moves_requests_to_other_endpoints_and_keeps_the_connection() {
    let (mut gateway, _first) = with_upstream("reload", |_| {});
    let mut client = Peer::connect(place_of(&gateway.config()));
    client.send(http::get("/before"));
    assert_eq!(client.read_response("GET").status(), 200);
    let before = hash(gateway.admin);

    let (second, requests) = Upstream::http_echo();
    let mut config = gateway.config();
    config["clusters"][0]["endpoints"][0]["address"] = json!(second.address.to_string());
    config["workers"] = json!(1);
    gateway.write(&config);
    let file = gateway.directory.0.join("hangu.yaml").display().to_string();
    let admin = admin_of(&gateway);
    for arguments in [&[][..], &["--admin", &admin]] {
        let compare = ["check", "--config", &file, "--diff"];
        let (code, text) = hangu(&[&compare, arguments].concat());
        assert!(code == OK && text.contains("workers: 2 -> 1"), "{text}");
    }
    assert_eq!(hash(gateway.admin), before, "a comparison changes nothing");
    let (code, text) = hangu(&["reload", "--config", &file]);
    assert_eq!(code, OK, "{text}");
    assert!(text.contains(&format!("`{}`: added", second.address)), "{text}");
    assert!(text.contains("workers are replaced"), "{text}");

    client.send(http::get("/after"));
    assert_eq!(client.read_response("GET").status(), 200);
    assert_eq!(requests.recv_timeout(wait::PATIENCE).expect("a request").target(), "/after");
    assert_ne!(hash(gateway.admin), before);
}

#[test]
fn a_configuration_that_is_wrong_is_told_and_the_old_one_stays() {
    let (gateway, _upstream) = with_upstream("reload-wrong", |_| {});
    let before = hash(gateway.admin);
    gateway.directory.write("hangu.yaml", "listeners: []\nclusterz: []\n");
    let (code, text) = hangu(&["reload", "--admin", &admin_of(&gateway)]);
    assert_eq!(code, BAD_CONFIG, "{text}");
    assert!(text.contains("hangu.yaml:2:1") && text.contains("stays in force"), "{text}");
    signal(&gateway, "HUP");
    wait::until("SIGHUP was obeyed", || {
        let name = "hangu_config_reloads_total{result=\"rejected\"}";
        metric(gateway.admin, name).as_deref() == Some("2")
    });
    assert_eq!(metric(gateway.admin, "hangu_config_last_reload_success").as_deref(), Some("0"));
    assert_eq!(hash(gateway.admin), before);
    let mut client = Peer::connect(place_of(&gateway.config()));
    client.send(http::get("/"));
    assert_eq!(client.read_response("GET").status(), 200);
}

#[test]
fn a_gateway_is_found_by_a_configuration_that_is_wrong_elsewhere() {
    let (mut gateway, _upstream) = with_upstream("found", |_| {});
    let wrong = format!("admin: {{ address: '{}' }}\nnonsense: true\n", gateway.admin);
    let file = gateway.directory.write("hangu.yaml", &wrong).display().to_string();
    let (code, text) = hangu(&["reload", "--config", &file]);
    assert_eq!(code, BAD_CONFIG, "{text}");
    assert!(text.contains("hangu.yaml:2:1") && text.contains("stays in force"), "{text}");
    assert_eq!(metric(gateway.admin, "hangu_config_last_reload_success").as_deref(), Some("0"));
    let (code, text) = hangu(&["stop", "--config", &file]);
    assert_eq!(code, OK, "{text}");
    assert!(gateway.process.wait(wait::PATIENCE).success());
}

#[test]
fn a_port_that_is_taken_rejects_the_whole_reload() {
    let (mut gateway, _upstream) = with_upstream("reload-port", |_| {});
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|it| (taken, it)).expect("an address");
    let mut config = gateway.config();
    let mut other = config["listeners"][0].clone();
    other["name"] = json!("other");
    other["address"] = json!(taken.1.to_string());
    config["listeners"].as_array_mut().expect("a list").push(other);
    config["listeners"][0]["connections_max"] = json!(7);
    gateway.write(&config);
    let (code, text) = hangu(&["reload", "--admin", &admin_of(&gateway)]);
    assert_eq!(code, UNAVAILABLE, "{text}");
    assert!(text.contains(&taken.1.to_string()) && text.contains("stays in force"), "{text}");
    let shown: Value = serde_json::from_str(&ask(gateway.admin, "/config").text()).expect("JSON");
    assert_eq!(shown["listeners"].as_array().map(Vec::len), Some(1));
    assert_ne!(shown["listeners"][0]["connections_max"], 7);
}

#[test]
fn files_that_change_are_loaded_when_the_configuration_says_so() {
    let (mut gateway, _upstream) = with_upstream("watch", |it| it["watch"] = json!(true));
    let before = hash(gateway.admin);
    let mut config = gateway.config();
    config["drain_timeout"] = json!("77s");
    gateway.write(&config);
    wait::until("the file is loaded", || hash(gateway.admin) != before);
    assert!(ask(gateway.admin, "/config").text().contains("1m17s"));
}

#[test]
fn files_that_could_not_be_put_in_force_are_tried_again_without_another_change() {
    let (mut gateway, _upstream) = with_upstream("watch-port", |it| it["watch"] = json!(true));
    let before = hash(gateway.admin);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = gateway.config();
    let mut other = config["listeners"][0].clone();
    other["name"] = json!("other");
    other["address"] = json!(taken.local_addr().expect("an address").to_string());
    config["listeners"].as_array_mut().expect("a list").push(other);
    gateway.write(&config);
    let rejected = "hangu_config_reloads_total{result=\"rejected\"}";
    wait::until("the port is in use", || {
        metric(gateway.admin, rejected).is_some_and(|it| it != "0")
    });
    assert_eq!(hash(gateway.admin), before);
    drop(taken);
    wait::until("the file is in force", || hash(gateway.admin) != before);
    assert_eq!(metric(gateway.admin, "hangu_config_last_reload_success").as_deref(), Some("1"));
}

#[test]
fn log_files_that_were_moved_away_are_made_anew() {
    let directory = crate::gateway::Directory::new("logrotate");
    let log = directory.0.join("hangu.log");
    let (gateway, _upstream) = with_upstream("logrotate-run", |config| {
        config["log"] = json!({"path": log.display().to_string(), "format": "json"});
    });
    wait::until("it has said something", || {
        fs::read_to_string(&log).is_ok_and(|it| !it.is_empty())
    });
    let moved = directory.0.join("hangu.log.1");
    fs::rename(&log, &moved).expect("a move");
    signal(&gateway, "USR1");
    let (code, text) = hangu(&["log-level", "debug", "--admin", &admin_of(&gateway)]);
    assert!(code == OK && text.contains("debug"), "{text}");
    let text = wait::until_some("the new file has the new level", || {
        fs::read_to_string(&log).ok().filter(|it| it.contains("debug"))
    });
    for line in text.lines().chain(fs::read_to_string(&moved).expect("the old file").lines()) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|it| panic!("{it}: {line}"));
        assert!(line["time"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[test]
fn without_the_token_nothing_is_changed() {
    let (mut gateway, _upstream) = with_upstream("token", |_| {});
    let mut client = Peer::connect(gateway.admin);
    client.send("POST /stop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(client.read_response("POST").status(), 401);
    let directory = crate::gateway::Directory::new("token-file");
    let wrong = directory.write("wrong", "0123456789abcdef");
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).expect("a mode");
    let (admin, wrong) = (admin_of(&gateway), wrong.display().to_string());
    let (code, text) = hangu(&["stop", "--admin", &admin, "--token-file", &wrong]);
    assert!(code == UNAVAILABLE && text.contains("401"), "{text}");
    assert_eq!(ask(gateway.admin, "/ready").status(), 200);
    let (code, text) = hangu(&["stop", "--admin", &admin]);
    assert_eq!(code, OK, "{text}");
    assert!(gateway.process.wait(wait::PATIENCE).success());
}

#[test]
fn an_endpoint_that_is_drained_gets_no_requests_until_it_is_undrained() {
    let (second, requests) = Upstream::http_echo();
    let address = second.address.to_string();
    let (gateway, _first) = with_upstream("drain", |config| {
        let endpoints = config["clusters"][0]["endpoints"].as_array_mut().expect("a list");
        endpoints.push(json!({"address": address}));
    });
    let admin = admin_of(&gateway);
    let mut client = Peer::connect(place_of(&gateway.config()));
    let mut ask_four = || {
        for _ in 0..4 {
            client.send(http::get("/"));
            assert_eq!(client.read_response("GET").status(), 200);
        }
        requests.try_iter().count()
    };
    assert!(ask_four() > 0);
    let (code, text) = hangu(&["endpoint", "drain", "main", &address, "--admin", &admin]);
    assert_eq!(code, OK, "{text}");
    wait::until("the workers have it", || ask_four() == 0);
    assert_eq!(ask_four(), 0);
    let (code, text) = hangu(&["endpoint", "undrain", "main", &address, "--admin", &admin]);
    assert_eq!(code, OK, "{text}");
    wait::until("it gets requests again", || ask_four() > 0);
    let nobody = format!("127.0.0.1:{}", free_port());
    let (code, _) = hangu(&["endpoint", "drain", "main", &nobody, "--admin", &admin]);
    assert_eq!(code, UNAVAILABLE);
}

#[test]
fn a_second_signal_ends_what_the_delay_and_the_grace_would_wait_for() {
    let (mut gateway, _upstream) = with_upstream("delay", |config| {
        config["drain_delay"] = json!("1h");
        config["drain_timeout"] = json!("1h");
    });
    signal(&gateway, "TERM");
    wait::until("it is not ready", || ask(gateway.admin, "/ready").status() == 503);
    let mut client = Peer::connect(place_of(&gateway.config()));
    client.send(http::get("/"));
    assert_eq!(client.read_response("GET").status(), 200, "the delay lets everything go on");
    signal(&gateway, "TERM");
    assert!(gateway.process.wait(wait::PATIENCE).success());
}

/// A reload that stands still: the new configuration names a file that nobody writes to yet.
struct SlowReload {
    fifo: std::path::PathBuf,
}

impl SlowReload {
    fn of(gateway: &mut Running) -> Self {
        let fifo = gateway.directory.0.join("zone");
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
        let mut config = gateway.config();
        config["zone"] = json!("${file:zone}");
        gateway.write(&config);
        Self { fifo }
    }

    /// The pipe, once somebody reads it.
    fn wait_for_reader(&self) -> fs::File {
        // Without a reader this fails instead of waiting.
        let open = || {
            fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&self.fifo).ok()
        };
        wait::until_some("the file is read", open)
    }
}

#[test]
fn a_reload_that_takes_long_keeps_nobody_from_stopping() {
    let (mut gateway, _upstream) = with_upstream("reload-stop", |config| {
        config["drain_delay"] = json!("1h");
        config["drain_timeout"] = json!("1h");
    });
    let slow = SlowReload::of(&mut gateway);
    signal(&gateway, "HUP");
    let _pipe = slow.wait_for_reader();
    signal(&gateway, "TERM");
    wait::until("it stops", || ask(gateway.admin, "/ready").status() == 503);
    signal(&gateway, "TERM");
    assert!(gateway.process.wait(wait::PATIENCE).success());
}

#[test]
fn a_signal_during_a_reload_leads_to_one_more() {
    let (mut gateway, _upstream) = with_upstream("reload-twice", |_| {});
    let slow = SlowReload::of(&mut gateway);
    signal(&gateway, "HUP");
    let mut pipe = slow.wait_for_reader();
    signal(&gateway, "HUP");
    // Whoever comes after the signal is answered after it is seen.
    (0..3).for_each(|_| assert_eq!(ask(gateway.admin, "/ready").status(), 200));
    pipe.write_all(b"one").expect("it reads");
    drop(pipe);
    let applied = "hangu_config_reloads_total{result=\"applied\"}";
    wait::until("the first is done", || metric(gateway.admin, applied).as_deref() == Some("1"));
    let mut pipe = slow.wait_for_reader();
    pipe.write_all(b"two").expect("it reads");
    drop(pipe);
    wait::until("the second is done", || metric(gateway.admin, applied).as_deref() == Some("2"));
}
