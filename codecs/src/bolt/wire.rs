//! Bolt as a [`Wire`].

use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::fixed::{Fixed, Kind, ONEWAY, Places, Version};
use super::{NAME, header, status};
use crate::codec::Fault;
use crate::message::{FieldPlace, RpcOutcome, RpcTrace};
use crate::rpc::{Forms, FrameKind, Prefix, Wire, Written, malformed};
use crate::{EncodeError, Error, Fields, RpcChecksum, RpcHead, RpcPayload, Status, hessian2};

/// The byte layout of Bolt.
#[derive(Clone, Copy, Debug)]
pub struct Bolt;

/// What a request tells of the form of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Version and switches of the request; the answer has the same, as in Java.
    pub version: Version,
    /// Serialiser of the request; an answer of the gateway's own names the same.
    pub codec: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self { version: Version::V1, codec: super::CODEC_HESSIAN2 }
    }
}

impl Wire for Bolt {
    const NAME: &'static str = NAME;
    const ID_MAX: u32 = i32::MAX as u32;
    type Shape = Shape;

    #[inline(always)]
    fn prefix(input: &[u8]) -> Result<Option<Prefix<Shape>>, Error> {
        let Some(fixed) = Fixed::read(input)? else { return Ok(None) };
        let kind = match fixed.kind {
            Kind::Request { .. } => FrameKind::Request,
            Kind::Oneway { .. } => FrameKind::Oneway,
            Kind::Response { .. } => FrameKind::Response,
            Kind::Heartbeat { .. } => FrameKind::Heartbeat,
            Kind::HeartbeatAnswer { .. } => FrameKind::HeartbeatAnswer,
        };
        let is_heartbeat = matches!(kind, FrameKind::Heartbeat | FrameKind::HeartbeatAnswer);
        if is_heartbeat && fixed.head_bytes() + fixed.content_bytes as usize > fixed.bytes() {
            return Err(HEARTBEAT_WITH_CONTENT);
        }
        Ok(Some(Prefix {
            kind,
            id: u64::from(fixed.id),
            head_bytes: fixed.head_bytes(),
            payload_bytes: fixed.content_bytes as usize,
            is_checked: fixed.version.has_checksum(),
            shape: Shape { version: fixed.version, codec: fixed.codec },
        }))
    }

