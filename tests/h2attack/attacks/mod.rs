//! The attacks: what each sends, piece by piece, on each of its connections.
//!
//! An attack appends bytes to what is sent next and knows no sockets. It is told what the target
//! said ([`Flow`]); the pace and the reconnecting are the attacker's.

mod connections;
mod continuation;
mod data;
mod fields;
mod floods;
mod resets;
mod stalls;

use std::time::Duration;

use crate::{
    flow::Flow,
    frame::{self, error, flag, kind, setting},
    hpack::{self, End, fixed},
};

/// One way to do harm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it does, in some words.
    pub(crate) what: &'static str,
    /// Connections at a time.
    pub(crate) connections: u32,
    /// What it does with answers.
    pub(crate) reading: Reading,
    /// What limits it.
    pub(crate) pace: Pace,
    /// It makes the target hold large answers: more memory is allowed.
    pub(crate) parks_answers: bool,
    /// How its connections begin.
    pub(crate) opening: Opening,
    /// Parameters of its SETTINGS.
    pub(crate) settings: &'static [(u16, u32)],
    /// Appends what comes after the preface and SETTINGS.
    pub(crate) begin: fn(&mut Flow, &mut Vec<u8>),
    /// Appends what comes next, [`PIECE_BYTES`] or a frame more.
    pub(crate) go_on: fn(&mut Flow, &mut Vec<u8>) -> Next,
}

/// What an attacker does with what the target says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Reads all.
    All,
    /// Reads nothing: answers pile up.
    Nothing,
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// With the preface and SETTINGS (RFC 9113 §3.4).
    Whole,
    /// With half of the preface.
    HalfPreface,
}

/// What limits an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The rate in bytes: what the target does for them is judged.
    Bytes,
    /// Its own waiting: it sends little, and what it holds at the target is judged.
    Waits,
}

/// What an attack does after what it has appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It goes on as soon as the rate allows.
    GoOn,
    /// It waits first.
    Wait(Duration),
    /// It closes the connection after a while and begins with a new one.
    Close(Duration),
}

/// What is appended at a time: small enough for an even rate.
pub(crate) const PIECE_BYTES: usize = 4096;

/// A flood; others are variations.
const FLOOD: Attack = Attack {
    name: "",
    what: "",
    connections: 8,
    reading: Reading::All,
    pace: Pace::Bytes,
    parks_answers: false,
    opening: Opening::Whole,
    settings: &[],
    begin: |_, _| {},
    go_on: |_, _| Next::GoOn,
};

/// What sends little and holds much; others are variations.
const WAITS: Attack = Attack { pace: Pace::Waits, ..FLOOD };

/// All attacks, in the order in which they are run.
pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "rapid-reset",
        what: "HEADERS and RST_STREAM, again and again",
        go_on: resets::rapid,
        ..FLOOD
    },
    Attack {
        name: "reset-window-overflow",
        what: "the target is made to reset: WINDOW_UPDATE beyond 2^31-1",
        go_on: resets::window_overflow,
        ..FLOOD
    },
    Attack {
        name: "reset-zero-increment",
        what: "the target is made to reset: WINDOW_UPDATE by 0",
        go_on: resets::zero_increment,
        ..FLOOD
    },
    Attack {
        name: "reset-self-dependency",
        what: "the target is made to reset: HEADERS whose stream depends on itself",
        go_on: resets::self_dependency,
        ..FLOOD
    },
    Attack {
        name: "reset-half-closed",
        what: "the target is made to reset: DATA after END_STREAM",
        go_on: resets::half_closed,
        ..FLOOD
    },
    Attack {
        name: "continuation-empty",
        what: "endless CONTINUATION frames without content",
        begin: continuation::begin,
        go_on: continuation::empty,
        ..FLOOD
    },
    Attack {
        name: "continuation-small",
        what: "endless CONTINUATION frames of one byte",
        begin: continuation::begin,
        go_on: continuation::small,
        ..FLOOD
    },
    Attack {
        name: "continuation-large",
        what: "endless CONTINUATION frames of 16 KiB, all of one value",
        begin: continuation::begin_value,
        go_on: continuation::large,
        ..FLOOD
    },
    Attack {
        name: "headers-endless",
        what: "endless CONTINUATION frames of whole fields",
        begin: continuation::begin,
        go_on: continuation::fields,
        ..FLOOD
    },
    Attack {
        name: "settings",
        what: "SETTINGS with six parameters, acknowledgements read",
        go_on: floods::settings,
        ..FLOOD
    },
    Attack {
        name: "settings-unread",
        what: "the same, acknowledgements not read",
        reading: Reading::Nothing,
        go_on: floods::settings,
        ..FLOOD
    },
    Attack {
        name: "settings-window",
        what: "SETTINGS that toggle the windows of 100 streams between 0 and 1",
        settings: &[(setting::INITIAL_WINDOW_SIZE, 0)],
        parks_answers: true,
        go_on: floods::settings_window,
        ..FLOOD
    },
    Attack { name: "ping", what: "PING, answers read", go_on: floods::ping, ..FLOOD },
    Attack {
        name: "ping-unread",
        what: "PING, answers not read",
        reading: Reading::Nothing,
        go_on: floods::ping,
        ..FLOOD
    },
    Attack { name: "data-empty", what: "DATA without content", go_on: data::empty, ..FLOOD },
    Attack { name: "data-one-byte", what: "DATA of one byte", go_on: data::one_byte, ..FLOOD },
    Attack {
        name: "data-padded",
        what: "DATA of 255 bytes of padding alone",
        go_on: data::padded,
        ..FLOOD
    },
    Attack {
        name: "window-update-connection",
        what: "WINDOW_UPDATE by one, of the connection",
        go_on: floods::window_update_connection,
        ..FLOOD
    },
    Attack {
        name: "window-update-stream",
        what: "WINDOW_UPDATE by one, of an open stream",
        go_on: floods::window_update_stream,
        ..FLOOD
    },
    Attack {
        name: "priority",
        what: "PRIORITY of streams that are not open",
        go_on: floods::priority,
        ..FLOOD
    },
    Attack { name: "unknown", what: "frames of unknown types", go_on: floods::unknown, ..FLOOD },
    Attack {
        name: "hpack-bomb",
        what: "an entry of 4 KiB, named 16,000 times in each request",
        go_on: fields::bomb,
        ..FLOOD
    },
    Attack {
        name: "cookie-crumbs",
        what: "requests with up to 4,000 cookie fields",
        go_on: fields::crumbs,
        ..FLOOD
    },
    Attack {
        name: "zero-length-names",
        what: "requests with up to 1,300 fields without name and value",
        go_on: fields::nameless,
        ..FLOOD
    },
    Attack {
        name: "stall",
        what: "windows of 0, 100 large answers parked on each of 16 connections",
        connections: 16,
        parks_answers: true,
        settings: &[(setting::INITIAL_WINDOW_SIZE, 0)],
        go_on: stalls::parked,
        ..WAITS
    },
    Attack {
        name: "slow-reader",
        what: "the same, with a byte of window for each stream ten times a second",
        connections: 16,
        parks_answers: true,
        settings: &[(setting::INITIAL_WINDOW_SIZE, 1)],
        go_on: stalls::slow_reader,
        ..WAITS
    },
    Attack {
        name: "slow-upload",
        what: "100 bodies of a declared gigabyte on each of 8 connections, a byte at a time",
        go_on: stalls::slow_upload,
        ..WAITS
    },
    Attack {
        name: "idle-streams",
        what: "as many streams as are allowed on each of 16 connections, idle for ever",
        connections: 16,
        go_on: stalls::idle,
        ..WAITS
    },
    Attack {
        name: "churn",
        what: "500 connections a second that end after SETTINGS",
        connections: 4,
        go_on: connections::churn,
        ..WAITS
    },
    Attack {
        name: "half-preface",
        what: "200 connections that stop within the preface",
        connections: 200,
        opening: Opening::HalfPreface,
        go_on: connections::wait,
        ..WAITS
    },
    Attack {
        name: "goaway-then-requests",
        what: "GOAWAY, then 500 requests a second",
        connections: 4,
        begin: connections::goaway,
        go_on: connections::requests,
        ..WAITS
    },
];

