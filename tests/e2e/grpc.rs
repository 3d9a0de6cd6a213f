//! gRPC calls: deadlines, how they are counted, and calls of browsers. The peers speak HTTP/1.1
//! here, which carries all of it as well.

use std::sync::{Mutex, mpsc::channel};

use hangu_tests::{
    Upstream,
    http::{Message, chunk, get},
    upstream::deaf_address,
};
use serde_json::json;

use crate::support::Setup;

/// A call with these further field lines.
fn call(content_type: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST /a.Greeter/Hello HTTP/1.1\r\nHost: t\r\nContent-Type: {content_type}\r\n{fields}\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A gRPC server's answer: what it was asked, and trailers.
fn answer(request: &Message) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    bytes.extend(chunk(&request.body));
    bytes.extend(b"0\r\nGrpc-Status: 0\r\ngrpc-message: fine\r\n\r\n");
    bytes
}

/// How many microseconds a request says that its caller waits.
fn micros(request: &Message) -> u64 {
    let text = request.field("grpc-timeout").expect("a timeout");
    text.strip_suffix('u').and_then(|it| it.parse().ok()).expect("microseconds")
}

const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";
const TRAILERS: &[u8] = b"\x80\0\0\0\x24grpc-status: 0\r\ngrpc-message: fine\r\n";