    #[inline(always)]
    fn head<'a>(
        head: &'a [u8],
        payload: RpcPayload<'a>,
        checksum: Option<RpcChecksum>,
        fields_max: usize,
        forms: &mut Forms,
    ) -> Result<RpcHead<'a>, Error> {
        // The prefix was read before, so the places are enough.
        let Some(begin) = begin(head) else { return Err(HEAD) };
        let walked;
        let found = match forms.bolt.find(begin.block, fields_max) {
            Some(found) => {
                // What every test and fuzz target that runs with these checks tries.
                debug_assert_eq!(
                    walk(begin.block, fields_max, &mut super::Forms::default()),
                    Ok(Some(*found)),
                    "a form differs from its header"
                );
                found
            }
            None => {
                walked = walk(begin.block, fields_max, &mut forms.bolt)?;
                match &walked {
                    Some(found) => found,
                    None => return opaque(head, payload, checksum, &begin),
                }
            }
        };
        let fields = header::fields(begin.block);
        let value = |place: FieldPlace| Some(fields.at(place)).filter(|it| !it.is_empty());
        let (two_way, said) = match begin.word {
            Word::Request(said) => (true, said),
            Word::Oneway(said) => (false, said),
            Word::Response(status) => {
                let is_error = fields.at(found.error) == b"true";
                let outcome = outcome(status, is_error);
                return Ok(RpcHead { outcome, fields, ..bare(head, payload, checksum) });
            }
        };
        let method = match value(found.method) {
            Some(method) => method,
            None if begin.is_hessian2_request() => {
                hessian2::sofa_method(first(payload)).unwrap_or_default()
            }
            None => &[],
        };
        Ok(RpcHead {
            two_way,
            service: value(found.target_service).or(value(found.service)).unwrap_or_default(),
            method,
            timeout: smallest(
                milliseconds(said),
                value(found.deadline).and_then(parse_milliseconds),
            ),
            timeout_in_fields: found.names_deadline,
            fields,
            trace: found.trace(begin.block),
            ..bare(head, payload, checksum)
        })
    }

    #[inline]
    fn write_request(
        frame: &RpcHead<'_>,
        id: u64,
        output: &mut BytesMut,
    ) -> Result<Written<Shape>, EncodeError> {
        let unfit = EncodeError::Unfit;
        let places = Places::of_request(frame.head).ok_or(unfit)?;
        let shape = shape(places, frame.head).ok_or(unfit)?;
        let content_bytes = content_bytes(frame)?;
        let start = output.len();
        match frame.timeout {
            Some(left)
                if frame.timeout_in_fields
                    && says_more(places.class_and_block(frame.head).ok_or(unfit)?.1, left) =>
            {
                write_with_deadline(frame.head, left, output).ok_or(unfit)?;
            }
            _ => output.extend_from_slice(frame.head),
        }
        if let Some(added) = frame.added {
            write_added(added, frame, places, (start, output));
        }
        let head = output.get_mut(start..).ok_or(unfit)?;
        put(head, places.id, wire_id(id).to_be_bytes());
        put(head, places.lengths + 4, content_bytes.to_be_bytes());
        let said = head.get(places.word..).and_then(|it| it.first_chunk()).ok_or(unfit)?;
        let said = i32::from_be_bytes(*said);
        // Java looks at no timeout of a oneway request, and writes −1.
        if let Some(left) = frame.timeout.filter(|_| frame.two_way || said > 0) {
            put(head, places.word, corrected(said, left).to_be_bytes());
        }
        Ok(written(shape))
    }

    #[inline]
    fn write_response(
        frame: &RpcHead<'_>,
        id: u64,
        shape: Shape,
        output: &mut BytesMut,
    ) -> Result<Written<Shape>, EncodeError> {
        let unfit = EncodeError::Unfit;
        let places = Places::of_response(frame.head).ok_or(unfit)?;
        let content_bytes = content_bytes(frame)?;
        let start = output.len();
        let places = match shape.version {
            Version::V1 if !places.is_v2 => {
                output.extend_from_slice(frame.head);
                places
            }
            Version::V2 { minor, switches } if places.is_v2 => {
                output.extend_from_slice(frame.head);
                let head = output.get_mut(start..).ok_or(unfit)?;
                put(head, 1, [minor]);
                put(head, 11, [switches]);
                places
            }
            version => {
                write_in_version(frame.head, version, output).ok_or(unfit)?;
                Places::of_response(output.get(start..).ok_or(unfit)?).ok_or(unfit)?
            }
        };
        let head = output.get_mut(start..).ok_or(unfit)?;
        put(head, places.id, wire_id(id).to_be_bytes());
        put(head, places.lengths + 4, content_bytes.to_be_bytes());
        let status = head.get(places.word..).and_then(|it| it.first_chunk()).ok_or(unfit)?;
        // On a status that it does not know a Java client closes the whole connection.
        if !status::is_known(u16::from_be_bytes(*status)) {
            put(head, places.word, status::UNKNOWN.to_be_bytes());
        }
        Ok(written(shape))
    }

    fn write_status(
        id: u64,
        shape: Shape,
        status: Status,
        output: &mut BytesMut,
    ) -> Written<Shape> {
        let fixed = empty(Kind::Response { status: status::of(status) }, id, shape);
        fixed.write(output);
        written(shape)
    }

    fn write_heartbeat(id: u64, shape: Shape, output: &mut BytesMut) {
        let shape = Shape { version: shape.version.without_checksum(), ..shape };
        empty(Kind::Heartbeat { timeout_ms: -1 }, id, shape).write(output);
    }

    fn write_heartbeat_answer(id: u64, shape: Shape, output: &mut BytesMut) {
        let shape = Shape { version: shape.version.without_checksum(), ..shape };
        empty(Kind::HeartbeatAnswer { status: status::SUCCESS }, id, shape).write(output);
    }
}

/// What one walk over the header fields finds: where the values stand that count. Where a name
/// stands twice the last one counts, as in the maps of the Java peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    target_service: FieldPlace,
    service: FieldPlace,
    method: FieldPlace,
    deadline: FieldPlace,
    names_deadline: bool,
    error: FieldPlace,
    trace: RpcTrace,
    app: FieldPlace,
    new_trace: FieldPlace,
}

