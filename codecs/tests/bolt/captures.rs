//! Frames of real peers: each field as an independent decoder saw it, and each frame written again
//! from its fields alone. The captures are not part of the project; where they lie beside it, or
//! where `HANGU_CAPTURES` points to them, they are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use hangu_codecs::bolt::{self, Frame, Header, Kind, Version};
use hangu_codecs::{Role, RpcPayload};
use serde_json::Value;

use crate::support::{self, Peer, bytes};

/// All frames, for other tests to read.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    each(|_, raw| frames.push(raw.to_vec()));
    frames
}

fn captures() -> Option<PathBuf> {
    let place = std::env::var_os("HANGU_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures"),
        PathBuf::from,
    );
    place.join("index.json").exists().then_some(place)
}

fn each(mut check: impl FnMut(&Value, &[u8])) {
    let Some(place) = captures() else { return eprintln!("no captures here") };
    let index = std::fs::read(place.join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let entries = index.as_array().unwrap().iter().filter(|it| it["protocol"] == "bolt");
    let mut count = 0;
    for entry in entries {
        let file = entry["file"].as_str().unwrap();
        check(entry, &std::fs::read(place.join("frames").join(file)).unwrap());
        count += 1;
    }
    assert!(count >= 85, "only {count} captures of Bolt");
}

#[test]
fn each_field_is_read_and_each_frame_is_written_again_from_its_fields() {
    each(|entry, raw| {
        let file = &entry["file"];
        let (frame, length) = Frame::parse(raw).unwrap().unwrap();
        assert_eq!(length, raw.len(), "{file}");
        assert_eq!(entry["bytes"], raw.len(), "{file}");
        let (proto, minor, switches) = match frame.version {
            Version::V1 => (1, Value::Null, Value::Null),
            Version::V2 { minor, switches } => (2, minor.into(), switches.into()),
        };
        assert_eq!(entry["proto"], proto, "{file}");
        assert_eq!((&entry["ver1"], &entry["switch"]), (&minor, &switches), "{file}");
        assert_eq!(entry["crc"].is_null(), !frame.version.has_checksum(), "{file}");
        let (kind, command, timeout, status) = match frame.kind {
            Kind::Request { timeout_ms } => ("request", 1, timeout_ms.into(), Value::Null),
            Kind::Oneway { timeout_ms } => ("oneway", 1, timeout_ms.into(), Value::Null),
            Kind::Response { status } => ("response", 2, Value::Null, status.into()),
            Kind::Heartbeat { timeout_ms } => ("request", 0, timeout_ms.into(), Value::Null),
            Kind::HeartbeatAnswer { status } => ("response", 0, Value::Null, status.into()),
        };
        assert_eq!(entry["type"], kind, "{file}");
        assert_eq!(entry["cmdcode"], command, "{file}");
        assert_eq!((&entry["timeout"], &entry["status"]), (&timeout, &status), "{file}");
        assert_eq!(entry["ver2"], frame.command_version, "{file}");
        assert_eq!(entry["request_id"], frame.id, "{file}");
        assert_eq!(entry["codec"], frame.codec, "{file}");
        assert_eq!(entry["class_name"], std::str::from_utf8(frame.class_name).unwrap(), "{file}");
        assert_eq!(entry["content_len"], frame.content.len(), "{file}");
        let Header::Fields(fields) = &frame.header else { panic!("{file}: an opaque header") };
        let text = |it: Option<&[u8]>| std::str::from_utf8(it.unwrap()).unwrap().to_owned();
        let pairs: BTreeMap<_, _> =
            fields.iter().map(|it| (text(it.name), text(it.value))).collect();
        assert_eq!(pairs.len(), fields.len(), "{file}: a name stands twice");
        assert_eq!(entry["headers"], serde_json::to_value(&pairs).unwrap(), "{file}");
        let mut written = BytesMut::new();
        frame.write(&mut written).unwrap();
        assert_eq!(written, raw, "{file}");
    });
}

#[test]
fn the_codec_sees_service_method_and_fields() {
    each(|entry, raw| {
        let file = entry["file"].as_str().unwrap();
        let (frame, _) = Frame::parse(raw).unwrap().unwrap();
        if matches!(frame.kind, Kind::Request { .. } | Kind::Oneway { .. }) {
            let events = Peer::new(Role::Server).give(raw).unwrap();
            let service = entry["service"].as_str().unwrap();
            let method = entry["method"].as_str().unwrap();
            assert_eq!(events.len(), 1, "{file}");
            assert!(events[0].contains(&format!(" service={service} method={method} ")), "{file}");
            assert_eq!(events[0].starts_with("oneway"), entry["kind"] == "oneway", "{file}");
        }
        if let Kind::Response { .. } = frame.kind {
            let head = support::parsed(raw, &frame);
            let has_error = frame.field(b"sofa_head_response_error") == Some(b"true");
            let expected = match has_error {
                true => hangu_codecs::message::RpcOutcome::ApplicationError,
                false => hangu_codecs::message::RpcOutcome::Success,
            };
            assert_eq!(head.outcome, expected, "{file}");
        }
    });
}

/// What a consumer does that names only the service in its header: the method is in the body.
#[test]
fn the_method_is_found_in_the_body_when_the_header_names_none() {
    each(|entry, raw| {
        let (frame, _) = Frame::parse(raw).unwrap().unwrap();
        if !matches!(frame.kind, Kind::Request { .. } | Kind::Oneway { .. }) || frame.codec != 1 {
            return;
        }
        let service = frame.field(b"service").unwrap();
        let service = std::str::from_utf8(service).unwrap();
        let bare = Frame { header: support::fields(&[("service", service)]), ..frame.clone() };
        let raw = bytes(std::slice::from_ref(&bare));
        let head = support::parsed(&raw, &bare);
        assert_eq!(entry["method"], std::str::from_utf8(head.method).unwrap(), "{}", entry["file"]);
        // A large frame gives the same.
        let segments = [::bytes::Bytes::copy_from_slice(frame.content)];
        let read = bolt::PROTOCOL.rpc_head.unwrap();
        let large = read(head.head, RpcPayload::Segments(&segments)).unwrap();
        assert_eq!(large.method, head.method);
    });
}
