//! Bolt without failures: frames go through unchanged but for their ids.

use std::collections::HashMap;

use hangu_tests::{
    Upstream,
    bolt::{self, Frame, Kind, REQUEST_CLASS, TIMEOUT_MS, Version},
};

use crate::support::Setup;

const SERVICE: &str = "demo.Service:1.0";
const VERSIONS: [Version; 4] = [Version::V1, Version::V2, Version::V2Crc, Version::V2CrcOff];

fn request(id: u32, content: &[u8]) -> Frame {
    bolt::request(id, SERVICE, "echo", content)
}

on_every_driver! {
    fn a_frame_of_each_version_goes_through_unchanged_but_for_its_id(driver) {
        let (upstream, requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        for version in VERSIONS {
            let mut client = gateway.connect();
            let sent = request(77, b"\0content\xff").with("x-own", "kept").version(version);
            client.send_frame(&sent);
            let answer = client.read_frame();
            assert_eq!(answer, sent.echo());
            let mut came = requests.recv().expect("a request");
            assert!(came.timeout <= TIMEOUT_MS && came.timeout > TIMEOUT_MS - 5000, "{came:?}");
            (came.id, came.timeout) = (sent.id, sent.timeout);
            assert_eq!(came, sent);
        }
    }

    fn a_frame_that_comes_byte_by_byte_is_the_same_frame(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        for version in VERSIONS {
            let sent = request(5, b"slowly").version(version);
            client.send_byte_by_byte(sent.to_bytes());
            assert_eq!(client.read_frame(), sent.echo());
        }
    }

    fn frames_of_every_size_come_through(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        for (id, bytes) in [0, 1, 4000, 65_000, 65_536, 200_000, 1 << 20, 5 << 20].into_iter().enumerate() {
            for version in [Version::V1, Version::V2Crc] {
                let content: Vec<u8> = (0..bytes).map(|at: usize| (at * 7 + (at >> 9)) as u8).collect();
                let sent = request(id as u32, &content).version(version);
                let (mut sender, frame) = (client.sender(), sent.to_bytes());
                let sending = std::thread::spawn(move || sender.send(frame));
                let answer = client.read_frame();
                sending.join().expect("all is sent");
                assert!(answer == sent.echo(), "{bytes} bytes, {version:?}");
            }
        }
    }

    fn many_frames_in_one_segment_are_all_answered(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        let all: Vec<u8> =
            (0..500).flat_map(|id| request(id, &id.to_be_bytes()).to_bytes()).collect();
        let mut sender = client.sender();
        let sending = std::thread::spawn(move || sender.send(all));
        let mut answers = HashMap::new();
        for _ in 0..500 {
            let answer = client.read_frame();
            answers.insert(answer.id, answer.content);
        }
        sending.join().expect("all is sent");
        assert!((0..500u32).all(|id| answers[&id] == id.to_be_bytes()));
    }

    fn answers_out_of_order_find_their_requests(driver) {
        // Answers ten requests at once, the last one first.
        let waiting = std::sync::Mutex::new(Vec::new());
        let (upstream, _requests) = Upstream::bolt(move |frame| {
            let mut waiting = waiting.lock().expect("no poison");
            waiting.push(frame.echo());
            if waiting.len() < 10 { Vec::new() } else { waiting.drain(..).rev().collect() }
        });
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        for round in 0..20u32 {
            for number in 0..10 {
                client.send_frame(&request(number, &[round as u8, number as u8]));
            }
            for number in (0..10).rev() {
                let answer = client.read_frame();
                assert_eq!((answer.id, &answer.content[..]), (number, &[round as u8, number as u8][..]));
            }
        }
    }

    fn clients_with_the_same_ids_share_one_upstream_connection(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut clients: Vec<_> = (0..8).map(|_| gateway.connect()).collect();
        for round in 0..50u32 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.send_frame(&request(round, format!("{number}/{round}").as_bytes()));
            }
            for (number, client) in clients.iter_mut().enumerate() {
                let answer = client.read_frame();
                assert_eq!(answer.id, round);
                assert_eq!(answer.content, format!("{number}/{round}").as_bytes());
            }
        }
        assert_eq!(upstream.accepted(), 1);
    }

    fn versions_may_change_from_frame_to_frame(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        for id in 0..40u32 {
            let sent = request(id, b"x").version(VERSIONS[id as usize % 4]);
            client.send_frame(&sent);
            assert_eq!(client.read_frame(), sent.echo());
        }
    }

    fn a_oneway_request_is_forwarded_and_not_answered(driver) {
        let (upstream, requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        for id in 0..100 {
            client.send_frame(&Frame { kind: Kind::Oneway, ..request(id, b"tell") });
            let came = requests.recv().expect("a request");
            assert_eq!((came.kind, &came.content[..]), (Kind::Oneway, &b"tell"[..]));
        }
        let asked = request(1000, b"ask");
        client.send_frame(&asked);
        assert_eq!(client.read_frame(), asked.echo());
    }

    fn heartbeats_are_answered_here_and_not_forwarded(driver) {
        let (upstream, requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        for version in VERSIONS {
            let beat = Frame::heartbeat(9).version(version);
            client.send_frame(&beat);
            let answer = client.read_frame();
            assert_eq!((answer.kind, answer.id, answer.status), (Kind::HeartbeatAnswer, 9, 0));
        }
        client.send_frame(&request(1, b"x"));
        client.read_frame();
        assert_eq!(requests.recv().expect("a request").kind, Kind::Request);
    }

    fn the_smallest_of_all_deadlines_goes_on(driver) {
        let (upstream, requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).timeout("2s").start();
        let mut client = gateway.connect();
        for (timeout, remain, least) in [(25_000, None, 2000), (1500, None, 1500), (25_000, Some("900"), 900)] {
            for version in [Version::V1, Version::V2Crc] {
                let mut sent = Frame { timeout, ..request(1, b"x") }.version(version);
                if let Some(remain) = remain {
                    sent = sent.with("sofa_head_deadline_remain_time", remain);
                }
                client.send_frame(&sent);
                assert_eq!(client.read_frame(), sent.echo());
                let came = requests.recv().expect("a request");
                assert!(came.timeout <= least && came.timeout > least / 2, "{least}: {came:?}");
                if remain.is_some() {
                    let field = came.field("sofa_head_deadline_remain_time").expect("the field");
                    let left: i32 = std::str::from_utf8(field).expect("digits").parse().expect("a number");
                    assert!(left <= least && left > least / 2, "{left}");
                }
            }
        }
    }

    fn a_request_that_names_only_its_service_is_routed_by_the_method_in_its_body(driver) {
        let (upstream, requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address)
            .hosts(serde_json::json!([{"name": "r", "services": [SERVICE], "routes": [
                {"match": {"rpc": {"method": {"exact": "sayHello"}}}, "route": {"cluster": "main"}},
            ]}]))
            .start();
        let mut client = gateway.connect();
        let bare = |id, content: &[u8]| Frame {
            fields: vec![("service".into(), SERVICE.into())],
            ..request(id, content)
        };
        for version in VERSIONS {
            let sent = bare(3, &sofa_request("sayHello")).version(version);
            client.send_frame(&sent);
            assert_eq!(client.read_frame(), sent.echo());
            assert_eq!(requests.recv().expect("a request").content, sent.content);
            client.send_frame(&bare(4, &sofa_request("sayGoodbye")).version(version));
            assert_eq!(client.read_frame().status, 6);
        }
        // A body that is no such object has no method; the connection lives.
        client.send_frame(&bare(5, b"\xffnonsense"));
        assert_eq!(client.read_frame().status, 6);
        client.send_frame(&bare(6, &sofa_request("sayHello")));
        assert_eq!(client.read_frame().status, 0);
    }
}

/// The first object of a body as SOFA-RPC writes it: a class definition (`O`), then an object of
/// it (`o`), both with the short forms of integers (0x90 is 0) and of strings (the length first).
fn sofa_request(method: &str) -> Vec<u8> {
    let mut bytes = vec![b'O'];
    let int = |value: usize| u8::try_from(0x90 + value).expect("a short integer");
    let text = |bytes: &mut Vec<u8>, text: &str| {
        if text.len() < 32 {
            bytes.push(text.len() as u8);
        } else {
            bytes.push(b'S');
            bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
        }
        bytes.extend_from_slice(text.as_bytes());
    };
    // The name of a class has an integer for its length and no tag.
    bytes.extend_from_slice(&[0xc8, REQUEST_CLASS.len() as u8]);
    bytes.extend_from_slice(REQUEST_CLASS.as_bytes());
    let names = ["targetAppName", "methodName", "targetServiceUniqueName", "requestProps"];
    bytes.push(int(names.len()));
    for name in names {
        text(&mut bytes, name);
    }
    bytes.extend_from_slice(&[b'o', int(0)]);
    bytes.push(b'N');
    text(&mut bytes, method);
    text(&mut bytes, SERVICE);
    bytes.extend_from_slice(b"Mz");
    bytes
}
