//! What the gateway changes in a head: the client's address, the path.

use hangu_tests::{Upstream, http::get};
use serde_json::json;

use crate::support::Setup;

on_every_driver! {
    fn without_trusted_hops_the_clients_own_word_about_its_address_is_dropped(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\n\r\n");
        assert_eq!(client.read_response("GET").status(), 200);
        let request = requests.recv().expect("a request");
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    }

    fn with_a_trusted_hop_the_last_address_before_the_peer_is_kept(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address)
            .listener(json!({"xff": {"trusted_hops": 1}}))
            .start();
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 6.6.6.6, 10.0.0.1\r\n\r\n");
        assert_eq!(client.read_response("GET").status(), 200);
        let request = requests.recv().expect("a request");
        assert_eq!(request.field("x-forwarded-for"), Some("10.0.0.1, 127.0.0.1"));
    }

    fn a_path_has_one_spelling_when_it_is_matched_and_forwarded(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address)
            .hosts(json!([{"name": "h", "domains": ["*"], "routes": [
                {"match": {"prefix": "/public/"}, "route": {"cluster": "main"}},
            ]}]))
            .start();
        let mut client = gateway.connect();
        for (sent, forwarded) in [
            ("/public/a", "/public/a"),
            ("/public/./a//b", "/public/a//b"),
            ("/x/../public/a?q=/../", "/public/a?q=/../"),
            ("/public/%7euser/%41%c3%a9", "/public/~user/A%C3%A9"),
            ("/%70ublic/", "/public/"),
        ] {
            client.send(get(sent));
            assert_eq!(client.read_response("GET").status(), 200, "{sent}");
            assert_eq!(requests.recv().expect("a request").target(), forwarded);
        }
        for outside in ["/public/../secret", "/public/%2e%2e/secret", "/public/.%2E/secret"] {
            client.send(get(outside));
            assert_eq!(client.read_response("GET").status(), 404, "{outside}");
        }
    }

    fn a_path_that_upstreams_read_in_different_ways_is_refused(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        for path in ["/a%2fb", "/a%5Cb", "/a%00b", "/a%zz"] {
            let mut client = gateway.connect();
            client.send(get(path));
            assert_eq!(client.read_response("GET").status(), 400, "{path}");
        }
        assert!(requests.try_recv().is_err(), "one of them was forwarded");
    }

    fn an_absolute_target_gives_the_host(driver) {
        let (upstream, requests) = Upstream::http_echo();
        let gateway = Setup::http(driver, upstream.address).start();
        let mut client = gateway.connect();
        client.send("GET http://example.com/a HTTP/1.1\r\nHost: example.com\r\n\r\n");
        assert_eq!(client.read_response("GET").status(), 200);
        let request = requests.recv().expect("a request");
        assert_eq!((request.target(), request.field("host")), ("/a", Some("example.com")));
    }
}
