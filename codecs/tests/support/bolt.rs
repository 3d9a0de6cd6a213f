//! What the tests of Bolt share: frames to build, and a codec to drive.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses what it needs")]

use bytes::BytesMut;
use hangu_codecs::bolt::{self, Field, Frame, Header, Kind, Version};
use hangu_codecs::message::{End, RpcOutcome};
use hangu_codecs::{
    Codec, Error, Event, Frozen, Head, Limits, Part, Protocol, Role, RpcHead, RpcPayload, Scratch,
    StreamId, Time,
};

pub const CRC: Version = Version::V2 { minor: 2, switches: bolt::SWITCH_CRC };
pub const V2: Version = Version::V2 { minor: 1, switches: 0 };

pub fn request<'a>(id: u32, content: &'a [u8]) -> Frame<'a> {
    Frame {
        version: Version::V1,
        kind: Kind::Request { timeout_ms: 3000 },
        command_version: 1,
        id,
        codec: 1,
        class_name: bolt::CLASS_REQUEST,
        header: fields(&[
            ("sofa_head_target_service", "demo.HelloService:1.0"),
            ("sofa_head_method_name", "sayHello"),
            ("service", "demo.HelloService:1.0"),
            ("type", "sync"),
        ]),
        content,
    }
}

pub fn response<'a>(id: u32, content: &'a [u8]) -> Frame<'a> {
    Frame {
        kind: Kind::Response { status: 0 },
        class_name: bolt::CLASS_RESPONSE,
        header: fields(&[]),
        ..request(id, content)
    }
}

pub fn heartbeat<'a>(id: u32) -> Frame<'a> {
    Frame {
        kind: Kind::Heartbeat { timeout_ms: -1 },
        class_name: b"",
        header: fields(&[]),
        ..request(id, b"")
    }
}

pub fn fields<'a>(pairs: &[(&'a str, &'a str)]) -> Header<'a> {
    Header::Fields(
        pairs
            .iter()
            .map(|(name, value)| Field {
                name: Some(name.as_bytes()),
                value: Some(value.as_bytes()),
            })
            .collect(),
    )
}

pub fn bytes(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.write(&mut bytes).unwrap();
    }
    bytes.to_vec()
}

pub fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1000)
}

/// A codec with its input.
pub struct Peer {
    pub codec: Box<dyn Codec>,
    pub input: BytesMut,
    pub scratch: Scratch,
    pub limits: Limits,
    pub now: Time,
}

impl Peer {
    pub fn new(role: Role) -> Self {
        Self::with(role, Limits::default())
    }

    pub fn with(role: Role, limits: Limits) -> Self {
        let now = at(1_000_000);
        let codec = (bolt::PROTOCOL.codec)(role, &limits, now);
        Self { codec, input: BytesMut::new(), scratch: Scratch::default(), limits, now }
    }

    /// Puts bytes into the input and tells all events as lines, unless there is an error.
    pub fn give(&mut self, bytes: &[u8]) -> Result<Vec<String>, Error> {
        let (events, error) = self.hear(bytes);
        error.map_or(Ok(events), Err)
    }

    /// Puts bytes into the input and tells all events as lines, and the error that followed.
    pub fn hear(&mut self, bytes: &[u8]) -> (Vec<String>, Option<Error>) {
        self.input.extend_from_slice(bytes);
        let mut events = Vec::new();
        loop {
            match self.codec.decode(&mut self.input, &mut self.scratch, self.now) {
                Ok(None) => return (events, None),
                Ok(Some(event)) => events.push(tell(&event)),
                Err(error) => return (events, Some(error)),
            }
        }
    }

    /// Puts bytes into the input and tells the streams of all parts.
    pub fn streams(&mut self, bytes: &[u8]) -> Vec<StreamId> {
        self.input.extend_from_slice(bytes);
        let mut streams = Vec::new();
        while let Some(event) =
            self.codec.decode(&mut self.input, &mut self.scratch, self.now).unwrap()
        {
            if let Event::Part(stream, _) = event {
                streams.push(stream);
            }
        }
        streams
    }

