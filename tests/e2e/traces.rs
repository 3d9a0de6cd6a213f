//! Trace ids that are made at the edge, and what the access log says of a request.

use hangu_tests::{Upstream, bolt, http::get, wait};
use serde_json::{Value, json};

use crate::support::Setup;

const CAME: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

on_every_driver! {
    fn an_http_request_without_a_trace_gets_one_and_one_that_has_it_keeps_it(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"trace_ids": "generate"}))
            .start();
        let mut client = gateway.connect();
        let mut forwarded = |field: &str| {
            client.send(get("/").replacen("\r\n", &format!("\r\n{field}"), 1));
            assert_eq!(client.read_response("GET").status(), 200);
            requests.recv().expect("the request")
        };
        let made = [(); 2].map(|()| {
            let made = forwarded("").field("traceparent").expect("a trace").to_owned();
            let parts: Vec<_> = made.split('-').map(str::len).collect();
            assert_eq!(parts, [2, 32, 16, 2], "{made}");
            made
        });
        assert_ne!(made[0], made[1]);
        let kept = forwarded(&format!("traceparent: {CAME}\r\n"));
        assert_eq!(kept.field("traceparent"), Some(CAME));
        let replaced = forwarded("traceparent: 00-nonsense\r\n");
        let replaced = replaced.field("traceparent").expect("a trace").to_owned();
        assert!(replaced.starts_with("00-") && replaced.len() == CAME.len(), "{replaced}");
        assert_eq!(forwarded("SOFA-TraceId: 0a0a0a0a1\r\n").field("traceparent"), None);
    }

    fn a_call_without_a_trace_gets_one_and_one_that_has_it_goes_on_as_it_came(driver) {
        const ID: &str = "rpc_trace_context.sofaTraceId";
        let (upstream, calls) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address)
            .listener(json!({"trace_ids": "generate"}))
            .start();
        let mut client = gateway.connect();
        let frame = bolt::request(1, "a.B:1.0", "m", b"content");
        for frame in [frame.clone(), frame.with(ID, "0a0a0a0a1700000000000100012345")] {
            client.send_frame(&frame);
            let answer = client.read_frame();
            assert_eq!((answer.id, &answer.content), (frame.id, &frame.content));
            let forwarded = calls.recv().expect("the call");
            let id = forwarded.field(ID).expect("a trace").to_owned();
            match frame.field(ID) {
                Some(came) => assert_eq!(id, came),
                None => assert!(id.len() > 25 && id.is_ascii(), "{id:?}"),
            }
            assert_eq!(forwarded.content, b"content");
        }
    }

    fn the_access_log_is_written_in_the_form_and_with_the_fields_that_are_asked_for(driver) {
        let directory = tempfile();
        let (upstream, _requests) = Upstream::http_echo();
        for format in ["json", "%{status} %{trace_id} %{path} [%{cluster}]"] {
            let path = directory.join(format!("{driver}-{}.log", format.len()));
            let mut setup = Setup::http(driver, upstream.address);
            setup.config["zone"] = json!("z1");
            setup.config["access_log"] = json!({"path": path, "format": format});
            let gateway = setup.start();
            let mut client = gateway.connect();
            let request = get("/a").replacen("\r\n", &format!("\r\ntraceparent: {CAME}\r\n"), 1);
            client.send(request);
            assert_eq!(client.read_response("GET").status(), 200);
            let moved = path.with_extension("1");
            let line = wait::until_some("a line", || {
                std::fs::read_to_string(&path).ok().filter(|it| it.ends_with('\n'))
            });
            let trace = &CAME[3..35];
            if format == "json" {
                let line: Value = serde_json::from_str(&line).expect("JSON");
                assert_eq!(line["trace_id"], trace);
                assert_eq!(line["zone"], "z1");
            } else {
                assert_eq!(line, format!("200 {trace} /a [main]\n"));
            }
            std::fs::rename(&path, &moved).expect("it is moved");
            gateway.handle().reopen_log();
            wait::until("it is opened anew", || path.exists());
            client.send(get("/b"));
            assert_eq!(client.read_response("GET").status(), 200);
            wait::until("the next line is in the new file", || {
                std::fs::read_to_string(&path).is_ok_and(|it| it.contains("/b"))
            });
        }
        std::fs::remove_dir_all(directory).expect("it is removed");
    }
}

/// A directory of this test's own.
fn tempfile() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("hangu-traces-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).expect("a directory");
    path
}