impl Found {
    /// Whose call it is. `app` is what SOFA-RPC calls itself; a tracer knows better. Peers since
    /// SOFA-RPC 5.1.0 may say ids in one text, `tcid=…&spid=…`.
    #[inline]
    fn trace(&self, block: &[u8]) -> RpcTrace {
        let mut trace = self.trace;
        if trace.caller_app.is_empty() {
            trace.caller_app = self.app;
        }
        if trace.trace_id.is_empty() && !self.new_trace.is_empty() {
            let text = header::fields(block).at(self.new_trace);
            let member =
                |name| member(text, name).map(|(at, bytes)| self.new_trace.part(at, bytes));
            trace.trace_id = member(b"tcid=").unwrap_or_default();
            trace.span_id = member(b"spid=").unwrap_or_default();
        }
        trace
    }
}

/// Where the value of a member of `name=value&name=value` stands.
fn member(text: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    for member in text.split(|it| *it == b'&') {
        if let Some(value) = member.strip_prefix(name) {
            return Some((at + name.len(), value.len()));
        }
        at += member.len() + 1;
    }
    None
}

/// Walks the header fields. `None`: the header is no list of fields.
#[inline]
fn walk(block: &[u8], fields_max: usize, forms: &mut super::Forms) -> Result<Option<Found>, Error> {
    let (mut found, mut rest, mut count) = (Found::default(), block, 0_usize);
    while !rest.is_empty() {
        let Some((field, after)) = header::field(rest) else { return Ok(None) };
        (rest, count) = (after, count + 1);
        if count > fields_max {
            return Err(TOO_MANY_FIELDS);
        }
        let (Some(name), Some(value)) = (field.name, field.value) else { continue };
        let place = || FieldPlace::ending_at(block.len() - after.len(), value.len());
        match name.len() {
            3 if name == APP => found.app = place(),
            7 if name == SERVICE => found.service = place(),
            20 if name == TARGET_APP => found.trace.target_app = place(),
            21 if name == METHOD => found.method = place(),
            21 if name == NEW_TRACE => found.new_trace = place(),
            24 if name == TARGET_SERVICE => found.target_service = place(),
            24 if name == RESPONSE_ERROR => found.error = place(),
            27 if name == super::FIELD_RPC_ID => found.trace.span_id = place(),
            29 if name == super::FIELD_TRACE_ID => found.trace.trace_id = place(),
            30 if name == DEADLINE => {
                found.deadline = place();
                found.names_deadline = true;
            }
            31 if name == CALLER_APP => found.trace.caller_app = place(),
            32 if name == CALLER_ZONE => found.trace.caller_zone = place(),
            _ => {}
        }
    }
    forms.learn(block, count, &found);
    Ok(Some(found))
}

/// What a head says, once its prefix was read.
struct Begin<'a> {
    word: Word,
    codec: u8,
    class: &'a [u8],
    block: &'a [u8],
}

/// What only one kind of frame says.
enum Word {
    Request(i32),
    Oneway(i32),
    Response(u16),
}

impl Begin<'_> {
    fn is_hessian2_request(&self) -> bool {
        self.codec == super::CODEC_HESSIAN2 && self.class == super::CLASS_REQUEST
    }
}

#[inline]
fn begin(head: &[u8]) -> Option<Begin<'_>> {
    let request = Places::of_request(head);
    let places = request.or_else(|| Places::of_response(head))?;
    let word = head.get(places.word..)?;
    let word = match request {
        Some(_) => {
            let said = i32::from_be_bytes(*word.first_chunk()?);
            let is_oneway = *head.get(places.id.checked_sub(4)?)? == ONEWAY;
            if is_oneway { Word::Oneway(said) } else { Word::Request(said) }
        }
        None => Word::Response(u16::from_be_bytes(*word.first_chunk()?)),
    };
    let (class, block) = places.class_and_block(head)?;
    Some(Begin { word, codec: *head.get(places.id + 4)?, class, block })
}

