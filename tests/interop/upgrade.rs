//! Swapping the binary as an operator does it. What a swap costs under load is counted by
//! `tests/swap`.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Command};

use hangu_tests::{Peer, http, wait};
use serde_json::{Value, json};

use crate::command_line::{OK, UNAVAILABLE, hangu};
use crate::gateway::{Running, ask, binary};
use crate::operation::{admin_of, hash, metric, place_of, signal, with_upstream};

/// Ends the gateway that runs now, whichever process it is.
struct Stopped(String);

impl Drop for Stopped {
    fn drop(&mut self) {
        let (code, text) = hangu(&["stop", "--admin", &self.0, "--grace", "0"]);
        if !std::thread::panicking() {
            assert_eq!(code, OK, "{text}");
        }
    }
}

fn stopped(gateway: &Running) -> Stopped {
    Stopped(admin_of(gateway))
}

/// The last line of what `hangu upgrade` prints.
fn new_pid(text: &str) -> u32 {
    let last = text.lines().last().unwrap_or_default();
    last.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn is_alive(pid: u32) -> bool {
    // One that has ended and was not waited for by its parent is no longer alive.
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(") ").next().and_then(|it| it.chars().next());
    state.is_some_and(|it| it != 'Z')
}

/// All counters and parts of histograms.
fn counters(admin: SocketAddr) -> BTreeMap<String, f64> {
    let text = ask(admin, "/metrics").text();
    let mut counted = BTreeMap::new();
    let mut goes_up = false;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            goes_up = kind.ends_with(" counter") || kind.ends_with(" histogram");
        } else if goes_up && !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            counted.insert(series.to_owned(), value.parse().expect("a number"));
        }
    }
    counted
}

fn ask_for(client: &mut Peer, path: &str) {
    client.send(http::get(path));
    assert_eq!(client.read_response("GET").status(), 200);
}

#[test]
fn the_new_process_goes_on_with_connections_counters_and_what_was_set_by_command() {
    let (gateway, upstream) = with_upstream("upgrade", |it| it["workers"] = json!(2));
    let _stopped = stopped(&gateway);
    let admin = admin_of(&gateway);
    let mut client = Peer::connect(place_of(&gateway.config()));
    for round in 0..20 {
        ask_for(&mut client, &format!("/{round}"));
    }
    let endpoint = upstream.address.to_string();
    assert_eq!(hangu(&["log-level", "debug", "--admin", &admin]).0, OK);
    let cluster = gateway.config()["clusters"][0]["name"].as_str().expect("a name").to_owned();
    let drain = ["endpoint", "drain", &cluster, &endpoint, "--admin", &admin];
    assert_eq!(hangu(&drain).0, OK);
    let (before, hash_before) = (counters(gateway.admin), hash(gateway.admin));

    let old = gateway.process.id();
    let (code, text) = hangu(&["upgrade", "--admin", &admin, "--watch"]);
    assert_eq!(code, OK, "{text}");
    let new = new_pid(&text);
    assert!(new != old && is_alive(new) && !is_alive(old), "{text}");
    assert!(
        text.contains("freeze") && text.contains("1 connections") || text.contains("2 connections"),
        "{text}"
    );

    let after = counters(gateway.admin);
    for (series, value) in &before {
        let now = after.get(series).copied().unwrap_or(-1.0);
        assert!(now >= *value, "{series} fell from {value} to {now}");
    }
    assert_eq!(hash(gateway.admin), hash_before);
    let (_, level) = hangu(&["log-level", "--admin", &admin]);
    assert_eq!(level.trim(), "debug");
    let clusters: Value = serde_json::from_str(&ask(gateway.admin, "/clusters").text()).unwrap();
    assert_eq!(clusters[0]["endpoints"][0]["draining"], json!(true), "{clusters}");
    let undrain = ["endpoint", "undrain", &cluster, &endpoint, "--admin", &admin];
    assert_eq!(hangu(&undrain).0, OK);
    ask_for(&mut client, "/on-the-same-connection");
    assert_eq!(metric(gateway.admin, "hangu_upgrade_generation").as_deref(), Some("1"));
    let last = || {
        ["hangu_upgrade_pause_seconds ", "hangu_upgrade_moved{what=\"connections\"} "]
            .map(|it| metric(gateway.admin, it).expect("the last upgrade"))
    };
    let before = last();
    assert_eq!(hangu(&["upgrade", "--admin", &admin, "--binary", "/bin/false"]).0, UNAVAILABLE);
    assert_eq!(last(), before, "a try that fails is not the last upgrade");

    // And by a signal, to the process that serves now.
    let sent = Command::new("kill").args(["-USR2", &new.to_string()]).status().unwrap();
    assert!(sent.success());
    wait::until("the second process is gone", || !is_alive(new));
    ask_for(&mut client, "/again");
    wait::until("it is the third process", || {
        metric(gateway.admin, "hangu_upgrade_generation").as_deref() == Some("2")
    });
    let upgrades = "hangu_upgrades_total{result=\"success\"}";
    assert_eq!(metric(gateway.admin, upgrades).as_deref(), Some("2"));
}