/// Appends pieces until there are enough for one turn.
fn fill(out: &mut Vec<u8>, mut append: impl FnMut(&mut Vec<u8>)) -> Next {
    while out.len() < PIECE_BYTES {
        append(out);
    }
    Next::GoOn
}

/// Appends a request without a body, whose stream is not followed.
fn pass_request(flow: &mut Flow, out: &mut Vec<u8>) -> u32 {
    let stream = flow.pass_stream();
    let block = hpack::request(fixed::METHOD_GET, &flow.asked.authority, &flow.asked.path);
    hpack::headers(out, stream, End::Stream, &block);
    stream
}

/// A stream with a request whose body is under way; appends what opens it, if there is none.
fn upload(flow: &mut Flow, out: &mut Vec<u8>) -> u32 {
    if let Some(stream) = flow.open.front() {
        return *stream;
    }
    let stream = flow.open_stream();
    let block = hpack::request(fixed::METHOD_POST, &flow.asked.authority, &flow.asked.path);
    hpack::headers(out, stream, End::Headers, &block);
    stream
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        flow::Asked,
        frame::{Unread, kind},
        random::Random,
    };

    fn flow() -> Flow {
        let asked = Asked {
            authority: "127.0.0.1:1".into(),
            path: "/n/0".into(),
            large_path: "/large".into(),
        };
        Flow::new(asked, Random::new(1, 1))
    }

    #[test]
    fn names_are_unique_and_told_in_words() {
        let names: BTreeSet<_> = ATTACKS.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), ATTACKS.len());
        assert!(ATTACKS.iter().all(|it| !it.what.is_empty() && it.connections > 0));
    }

    #[test]
    fn every_attack_sends_whole_frames_of_a_bounded_size_and_never_nothing_without_waiting() {
        for attack in ATTACKS.iter().filter(|it| it.opening == Opening::Whole) {
            let mut flow = flow();
            let mut out = Vec::new();
            (attack.begin)(&mut flow, &mut out);
            for turn in 0..50 {
                flow.turn = turn;
                let before = out.len();
                let next = (attack.go_on)(&mut flow, &mut out);
                let length = out.len() - before;
                assert!(length > 0 || next != Next::GoOn, "{}", attack.name);
                assert!(length < 24 * 1024, "{}: {length} bytes at a time", attack.name);
                let mut unread = Unread::default();
                unread.push(&out);
                let mut read = 0;
                while let Some(frame) = unread.next().expect("no frame is too long") {
                    assert!(frame.kind != kind::CONTINUATION || frame.stream == 1);
                    read += 9 + frame.payload.len();
                }
                assert_eq!(read, out.len(), "{}", attack.name);
                out.clear();
            }
        }
    }

    #[test]
    fn one_seed_gives_one_attack() {
        for attack in ATTACKS {
            let bytes = || {
                let mut flow = flow();
                let mut out = Vec::new();
                (attack.begin)(&mut flow, &mut out);
                (attack.go_on)(&mut flow, &mut out);
                out
            };
            assert_eq!(bytes(), bytes(), "{}", attack.name);
        }
    }
}
