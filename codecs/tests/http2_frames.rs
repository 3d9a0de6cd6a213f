//! Frames of HTTP/2: each field of each type, read and written; what is not well formed, and the
//! error that it is; nothing that was cut off is taken for whole.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use hangu_codecs::http2::ErrorCode;
use hangu_codecs::http2::frame::{
    self, Continuation, Data, Frame, FrameError, FrameHeader, GoAway, HEADER_BYTES, Headers, Kind,
    PAYLOAD_BYTES_MIN, Ping, Priority, PushPromise, RstStream, STREAM_MAX, Scope, Setting,
    Settings, WindowUpdate, priority,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Reads the frame at the front, as a connection with the settings that hold at first does: the
/// header, the frame, what follows.
type Read<'a> = (FrameHeader, Frame<'a>, &'a [u8]);

fn read(bytes: &[u8]) -> Result<Option<Read<'_>>, FrameError> {
    let Some(header) = FrameHeader::read(bytes) else { return Ok(None) };
    header.check_length(PAYLOAD_BYTES_MIN)?;
    let rest = &bytes[HEADER_BYTES..];
    let Some((payload, rest)) = rest.split_at_checked(header.length as usize) else {
        return Ok(None);
    };
    Ok(Some((header, frame::read(&header, payload)?, rest)))
}

fn write(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame.write(&mut out).unwrap();
    out.to_vec()
}

/// A frame from its parts, however wrong.
fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// One or more frames of each type, and the bytes that they are.
fn vectors() -> Vec<(Frame<'static>, Vec<u8>)> {
    let data = Data { stream: 1, end_stream: false, data: b"hello", padding: None };
    let headers = Headers {
        stream: 3,
        end_stream: true,
        end_headers: true,
        priority: None,
        fragment: b"block",
        padding: None,
    };
    let priority = Priority { dependency: 1, is_exclusive: true, weight_minus_one: 15 };
    let promise =
        PushPromise { stream: 1, end_headers: true, promised: 2, fragment: b"pp", padding: None };
    let values = [
        0, 1, 0, 0, 16, 0, 0, 2, 0, 0, 0, 1, 0, 3, 0, 0, 0, 100, 0, 4, 0x7f, 255, 255, 255, 0, 5,
        0, 255, 255, 255, 0, 6, 0, 1, 0, 0, 0, 8, 0, 0, 0, 1, 0, 9, 0, 0, 0, 7,
    ];
    let settings = Box::leak(raw(4, 0, 0, &values).into_boxed_slice());
    let (_, settings, _) = read(settings).unwrap().unwrap();
    let all: Vec<(Frame<'static>, Vec<u8>)> = vec![
        (Frame::Data(data), raw(0, 0, 1, b"hello")),
        (Frame::Data(Data { end_stream: true, data: b"", ..data }), raw(0, 1, 1, b"")),
        (Frame::Data(Data { padding: Some(b""), ..data }), raw(0, 8, 1, b"\0hello")),
        (Frame::Data(Data { padding: Some(b"\0\0"), ..data }), raw(0, 8, 1, b"\x02hello\0\0")),
        (Frame::Headers(headers), raw(1, 5, 3, b"block")),
        (
            Frame::Headers(Headers {
                end_stream: false,
                end_headers: false,
                priority: Some(priority),
                padding: Some(b"\0"),
                ..headers
            }),
            raw(1, 0x28, 3, b"\x01\x80\0\0\x01\x0fblock\0"),
        ),
        (
            Frame::Priority(priority::Frame { stream: 5, priority }),
            raw(2, 0, 5, b"\x80\0\0\x01\x0f"),
        ),
        (
            Frame::RstStream(RstStream { stream: 7, code: ErrorCode::Cancel }),
            raw(3, 0, 7, b"\0\0\0\x08"),
        ),
        (settings, raw(4, 0, 0, &values)),
        (Frame::Settings(Settings::Ack), raw(4, 1, 0, b"")),
        (Frame::PushPromise(promise), raw(5, 4, 1, b"\0\0\0\x02pp")),
        (
            Frame::PushPromise(PushPromise { padding: Some(b"\0\0\0"), ..promise }),
            raw(5, 12, 1, b"\x03\0\0\0\x02pp\0\0\0"),
        ),
        (Frame::Ping(Ping { is_ack: false, payload: *b"12345678" }), raw(6, 0, 0, b"12345678")),
        (Frame::Ping(Ping { is_ack: true, payload: [0; 8] }), raw(6, 1, 0, &[0; 8])),
        (
            Frame::GoAway(GoAway {
                last_stream: STREAM_MAX,
                code: ErrorCode::Unknown(0xffff_fffe),
                debug: b"why",
            }),
            raw(7, 0, 0, b"\x7f\xff\xff\xff\xff\xff\xff\xfewhy"),
        ),
        (
            Frame::WindowUpdate(WindowUpdate { stream: 0, increment: STREAM_MAX }),
            raw(8, 0, 0, b"\x7f\xff\xff\xff"),
        ),
        (
            Frame::WindowUpdate(WindowUpdate { stream: 9, increment: 1 }),
            raw(8, 0, 9, b"\0\0\0\x01"),
        ),
        (
            Frame::Continuation(Continuation { stream: 3, end_headers: true, fragment: b"more" }),
            raw(9, 4, 3, b"more"),
        ),
    ];
    all
}

