//! A worker's connections and exchanges as they are frozen for a successor.
//!
//! With a directory in `HANGU_KEEP_SNAPSHOTS` what is frozen here is written to it, by version of
//! the layout: so the files below `gateway/tests/snapshots/` were made, which every later build has
//! to read (`gateway/tests/snapshots.rs`).
//!
//! ```sh
//! HANGU_KEEP_SNAPSHOTS=$PWD/gateway/tests/snapshots cargo test -p hangu-tests --test e2e snapshots::
//! HANGU_WRITE_TEXTS=yes cargo test -p hangu --test snapshots
//! ```

use std::{fs, path::PathBuf, sync::mpsc::channel};

use hangu::{
    exchange::{FROZEN_VERSION, FrozenWorker},
    upstream::Pooled,
};
use hangu_tests::{
    Peer, Upstream, bolt,
    http::{Message, get, ok},
    upstream::deaf_address,
    wait::{self, PATIENCE},
};
use serde_json::json;

use crate::support::{DriverKind, Running, Setup};

/// Freezes the only worker again and again until what it has is as it is to be; nothing changes by
/// that.
fn freeze_when(gateway: &Running, what: &str, is_right: impl Fn(&FrozenWorker) -> bool) -> Vec<u8> {
    wait::until_some(what, || {
        let held = gateway.handle().hold(PATIENCE).expect("it stands still");
        let (frozen, received) = channel();
        held[0].order(move |core| {
            let _ = frozen.send(core.freeze().state);
        });
        held[0].answer(PATIENCE).expect("it answers");
        let state = received.recv().expect("a state");
        is_right(&state).then(|| postcard::to_stdvec(&state).expect("it is written"))
    })
}

fn keep(name: &str, bytes: &[u8]) {
    let again = postcard::from_bytes::<FrozenWorker>(bytes).expect("it is read");
    assert_eq!(postcard::to_stdvec(&again).expect("it is written"), bytes);
    let Some(directory) = std::env::var_os("HANGU_KEEP_SNAPSHOTS").map(PathBuf::from) else {
        return;
    };
    let directory = directory.join(format!("v{FROZEN_VERSION}"));
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join(name).with_extension("bin"), bytes).expect("a file");
}

/// Goes on after some snapshots as if there had been none.
fn ask(gateway: &Running) {
    let mut client = gateway.connect();
    client.send(get("/text"));
    assert_eq!(client.read_response("GET").text(), "text");
}

fn serve(mut peer: Peer, _: usize) {
    while let Some(line) = peer.try_read_line() {
        let path = String::from_utf8_lossy(&line).split(' ').nth(1).unwrap_or_default().to_owned();
        while peer.try_read_line().is_some_and(|it| it != b"\r\n" && !it.is_empty()) {}
        match path.as_str() {
            "/text" => peer.send(ok(b"text")),
            "/half" => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"),
            "/tunnel" => peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n",
            ),
            _ => {
                peer.read_to_end();
                return;
            }
        }
    }
}