/// A header that is no list of fields: Bolt leaves it to whoever registered the class, so it is
/// forwarded as it is; but in SOFA's own classes it is an error. Rare, and yet inlined: a head that
/// a call may return would stand in memory for it, and be moved from there for all frames.
#[inline(always)]
fn opaque<'a>(
    head: &'a [u8],
    payload: RpcPayload<'a>,
    checksum: Option<RpcChecksum>,
    begin: &Begin<'_>,
) -> Result<RpcHead<'a>, Error> {
    if begin.class == super::CLASS_REQUEST || begin.class == super::CLASS_RESPONSE {
        return Err(FIELDS);
    }
    // What it holds is not known, a deadline perhaps.
    let bare = RpcHead { timeout_in_fields: true, ..bare(head, payload, checksum) };
    Ok(match begin.word {
        Word::Request(said) => RpcHead { two_way: true, timeout: milliseconds(said), ..bare },
        Word::Oneway(said) => RpcHead { timeout: milliseconds(said), ..bare },
        Word::Response(status) => RpcHead { outcome: outcome(status, false), ..bare },
    })
}

#[inline(always)]
fn bare<'a>(head: &'a [u8], payload: RpcPayload<'a>, checksum: Option<RpcChecksum>) -> RpcHead<'a> {
    RpcHead {
        protocol: NAME,
        two_way: false,
        service: &[],
        method: &[],
        timeout: None,
        timeout_in_fields: false,
        outcome: RpcOutcome::Success,
        fields: crate::message::RpcFields::none(),
        head,
        payload,
        checksum,
        trace: RpcTrace::default(),
        added: None,
    }
}

/// Fixed part, class name and header block of a whole head.
#[inline]
fn split(head: &[u8]) -> Option<(Fixed, &[u8], &[u8])> {
    let fixed = Fixed::read(head).ok().flatten()?;
    let (class, block) =
        head.get(fixed.bytes()..)?.split_at_checked(usize::from(fixed.class_bytes))?;
    (block.len() == usize::from(fixed.header_bytes)).then_some((fixed, class, block))
}

/// The beginning of a payload. That of a large one is contiguous as far as it is looked at.
fn first(payload: RpcPayload<'_>) -> &[u8] {
    match payload {
        RpcPayload::Slice(bytes) => bytes,
        RpcPayload::Segments(segments) => segments.first().map_or(&[], |it| it),
    }
}

fn outcome(status: u16, is_error: bool) -> RpcOutcome {
    match (status, is_error) {
        (status::SUCCESS, false) => RpcOutcome::Success,
        (status::SUCCESS, true) => RpcOutcome::ApplicationError,
        (status, _) => RpcOutcome::ProviderError(status),
    }
}

fn written(shape: Shape) -> Written<Shape> {
    Written { shape, is_checked: shape.version.has_checksum() }
}

#[inline]
fn shape(places: Places, head: &[u8]) -> Option<Shape> {
    Some(Shape { version: places.version(head)?, codec: *head.get(places.id + 4)? })
}

#[inline]
fn put<const N: usize>(head: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = head.get_mut(at..at + N) {
        place.copy_from_slice(&bytes);
    }
}

/// The length always says what follows, whatever it said before.
fn content_bytes(frame: &RpcHead<'_>) -> Result<u32, EncodeError> {
    i32::try_from(frame.payload.len()).map(i32::cast_unsigned).map_err(|_| EncodeError::Unfit)
}

fn empty(kind: Kind, id: u64, shape: Shape) -> Fixed {
    Fixed {
        version: shape.version,
        kind,
        command_version: 1,
        id: wire_id(id),
        codec: shape.codec,
        class_bytes: 0,
        header_bytes: 0,
        content_bytes: 0,
    }
}

/// Ids come from this wire and go back to it, so they have 32 bits.
fn wire_id(id: u64) -> u32 {
    u32::try_from(id).unwrap_or(u32::MAX)
}

fn milliseconds(said: i32) -> Option<Duration> {
    u64::try_from(said).ok().filter(|it| *it > 0).map(Duration::from_millis)
}

