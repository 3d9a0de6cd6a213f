//! Dialogues that read like a transcript.
//!
//! ```text
//! # a comment; `# origin: PEER VERSION, COMMAND` where bytes were captured from a real peer
//! server                            a new connection in this role; or `client`
//! limit fields_max = 2              before the role: a limit (dotted path within the protocol)
//! >> "GET / HTTP/1.1\r\n"           bytes come from the peer (escapes as in Rust; `"x"*9` repeats)
//! >> "Host: a\r\n\r\n"
//! << request GET a / end            an event, as `seen.rs` writes it
//! >> response 200 "OK" sized(2)     the caller encodes a part of the current stream
//! >> data "ok" end
//! << "HTTP/1.1 200 OK\r\n"          bytes were written; all that follow one another are joined
//! << "Content-Length: 2\r\n\r\nok"
//! +30s                              time passes
//! ```
//! Other actions: `>> end` (of input), `>> open`, `>> drain`, `>> reply STATUS`, `>> trailers ..`,
//! `>> reset REASON`, `>> fails ACTION.. : ERROR`. Other observations: `<< error REASON STATUS`,
//! `<< finished`, `<< open` (not finished), `<< reads`, `<< waits` (does not want input),
//! `<< half-closed`, `<< in flight N`. Whatever is not observed before the next action fails.

use std::time::Duration;

use bytes::Bytes;
use hangu_codecs::message::End;
use hangu_codecs::{
    BodySize, Data, EncodeError, Fields, Head, HttpRequest, HttpResponse, Limits, Method, Part,
    Protocol, Reason, Role, Status, Version,
};

use super::driver::Side;
use super::seen::{Events, quote};

/// How the bytes of a script reach the codec.
#[derive(Clone, Copy, Debug)]
pub enum Delivery {
    /// Each run of `>>` lines at once.
    Whole,
    /// Cut in two at this byte, counted over the whole script.
    Cut(usize),
    /// Byte by byte.
    Bytes,
}

/// Runs a script; says how many bytes came from the peer in it.
///
/// # Panics
/// Something was not as the script says.
pub fn run(protocol: &'static Protocol, text: &str, delivery: Delivery, freezes: bool) -> usize {
    let mut run = Run {
        protocol,
        limits: Limits::default(),
        side: None,
        delivery,
        freezes,
        fed: 0,
        pending: Vec::new(),
        at: String::new(),
    };
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("line {}: {line} ({delivery:?}, freezes: {freezes})", number + 1);
        run.step(line, place);
    }
    run.quiet();
    run.fed
}

/// Runs a script whole, cut in two at every byte and byte by byte, with and without a freeze and
/// thaw before every step.
pub fn run_all_ways(protocol: &'static Protocol, text: &str) {
    let bytes = run(protocol, text, Delivery::Whole, false);
    run(protocol, text, Delivery::Whole, true);
    run(protocol, text, Delivery::Bytes, false);
    // Long ones are cut at a sample of places: the first and last bytes, and some between.
    let is_long = bytes > 20_000;
    if !is_long {
        run(protocol, text, Delivery::Bytes, true);
    }
    let step = if is_long { bytes / 40 } else { 1 };
    for cut in (0..bytes).filter(|it| it % step == 0 || it + 12 > bytes) {
        // Byte by byte has frozen at every place; here at some, with longer pieces.
        run(protocol, text, Delivery::Cut(cut), cut % 7 == 0);
    }
}

struct Run {
    protocol: &'static Protocol,
    limits: Limits,
    side: Option<Side>,
    delivery: Delivery,
    freezes: bool,
    fed: usize,
    pending: Vec<u8>,
    at: String,
}