#[test]
fn http_connections_in_all_their_states_are_frozen_and_go_on() {
    let upstream = Upstream::serve(serve);
    let gateway = Setup::http(DriverKind::Epoll, upstream.address)
        .listener(json!({"upgrades": ["echo"], "trace_ids": "keep"}))
        .start();
    let sent = |bytes: &str| {
        let mut client = gateway.connect();
        client.send(bytes);
        client
    };
    let mut sized = sent("POST /sized HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    let chunked = sent(
        "POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n wo",
    );
    let unanswered = sent("GET /never HTTP/1.1\r\nHost: a\r\nX-Field: value\r\n\r\n");
    let half_answered = sent("GET /half HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut tunnel =
        sent("GET /tunnel HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
    let head: Message = tunnel.read_response("GET");
    assert_eq!(head.status(), 101);
    let mut in_a_head = sent("GET /text HTTP/1.1\r\nHost: a\r\nX-Fie");
    let unknown = sent("");
    let mut idle = sent(&get("/text"));
    assert_eq!(idle.read_response("GET").text(), "text");
    let bytes = freeze_when(&gateway, "eight clients, six upstreams, five requests", |it| {
        let received = it.exchanges.iter().map(|it| it.received_bytes).sum::<u64>();
        it.connections.len() == 14
            && it.exchanges.len() == 5
            && it.exchanges.iter().filter(|it| it.progress.response_began).count() == 2
            && it.exchanges.iter().filter(|it| it.progress.is_tunnel).count() == 1
            && it.connections.iter().filter(|it| it.pooled == Pooled::Idle).count() == 1
            && it.connections.iter().any(|it| it.head_since.is_some() && !it.input.is_empty())
            && received >= 13
    });
    keep("http1", &bytes);
    in_a_head.send("ld: x\r\n\r\n");
    assert_eq!(in_a_head.read_response("GET").text(), "text");
    ask(&gateway);
    sized.send("world");
    drop((sized, chunked, unanswered, half_answered, tunnel, unknown));
}

#[test]
fn bolt_connections_with_requests_in_flight_are_frozen_and_go_on() {
    let (upstream, _frames) = Upstream::bolt(|frame| match frame.content.as_slice() {
        b"answer" => vec![frame.echo()],
        _ => Vec::new(),
    });
    let gateway = Setup::bolt(DriverKind::Epoll, upstream.address).start();
    let request = |id: u32, content: &[u8]| {
        bolt::request(id, "com.example.Quotes:1.0", "latest", content)
            .with("rpc_trace_context.sofaRpcId", "0.1")
    };
    let mut clients: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    for id in [7, 8, 9] {
        clients[0].send_frame(&request(id, b"never"));
    }
    clients[1].send_frame(&request(7, b"never"));
    clients[1].send_frame(&request(11, b"answer"));
    assert_eq!(clients[1].read_frame().id, 11);
    let whole = request(300, b"answer").to_bytes();
    let (half, rest) = whole.split_at(whole.len() - 3);
    clients[2].send(half);
    let bytes = freeze_when(&gateway, "three clients, one upstream, four requests", |it| {
        let has_half = |it: &hangu_codecs::Frozen| it.protocol == "bolt";
        it.connections.len() == 4
            && it.exchanges.len() == 4
            && it.connections.iter().all(|it| it.codec.as_ref().is_some_and(has_half))
            && it.exchanges.iter().all(|it| it.forwarded.is_some())
    });
    keep("bolt", &bytes);
    clients[2].send(rest);
    assert_eq!(clients[2].read_frame().id, 300);
}

#[test]
fn requests_that_wait_for_a_connection_are_frozen() {
    let (address, _backlog) = deaf_address();
    let gateway = Setup::new(DriverKind::Epoll, &["http1", "bolt"])
        .cluster("main", "http1", &[address])
        .cluster("rpc", "bolt", &[address])
        .hosts(json!([
            {"name": "web", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "main"}}]},
            {"name": "rpc", "services": ["*"], "routes": [{"match": {}, "route": {"cluster": "rpc"}}]},
        ]))
        .start();
    let (mut get_one, mut post_one, mut call) =
        (gateway.connect(), gateway.connect(), gateway.connect());
    get_one.send("GET /one?q=1 HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n");
    post_one.send("POST /two HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\nhello");
    call.send_frame(&bolt::request(5, "com.example.Quotes:1.0", "latest", b"content"));
    let bytes = freeze_when(&gateway, "three requests that wait", |it| {
        let waits = |it: &str| it.contains("Waiting(");
        it.connections.len() == 3
            && it.exchanges.iter().filter(|it| waits(&format!("{:?}", it.upstream))).count() == 3
            && it.exchanges.iter().any(|it| format!("{:?}", it.upstream).contains("hello"))
    });
    keep("waiting", &bytes);
}
