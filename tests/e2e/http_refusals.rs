//! Requests that are refused before they are forwarded.

use hangu_tests::{Upstream, http::get};
use serde_json::json;

use crate::support::{Running, Setup};

/// Sends bytes on a new connection; the answer has that status, and the connection ends.
fn refused(gateway: &Running, bytes: impl AsRef<[u8]>, status: u16) {
    let mut client = gateway.connect();
    client.send(&bytes);
    let response = client.read_response("GET");
    let shown = bytes.as_ref()[..bytes.as_ref().len().min(80)].escape_ascii().to_string();
    assert_eq!(response.status(), status, "{shown}");
    assert!(!response.body.is_empty() && response.body.len() < 200, "{response:?}");
    client.expect_end();
}

on_every_driver! {
    fn what_cannot_be_read_in_one_way_gets_400_and_is_not_forwarded(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        for bytes in [
            "GARBAGE\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        ] {
            refused(&gateway, bytes, 400);
        }
        assert!(requests.try_recv().is_err(), "one of them was forwarded");
    }

    fn a_bad_chunk_ends_the_connection(driver) {
        let (upstream, _requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        // The head is forwarded before the bad chunk comes; so the answer is a 400 or a 502 of the
        // gateway's, but never a response of the upstream's to a cut-off request.
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
        assert_eq!(client.read_response("POST").status(), 400);
        client.expect_end();
    }

    fn limits_have_statuses_of_their_own(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"limits": {"http1": {
                "head_bytes_max": 4096, "target_bytes_max": 512, "fields_max": 20, "body_bytes_max": 1000,
            }}}))
            .start();
        let long = "x".repeat(600);
        refused(&gateway, format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
        let large = "y".repeat(5000);
        refused(&gateway, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {large}\r\n\r\n"), 431);
        let many: String = (0..30).map(|it| format!("X-{it}: 1\r\n")).collect();
        refused(&gateway, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431);
        refused(&gateway, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413);
        assert!(requests.try_recv().is_err(), "one of them was forwarded");
    }

    fn what_is_not_spoken_here_gets_501_or_505(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        refused(&gateway, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501);
        refused(&gateway, "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
        assert!(requests.try_recv().is_err(), "one of them was forwarded");
    }

    fn what_follows_a_refused_request_is_not_read(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{}", get("/smuggled")));
        assert_eq!(client.read_response("GET").status(), 400);
        client.expect_end();
        assert!(requests.try_recv().is_err(), "the second request was forwarded");
    }

    fn a_head_that_does_not_come_to_an_end_gets_408(driver) {
        let (upstream, _requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"timeouts": {"request_head": "150ms"}}))
            .start();
        refused(&gateway, "GET / HTTP/1.1\r\nHost: ", 408);
    }

    fn refusals_are_counted_by_reason(driver) {
        let (upstream, _requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        refused(&gateway, "GET / HTTP/1.1\r\n\r\n", 400);
        refused(&gateway, "GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505);
        gateway.wait_for_metric("hangu_downstream_errors_total", &[], 2.0);
    }
}