#[test]
fn each_type_is_read_field_by_field_and_written_again_to_the_byte() {
    for (frame, bytes) in vectors() {
        let (header, read, rest) = read(&bytes).unwrap().unwrap();
        assert_eq!((read, rest), (frame, &b""[..]), "{bytes:?}");
        assert_eq!(header.length as usize, bytes.len() - HEADER_BYTES);
        assert_eq!(write(&frame), bytes, "{frame:?}");
    }
}

#[test]
fn what_is_cut_off_is_not_taken_for_whole() {
    for (frame, bytes) in vectors() {
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Ok(None), "{frame:?} cut at {cut}");
        }
        let header = FrameHeader::read(&bytes).unwrap();
        for cut in HEADER_BYTES..bytes.len() {
            let error = frame::read(&header, &bytes[HEADER_BYTES..cut]).unwrap_err();
            assert_eq!((error.code, error.reason), (ErrorCode::FrameSizeError, "frame_truncated"));
        }
    }
}

#[test]
fn a_shorter_payload_under_a_header_of_its_own_never_panics() {
    for (_, bytes) in vectors() {
        let header = FrameHeader::read(&bytes).unwrap();
        for cut in HEADER_BYTES..=bytes.len() {
            for flags in 0..=255 {
                let length = u32::try_from(cut - HEADER_BYTES).unwrap();
                let header = FrameHeader { length, flags, ..header };
                if let Ok(read) = frame::read(&header, &bytes[HEADER_BYTES..cut]) {
                    let written = write(&read);
                    let again = FrameHeader::read(&written).unwrap();
                    assert_eq!(frame::read(&again, &written[HEADER_BYTES..]), Ok(read));
                }
            }
        }
    }
}

#[test]
fn bits_without_a_meaning_are_ignored_and_not_sent_on() {
    let reserved = STREAM_MAX + 1;
    for (frame, bytes) in vectors() {
        let mut other = bytes.clone();
        other[5] |= 0x80;
        other[4] |= 0xd2;
        if matches!(frame, Frame::RstStream(_) | Frame::WindowUpdate(_)) {
            other[4] = 0xff;
        }
        if let Frame::WindowUpdate(_) | Frame::GoAway(_) = frame {
            other[HEADER_BYTES] |= 0x80;
        }
        let (header, read, _) = read(&other).unwrap().unwrap();
        assert_eq!((read, header.stream & reserved), (frame, 0));
        assert_eq!(write(&read), bytes);
    }
}

