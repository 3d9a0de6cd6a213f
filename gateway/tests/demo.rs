//! The demo as a contract: what it starts, what it prints, and that nothing of it is left.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Everything here takes milliseconds; a machine under load may need more.
const WAIT: Duration = Duration::from_secs(30);

/// A running demo on ports that the system chose.
struct Demo {
    process: Child,
    /// What it prints, as far as it was read.
    commands: Vec<String>,
    http: SocketAddr,
    admin: SocketAddr,
    log: BufReader<ChildStdout>,
}

impl Demo {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_hangu"))
            .args(["demo", "--http-port", "0", "--bolt-port", "0", "--admin-port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap());
        let (mut commands, mut first) = (Vec::new(), String::new());
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the demo ended: {first}{commands:?}");
            if first.is_empty() {
                first.clone_from(&line);
            }
            if let Some(command) = line.strip_prefix("  ").filter(|it| !it.starts_with('#')) {
                commands.push(command.trim_end().to_owned());
            }
            if line.contains("access log") {
                break;
            }
        }
        let address = |after: &str| {
            let (_, rest) = first.split_once(after).unwrap();
            rest.split([',', '\n']).next().unwrap().parse().unwrap()
        };
        let (http, admin) = (address("HTTP on "), address("admin on "));
        Self { process, commands, http, admin, log }
    }

    fn run(&self, part: &str) -> String {
        let command = self.commands.iter().find(|it| it.contains(part)).unwrap();
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {text}{errors}");
        text
    }

    /// Where one of the upstreams listens.
    fn upstream(&self, cluster: &str) -> SocketAddr {
        let clusters = body(&ask(self.admin, "GET /clusters HTTP/1.1", b""));
        let clusters = clusters.as_array().unwrap();
        let found = clusters.iter().find(|it| it["name"] == cluster).unwrap();
        found["endpoints"][0]["address"].as_str().unwrap().parse().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One request on a connection of its own.
fn ask(address: SocketAddr, request_line: &str, sent: &[u8]) -> String {
    let mut stream = connect(address);
    let head = format!(
        "{request_line}\r\nHost: localhost\r\nX-oNE: 1\r\nx-two: 2\r\nX-One: 3\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        sent.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(sent).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream
}

fn body(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {head}\n{body}"))
}

#[test]
fn a_request_comes_back_as_json_of_what_the_upstream_received() {
    let mut demo = Demo::start();
    let answer = body(&ask(demo.http, "POST /a/b?c=d HTTP/1.1", b"abc"));
    assert_eq!(answer["method"], "POST");
    assert_eq!(answer["path"], "/a/b?c=d");
    assert_eq!(answer["body_bytes"], 3);
    assert_eq!(
        answer["body_sha256"],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    let headers = answer["headers"].as_array().unwrap();
    let own: Vec<_> = headers.iter().filter(|it| it[0].as_str().unwrap().len() == 5).collect();
    assert_eq!(own, [&json!(["X-oNE", "1"]), &json!(["x-two", "2"]), &json!(["X-One", "3"])]);

    let mut line = String::new();
    demo.log.read_line(&mut line).unwrap();
    let logged: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&logged["path"], &logged["status"]), (&json!("/a/b?c=d"), &json!(200)));
}

#[test]
fn the_printed_commands_of_this_program_work_as_they_are() {
    let mut demo = Demo::start();
    assert!(demo.run("--try-bolt").contains("status 0 (success), the same content"));
    assert!(demo.run("--print-config").contains("listeners:"));
    assert!(demo.run(" stop ").contains("stopped"));
    assert_eq!(demo.process.wait().unwrap().code(), Some(0));
}

#[test]
fn the_upstreams_end_with_the_gateway_even_when_it_is_killed() {
    let mut demo = Demo::start();
    for cluster in ["http-echo", "bolt-echo"] {
        assert!(TcpStream::connect(demo.upstream(cluster)).is_ok());
    }
    let mut open = connect(demo.upstream("http-echo"));
    demo.process.kill().unwrap();
    demo.process.wait().unwrap();
    // The upstream never closes a connection that is idle: an end means that the process is gone.
    match open.read(&mut [0]) {
        Ok(0) => {}
        Ok(_) => panic!("an answer without a request"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn the_upstreams_live_as_long_as_any_gateway_holds_their_life() {
    let mut upstreams = Command::new(env!("CARGO_BIN_EXE_hangu"))
        .arg("demo-upstreams")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let life = upstreams.stdin.take().unwrap();
    let passed_on = life.as_fd().try_clone_to_owned().unwrap();
    let mut report = String::new();
    BufReader::new(upstreams.stdout.take().unwrap()).read_line(&mut report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let http = report["http"].as_str().unwrap().parse().unwrap();

    drop(life);
    assert_eq!(body(&ask(http, "GET /after HTTP/1.1", b""))["path"], "/after");
    drop(passed_on);
    assert_eq!(upstreams.wait().unwrap().code(), Some(0));
}

#[test]
fn the_printed_configuration_passes_the_check() {
    let hangu = env!("CARGO_BIN_EXE_hangu");
    let output = Command::new(hangu).args(["demo", "--print-config"]).output().unwrap();
    let path = std::env::temp_dir().join(format!("hangu-demo-{}.yaml", std::process::id()));
    std::fs::write(&path, &output.stdout).unwrap();
    let check = Command::new(hangu).args(["check", "--config"]).arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
}
