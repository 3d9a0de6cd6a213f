//! A snapshot that an earlier build made is read by this one, and goes on.
//!
//! `tests/vectors/http2/open_streams.snapshot` was written by this test with
//! `HANGU_WRITE_SNAPSHOTS=yes`. One that fails here means that a running gateway cannot be swapped
//! for this build: the layout has changed, and so it needs a new version.

use std::fs;
use std::path::Path;

use hangu_codecs::http2::frame::Setting;
use hangu_codecs::message::End;
use hangu_codecs::{Frozen, Limits, Protocol, Time, http2};

use crate::support::http2::{
    CONNECT, GET, POST, Peer, Reader, Writer, data, greeting, padded, raw, window,
};

/// A server in the middle of everything that a snapshot can hold.
fn busy() -> Peer {
    let mut server = Peer::with(hangu_codecs::Role::Server, |_| {});
    server.releases = false;
    server.give(&greeting(&[Setting::InitialWindowSize(10), Setting::HeaderTableSize(1000)]));
    let mut writer = Writer::new();
    let sized = [POST, &[("content-length", "8"), ("x-new", "1")]].concat();
    // #1 half of its body; #2 a response that waits, with trailers; #3 a tunnel; #4 given up.
    server.give(&writer.headers(1, &sized, false).data(1, b"half", false).take());
    server.give(&writer.headers(3, GET, true).headers(5, CONNECT, false).take());
    server.give(&writer.headers(7, POST, false).raw(&padded(7, b"x", 9, false)).take());
    server.sent();
    server.answer(server.stream(2), 200, End::No);
    server.data(server.stream(2), b"twenty bytes of data", End::No);
    server.trailers(server.stream(2), &[("x-sum", "1")]);
    server.answer(server.stream(3), 200, End::No);
    server.data(server.stream(3), b"", End::Yes);
    server.reset(server.stream(4), hangu_codecs::Reason::Refused);
    server.codec.drain();
    // A field block that has begun, of a stream that has ended its data.
    let block = writer.block(&[("x-sum", "2")]);
    server.give(&raw(1, 1, 5, &block[..1]));
    server.pass_time(250);
    server
}

fn go_on(server: &mut Peer) -> Vec<String> {
    let mut writer = Writer::new();
    let block = writer.block(&[("x-sum", "2")]);
    let mut heard = server.give(&raw(9, 4, 5, &block[1..]));
    heard.extend(server.give(&data(1, b"rest", true)));
    heard.extend(server.give(&data(7, b"late", true)));
    heard.extend(server.give(&window(3, 100)));
    heard.extend(Reader::after_greeting().read(&server.sent()));
    heard.push(format!("{:?}", server.codec.next_timeout().map(|it| it.until(server.now))));
    heard
}

#[test]
fn a_kept_snapshot_is_read_and_goes_on() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/http2");
    let path = path.join("open_streams.snapshot");
    let mut here = busy();
    if std::env::var_os("HANGU_WRITE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        fs::write(&path, here.codec.freeze(here.now).to_bytes()).expect("it is written");
    }
    let kept = fs::read(&path).expect("the snapshot");
    let frozen = Frozen::from_bytes(&kept).expect("a snapshot");
    assert!(http2::PROTOCOL.snapshots.contains(&frozen.version));
    let mut there = Peer::with(hangu_codecs::Role::Server, |_| {});
    there.releases = false;
    there.streams = here.streams.clone();
    there.now = Time::from_micros(77_000_000);
    there.codec =
        Protocol::thaw(&frozen, &Limits::default(), there.now).expect("this build reads it");
    let expected = [
        "#3 trailers (x-sum: 2)",
        "#1 data \"rest\" end",
        "headers 3 :status=200",
        "data 3 10",
        "headers 5 :status=200",
        "data 5 0 end",
        "reset 7 RefusedStream",
        "goaway 2147483647 NoError",
        "ping goodbye!",
        "data 3 10",
        "headers 3 end x-sum=1",
        "Some(750ms)",
    ];
    assert_eq!(go_on(&mut there), expected);
    assert_eq!(go_on(&mut here), expected, "what this build itself does");
    assert_eq!(there.codec.in_flight(), 1);
}
