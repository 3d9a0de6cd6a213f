//! Frames of HTTP/2: none panics, all that is read lies within the frame, and what is read is
//! written again and reads equal; a field block cut into frames comes together again.
#![no_main]

use bytes::BytesMut;
use hangu_codecs::http2::frame::{
    self, Frame, FrameHeader, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX, Settings,
};
use hangu_fuzz::Choices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (bytes, mut choices) = Choices::split(input);
    let mut rest = bytes;
    while let Some(header) = FrameHeader::read(rest) {
        assert!(header.length <= PAYLOAD_BYTES_MAX);
        let behind = &rest[HEADER_BYTES..];
        let Some((payload, after)) = behind.split_at_checked(header.length as usize) else {
            assert!(frame::read(&header, behind).is_err(), "a truncated frame was read");
            // And as if it were whole.
            let length = u32::try_from(behind.len()).expect("a short input");
            check(&FrameHeader { length, ..header }, behind);
            break;
        };
        check(&header, payload);
        rest = after;
    }
    let stream = 1 + 2 * u32::from(choices.byte());
    check_block(stream, u32::from(choices.byte()), bytes);
});

fn check(header: &FrameHeader, payload: &[u8]) {
    let read = match frame::read(header, payload) {
        Ok(Frame::Unknown) => return assert!(matches!(header.kind, Kind::Unknown(_))),
        Ok(read) => read,
        Err(error) => return assert!(!error.reason.is_empty()),
    };
    if let Frame::Data(data) = read {
        assert_eq!(data.window_bytes(), payload.len());
    }
    if let Frame::Settings(Settings::Values(values)) = read {
        assert_eq!(values.iter().count(), values.len());
    }
    let mut written = BytesMut::new();
    read.write(&mut written).expect("what was read can be written");
    assert_eq!(written.len(), HEADER_BYTES + payload.len());
    let again = FrameHeader::read(&written).expect("a whole header");
    assert_eq!(again, FrameHeader { flags: again.flags, ..*header });
    assert_eq!(again.flags & !header.flags, 0, "a flag came from nowhere");
    assert_eq!(frame::read(&again, &written[HEADER_BYTES..]), Ok(read));
}

fn check_block(stream: u32, payload_bytes_max: u32, block: &[u8]) {
    let mut out = BytesMut::new();
    frame::headers::write_block(stream, false, block, payload_bytes_max, &mut out);
    let mut in_place = BytesMut::new();
    let begun = frame::headers::Block::begin(&mut in_place);
    in_place.extend_from_slice(block);
    begun.end(stream, false, payload_bytes_max, &mut in_place);
    assert_eq!(in_place, out);
    let (mut rest, mut joined) = (&out[..], Vec::new());
    loop {
        let header = FrameHeader::read(rest).expect("a whole header");
        let (payload, after) = rest[HEADER_BYTES..].split_at(header.length as usize);
        assert!(header.length <= payload_bytes_max.max(1));
        let (fragment, is_end) = match frame::read(&header, payload).expect("a good frame") {
            Frame::Headers(headers) if joined.is_empty() => (headers.fragment, headers.end_headers),
            Frame::Continuation(more) => (more.fragment, more.end_headers),
            other => panic!("no part of a field block: {other:?}"),
        };
        joined.extend_from_slice(fragment);
        rest = after;
        if is_end {
            break;
        }
    }
    assert!(rest.is_empty());
    assert_eq!(joined, block);
}
