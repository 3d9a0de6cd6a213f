//! nginx as an upstream.

use std::{fs, net::SocketAddr, process::Command};

use hangu_tests::{Peer, Upstream, http::get, process::Process, wait};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::gateway::{Directory, Running, ask, config, free_port};

struct Nginx {
    _process: Process,
    address: SocketAddr,
    directory: Directory,
}

/// nginx with a document root, chunked answers below `/chunked/`, and an echo of bodies.
fn nginx(behind: SocketAddr) -> Nginx {
    let directory = Directory::new("nginx");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let root = directory.0.join("www");
    fs::create_dir_all(&root).expect("a directory");
    let file: Vec<u8> = (0..1 << 20).map(|at: u32| (at ^ (at >> 7)) as u8).collect();
    fs::write(root.join("large.bin"), file).expect("a file");
    fs::write(root.join("small.txt"), "small\n").expect("a file");
    let temp = directory.0.display();
    let config = directory.write(
        "nginx.conf",
        &format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid {temp}/pid;\n\
             error_log {temp}/error.log;\nevents {{ worker_connections 256; }}\n\
             http {{\n  access_log {temp}/access.log;\n  keepalive_requests 100000;\n\
             client_max_body_size 64m;\n  default_type text/plain;\n\
             client_body_temp_path {temp}/body;\n  proxy_temp_path {temp}/proxy;\n\
             fastcgi_temp_path {temp}/fastcgi;\n  uwsgi_temp_path {temp}/uwsgi;\n\
             scgi_temp_path {temp}/scgi;\n  server {{\n    listen {address};\n    root {temp}/www;\n\
             location = /echo {{ proxy_pass http://{behind}; proxy_http_version 1.1; }}\n\
             location = /hello {{ return 200 \"hello $http_x_forwarded_for $connection\"; }}\n\
             location = /chunked {{ gzip on; gzip_min_length 1; gzip_types text/plain;\n\
             alias {temp}/www/small.txt; }}\n  }}\n}}\n"
        ),
    );
    let process = Process::start(
        "nginx",
        Command::new("nginx").arg("-c").arg(config).arg("-e").arg(directory.0.join("start.log")),
    );
    wait::until("nginx listens", || std::net::TcpStream::connect(address).is_ok());
    Nginx { _process: process, address, directory }
}

#[test]
fn nginx_serves_through_the_gateway() {
    let (behind, _requests) = Upstream::http_echo();
    let nginx = nginx(behind.address);
    let hosts = json!([{"name": "web", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "main"}},
    ]}]);
    let place = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let gateway =
        Running::start("before-nginx", config(place, "http1", hosts, &[("main", nginx.address)]));

    let mut client = Peer::connect(place);
    // Keep-alive: one upstream connection serves all requests of this one client.
    let mut connections = std::collections::HashSet::new();
    for _ in 0..20 {
        client.send(get("/hello"));
        let response = client.read_response("GET");
        let text = response.text();
        let mut words = text.split(' ').skip(1);
        assert_eq!((response.status(), words.next()), (200, Some("127.0.0.1")));
        connections.insert(words.next().expect("a connection number").to_owned());
    }
    assert_eq!(connections.len(), 1, "{connections:?}");

    // A large file, whole and in part.
    let file = fs::read(nginx.directory.0.join("www/large.bin")).expect("the file");
    client.send(get("/large.bin"));
    let whole = client.read_response("GET");
    assert_eq!(Sha256::digest(&whole.body), Sha256::digest(&file));
    client.send("GET /large.bin HTTP/1.1\r\nHost: t\r\nRange: bytes=1000-1999\r\n\r\n");
    let part = client.read_response("GET");
    assert_eq!((part.status(), &part.body[..]), (206, &file[1000..2000]));
    assert_eq!(part.field("content-range"), Some("bytes 1000-1999/1048576"));

    // HEAD has the length of the whole and no body.
    client.send("HEAD /large.bin HTTP/1.1\r\nHost: t\r\n\r\n");
    let head = client.read_response("HEAD");
    assert_eq!((head.status(), head.field("content-length")), (200, Some("1048576")));

    // Not modified.
    let etag = whole.field("etag").expect("an entity tag");
    client.send(format!("GET /large.bin HTTP/1.1\r\nHost: t\r\nIf-None-Match: {etag}\r\n\r\n"));
    assert_eq!(client.read_response("GET").status(), 304);

    // Chunked by nginx, for it does not know the length of what it compresses.
    client.send("GET /chunked HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\n\r\n");
    let chunked = client.read_response("GET");
    assert_eq!(chunked.field("content-encoding"), Some("gzip"));
    assert!(!chunked.chunks.is_empty() && chunked.body.starts_with(&[0x1f, 0x8b]), "{chunked:?}");

    // A body through the gateway, nginx and back.
    let mut sender = client.sender();
    let upload = hangu_tests::http::post("/echo", &file);
    let sending = std::thread::spawn(move || sender.send(upload));
    let echoed = client.read_response("POST");
    sending.join().expect("all is sent");
    assert_eq!(Sha256::digest(&echoed.body), Sha256::digest(&file));

    // What nginx refuses comes through, and the connection serves on.
    client.send(get("/missing"));
    assert_eq!(client.read_response("GET").status(), 404);
    client.send(get("/small.txt"));
    assert_eq!(client.read_response("GET").text(), "small\n");
    assert_eq!(ask(gateway.admin, "/live").status(), 200);
}
