//! A request and its answer through the codecs of both sides, again and again, without sockets:
//! what `hangu-bench codecs` runs under valgrind. Counts allocations itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::error::Error;
use std::process::ExitCode;

use bytes::BytesMut;
use clap::Parser;
use hangu_benches::body::body;
use hangu_benches::bolt::{REQUEST_CLASS, RESPONSE_CLASS, SERVICE};
use hangu_benches::codecs::{CASES, Case, Counted, Spoken};
use hangu_codecs::bolt::{self, Field, Frame, Header, Kind, Version};
use hangu_codecs::{Codec, Event, Limits, Protocol, Role, Scratch, StreamId, Time, http1};

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; the counters allocate nothing. What
// grows in place is counted by the default `realloc`, which asks here for the new block.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size() as u64);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Passes requests and answers through the codecs of both sides.
#[derive(Debug, Parser)]
struct Cli {
    /// What passes.
    #[arg(long)]
    case: String,
    /// How often, after a hundred rounds that are not counted as allocations.
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
}

/// Until all buffers have their size.
const WARM_UP: u64 = 100;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hangu-bench-codecs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let case = CASES.iter().find(|case| case.name == cli.case).ok_or("no such case")?;
    let mut rig = Rig::new(case);
    for _ in 0..WARM_UP {
        rig.round()?;
    }
    rig.allocated = Allocated::default();
    for _ in 0..cli.rounds {
        rig.round()?;
    }
    let found = Counted {
        rounds: cli.rounds,
        allocations: rig.allocated.count,
        allocated_bytes: rig.allocated.bytes,
        request_bytes: rig.request.len(),
        answer_bytes: rig.answer.len(),
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

/// What the codecs allocated, and not what the rig does around them.
#[derive(Clone, Copy, Default)]
struct Allocated {
    count: u64,
    bytes: u64,
}

impl Allocated {
    fn so_far() -> Self {
        Self { count: ALLOCATIONS.get(), bytes: BYTES.get() }
    }

    fn add_since(&mut self, before: Self) {
        let now = Self::so_far();
        self.count += now.count - before.count;
        self.bytes += now.bytes - before.bytes;
    }
}

/// The two connections of a gateway, with reused buffers.
struct Rig {
    case: Case,
    downstream: Box<dyn Codec>,
    upstream: Box<dyn Codec>,
    buffers: Buffers,
    /// What the client sends.
    request: Vec<u8>,
    /// What the server answers; in RPC its id is another one each time.
    answer: BytesMut,
    expected: Vec<u8>,
    allocated: Allocated,
}

#[derive(Default)]
struct Buffers {
    scratch: Scratch,
    input: BytesMut,
    output: BytesMut,
}

impl Rig {
    fn new(case: &Case) -> Self {
        let protocol: &Protocol = match case.spoken {
            Spoken::Http1 { .. } => &http1::PROTOCOL,
            Spoken::BoltV1 | Spoken::BoltV2 | Spoken::BoltV2Crc => &bolt::PROTOCOL,
        };
        let codec = |role| (protocol.codec)(role, &Limits::default(), NOW);
        let mut expected = BytesMut::new();
        put_answer(case, REQUEST_ID, &mut expected);
        Self {
            case: *case,
            downstream: codec(Role::Server),
            upstream: codec(Role::Client),
            buffers: Buffers::default(),
            request: request(case),
            answer: BytesMut::new(),
            expected: expected.to_vec(),
            allocated: Allocated::default(),
        }
    }

    fn round(&mut self) -> Result<(), Box<dyn Error>> {
        let buffers = &mut self.buffers;
        let stream = self.upstream.open()?;
        // What the owner of the socket reads is there before it is decoded.
        buffers.input.extend_from_slice(&self.request);
        let before = Allocated::so_far();
        let caller = carry_message(&mut self.downstream, &mut self.upstream, stream, buffers)
            .ok_or("the request did not pass")?;
        self.allocated.add_since(before);
        let id = id(&self.case, &buffers.output).ok_or("the request has no id")?;
        self.answer.clear();
        put_answer(&self.case, id, &mut self.answer);
        buffers.input.extend_from_slice(&self.answer);
        let before = Allocated::so_far();
        carry_message(&mut self.upstream, &mut self.downstream, caller, buffers)
            .ok_or("the answer did not pass")?;
        self.allocated.add_since(before);
        let is_right = match self.case.spoken {
            // Heads are written anew; what they say ends in the same body.
            Spoken::Http1 { body_bytes } => buffers.output.ends_with(body(body_bytes)),
            Spoken::BoltV1 | Spoken::BoltV2 | Spoken::BoltV2Crc => {
                buffers.output[..] == self.expected[..]
            }
        };
        if is_right { Ok(()) } else { Err("the answer is another one".into()) }
    }
}

/// Decodes all that has come and encodes it on the other side, as one wake-up does; gives the
/// stream that it came on. Valgrind counts what happens in here and nowhere else.
#[inline(never)]
fn carry_message(
    from: &mut Box<dyn Codec>,
    to: &mut Box<dyn Codec>,
    stream: StreamId,
    buffers: &mut Buffers,
) -> Option<StreamId> {
    let mut came_on = None;
    while let Some(event) = from.decode(&mut buffers.input, &mut buffers.scratch, NOW).ok()? {
        let Event::Part(from_stream, part) = event else { continue };
        to.encode(stream, &part).ok()?;
        came_on = Some(from_stream);
    }
    let spare = std::mem::take(&mut buffers.output);
    buffers.output = to.output().take(spare);
    came_on
}

const NOW: Time = Time::from_micros(1_000_000);
const REQUEST_ID: u32 = 77;
const CONTENT_BYTES: usize = 128;

fn request(case: &Case) -> Vec<u8> {
    match case.spoken {
        Spoken::Http1 { body_bytes } => format!(
            "GET /{body_bytes} HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: hangu-bench\r\n\
             Accept: */*\r\n\r\n"
        )
        .into_bytes(),
        Spoken::BoltV1 | Spoken::BoltV2 | Spoken::BoltV2Crc => {
            let mut bytes = BytesMut::new();
            let header = Header::Fields(FIELDS.iter().map(|it| field(it.0, it.1)).collect());
            let kind = Kind::Request { timeout_ms: 3000 };
            put_frame(case, kind, REQUEST_ID, REQUEST_CLASS, header, &mut bytes);
            bytes.to_vec()
        }
    }
}

/// The fields by which a SOFA-RPC call is routed.
const FIELDS: [(&str, &str); 5] = [
    ("sofa_head_target_service", SERVICE),
    ("app", "bench-consumer"),
    ("type", "sync"),
    ("service", SERVICE),
    ("sofa_head_method_name", "sayHello"),
];

fn put_answer(case: &Case, id: u32, into: &mut BytesMut) {
    match case.spoken {
        Spoken::Http1 { body_bytes } => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n\
                 Content-Type: text/plain\r\nContent-Length: {body_bytes}\r\n\r\n"
            );
            into.extend_from_slice(head.as_bytes());
            into.extend_from_slice(body(body_bytes));
        }
        Spoken::BoltV1 | Spoken::BoltV2 | Spoken::BoltV2Crc => {
            let kind = Kind::Response { status: 0 };
            put_frame(case, kind, id, RESPONSE_CLASS, Header::Fields(vec![]), into);
        }
    }
}