#[test]
fn an_unknown_type_is_told_and_left() {
    let bytes = raw(0xfa, 0xff, 77, b"whatever");
    let (header, frame, rest) = read(&bytes).unwrap().unwrap();
    assert_eq!((header.kind, header.stream), (Kind::Unknown(0xfa), 77));
    assert_eq!((frame, rest), (Frame::Unknown, &b""[..]));
    assert_eq!(write(&frame), b"");
    for number in 0..=255 {
        assert_eq!(u8::from(Kind::from(number)), number);
    }
}

#[test]
fn settings_are_told_in_order_with_those_that_are_not_known() {
    let expected = [
        Setting::HeaderTableSize(4096),
        Setting::EnablePush(true),
        Setting::MaxConcurrentStreams(100),
        Setting::InitialWindowSize(STREAM_MAX),
        Setting::MaxFrameSize(65_535 << 8 | 255),
        Setting::MaxHeaderListSize(65_536),
        Setting::EnableConnectProtocol(true),
        Setting::Unknown { id: 9, value: 7 },
    ];
    let mut out = BytesMut::new();
    frame::settings::write(&expected, &mut out);
    let (_, frame, _) = read(&out).unwrap().unwrap();
    let Frame::Settings(Settings::Values(values)) = frame else { panic!("{frame:?}") };
    assert_eq!(values.iter().collect::<Vec<_>>(), expected);
    assert_eq!((values.len(), values.is_empty()), (8, false));
}