on_every_driver! {
    fn what_is_left_of_a_deadline_is_forwarded_and_the_smaller_one_counts(driver) {
        let (upstream, requests) = Upstream::http(answer);
        let gateway = Setup::http(driver, upstream.address).timeout("10s").start();
        let mut client = gateway.connect();
        for (said, at_most) in [("Grpc-Timeout: 5S\r\n", 5_000_000), ("", 10_000_000), ("grpc-timeout: 1M\r\n", 10_000_000)] {
            client.send(call("application/grpc", said, MESSAGE));
            assert_eq!(client.read_response("POST").status(), 200);
            let request = requests.recv().expect("a request");
            let left = micros(&request);
            assert!(left <= at_most && left > at_most / 2, "{left} of {at_most}");
            let count = request.fields.iter().filter(|it| it.0.eq_ignore_ascii_case("grpc-timeout"));
            assert_eq!(count.count(), 1);
        }
        // What is no call keeps what it says.
        client.send("POST / HTTP/1.1\r\nHost: t\r\ngrpc-timeout: 5S\r\nContent-Length: 0\r\n\r\n");
        client.read_response("POST");
        assert_eq!(requests.recv().expect("a request").field("grpc-timeout"), Some("5S"));
    }

    fn what_is_left_shrinks_while_a_call_waits_for_a_connection(driver) {
        let (go_on, may_answer) = channel::<()>();
        let may_answer = Mutex::new(may_answer);
        let (upstream, requests) = Upstream::http(move |request| {
            if request.target() == "/slow" {
                let _ = may_answer.lock().expect("one at a time").recv();
            }
            answer(request)
        });
        let (deaf, _full) = deaf_address();
        let gateway = Setup::http(driver, upstream.address)
            .cluster("deaf", "http1", &[deaf])
            .main(json!({"connections_per_endpoint_max": 1}))
            .hosts(json!([{"name": "all", "domains": ["*"], "routes": [
                {"match": {"path": "/deaf"}, "route": {"cluster": "deaf", "timeout": "200ms"}},
                {"match": {"prefix": "/"}, "route": {"cluster": "main"}},
            ]}]))
            .start();
        let mut first = gateway.connect();
        first.send(get("/slow"));
        gateway.wait_for_metric("hangu_upstream_requests_active", &["main"], 1.0);
        let mut second = gateway.connect();
        second.send(call("application/grpc", "grpc-timeout: 30S\r\n", MESSAGE));
        gateway.wait_for_metric("hangu_upstream_requests_pending", &["main"], 1.0);
        let mut clock = gateway.connect();
        clock.send(get("/deaf"));
        assert_eq!(clock.read_response("GET").status(), 504);
        go_on.send(()).expect("it waits");
        assert_eq!(second.read_response("POST").status(), 200);
        assert_eq!(requests.recv().expect("the first").target(), "/slow");
        let left = micros(&requests.recv().expect("the second"));
        assert!(left <= 29_800_000, "{left}");
    }

    fn a_deadline_that_passes_is_told_in_the_words_of_the_caller(driver) {
        let (deaf, _full) = deaf_address();
        let gateway =
            Setup::http(driver, deaf).listener(json!({"grpc_web": true})).start();
        let mut client = gateway.connect();
        client.send(call("application/grpc", "grpc-timeout: 50m\r\n", MESSAGE));
        assert_eq!(client.read_response("POST").status(), 504);
        client.send(call("application/grpc-web", "grpc-timeout: 50m\r\n", MESSAGE));
        let response = client.read_response("POST");
        assert_eq!(response.status(), 200);
        assert_eq!(response.field("content-type"), Some("application/grpc-web"));
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert!(text.starts_with('\u{fffd}') && text.contains("grpc-status: 4\r\n"), "{text}");
        gateway.wait_for_metric(
            "hangu_rpc_requests_total",
            &["a.Greeter", "Hello", "result=\"gateway\""],
            2.0,
        );
    }

    fn a_timeout_that_cannot_be_read_is_refused_and_counted(driver) {
        let (upstream, _requests) = Upstream::http(answer);
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"grpc_web": true}))
            .start();
        let mut client = gateway.connect();
        for said in ["1", "-1S", "1x", "123456789n", "5S\r\ngrpc-timeout: 5S"] {
            client.send(call("application/grpc", &format!("grpc-timeout: {said}\r\n"), b""));
            assert_eq!(client.read_response("POST").status(), 400, "{said}");
        }
        client.send(call("application/grpc-web+proto", "grpc-timeout: never\r\n", b""));
        let body = client.read_response("POST").body;
        assert!(String::from_utf8_lossy(&body).contains("grpc-status: 3\r\n"));
        gateway.wait_for_metric("hangu_downstream_errors_total", &["grpc_timeout_malformed"], 6.0);
    }

    fn calls_are_counted_by_service_method_and_what_their_status_says(driver) {
        let (upstream, _requests) = Upstream::http(|request| match request.field("want") {
            Some(status) => format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: {status}\r\n\
                 Content-Length: 0\r\n\r\n"
            )
            .into_bytes(),
            None => answer(request),
        });
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        let caller = "tri-consumer-appname: shop\r\n";
        client.send(call("application/grpc+proto", caller, MESSAGE));
        client.read_response("POST");
        for status in ["5", "14", "14"] {
            let fields = format!("{caller}want: {status}\r\n");
            client.send(call("application/grpc", &fields, MESSAGE));
            client.read_response("POST");
        }
        for (result, count) in [("success", 1.0), ("application_error", 1.0), ("provider_error", 2.0)] {
            let result = format!("result=\"{result}\"");
            let labels = ["service=\"a.Greeter\"", "method=\"Hello\"", "caller=\"shop\"", &result];
            gateway.wait_for_metric("hangu_rpc_requests_total", &labels, count);
        }
    }

    fn a_call_of_a_browser_becomes_one_of_grpc_and_its_trailers_a_frame(driver) {
        let (upstream, requests) = Upstream::http(answer);
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"grpc_web": true}))
            .start();
        let mut client = gateway.connect();
        client.send_byte_by_byte(call("application/grpc-web+proto", "X-Grpc-Web: 1\r\n", MESSAGE));
        let response = client.read_response("POST");
        assert_eq!(response.field("content-type"), Some("application/grpc-web"));
        assert_eq!(response.body, [MESSAGE, TRAILERS].concat());
        let request = requests.recv().expect("a request");
        assert_eq!(request.field("content-type"), Some("application/grpc+proto"));
        assert_eq!(request.field("te"), Some("trailers"));
        assert_eq!(request.body, MESSAGE);
    }

    fn a_browser_that_reads_no_bytes_gets_texts(driver) {
        let (upstream, requests) = Upstream::http(answer);
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"grpc_web": true}))
            .start();
        let mut client = gateway.connect();
        let text = b"AAAAAAVoZWxsbw==";
        client.send_byte_by_byte(call("application/grpc-web-text", "", text));
        let response = client.read_response("POST");
        assert_eq!(response.field("content-type"), Some("application/grpc-web-text"));
        let trailers = "gAAAACRncnBjLXN0YXR1czogMA0KZ3JwYy1tZXNzYWdlOiBmaW5lDQo=";
        assert_eq!(response.text(), format!("AAAAAAVoZWxsbw=={trailers}"));
        assert_eq!(requests.recv().expect("a request").body, MESSAGE);
        // What is no text ends the call, in its own words.
        client.send(call("application/grpc-web-text", "", b"AAAA?"));
        let response = client.read_response("POST");
        assert_eq!(response.field("content-type"), Some("application/grpc-web-text"));
        gateway.wait_for_metric("hangu_upstream_errors_total", &["grpc_web_malformed"], 1.0);
    }

    fn calls_of_browsers_pass_as_they_are_where_nobody_asks_for_more(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send(call("application/grpc-web-text", "", b"AAAA?"));
        assert_eq!(client.read_response("POST").text(), "AAAA?");
        let request = requests.recv().expect("a request");
        assert_eq!(request.field("content-type"), Some("application/grpc-web-text"));
    }
}
