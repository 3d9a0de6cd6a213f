//! Clusters whose connections belong to one worker and are used by all: parts travel between the
//! workers by mail.

use hangu_tests::{
    Upstream,
    bolt::{self, Frame, Kind},
    upstream::refused_address,
    wait,
};
use serde_json::json;

use crate::support::{DriverKind, Running, Setup};

const WORKERS: usize = 3;
const CLIENTS: usize = 9;
const TIMED_OUT: u16 = 7;
const COMMUNICATION: u16 = 5;

fn shared(driver: DriverKind, upstream: std::net::SocketAddr) -> Setup {
    Setup::bolt(driver, upstream).workers(WORKERS).main(json!({"share_connections": true}))
}

/// Clients at each worker.
fn clients(gateway: &Running) -> Vec<hangu_tests::Peer> {
    let clients: Vec<_> = (0..CLIENTS).map(|_| gateway.connect()).collect();
    wait::until("each worker has a client", || gateway.handle().load().iter().all(|it| *it > 0));
    clients
}

on_every_driver! {
    fn all_workers_use_one_connection(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let gateway = shared(driver, upstream.address).start();
        let mut clients = clients(&gateway);
        for round in 0..20 {
            for (number, client) in clients.iter_mut().enumerate() {
                let content = format!("round {round} of client {number}");
                client.send_frame(&bolt::request(7, "demo.A:1.0", "echo", content.as_bytes()));
            }
            for (number, client) in clients.iter_mut().enumerate() {
                let answer = client.read_frame();
                let content = format!("round {round} of client {number}");
                assert_eq!((answer.id, &answer.content[..]), (7, content.as_bytes()));
            }
        }
        assert_eq!(upstream.accepted(), 1);
        let requests = gateway.metric("hangu_downstream_requests_total", &[]);
        assert_eq!(requests, (20 * CLIENTS) as f64);
    }

    fn a_large_frame_travels_between_workers(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let gateway = shared(driver, upstream.address).start();
        let content: Vec<u8> = (0..1_000_000_u32).map(|it| it.to_le_bytes()[1]).collect();
        for client in &mut clients(&gateway) {
            client.send_frame(&bolt::request(1, "demo.A:1.0", "echo", &content));
            assert!(client.read_frame().content == content);
        }
        assert_eq!(upstream.accepted(), 1);
    }

    fn an_upstream_that_refuses_is_told_to_clients_of_all_workers(driver) {
        let gateway = shared(driver, refused_address()).start();
        for client in &mut clients(&gateway) {
            client.send_frame(&bolt::request(1, "demo.A:1.0", "echo", b"x"));
            let answer = client.read_frame();
            assert_eq!((answer.id, answer.status), (1, COMMUNICATION));
        }
        // Each of them dialled once more, and none is counted on both workers.
        let reason = ["reason=\"connect_failed\""];
        let failed = gateway.metric("hangu_upstream_errors_total", &reason);
        assert_eq!(failed, CLIENTS as f64);
    }

    fn a_deadline_passes_for_clients_of_all_workers(driver) {
        let upstream = Upstream::serve(|mut peer, _| while peer.try_read_frame().is_some() {});
        let gateway = shared(driver, upstream.address).timeout("100ms").start();
        for client in &mut clients(&gateway) {
            client.send_frame(&bolt::request(1, "demo.A:1.0", "echo", b"x"));
            let answer = client.read_frame();
            assert_eq!((answer.id, answer.status), (1, TIMED_OUT));
        }
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 0.0);
        let counted = ["hangu_upstream_timeouts_total", "hangu_upstream_cancelled_total"]
            .map(|it| gateway.metric(it, &[]));
        assert_eq!(counted, [CLIENTS as f64, 0.0], "each is counted where its client is");
    }

    fn a_client_that_goes_away_is_forgotten_by_the_other_worker(driver) {
        let upstream = Upstream::serve(|mut peer, _| while peer.try_read_frame().is_some() {});
        let gateway = shared(driver, upstream.address).start();
        let mut clients = clients(&gateway);
        for client in &mut clients {
            client.send_frame(&bolt::request(1, "demo.A:1.0", "echo", b"x"));
        }
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], CLIENTS as f64);
        drop(clients);
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 0.0);
        let cancelled = gateway.metric("hangu_upstream_cancelled_total", &[]);
        assert_eq!(cancelled, CLIENTS as f64, "each is counted where its client was");
    }

    fn clients_of_other_workers_are_refused_what_an_upstream_does_not_take(driver) {
        let (over, is_over) = std::sync::mpsc::channel::<()>();
        let is_over = std::sync::Mutex::new(is_over);
        let upstream = Upstream::serve(move |_peer, _| {
            // Holds the connection, unread, until the test is over.
            let _ = is_over.lock().expect("no poison").recv();
        });
        let gateway = shared(driver, upstream.address).start();
        let mut clients = clients(&gateway);
        let frame = Frame {
            kind: Kind::Oneway,
            ..bolt::request(1, "demo.A:1.0", "echo", &vec![b'x'; 60 * 1024])
        };
        for client in &mut clients {
            client.send_frame(&frame);
        }
        gateway.wait_for_metric("hangu_upstream_requests_pending", &[], 0.0);
        let flood = frame.to_bytes().repeat(400);
        let senders: Vec<_> = clients
            .iter()
            .map(|client| {
                let (mut sender, bytes) = (client.sender(), flood.clone());
                // Those at the upstream's own worker are held back instead.
                std::thread::spawn(move || sender.try_send(bytes))
            })
            .collect();
        let reason = "reason=\"upstream_glutted\"";
        gateway.wait_for_some("hangu_upstream_errors_total", &[reason]);
        drop(gateway);
        drop(over);
        for sender in senders {
            // Who was held back is cut off with the gateway.
            let _ = sender.join().expect("the sender ends");
        }
    }
}
