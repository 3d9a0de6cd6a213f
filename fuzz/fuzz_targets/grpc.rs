//! What is read of gRPC beside HTTP: timeouts, messages, content types, and the bodies of gRPC-Web,
//! which decode alike however they are cut or frozen, and whose trailers can be found again.
#![no_main]

use std::time::Duration;

use hangu_codecs::grpc::{
    Code, Content, MalformedText, TimeoutText, Web, decode_message, encode_message, parse_timeout,
};
use hangu_codecs::{Fields, HttpRequest, HttpResponse, message::End};
use hangu_fuzz::Choices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (bytes, mut choices) = Choices::split(input);
    timeout(bytes);
    message(bytes);
    let _ = Content::of(bytes);
    assert!(Code::of_field(bytes) != Code::Ok || bytes == b"0");
    text(bytes, &mut choices);
    trailers(bytes);
});

fn timeout(bytes: &[u8]) {
    let Some(duration) = parse_timeout(bytes) else { return };
    let written = TimeoutText::new(duration);
    assert!(written.as_bytes().len() <= 9);
    let read = parse_timeout(written.as_bytes()).expect("what is written is read");
    let exact = duration.max(Duration::from_nanos(1));
    assert!(read <= exact && exact - read <= exact / 100_000);
}

fn message(bytes: &[u8]) {
    let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
    encode_message(bytes, &mut encoded);
    assert!(encoded.iter().all(|it| matches!(it, b' '..=b'~')));
    decode_message(&encoded, &mut decoded);
    assert_eq!(decoded, bytes);
    decoded.clear();
    decode_message(bytes, &mut decoded);
    assert!(decoded.len() <= bytes.len());
}

fn begin(content_type: &[u8]) -> Web {
    let mut head = HttpRequest::default();
    head.fields.push(b"content-type", content_type);
    Web::begin(&mut head).expect("it is of gRPC-Web")
}

/// A whole text in pieces, with the state frozen between them as the choices say.
fn decoded(text: &[u8], choices: &mut Choices<'_>) -> Result<Vec<u8>, MalformedText> {
    let mut web = begin(b"application/grpc-web-text");
    let mut all = Vec::new();
    let mut rest = text;
    while !choices.is_empty() && !rest.is_empty() {
        let (piece, after) = rest.split_at(choices.up_to(rest.len()));
        all.extend(web.request_data(piece, End::No)?.expect("it is a text"));
        rest = after;
        if choices.byte() & 1 == 1 {
            let frozen = serde_json::to_vec(&web).expect("it is written");
            web = serde_json::from_slice(&frozen).expect("it is read");
        }
    }
    all.extend(web.request_data(rest, End::Yes)?.expect("it is a text"));
    web.request_end()?;
    Ok(all)
}

fn text(bytes: &[u8], choices: &mut Choices<'_>) {
    let whole = decoded(bytes, &mut Choices::split(&[]).1);
    assert_eq!(decoded(bytes, choices), whole);
    let Ok(whole) = whole else { return };
    assert!(whole.len() <= bytes.len() / 4 * 3);
    let web = begin(b"application/grpc-web-text");
    let again = web.response_data(&whole).expect("it is a text");
    let padding = bytes.iter().position(|it| *it == b'=').unwrap_or(bytes.len());
    if padding + 2 >= bytes.len() {
        assert_eq!(again, bytes);
    }
}

fn trailers(bytes: &[u8]) {
    let mut fields = Fields::new();
    for line in bytes.split(|it| matches!(it, b'\r' | b'\n' | 0)) {
        if let Some(at) = line.iter().position(|it| *it == b':') {
            fields.push(&line[..at], &line[at + 1..]);
        }
    }
    let mut web = begin(b"application/grpc-web");
    let mut head = HttpResponse { status: 200, ..HttpResponse::default() };
    head.fields.push(b"content-type", b"application/grpc");
    assert_eq!(web.response_head(&mut head, End::No), None);
    let frame = web.response_trailers(&fields).expect("they are a frame");
    let length = u32::from_be_bytes(frame[1..5].try_into().expect("four bytes"));
    assert_eq!((frame[0], length as usize), (0x80, frame.len() - 5));
    let lines = frame[5..].split(|it| *it == b'\n').filter(|it| !it.is_empty()).count();
    assert_eq!(lines, fields.len());
}