    /// Encodes a whole frame as it would come from another connection.
    pub fn send(&mut self, stream: StreamId, frame: &Frame<'_>) {
        let bytes = bytes(std::slice::from_ref(frame));
        let role = match frame.kind {
            Kind::Response { .. } => None,
            _ => Some(Role::Server),
        };
        let mut input = BytesMut::from(&bytes[..]);
        let mut scratch = Scratch::default();
        if role.is_some() {
            let mut other = (bolt::PROTOCOL.codec)(Role::Server, &self.limits, self.now);
            let Some(Event::Part(_, part)) =
                other.decode(&mut input, &mut scratch, self.now).unwrap()
            else {
                panic!("no request")
            };
            self.codec.encode(stream, &part).unwrap();
        } else {
            let head = parsed(&bytes, frame);
            self.codec.encode(stream, &Part::Head(Head::RpcResponse(head), End::Yes)).unwrap();
        }
    }

    /// Everything that is to be sent.
    pub fn sent(&mut self) -> Vec<u8> {
        self.codec.output().take(BytesMut::new()).to_vec()
    }

    /// The codec moves to another process: through bytes.
    pub fn swap(&mut self) -> usize {
        let bytes = self.codec.freeze(self.now).to_bytes();
        let frozen = Frozen::from_bytes(&bytes).unwrap();
        self.codec = Protocol::thaw(&frozen, &self.limits, self.now).unwrap();
        bytes.len()
    }
}

/// A frame's head as the codec of another connection would give it.
pub fn parsed<'a>(bytes: &'a [u8], frame: &Frame<'_>) -> RpcHead<'a> {
    let checksum = if frame.version.has_checksum() { 4 } else { 0 };
    let head_bytes = bytes.len() - frame.content.len() - checksum;
    let read = bolt::PROTOCOL.rpc_head.unwrap();
    let payload = RpcPayload::Slice(&bytes[head_bytes..bytes.len() - checksum]);
    read(&bytes[..head_bytes], payload).unwrap()
}

/// An event as a line.
pub fn tell(event: &Event<'_>) -> String {
    match event {
        Event::Part(stream, Part::Head(Head::RpcRequest(head), End::Yes)) => {
            format!(
                "{} {}",
                if head.two_way { "request" } else { "oneway" },
                tell_head(*stream, head)
            )
        }
        Event::Part(stream, Part::Head(Head::RpcResponse(head), End::Yes)) => {
            let outcome = match head.outcome {
                RpcOutcome::Success => "success".to_owned(),
                RpcOutcome::ApplicationError => "application-error".to_owned(),
                RpcOutcome::ProviderError(status) => format!("provider-error-{status}"),
            };
            format!("response {outcome} {}", tell_head(*stream, head))
        }
        Event::Note(note) => format!("note {note:?}"),
        other => panic!("Bolt has no such event: {other:?}"),
    }
}

fn tell_head(stream: StreamId, head: &RpcHead<'_>) -> String {
    let payload = match head.payload {
        RpcPayload::Slice(bytes) => bytes.to_vec(),
        RpcPayload::Segments(segments) => segments.concat(),
    };
    let fields: String =
        head.fields.iter().map(|(n, v)| format!(" {}={}", text(n), text(v))).collect();
    format!(
        "stream={}/{} service={} method={} timeout={} checksum={} head={}:{:08x} payload={}:{:08x}{fields}",
        stream.slot,
        stream.generation,
        text(head.service),
        text(head.method),
        head.timeout.map_or("-".to_owned(), |it| format!("{it:?}")),
        head.checksum.map_or("-".to_owned(), |it| format!("{:08x}", it.payload)),
        head.head.len(),
        crc32fast::hash(head.head),
        payload.len(),
        crc32fast::hash(&payload),
    )
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Bytes from hexadecimal text with spaces, line ends and `#` comments.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.chars().filter(|it| !it.is_whitespace()))
        .collect();
    assert!(digits.len().is_multiple_of(2), "an odd number of digits");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}
