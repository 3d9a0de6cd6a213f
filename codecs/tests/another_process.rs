//! A snapshot is read by another process: one that shares nothing with the first but the bytes.
//!
//! The other process is this test program again, told by its environment what to go on with.

mod support;

use std::process::Command;

use hangu_codecs::{Frozen, Limits, PROTOCOLS, Protocol, Role};
use support::http2::{GET, POST, Writer, greeting, raw};
use support::{driver::Side, seen::Events};

/// Snapshot, input that came before and was not decoded, and input that comes after, in hex and
/// apart by `:`.
const TASK: &str = "HANGU_TEST_GO_ON_WITH";

/// Some requests of a protocol, more than one in flight where it has that.
fn requests(protocol: &str) -> Vec<u8> {
    match protocol {
        "http1" => b"POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
            5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n\
            GET /two HTTP/1.1\r\nHost: a\r\n\r\n"
            .to_vec(),
        "bolt" => {
            let frame = |id: u8| {
                let mut frame = vec![1, 1, 0, 1, 1, 0, 0, 0, id, 1, 0, 0, 0x0b, 0xb8, 0, 0, 0, 20];
                frame.extend_from_slice(&5_u32.to_be_bytes());
                frame.extend_from_slice(&7_u32.to_be_bytes());
                frame.extend_from_slice(b"service");
                frame.extend_from_slice(&5_u32.to_be_bytes());
                frame.extend_from_slice(b"A:1.0");
                frame[17] = 20;
                frame.extend_from_slice(b"hello");
                frame
            };
            [frame(1), frame(2), frame(3)].concat()
        }
        "http2" => {
            let mut writer = Writer::new();
            let mut bytes = greeting(&[]);
            let list = [POST, &[("x-new", "1")]].concat();
            let requests = writer.headers(1, &list, false).headers(3, &list, false);
            let requests = requests.data(1, b"hello", false).data(3, b"one", false);
            let requests = requests.data(3, b"two", true).data(1, b" world", false);
            bytes.extend_from_slice(&requests.headers(1, &[("x-sum", "1")], true).take());
            let block = writer.block(&[GET, &[("x-new", "1")]].concat());
            bytes.extend_from_slice(
                &[raw(1, 1, 5, &block[..2]), raw(9, 4, 5, &block[2..])].concat(),
            );
            bytes
        }
        other => panic!("no requests for {other}: write some"),
    }
}

#[test]
fn another_process_goes_on_where_this_one_stopped() {
    for protocol in PROTOCOLS {
        let all = requests(protocol.name);
        // A process for every cut would take long; a snapshot at every byte is what the other
        // tests look at.
        for cut in (0..=all.len()).step_by(all.len() / 9) {
            let mut here = Side::new(protocol, Role::Server, &Limits::default());
            here.feed(&all[..cut]);
            let frozen = here.codec.freeze(here.now).to_bytes();
            let unread = here.input.to_vec();
            here.events = Events::default();
            here.feed(&all[cut..]);
            let task = [hex(&frozen), hex(&unread), hex(&all[cut..])].join(":");
            let there = in_another_process(&task);
            assert_eq!(there, here.events.lines(), "{protocol:?} cut at {cut}");
        }
    }
}

fn in_another_process(task: &str) -> Vec<String> {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", "the_other_process", "--nocapture", "--test-threads", "1"])
        .env(TASK, task)
        .output()
        .expect("the other process runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|it| it.strip_prefix("event: ")).map(ToOwned::to_owned).collect()
}

/// Does nothing of its own: what [`in_another_process`] starts.
#[test]
fn the_other_process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let parts: Vec<Vec<u8>> = task.split(':').map(unhex).collect();
    let [frozen, unread, rest] = parts.as_slice() else { panic!("a task of three parts") };
    let frozen = Frozen::from_bytes(frozen).expect("a snapshot");
    let protocol = Protocol::find(&frozen.protocol).expect("a protocol");
    let mut side = Side::new(protocol, Role::Server, &Limits::default());
    side.codec = Protocol::thaw(&frozen, &side.limits, side.now).expect("it thaws");
    side.feed(unread);
    side.feed(rest);
    println!();
    for line in side.events.lines() {
        println!("event: {line}");
    }
    assert_eq!(side.error, None);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |it: u8| char::from(it).to_digit(16).expect("hex") as u8;
    text.as_bytes().chunks(2).map(|it| digit(it[0]) * 16 + digit(it[1])).collect()
}
