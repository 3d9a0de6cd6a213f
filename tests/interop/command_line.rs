//! The command line as an operator meets it: messages and exit codes.

use std::{net::TcpListener, process::Command};

use hangu_tests::{Upstream, wait};
use serde_json::{Value, json};

use crate::gateway::{Directory, Running, ask, binary, config, free_port};

pub(crate) const OK: i32 = 0;
const USAGE: i32 = 64;
pub(crate) const UNAVAILABLE: i32 = 69;
pub(crate) const BAD_CONFIG: i32 = 78;

pub(crate) fn hangu(arguments: &[&str]) -> (i32, String) {
    let run = Command::new("timeout")
        .arg("20")
        .arg(binary())
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text =
        String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    (run.status.code().unwrap_or(-1), text)
}

pub(crate) fn valid() -> Value {
    let hosts = json!([{"name": "h", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "main"}},
    ]}]);
    let place = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let upstream = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    config(place, "http1", hosts, &[("main", upstream)])
}

#[test]
fn check_says_whether_a_configuration_is_valid() {
    let directory = Directory::new("check");
    let good = directory.write("good.yaml", &valid().to_string());
    let (code, text) = hangu(&["check", "--config", &good.display().to_string()]);
    assert_eq!(code, OK, "{text}");
    let bad = directory.write("bad.yaml", "listeners: []\nclusterz: []\n");
    let (code, text) = hangu(&["check", "--config", &bad.display().to_string()]);
    assert_eq!(code, BAD_CONFIG, "{text}");
    assert!(
        text.contains("bad.yaml") && text.contains("clusterz") && text.contains("clusters"),
        "{text}"
    );
    let bad = bad.display().to_string();
    let (code, text) = hangu(&["check", "--format", "json", "--config", &bad]);
    assert_eq!(code, BAD_CONFIG, "{text}");
    let problems: Value = serde_json::from_str(&text).unwrap_or_else(|it| panic!("{it}: {text}"));
    assert!(problems.to_string().contains("clusterz"), "{problems}");
}

#[test]
fn every_example_passes_the_check() {
    let examples = hangu_tests::process::root().join("config/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).expect("the examples").flatten() {
        let (code, text) = hangu(&["check", "--config", &entry.path().display().to_string()]);
        assert_eq!(code, OK, "{}: {text}", entry.path().display());
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn nothing_starts_on_a_bad_file_or_a_port_in_use() {
    let directory = Directory::new("refused");
    let missing = directory.0.join("missing.yaml").display().to_string();
    let (code, text) = hangu(&["run", "--config", &missing]);
    assert!(code != OK && text.contains("missing.yaml"), "{code}: {text}");

    let bad = directory.write("bad.yaml", "listeners: 5\n").display().to_string();
    let (code, text) = hangu(&["run", "--config", &bad]);
    assert_eq!(code, BAD_CONFIG, "{text}");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = taken.local_addr().expect("an address").to_string();
    let mut config = valid();
    config["listeners"][0]["address"] = json!(place);
    config["admin"] = json!({"address": format!("127.0.0.1:{}", free_port())});
    let file = directory.write("taken.yaml", &config.to_string()).display().to_string();
    let (code, text) = hangu(&["run", "--config", &file]);
    assert_eq!(code, UNAVAILABLE, "{text}");
    assert!(text.contains(&place), "{text}");
}

#[test]
fn a_wrong_command_line_is_told_as_such() {
    let (code, text) = hangu(&["run", "--no-such-flag"]);
    assert_eq!(code, USAGE, "{text}");
    let (code, text) = hangu(&["version"]);
    assert!(code == OK && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    let (code, text) = hangu(&["--help"]);
    assert_eq!(code, OK);
    for command in [
        "run",
        "check",
        "reload",
        "endpoint",
        "log-level",
        "stop",
        "demo",
        "completions",
        "man",
        "version",
    ] {
        assert!(text.contains(command), "no {command} in:\n{text}");
    }
}

#[test]
fn completions_and_manual_pages_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, text) = hangu(&["completions", shell]);
        assert!(code == OK && text.contains("reload"), "{shell}: {text}");
    }
    let (code, text) = hangu(&["man"]);
    assert!(code == OK && text.contains(".TH hangu"), "{text}");
    let directory = Directory::new("man");
    let pages = directory.0.join("pages");
    let (code, text) = hangu(&["man", "--dir", &pages.display().to_string()]);
    assert_eq!(code, OK, "{text}");
    let page = std::fs::read_to_string(pages.join("hangu-reload.1")).expect("a page");
    assert!(page.contains("dry"), "{page}");
    assert!(!pages.join("hangu-demo-upstreams.1").exists(), "a command of the demo's own");
}

