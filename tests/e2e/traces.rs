//! Trace ids that are made at the edge, and what the access log says of a request.

use std::{collections::HashSet, fs, path::PathBuf};

use hangu_tests::{
    Upstream,
    bolt::{self, Frame, Version},
    http, wait,
};
use serde_json::{Value, json};

use crate::{
    reload::slow,
    support::{DriverKind, Setup},
};

/// The threads of a provider are busy.
const BUSY: u16 = 4;

const TRACE_ID: &str = "rpc_trace_context.sofaTraceId";
const RPC_ID: &str = "rpc_trace_context.sofaRpcId";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A file of the access log in a directory of its own, which goes with it.
struct Log(PathBuf);

impl Log {
    fn new(name: &str, driver: DriverKind) -> Self {
        let name = format!("hangu-e2e-{name}-{driver:?}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        Self(directory.join("access.log"))
    }

    fn set(&self, setup: &mut Setup, format: &str) {
        setup.config["access_log"] =
            json!({"enabled": true, "path": self.0.display().to_string(), "format": format});
    }

    /// So many lines, once they are there.
    fn lines(&self, count: usize) -> Vec<String> {
        wait::until_some("the lines are written", || {
            let text = fs::read_to_string(&self.0).ok()?;
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            (lines.len() == count && text.ends_with('\n')).then_some(lines)
        })
    }

    fn records(&self, count: usize) -> Vec<Value> {
        let lines = self.lines(count);
        lines.iter().map(|it| serde_json::from_str(it).expect("JSON")).collect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(directory) = self.0.parent() {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

fn request(id: u32, service: &str, method: &str, app: &str) -> Frame {
    bolt::request(id, service, method, b"x").with("app", app)
}

on_every_driver! {
    fn a_bolt_request_without_a_trace_gets_one_and_all_else_stays_as_it_was(driver) {
        let (upstream, requests) = Upstream::bolt_echo();
        let generate = json!({"trace_ids": "generate"});
        let log = Log::new("bolt-trace", driver);
        let mut setup = Setup::bolt(driver, upstream.address).listener(generate);
        log.set(&mut setup, "json");
        let gateway = setup.start();
        let mut client = gateway.connect();
        let mut ids = HashSet::new();
        for version in [Version::V1, Version::V2, Version::V2Crc] {
            let sent = request(77, "demo.A:1.0", "get", "shop").version(version);
            client.send_frame(&sent);
            assert_eq!(client.read_frame(), sent.echo());
            let mut came = requests.recv().expect("a request");
            let id = came.field(TRACE_ID).expect("a trace").to_vec();
            let id = String::from_utf8(id).expect("digits");
            assert!(id.len() > 25 && id.ends_with(&std::process::id().to_string()), "{id}");
            assert!(ids.insert(id), "{ids:?}");
            assert_eq!(came.field(RPC_ID), Some(&b"0"[..]));
            came.fields.truncate(sent.fields.len());
            (came.id, came.timeout) = (sent.id, sent.timeout);
            assert_eq!(came, sent);
        }
        let sent = request(78, "demo.A:1.0", "get", "shop").with(TRACE_ID, "c0a8").with(RPC_ID, "0.1");
        client.send_frame(&sent);
        client.read_frame();
        assert_eq!(requests.recv().expect("a request").fields, sent.fields);
        let records = log.records(4);
        for record in &records[..3] {
            assert!(ids.contains(record["trace_id"].as_str().expect("a trace")), "{record}");
            assert_eq!((&record["span_id"], &record["caller_app"]), (&json!("0"), &json!("shop")));
        }
        assert_eq!((&records[3]["trace_id"], &records[3]["span_id"]), (&json!("c0a8"), &json!("0.1")));
    }

    fn a_bolt_request_without_fields_is_left_alone(driver) {
        let (upstream, requests) = Upstream::bolt_echo();
        let generate = json!({"trace_ids": "generate"});
        let gateway = Setup::bolt(driver, upstream.address).listener(generate).start();
        let mut client = gateway.connect();
        let sent = Frame { fields: Vec::new(), class: b"com.example.Own".to_vec(), ..request(1, "", "", "") };
        client.send_frame(&sent);
        client.read_frame();
        let came = requests.recv().expect("a request");
        assert_eq!((came.fields, came.class), (sent.fields, sent.class));
    }

    fn an_http_request_without_a_trace_gets_one_and_what_is_in_one_stays(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let generate = json!({"trace_ids": "generate"});
        let log = Log::new("http-trace", driver);
        let mut setup = Setup::http(driver, upstream.address)
            .listener(generate)
            .main(json!({"app": "bank"}));
        setup.config["zone"] = json!("GZ00B");
        let address = upstream.address.to_string();
        setup.config["clusters"][0]["endpoints"] =
            json!([{"address": address, "labels": {"zone": "GZ00A"}}]);
        log.set(&mut setup, "json");
        let gateway = setup.start();
        let mut client = gateway.connect();
        let mut parents = Vec::new();
        let fields = [
            String::new(),
            "traceparent: rubbish\r\ntracestate: a=b\r\n".to_owned(),
            format!("Traceparent: {TRACEPARENT}\r\ntracestate: a=b\r\n"),
            "SOFA-TraceId: c0a8\r\nSOFA-RpcId: 0.3\r\nsofaCallerApp: shop\r\n".to_owned(),
        ];
        for fields in &fields {
            client.send(format!("GET /a HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
            assert_eq!(client.read_response("GET").status(), 200);
            let came = requests.recv().expect("a request");
            let state = came.field("tracestate").map(str::to_owned);
            parents.push((came.field("traceparent").map(str::to_owned), state));
        }
        let made = |at: usize| parents[at].0.as_deref().filter(|it| it.len() == 55).expect("one");
        assert!(made(0) != made(1) && parents[1].1.is_none(), "{parents:?}");
        assert_eq!(parents[2], (Some(TRACEPARENT.to_owned()), Some("a=b".to_owned())));
        assert_eq!(parents[3].0, None);
        let records = log.records(4);
        let logged = |at: usize| (records[at]["trace_id"].clone(), records[at]["span_id"].clone());
        assert_eq!(logged(0), (json!(made(0)[3..35]), json!(made(0)[36..52])));
        assert_eq!(logged(2), (json!(TRACEPARENT[3..35]), json!(TRACEPARENT[36..52])));
        assert_eq!(logged(3), (json!("c0a8"), json!("0.3")));
        let last = &records[3];
        assert_eq!((&last["caller_app"], &last["callee_app"]), (&json!("shop"), &json!("bank")));
        assert_eq!((&last["zone"], &last["callee_zone"]), (&json!("GZ00B"), &json!("GZ00A")));
    }

    fn a_request_that_its_listener_refuses_is_logged_with_trace_and_caller(driver) {
        let (upstream, asked, go) = slow("x");
        let log = Log::new("refused", driver);
        let limits = json!({"requests_max": 1, "trace_ids": "generate", "protocols": ["http1", "bolt"]});
        let mut setup = Setup::http(driver, upstream.address).listener(limits).hosts(json!([
            {"name": "web", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "main"}}]},
            {"name": "rpc", "services": ["*"], "routes": [{"match": {}, "route": {"cluster": "rpc"}}]},
        ])).cluster("rpc", "bolt", &[upstream.address]);
        log.set(&mut setup, "json");
        let gateway = setup.start();
        let mut first = gateway.connect();
        first.send(http::get("/"));
        asked.recv().expect("the request");
        let mut refused = gateway.connect();
        let says = "SOFA-TraceId: c0a8\r\nSOFA-RpcId: 0.3\r\nsofaCallerApp: shop\r\n";
        for fields in [says, ""] {
            refused.send(format!("GET /refused HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
            assert_eq!(refused.read_response("GET").status(), 503);
        }
        let sent = request(1, "demo.A:1.0", "get", "shop").with(TRACE_ID, "c0a8").with(RPC_ID, "0.3");
        let mut refused = gateway.connect();
        refused.send_frame(&sent);
        assert_eq!(refused.read_frame().status, BUSY);
        let records = log.records(3);
        for record in &records {
            assert_eq!(record["failure"], "listener_requests_max", "{record}");
        }
        for record in [&records[0], &records[2]] {
            let call = ["trace_id", "span_id", "caller_app"].map(|it| record[it].clone());
            assert_eq!(call, [json!("c0a8"), json!("0.3"), json!("shop")]);
        }
        // None is made for what goes nowhere.
        assert!(records[1]["trace_id"].is_null(), "{}", records[1]);
        go.send(()).expect("the upstream waits");
        assert_eq!(first.read_response("GET").status(), 200);
    }

    fn the_access_log_has_the_operators_form_and_goes_on_in_a_new_file(driver) {
        let (upstream, _requests) = Upstream::http_echo();
        let log = Log::new("format", driver);
        let mut setup = Setup::http(driver, upstream.address);
        log.set(&mut setup, "\"%{method} %{path}\" %{status} %{caller_app} %{worker}");
        let gateway = setup.start();
        let mut client = gateway.connect();
        client.send(http::get("/a%22b"));
        client.read_response("GET");
        assert_eq!(log.lines(1), ["\"GET /a%22b\" 200 - 0"]);
        let moved = log.0.with_extension("1");
        fs::rename(&log.0, &moved).expect("a move");
        gateway.handle().reopen_log();
        wait::until("the new file is there", || log.0.exists());
        client.send(http::get("/c"));
        client.read_response("GET");
        assert_eq!(log.lines(1), ["\"GET /c\" 200 - 0"]);
        assert_eq!(fs::read_to_string(&moved).expect("the old file").lines().count(), 1);
        assert_eq!(gateway.metric("hangu_access_log_reopened_total", &[]), 1.0);
    }
}
