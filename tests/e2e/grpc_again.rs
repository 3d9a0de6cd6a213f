//! gRPC calls that are sent again because of the status that their upstream answered with.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use hangu_tests::{
    Upstream,
    http2::{Http2, Told},
    wait,
};
use serde_json::{Value, json};

use crate::support::{DriverKind, Setup};

const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";
const TYPE: (&str, &str) = ("content-type", "application/grpc");

/// Upstreams that are asked again when they are not there.
fn setup(driver: DriverKind, upstreams: &[std::net::SocketAddr]) -> Setup {
    Setup::new(driver, &["http2", "http1"])
        .cluster("main", "http2", upstreams)
        .main(json!({"retry": {"grpc_on": ["unavailable"]}}))
}

/// With other members of `retry`.
fn retry(members: Value) -> Value {
    let mut retry = json!({"grpc_on": ["unavailable"]});
    for (name, value) in members.as_object().expect("members") {
        retry[name] = value.clone();
    }
    json!({"retry": retry})
}

/// A call as its server sees it.
struct Call {
    stream: u32,
    /// Calls before it, on all connections.
    number: usize,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A server that answers whole calls, and how many came.
fn server(
    answer: impl Fn(&mut Http2, &Call) + Send + Sync + 'static,
) -> (Upstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let upstream = Upstream::serve(move |peer, _| {
        let mut server = Http2::server(peer, &[]);
        let mut open = HashMap::new();
        loop {
            let (stream, end) = match server.told() {
                Told::Head(stream, fields, end) => {
                    open.insert(stream, (fields, Vec::new()));
                    (stream, end)
                }
                Told::Data(stream, data, end) => {
                    if let Some((_, body)) = open.get_mut(&stream) {
                        body.extend_from_slice(&data);
                    }
                    (stream, end)
                }
                Told::End => return,
                Told::Reset(..) | Told::GoAway(_) | Told::Credit => continue,
            };
            if end && let Some((fields, body)) = open.remove(&stream) {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                answer(&mut server, &Call { stream, number, fields, body });
            }
        }
    });
    (upstream, count)
}

/// Answers with a head, a message where there is one, and a status in trailers.
fn answer(server: &mut Http2, stream: u32, message: Option<&[u8]>, status: &str) {
    server.send_head(stream, &[(":status", "200"), TYPE], false);
    if let Some(message) = message {
        server.send_data(stream, message, false);
    }
    server.send_head(stream, &[("grpc-status", status)], true);
}

/// Answers with a head that ends the call.
fn refuse(server: &mut Http2, stream: u32, fields: &[(&str, &str)]) {
    let head = [&[(":status", "200"), TYPE], fields].concat();
    server.send_head(stream, &head, true);
}

fn call(client: &mut Http2, body: &[u8]) -> u32 {
    let stream = client.ask("POST", "/a.Greeter/Hello", &[TYPE, ("te", "trailers")], false);
    assert!(client.send_body(stream, body));
    stream
}

/// An answer as the client sees it.
#[derive(Debug, Default)]
struct Answer {
    /// Heads and trailers in order.
    blocks: Vec<Vec<(String, String)>>,
    body: Vec<u8>,
}

impl Answer {
    /// The answer on a stream; nothing may come on others.
    fn read(client: &mut Http2, stream: u32) -> Self {
        let mut answer = Self::default();
        loop {
            let end = match client.told() {
                Told::Head(it, fields, end) if it == stream => {
                    answer.blocks.push(fields);
                    end
                }
                Told::Data(it, data, end) if it == stream => {
                    answer.body.extend_from_slice(&data);
                    end
                }
                other => panic!("no answer: {other:?} after {answer:?}"),
            };
            if end {
                return answer;
            }
        }
    }