#[test]
fn every_rule_of_a_single_frame_is_held() {
    use ErrorCode::{FlowControlError, FrameSizeError, ProtocolError};
    use Scope::{Connection, Stream};
    let setting = |id: u16, value: u32| {
        let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        raw(4, 0, 0, &payload)
    };
    let cases = [
        // §6.1
        (raw(0, 0, 0, b"x"), ProtocolError, Connection, "data_without_stream"),
        (raw(0, 8, 1, b""), FrameSizeError, Connection, "frame_too_short"),
        (raw(0, 8, 1, b"\x01"), ProtocolError, Connection, "padding_longer_than_payload"),
        (raw(0, 8, 1, b"\x03\0\0"), ProtocolError, Connection, "padding_longer_than_payload"),
        (raw(0, 8, 1, b"\xff\0\0"), ProtocolError, Connection, "padding_longer_than_payload"),
        // §6.2
        (raw(1, 4, 0, b"x"), ProtocolError, Connection, "headers_without_stream"),
        (raw(1, 0x0c, 1, b""), FrameSizeError, Connection, "frame_too_short"),
        (raw(1, 0x0c, 1, b"\x02\0"), ProtocolError, Connection, "padding_longer_than_payload"),
        (raw(1, 0x24, 1, b"\0\0\0\x01"), FrameSizeError, Connection, "frame_too_short"),
        (raw(1, 0x2c, 1, b"\0\0\0\0\x01"), FrameSizeError, Connection, "frame_too_short"),
        (
            raw(1, 0x2c, 1, b"\x01\0\0\0\x03\0"),
            ProtocolError,
            Connection,
            "padding_longer_than_payload",
        ),
        // §6.3; the dependency: RFC 7540 §5.3.1
        (raw(2, 0, 0, &[0; 5]), ProtocolError, Connection, "priority_without_stream"),
        (raw(2, 0, 0, &[0; 4]), ProtocolError, Connection, "priority_without_stream"),
        (raw(2, 0, 1, &[0; 4]), FrameSizeError, Stream, "priority_length"),
        (raw(2, 0, 1, &[0; 6]), FrameSizeError, Stream, "priority_length"),
        (raw(2, 0, 1, b""), FrameSizeError, Stream, "priority_length"),
        (raw(2, 0, 9, b"\0\0\0\x09\0"), ProtocolError, Stream, "priority_depends_on_itself"),
        (raw(2, 0, 9, b"\x80\0\0\x09\0"), ProtocolError, Stream, "priority_depends_on_itself"),
        // §6.4
        (raw(3, 0, 0, &[0; 4]), ProtocolError, Connection, "rst_stream_without_stream"),
        (raw(3, 0, 1, &[0; 3]), FrameSizeError, Connection, "rst_stream_length"),
        (raw(3, 0, 1, &[0; 5]), FrameSizeError, Connection, "rst_stream_length"),
        // §6.5
        (raw(4, 0, 1, b""), ProtocolError, Connection, "settings_on_stream"),
        (raw(4, 1, 1, b""), ProtocolError, Connection, "settings_on_stream"),
        (raw(4, 1, 0, &[0; 6]), FrameSizeError, Connection, "settings_ack_with_payload"),
        (raw(4, 1, 0, &[0; 1]), FrameSizeError, Connection, "settings_ack_with_payload"),
        (raw(4, 0, 0, &[0; 5]), FrameSizeError, Connection, "settings_length"),
        (raw(4, 0, 0, &[0; 7]), FrameSizeError, Connection, "settings_length"),
        // §6.5.2
        (setting(2, 2), ProtocolError, Connection, "settings_enable_push"),
        (setting(2, u32::MAX), ProtocolError, Connection, "settings_enable_push"),
        (setting(4, 1 << 31), FlowControlError, Connection, "settings_initial_window_size"),
        (setting(4, u32::MAX), FlowControlError, Connection, "settings_initial_window_size"),
        (setting(5, 0), ProtocolError, Connection, "settings_max_frame_size"),
        (setting(5, 16_383), ProtocolError, Connection, "settings_max_frame_size"),
        (setting(5, 1 << 24), ProtocolError, Connection, "settings_max_frame_size"),
        // RFC 8441 §3
        (setting(8, 2), ProtocolError, Connection, "settings_enable_connect_protocol"),
        // §6.6
        (raw(5, 4, 0, &[0; 4]), ProtocolError, Connection, "push_promise_without_stream"),
        (raw(5, 4, 1, &[0; 3]), FrameSizeError, Connection, "frame_too_short"),
        (raw(5, 12, 1, &[0; 4]), FrameSizeError, Connection, "frame_too_short"),
        (
            raw(5, 12, 1, b"\x01\0\0\0\x02"),
            ProtocolError,
            Connection,
            "padding_longer_than_payload",
        ),
        (raw(5, 4, 1, &[0; 4]), ProtocolError, Connection, "push_promise_of_wrong_stream"),
        (raw(5, 4, 1, b"\0\0\0\x03"), ProtocolError, Connection, "push_promise_of_wrong_stream"),
        (raw(5, 4, 1, b"\x80\0\0\0"), ProtocolError, Connection, "push_promise_of_wrong_stream"),
        // §6.7
        (raw(6, 0, 1, &[0; 8]), ProtocolError, Connection, "ping_on_stream"),
        (raw(6, 1, 0, &[0; 7]), FrameSizeError, Connection, "ping_length"),
        (raw(6, 0, 0, &[0; 9]), FrameSizeError, Connection, "ping_length"),
        // §6.8
        (raw(7, 0, 1, &[0; 8]), ProtocolError, Connection, "goaway_on_stream"),
        (raw(7, 0, 0, &[0; 7]), FrameSizeError, Connection, "goaway_length"),
        // §6.9
        (raw(8, 0, 1, &[0; 3]), FrameSizeError, Connection, "window_update_length"),
        (raw(8, 0, 0, &[0; 5]), FrameSizeError, Connection, "window_update_length"),
        (raw(8, 0, 0, &[0; 4]), ProtocolError, Connection, "window_update_by_zero"),
        (raw(8, 0, 3, &[0; 4]), ProtocolError, Stream, "window_update_by_zero"),
        (raw(8, 0, 3, b"\x80\0\0\0"), ProtocolError, Stream, "window_update_by_zero"),
        // §6.10
        (raw(9, 4, 0, b"x"), ProtocolError, Connection, "continuation_without_stream"),
        // §4.2
        (raw(0, 0, 1, &[0; 16_385]), FrameSizeError, Connection, "frame_too_long"),
        (raw(0xfa, 0, 1, &[0; 16_385]), FrameSizeError, Connection, "frame_too_long"),
    ];
    for (bytes, code, scope, reason) in cases {
        assert_eq!(read(&bytes), Err(FrameError { code, scope, reason }), "{bytes:x?}");
    }
    let longest = raw(0, 0, 1, &[0; 16_384]);
    let (_, frame, _) = read(&longest).unwrap().unwrap();
    assert!(matches!(frame, Frame::Data(data) if data.window_bytes() == 16_384));
}

