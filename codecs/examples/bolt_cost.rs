//! What a frame costs the codec: a request decoded on one connection and encoded on another, its
//! answer the other way round, in batches as a busy relay sees them.
//!
//! ```text
//! cargo run --release -p hangu-codecs --example bolt_cost
//! ```
//! Prints nanoseconds per frame, the best of some rounds: the cost without what the machine does
//! meanwhile.

use std::time::Instant;

use bytes::BytesMut;
use hangu_codecs::bolt::{self, Field, Frame, Header, Kind, SWITCH_CRC, Version};
use hangu_codecs::{Codec, Event, Limits, Role, Scratch, StreamId, Time};

const BATCH: usize = 32;
const BATCHES: usize = 2_000;
const ROUNDS: usize = 15;

fn main() {
    let checked = Version::V2 { minor: 2, switches: SWITCH_CRC };
    for (name, fields, content, version) in [
        ("200 bytes, 2 fields", 2, 50, Version::V1),
        ("500 bytes, 11 fields", 11, 50, Version::V1),
        ("500 bytes, 11 fields, checksum", 11, 50, checked),
        ("4 KiB content, 11 fields", 11, 4096, Version::V1),
    ] {
        let asked = frame(Kind::Request { timeout_ms: 3000 }, fields, content, version);
        let answered = frame(Kind::Response { status: 0 }, 0, content, version);
        let best = (0..ROUNDS).map(|_| round(&asked, &answered)).min_by(f64::total_cmp);
        println!("{name}: {:.0} ns per frame ({} bytes)", best.unwrap_or(0.0), asked.len());
    }
}

fn frame(kind: Kind, fields: usize, content: usize, version: Version) -> Vec<u8> {
    const FIELDS: [(&str, &str); 11] = [
        ("service", "demo.HelloService:1.0"),
        ("sofa_head_method_name", "sayHello"),
        ("sofa_head_target_service", "demo.HelloService:1.0"),
        ("app", "sofa-demo-consumer"),
        ("rpc_trace_context.sofaRpcId", "0"),
        ("rpc_trace_context.samp", "true"),
        ("rpc_trace_context.sofaTraceId", "c0000202179535566702110215499"),
        ("rpc_trace_context.sofaPenAttrs", ""),
        ("rpc_trace_context.sysPenAttrs", ""),
        ("type", "sync"),
        ("protocol", "bolt"),
    ];
    let field = |(name, value): &(&'static str, &'static str)| Field {
        name: Some(name.as_bytes()),
        value: Some(value.as_bytes()),
    };
    let content = vec![0; content];
    let frame = Frame {
        version,
        kind,
        command_version: 1,
        id: 7,
        codec: 1,
        class_name: bolt::CLASS_REQUEST,
        header: Header::Fields(FIELDS.iter().take(fields).map(field).collect()),
        content: &content,
    };
    let mut bytes = BytesMut::new();
    frame.write(&mut bytes).unwrap_or_default();
    bytes.to_vec()
}

/// Nanoseconds per frame of one round.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn round(asked: &[u8], answered: &[u8]) -> f64 {
    let limits = Limits::default();
    let now = Time::from_micros(1);
    let mut downstream = (bolt::PROTOCOL.codec)(Role::Server, &limits, now);
    let mut upstream = (bolt::PROTOCOL.codec)(Role::Client, &limits, now);
    let mut scratch = Scratch::default();
    let mut input = BytesMut::new();
    let (mut to_upstream, mut to_downstream) = (BytesMut::new(), BytesMut::new());
    let mut callers: Vec<Option<StreamId>> = vec![None; 1024];
    let mut spent = 0.0;
    for _ in 0..BATCHES {
        input.clear();
        (0..BATCH).for_each(|_| input.extend_from_slice(asked));
        let start = Instant::now();
        pass(&mut *downstream, &mut *upstream, &mut input, &mut scratch, |codec, caller| {
            let stream = codec.open().ok()?;
            *callers.get_mut(stream.slot as usize)? = Some(caller);
            Some(stream)
        });
        to_upstream = upstream.output().take(to_upstream);
        spent += start.elapsed().as_nanos() as f64;
        // The answers, in the order of the requests: with a checksum each is written anew.
        input.clear();
        for request in to_upstream.chunks(asked.len()) {
            if let Ok(Some((frame, _))) = Frame::parse(request) {
                let Ok(Some((answer, _))) = Frame::parse(answered) else { continue };
                let answer = Frame { id: frame.id, ..answer };
                answer.write(&mut input).unwrap_or_default();
            }
        }
        let start = Instant::now();
        pass(&mut *upstream, &mut *downstream, &mut input, &mut scratch, |_, stream| {
            callers.get_mut(stream.slot as usize)?.take()
        });
        to_downstream = downstream.output().take(to_downstream);
        spent += start.elapsed().as_nanos() as f64;
        assert_eq!(to_downstream.len(), answered.len() * BATCH);
    }
    spent / (2 * BATCH * BATCHES) as f64
}

#[inline(never)]
fn pass(
    from: &mut dyn Codec,
    to: &mut dyn Codec,
    input: &mut BytesMut,
    scratch: &mut Scratch,
    mut stream_of: impl FnMut(&mut dyn Codec, StreamId) -> Option<StreamId>,
) {
    while let Ok(Some(event)) = from.decode(input, scratch, Time::from_micros(1)) {
        let Event::Part(stream, part) = event else { continue };
        let Some(stream) = stream_of(to, stream) else { continue };
        to.encode(stream, &part).unwrap_or_default();
    }
}
