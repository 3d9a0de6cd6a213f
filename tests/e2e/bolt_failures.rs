//! Bolt when something goes wrong: what a client gets, and that nobody else notices.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use hangu_tests::{
    Peer, Upstream,
    bolt::{self, Frame, Kind, Version},
    upstream::refused_address,
    wait,
};

use crate::support::Setup;

const NO_PROCESSOR: u16 = 6;
const TIMED_OUT: u16 = 7;
const COMMUNICATION: u16 = 5;

fn request(id: u32, content: &[u8]) -> Frame {
    bolt::request(id, "demo.Service:1.0", "echo", content)
}

/// A server that answers what begins with `hold` only when it is told to, everything else at
/// once.
struct Holding {
    upstream: Upstream,
    held: mpsc::Receiver<()>,
    release: mpsc::Sender<()>,
}

fn holding() -> Holding {
    let (held_at, held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let upstream = Upstream::serve(move |mut peer, _| {
        let waiting = Arc::new(Mutex::new(Vec::new()));
        let mut releaser = peer.sender();
        let (late, released) = (Arc::clone(&waiting), Arc::clone(&released));
        std::thread::spawn(move || {
            while released.lock().expect("no poison").recv().is_ok() {
                let frames: Vec<Frame> = std::mem::take(&mut *late.lock().expect("no poison"));
                let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
                if releaser.try_send(bytes).is_err() {
                    break;
                }
            }
        });
        while let Some(frame) = peer.try_read_frame() {
            if frame.content.starts_with(b"hold") {
                waiting.lock().expect("no poison").push(frame.echo());
                let _ = held_at.send(());
            } else if peer.try_send(frame.echo().to_bytes()).is_err() {
                break;
            }
        }
    });
    Holding { upstream, held, release }
}

/// A connection on which a number of requests is answered rightly.
fn serves(client: &mut Peer, first: u32, count: u32) {
    for id in first..first + count {
        let sent = request(id, format!("after {id}").as_bytes());
        client.send_frame(&sent);
        assert_eq!(client.read_frame(), sent.echo());
    }
}

on_every_driver! {
    fn a_service_without_a_route_has_no_processor(driver) {
        let (upstream, requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address)
            .hosts(serde_json::json!([{"name": "r", "services": ["demo.*"], "routes": [
                {"match": {}, "route": {"cluster": "main"}},
            ]}]))
            .start();
        let mut client = gateway.connect();
        for version in [Version::V1, Version::V2, Version::V2Crc] {
            client.send_frame(&bolt::request(8, "other.Service:1.0", "m", b"x").version(version));
            let answer = client.read_frame();
            assert_eq!((answer.kind, answer.id, answer.status), (Kind::Response, 8, NO_PROCESSOR));
            assert_eq!(answer.version, version);
        }
        assert!(requests.try_recv().is_err(), "it was forwarded");
        serves(&mut client, 100, 3);
    }

    fn an_upstream_that_refuses_is_an_error_of_communication(driver) {
        let gateway = Setup::bolt(driver, refused_address()).start();
        let mut client = gateway.connect();
        for id in 0..5 {
            client.send_frame(&request(id, b"x"));
            let answer = client.read_frame();
            assert_eq!((answer.id, answer.status), (id, COMMUNICATION));
        }
    }

    fn garbage_from_the_upstream_is_an_error_of_communication(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            peer.read_frame();
            peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
            peer.read_to_end();
        });
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        for id in 0..3 {
            client.send_frame(&request(id, b"x"));
            let answer = client.read_frame();
            assert_eq!((answer.id, answer.status), (id, COMMUNICATION));
        }
    }

    fn a_request_from_the_upstream_is_refused_and_counted(driver) {
        let upstream = Upstream::serve(|mut peer, _| {
            while let Some(frame) = peer.try_read_frame() {
                if frame.kind != Kind::Request {
                    continue; // what the gateway says to the question
                }
                let question = request(frame.id, b"a question of the provider's");
                peer.send_frame(&question);
                peer.send_frame(&frame.echo());
            }
        });
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        serves(&mut client, 1, 5);
        let reason = "reason=\"request_from_server\"";
        gateway.wait_for_metric("hangu_upstream_errors_total", &[reason], 5.0);
    }

    fn a_lost_upstream_answers_all_that_is_in_flight_and_is_dialled_anew(driver) {
        let upstream = Upstream::serve(|mut peer, number| {
            if number == 0 {
                for _ in 0..50 {
                    peer.read_frame();
                }
                return peer.reset();
            }
            while let Some(frame) = peer.try_read_frame() {
                peer.send_frame(&frame.echo());
            }
        });
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        for id in 0..50 {
            client.send_frame(&request(id, b"x"));
        }
        let mut lost: Vec<_> = (0..50).map(|_| client.read_frame()).collect();
        lost.sort_by_key(|it| it.id);
        for (id, answer) in lost.iter().enumerate() {
            assert_eq!((answer.id, answer.status), (id as u32, COMMUNICATION));
        }
        serves(&mut client, 100, 20);
        assert_eq!(upstream.accepted(), 2);
    }

    fn a_deadline_is_answered_and_the_late_answer_reaches_nobody(driver) {
        let Holding { upstream, held, release } = holding();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        for round in 0..3u32 {
            client.send_frame(&Frame { timeout: 100, ..request(7, b"hold") });
            held.recv().expect("the upstream has it");
            let answer = client.read_frame();
            assert_eq!((answer.id, answer.status), (7, TIMED_OUT));
            // The same id again, in flight while the late answer of the first one comes.
            let again = request(7, b"hold again");
            client.send_frame(&again);
            held.recv().expect("the upstream has it");
            release.send(()).expect("the upstream waits");
            assert_eq!(client.read_frame(), again.echo());
            gateway.wait_for_metric("hangu_upstream_late_responses_total", &[], f64::from(round + 1));
            serves(&mut client, 100, 20);
        }
        assert_eq!(upstream.accepted(), 1, "the upstream connection stays");
    }

    fn the_routes_timeout_is_a_deadline(driver) {
        let Holding { upstream, held, .. } = holding();
        let gateway = Setup::bolt(driver, upstream.address).timeout("100ms").start();
        let mut client = gateway.connect();
        client.send_frame(&request(1, b"hold"));
        held.recv().expect("the upstream has it");
        let answer = client.read_frame();
        assert_eq!((answer.id, answer.status), (1, TIMED_OUT));
    }

    fn a_client_that_goes_away_with_many_in_flight_disturbs_nobody(driver) {
        let Holding { upstream, held, release } = holding();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut other = gateway.connect();
        serves(&mut other, 0, 5);
        for is_reset in [false, true] {
            let mut client = gateway.connect();
            for id in 0..200 {
                client.send_frame(&request(id, b"hold"));
            }
            for _ in 0..200 {
                held.recv().expect("the upstream has it");
            }
            if is_reset { client.reset() } else { drop(client) }
            gateway.wait_for_metric("hangu_downstream_connections_active", &[], 1.0);
            serves(&mut other, 0, 50);
            release.send(()).expect("the upstream waits");
            serves(&mut other, 0, 50);
        }
        gateway.wait_for_metric("hangu_upstream_late_responses_total", &[], 400.0);
        assert_eq!(upstream.accepted(), 1, "the upstream connection stays");
    }

    fn a_client_that_reads_nothing_stops_nobody_else(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let slow = gateway.connect();
        let is_over = Arc::new(AtomicBool::new(false));
        let (stop, mut sender) = (Arc::clone(&is_over), slow.sender());
        // Sends until it is stopped or the gateway takes no more.
        let sending = std::thread::spawn(move || {
            let frame = request(1, &vec![b'x'; 256 * 1024]).to_bytes();
            for _ in 0..400 {
                if stop.load(Ordering::SeqCst) || sender.try_send(&frame).is_err() {
                    break;
                }
            }
        });
        let mut other = gateway.connect();
        let mut bytes = f64::NAN;
        let mut rounds_without_progress = 0;
        wait::until("the slow client is held back", || {
            serves(&mut other, 0, 5);
            let taken = gateway.metric("hangu_downstream_received_bytes_total", &[]);
            // The other client's own requests are small beside one frame of the slow one.
            let is_still = (taken - bytes).abs() < 100_000.0;
            rounds_without_progress = if is_still { rounds_without_progress + 1 } else { 0 };
            bytes = taken;
            rounds_without_progress > 50
        });
        serves(&mut other, 1000, 200);
        is_over.store(true, Ordering::SeqCst);
        slow.reset();
        let _ = sending.join();
        serves(&mut other, 2000, 200);
    }

    fn undecodable_bytes_end_the_connection_and_no_other(driver) {
        let (upstream, requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut other = gateway.connect();
        serves(&mut other, 0, 1);
        requests.recv().expect("a request");
        let good = request(1, b"x").to_bytes();
        let broken = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let mut wrong_sum = request(1, b"x").version(Version::V2Crc).to_bytes();
        *wrong_sum.last_mut().expect("a byte") ^= 1;
        for bytes in [
            broken(0, 9),       // no protocol code
            broken(3, 100),     // command 100: GoAway of another gateway, unknown here
            broken(1, 7),       // no type
            broken(14, 0x80),   // a negative class length
            broken(16, 0xff),   // a negative header length
            broken(18, 0x80),   // a negative content length
            wrong_sum,
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ] {
            let mut client = gateway.connect();
            client.send(&bytes);
            client.expect_end();
            assert!(requests.try_recv().is_err(), "it was forwarded: {bytes:?}");
        }
        serves(&mut other, 10, 5);
    }

    fn a_frame_beyond_the_limit_ends_the_connection_before_it_is_there(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let gateway = Setup::bolt(driver, upstream.address).start();
        let mut client = gateway.connect();
        let mut bytes = request(1, b"").to_bytes();
        bytes[18..22].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        client.send(bytes);
        client.expect_end();
    }
}
