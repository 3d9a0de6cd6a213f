//! What the attacker knows of one of its connections: which streams are open, what it may send, and
//! what it heard.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    frame::{self, Frame, flag, kind, setting},
    random::Random,
};

/// First window of a connection and of its streams (RFC 9113 §6.9.2).
const WINDOW: i64 = 65_535;
/// As many streams as are opened at once whatever the target would allow.
const STREAMS_MAX: usize = 100;

/// What requests of the attacker ask for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Authority of all of them.
    pub(crate) authority: String,
    /// A path with a small answer.
    pub(crate) path: String,
    /// A path with a large one.
    pub(crate) large_path: String,
}

/// One connection of the attacker.
#[derive(Debug)]
pub(crate) struct Flow {
    /// What requests ask for.
    pub(crate) asked: Asked,
    /// Numbers for what is to look random.
    pub(crate) random: Random,
    /// How often the attack appended something.
    pub(crate) turn: u64,
    /// Streams that were opened and of which neither side has told the end, oldest first.
    pub(crate) open: VecDeque<u32>,
    /// What was heard, over all connections of this one's thread.
    pub(crate) heard: Heard,
    next_stream: u32,
    streams_max: usize,
    window: i64,
    first_window: i64,
    windows: BTreeMap<u32, i64>,
}

/// What a target said to the attacker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// HEADERS, the first ones and trailers.
    pub(crate) answers: u64,
    /// RST_STREAM.
    pub(crate) resets: u64,
    /// Bytes of DATA.
    pub(crate) data_bytes: u64,
    /// Acknowledged SETTINGS and PING.
    pub(crate) acknowledged: u64,
    /// GOAWAY by error code.
    pub(crate) goaways: BTreeMap<u32, u64>,
}

impl Heard {
    /// Adds what another thread heard.
    pub(crate) fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.resets += other.resets;
        self.data_bytes += other.data_bytes;
        self.acknowledged += other.acknowledged;
        for (code, count) in &other.goaways {
            *self.goaways.entry(*code).or_default() += count;
        }
    }
}

impl Flow {
    /// A connection that begins.
    pub(crate) fn new(asked: Asked, random: Random) -> Self {
        Self {
            asked,
            random,
            turn: 0,
            open: VecDeque::new(),
            heard: Heard::default(),
            next_stream: 1,
            streams_max: STREAMS_MAX,
            window: WINDOW,
            first_window: WINDOW,
            windows: BTreeMap::new(),
        }
    }

    /// The number of the next stream; what becomes of it is not followed.
    pub(crate) fn pass_stream(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        stream
    }

    /// A new stream that counts as open until the target ends it.
    pub(crate) fn open_stream(&mut self) -> u32 {
        let stream = self.pass_stream();
        self.open.push_back(stream);
        self.windows.insert(stream, self.first_window);
        stream
    }

    /// Whether the target allows one more.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() < self.streams_max
    }

    /// Takes from both windows what a frame costs, if they have it.
    pub(crate) fn spend(&mut self, stream: u32, bytes: i64) -> bool {
        let Some(left) = self.windows.get_mut(&stream) else { return false };
        if *left < bytes || self.window < bytes {
            return false;
        }
        *left -= bytes;
        self.window -= bytes;
        true
    }

    /// Whether the target has ended the connection by a word; answers to it go to `out`.
    pub(crate) fn hear(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> bool {
        match frame.kind {
            kind::DATA => {
                self.heard.data_bytes += frame.payload.len() as u64;
                self.end_if(frame);
            }
            kind::HEADERS => {
                self.heard.answers += 1;
                self.end_if(frame);
            }
            kind::RST_STREAM => {
                self.heard.resets += 1;
                self.end(frame.stream);
            }
            kind::WINDOW_UPDATE => self.widen(frame.stream, i64::from(frame.number(0))),
            kind::SETTINGS if frame.flags & flag::ACK == 0 => {
                for (name, value) in frame.parameters() {
                    self.learn(name, value);
                }
                frame::frame(out, kind::SETTINGS, flag::ACK, 0, &[]);
            }
            kind::PING if frame.flags & flag::ACK == 0 => {
                frame::frame(out, kind::PING, flag::ACK, 0, frame.payload);
            }
            kind::SETTINGS | kind::PING => self.heard.acknowledged += 1,
            kind::GOAWAY => {
                *self.heard.goaways.entry(frame.number(4)).or_default() += 1;
                return true;
            }
            _ => {}
        }
        false
    }

    fn learn(&mut self, name: u16, value: u32) {
        match name {
            setting::MAX_CONCURRENT_STREAMS => {
                self.streams_max = STREAMS_MAX.min(value as usize);
            }
            setting::INITIAL_WINDOW_SIZE => {
                let more = i64::from(value) - self.first_window;
                self.first_window = i64::from(value);
                self.windows.values_mut().for_each(|it| *it += more);
            }
            _ => {}
        }
    }

    fn widen(&mut self, stream: u32, increment: i64) {
        if stream == 0 {
            self.window += increment;
        } else if let Some(window) = self.windows.get_mut(&stream) {
            *window += increment;
        }
    }

    fn end_if(&mut self, frame: &Frame<'_>) {
        if frame.flags & flag::END_STREAM != 0 {
            self.end(frame.stream);
        }
    }

    fn end(&mut self, stream: u32) {
        self.open.retain(|it| *it != stream);
        self.windows.remove(&stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        let asked = Asked { authority: "a".into(), path: "/".into(), large_path: "/l".into() };
        Flow::new(asked, Random::new(1, 1))
    }

    #[test]
    fn windows_are_spent_and_widened() {
        let mut flow = flow();
        let stream = flow.open_stream();
        assert!(flow.spend(stream, WINDOW) && !flow.spend(stream, 1));
        let mut out = Vec::new();
        for stream in [0, stream] {
            let payload = 5u32.to_be_bytes();
            let frame = Frame { kind: kind::WINDOW_UPDATE, flags: 0, stream, payload: &payload };
            flow.hear(&frame, &mut out);
        }
        assert!(flow.spend(stream, 5) && !flow.spend(stream, 1));
        assert!(out.is_empty());
    }

    #[test]
    fn a_stream_is_open_until_the_target_ends_it() {
        let mut flow = flow();
        let (first, second) = (flow.open_stream(), flow.open_stream());
        let mut out = Vec::new();
        let reset = Frame { kind: kind::RST_STREAM, flags: 0, stream: first, payload: &[0; 4] };
        assert!(!flow.hear(&reset, &mut out));
        assert_eq!(flow.open, [second]);
        let goaway = Frame { kind: kind::GOAWAY, flags: 0, stream: 0, payload: &[0; 8] };
        assert!(flow.hear(&goaway, &mut out));
    }

    #[test]
    fn settings_and_pings_are_acknowledged() {
        let mut flow = flow();
        let mut out = Vec::new();
        let settings =
            Frame { kind: kind::SETTINGS, flags: 0, stream: 0, payload: &[0, 3, 0, 0, 0, 1] };
        flow.hear(&settings, &mut out);
        flow.open_stream();
        assert!(!flow.has_room());
        assert_eq!(out, [0, 0, 0, 4, 1, 0, 0, 0, 0]);
    }
}
