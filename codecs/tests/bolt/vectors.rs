//! Frames in `tests/vectors/bolt`: what they give, and that neither cuts nor snapshots change it.
//!
//! `NAME.hex` holds the bytes, `NAME.events` the role (`client OPENED [GIVEN_UP]`: so many calls
//! are sent, the first so many of them given up) and then what comes of them; `NAME.origin` says
//! where they are from. With `HANGU_BLESS=1` the events are written anew, to be read by a person.

use std::path::{Path, PathBuf};

use hangu_codecs::message::Reason;
use hangu_codecs::{Part, Role};

use crate::captures;
use crate::support::{Peer, hex, request};

struct Vector {
    name: String,
    role: String,
    bytes: Vec<u8>,
    events: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/bolt")
}

fn all() -> Vec<Vector> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "hex") {
            continue;
        }
        let read = |kind: &str| std::fs::read_to_string(path.with_extension(kind)).unwrap();
        assert!(!read("origin").trim().is_empty(), "{path:?} has no origin");
        let events = read("events");
        let mut lines = events.lines().map(str::to_owned);
        all.push(Vector {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            role: lines.next().unwrap(),
            bytes: hex(&read("hex")),
            events: lines.collect(),
        });
    }
    assert!(all.len() >= 11);
    all
}

fn peer(role: &str) -> Peer {
    let mut words = role.split(' ');
    match words.next() {
        Some("server") => Peer::new(Role::Server),
        Some("client") => {
            let mut count = || words.next().map_or(0, |it| it.parse().unwrap());
            let mut peer = Peer::new(Role::Client);
            let streams: Vec<_> = (0..count()).map(|_| peer.codec.open().unwrap()).collect();
            streams.iter().for_each(|stream| peer.send(*stream, &request(0, b"")));
            for stream in &streams[..count()] {
                peer.codec.encode(*stream, &Part::Reset(Reason::TimedOut)).unwrap();
            }
            peer
        }
        other => panic!("no such role: {other:?}"),
    }
}

/// Gives the pieces, then the end of input; tells events, error, and what is to be sent.
fn run(role: &str, pieces: &[&[u8]], swaps: bool) -> Vec<String> {
    let mut peer = peer(role);
    let mut events = Vec::new();
    for piece in pieces {
        let (more, error) = peer.hear(piece);
        events.extend(more);
        if let Some(error) = error {
            events.push(format!("error {error}"));
            break;
        }
        if swaps {
            peer.swap();
        }
    }
    peer.codec.end_input();
    let (more, error) = peer.hear(b"");
    events.extend(more);
    events.extend(error.map(|error| format!("error {error}")));
    let sent = peer.sent();
    events.push(format!("sent {}:{:08x}", sent.len(), crc32fast::hash(&sent)));
    events
}

#[test]
fn each_vector_gives_its_events() {
    let bless = std::env::var_os("HANGU_BLESS").is_some();
    for vector in all() {
        let mut peer = peer(&vector.role);
        let (mut events, error) = peer.hear(&vector.bytes);
        events.extend(error.map(|error| format!("error {error}")));
        if bless {
            let text = format!("{}\n{}\n", vector.role, events.join("\n"));
            std::fs::write(folder().join(vector.name + ".events"), text).unwrap();
        } else {
            assert_eq!(events, vector.events, "{}", vector.name);
        }
    }
}

#[test]
fn every_cut_in_two_and_byte_by_byte_gives_the_same() {
    for vector in all() {
        let whole = run(&vector.role, &[&vector.bytes], false);
        for cut in 0..=vector.bytes.len() {
            let (one, other) = vector.bytes.split_at(cut);
            assert_eq!(run(&vector.role, &[one, other], false), whole, "{} at {cut}", vector.name);
        }
        let bytes: Vec<_> = vector.bytes.chunks(1).collect();
        assert_eq!(run(&vector.role, &bytes, false), whole, "{} byte by byte", vector.name);
    }
}

#[test]
fn a_snapshot_at_every_byte_changes_nothing() {
    for vector in all() {
        let whole = run(&vector.role, &[&vector.bytes], false);
        let bytes: Vec<_> = vector.bytes.chunks(1).collect();
        assert_eq!(run(&vector.role, &bytes, true), whole, "{}", vector.name);
    }
}

#[test]
fn captured_frames_stand_cuts_and_snapshots_too() {
    for mut frame in captures::frames().into_iter().filter(|it| it.len() < 900) {
        // Answers are made those of the second of two calls.
        let id = if frame[0] == 1 { 5 } else { 6 };
        frame[id..id + 4].copy_from_slice(&[0, 0, 0, 2]);
        for role in ["server", "client 2"] {
            let whole = run(role, &[&frame], false);
            let bytes: Vec<_> = frame.chunks(1).collect();
            assert_eq!(run(role, &bytes, false), whole);
            assert_eq!(run(role, &bytes, true), whole);
        }
    }
}