#[test]
fn headers_that_depend_on_themselves_still_give_their_field_block() {
    let bytes = raw(1, 0x24, 3, b"\0\0\0\x03\0block");
    let (_, frame, _) = read(&bytes).unwrap().unwrap();
    let Frame::Headers(headers) = frame else { panic!("{frame:?}") };
    assert_eq!(headers.fragment, b"block");
    let error = headers.check().unwrap_err();
    assert_eq!((error.code, error.scope), (ErrorCode::ProtocolError, Scope::Stream));
    let other = Headers { stream: 5, ..headers };
    assert_eq!(other.check(), Ok(()));
}

/// The vectors of `http2-frame-test-case` where they lie beside the project, or where
/// `HANGU_H2_FRAMES` points.
fn cases() -> Vec<(PathBuf, Value)> {
    let place = std::env::var_os("HANGU_H2_FRAMES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/h2-frames"),
        PathBuf::from,
    );
    let Ok(directories) = std::fs::read_dir(place) else { return Vec::new() };
    let directories = directories.map(|it| it.unwrap().path()).filter(|it| it.is_dir());
    let files = directories.flat_map(|it| std::fs::read_dir(it).unwrap());
    let files = files.map(|it| it.unwrap().path());
    let files = files.filter(|it| it.extension().is_some_and(|it| it == "json"));
    let read = |path: PathBuf| {
        let case = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        (path, case)
    };
    let mut cases: Vec<_> = files.map(read).collect();
    cases.sort_by(|one, other| one.0.cmp(&other.0));
    cases
}

#[test]
fn the_vectors_of_others_are_read_as_they_say() {
    let cases = cases();
    if cases.is_empty() {
        return eprintln!("no vectors here");
    }
    let (mut valid, mut malformed) = (0, 0);
    for (path, case) in &cases {
        let hex = case["wire"].as_str().unwrap();
        let wire: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        if let Some(codes) = case["error"].as_array() {
            let header = FrameHeader::read(&wire).unwrap();
            let payload = wire.get(HEADER_BYTES..).unwrap();
            let error = match header.check_length(PAYLOAD_BYTES_MIN) {
                Err(error) => error,
                // One vector says less than it has: what it says is what is read.
                Ok(()) => {
                    let payload = &payload[..payload.len().min(header.length as usize)];
                    frame::read(&header, payload).expect_err(&path.display().to_string())
                }
            };
            let code = u32::from(error.code);
            assert!(codes.contains(&code.into()), "{}: {error:?}", path.display());
            malformed += 1;
            continue;
        }
        let (header, frame, rest) = read(&wire).unwrap().unwrap();
        assert_eq!(rest, b"", "{}", path.display());
        assert_eq!(shown(&header, &frame), case["frame"], "{}", path.display());
        assert_eq!(write(&frame), wire, "{}", path.display());
        valid += 1;
    }
    assert!(valid >= 12 && malformed >= 22, "only {valid} valid and {malformed} malformed");
}