#[test]
fn a_program_that_is_no_successor_changes_nothing() {
    let (gateway, _upstream) = with_upstream("upgrade-refused", |_| {});
    let _stopped = stopped(&gateway);
    let admin = admin_of(&gateway);
    let mut client = Peer::connect(place_of(&gateway.config()));
    let upgrade = |program: &Path| {
        hangu(&["upgrade", "--admin", &admin, "--binary", &program.display().to_string()])
    };
    for (program, expected) in
        [("/bin/false", "ended before it took over"), ("/etc/passwd", "cannot be started")]
    {
        let (code, text) = upgrade(Path::new(program));
        assert_eq!(code, UNAVAILABLE, "{text}");
        assert!(text.contains(expected) && text.contains("goes on"), "{text}");
        ask_for(&mut client, "/still-here");
    }
    let failed = "hangu_upgrades_total{result=\"failure\"}";
    assert_eq!(metric(gateway.admin, failed).as_deref(), Some("2"));
    // What is known of a try that ended early is told.
    assert_eq!(upgrade(Path::new("/bin/false")).0, UNAVAILABLE);
    let report: Value = serde_json::from_str(&ask(gateway.admin, "/upgrade").text()).unwrap();
    assert_ne!(report["new_pid"], 0, "{report}");
    assert_eq!(report["old_version"], env!("CARGO_PKG_VERSION"), "{report}");
    assert_eq!(report["phases"][0][0], "start", "{report}");
    assert!(is_alive(gateway.process.id()));
}

#[test]
fn the_files_are_checked_before_and_hold_after() {
    let (mut gateway, _upstream) = with_upstream("upgrade-files", |_| {});
    let _stopped = stopped(&gateway);
    let admin = admin_of(&gateway);
    let mut client = Peer::connect(place_of(&gateway.config()));
    ask_for(&mut client, "/before");
    let good = gateway.config();
    gateway.directory.write("hangu.yaml", "listeners: []\nclusterz: []\n");
    let (code, text) = hangu(&["upgrade", "--admin", &admin]);
    assert_eq!(code, UNAVAILABLE, "{text}");
    assert!(text.contains("clusterz") && text.contains("hangu.yaml:2:1"), "{text}");
    ask_for(&mut client, "/after-the-refusal");

    let mut changed = good;
    changed["workers"] = json!(3);
    changed["drain_timeout"] = json!("7s");
    gateway.write(&changed);
    let (code, text) =
        hangu(&["upgrade", "--admin", &admin, "--binary", &binary().display().to_string()]);
    assert_eq!(code, OK, "{text}");
    wait::until("the files are in force", || {
        let config: Value = serde_json::from_str(&ask(gateway.admin, "/config").text()).unwrap();
        config["drain_timeout"] == json!("7s") && config["workers"] == json!(3)
    });
    let workers = ask(gateway.admin, "/metrics").text();
    assert!(workers.contains("hangu_worker_info{") && workers.contains("worker=\"2\""));
    ask_for(&mut client, "/after");
}

#[test]
fn a_gateway_that_stops_takes_no_successor() {
    let (gateway, _upstream) = with_upstream("upgrade-stopping", |it| {
        it["drain_delay"] = json!("10s");
    });
    let _stopped = stopped(&gateway);
    signal(&gateway, "TERM");
    wait::until("it is not ready", || ask(gateway.admin, "/ready").status() == 503);
    let (code, text) = hangu(&["upgrade", "--admin", &admin_of(&gateway)]);
    assert_eq!(code, UNAVAILABLE, "{text}");
    assert!(text.contains("stopping"), "{text}");
}

