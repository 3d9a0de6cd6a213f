//! The demo is a contract: what it prints, answers and leaves behind.

use std::{net::SocketAddr, process::Command};

use hangu_tests::{
    Peer,
    bolt::{self, RESPONSE_CLASS, Version},
    http::{get, post},
    process::Process,
    wait,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::gateway::{ask, binary, free_port};

struct Demo {
    process: Process,
    http: SocketAddr,
    bolt: SocketAddr,
    admin: SocketAddr,
}

fn demo() -> Demo {
    let [http, bolt, admin] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let process = Process::start(
        "hangu demo",
        Command::new(binary())
            .arg("demo")
            .args(["--http-port", &http.port().to_string()])
            .args(["--bolt-port", &bolt.port().to_string()])
            .args(["--admin-port", &admin.port().to_string()]),
    );
    wait::until("the demo is ready", || {
        std::net::TcpStream::connect(admin).is_ok() && ask(admin, "/ready").status() == 200
    });
    Demo { process, http, bolt, admin }
}

fn json_of(client: &mut Peer) -> Value {
    let response = client.read_response("any");
    assert_eq!(response.status(), 200, "{}", response.text());
    serde_json::from_slice(&response.body).expect("JSON")
}

#[test]
fn the_http_upstream_tells_what_it_received() {
    let demo = demo();
    let mut client = Peer::connect(demo.http);
    client.send("GET /a/b?c=d HTTP/1.1\r\nHost: Example.com\r\nX-Second: 2\r\nx-first: 1\r\nX-Second: 3\r\n\r\n");
    let seen = json_of(&mut client);
    assert_eq!((seen["method"].as_str(), seen["path"].as_str()), (Some("GET"), Some("/a/b?c=d")));
    assert_eq!(seen["body_bytes"], 0);
    assert_eq!(seen["body_sha256"], format!("{:x}", Sha256::digest(b"")));
    let own: Vec<_> = seen["headers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|pair| (pair[0].as_str().expect("a name"), pair[1].as_str().expect("a value")))
        .filter(|(name, _)| {
            name.to_lowercase().starts_with("x-") && !name.to_lowercase().starts_with("x-forwarded")
        })
        .collect();
    assert_eq!(own, [("X-Second", "2"), ("x-first", "1"), ("X-Second", "3")]);

    for bytes in [1, 1000, 1 << 20] {
        let body: Vec<u8> = (0..bytes).map(|at: u32| (at ^ (at >> 9)) as u8).collect();
        client.send(post("/upload", &body));
        let seen = json_of(&mut client);
        assert_eq!(seen["method"], "POST");
        assert_eq!(seen["body_bytes"], bytes);
        assert_eq!(seen["body_sha256"], format!("{:x}", Sha256::digest(&body)));
    }
    client.send(
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    let seen = json_of(&mut client);
    assert_eq!(seen["body_sha256"], format!("{:x}", Sha256::digest(b"abc")));
}

#[test]
fn the_bolt_upstream_answers_with_the_same_id_codec_and_content() {
    let demo = demo();
    let mut client = Peer::connect(demo.bolt);
    for version in [Version::V1, Version::V2, Version::V2Crc] {
        for (id, codec, bytes) in [(1, 1, 0), (0x7fff_ffff, 11, 10), (77, 12, 300_000)] {
            let content: Vec<u8> = (0..bytes).map(|at: u32| (at * 3) as u8).collect();
            let mut request =
                bolt::request(id, "any.Service:1.0", "any", &content).version(version);
            request.codec = codec;
            client.send_frame(&request);
            let answer = client.read_frame();
            assert_eq!((answer.status, answer.id, answer.codec), (0, id, codec));
            assert_eq!(answer.class, RESPONSE_CLASS.as_bytes());
            assert!(answer.content == content, "{bytes} bytes");
            assert_eq!(answer.version, version);
        }
    }
}

#[test]
fn what_the_demo_tells_to_try_works() {
    let mut demo = demo();
    demo.process.wait_for("Ctrl-C");
    let output = demo.process.output();
    // What is to be typed stands indented, comments begin with `#`.
    let commands: Vec<_> = output
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    let tells = |text: &str| commands.iter().any(|it| it.contains(text));
    assert!(tells("curl") && tells("bolt") && tells("stop"), "{output}");
    assert!(commands.last().is_some_and(|it| it.contains("stop")), "the rest needs it running");
    let path = format!(
        "{}:{}",
        binary().parent().expect("a directory").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for command in commands {
        let run = Command::new("timeout")
            .args(["20", "sh", "-c", command])
            .env("PATH", &path)
            .output()
            .expect("sh runs");
        let text = String::from_utf8_lossy(&run.stdout).into_owned()
            + &String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && !text.is_empty(), "`{command}`: {}\n{text}", run.status);
    }
    assert!(demo.process.wait(wait::PATIENCE).success(), "it was stopped gracefully");
}

#[test]
fn the_configuration_that_the_demo_prints_is_one_that_it_takes() {
    let print = Command::new(binary()).args(["demo", "--print-config"]).output().expect("it runs");
    assert!(print.status.success());
    let source = hangu_config::Source {
        name: "demo.yaml".into(),
        text: String::from_utf8(print.stdout).expect("text"),
    };
    let config =
        hangu_config::load(&[source], &hangu_config::NoValues).expect("a valid configuration");
    let places: Vec<_> = config.listeners.iter().map(|it| it.address.to_string()).collect();
    assert_eq!(places, ["127.0.0.1:8080", "127.0.0.1:12200"]);
}

#[test]
fn the_upstreams_end_with_the_gateway_however_it_ends() {
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let mut demo = demo();
        let mut client = Peer::connect(demo.http);
        client.send(get("/"));
        json_of(&mut client);
        let upstreams = endpoints(&demo);
        assert!(upstreams.len() >= 2, "{upstreams:?}");
        let children = children(demo.process.id());
        assert!(!children.is_empty(), "the demo has no child process");
        drop(client);
        demo.process.signal(signal);
        let status = demo.process.wait(wait::PATIENCE);
        assert_eq!(status.success(), signal == libc::SIGTERM, "{status}");
        for child in children {
            wait::until("the child process ends", || !is_running(child));
        }
        for upstream in upstreams {
            wait::until("the upstream is gone", || std::net::TcpStream::connect(upstream).is_err());
        }
    }
}

fn endpoints(demo: &Demo) -> Vec<SocketAddr> {
    let view: Value = serde_json::from_str(&ask(demo.admin, "/clusters").text()).expect("JSON");
    let mut found = Vec::new();
    collect_addresses(&view, &mut found);
    found
}

fn collect_addresses(value: &Value, found: &mut Vec<SocketAddr>) {
    match value {
        Value::Array(items) => items.iter().for_each(|it| collect_addresses(it, found)),
        Value::Object(members) => {
            let address = members.get("address").and_then(Value::as_str);
            found.extend(address.and_then(|it| it.parse::<SocketAddr>().ok()));
            members.values().for_each(|it| collect_addresses(it, found));
        }
        _ => {}
    }
}

/// Processes whose parent is that one, from /proc.
fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if state(id).is_some_and(|(_, its_parent)| its_parent == parent) {
            found.push(id);
        }
    }
    found
}

fn is_running(id: u32) -> bool {
    state(id).is_some_and(|(state, _)| state != "Z")
}

fn state(id: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut words = text[text.rfind(')')? + 1..].split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}