/// A frame in the words of the vectors.
fn shown(header: &FrameHeader, frame: &Frame<'_>) -> Value {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let padding = |it: Option<&[u8]>| (it.map(<[u8]>::len), it.map(text));
    let weight = |it: Priority| u16::from(it.weight_minus_one) + 1;
    let payload = match frame {
        Frame::Data(it) => {
            let (length, padding) = padding(it.padding);
            json!({"data": text(it.data), "padding_length": length, "padding": padding})
        }
        Frame::Headers(it) => {
            let (length, padding) = padding(it.padding);
            json!({
                "stream_dependency": it.priority.map(|it| it.dependency),
                "weight": it.priority.map(weight),
                "exclusive": it.priority.map(|it| it.is_exclusive),
                "header_block_fragment": text(it.fragment),
                "padding_length": length,
                "padding": padding,
            })
        }
        Frame::Priority(it) => json!({
            "stream_dependency": it.priority.dependency,
            "weight": weight(it.priority),
            "exclusive": it.priority.is_exclusive,
            "padding_length": null,
            "padding": null,
        }),
        Frame::RstStream(it) => json!({"error_code": u32::from(it.code)}),
        Frame::Settings(Settings::Values(values)) => {
            let pairs: Vec<_> = values.iter().map(Setting::parts).collect();
            json!({ "settings": pairs })
        }
        Frame::PushPromise(it) => {
            let (length, padding) = padding(it.padding);
            json!({
                "promised_stream_id": it.promised,
                "header_block_fragment": text(it.fragment),
                "padding_length": length,
                "padding": padding,
            })
        }
        Frame::Ping(it) => json!({"opaque_data": text(&it.payload)}),
        Frame::GoAway(it) => json!({
            "last_stream_id": it.last_stream,
            "error_code": u32::from(it.code),
            "additional_debug_data": text(it.debug),
        }),
        Frame::WindowUpdate(it) => json!({"window_size_increment": it.increment}),
        Frame::Continuation(it) => json!({"header_block_fragment": text(it.fragment)}),
        Frame::Settings(Settings::Ack) | Frame::Unknown => panic!("not among the vectors"),
    };
    json!({
        "length": header.length,
        "type": u8::from(header.kind),
        "flags": header.flags,
        "stream_identifier": header.stream,
        "frame_payload": payload,
    })
}

/// The variable parts of any frame.
#[derive(Clone, Debug)]
struct Parts {
    stream: u32,
    other: u32,
    number: u32,
    bytes: Vec<u8>,
    padding: Option<Vec<u8>>,
    switches: [bool; 3],
    settings: Vec<(u16, u32)>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let padding = prop::option::of(prop::collection::vec(any::<u8>(), 0..=255));
    let settings = prop::collection::vec((9_u16.., any::<u32>()), 0..20);
    (1..=STREAM_MAX, 0..=STREAM_MAX, any::<u32>(), bytes, padding, any::<[bool; 3]>(), settings)
        .prop_map(|(stream, other, number, bytes, padding, switches, settings)| Parts {
            stream,
            other,
            number,
            bytes,
            padding,
            switches,
            settings,
        })
}