impl Run {
    fn step(&mut self, line: &str, place: String) {
        let is_bytes_in = line.strip_prefix(">>").is_some_and(|it| it.trim().starts_with('"'));
        if !is_bytes_in {
            self.deliver();
        }
        self.at = place;
        if line == "server" || line == "client" {
            self.quiet();
            let role = if line == "server" { Role::Server } else { Role::Client };
            let mut side = Side::new(self.protocol, role, &self.limits);
            side.freezes = self.freezes;
            self.side = Some(side);
        } else if let Some(limit) = line.strip_prefix("limit ") {
            self.limit(limit);
        } else if let Some(action) = line.strip_prefix(">>") {
            let action = action.trim();
            if is_bytes_in {
                if self.pending.is_empty() {
                    self.quiet();
                }
                self.pending.extend_from_slice(&unquote(action));
            } else {
                self.quiet_output_may_follow(action);
            }
        } else if let Some(observed) = line.strip_prefix("<<") {
            self.observe(observed.trim());
        } else if let Some(seconds) = line.strip_prefix('+').and_then(|it| it.strip_suffix('s')) {
            self.quiet();
            let seconds = Duration::from_secs_f64(seconds.parse().expect("seconds"));
            let side = self.side();
            side.now = side.now.after(seconds);
            if side.codec.next_timeout().is_some_and(|it| it <= side.now)
                && let Err(error) = side.codec.timeout(side.now)
            {
                side.error = Some(error);
            }
            side.pump();
        } else {
            panic!("no such line: {}", self.at);
        }
    }

    fn side(&mut self) -> &mut Side {
        self.side.as_mut().expect("a role comes first")
    }

    fn limit(&mut self, limit: &str) {
        let (path, value) = limit.split_once('=').expect("limit NAME = VALUE");
        let mut json = serde_json::to_value(&self.limits).expect("limits are data");
        let family = match self.protocol.kind {
            hangu_codecs::protocol::Kind::Http => self.protocol.name,
            hangu_codecs::protocol::Kind::Rpc => "rpc",
        };
        let mut place = &mut json[family];
        for name in path.trim().split('.') {
            place = place.get_mut(name).unwrap_or_else(|| panic!("no such limit: {limit}"));
        }
        *place = serde_json::from_str(value.trim()).expect("a limit is a value");
        self.limits = serde_json::from_value(json).expect("limits of the right type");
    }

    /// Gives the codec the bytes of the `>>` lines before.
    fn deliver(&mut self) {
        let bytes = std::mem::take(&mut self.pending);
        if bytes.is_empty() {
            return;
        }
        let from = self.fed;
        self.fed += bytes.len();
        match self.delivery {
            Delivery::Whole => self.side().feed(&bytes),
            Delivery::Cut(at) if (from + 1..from + bytes.len()).contains(&at) => {
                self.side().feed(&bytes[..at - from]);
                self.side().feed(&bytes[at - from..]);
            }
            Delivery::Cut(_) => self.side().feed(&bytes),
            Delivery::Bytes => bytes.chunks(1).for_each(|byte| self.side().feed(byte)),
        }
    }

    /// Runs of actions may write into one output, which is observed after them; events and errors
    /// are observed at once.
    fn quiet_output_may_follow(&mut self, action: &str) {
        let at = self.at.clone();
        let side = self.side();
        assert!(side.events.0.is_empty(), "unseen {:?}\nbefore {at}", side.events.lines());
        assert!(side.error.is_none(), "unseen {:?}\nbefore {at}", side.error);
        if let Some((action, error)) =
            action.strip_prefix("fails ").and_then(|it| it.rsplit_once(" : "))
        {
            let failed = act(side, action).expect_err(&at);
            assert_eq!(format!("{failed:?}"), error, "{at}");
        } else {
            act(side, action).unwrap_or_else(|error| panic!("{error:?}: {at}"));
        }
        side.pump();
    }

    fn quiet(&mut self) {
        self.deliver();
        let at = self.at.clone();
        let Some(side) = &self.side else { return };
        assert!(side.events.0.is_empty(), "unseen {:?}\nafter {at}", side.events.lines());
        assert!(side.written.is_empty(), "unseen {}\nafter {at}", quote(&side.written));
        assert!(side.error.is_none(), "unseen {:?}\nafter {at}", side.error);
    }

