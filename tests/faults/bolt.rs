//! Providers that fail over SOFA-Bolt.

use std::time::Instant;

use hangu_tests::{Peer, bolt::Frame, wait};

use crate::scene::{PATIENCE, Scene, call, took_patience};

const COMMUNICATION: u16 = 5;
const TIMED_OUT: u16 = 7;
const IN_FLIGHT: u32 = 20;

/// Requests in flight, each of which is answered with this status.
fn all_get(scene: &Scene, status: u16) {
    let mut client = scene.connect();
    for id in 0..IN_FLIGHT {
        client.send_frame(&call(id, b"x"));
    }
    let mut ids: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let answer = client.read_frame();
            assert_eq!(answer.status, status, "{answer:?}");
            answer.id
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..IN_FLIGHT).collect::<Vec<_>>());
}

on_every_driver! {
    fn fault_24_a_reset_answers_all_that_is_in_flight(driver) {
        let script = |mut peer: Peer, _| {
            for _ in 0..IN_FLIGHT {
                peer.read_frame();
            }
            peer.reset();
        };
        let scene = Scene::bolt(driver, script, |it| it);
        all_get(&scene, COMMUNICATION);
        scene.counted_once("upstream_closed");
        scene.ends();
    }

    fn fault_25_a_provider_that_never_answers_is_a_timeout(driver) {
        let script = |mut peer: Peer, number: usize| {
            while let Some(frame) = peer.try_read_frame() {
                // The connection stays; it is the second call that finds it works again.
                if (number, frame.content.as_slice()) != (0, b"x") {
                    peer.send_frame(&frame.echo());
                }
            }
        };
        let scene = Scene::bolt(driver, script, |it| it);
        let mut client = scene.connect();
        let began = Instant::now();
        let timeout = i32::try_from(PATIENCE.as_millis()).expect("short");
        client.send_frame(&Frame { timeout, ..call(7, b"x") });
        let answer = client.read_frame();
        assert_eq!((answer.id, answer.status), (7, TIMED_OUT));
        took_patience(began);
        assert_eq!(scene.faulty().open(), 1, "the connection stays");
        scene.ends();
    }

    fn fault_26_garbage_is_an_error_of_communication(driver) {
        let script = |mut peer: Peer, _| {
            for _ in 0..IN_FLIGHT {
                peer.read_frame();
            }
            peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
            peer.read_to_end();
        };
        let scene = Scene::bolt(driver, script, |it| it);
        all_get(&scene, COMMUNICATION);
        scene.counted_once("bolt_protocol_code");
        scene.ends();
    }

    fn fault_27_a_wrong_length_is_an_error_of_communication(driver) {
        let script = |mut peer: Peer, _| {
            let frames: Vec<_> = (0..IN_FLIGHT).map(|_| peer.read_frame()).collect();
            let mut bytes = frames[0].echo().to_bytes();
            bytes[16..20].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
            peer.send(bytes);
            peer.read_to_end();
        };
        let scene = Scene::bolt(driver, script, |it| it);
        all_get(&scene, COMMUNICATION);
        scene.counted_once("frame_too_large");
        scene.ends();
    }

    fn fault_28_an_answer_that_nobody_asked_for_is_counted_and_dropped(driver) {
        let script = |mut peer: Peer, _| {
            while let Some(frame) = peer.try_read_frame() {
                let answer = frame.echo();
                peer.send_frame(&Frame { id: frame.id.wrapping_add(1_000_000), ..answer.clone() });
                peer.send_frame(&answer);
            }
        };
        let scene = Scene::bolt(driver, script, |it| it);
        let mut client = scene.connect();
        for id in 0..IN_FLIGHT {
            client.send_frame(&call(id, b"x"));
            assert_eq!(client.read_frame(), call(id, b"x").echo());
        }
        let all = f64::from(IN_FLIGHT);
        wait::until("they are counted", || {
            scene.metric("hangu_upstream_unknown_responses_total", &[]) == all
        });
        scene.ends();
    }
}
