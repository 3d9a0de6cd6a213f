//! A trial that TLS 1.3 fits the swap of the binary: connections whose handshake rustls has done
//! move through many processes in the middle of traffic, and their clients see nothing of it.
//!
//! [`record`] is what moves; it says where in the gateway it will stand. The rest is a server
//! around it: [`handshake`] until the keys are there, then one [`owner`] after the other.
#![allow(
    missing_docs,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests are ordinary blocking threads and processes; no worker reaches them"
)]

mod client;
mod exchange;
mod handshake;
mod owner;
mod record;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use client::{Client, Openssl, Rustls};
use hangu_tests::wait::PATIENCE;
use owner::{End, Owner, Progress, Turn};
use record::{Failure, Suite};
use rustls::ServerConfig;

/// In which states a connection moves, one after the other.
fn turns() -> Vec<Turn> {
    let turn =
        |end, requests| Turn { update: None, requests, read_bytes: 1000, write_bytes: 777, end };
    let whole =
        |end, requests| Turn { read_bytes: 1 << 16, write_bytes: 1 << 20, ..turn(end, requests) };
    vec![
        whole(End::Between, 60),
        turn(End::InInput, 60),
        turn(End::InOutput, 60),
        turn(End::InBoth, 0),
        whole(End::Unsent, 60),
        // New keys, whose announcement is not sent, is sent in part, or is in force.
        Turn { update: Some(true), ..whole(End::Unsent, 0) },
        whole(End::Between, 60),
        Turn { update: Some(true), write_bytes: 7, ..turn(End::InOutput, 0) },
        turn(End::InInput, 60),
        Turn { update: Some(false), ..turn(End::InOutput, 60) },
        Turn { update: Some(true), ..turn(End::InInput, 0) },
        Turn { read_bytes: 3, ..turn(End::InHeader, 0) },
        whole(End::Unsent, 60),
        turn(End::InBoth, 0),
        whole(End::Between, 60),
    ]
}

#[test]
fn owner_process() {
    owner::run_if_started();
}

#[test]
fn a_rustls_client_sees_nothing_of_swaps_with_aes_128_gcm() {
    rustls_client_sees_nothing(Suite::Aes128Gcm);
}

#[test]
fn a_rustls_client_sees_nothing_of_swaps_with_aes_256_gcm() {
    rustls_client_sees_nothing(Suite::Aes256Gcm);
}

#[test]
fn a_rustls_client_sees_nothing_of_swaps_with_chacha20_poly1305() {
    rustls_client_sees_nothing(Suite::ChaCha20Poly1305);
}

#[test]
fn openssl_sees_nothing_of_swaps() {
    for suite in Suite::ALL {
        let (server, _) = handshake::configs(suite);
        // One request at a time: both directions are never in a record at once.
        let turns = turns().into_iter().filter(|it| it.end != End::InBoth).collect();
        let connect =
            |address| Some(Box::new(Openssl::connect(address, suite)?) as Box<dyn Client>);
        if move_through(&format!("openssl, {suite:?}"), &server, turns, connect).is_none() {
            eprintln!("skipped: there is no openssl");
        }
    }
}

fn rustls_client_sees_nothing(suite: Suite) {
    let (server, client) = handshake::configs(suite);
    let connect = |address| Some(Box::new(Rustls::connect(address, client)) as Box<dyn Client>);
    let progress = move_through(&format!("rustls, {suite:?}"), &server, turns(), connect);
    let progress = progress.expect("a client");
    assert!(progress.requests > 400, "{} requests", progress.requests);
    // Requested by us, and by the client on its own.
    assert!(progress.updates_received > 3 && progress.updates_sent > 3, "{progress:?}");
}

/// Serves a client from one process after the other.
fn move_through(
    name: &str,
    config: &Arc<ServerConfig>,
    turns: Vec<Turn>,
    connect: impl FnOnce(SocketAddr) -> Option<Box<dyn Client>>,
) -> Option<Progress> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = connect(listener.local_addr().expect("its address"))?;
    let is_enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| client::talk(client, &is_enough));
        let (socket, accepted) = accept(&listener, config);
        assert!(accepted.tickets > 0, "session tickets were sent");
        let mut frozen = accepted.records.freeze();
        drop(accepted.records);
        let mut progress = Progress::new(accepted.content);
        let (mut swaps, mut frozen_ns, mut pauses_ns) = (0, None, Vec::new());
        let last = Turn { end: End::Closed, requests: 0, ..turns[0] };
        let mut next = Owner::start("owner_process");
        for turn in turns.into_iter().chain([last]) {
            // The next process is there before it is needed, as in a swap.
            let owner = std::mem::replace(&mut next, Owner::start("owner_process"));
            is_enough.store(turn.end == End::Closed, Ordering::Relaxed);
            let given = owner.own(&socket, frozen, progress, turn);
            pauses_ns.extend(frozen_ns.map(|it: u64| given.thawed_ns - it));
            (frozen, progress, frozen_ns) = (given.frozen, given.progress, Some(given.frozen_ns));
            swaps += 1;
        }
        record::wipe(frozen);
        drop(socket);
        let requests = client.join().expect("a client without an error");
        assert_eq!(progress.requests, requests);
        pauses_ns.sort_unstable();
        println!(
            "{name}: {swaps} swaps, {requests} requests, {} bytes of content, {} and {} updates of \
             keys received and sent, pause {} us (median), {} us (longest)",
            progress.content_bytes,
            progress.updates_received,
            progress.updates_sent,
            pauses_ns[pauses_ns.len() / 2] / 1000,
            pauses_ns[pauses_ns.len() - 1] / 1000,
        );
        Some(progress)
    })
}

fn accept(listener: &TcpListener, config: &Arc<ServerConfig>) -> (TcpStream, handshake::Accepted) {
    let (socket, _) = listener.accept().expect("a client");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_nodelay(true).expect("no delay");
    let accepted = handshake::accept(&socket, config);
    (socket, accepted)
}

#[test]
fn a_client_is_told_what_it_did_wrong() {
    let (server, client) = handshake::configs(Suite::Aes128Gcm);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let forged = [&[23, 3, 3, 0, 32][..], &[7; 32]].concat();
    let error = thread::spawn(move || Rustls::connect(address, client).fails_after(&forged));
    let (mut socket, accepted) = accept(&listener, &server);
    let mut records = accepted.records;
    let failure = loop {
        match records.next() {
            Ok(Some(_)) => {}
            Ok(None) => {
                let mut room = [0; 1000];
                let read = socket.read(&mut room).expect("a client that writes");
                assert!(read > 0, "the client went away");
                records.receive(&room[..read]);
            }
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure, Failure::Broken(record::Alert::BadRecordMac));
    socket.write_all(records.output()).expect("a client that reads");
    let error = error.join().expect("a client");
    assert!(error.contains("BadRecordMac"), "{error}");
}