/// One frame of each type from these parts.
fn frames(parts: &Parts) -> Vec<Frame<'_>> {
    let Parts { stream, other, number, bytes, .. } = parts;
    let (stream, padding) = (*stream, parts.padding.as_deref());
    let [end_stream, end_headers, is_exclusive] = parts.switches;
    let weight_minus_one = number.to_be_bytes()[0];
    let other = if *other == stream { 0 } else { *other };
    let priority = Priority { dependency: other, is_exclusive, weight_minus_one };
    let has_priority = number % 2 == 1;
    vec![
        Frame::Data(Data { stream, end_stream, data: bytes, padding }),
        Frame::Headers(Headers {
            stream,
            end_stream,
            end_headers,
            priority: has_priority.then_some(priority),
            fragment: bytes,
            padding,
        }),
        Frame::Priority(priority::Frame { stream, priority }),
        Frame::RstStream(RstStream { stream, code: (*number).into() }),
        Frame::PushPromise(PushPromise {
            stream,
            end_headers,
            promised: (other & !1).max(2),
            fragment: bytes,
            padding,
        }),
        Frame::Ping(Ping { is_ack: end_stream, payload: u64::from(*number).to_le_bytes() }),
        Frame::GoAway(GoAway { last_stream: other, code: (*number).into(), debug: bytes }),
        Frame::WindowUpdate(WindowUpdate { stream: other, increment: stream }),
        Frame::Continuation(Continuation { stream, end_headers, fragment: bytes }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(parts in parts(), behind in any::<[u8; 3]>()) {
        for expected in frames(&parts) {
            let mut bytes = write(&expected);
            let whole = bytes.len();
            bytes.extend_from_slice(&behind);
            let (_, frame, rest) = read(&bytes).unwrap().unwrap();
            prop_assert_eq!(frame, expected);
            prop_assert_eq!(rest, &behind[..]);
            for cut in 0..whole {
                prop_assert_eq!(read(&bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn settings_that_are_written_are_read_back(parts in parts()) {
        let known = [
            Setting::HeaderTableSize(parts.number),
            Setting::EnablePush(parts.switches[0]),
            Setting::MaxConcurrentStreams(parts.number),
            Setting::InitialWindowSize(parts.other),
            Setting::MaxFrameSize(PAYLOAD_BYTES_MIN + parts.number % PAYLOAD_BYTES_MIN),
            Setting::MaxHeaderListSize(parts.number),
            Setting::EnableConnectProtocol(parts.switches[1]),
        ];
        let unknown = parts.settings.iter().map(|&(id, value)| Setting::Unknown { id, value });
        let expected: Vec<_> = known.into_iter().chain(unknown).collect();
        let mut out = BytesMut::new();
        frame::settings::write(&expected, &mut out);
        let (_, frame, _) = read(&out).unwrap().unwrap();
        let Frame::Settings(Settings::Values(values)) = frame else { panic!("{frame:?}") };
        prop_assert_eq!(values.iter().collect::<Vec<_>>(), expected);
        prop_assert_eq!(write(&frame), &out[..]);
    }

    #[test]
    fn a_block_is_read_back_from_its_frames(parts in parts(), payload_bytes_max in 1_u32..400) {
        let mut out = BytesMut::new();
        let end_stream = parts.switches[0];
        frame::headers::write_block(
            parts.stream, end_stream, &parts.bytes, payload_bytes_max, &mut out,
        );
        let (mut rest, mut block, mut ended) = (&out[..], Vec::new(), false);
        while let Some((header, frame, after)) = read(rest).unwrap() {
            prop_assert!(!ended && header.length <= payload_bytes_max);
            prop_assert_eq!(header.stream, parts.stream);
            let (fragment, end) = match frame {
                Frame::Headers(it) if block.is_empty() => {
                    prop_assert_eq!(it.end_stream, end_stream);
                    (it.fragment, it.end_headers)
                }
                Frame::Continuation(it) => (it.fragment, it.end_headers),
                other => panic!("{other:?}"),
            };
            block.extend_from_slice(fragment);
            (rest, ended) = (after, end);
        }
        prop_assert!(ended);
        prop_assert_eq!(block, parts.bytes);
    }

    #[test]
    fn no_bytes_panic_and_what_is_read_is_written_and_read_again(
        kind in 0_u8..12, flags in any::<u8>(), stream in prop_oneof![Just(0), any::<u32>()],
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let bytes = raw(kind, flags, stream, &payload);
        if let Ok(Some((_, frame, _))) = read(&bytes) && frame != Frame::Unknown {
            let written = write(&frame);
            let (_, again, rest) = read(&written).unwrap().unwrap();
            prop_assert_eq!(again, frame);
            prop_assert_eq!(rest, b"");
        }
    }
}