#[test]
fn stop_ends_a_running_gateway_that_is_named_by_its_admin_address() {
    let (upstream, _requests) = Upstream::http_echo();
    let mut config = valid();
    config["clusters"][0]["endpoints"][0]["address"] = json!(upstream.address.to_string());
    let mut gateway = Running::start("stop", config);
    let (code, text) = hangu(&["stop", "--admin", &gateway.admin.to_string()]);
    assert_eq!(code, OK, "{text}");
    assert!(gateway.process.wait(wait::PATIENCE).success());
    let (code, text) = hangu(&["stop", "--admin", &gateway.admin.to_string()]);
    assert_eq!(code, UNAVAILABLE, "{text}");
}

#[test]
fn the_admin_api_tells_what_there_is() {
    let gateway = Running::start("admin", valid());
    for path in ["/ready", "/live", "/metrics", "/config", "/clusters", "/connections", "/version"]
    {
        let answer = ask(gateway.admin, path);
        assert_eq!(answer.status(), 200, "{path}");
        assert!(!answer.body.is_empty(), "{path}");
    }
    assert_eq!(ask(gateway.admin, "/nothing").status(), 404);
    let metrics = ask(gateway.admin, "/metrics").text();
    let named: Vec<_> = metrics
        .lines()
        .filter(|it| !it.starts_with('#') && !it.is_empty())
        .filter_map(|it| it.split(['{', ' ']).next())
        .collect();
    assert!(!named.is_empty());
    for name in named {
        let base =
            name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count");
        assert!(name.starts_with("hangu_"), "{name}");
        let has_help = metrics.contains(&format!("# HELP {base} "))
            || metrics.contains(&format!("# HELP {name} "));
        assert!(has_help, "no HELP of {name}");
    }
}

#[test]
fn the_access_log_has_a_line_for_each_exchange() {
    let (upstream, _requests) = Upstream::http_echo();
    let directory = Directory::new("access-log");
    let log = directory.0.join("access.log");
    let mut config = valid();
    config["clusters"][0]["endpoints"][0]["address"] = json!(upstream.address.to_string());
    config["access_log"] = json!({"enabled": true, "path": log.display().to_string()});
    let place = config["listeners"][0]["address"].as_str().expect("an address").to_owned();
    let _gateway = Running::start("access-log-run", config);
    let mut client = hangu_tests::Peer::connect(place.parse().expect("an address"));
    for path in ["/one", "/two?q=%22", "/three"] {
        client.send(hangu_tests::http::get(path));
        assert_eq!(client.read_response("GET").status(), 200);
    }
    let text = wait::until_some("three lines in the access log", || {
        let text = std::fs::read_to_string(&log).ok()?;
        (text.lines().count() == 3).then_some(text)
    });
    for (line, path) in text.lines().zip(["/one", "/two?q=%22", "/three"]) {
        let record: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((record["path"].as_str(), record["status"].as_u64()), (Some(path), Some(200)));
        assert!(record["time"].as_str().is_some_and(|it| it.ends_with('Z')), "{record}");
    }
}

#[test]
fn every_command_and_flag_that_a_page_shows_is_one() {
    let root = hangu_tests::process::root();
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    let docs = std::fs::read_dir(root.join("docs")).expect("the pages").flatten();
    pages.extend(docs.map(|it| it.path()).filter(|it| it.extension().is_some_and(|it| it == "md")));
    let mut seen = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page");
        // In code blocks, and between backticks in the text.
        let shown = text.lines().chain(text.split('`').skip(1).step_by(2));
        for command in shown.filter_map(|it| it.trim().strip_prefix("hangu ")) {
            let words: Vec<_> = command.split_whitespace().collect();
            let is_name = |it: &&&str| {
                it.starts_with(|first: char| first.is_ascii_lowercase())
                    && it.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
            };
            let Some(name) = words.first().filter(is_name) else { continue };
            let (code, help) = hangu(&[name, "--help"]);
            assert_eq!(code, OK, "{}: `hangu {command}`: {help}", page.display());
            for flag in words.iter().map(|it| it.trim_start_matches('[').trim_end_matches(']')) {
                let is_flag = flag.starts_with("--") && flag.len() > 2;
                assert!(
                    !is_flag || help.contains(flag),
                    "{}: `hangu {command}`: no {flag} in\n{help}",
                    page.display()
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 5, "only {seen} commands; does the reading of pages still work?");
}