    fn observe(&mut self, observed: &str) {
        let at = self.at.clone();
        let side = self.side();
        if observed.starts_with('"') {
            let expected = unquote(observed);
            let there = side.written.len().min(expected.len());
            let written: Vec<u8> = side.written.drain(..there).collect();
            let rest = quote(&side.written);
            assert!(written == expected, "wrote {} then {rest}\nat {at}", quote(&written));
            return;
        }
        if let Some(expected) = observed.strip_prefix("error ") {
            let error = side
                .error
                .take()
                .unwrap_or_else(|| panic!("no error, events {:?}: {at}", side.events.lines()));
            assert_eq!(format!("{} {:?}", error.reason, error.status), expected, "{at}");
            return;
        }
        match observed {
            "finished" => assert!(side.codec.is_finished(), "{at}"),
            "open" => assert!(!side.codec.is_finished(), "{at}"),
            "reads" => assert!(side.codec.wants_input(), "{at}"),
            "waits" => assert!(!side.codec.wants_input(), "{at}"),
            "half-closed" => {
                assert!(side.codec.is_output_finished() && !side.codec.is_finished(), "{at}");
            }
            _ if observed.starts_with("in flight ") => {
                assert_eq!(format!("in flight {}", side.codec.in_flight()), observed, "{at}");
            }
            _ => {
                let Events(events) = &mut side.events;
                assert!(
                    !events.is_empty(),
                    "no event, wrote {}, error {:?}: {at}",
                    quote(&side.written),
                    side.error
                );
                // Long data is written as a repetition in scripts.
                let expected = match observed.strip_prefix("data ") {
                    Some(data) if data.contains('*') => {
                        let (bytes, mark) = match data.strip_suffix(" end") {
                            Some(bytes) => (bytes, " end"),
                            None => (data, ""),
                        };
                        format!("data {}{mark}", quote(&unquote(bytes)))
                    }
                    _ => observed.to_owned(),
                };
                assert_eq!(events.remove(0).line(), expected, "{at}");
            }
        }
    }
}

/// Performs one action of a caller.
fn act(side: &mut Side, action: &str) -> Result<(), EncodeError> {
    let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
    match verb {
        "end" => side.end(),
        "drain" => side.codec.drain(),
        "open" => side.stream = side.codec.open().expect("a stream"),
        "cannot-open" => {
            let error = side.codec.open().expect_err("no stream");
            assert_eq!(format!("{error:?}"), rest);
        }
        "reply" => side.codec.reply(side.stream, status(rest)),
        "refuse" => {
            let fault = hangu_codecs::Fault::Limit;
            side.codec.refuse(&hangu_codecs::Error::new(fault, status(rest), "by_the_caller"));
        }
        "request" => {
            let (mut head, end) = request(rest);
            return side.encode(Part::Head(Head::HttpRequest(&mut head), end));
        }
        "response" => {
            let (mut head, end) = response(rest);
            return side.encode(Part::Head(Head::HttpResponse(&mut head), end));
        }
        "data" => {
            let (bytes, end) = match rest.strip_suffix(" end") {
                Some(bytes) => (unquote(bytes), End::Yes),
                None => (unquote(rest), End::No),
            };
            return side.encode(Part::Data(Data::Owned(Bytes::from(bytes)), end));
        }
        "trailers" => {
            let mut fields = Fields::new();
            take_fields(&mut words(rest), &mut fields);
            return side.encode(Part::Trailers(&fields));
        }
        "reset" => return side.encode(Part::Reset(reason(rest))),
        _ => panic!("no such action: {action}"),
    }
    Ok(())
}

