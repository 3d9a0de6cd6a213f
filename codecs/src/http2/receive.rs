//! Frames as they come: what each does to the connection and its streams.

use std::ops::Range;

use bytes::BytesMut;

use super::connection::{Block, Connection, Due, GOODBYE_PING, Input, end_if, reason_of};
use super::fields::{FieldsError, FieldsErrorKind};
use super::flow::{Inbound, Outbound};
use super::frame::settings::Values;
use super::frame::{
    self, Continuation, Frame, FrameError, FrameHeader, GoAway, HEADER_BYTES, Headers, Kind, Ping,
    RstStream, Scope, Setting, Settings, WindowUpdate, settings,
};
use super::stream::{Receiving, Stream};
use super::{ErrorCode, PREFACE};
use crate::codec::{Fault, Note};
use crate::message::End;
use crate::{Error, Reason, Role, Scratch, Status, StreamId};

/// What one look at the input gave. Borrows nothing, so that the event can.
pub(super) enum Step {
    /// More input is needed.
    Nothing,
    /// Something was done that is no event.
    Again,
    Note(Note),
    /// In [`Scratch::request`].
    Request(StreamId, End),
    /// In [`Scratch::response`].
    Response(StreamId, End),
    /// In [`Scratch::trailers`].
    Trailers(StreamId),
    /// In this range of the input.
    Data(StreamId, Range<usize>, End),
    /// In [`Scratch::gathered`].
    Gathered(StreamId, End),
}

