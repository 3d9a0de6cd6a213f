//! curl as a client.

use std::{net::SocketAddr, process::Command};

use hangu_tests::{
    Upstream,
    http::{Message, ok},
};
use serde_json::json;

use crate::gateway::{Directory, Running, config, free_port};

/// Runs curl; its output and exit code.
fn curl(arguments: &[&str]) -> (String, i32) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"])
        .args(arguments)
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    (text + &errors, output.status.code().unwrap_or(-1))
}

fn describe(request: &Message) -> Vec<u8> {
    ok(format!("{} {} {}", request.method(), request.target(), request.body.len()).as_bytes())
}

#[test]
fn curl_is_served_in_all_its_ways() {
    let (upstream, _requests) = Upstream::http(describe);
    let hosts = json!([{"name": "web", "domains": ["*"], "routes": [
        {"match": {"prefix": "/here"}, "route": {"cluster": "main"}},
    ]}]);
    let place = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let clusters = [("main", upstream.address)];
    let _gateway = Running::start("curl", config(place, "http1", hosts, &clusters));
    let url = format!("http://{place}/here");
    let directory = Directory::new("curl-files");
    let body = "x".repeat(3 << 20);
    let file = directory.write("body", &body);
    let data = format!("@{}", file.display());
    let runs = |arguments: &[&str], expected: &str| {
        assert_eq!(curl(arguments), (expected.to_owned(), 0), "{arguments:?}");
    };
    runs(&[&url], "GET /here 0");
    runs(&["--http1.0", &url], "GET /here 0");
    runs(&["--request", "DELETE", &url], "DELETE /here 0");
    runs(&["--data", "abc", &url], "POST /here 3");
    runs(&["--data-binary", &data, &url], "POST /here 3145728");
    // curl asks for 100-continue before a large body.
    runs(&["--upload-file", &file.display().to_string(), &url], "PUT /here 3145728");
    runs(
        &["--upload-file", &file.display().to_string(), "--header", "Expect: 100-continue", &url],
        "PUT /here 3145728",
    );
    runs(
        &["--header", "Transfer-Encoding: chunked", "--data-binary", &data, &url],
        "POST /here 3145728",
    );
    runs(&["--path-as-is", &format!("http://{place}/x/../here/%7ea")], "GET /here/~a 0");
    runs(&["--request-target", &url, &url], "GET /here 0");
    // Two transfers over one connection: the second one says so.
    let (text, code) = curl(&["--verbose", &url, &url]);
    assert!(code == 0 && text.contains("Re-using existing connection"), "{text}");
    let (text, code) = curl(&["--head", &url]);
    assert!(code == 0 && text.starts_with("HTTP/1.1 200"), "{text}");
    // curl's own judgement of a 404.
    let (text, code) = curl(&["--fail", &format!("http://{place}/elsewhere")]);
    assert_eq!(code, 22, "{text}");
}
