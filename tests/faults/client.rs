//! Clients that fail.

use std::{sync::mpsc, time::Instant};

use hangu_tests::{Peer, http::get, wait};
use serde_json::json;

use crate::scene::{PATIENCE_TEXT, Scene, took_patience};

on_every_driver! {
    fn fault_21_a_client_that_goes_in_its_body_ends_the_upstream_request(driver) {
        let (ended_at, ended) = mpsc::channel();
        let (begun_at, begun) = mpsc::channel();
        let script = move |mut peer: Peer, _| {
            peer.read_head();
            assert_eq!(peer.read_exactly(5), b"begin");
            begun_at.send(()).expect("the test waits");
            peer.read_to_end();
            ended_at.send(()).expect("the test waits");
        };
        let scene = Scene::http(driver, script, |it| it);
        for _ in 0..3 {
            let mut client = scene.connect();
            client.send("POST /faulty HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nbegin");
            begun.recv_timeout(wait::PATIENCE).expect("the upstream has the beginning");
            client.reset();
            ended.recv_timeout(wait::PATIENCE).expect("the upstream connection ends");
        }
        scene.wait_for_metric("hangu_upstream_requests_active", &["cluster=\"main\""], 0.0);
        scene.ends();
    }

    fn fault_22_a_client_that_reads_nothing_holds_its_upstream_back(driver) {
        const BYTES: usize = 64 * 1024 * 1024;
        let script = |mut peer: Peer, _| {
            peer.read_request();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..BYTES / piece.len() {
                if peer.try_send(&piece).is_err() {
                    return;
                }
            }
        };
        let scene = Scene::http(driver, script, |it| it);
        let mut client = Peer::connect_with_buffer(scene.place(), 16 * 1024);
        client.send(get("/faulty"));
        let (mut taken, mut rounds) = (f64::NAN, 0);
        wait::until("the upstream is held back", || {
            let labels = ["cluster=\"main\""];
            let now = scene.metric("hangu_upstream_received_bytes_total", &labels);
            rounds = if now == taken && now > 0.0 { rounds + 1 } else { 0 };
            taken = now;
            rounds > 50
        });
        assert!(taken < BYTES as f64 * 0.5, "{taken} bytes were taken");
        client.reset();
        scene.wait_for_metric("hangu_upstream_requests_active", &["cluster=\"main\""], 0.0);
        scene.ends();
    }

    fn fault_23_a_head_that_never_ends_gets_408(driver) {
        let limit = json!({"timeouts": {"request_head": PATIENCE_TEXT}});
        let scene = Scene::http(driver, |_, _| (), |it| it.listener(limit));
        let mut client = scene.connect();
        let began = Instant::now();
        client.send("GET /faulty HTTP/1.1\r\nHo");
        assert_eq!(client.read_response("GET").status(), 408);
        took_patience(began);
        scene.ends();
    }
}
