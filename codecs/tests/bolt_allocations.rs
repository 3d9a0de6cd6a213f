//! What is allocated: nothing for a frame once all is warm, nothing for a declared length, and
//! what came for a large frame.

#[path = "support/bolt.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::BytesMut;
use hangu_codecs::bolt::{self, Frame};
use hangu_codecs::{Codec, Event, Limits, Role, Scratch};
use support::{CRC, Peer, at, bytes, request, response};

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        BYTES.set(BYTES.get() + layout.size());
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

fn counted(work: impl FnOnce()) -> (usize, usize) {
    let (count, bytes) = (COUNT.get(), BYTES.get());
    work();
    (COUNT.get() - count, BYTES.get() - bytes)
}

/// A request and its answer through both connections of a gateway, with reused buffers.
struct Relay {
    downstream: Box<dyn Codec>,
    upstream: Box<dyn Codec>,
    scratch: Scratch,
    input: BytesMut,
    spare: BytesMut,
}

impl Relay {
    fn round(&mut self, asked: &[u8], answer: &mut [u8]) {
        let now = at(1);
        self.input.extend_from_slice(asked);
        let event = self.downstream.decode(&mut self.input, &mut self.scratch, now).unwrap();
        let Some(Event::Part(caller, part)) = event else { panic!("no request") };
        let stream = self.upstream.open().unwrap();
        self.upstream.encode(stream, &part).unwrap();
        self.flush(true);
        assert!(self.downstream.decode(&mut self.input, &mut self.scratch, now).unwrap().is_none());
        answer[5..9].copy_from_slice(&stream.generation.to_be_bytes());
        self.input.extend_from_slice(answer);
        let event = self.upstream.decode(&mut self.input, &mut self.scratch, now).unwrap();
        let Some(Event::Part(_, part)) = event else { panic!("no answer") };
        self.downstream.encode(caller, &part).unwrap();
        self.flush(false);
        assert!(self.upstream.decode(&mut self.input, &mut self.scratch, now).unwrap().is_none());
    }

    fn flush(&mut self, upstream: bool) {
        let codec = if upstream { &mut self.upstream } else { &mut self.downstream };
        let spare = std::mem::take(&mut self.spare);
        self.spare = codec.output().take(spare);
        assert!(!self.spare.is_empty());
    }
}

#[test]
fn a_warm_request_and_its_answer_allocate_nothing() {
    let limits = Limits::default();
    let mut relay = Relay {
        downstream: (bolt::PROTOCOL.codec)(Role::Server, &limits, at(1)),
        upstream: (bolt::PROTOCOL.codec)(Role::Client, &limits, at(1)),
        scratch: Scratch::default(),
        input: BytesMut::with_capacity(4096),
        spare: BytesMut::with_capacity(4096),
    };
    let asked = bytes(&[request(1, &[7; 200])]);
    let mut answer = bytes(&[response(1, &[7; 200])]);
    for _ in 0..10 {
        relay.round(&asked, &mut answer);
    }
    let (count, _) = counted(|| {
        for _ in 0..1_000 {
            relay.round(&asked, &mut answer);
        }
    });
    assert_eq!(count, 0, "allocations in 1,000 rounds");
}

#[test]
fn a_declared_length_allocates_nothing() {
    for content_bytes in [0x7fff_ffff_u32, 16 * 1024 * 1024 - 200] {
        for role in [Role::Server, Role::Client] {
            let mut limits = Limits::default();
            limits.rpc.frame_bytes_max = usize::MAX;
            let mut peer = Peer::with(role, limits);
            let mut raw = bytes(&[request(1, b"")]);
            if role == Role::Client {
                let stream = peer.codec.open().unwrap();
                peer.send(stream, &request(1, b""));
                raw = bytes(&[response(stream.generation, b"")]);
            }
            let place = if role == Role::Client { 16 } else { 18 };
            raw[place..place + 4].copy_from_slice(&content_bytes.to_be_bytes());
            raw.resize(raw.len() + 100, 0);
            let (_, allocated) = counted(|| assert_eq!(peer.give(&raw), Ok(vec![])));
            assert!(allocated < 4096, "{allocated} bytes for a declared {content_bytes}");
        }
    }
}

#[test]
fn a_large_frame_costs_no_more_than_what_came() {
    let content = vec![1_u8; 4 << 20];
    let raw = bytes(&[Frame { version: CRC, ..request(1, &content) }]);
    let mut codec = (bolt::PROTOCOL.codec)(Role::Server, &Limits::default(), at(1));
    let mut scratch = Scratch::default();
    let mut input = BytesMut::with_capacity(256 * 1024);
    let mut gathering = 0;
    for piece in raw.chunks(64 * 1024) {
        // What the owner of the socket allocates to read into is not the codec's.
        input.extend_from_slice(piece);
        let (_, allocated) = counted(|| {
            let event = codec.decode(&mut input, &mut scratch, at(1)).unwrap();
            assert!(event.is_none_or(|it| matches!(it, Event::Part(..))));
        });
        gathering += allocated;
    }
    assert!(gathering < 64 * 1024, "{gathering} bytes beside what came");
}