#[test]
fn a_connection_of_a_listener_that_is_gone_gets_its_answer_before_the_swap() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let upstream = hangu_tests::Upstream::serve(move |mut peer, _| {
        if peer.try_read_head().is_none() {
            return;
        }
        let _ = released.lock().expect("no poison").recv();
        peer.send(http::ok(b"late"));
    });
    let (mut gateway, _echo) = with_upstream("upgrade-drain", |it| {
        it["drain_timeout"] = json!("20s");
        it["clusters"][0]["endpoints"][0]["address"] = json!(upstream.address.to_string());
        let mut extra = it["listeners"][0].clone();
        extra["name"] = json!("extra");
        extra["address"] = json!(format!("127.0.0.1:{}", crate::gateway::free_port()));
        it["listeners"].as_array_mut().expect("a list").push(extra);
    });
    let _stopped = stopped(&gateway);
    let admin = admin_of(&gateway);
    let extra = gateway.config()["listeners"][1]["address"].clone();
    let extra: SocketAddr = extra.as_str().expect("one").parse().expect("an address");
    let mut client = Peer::connect(extra);
    client.send(http::get("/slow"));
    wait::until("the request is under way", || {
        metric(gateway.admin, "hangu_upstream_requests_active").as_deref() == Some("1")
    });
    let mut without = gateway.config();
    without["listeners"].as_array_mut().expect("a list").pop();
    gateway.write(&without);
    assert_eq!(hangu(&["reload", "--admin", &admin]).0, OK);
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| hangu(&["upgrade", "--admin", &admin]));
        wait::until("the swap waits for the request", || {
            let report: Value =
                serde_json::from_str(&ask(gateway.admin, "/upgrade").text()).unwrap_or_default();
            report["phases"].as_array().is_some_and(|it| it.len() == 2)
        });
        release.send(()).expect("the upstream waits");
        assert_eq!(client.read_response("GET").body, b"late");
        client.expect_end();
        let (code, text) = upgrade.join().expect("no panic");
        assert_eq!(code, OK, "{text}");
        assert!(!text.contains("cut off"), "{text}");
    });
}

/// Orders an upgrade, and does something before the new program becomes the gateway; says how the
/// upgrade went.
fn upgrade_meanwhile(gateway: &mut Running, meanwhile: impl FnOnce(&mut Running)) -> (i32, String) {
    let (program, go) = late_program(gateway);
    let (admin, program) = (admin_of(gateway), program.display().to_string());
    std::thread::scope(|scope| {
        let upgrade = ["upgrade", "--admin", &admin, "--binary", &program];
        let upgrade = scope.spawn(move || hangu(&upgrade));
        wait::until("the upgrade has begun", || {
            ask(gateway.admin, "/upgrade").text().contains("old_pid")
        });
        meanwhile(gateway);
        fs::write(&go, "").expect("a file");
        upgrade.join().expect("no panic")
    })
}

/// A program that becomes the gateway when a file is there.
fn late_program(gateway: &Running) -> (std::path::PathBuf, std::path::PathBuf) {
    let go = gateway.directory.0.join("go");
    let script = format!(
        "#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.02; done\nexec {} \"$@\"\n",
        go.display(),
        binary().display()
    );
    let program = gateway.directory.write("late", &script);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, executable).expect("it may be run");
    (program, go)
}

#[test]
fn no_scrape_fails_and_none_sees_a_counter_fall_while_processes_follow_each_other() {
    let (gateway, _upstream) = with_upstream("upgrade-scrapes", |it| it["workers"] = json!(2));
    let _stopped = stopped(&gateway);
    let (admin, place) = (gateway.admin, place_of(&gateway.config()));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let goes_on = || !is_over.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while goes_on() {
                ask_for(&mut Peer::connect(place), "/new-connection");
            }
        });
        let scraping = scope.spawn(|| {
            let (mut last, mut scrapes) = (BTreeMap::new(), 0);
            while goes_on() {
                let now = counters(admin);
                for (series, value) in &last {
                    let now = now.get(series).copied().unwrap_or(-1.0);
                    assert!(now >= *value, "{series} fell from {value} to {now}");
                }
                (last, scrapes) = (now, scrapes + 1);
            }
            scrapes
        });
        for _ in 0..8 {
            let (code, text) = hangu(&["upgrade", "--admin", &admin_of(&gateway)]);
            assert_eq!(code, OK, "{text}");
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        let scrapes = scraping.join().expect("no counter fell");
        assert!(scrapes > 20, "{scrapes}");
    });
}

