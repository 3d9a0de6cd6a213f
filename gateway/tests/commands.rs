//! The command line from outside: exit codes, messages, signals.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const HANGU: &str = env!("CARGO_BIN_EXE_hangu");

/// A directory of one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hangu-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A configuration that listens on `port` and has its admin API on a socket in here.
    fn config(&self, port: u16) -> PathBuf {
        let socket = self.0.join("admin.sock");
        let text = format!(
            "admin: {{ path: {} }}\n\
             access_log: {{ enabled: false }}\n\
             workers: 1\n\
             listeners:\n\
             \x20 - name: front\n\
             \x20   address: 127.0.0.1:{port}\n\
             \x20   protocols: [http1]\n\
             \x20   route_config: main\n\
             \x20   connections_max: 100\n\
             route_configs:\n\
             \x20 - name: main\n\
             \x20   virtual_hosts:\n\
             \x20     - name: all\n\
             \x20       domains: [\"*\"]\n\
             \x20       routes: [{{ match: {{ prefix: / }}, route: {{ cluster: back }} }}]\n\
             clusters:\n\
             \x20 - {{ name: back, protocol: http1, endpoints: [{{ address: 127.0.0.1:9 }}] }}\n",
            socket.display()
        );
        self.file("gateway.yaml", &text)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hangu(args: &[&str]) -> Output {
    Command::new(HANGU).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A gateway that has said that it takes traffic.
struct Running {
    process: Child,
    messages: BufReader<ChildStderr>,
}

impl Running {
    fn start(config: &PathBuf) -> Self {
        let mut command = Command::new(HANGU);
        command.args(["run", "--config"]).arg(config).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut messages = BufReader::new(process.stderr.take().unwrap());
        let mut all = String::new();
        while !all.contains("admin on ") {
            assert!(messages.read_line(&mut all).unwrap() > 0, "it ended: {all}");
        }
        Self { process, messages }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Exit code and the rest of its messages.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        while self.messages.read_line(&mut rest).unwrap() > 0 {}
        (self.process.wait().unwrap().code(), rest)
    }
}

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    for args in [&["frobnicate"][..], &["run"], &["demo", "--http-port", "70000"], &["--verbose"]] {
        let output = hangu(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(text(&output.stderr).contains("try '--help'"), "{args:?}");
    }
    let help = hangu(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("Exit codes"));
    assert!(!text(&help.stdout).contains("demo-upstreams"));
}

#[test]
fn the_version_is_told_to_people_and_programs() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(text(&hangu(&["version"]).stdout), format!("hangu {version}\n"));
    let json: Value = serde_json::from_slice(&hangu(&["version", "--json"]).stdout).unwrap();
    assert_eq!(json["version"], version);
}

#[test]
fn a_wrong_configuration_is_78_with_the_line_that_is_wrong() {
    let scratch = Scratch::new("wrong");
    let path = scratch.file("bad.yaml", "workers: 2\nlistenrs: []\n");
    let path = path.to_str().unwrap();
    for command in ["check", "run"] {
        let output = hangu(&[command, "--config", path]);
        assert_eq!(output.status.code(), Some(78), "{command}");
        let said = text(&output.stderr);
        assert!(said.contains("2 | listenrs: []"), "{said}");
        assert!(said.contains("bad.yaml:2:1") && said.contains("listeners"), "{said}");
    }
    let output = hangu(&["check", "--format", "json", "--config", path]);
    assert_eq!(output.status.code(), Some(78));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["valid"], &json["problems"][0]["line"]), (&false.into(), &2.into()));
}

#[test]
fn a_configuration_that_is_not_there_is_78_with_its_name() {
    for format in ["text", "json"] {
        let output = hangu(&["check", "--config", "/none/such.yaml", "--format", format]);
        assert_eq!(output.status.code(), Some(78));
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(said.contains("/none/such.yaml: cannot be read: No such file"), "{said}");
    }
}

#[test]
fn a_right_configuration_is_0() {
    let scratch = Scratch::new("right");
    let path = scratch.config(0);
    let output = hangu(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ok: 1 listener, 1 route, 1 cluster, 1 endpoint"));
    let directory = scratch.0.to_str().unwrap();
    let output = hangu(&["check", "--format", "json", "--config", directory]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["valid"], true);
}

#[test]
fn a_port_in_use_is_69_with_the_command_that_finds_its_owner() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let scratch = Scratch::new("port");
    let path = scratch.config(port);
    let output = hangu(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(69));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("ss -ltnp 'sport = :{port}'")), "{said}");
    assert!(!scratch.0.join("admin.sock").exists());
}

#[test]
fn too_few_descriptors_are_69_before_anything_starts() {
    let scratch = Scratch::new("descriptors");
    let path = scratch.config(0);
    let line = format!("ulimit -n 100; exec {HANGU} run --config {}", path.display());
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("may open 100 descriptors") && said.contains("LimitNOFILE"), "{said}");
}

#[test]
fn stopping_what_does_not_run_is_69() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = hangu(&["stop", "--admin", &free]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains(&format!("no gateway answers at {free}")));
}

#[test]
fn both_signals_stop_the_gateway_and_remove_its_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        let scratch = Scratch::new("signal");
        let running = Running::start(&scratch.config(0));
        assert!(scratch.0.join("admin.sock").exists());
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("stopping") && said.contains("stopped"), "{said}");
        assert!(!scratch.0.join("admin.sock").exists());
    }
}

#[test]
fn stop_finds_the_gateway_by_its_configuration() {
    let scratch = Scratch::new("stop");
    let path = scratch.config(0);
    let running = Running::start(&path);
    let output = hangu(&["stop", "--grace", "1", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "stopped\n");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_second_gateway_on_the_same_socket_is_refused_and_the_first_goes_on() {
    let scratch = Scratch::new("second");
    let path = scratch.config(0);
    let running = Running::start(&path);
    let output = hangu(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains("a gateway runs already"), "{}", text(&output.stderr));
    assert_eq!(hangu(&["stop", "--config", path.to_str().unwrap()]).status.code(), Some(0));
    assert_eq!(running.end().0, Some(0));
}
