//! Upstreams that fail over HTTP/1.1.

use std::{
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use hangu_tests::{
    Peer,
    http::{get, ok, post},
    peer::Ending,
    upstream::deaf_address,
};
use serde_json::json;

use crate::scene::{
    DELAY_MAX, Kind, PATIENCE, PATIENCE_TEXT, Scene, refusing, serve_echo, took_patience,
};

const PART_OF_A_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Le";
const PART_OF_A_BODY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";

/// Reads a request, sends this, and goes: with a FIN, or with an RST once the gateway has had the
/// bytes.
fn breaks_off(bytes: &'static str, ending: Ending) -> impl Fn(Peer, usize) + Send + Sync {
    move |mut peer, _| {
        peer.read_request();
        peer.send(bytes);
        match ending {
            Ending::Closed => {}
            Ending::Reset => {
                // An RST overtakes what the kernel has not handed over.
                std::thread::sleep(Duration::from_millis(50));
                peer.reset();
            }
        }
    }
}

/// One request, whose answer by the gateway has this status.
fn gets(scene: &Scene, status: u16) {
    let mut client = scene.connect();
    client.send(get("/faulty"));
    assert_eq!(client.read_response("GET").status(), status);
}

fn gives_502(scene: Scene, reason: &str) {
    gets(&scene, 502);
    scene.counted_once(reason);
    scene.ends();
}

fn is_cut_off(scene: Scene, reason: &str) {
    let mut client = scene.connect();
    client.send(get("/faulty"));
    assert_eq!(client.read_head().status(), 200);
    assert_eq!(client.read_to_end().0, b"hello");
    scene.counted_once(reason);
    scene.ends();
}

fn serves_and_goes(scene: Scene) {
    for _ in 0..3 {
        let mut client = scene.connect();
        client.send(get("/faulty"));
        assert_eq!(client.read_response("GET").text(), "whole");
        let idle = "hangu_endpoint_connections_active";
        scene.wait_for_metric(idle, &["cluster=\"main\""], 0.0);
    }
    scene.ends();
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole";

/// Sends each byte after a pause, until the gateway has had enough.
fn byte_by_byte(peer: &mut Peer, text: &str, pause: Duration) {
    for byte in text.as_bytes() {
        std::thread::sleep(pause);
        if peer.try_send([*byte]).is_err() {
            return;
        }
    }
}

on_every_driver! {
    fn fault_01_a_reset_before_the_head_gives_502(driver) {
        gives_502(Scene::http(driver, breaks_off("", Ending::Reset), |it| it), "upstream_closed");
    }

    fn fault_02_a_reset_in_the_head_gives_502(driver) {
        let script = breaks_off(PART_OF_A_HEAD, Ending::Reset);
        gives_502(Scene::http(driver, script, |it| it), "upstream_closed");
    }

    fn fault_03_a_reset_in_the_body_is_seen_by_the_client(driver) {
        let script = breaks_off(PART_OF_A_BODY, Ending::Reset);
        is_cut_off(Scene::http(driver, script, |it| it), "upstream_closed");
    }

    fn fault_04_a_reset_after_the_response_is_seen_by_nobody(driver) {
        serves_and_goes(Scene::http(driver, breaks_off(WHOLE, Ending::Reset), |it| it));
    }

    fn fault_05_an_end_before_the_head_gives_502(driver) {
        gives_502(Scene::http(driver, breaks_off("", Ending::Closed), |it| it), "closed_before_response");
    }

    fn fault_06_an_end_in_the_head_gives_502(driver) {
        let script = breaks_off(PART_OF_A_HEAD, Ending::Closed);
        gives_502(Scene::http(driver, script, |it| it), "response_truncated");
    }

    fn fault_07_an_end_in_the_body_is_seen_by_the_client(driver) {
        let script = breaks_off(PART_OF_A_BODY, Ending::Closed);
        is_cut_off(Scene::http(driver, script, |it| it), "body_truncated");
    }

    fn fault_08_an_end_after_the_response_is_seen_by_nobody(driver) {
        serves_and_goes(Scene::http(driver, breaks_off(WHOLE, Ending::Closed), |it| it));
    }

    fn fault_09_no_answer_within_the_timeout_gives_504(driver) {
        let script = |mut peer: Peer, _| {
            peer.read_request();
            peer.expect_end();
        };
        let scene = Scene::http(driver, script, |it| it.timeout(PATIENCE_TEXT));
        let began = Instant::now();
        gets(&scene, 504);
        took_patience(began);
        scene.ends();
    }

    fn fault_10_an_upstream_that_does_not_take_the_connection_gives_504(driver) {
        let (address, mut kept) = deaf_address();
        let change = json!({"connect_timeout": PATIENCE_TEXT});
        let scene = Scene::at(driver, Kind::Http, address, |it| it.main(change));
        let began = Instant::now();
        gets(&scene, 504);
        took_patience(began);
        scene.counted_once("connect_timed_out");
        let listener = kept.remove(0);
        drop(kept);
        let _upstream = serve_echo(listener, Kind::Http);
        scene.ends();
    }

    fn fault_11_an_upstream_that_refuses_gives_502_at_once(driver) {
        let (address, socket) = refusing();
        let scene = Scene::at(driver, Kind::Http, address, |it| it);
        let began = Instant::now();
        gets(&scene, 502);
        assert!(began.elapsed() < DELAY_MAX);
        scene.counted_once("connect_failed");
        let _upstream = serve_echo(socket, Kind::Http);
        scene.ends();
    }

    fn fault_12_a_head_that_comes_byte_by_byte_has_the_time_of_the_route(driver) {
        let script = |mut peer: Peer, _| {
            peer.read_request();
            byte_by_byte(&mut peer, WHOLE, PATIENCE / 5);
        };
        let scene = Scene::http(driver, script, |it| it.timeout(PATIENCE_TEXT));
        let began = Instant::now();
        gets(&scene, 504);
        took_patience(began);
        scene.ends();
    }

    fn fault_13_a_body_that_comes_byte_by_byte_goes_on_byte_by_byte(driver) {
        let script = |mut peer: Peer, _| {
            peer.read_request();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
            byte_by_byte(&mut peer, "abc", PATIENCE);
        };
        let scene = Scene::http(driver, script, |it| it);
        let mut client = scene.connect();
        client.send(get("/faulty"));
        assert_eq!(client.read_head().status(), 200);
        for byte in b"abc" {
            let began = Instant::now();
            assert_eq!(client.read_exactly(1), [*byte]);
            let took = began.elapsed();
            assert!((PATIENCE / 2..PATIENCE + DELAY_MAX).contains(&took), "it took {took:?}");
        }
        scene.ends();
    }

    fn fault_14_garbage_instead_of_a_head_gives_502(driver) {
        let script = breaks_off("\0\u{1}\u{2} this is no HTTP\r\n\r\n", Ending::Closed);
        gives_502(Scene::http(driver, script, |it| it), "version_not_supported");
    }

    fn fault_15_what_comes_after_a_response_reaches_nobody(driver) {
        let script = |mut peer: Peer, _| {
            peer.read_request();
            peer.send([WHOLE, WHOLE].concat());
            peer.read_to_end();
        };
        let scene = Scene::http(driver, script, |it| it);
        for _ in 0..3 {
            let mut client = scene.connect();
            client.send(get("/faulty"));
            assert_eq!(client.read_response("GET").text(), "whole");
            let all = "hangu_endpoint_connections_active";
            scene.wait_for_metric(all, &["cluster=\"main\""], 0.0);
            assert!(client.received().is_empty(), "more than the response came");
        }
        assert_eq!(scene.faulty().accepted(), 3, "such a connection is not used again");
        scene.ends();
    }

    fn fault_16_an_answer_before_the_request_ends_is_passed_on(driver) {
        let script = |mut peer: Peer, _| {
            peer.read_head();
            peer.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        };
        let scene = Scene::http(driver, script, |it| it);
        let mut client = scene.connect();
        client.send("POST /faulty HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\nbegin");
        let began = Instant::now();
        assert_eq!(client.read_response("POST").status(), 413);
        assert!(began.elapsed() < DELAY_MAX);
        scene.ends();
    }

    fn fault_17_an_answer_that_nobody_asked_for_reaches_nobody(driver) {
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = Mutex::new(may_go);
        let script = move |mut peer: Peer, _| {
            peer.read_request();
            peer.send(ok(b"asked for"));
            may_go.lock().expect("no poison").recv().expect("the test goes on");
            peer.send(ok(b"not asked for"));
            peer.read_to_end();
        };
        let scene = Scene::http(driver, script, |it| it);
        for _ in 0..3 {
            let mut client = scene.connect();
            client.send(get("/faulty"));
            assert_eq!(client.read_response("GET").text(), "asked for");
            go.send(()).expect("the upstream waits");
            let all = "hangu_endpoint_connections_active";
            scene.wait_for_metric(all, &["cluster=\"main\""], 0.0);
        }
        scene.ends();
    }

    fn fault_18_a_huge_head_gives_502(driver) {
        let script = |mut peer: Peer, _| {
            peer.read_request();
            let field = format!("X-Huge: {}\r\n", "x".repeat(1000));
            // The gateway closes before it has all.
            let _ = peer.try_send(format!("HTTP/1.1 200 OK\r\n{}\r\n", field.repeat(5000)));
        };
        gives_502(Scene::http(driver, script, |it| it), "fields_too_large");
    }

    fn fault_19_informational_responses_without_end_give_502(driver) {
        let script = |mut peer: Peer, _| {
            peer.read_request();
            while peer.try_send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        gives_502(Scene::http(driver, script, |it| it), "too_many_informational");
    }

    fn fault_20_a_kept_connection_that_closes_as_it_is_used_costs_no_get(driver) {
        let script = |mut peer: Peer, number: usize| {
            peer.read_request();
            peer.send(ok(b"first"));
            if number == 0 {
                peer.read_request();
                return peer.reset();
            }
            peer.read_request();
            peer.send(ok(b"second"));
        };
        let scene = Scene::http(driver, script, |it| it);
        let mut client = scene.connect();
        for _ in 0..2 {
            client.send(get("/faulty"));
            assert_eq!(client.read_response("GET").text(), "first");
        }
        // What may have been worked on is not sent twice.
        client.send(post("/faulty", b"x"));
        assert_eq!(client.read_response("POST").text(), "second");
        scene.counted_once("upstream_closed");
        scene.ends();
    }
}