/// `METHOD AUTHORITY PATH [HTTP/1.0] [(Name: value)].. [sized(N)|unknown] [expect] [upgrade(P)]
/// [te] [end]`
pub fn request(text: &str) -> (HttpRequest, End) {
    let mut words = words(text);
    let mut next = || words.remove(0);
    let mut head = HttpRequest {
        method: Method::from_token(next().as_bytes()),
        authority: undash(&next()),
        path: undash(&next()),
        ..HttpRequest::default()
    };
    take_fields(&mut words, &mut head.fields);
    let mut end = End::No;
    for word in words {
        match word.as_str() {
            "HTTP/1.0" => head.version = Version::Http10,
            "expect" => head.expects_continue = true,
            "te" => head.takes_trailers = true,
            "end" => end = End::Yes,
            _ => match inside(&word, "upgrade(") {
                Some(protocol) => head.upgrade = protocol.as_bytes().to_vec(),
                None => head.body = size(&word),
            },
        }
    }
    (head, end)
}

/// `STATUS "REASON" [HTTP/1.0] [(Name: value)].. [sized(N)|unknown] [upgrade(P)] [end]`
pub fn response(text: &str) -> (HttpResponse, End) {
    let mut words = words(text);
    let mut head = HttpResponse {
        status: words.remove(0).parse().expect("a status"),
        reason: unquote(&words.remove(0)),
        ..HttpResponse::default()
    };
    take_fields(&mut words, &mut head.fields);
    let mut end = End::No;
    for word in words {
        match word.as_str() {
            "HTTP/1.0" => head.version = Version::Http10,
            "end" => end = End::Yes,
            _ => match inside(&word, "upgrade(") {
                Some(protocol) => head.upgrade = protocol.as_bytes().to_vec(),
                None => head.body = size(&word),
            },
        }
    }
    (head, end)
}

/// Words, those in quotes or parentheses whole.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = match rest.as_bytes()[0] {
            b'"' => rest[1..].find('"').map(|it| it + 2),
            b'(' => rest.find(')').map(|it| it + 1),
            _ => rest.find(' '),
        };
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

fn take_fields(words: &mut Vec<String>, fields: &mut Fields) {
    words.retain(|word| {
        let Some(field) = inside(word, "(") else { return true };
        let (name, value) = field.split_once(':').expect("(Name: value)");
        let raw = |text: &str| unquote(&format!("\"{}\"", text.trim()));
        fields.push(&raw(name), &raw(value));
        false
    });
}

fn inside<'a>(word: &'a str, open: &str) -> Option<&'a str> {
    word.strip_prefix(open)?.strip_suffix(')')
}

fn size(word: &str) -> BodySize {
    match inside(word, "sized(") {
        Some(bytes) => BodySize::Sized(bytes.parse().expect("bytes")),
        None if word == "unknown" => BodySize::Unknown,
        None => panic!("no such word: {word}"),
    }
}

fn undash(word: &str) -> Vec<u8> {
    if word == "-" { Vec::new() } else { word.as_bytes().to_vec() }
}

fn reason(name: &str) -> Reason {
    serde_json::from_value(serde_json::Value::from(name)).expect("a reason")
}

fn status(name: &str) -> Status {
    serde_json::from_value(serde_json::Value::from(name)).expect("a status")
}

/// The bytes of `"text"` or `"text"*N`.
pub fn unquote(text: &str) -> Vec<u8> {
    let repeated = text.rsplit_once("\"*").and_then(|(it, times)| Some((it, times.parse().ok()?)));
    let (text, times) = repeated.unwrap_or_else(|| {
        (text.strip_suffix('"').unwrap_or_else(|| panic!("no closing quote: {text}")), 1)
    });
    let text = text.strip_prefix('"').unwrap_or_else(|| panic!("no opening quote: {text}"));
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("an escape") {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let digits = [rest.next(), rest.next()].map(|it| it.expect("two digits"));
                let digits = std::str::from_utf8(&digits).expect("digits").to_owned();
                u8::from_str_radix(&digits, 16).expect("two digits")
            }
            other => other,
        });
    }
    bytes.repeat(times)
}