#[test]
fn a_stop_while_a_successor_prepares_ends_the_gateway() {
    let (mut gateway, _upstream) = with_upstream("upgrade-then-stop", |it| {
        it["drain_delay"] = json!("1s");
    });
    let (code, text) = upgrade_meanwhile(&mut gateway, |gateway| {
        signal(gateway, "TERM");
        wait::until("it is not ready", || ask(gateway.admin, "/ready").status() == 503);
    });
    assert_eq!(code, UNAVAILABLE, "{text}");
    let ended = gateway.process.wait(wait::PATIENCE);
    assert!(ended.success(), "{ended}");
    assert!(std::net::TcpStream::connect(gateway.admin).is_err(), "somebody else serves");
}

#[test]
fn a_configuration_that_changes_while_a_successor_starts_is_taken_over() {
    let (mut gateway, _upstream) = with_upstream("upgrade-and-reload", |_| {});
    let _stopped = stopped(&gateway);
    let mut client = Peer::connect(place_of(&gateway.config()));
    ask_for(&mut client, "/before");
    let mut with_more = gateway.config();
    let mut extra = with_more["listeners"][0].clone();
    extra["name"] = json!("extra");
    extra["address"] = json!(format!("127.0.0.1:{}", crate::gateway::free_port()));
    with_more["listeners"].as_array_mut().expect("a list").push(extra.clone());
    let (code, text) = upgrade_meanwhile(&mut gateway, |gateway| {
        gateway.write(&with_more);
        assert_eq!(hangu(&["reload", "--admin", &admin_of(gateway)]).0, OK);
    });
    assert_eq!(code, OK, "{text}");
    ask_for(&mut client, "/after");
    let extra: SocketAddr = extra["address"].as_str().expect("one").parse().expect("an address");
    ask_for(&mut Peer::connect(extra), "/on-the-new-listener");
}

#[test]
fn without_descriptors_for_all_listening_sockets_the_old_process_goes_on() {
    let (gateway, _upstream) = with_upstream("upgrade-descriptors", |it| {
        it["workers"] = json!(4);
        for at in 0..8 {
            let mut extra = it["listeners"][0].clone();
            extra["name"] = json!(format!("extra-{at}"));
            extra["address"] = json!(format!("127.0.0.1:{}", crate::gateway::free_port()));
            it["listeners"].as_array_mut().expect("a list").push(extra);
        }
    });
    let _stopped = stopped(&gateway);
    let mut client = Peer::connect(place_of(&gateway.config()));
    ask_for(&mut client, "/before");
    let process = gateway.process.id();
    let open = fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors").count();
    let limit = format!("--nofile={}:", open + 16);
    let limited =
        Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status().unwrap();
    assert!(limited.success());
    let (code, text) = hangu(&["upgrade", "--admin", &admin_of(&gateway)]);
    assert_eq!(code, UNAVAILABLE, "{text}");
    assert!(text.contains("listening sockets") && text.contains("open files"), "{text}");
    ask_for(&mut client, "/after");
}

#[test]
fn behind_a_link_the_successor_is_what_it_leads_to_now() {
    let directory = crate::gateway::Directory::new("upgrade-link-target");
    let (one, other) = (directory.0.join("hangu-1"), directory.0.join("hangu-2"));
    fs::copy(binary(), &one).expect("a copy");
    fs::hard_link(&one, &other).expect("another name");
    let link = directory.0.join("current");
    std::os::unix::fs::symlink(&one, &link).expect("a link");
    let (upstream, _requests) = hangu_tests::Upstream::http_echo();
    let mut config = crate::command_line::valid();
    config["clusters"][0]["endpoints"][0]["address"] = json!(upstream.address.to_string());
    let gateway = Running::start_by("upgrade-link", config, |command| {
        let mut process = Command::new(&link);
        process
            .args(&command[1..])
            // Two of one unit, and one that is not there any more.
            .env("RUNTIME_DIRECTORY", "/nowhere/a:/nowhere/b")
            .env("XDG_RUNTIME_DIR", "/nowhere/c");
        hangu_tests::process::Process::start("hangu", &mut process)
    });
    let _stopped = stopped(&gateway);
    fs::remove_file(&link).expect("the link");
    std::os::unix::fs::symlink(&other, &link).expect("a link");
    for _ in 0..2 {
        let (code, text) = hangu(&["upgrade", "--admin", &admin_of(&gateway)]);
        assert_eq!(code, OK, "{text}");
        let runs = fs::read_link(format!("/proc/{}/exe", new_pid(&text))).expect("a program");
        assert_eq!(runs, other);
    }
}