impl Connection {
    /// Looks at the front of the input once.
    pub(super) fn step(
        &mut self,
        input: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Result<Step, Error> {
        match self.state.input {
            Input::Frames | Input::First => {}
            Input::Preface => return self.read_preface(input),
            Input::Ended => {}
            Input::Failed(_) | Input::Finished => return Ok(Step::Nothing),
        }
        let Some(header) = FrameHeader::read(input) else { return self.more(input) };
        if let Err(error) = header.check_length(frame::PAYLOAD_BYTES_MIN) {
            return Err(self.fail_by(error));
        }
        self.check_order(&header)?;
        let frame_bytes = HEADER_BYTES + header.length as usize;
        if input.len() < frame_bytes {
            return self.more(input);
        }
        // Taken off by the next look: what an event borrows must stay until then.
        self.state.skip = u32::try_from(frame_bytes).unwrap_or(u32::MAX);
        let step = self.on_frame(&header, input, scratch)?;
        if matches!(step, Step::Again) {
            let skip = std::mem::take(&mut self.state.skip) as usize;
            bytes::Buf::advance(input, skip.min(input.len()));
        }
        Ok(step)
    }

    fn read_preface(&mut self, input: &mut BytesMut) -> Result<Step, Error> {
        let there = input.len().min(PREFACE.len());
        if input.get(..there) != PREFACE.get(..there) {
            return Err(self.fail(ErrorCode::ProtocolError, malformed("preface_malformed")));
        }
        if there < PREFACE.len() {
            return Ok(Step::Nothing);
        }
        bytes::Buf::advance(input, there);
        self.state.input = Input::First;
        self.greet();
        Ok(Step::Again)
    }

    /// What follows from too little input.
    fn more(&mut self, input: &BytesMut) -> Result<Step, Error> {
        if self.state.input != Input::Ended {
            return Ok(Step::Nothing);
        }
        let is_cut_off = !input.is_empty() || self.state.block.is_some();
        let has_streams = self.role == Role::Client && self.state.streams.len() > 0;
        if is_cut_off || has_streams {
            let error = match (is_cut_off, self.role) {
                (false, Role::Client) => "closed_with_streams",
                _ => "closed_in_frame",
            };
            let error = Error::new(Fault::Truncated, Status::BadRequest, error);
            return Err(self.fail(ErrorCode::ProtocolError, error));
        }
        self.state.input = Input::Finished;
        Ok(Step::Nothing)
    }

    /// Whether a frame may come here at all, before its payload is there.
    fn check_order(&mut self, header: &FrameHeader) -> Result<(), Error> {
        // RFC 9113 §3.4: the preface of either side ends with SETTINGS.
        let is_settings = header.kind == Kind::Settings && !header.has(frame::flags::ACK);
        if self.state.input == Input::First && !is_settings {
            let error = malformed("first_frame_not_settings");
            return Err(self.fail(ErrorCode::ProtocolError, error));
        }
        // RFC 9113 §6.10: nothing stands between the frames of a field block.
        let expected = self.state.block.as_ref().map(|it| it.stream);
        let is_continuation = header.kind == Kind::Continuation;
        if expected.is_some_and(|it| !is_continuation || it != header.stream) {
            let error = malformed("frame_within_field_block");
            return Err(self.fail(ErrorCode::ProtocolError, error));
        }
        if expected.is_none() && is_continuation {
            let error = malformed("continuation_without_headers");
            return Err(self.fail(ErrorCode::ProtocolError, error));
        }
        Ok(())
    }

    fn on_frame(
        &mut self,
        header: &FrameHeader,
        input: &BytesMut,
        scratch: &mut Scratch,
    ) -> Result<Step, Error> {
        let payload_end = HEADER_BYTES + header.length as usize;
        let payload = input.get(HEADER_BYTES..payload_end).unwrap_or_default();
        let frame = match frame::read(header, payload) {
            Ok(frame) => frame,
            Err(error) if error.scope == Scope::Connection => return Err(self.fail_by(error)),
            Err(error) => return self.on_stream_error(header, error),
        };
        match frame {
            Frame::Data(data) => {
                let start = match data.padding {
                    Some(_) => HEADER_BYTES + 1,
                    None => HEADER_BYTES,
                };
                let range = start..start + data.data.len();
                let window_bytes = data.window_bytes();
                self.on_data(header, window_bytes, range, data.end_stream, input, scratch)
            }
            Frame::Headers(headers) => self.on_headers(headers, scratch, input),
            Frame::Continuation(continuation) => self.on_continuation(continuation, scratch, input),
            Frame::RstStream(reset) => self.on_rst_stream(reset),
            Frame::WindowUpdate(update) => self.on_window_update(update),
            Frame::Settings(settings) => self.on_settings(settings),
            Frame::Ping(ping) => self.on_ping(ping),
            Frame::GoAway(goaway) => self.on_goaway(goaway),
            Frame::Priority(_) => {
                self.count_idle("priority_flood")?;
                Ok(Step::Again)
            }
            // RFC 9113 §8.4: neither a client may push, nor a server to whom it was forbidden.
            Frame::PushPromise(_) => {
                Err(self.fail(ErrorCode::ProtocolError, malformed("push_promise")))
            }
            Frame::Unknown => {
                self.count_idle("unknown_frame_flood")?;
                Ok(Step::Again)
            }
        }
    }

    // ---- field blocks --------------------------------------------------------------------------

    fn on_headers(
        &mut self,
        headers: Headers<'_>,
        scratch: &mut Scratch,
        input: &[u8],
    ) -> Result<Step, Error> {
        self.state.budgets.content_came(&self.limits);
        let depends_on_itself = headers.check().is_err();
        if !headers.end_headers {
            let bytes = BytesMut::from(headers.fragment);
            self.state.block = Some(Box::new(Block {
                stream: headers.stream,
                end_stream: headers.end_stream,
                depends_on_itself,
                continuations: 0,
                bytes,
            }));
            return Ok(Step::Again);
        }
        let begun = Begun { stream: headers.stream, end_stream: headers.end_stream };
        self.on_block(begun, depends_on_itself, headers.fragment, scratch, input)
    }

    fn on_continuation(
        &mut self,
        continuation: Continuation<'_>,
        scratch: &mut Scratch,
        input: &[u8],
    ) -> Result<Step, Error> {
        let Some(mut block) = self.state.block.take() else { return Ok(Step::Again) };
        block.continuations = block.continuations.saturating_add(1);
        let bytes = block.bytes.len().saturating_add(continuation.fragment.len());
        if block.continuations > self.limits.continuations_max {
            return Err(self.fail(ErrorCode::EnhanceYourCalm, limit("continuation_flood")));
        }
        if bytes > self.limits.block_bytes_max as usize {
            return Err(self.fail(ErrorCode::EnhanceYourCalm, limit("field_block_too_large")));
        }
        block.bytes.extend_from_slice(continuation.fragment);
        if !continuation.end_headers {
            self.state.block = Some(block);
            return Ok(Step::Again);
        }
        let begun = Begun { stream: block.stream, end_stream: block.end_stream };
        self.on_block(begun, block.depends_on_itself, &block.bytes, scratch, input)
    }

    /// A whole field block is there. Whatever becomes of its stream, it is decoded, for the table
    /// of field compression belongs to the connection (RFC 9113 §4.3).
    fn on_block(
        &mut self,
        begun: Begun,
        depends_on_itself: bool,
        block: &[u8],
        scratch: &mut Scratch,
        input: &[u8],
    ) -> Result<Step, Error> {
        if block.len() > self.limits.block_bytes_max as usize {
            return Err(self.fail(ErrorCode::EnhanceYourCalm, limit("field_block_too_large")));
        }
        if depends_on_itself {
            self.skip_block(block)?;
            let error = FrameError {
                code: ErrorCode::ProtocolError,
                scope: Scope::Stream,
                reason: "stream_depends_on_itself",
            };
            let header =
                FrameHeader { length: 0, kind: Kind::Headers, flags: 0, stream: begun.stream };
            return self.on_stream_error(&header, error);
        }
        match (self.role, self.state.streams.find(begun.stream)) {
            (_, Some(id)) => self.on_more_fields(id, begun, block, scratch),
            (Role::Server, None) if begun.stream > self.state.highest => {
                self.on_request(begun, block, scratch, input)
            }
            (Role::Server | Role::Client, None) => {
                self.skip_block(block)?;
                self.on_absent(begun.stream, Late::Headers)
            }
        }
    }

    /// Decodes a block that nobody wants.
    fn skip_block(&mut self, block: &[u8]) -> Result<(), Error> {
        let decoded = self.state.decoder.decode(block, |_| {});
        decoded.map_err(|error| self.fail(ErrorCode::CompressionError, malformed(error.reason())))
    }

    /// A request begins a stream.
    fn on_request(
        &mut self,
        begun: Begun,
        block: &[u8],
        scratch: &mut Scratch,
        input: &[u8],
    ) -> Result<Step, Error> {
        if begun.stream.is_multiple_of(2) {
            return Err(self.fail(ErrorCode::ProtocolError, malformed("stream_of_wrong_side")));
        }
        if self.state.closing.last_taken.is_some() {
            // RFC 9113 §6.8: what came after the last word is ignored, and may be sent elsewhere.
            self.skip_block(block)?;
            return Ok(Step::Again);
        }
        self.state.highest = begun.stream;
        // A request that was given up in the same breath is not begun.
        if resets_at_once(input, self.state.skip as usize, begun.stream) {
            self.skip_block(block)?;
            self.state.skip = self.state.skip.saturating_add(RST_STREAM_BYTES);
            self.count_reset("reset_flood")?;
            return Ok(Step::Note(Note::StreamError("request_given_up_at_once")));
        }
        if self.state.streams.len() >= self.limits.streams() {
            self.skip_block(block)?;
            self.count_reset("reset_flood")?;
            self.reset_id(begun.stream, ErrorCode::RefusedStream);
            return Ok(Step::Note(Note::StreamError("too_many_streams")));
        }
        let read = self.read_request(block, begun.end_stream, scratch)?;
        let window = self.state.announced.stream_window;
        let outbound = Outbound::new(self.state.peer.stream_window);
        let mut stream = Stream::new(begun.stream, Inbound::new(window, window), outbound);
        stream.receiving = if begun.end_stream { Receiving::Ended } else { Receiving::Body };
        let (reason, status) = match read {
            Ok(read) => {
                stream.asked = read.asked();
                stream.is_grpc = read.is_grpc;
                stream.expected = read.content_length.filter(|_| !begun.end_stream);
                if stream.expected.is_none_or(|it| it <= self.limits.body_bytes_max) {
                    let id = self.state.streams.insert(stream);
                    return Ok(Step::Request(id, end_if(begun.end_stream)));
                }
                ("body_too_large", Status::BodyTooLarge)
            }
            Err(FieldsError { reason, kind: FieldsErrorKind::Malformed }) => {
                self.count_reset("reset_flood")?;
                self.reset_id(begun.stream, ErrorCode::ProtocolError);
                return Ok(Step::Note(Note::StreamError(reason)));
            }
            Err(FieldsError { reason, kind: FieldsErrorKind::TooLarge }) => {
                (reason, Status::FieldsTooLarge)
            }
            Err(FieldsError { reason, kind: FieldsErrorKind::Unsupported(status) }) => {
                (reason, status)
            }
        };
        self.count_reset("reset_flood")?;
        let id = self.state.streams.insert(stream);
        self.write_reply(id, status);
        Ok(Step::Note(Note::StreamError(reason)))
    }

    /// Fields came on a stream that is open: the head of a response, or trailers.
    fn on_more_fields(
        &mut self,
        id: StreamId,
        begun: Begun,
        block: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Step, Error> {
        let Some(stream) = self.state.streams.get(id) else { return Ok(Step::Again) };
        match stream.receiving {
            Receiving::Ended => {
                self.skip_block(block)?;
                self.give_up(id, ErrorCode::StreamClosed, "headers_after_end")
            }
            Receiving::Head => self.on_response(id, begun, block, scratch),
            Receiving::Body if !begun.end_stream => {
                self.skip_block(block)?;
                self.give_up(id, ErrorCode::ProtocolError, "trailers_without_end")
            }
            Receiving::Body => {
                let is_short = stream.expected.is_some_and(|it| it > 0);
                if let Err(error) = self.read_trailers(block, scratch)? {
                    return self.give_up(id, ErrorCode::ProtocolError, error.reason);
                }
                if is_short {
                    return self.give_up(id, ErrorCode::ProtocolError, "body_too_short");
                }
                if let Some(stream) = self.state.streams.get_mut(id) {
                    stream.receiving = Receiving::Ended;
                }
                self.settle(id);
                Ok(Step::Trailers(id))
            }
        }
    }

    fn on_response(
        &mut self,
        id: StreamId,
        begun: Begun,
        block: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Step, Error> {
        let Some(asked) = self.state.streams.get(id).map(|it| it.asked) else {
            return Ok(Step::Again);
        };
        let read = match self.read_response(block, begun.end_stream, asked, scratch)? {
            Ok(read) => read,
            Err(error) => return self.give_up(id, ErrorCode::ProtocolError, error.reason),
        };
        let informational_max = self.limits.informational_max;
        let Some(stream) = self.state.streams.get_mut(id) else { return Ok(Step::Again) };
        if read.is_informational {
            stream.informational = stream.informational.saturating_add(1);
            if begun.end_stream || stream.informational > informational_max {
                let reason =
                    if begun.end_stream { "informational_ends" } else { "informational_flood" };
                return self.give_up(id, ErrorCode::ProtocolError, reason);
            }
            return Ok(Step::Response(id, End::No));
        }
        stream.expected = read.content_length.filter(|_| !begun.end_stream);
        stream.is_tunnel = read.is_tunnel;
        stream.allows_body = read.allows_body;
        stream.receiving = if begun.end_stream { Receiving::Ended } else { Receiving::Body };
        self.settle(id);
        Ok(Step::Response(id, end_if(begun.end_stream)))
    }

    // ---- data ----------------------------------------------------------------------------------

    fn on_data(
        &mut self,
        header: &FrameHeader,
        window_bytes: usize,
        range: Range<usize>,
        end_stream: bool,
        input: &BytesMut,
        scratch: &mut Scratch,
    ) -> Result<Step, Error> {
        let id = match self.take_data(header, window_bytes, range.len(), end_stream)? {
            Taken::Data(id) => id,
            Taken::Nothing(step) => return Ok(step),
        };
        if end_stream || range.len() > GATHERED_PIECE_MAX {
            return Ok(Step::Data(id, range, end_if(end_stream)));
        }
        self.gather(id, header.stream, range, input, scratch)
    }

    /// Small pieces of one stream that follow each other are handed on as one.
    fn gather(
        &mut self,
        id: StreamId,
        stream: u32,
        first: Range<usize>,
        input: &BytesMut,
        scratch: &mut Scratch,
    ) -> Result<Step, Error> {
        let mut at = self.state.skip as usize;
        let mut is_alone = true;
        while let Some(rest) = input.get(at..) {
            let Some(header) = FrameHeader::read(rest) else { break };
            let length = header.length as usize;
            let payload = rest.get(HEADER_BYTES..HEADER_BYTES + length);
            let Some(payload) = payload else { break };
            let is_plain = header.kind == Kind::Data
                && header.stream == stream
                && !header.has(frame::flags::PADDED)
                && length > 0
                && length <= GATHERED_PIECE_MAX;
            let end_stream = header.has(frame::flags::END_STREAM);
            // What is wrong with it is told after what came before.
            let is_plain = is_plain && self.takes_data(id, header.length, end_stream);
            if !is_plain || scratch.gathered.len() + length > GATHERED_BYTES_MAX {
                break;
            }
            if is_alone {
                scratch.gathered.clear();
                scratch.gathered.extend_from_slice(input.get(first.clone()).unwrap_or_default());
                is_alone = false;
            }
            self.take_data(&header, length, length, end_stream)?;
            scratch.gathered.extend_from_slice(payload);
            at += HEADER_BYTES + length;
            self.state.skip = u32::try_from(at).unwrap_or(u32::MAX);
            if end_stream {
                return Ok(Step::Gathered(id, End::Yes));
            }
        }
        Ok(match is_alone {
            true => Step::Data(id, first, End::No),
            false => Step::Gathered(id, End::No),
        })
    }

    /// Whether [`Connection::take_data`] takes that much without a word.
    fn takes_data(&self, id: StreamId, bytes: u32, end_stream: bool) -> bool {
        let Some(stream) = self.state.streams.get(id) else { return false };
        let bytes_left = match stream.expected {
            Some(left) => left,
            None => self.limits.body_bytes_max.saturating_sub(stream.taken),
        };
        let bytes_least = if end_stream { stream.expected.unwrap_or_default() } else { 0 };
        stream.receiving == Receiving::Body
            && stream.allows_body
            && stream.inbound.takes(bytes)
            && self.state.inbound.takes(bytes)
            && (bytes_least..=bytes_left).contains(&u64::from(bytes))
    }

    /// Accounts for the data of a frame.
    fn take_data(
        &mut self,
        header: &FrameHeader,
        window_bytes: usize,
        data_bytes: usize,
        end_stream: bool,
    ) -> Result<Taken, Error> {
        let window_bytes = u32::try_from(window_bytes).unwrap_or(u32::MAX);
        let padding = window_bytes.saturating_sub(u32::try_from(data_bytes).unwrap_or(u32::MAX));
        if self.state.inbound.take(window_bytes).is_err() {
            let error = malformed("connection_window_passed");
            return Err(self.fail(ErrorCode::FlowControlError, error));
        }
        let Some(id) = self.state.streams.find(header.stream) else {
            // RFC 9113 §6.9: it counts for the connection whatever becomes of it.
            self.state.inbound.give_back(window_bytes);
            self.announce();
            let late = if data_bytes > 0 { Late::Content } else { Late::EmptyData };
            return self.on_absent(header.stream, late).map(Taken::Nothing);
        };
        if data_bytes == 0 && !end_stream {
            self.count_idle("empty_data_flood")?;
        } else {
            self.state.budgets.content_came(&self.limits);
        }
        let give_up = |it: &mut Self, code, reason| {
            it.state.inbound.give_back(window_bytes);
            it.announce();
            it.give_up(id, code, reason).map(Taken::Nothing)
        };
        let body_bytes_max = self.limits.body_bytes_max;
        let Some(stream) = self.state.streams.get_mut(id) else {
            return Ok(Taken::Nothing(Step::Again));
        };
        match stream.receiving {
            Receiving::Body => {}
            Receiving::Ended => return give_up(self, ErrorCode::StreamClosed, "data_after_end"),
            Receiving::Head => return give_up(self, ErrorCode::ProtocolError, "data_before_head"),
        }
        if data_bytes > 0 && !stream.allows_body {
            return give_up(self, ErrorCode::ProtocolError, "body_not_allowed");
        }
        if stream.inbound.take(window_bytes).is_err() {
            return give_up(self, ErrorCode::FlowControlError, "stream_window_passed");
        }
        if let Some(expected) = &mut stream.expected {
            match expected.checked_sub(data_bytes as u64) {
                None => return give_up(self, ErrorCode::ProtocolError, "body_too_long"),
                Some(left) if end_stream && left > 0 => {
                    return give_up(self, ErrorCode::ProtocolError, "body_too_short");
                }
                Some(left) => *expected = left,
            }
        } else if body_bytes_max != u64::MAX && !stream.asked.asks_for_tunnel() {
            stream.taken = stream.taken.saturating_add(data_bytes as u64);
            if stream.taken > body_bytes_max && self.role == Role::Server {
                return self.refuse_body(id, window_bytes).map(Taken::Nothing);
            }
        }
        // Nobody else gives padding back.
        stream.inbound.give_back(padding);
        if padding > 0
            && !end_stream
            && let Some(increment) = stream.inbound.announce()
        {
            WindowUpdate { stream: header.stream, increment }.write(self.output.tail());
        }
        let data_bytes = window_bytes - padding;
        stream.unreleased = stream.unreleased.saturating_add(data_bytes);
        if end_stream {
            stream.receiving = Receiving::Ended;
        }
        self.state.unreleased = self.state.unreleased.saturating_add(data_bytes);
        let credited = if self.state.unreleased <= self.unreleased_max() {
            window_bytes
        } else {
            self.state.owed = self.state.owed.saturating_add(data_bytes);
            padding
        };
        self.state.inbound.give_back(credited);
        self.announce();
        if end_stream {
            self.settle(id);
        }
        Ok(Taken::Data(id))
    }

    fn refuse_body(&mut self, id: StreamId, window_bytes: u32) -> Result<Step, Error> {
        self.state.inbound.give_back(window_bytes);
        self.announce();
        self.count_reset("reset_flood")?;
        self.state.due.push_back(Due::Reset(id, Reason::TooLarge));
        self.write_reply(id, Status::BodyTooLarge);
        // A response that has begun cannot be taken back.
        self.reset(id, ErrorCode::EnhanceYourCalm);
        Ok(Step::Note(Note::StreamError("body_too_large")))
    }

    // ---- the other frames ----------------------------------------------------------------------

    fn on_rst_stream(&mut self, reset: RstStream) -> Result<Step, Error> {
        let Some(id) = self.state.streams.find(reset.stream) else {
            self.count_idle("reset_flood")?;
            return match self.is_idle(reset.stream) {
                true => Err(self.fail(ErrorCode::ProtocolError, malformed("reset_of_idle_stream"))),
                false => Ok(Step::Again),
            };
        };
        let Some(removed) = self.remove(id) else { return Ok(Step::Again) };
        if self.role == Role::Server && !removed.is_sent {
            self.count_reset("reset_flood")?;
        }
        // Also where one direction has ended: only tunnels are there still when it has.
        self.state.due.push_back(Due::Reset(id, reason_of(reset.code)));
        Ok(Step::Again)
    }

    fn on_window_update(&mut self, update: WindowUpdate) -> Result<Step, Error> {
        self.count_idle("window_update_flood")?;
        let increment = i64::from(update.increment);
        if update.stream == 0 {
            let was_shut = self.state.outbound.available() == 0;
            if self.state.outbound.add(increment).is_err() {
                let error = malformed("connection_window_overflow");
                return Err(self.fail(ErrorCode::FlowControlError, error));
            }
            self.flush_waiting(was_shut);
            return Ok(Step::Again);
        }
        let Some(id) = self.state.streams.find(update.stream) else {
            return match self.is_idle(update.stream) {
                true => {
                    let error = malformed("window_update_of_idle_stream");
                    Err(self.fail(ErrorCode::ProtocolError, error))
                }
                // RFC 9113 §5.1: it may have been under way.
                false => Ok(Step::Again),
            };
        };
        let Some(stream) = self.state.streams.get_mut(id) else { return Ok(Step::Again) };
        let was_shut = stream.outbound.available() == 0;
        if stream.outbound.add(increment).is_err() {
            return self.give_up(id, ErrorCode::FlowControlError, "stream_window_overflow");
        }
        self.flush(id, was_shut);
        Ok(Step::Again)
    }

    fn on_settings(&mut self, settings: Settings<'_>) -> Result<Step, Error> {
        match self.state.input {
            Input::First => self.state.input = Input::Frames,
            _ => self.count_idle("settings_flood")?,
        }
        match settings {
            Settings::Ack => {
                self.state.decoder.set_table_bytes_max(self.state.announced.table_bytes_max)
            }
            Settings::Values(values) => self.apply(values)?,
        }
        Ok(Step::Again)
    }

    fn apply(&mut self, values: Values<'_>) -> Result<(), Error> {
        // Changes of the window pass over all streams: the last one of a frame is what holds.
        let mut stream_window = None;
        for setting in values.iter() {
            match setting {
                Setting::HeaderTableSize(bytes) => self.state.encoder.set_table_bytes_max(bytes),
                Setting::MaxConcurrentStreams(count) => self.state.peer.streams_max = count,
                Setting::InitialWindowSize(bytes) => stream_window = Some(bytes),
                Setting::MaxFrameSize(bytes) => self.state.peer.payload_bytes_max = bytes,
                Setting::EnableConnectProtocol(takes) => {
                    self.state.peer.takes_extended_connect = takes;
                }
                Setting::EnablePush(true) if self.role == Role::Client => {
                    let error = malformed("settings_enable_push");
                    return Err(self.fail(ErrorCode::ProtocolError, error));
                }
                // A hint only (RFC 9113 §6.5.2): what is too large for the peer it refuses.
                Setting::EnablePush(_)
                | Setting::MaxHeaderListSize(_)
                | Setting::Unknown { .. } => {}
            }
        }
        self.check_unread()?;
        settings::write_ack(self.output.tail());
        if let Some(window) = stream_window {
            self.change_windows(window)?;
        }
        if !std::mem::replace(&mut self.state.peer.is_known, true) {
            self.write_held();
        }
        Ok(())
    }

    /// RFC 9113 §6.9.2: the difference holds for every open stream.
    fn change_windows(&mut self, window: u32) -> Result<(), Error> {
        let change = i64::from(window) - i64::from(self.state.peer.stream_window);
        self.state.peer.stream_window = window;
        if change == 0 {
            return Ok(());
        }
        let mut opened = Vec::new();
        let mut has_overflown = false;
        for (id, stream) in self.state.streams.iter_mut() {
            let was_shut = stream.outbound.available() == 0;
            has_overflown |= stream.outbound.add(change).is_err();
            if change > 0 {
                opened.push((id, was_shut));
            }
        }
        if has_overflown {
            let error = malformed("stream_window_overflow");
            return Err(self.fail(ErrorCode::FlowControlError, error));
        }
        for (id, was_shut) in opened {
            self.flush(id, was_shut);
        }
        Ok(())
    }

    fn on_ping(&mut self, ping: Ping) -> Result<Step, Error> {
        if ping.is_ack {
            if ping.payload == GOODBYE_PING {
                self.say_goodbye();
                return Ok(Step::Again);
            }
            self.count_idle("ping_flood")?;
            return Ok(Step::Again);
        }
        self.count_idle("ping_flood")?;
        self.check_unread()?;
        Ping { is_ack: true, payload: ping.payload }.write(self.output.tail());
        Ok(Step::Note(Note::HeartbeatReceived))
    }

    /// A server is read on whatever it takes of ours, so what it is owed for nothing is bounded
    /// here. A client that does not take its output is not read.
    fn check_unread(&mut self) -> Result<(), Error> {
        if self.role == Role::Client && self.output.len() > UNREAD_BYTES_MAX {
            return Err(self.fail(ErrorCode::EnhanceYourCalm, limit("answers_unread")));
        }
        Ok(())
    }

    fn on_goaway(&mut self, goaway: GoAway<'_>) -> Result<Step, Error> {
        self.count_idle("goaway_flood")?;
        if self.role == Role::Server {
            self.state.closing.peer_leaves = true;
            return Ok(Step::Again);
        }
        if !self.state.closing.peer_leaves {
            self.state.closing.peer_leaves = true;
            self.state.due.push_back(Due::GoAway);
        }
        // RFC 9113 §6.8: nothing was done for those above the last, and none is begun any more.
        let is_refused = |stream: &Stream| stream.id > goaway.last_stream || stream.id == 0;
        let streams = self.state.streams.iter_mut();
        let refused: Vec<_> = streams.filter(|(_, it)| is_refused(it)).map(|(id, _)| id).collect();
        for id in refused {
            self.remove(id);
            self.state.due.push_back(Due::Reset(id, Reason::Refused));
        }
        Ok(Step::Again)
    }

    // ---- errors --------------------------------------------------------------------------------

    /// A frame came for a stream that is not there.
    fn on_absent(&mut self, stream: u32, late: Late) -> Result<Step, Error> {
        if self.is_idle(stream) {
            let error = malformed("frame_on_idle_stream");
            return Err(self.fail(ErrorCode::ProtocolError, error));
        }
        // A client may give up more streams at once than are remembered, and what is late for one
        // of them is no reason to lose all others.
        if self.role == Role::Client || self.state.given_up.contains(&stream) {
            // Content is bounded by the window, and there may be a whole one under way.
            if late != Late::Content {
                self.count_idle("late_frame_flood")?;
            }
            return Ok(match self.role {
                Role::Client => Step::Note(Note::LateResponse),
                Role::Server => Step::Again,
            });
        }
        if self.is_beyond(stream) {
            return Ok(Step::Again);
        }
        if late == Late::Headers {
            let error = malformed("headers_on_closed_stream");
            return Err(self.fail(ErrorCode::StreamClosed, error));
        }
        self.count_reset("reset_flood")?;
        self.reset_id(stream, ErrorCode::StreamClosed);
        Ok(Step::Note(Note::StreamError("data_on_closed_stream")))
    }

    /// Whether a stream was never opened (RFC 9113 §5.1).
    fn is_idle(&self, stream: u32) -> bool {
        let is_clients = !stream.is_multiple_of(2);
        !is_clients || (stream > self.state.highest && !self.is_beyond(stream))
    }

    /// Whether a stream of the peer came after our last word (RFC 9113 §6.8).
    fn is_beyond(&self, stream: u32) -> bool {
        self.state.closing.last_taken.is_some_and(|last| stream > last)
    }

    /// An error of one stream that its frame alone tells.
    fn on_stream_error(&mut self, header: &FrameHeader, error: FrameError) -> Result<Step, Error> {
        if let Some(id) = self.state.streams.find(header.stream) {
            return self.give_up(id, error.code, error.reason);
        }
        if self.is_idle(header.stream) {
            // RFC 9113 §5.1: no RST_STREAM goes to a stream that never was.
            let is_clients = !header.stream.is_multiple_of(2);
            match header.kind {
                Kind::Headers if self.role == Role::Server && is_clients => {
                    self.state.highest = header.stream;
                }
                Kind::Priority => return Err(self.fail_by(error)),
                _ => {
                    let error = malformed("frame_on_idle_stream");
                    return Err(self.fail(ErrorCode::ProtocolError, error));
                }
            }
        }
        if self.is_beyond(header.stream) {
            return Ok(Step::Again);
        }
        self.count_reset("reset_flood")?;
        self.reset_id(header.stream, error.code);
        Ok(Step::Note(Note::StreamError(error.reason)))
    }

    /// Gives a stream up because of what the peer did on it.
    fn give_up(
        &mut self,
        id: StreamId,
        code: ErrorCode,
        reason: &'static str,
    ) -> Result<Step, Error> {
        self.count_reset("reset_flood")?;
        self.reset(id, code);
        self.state.due.push_back(Due::Reset(id, Reason::ProtocolError));
        Ok(Step::Note(Note::StreamError(reason)))
    }

    /// A stream is given up before its time, by the peer or because of it.
    fn count_reset(&mut self, reason: &'static str) -> Result<(), Error> {
        if self.role == Role::Client || self.state.budgets.reset(&self.limits, self.now) {
            return Ok(());
        }
        Err(self.fail(ErrorCode::EnhanceYourCalm, limit(reason)))
    }

    /// A frame came that carries nothing.
    fn count_idle(&mut self, reason: &'static str) -> Result<(), Error> {
        if self.state.budgets.idle_frame(&self.limits, self.now) {
            return Ok(());
        }
        Err(self.fail(ErrorCode::EnhanceYourCalm, limit(reason)))
    }

    fn fail_by(&mut self, error: FrameError) -> Error {
        self.fail(error.code, malformed(error.reason))
    }
}

/// The stream that a field block belongs to, and whether its direction ends with it.
#[derive(Clone, Copy)]
struct Begun {
    stream: u32,
    end_stream: bool,
}

/// What came for a stream that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Headers,
    Content,
    EmptyData,
}

enum Taken {
    Data(StreamId),
    Nothing(Step),
}

/// Whether the frame at `at` gives the stream up.
fn resets_at_once(input: &[u8], at: usize, stream: u32) -> bool {
    let Some(rest) = input.get(at..) else { return false };
    let Some(header) = FrameHeader::read(rest) else { return false };
    header.kind == Kind::RstStream
        && header.stream == stream
        && header.length == 4
        && rest.len() >= RST_STREAM_BYTES as usize
}

const fn malformed(reason: &'static str) -> Error {
    Error::new(Fault::Malformed, Status::BadRequest, reason)
}

const fn limit(reason: &'static str) -> Error {
    Error::new(Fault::Limit, Status::Overloaded, reason)
}

const RST_STREAM_BYTES: u32 = 13;

/// Output that a server leaves unread, above which it is not answered any more. 32 MiB: as much as
/// a client may leave.
const UNREAD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Larger pieces are handed on where they stand.
const GATHERED_PIECE_MAX: usize = 2 * 1024;

/// So much is gathered at most.
const GATHERED_BYTES_MAX: usize = 64 * 1024;
