//! Events as text, so that they can be compared and read.

use std::hash::{DefaultHasher, Hasher};

use hangu_codecs::message::End;
use hangu_codecs::{
    BodySize, Event, Fields, Head, HttpRequest, HttpResponse, Part, RpcHead, StreamId, Version,
};

/// An event, in a form that does not depend on how its data was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Data of a stream, joined with what came directly before.
    Data(StreamId, Vec<u8>, bool),
    /// Anything else.
    Other(String),
}

/// The events of a connection in order, adjoining data joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events(pub Vec<Seen>);

impl Events {
    /// Adds an event.
    pub fn push(&mut self, event: Event<'_>) {
        let Event::Part(stream, Part::Data(data, end)) = event else {
            return self.0.push(Seen::Other(describe(&event)));
        };
        let is_end = end == End::Yes;
        if let Some(Seen::Data(last, bytes, ended)) = self.0.last_mut()
            && *last == stream
            && !*ended
        {
            bytes.extend_from_slice(data.as_slice());
            *ended = is_end;
            return;
        }
        self.0.push(Seen::Data(stream, data.as_slice().to_vec(), is_end));
    }

    /// One line per event.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(Seen::line).collect()
    }
}

impl Seen {
    /// The event as one line, as it stands in scripts.
    pub fn line(&self) -> String {
        match self {
            Self::Data(_, bytes, is_end) => {
                format!("data {}{}", quote(bytes), if *is_end { " end" } else { "" })
            }
            Self::Other(text) => text.clone(),
        }
    }
}

/// An event as one line.
pub fn describe(event: &Event<'_>) -> String {
    match event {
        Event::Part(_, Part::Head(Head::HttpRequest(head), end)) => request(head) + mark(*end),
        Event::Part(_, Part::Head(Head::HttpResponse(head), end)) => response(head) + mark(*end),
        Event::Part(_, Part::Head(Head::RpcRequest(head), _)) => rpc("rpc-request", head),
        Event::Part(_, Part::Head(Head::RpcResponse(head), _)) => rpc("rpc-response", head),
        Event::Part(_, Part::Data(data, end)) => {
            format!("data {}{}", quote(data.as_slice()), mark(*end))
        }
        Event::Part(_, Part::Trailers(list)) => format!("trailers{}", fields(list)),
        Event::Part(_, Part::Reset(reason)) => format!("reset {reason:?}"),
        Event::Writable(_) => "writable".to_owned(),
        Event::GoAway => "goaway".to_owned(),
        Event::Note(note) => format!("note {note:?}"),
    }
}

fn request(head: &HttpRequest) -> String {
    let mut line = format!(
        "request {} {} {}{}{}{}",
        head.method.as_str(),
        or_dash(&head.authority),
        or_dash(&head.path),
        version(head.version),
        fields(&head.fields),
        size(head.body)
    );
    if head.expects_continue {
        line += " expect";
    }
    if !head.upgrade.is_empty() {
        line += &format!(" upgrade({})", text(&head.upgrade));
    }
    if head.takes_trailers {
        line += " te";
    }
    line
}

fn response(head: &HttpResponse) -> String {
    let mut line = format!(
        "response {} {}{}{}{}",
        head.status,
        quote(&head.reason),
        version(head.version),
        fields(&head.fields),
        size(head.body)
    );
    if !head.upgrade.is_empty() {
        line += &format!(" upgrade({})", text(&head.upgrade));
    }
    line
}

fn rpc(kind: &str, head: &RpcHead<'_>) -> String {
    let fields: String =
        head.fields.iter().map(|(n, v)| format!(" ({}: {})", text(n), text(v))).collect();
    format!(
        "{kind} {} {} {}{}{fields} {:?} timeout={:?} head={} payload={} crc={}",
        head.protocol,
        or_dash(head.service),
        or_dash(head.method),
        if head.two_way { "" } else { " oneway" },
        head.outcome,
        head.timeout,
        head.head.len(),
        head.payload.len(),
        head.checksum.is_some(),
    )
}

fn fields(fields: &Fields) -> String {
    fields.iter().map(|(n, v)| format!(" ({}: {})", text(n), text(v))).collect()
}

fn size(body: BodySize) -> String {
    match body {
        BodySize::None => String::new(),
        BodySize::Sized(bytes) => format!(" sized({bytes})"),
        BodySize::Unknown => " unknown".to_owned(),
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => " HTTP/1.0",
        Version::Http11 => "",
        Version::Http2 => " HTTP/2",
    }
}

fn mark(end: End) -> &'static str {
    if end == End::Yes { " end" } else { "" }
}

fn or_dash(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".to_owned() } else { text(bytes) }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Bytes in quotes; long ones by their length and a sum.
pub fn quote(bytes: &[u8]) -> String {
    if bytes.len() > 4096 {
        let mut sum = DefaultHasher::new();
        sum.write(bytes);
        let sum = sum.finish();
        return format!("<{} bytes, sum {sum:x}>", bytes.len());
    }
    format!("\"{}\"", text(bytes))
}