fn put_frame(
    case: &Case,
    kind: Kind,
    id: u32,
    class_name: &[u8],
    header: Header<'_>,
    into: &mut BytesMut,
) {
    let version = match case.spoken {
        Spoken::BoltV2 => Version::V2 { minor: 1, switches: 0 },
        Spoken::BoltV2Crc => Version::V2 { minor: 2, switches: bolt::SWITCH_CRC },
        Spoken::BoltV1 | Spoken::Http1 { .. } => Version::V1,
    };
    let content = body(CONTENT_BYTES);
    let frame =
        Frame { version, kind, command_version: 1, id, codec: 1, class_name, header, content };
    // The lengths are of our own making; a frame that was not written would not pass.
    let _ = frame.write(into);
}

fn field(name: &'static str, value: &'static str) -> Field<'static> {
    Field { name: Some(name.as_bytes()), value: Some(value.as_bytes()) }
}

/// The id under which the request goes on, where the protocol has ids.
fn id(case: &Case, frame: &[u8]) -> Option<u32> {
    let offset = match case.spoken {
        Spoken::Http1 { .. } => return Some(0),
        Spoken::BoltV1 => 5,
        Spoken::BoltV2 | Spoken::BoltV2Crc => 6,
    };
    Some(u32::from_be_bytes(frame.get(offset..offset + 4)?.try_into().ok()?))
}
