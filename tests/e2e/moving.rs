//! Connections that go from one worker to another with their requests in flight.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    time::Duration,
};

use hangu_tests::{
    Peer, Upstream,
    bolt::{self, Frame},
    wait,
};
use serde_json::json;

use crate::support::{DriverKind, Running, Setup};

/// Client connections of a worker.
fn clients_of(gateway: &Running, worker: usize) -> Vec<SocketAddr> {
    let (tell, told) = channel();
    gateway.handle().order(worker, move |core| {
        let clients = core
            .connections
            .iter()
            .filter(|(_, it)| matches!(it.side, hangu::connection::Side::Downstream { .. }));
        let _ = tell.send(clients.map(|(_, it)| it.peer).collect());
    });
    told.recv_timeout(Duration::from_secs(5)).expect("an answer")
}

/// Lets a worker give the connection of this client to another one.
fn move_to(gateway: &Running, client: SocketAddr, from: usize, to: usize) {
    gateway.handle().order(from, move |core| {
        let id = core.connections.iter().find(|(_, it)| it.peer == client).map(|it| it.0);
        if let Some(id) = id {
            core.move_connection(id, to);
        }
    });
}

/// Echoes, out of order and late: up to four answers are held back until others have come, or
/// for a moment.
fn unordered_echo() -> Upstream {
    Upstream::serve(|mut peer, _| {
        let mut sender = peer.sender();
        let (give, given) = channel::<Frame>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut held: Vec<Frame> = Vec::new();
                loop {
                    match given.recv_timeout(Duration::from_millis(3)) {
                        Ok(frame) => held.push(frame),
                        Err(RecvTimeoutError::Timeout) => {
                            held.drain(..).for_each(|it| sender.send_frame(&it.echo()));
                        }
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                    if held.len() > 4 {
                        let one = held.remove(held.len() % 3);
                        sender.send_frame(&one.echo());
                    }
                }
            });
            while let Some(frame) = peer.try_read_frame() {
                let _ = give.send(frame);
            }
            drop(give);
        });
    })
}

/// Sends `count` requests with up to 32 in flight, and moves the connection all the while.
fn calls_while_it_moves(gateway: &Running, client: &mut Peer, workers: usize, count: u32) {
    let mut sender = client.sender();
    let address = client.local();
    let answered = Arc::new(AtomicU32::new(0));
    let known = Arc::clone(&answered);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..count {
                wait::until("there is room for one more request", || {
                    id < known.load(Ordering::SeqCst) + 32
                });
                sender.send_frame(&bolt::request(id, "demo.A:1.0", "echo", &id.to_le_bytes()));
            }
        });
        let mut seen = BTreeMap::new();
        let mut moves = 0;
        while seen.len() < count as usize {
            let answer = client.read_frame();
            assert_eq!(answer.status, 0, "{answer:?}");
            assert_eq!(answer.content, answer.id.to_le_bytes());
            assert_eq!(seen.insert(answer.id, ()), None, "{} was answered twice", answer.id);
            answered.fetch_add(1, Ordering::SeqCst);
            if seen.len().is_multiple_of(7) {
                for from in 0..workers {
                    move_to(gateway, address, from, (from + 1 + moves) % workers);
                }
                moves += 1;
            }
        }
    });
}

on_every_driver! {
    fn a_connection_that_moves_again_and_again_loses_and_doubles_nothing(driver) {
        const WORKERS: usize = 3;
        let upstream = unordered_echo();
        let gateway = Setup::bolt(driver, upstream.address).workers(WORKERS).start();
        let mut client = gateway.connect();
        calls_while_it_moves(&gateway, &mut client, WORKERS, 2_000);
        let given = gateway.metric("hangu_worker_connections_given_total", &[]);
        assert!(given > 20.0, "it moved {given} times");
        drop(client);
        gateway.wait_for_metric("hangu_downstream_connections_active", &[], 0.0);
        gateway.wait_for_metric("hangu_downstream_requests_active", &[], 0.0);
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 0.0);
    }

    fn a_deadline_passes_on_the_worker_that_has_the_connection_now(driver) {
        let upstream = Upstream::serve(|mut peer, _| while peer.try_read_frame().is_some() {});
        let gateway = Setup::bolt(driver, upstream.address).workers(2).timeout("300ms").start();
        let mut client = gateway.connect();
        client.send_frame(&bolt::request(7, "demo.A:1.0", "echo", b"x"));
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 1.0);
        let from = usize::from(clients_of(&gateway, 0).is_empty());
        move_to(&gateway, client.local(), from, 1 - from);
        wait::until("it has moved", || clients_of(&gateway, 1 - from) == [client.local()]);
        let answer = client.read_frame();
        assert_eq!((answer.id, answer.status), (7, 7));
        gateway.wait_for_metric("hangu_upstream_requests_active", &[], 0.0);
        let timeouts = gateway.metric("hangu_upstream_timeouts_total", &[]);
        assert_eq!(timeouts, 1.0);
    }

    fn a_connection_moves_while_its_requests_wait_for_an_upstream_and_belong_to_others(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let shared = json!({"share_connections": true});
        let setup = Setup::bolt(driver, upstream.address).workers(3).main(shared);
        let gateway = setup.start();
        let mut client = gateway.connect();
        for round in 0..60_u32 {
            client.send_frame(&bolt::request(round, "demo.A:1.0", "echo", b"x"));
            for from in 0..3 {
                move_to(&gateway, client.local(), from, (from + 1) % 3);
            }
            assert_eq!(client.read_frame().id, round);
        }
        assert_eq!(upstream.accepted(), 1);
    }
}

/// Asks as fast as answers come, with 64 requests in flight, until it is told to end.
fn fat(mut client: Peer, ends: Arc<AtomicBool>) -> std::thread::JoinHandle<u32> {
    std::thread::spawn(move || {
        let frame = bolt::request(1, "demo.A:1.0", "echo", &[b'x'; 512]).to_bytes();
        let burst = frame.repeat(64);
        let mut answers = 0;
        while !ends.load(Ordering::SeqCst) {
            client.send(&burst);
            for _ in 0..64 {
                assert_eq!(client.read_frame().status, 0);
                answers += 1;
            }
        }
        answers
    })
}

#[test]
fn two_fat_connections_on_one_worker_are_shared_out() {
    let (upstream, requests) = Upstream::bolt_echo();
    // Nobody looks at what came.
    std::thread::spawn(move || for _ in requests {});
    let gateway = Setup::bolt(DriverKind::Epoll, upstream.address).workers(2).start();
    let mut all: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
    wait::until("each worker has two", || gateway.handle().load() == [2, 2]);
    let first = clients_of(&gateway, 0);
    all.retain(|it| first.contains(&it.local()));
    wait::until("both are on the first worker", || gateway.handle().load() == [2, 0]);
    let (_control, _) = gateway.control();
    let ends = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = all.into_iter().map(|it| fat(it, Arc::clone(&ends))).collect();
    wait::until("each worker has one", || gateway.handle().load() == [1, 1]);
    ends.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.join().expect("no request was lost") > 0);
    }
}
