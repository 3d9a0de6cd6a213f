//! Requests whose fields are far more than their bytes on the wire.

use super::{End, Flow, Next, fixed, hpack};

/// Bytes of the value of the entry that is named again and again: the largest for which a table of
/// 4,096 bytes has room, with its name and 32 bytes that are counted for each entry (RFC 7541 §4.1).
const ENTRY_VALUE_BYTES: usize = 4096 - 32 - 1;
/// How often it is named in one request: nearly as often as a frame has room.
const ENTRY_TIMES: usize = 16_000;
/// Cookies of one request, at most.
const CRUMBS_MAX: u32 = 4000;
/// Fields without name and value of one request, at most.
const NAMELESS_MAX: u32 = 1300;

/// A bomb: 16 KB that are 64 MB to whoever writes them out.
pub(super) fn bomb(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    let block = &mut block(flow);
    if flow.turn == 0 {
        hpack::remembered(block, b"x", &[b'a'; ENTRY_VALUE_BYTES]);
    } else {
        (0..ENTRY_TIMES).for_each(|_| hpack::indexed(block, fixed::NEWEST));
    }
    send(flow, out, block)
}

/// Cookies may come as many fields, which are joined for HTTP/1.1 (RFC 9113 §8.2.3).
pub(super) fn crumbs(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    let block = &mut block(flow);
    if flow.turn == 0 {
        hpack::remembered(block, b"cookie", b"a=b");
    } else {
        let times = flow.random.below(CRUMBS_MAX);
        (0..times).for_each(|_| hpack::indexed(block, fixed::NEWEST));
        // One by the static table's name too.
        hpack::named(block, fixed::COOKIE, b"c=d");
    }
    send(flow, out, block)
}

/// A name has at least one character (RFC 9110 §5.1).
pub(super) fn nameless(flow: &mut Flow, out: &mut Vec<u8>) -> Next {
    let block = &mut block(flow);
    (0..=flow.random.below(NAMELESS_MAX)).for_each(|_| hpack::literal(block, b"", b""));
    send(flow, out, block)
}

fn block(flow: &Flow) -> Vec<u8> {
    hpack::request(fixed::METHOD_GET, &flow.asked.authority, &flow.asked.path)
}

fn send(flow: &mut Flow, out: &mut Vec<u8>, block: &[u8]) -> Next {
    let stream = flow.pass_stream();
    hpack::headers(out, stream, End::Stream, block);
    Next::GoOn
}