    /// Heads and trailers, the status and the body.
    fn told(&self) -> (usize, &str, &[u8]) {
        let last = self.blocks.last().expect("a head");
        let status = last.iter().find(|it| it.0 == "grpc-status");
        (self.blocks.len(), status.map_or("", |it| &it.1), &self.body)
    }
}

on_every_driver! {
    fn a_call_that_a_head_alone_ends_is_sent_again(driver) {
        let (upstream, count) = server(|server, call| match call.number {
            0 => refuse(server, call.stream, &[("grpc-status", "14")]),
            _ => answer(server, call.stream, Some(&call.body), "0"),
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = call(&mut client, MESSAGE);
        assert_eq!(Answer::read(&mut client, stream).told(), (2, "0", MESSAGE));
        assert_eq!(count.load(Ordering::SeqCst), 2);
        assert_eq!(gateway.metric("hangu_upstream_retries_total", &["main"]), 1.0);
        gateway.wait_for_metric("hangu_rpc_requests_total", &["result=\"success\""], 1.0);
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 0.0);
        gateway.wait_for_metric("hangu_downstream_requests_active", &[], 0.0);
        assert_eq!(upstream.accepted(), 1);
    }

    fn a_call_that_trailers_without_a_message_end_is_sent_again(driver) {
        let (upstream, count) = server(|server, call| match call.number {
            0 => answer(server, call.stream, None, "14"),
            _ => answer(server, call.stream, None, "0"),
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = call(&mut client, MESSAGE);
        assert_eq!(Answer::read(&mut client, stream).told(), (2, "0", &b""[..]));
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    fn a_call_of_which_a_message_came_back_is_not_sent_again(driver) {
        let (upstream, count) =
            server(|server, call| answer(server, call.stream, Some(b"some"), "14"));
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = call(&mut client, MESSAGE);
        assert_eq!(Answer::read(&mut client, stream).told(), (2, "14", &b"some"[..]));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    fn a_status_that_is_not_named_goes_to_the_client(driver) {
        let (upstream, count) = server(|server, call| match call.number {
            0 => refuse(server, call.stream, &[("grpc-status", "8")]),
            1 => answer(server, call.stream, None, "8"),
            // Nothing that says how it ended.
            2 => refuse(server, call.stream, &[]),
            _ => server.send_head(call.stream, &[(":status", "503"), TYPE], true),
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        for (blocks, status) in [(1, "8"), (2, "8"), (1, ""), (1, "")] {
            let stream = call(&mut client, MESSAGE);
            assert_eq!(Answer::read(&mut client, stream).told(), (blocks, status, &b""[..]));
        }
        assert_eq!(count.load(Ordering::SeqCst), 4);
        assert_eq!(gateway.metric("hangu_upstream_retries_total", &[]), 0.0);
    }

    fn what_is_no_call_goes_to_the_client_whatever_it_says(driver) {
        let (upstream, count) =
            server(|server, call| refuse(server, call.stream, &[("grpc-status", "14")]));
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = client.ask("POST", "/", &[("content-type", "application/json")], true);
        assert_eq!(Answer::read(&mut client, stream).told().1, "14");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    fn no_call_is_sent_again_where_no_status_is_named(driver) {
        let (upstream, count) =
            server(|server, call| refuse(server, call.stream, &[("grpc-status", "14")]));
        let gateway = setup(driver, &[upstream.address]).main(json!({"retry": {}})).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = call(&mut client, MESSAGE);
        assert_eq!(Answer::read(&mut client, stream).told(), (1, "14", &b""[..]));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    fn the_last_answer_goes_to_the_client_when_the_tries_are_used_up(driver) {
        let (upstream, count) = server(|server, call| match call.number % 2 {
            0 => refuse(server, call.stream, &[("grpc-status", "14")]),
            _ => answer(server, call.stream, None, "14"),
        });
        let gateway =
            setup(driver, &[upstream.address]).main(retry(json!({"attempts_max": 3}))).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = call(&mut client, MESSAGE);
        assert_eq!(Answer::read(&mut client, stream).told(), (2, "14", &b""[..]));
        assert_eq!(count.load(Ordering::SeqCst), 4);
        gateway.wait_for_metric("hangu_rpc_requests_total", &["result=\"provider_error\""], 1.0);
    }

    fn the_answer_goes_to_the_client_when_the_budget_is_used_up(driver) {
        let (upstream, count) = server(|server, call| match call.number {
            0 => refuse(server, call.stream, &[("grpc-status", "14")]),
            _ => answer(server, call.stream, None, "14"),
        });
        let none = retry(json!({"budget": {"percent": 0, "min_per_second": 0}}));
        let gateway = setup(driver, &[upstream.address]).main(none).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        for blocks in [1, 2] {
            let stream = call(&mut client, MESSAGE);
            assert_eq!(Answer::read(&mut client, stream).told(), (blocks, "14", &b""[..]));
        }
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    fn a_call_that_is_too_long_to_be_kept_is_not_sent_again(driver) {
        let (upstream, count) = server(|server, call| match call.number {
            0 => refuse(server, call.stream, &[("grpc-status", "14")]),
            _ => answer(server, call.stream, None, "14"),
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        for blocks in [1, 2] {
            let stream = call(&mut client, &[b'x'; 100_000]);
            assert_eq!(Answer::read(&mut client, stream).told(), (blocks, "14", &b""[..]));
        }
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    fn an_upstream_that_wants_no_try_now_gets_none(driver) {
        let said = ["-1", "250", "soon", ""];
        let (upstream, count) = server(move |server, call| {
            let said = said.get(call.number / 2).copied().unwrap_or("0");
            let fields = [("grpc-status", "14"), ("grpc-retry-pushback-ms", said)];
            if call.number >= 9 {
                answer(server, call.stream, None, "0");
            } else if call.number.is_multiple_of(2) {
                refuse(server, call.stream, &fields);
            } else {
                server.send_head(call.stream, &[(":status", "200"), TYPE], false);
                server.send_head(call.stream, &fields, true);
            }
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        for round in 0..8 {
            let stream = call(&mut client, MESSAGE);
            assert_eq!(Answer::read(&mut client, stream).told().1, "14", "round {round}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 8);
        // It may come at once.
        let stream = call(&mut client, MESSAGE);
        assert_eq!(Answer::read(&mut client, stream).told().1, "0");
        assert_eq!(count.load(Ordering::SeqCst), 10);
    }

    fn another_endpoint_is_asked_where_there_is_one(driver) {
        let (away, _) = server(|server, call| match call.number % 2 {
            0 => refuse(server, call.stream, &[("grpc-status", "14")]),
            _ => answer(server, call.stream, None, "14"),
        });
        let (there, count) = server(|server, call| answer(server, call.stream, None, "0"));
        let budget = json!({"budget": {"percent": 100, "min_per_second": 1000}});
        let gateway = setup(driver, &[away.address, there.address]).main(retry(budget)).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        for round in 0..20 {
            let stream = call(&mut client, MESSAGE);
            assert_eq!(Answer::read(&mut client, stream).told().1, "0", "round {round}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 20);
        let retries = gateway.metric("hangu_upstream_retries_total", &[]);
        assert!(retries > 5.0, "{retries}");
    }

    fn what_is_left_of_the_deadline_is_told_anew(driver) {
        let first = Arc::new(Mutex::new(String::new()));
        let told_first = Arc::clone(&first);
        let (upstream, _) = server(move |server, call| {
            let left = call.fields.iter().find(|it| it.0 == "grpc-timeout").expect("a timeout");
            match call.number {
                0 => {
                    left.1.clone_into(&mut told_first.lock().expect("no poison"));
                    refuse(server, call.stream, &[("grpc-status", "14")]);
                }
                _ => {
                    server.send_head(call.stream, &[(":status", "200"), TYPE], false);
                    server.send_data(call.stream, left.1.as_bytes(), false);
                    server.send_head(call.stream, &[("grpc-status", "0")], true);
                }
            }
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = client.ask("POST", "/a.B/C", &[TYPE, ("grpc-timeout", "30S")], true);
        let answer = Answer::read(&mut client, stream);
        let micros = |text: &str| -> u64 {
            text.strip_suffix('u').expect("a unit").parse().expect("a number")
        };
        let second = micros(&String::from_utf8(answer.body).expect("a text"));
        let first = micros(&first.lock().expect("no poison"));
        assert!(20_000_000 <= second && second < first && first <= 30_000_000, "{first} {second}");
    }

    fn a_deadline_that_passes_while_a_head_is_held_back_ends_the_call(driver) {
        let (upstream, _) = server(|server, call| {
            server.send_head(call.stream, &[(":status", "200"), TYPE], false);
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = client.ask("POST", "/a.B/C", &[TYPE, ("grpc-timeout", "100m")], true);
        assert_eq!(Answer::read(&mut client, stream).told(), (1, "4", &b""[..]));
    }

    fn an_upstream_that_gives_up_after_a_head_is_answered_for(driver) {
        let (upstream, count) = server(|server, call| {
            server.send_head(call.stream, &[(":status", "200"), TYPE], false);
            server.reset(call.stream, 2);
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = call(&mut client, MESSAGE);
        assert_eq!(Answer::read(&mut client, stream).told(), (1, "14", &b""[..]));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    fn a_call_whose_client_is_still_sending_is_sent_again_from_its_begin(driver) {
        let upstream = Upstream::serve(|peer, _| {
            let mut server = Http2::server(peer, &[]);
            let (first, ..) = server.next_request().expect("the first try");
            assert_eq!(server.told(), Told::Data(first, b"one".to_vec(), false));
            refuse(&mut server, first, &[("grpc-status", "14")]);
            let (mut second, mut body, mut is_given_up) = (0, Vec::new(), false);
            loop {
                match server.told() {
                    Told::Head(stream, _, false) => second = stream,
                    Told::Data(stream, data, end) if stream == second => {
                        body.extend_from_slice(&data);
                        if body == b"one" {
                            server.send_head(stream, &[(":status", "103")], false);
                        }
                        if end {
                            assert!(is_given_up, "what is left of the first try is not wanted");
                            answer(&mut server, stream, Some(&body), "0");
                        }
                    }
                    Told::Reset(stream, _) if stream == first => is_given_up = true,
                    Told::End => return,
                    other => panic!("{other:?}"),
                }
            }
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = client.ask("POST", "/a.B/C", &[TYPE], false);
        client.send_data(stream, b"one", false);
        // The second try has begun.
        let Told::Head(_, fields, false) = client.told() else { panic!("no head") };
        assert_eq!(fields[0], (":status".to_owned(), "103".to_owned()));
        client.send_data(stream, b"two", false);
        client.send_data(stream, b"three", true);
        let body = b"onetwothree";
        assert_eq!(Answer::read(&mut client, stream).told(), (2, "0", &body[..]));
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 0.0);
    }

    fn a_head_goes_on_at_once_to_a_client_that_is_still_sending(driver) {
        let upstream = Upstream::serve(|peer, _| {
            let mut server = Http2::server(peer, &[]);
            while let Some((stream, ..)) = server.next_request() {
                server.send_head(stream, &[(":status", "200"), TYPE], false);
                assert_eq!(server.told(), Told::Data(stream, b"one".to_vec(), true));
                server.send_head(stream, &[("grpc-status", "14")], true);
            }
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = client.ask("POST", "/a.B/C", &[TYPE], false);
        assert!(matches!(client.told(), Told::Head(it, _, false) if it == stream));
        client.send_data(stream, b"one", true);
        assert_eq!(Answer::read(&mut client, stream).told(), (1, "14", &b""[..]));
        assert_eq!(gateway.metric("hangu_upstream_retries_total", &[]), 0.0);
    }

    fn informational_heads_pass_and_change_nothing(driver) {
        let (upstream, count) = server(|server, call| {
            server.send_head(call.stream, &[(":status", "103")], false);
            match call.number {
                0 => refuse(server, call.stream, &[("grpc-status", "14")]),
                _ => answer(server, call.stream, Some(&call.body), "0"),
            }
        });
        let gateway = setup(driver, &[upstream.address]).start();
        let mut client = Http2::client(gateway.connect(), &[]);
        let stream = call(&mut client, MESSAGE);
        assert_eq!(Answer::read(&mut client, stream).told(), (4, "0", MESSAGE));
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    fn calls_on_connections_of_other_workers_are_sent_again_there(driver) {
        let (upstream, count) = server(|server, call| match call.number % 3 {
            0 => refuse(server, call.stream, &[("grpc-status", "14")]),
            1 => answer(server, call.stream, None, "14"),
            _ => answer(server, call.stream, Some(&call.body), "0"),
        });
        let budget = json!({"budget": {"percent": 100, "min_per_second": 1000}});
        let gateway = setup(driver, &[upstream.address])
            .workers(3)
            .main(retry(budget))
            .main(json!({"share_connections": true, "connections_per_endpoint_max": 1}))
            .start();
        let mut clients: Vec<_> =
            (0..9).map(|_| Http2::client(gateway.connect(), &[])).collect();
        wait::until("each worker has a client", || {
            gateway.handle().load().iter().all(|it| *it > 0)
        });
        for client in &mut clients {
            let stream = call(client, MESSAGE);
            assert_eq!(Answer::read(client, stream).told(), (2, "0", MESSAGE));
        }
        assert_eq!(count.load(Ordering::SeqCst), 27);
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 0.0);
        assert_eq!(upstream.accepted(), 1);
    }

    fn a_call_of_a_browser_is_sent_again_as_the_call_that_it_became(driver) {
        let (upstream, count) = server(|server, call| match call.number {
            0 => refuse(server, call.stream, &[("grpc-status", "14")]),
            1 => answer(server, call.stream, None, "14"),
            _ => answer(server, call.stream, Some(&call.body), "0"),
        });
        let gateway =
            setup(driver, &[upstream.address]).listener(json!({"grpc_web": true})).start();
        let mut client = gateway.connect();
        client.send(
            "POST /a.B/C HTTP/1.1\r\nHost: t\r\nContent-Type: application/grpc-web-text\r\n\
             Content-Length: 16\r\n\r\nAAAAAAVoZWxsbw==",
        );
        let response = client.read_response("POST");
        // The message, and the trailers as a frame.
        assert_eq!(response.text(), "AAAAAAVoZWxsbw==gAAAABBncnBjLXN0YXR1czogMA0K");
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }
}
