//! Properties over generated frames and histories. A failure prints its seed.

use std::collections::HashMap;

use bytes::BytesMut;
use hangu_codecs::bolt::{Field, Frame, Header, Kind, Version};
use hangu_codecs::message::Reason;
use hangu_codecs::{Part, Role, StreamId};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{Peer, bytes, request, response};

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        Just(Version::V1),
        (1_u8..=2, any::<u8>()).prop_map(|(minor, switches)| Version::V2 { minor, switches }),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        any::<i32>().prop_map(|timeout_ms| Kind::Request { timeout_ms }),
        any::<i32>().prop_map(|timeout_ms| Kind::Oneway { timeout_ms }),
        any::<u16>().prop_map(|status| Kind::Response { status }),
    ]
}

type Text = Option<Vec<u8>>;

fn text() -> impl Strategy<Value = Text> {
    proptest::option::weighted(0.9, vec(any::<u8>(), 0..40))
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(
        version in version(),
        kind in kind(),
        (command_version, id, codec) in any::<(u8, u32, u8)>(),
        class in vec(any::<u8>(), 0..60),
        pairs in vec((text(), text()), 0..20),
        content in vec(any::<u8>(), 0..300),
        more in vec(any::<u8>(), 0..10),
    ) {
        let fields = pairs
            .iter()
            .map(|(name, value)| Field { name: name.as_deref(), value: value.as_deref() })
            .collect();
        let frame = Frame {
            version,
            kind,
            command_version,
            id,
            codec,
            class_name: &class,
            header: Header::Fields(fields),
            content: &content,
        };
        let mut raw = BytesMut::new();
        frame.write(&mut raw).unwrap();
        let length = raw.len();
        raw.extend_from_slice(&more);
        prop_assert_eq!(Frame::parse(&raw), Ok(Some((frame, length))));
        for cut in 0..length {
            prop_assert_eq!(Frame::parse(&raw[..cut]), Ok(None));
        }
    }

    #[test]
    fn a_frame_passes_both_ways_and_only_its_id_changes(
        version in version(),
        id in any::<u32>(),
        content in vec(any::<u8>(), 0..300),
        swaps in any::<bool>(),
    ) {
        let (mut server, mut client) = (Peer::new(Role::Server), Peer::new(Role::Client));
        let asked = Frame { version, ..request(id, &content) };
        let downstream = server.streams(&bytes(std::slice::from_ref(&asked)))[0];
        let upstream = client.codec.open().unwrap();
        client.send(upstream, &asked);
        let sent = client.sent();
        let (arrived, _) = Frame::parse(&sent).unwrap().unwrap();
        prop_assert_eq!(&arrived, &Frame { id: upstream.generation, ..asked.clone() });
        if swaps {
            server.swap();
            client.swap();
        }
        let answer = Frame { version, ..response(arrived.id, &content) };
        prop_assert_eq!(client.streams(&bytes(std::slice::from_ref(&answer))), vec![upstream]);
        server.send(downstream, &answer);
        let sent = server.sent();
        let (back, _) = Frame::parse(&sent).unwrap().unwrap();
        prop_assert_eq!(back, Frame { id, ..answer });
    }

    #[test]
    fn any_bytes_give_the_same_in_any_pieces(
        raw in vec(prop_oneof![3 => 0_u8..3, 1 => any::<u8>()], 0..200),
        cuts in vec(1_usize..40, 1..20),
        swaps in any::<bool>(),
    ) {
        let run = |pieces: Vec<&[u8]>, swaps: bool| {
            let mut peer = Peer::new(Role::Server);
            let mut events = Vec::new();
            for piece in pieces {
                let (more, error) = peer.hear(piece);
                events.extend(more);
                if let Some(error) = error {
                    events.push(format!("error {error}"));
                    break;
                }
                if swaps {
                    peer.swap();
                }
            }
            (events, peer.sent())
        };
        let mut pieces = Vec::new();
        let (mut rest, mut next) = (&raw[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*next.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(run(pieces, swaps), run(raw.chunks(1).collect(), false));
    }

    /// A model of the client role: whatever is opened, sent, given up, answered in any order,
    /// answered twice or moved to another process, an answer reaches its own call or none.
    #[test]
    fn an_answer_reaches_its_own_call_or_none(steps in vec((0_u8..6, any::<u16>()), 1..300)) {
        let mut peer = Peer::new(Role::Client);
        let mut waiting: HashMap<u32, StreamId> = HashMap::new();
        let mut given_up: Vec<u32> = Vec::new();
        let mut done: Vec<u32> = Vec::new();
        for (step, choice) in steps {
            let choice = usize::from(choice);
            let ids: Vec<u32> = {
                let mut ids: Vec<_> = waiting.keys().copied().collect();
                ids.sort_unstable();
                ids
            };
            match step {
                0 | 1 => {
                    let stream = peer.codec.open().unwrap();
                    peer.send(stream, &request(1, b""));
                    let sent = peer.sent();
                    let id = Frame::parse(&sent).unwrap().unwrap().0.id;
                    prop_assert!(!waiting.contains_key(&id) && !given_up.contains(&id));
                    prop_assert!(waiting.values().all(|it| it.slot != stream.slot));
                    waiting.insert(id, stream);
                }
                2 if !ids.is_empty() => {
                    let id = ids[choice % ids.len()];
                    let stream = waiting.remove(&id).unwrap();
                    prop_assert_eq!(peer.streams(&bytes(&[response(id, b"")])), vec![stream]);
                    done.push(id);
                }
                3 if !ids.is_empty() => {
                    let id = ids[choice % ids.len()];
                    let stream = waiting.remove(&id).unwrap();
                    peer.codec.encode(stream, &Part::Reset(Reason::TimedOut)).unwrap();
                    given_up.push(id);
                }
                4 if !given_up.is_empty() => {
                    let id = given_up.swap_remove(choice % given_up.len());
                    let events = peer.give(&bytes(&[response(id, b"")])).unwrap();
                    prop_assert_eq!(events, vec!["note LateResponse"]);
                    done.push(id);
                }
                5 if !done.is_empty() => {
                    let id = done[choice % done.len()];
                    let events = peer.give(&bytes(&[response(id, b"")])).unwrap();
                    prop_assert_eq!(events, vec!["note UnknownResponse"]);
                }
                _ => {
                    peer.swap();
                }
            }
            prop_assert_eq!(peer.codec.in_flight(), waiting.len());
        }
    }
}
