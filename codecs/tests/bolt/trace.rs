//! Whose call a request is, and the fields that are added to it on its way.

use hangu_codecs::bolt::{Field, Frame, Header, Version};
use hangu_codecs::message::{End, RpcTrace};
use hangu_codecs::{Fields, Head, Part, Role};

use crate::captures;
use crate::support::{CRC, Peer, V2, bytes, fields, parsed, request};

const TRACE_ID: &str = "rpc_trace_context.sofaTraceId";
const RPC_ID: &str = "rpc_trace_context.sofaRpcId";

fn added() -> Fields {
    let mut added = Fields::new();
    added.push(TRACE_ID.as_bytes(), b"c0000202179535566702110215499");
    added.push(RPC_ID.as_bytes(), b"0");
    added
}

/// The frame as it arrives when fields are added, by a server that checks all of it.
fn forwarded(raw: &[u8], frame: &Frame<'_>, added: &Fields) -> Vec<u8> {
    let mut head = parsed(raw, frame);
    head.added = Some(added);
    let mut peer = Peer::new(Role::Client);
    let stream = peer.codec.open().unwrap();
    peer.codec.encode(stream, &Part::Head(Head::RpcRequest(head), End::Yes)).unwrap();
    let sent = peer.sent();
    let heard = Peer::new(Role::Server).give(&sent).unwrap();
    assert_eq!(heard.len(), 1, "{heard:?}");
    sent
}

fn with_added<'a>(header: &Header<'a>, added: &'a Fields) -> Header<'a> {
    let Header::Fields(fields) = header else { panic!("no list of fields") };
    let more = added.iter().map(|(name, value)| Field { name: Some(name), value: Some(value) });
    Header::Fields(fields.iter().copied().chain(more).collect())
}

#[test]
fn fields_that_are_added_stand_behind_those_of_the_frame_in_every_version() {
    let added = added();
    for version in [Version::V1, V2, CRC] {
        for content in [&b""[..], b"content", &vec![7; 100_000]] {
            let frame = Frame { version, ..request(1, content) };
            let raw = bytes(std::slice::from_ref(&frame));
            let sent = forwarded(&raw, &frame, &added);
            let (arrived, length) = Frame::parse(&sent).unwrap().unwrap();
            assert_eq!(length, sent.len());
            let header = with_added(&frame.header, &added);
            assert_eq!(arrived, Frame { id: arrived.id, header, ..frame });
        }
    }
}

#[test]
fn fields_are_added_to_every_request_of_real_clients_and_the_rest_stays_as_it_was() {
    let added = added();
    for raw in captures::frames() {
        let (frame, _) = Frame::parse(&raw).unwrap().unwrap();
        let is_request = matches!(frame.kind, hangu_codecs::bolt::Kind::Request { .. });
        if !is_request || !matches!(frame.header, Header::Fields(_)) {
            continue;
        }
        let sent = forwarded(&raw, &frame, &added);
        let (arrived, _) = Frame::parse(&sent).unwrap().unwrap();
        let header = with_added(&frame.header, &added);
        assert_eq!(arrived, Frame { id: arrived.id, header, ..frame });
    }
}

#[test]
fn a_deadline_is_corrected_and_fields_are_added_at_once() {
    let deadline = |left| {
        fields(&[("service", "a.B:1.0"), ("sofa_head_deadline_remain_time", left), ("c", "")])
    };
    let frame = Frame { version: CRC, header: deadline("2500"), ..request(1, b"content") };
    let raw = bytes(std::slice::from_ref(&frame));
    let added = added();
    let mut head = parsed(&raw, &frame);
    head.added = Some(&added);
    head.timeout = Some(std::time::Duration::from_millis(7));
    let mut peer = Peer::new(Role::Client);
    let stream = peer.codec.open().unwrap();
    peer.codec.encode(stream, &Part::Head(Head::RpcRequest(head), End::Yes)).unwrap();
    let sent = peer.sent();
    let (arrived, _) = Frame::parse(&sent).unwrap().unwrap();
    assert_eq!(arrived.header, with_added(&deadline("7"), &added));
    assert_eq!(Peer::new(Role::Server).give(&sent).unwrap().len(), 1);
}

#[test]
fn fields_for_which_the_header_has_no_room_stay_away() {
    let added = added();
    let more: usize = added.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
    for (room, expected) in [(more, true), (more - 1, false)] {
        let filling = "x".repeat(32_767 - room - 8 - 1);
        let frame = Frame { header: fields(&[("f", &filling)]), ..request(1, b"x") };
        let raw = bytes(std::slice::from_ref(&frame));
        let sent = forwarded(&raw, &frame, &added);
        assert_eq!(sent.len(), raw.len() + if expected { more } else { 0 });
    }
}

#[test]
fn nothing_is_added_to_a_header_that_is_no_list_of_fields() {
    let frame = Frame {
        class_name: b"com.example.Request",
        header: Header::Opaque(b"\xff\xff of my own"),
        ..request(1, b"x")
    };
    let raw = bytes(std::slice::from_ref(&frame));
    assert_eq!(forwarded(&raw, &frame, &added()).len(), raw.len());
}

#[test]
fn fields_that_are_added_travel_with_a_part_that_owns_its_bytes() {
    let frame = Frame { version: CRC, ..request(1, b"content") };
    let raw = bytes(std::slice::from_ref(&frame));
    let added = added();
    let mut head = parsed(&raw, &frame);
    head.added = Some(&added);
    let mut owned = Part::Head(Head::RpcRequest(head), End::Yes).to_owned();
    let mut peer = Peer::new(Role::Client);
    let stream = peer.codec.open().unwrap();
    peer.codec.encode(stream, &owned.as_part().unwrap()).unwrap();
    let sent = peer.sent();
    let (arrived, _) = Frame::parse(&sent).unwrap().unwrap();
    assert_eq!(arrived.header, with_added(&frame.header, &added));
}

#[test]
fn a_request_says_whose_call_it_is() {
    let trace = |header| {
        let frame = Frame { header, ..request(1, b"x") };
        let raw = bytes(std::slice::from_ref(&frame));
        let text = |it: &[u8]| String::from_utf8(it.to_vec()).unwrap();
        let head = parsed(&raw, &frame);
        let RpcTrace { trace_id, span_id, caller_app, caller_zone, target_app } = head.trace;
        let all = [trace_id, span_id, caller_app, caller_zone, target_app];
        all.map(|it| text(head.fields.at(it)))
    };
    let of_tracer = fields(&[
        ("app", "consumer"),
        ("sofa_head_target_app", "provider"),
        ("rpc_trace_context.sofaCallerApp", "traced-consumer"),
        ("rpc_trace_context.sofaCallerZone", "GZ00A"),
        (TRACE_ID, "c0a8"),
        (RPC_ID, "0.1"),
    ]);
    assert_eq!(trace(of_tracer), ["c0a8", "0.1", "traced-consumer", "GZ00A", "provider"]);
    let empty = fields(&[("app", "consumer"), ("rpc_trace_context.sofaCallerApp", "")]);
    assert_eq!(trace(empty), ["", "", "consumer", "", ""]);
    let in_one = fields(&[("new_rpc_trace_context", "tcid=1a&spid=0.2&pspid=0&sample=true&")]);
    assert_eq!(trace(in_one), ["1a", "0.2", "", "", ""]);
    let rubbish = fields(&[("new_rpc_trace_context", "&&tcid")]);
    assert_eq!(trace(rubbish), ["", "", "", "", ""]);
}
