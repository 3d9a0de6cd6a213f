//! Bolt: in both roles, cut anywhere and moved to another process anywhere, the same events and
//! output; what is decoded goes on and is decoded again; frames agree with the typed view.
#![no_main]

use bytes::BytesMut;
use hangu_codecs::bolt::{self, Frame, Kind};
use hangu_codecs::message::Reason;
use hangu_codecs::{
    Codec, Event, Frozen, Head, Limits, Part, Protocol, Role, RpcPayload, Scratch, StreamId, Time,
};
use hangu_fuzz::Choices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (bytes, mut choices) = Choices::split(input);
    let role = if choices.byte() & 1 == 0 { Role::Server } else { Role::Client };
    let given_up = choices.byte();
    let whole = run(role, given_up, bytes, |_| usize::MAX, false);
    let swaps = choices.byte() & 1 == 1;
    let pieces = run(role, given_up, bytes, |left| 1 + choices.up_to(left.min(64)), swaps);
    assert_eq!(whole, pieces);
    typed_view(bytes);
});

const NOW: Time = Time::from_micros(1_000_000);

/// Events and output of a connection that is given `bytes` in pieces.
fn run(
    role: Role,
    given_up: u8,
    bytes: &[u8],
    mut piece: impl FnMut(usize) -> usize,
    swaps: bool,
) -> (Vec<String>, Vec<u8>) {
    let limits = Limits::default();
    let mut codec = (bolt::PROTOCOL.codec)(role, &limits, NOW);
    if role == Role::Client {
        open_calls(&mut *codec, given_up);
    }
    let mut next = (bolt::PROTOCOL.codec)(Role::Client, &limits, NOW);
    let (mut input, mut scratch, mut events) = (BytesMut::new(), Scratch::default(), Vec::new());
    let mut rest = bytes;
    'connection: while !rest.is_empty() {
        let (now, later) = rest.split_at(piece(rest.len()).min(rest.len()));
        rest = later;
        input.extend_from_slice(now);
        loop {
            match codec.decode(&mut input, &mut scratch, NOW) {
                Ok(None) => break,
                Ok(Some(event)) => events.push(on_event(event, &mut *next)),
                Err(error) => {
                    events.push(error.to_string());
                    break 'connection;
                }
            }
        }
        if swaps {
            let frozen = codec.freeze(NOW).to_bytes();
            let frozen = Frozen::from_bytes(&frozen).expect("own snapshot");
            codec = Protocol::thaw(&frozen, &limits, NOW).expect("own snapshot");
        }
    }
    let output = codec.output().take(BytesMut::new()).to_vec();
    (events, output)
}

/// Sends eight calls and gives some of them up.
fn open_calls(codec: &mut dyn Codec, given_up: u8) {
    let mut request = BytesMut::new();
    Frame {
        version: bolt::Version::V1,
        kind: Kind::Request { timeout_ms: 1 },
        command_version: 1,
        id: 1,
        codec: 1,
        class_name: b"",
        header: bolt::Header::Fields(Vec::new()),
        content: b"",
    }
    .write(&mut request)
    .expect("a small frame");
    let read = bolt::PROTOCOL.rpc_head.expect("an RPC protocol");
    for call in 0..8 {
        let head = read(&request, RpcPayload::Slice(b"")).expect("a good head");
        let stream = codec.open().expect("a stream");
        let part = Part::Head(Head::RpcRequest(head), hangu_codecs::message::End::Yes);
        codec.encode(stream, &part).expect("a good request");
        if given_up & 1 << call != 0 {
            codec.encode(stream, &Part::Reset(Reason::Cancelled)).expect("an open stream");
        }
    }
    codec.output().clear();
}

/// Tells an event; a request must be one that goes on.
fn on_event(event: Event<'_>, next: &mut dyn Codec) -> String {
    let told = tell(&event);
    if let Event::Part(_, part @ Part::Head(Head::RpcRequest(_), _)) = event {
        let stream = next.open().expect("a stream");
        next.encode(stream, &part).expect("what was decoded can be encoded");
        let sent = next.output().take(BytesMut::new());
        let (frame, length) = Frame::parse(&sent).expect("a good frame").expect("a whole frame");
        assert_eq!((length, frame.id), (sent.len(), stream.generation));
        if let Kind::Request { .. } = frame.kind {
            next.encode(stream, &Part::Reset(Reason::Cancelled)).expect("an open stream");
        }
    }
    told
}

fn tell(event: &Event<'_>) -> String {
    let (stream, head): (&StreamId, _) = match event {
        Event::Part(stream, Part::Head(Head::RpcRequest(head), _))
        | Event::Part(stream, Part::Head(Head::RpcResponse(head), _)) => (stream, head),
        Event::Note(note) => return format!("{note:?}"),
        other => panic!("Bolt has no such event: {other:?}"),
    };
    let payload = match head.payload {
        RpcPayload::Slice(bytes) => bytes.to_vec(),
        RpcPayload::Segments(segments) => segments.concat(),
    };
    format!(
        "{stream:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {payload:?}",
        head.two_way, head.service, head.method, head.timeout, head.outcome, head.fields, head.head
    )
}

/// The typed view reads every frame that the codec reads, and writes it again.
fn typed_view(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((frame, length))) = Frame::parse(rest) {
        let mut written = BytesMut::new();
        frame.write(&mut written).expect("what was read can be written");
        let again = Frame::parse(&written).expect("a good frame").expect("a whole frame");
        assert_eq!(again, (frame, written.len()));
        rest = &rest[length..];
    }
}