fn smallest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whole milliseconds of what is left; at least one, for zero says nothing in Bolt.
fn whole_milliseconds(left: Duration) -> u64 {
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A timeout that is no larger than what is left.
fn corrected(said: i32, left: Duration) -> i32 {
    let left = i32::try_from(whole_milliseconds(left)).unwrap_or(i32::MAX);
    if said > 0 { said.min(left) } else { left }
}

/// A deadline field as SOFA-RPC writes it: decimal milliseconds. What has passed is zero.
fn parse_milliseconds(value: &[u8]) -> Option<Duration> {
    let value: i64 = str::from_utf8(value).ok()?.parse().ok()?;
    Some(Duration::from_millis(u64::try_from(value).unwrap_or(0)))
}

/// Whether a deadline field says more than what is left.
fn says_more(block: &[u8], left: Duration) -> bool {
    let mut rest = block;
    while let Some((field, after)) = header::field(rest) {
        if is_above(field, whole_milliseconds(left)) {
            return true;
        }
        rest = after;
    }
    false
}

fn is_above(field: header::Field<'_>, left_ms: u64) -> bool {
    field.name.is_some_and(|it| it.len() == DEADLINE.len() && it == DEADLINE)
        && field
            .value
            .and_then(parse_milliseconds)
            .is_some_and(|it| it.as_millis() > left_ms.into())
}

/// Appends a head with its deadline fields corrected. The header's length is counted from what
/// was written, never from what was there; it can only shrink.
#[cold]
fn write_with_deadline(head: &[u8], left: Duration, output: &mut BytesMut) -> Option<()> {
    let (fixed, class, block) = split(head)?;
    let left_ms = whole_milliseconds(left);
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(left_ms).as_bytes();
    let corrected = |field: header::Field<'_>| is_above(field, left_ms);
    let mut header_bytes = 0_usize;
    for_each(block, |field| {
        let value = if corrected(field) { Some(digits) } else { field.value };
        header::write(header::Field { value, ..field }, |it| header_bytes += it.len());
    });
    let header_bytes = u16::try_from(header_bytes).ok()?;
    Fixed { header_bytes, ..fixed }.write(output);
    output.extend_from_slice(class);
    for_each(block, |field| {
        let value = if corrected(field) { Some(digits) } else { field.value };
        header::write(header::Field { value, ..field }, |it| output.extend_from_slice(it));
    });
    Some(())
}

/// Appends fields to a head that was written from `start` on, which its fields end. A header that
/// is no list has none to be put behind; and its length is a signed short to Java.
fn write_added(
    added: &Fields,
    frame: &RpcHead<'_>,
    places: Places,
    (start, output): (usize, &mut BytesMut),
) {
    let length_at = places.lengths + 2;
    let said = |head: &[u8]| {
        head.get(length_at..).and_then(|it| it.first_chunk()).map(|it| u16::from_be_bytes(*it))
    };
    if said(frame.head).map(usize::from) != Some(frame.fields.bytes()) {
        return;
    }
    let Some(written) = output.get(start..).and_then(said) else { return };
    let mut header_bytes = usize::from(written);
    for (name, value) in added.iter() {
        header_bytes += 8 + name.len() + value.len();
    }
    let Ok(header_bytes) = i16::try_from(header_bytes) else { return };
    for (name, value) in added.iter() {
        let field = header::Field { name: Some(name), value: Some(value) };
        header::write(field, |it| output.extend_from_slice(it));
    }
    if let Some(head) = output.get_mut(start..) {
        put(head, length_at, header_bytes.to_be_bytes());
    }
}

/// Appends a head in another version.
#[cold]
fn write_in_version(head: &[u8], version: Version, output: &mut BytesMut) -> Option<()> {
    let (fixed, class, block) = split(head)?;
    Fixed { version, ..fixed }.write(output);
    output.extend_from_slice(class);
    output.extend_from_slice(block);
    Some(())
}

fn for_each<'a>(mut block: &'a [u8], mut each: impl FnMut(header::Field<'a>)) {
    while let Some((field, rest)) = header::field(block) {
        each(field);
        block = rest;
    }
}

const SERVICE: &[u8] = b"service";
const TARGET_SERVICE: &[u8] = b"sofa_head_target_service";
const METHOD: &[u8] = b"sofa_head_method_name";
const DEADLINE: &[u8] = b"sofa_head_deadline_remain_time";
const RESPONSE_ERROR: &[u8] = b"sofa_head_response_error";
const APP: &[u8] = b"app";
const TARGET_APP: &[u8] = b"sofa_head_target_app";
const CALLER_APP: &[u8] = b"rpc_trace_context.sofaCallerApp";
const CALLER_ZONE: &[u8] = b"rpc_trace_context.sofaCallerZone";
const NEW_TRACE: &[u8] = b"new_rpc_trace_context";

const HEAD: Error = malformed("bolt_head");
const FIELDS: Error = malformed("bolt_header_fields");
const HEARTBEAT_WITH_CONTENT: Error = malformed("bolt_heartbeat_with_content");
const TOO_MANY_FIELDS: Error =
    Error::new(Fault::Limit, Status::FieldsTooLarge, "bolt_too_many_fields");
