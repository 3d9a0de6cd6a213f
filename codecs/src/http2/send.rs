//! Parts as they go: heads, data as far as the windows allow, and what waits for them.

use bytes::BytesMut;

use super::connection::{Connection, Due};
use super::fields::{self, Peer};
use super::frame::{HEADER_BYTES, STREAM_MAX, data, headers};
use super::hpack::Encoder;
use super::stream::{QueuedEnd, Sending, Stream};
use crate::http::sound::are_sound;
use crate::message::End;
use crate::{
    BodySize, Data, EncodeError, Fields, HttpRequest, HttpResponse, Reason, Role, Status, StreamId,
    grpc, http1,
};

impl Connection {
    pub(super) fn write_request(
        &mut self,
        id: StreamId,
        head: &HttpRequest,
        end: End,
    ) -> Result<(), EncodeError> {
        let stream = self.state.streams.get(id).ok_or(EncodeError::UnknownStream)?;
        let is_begun = stream.sending != Sending::Head || stream.held.is_some();
        if self.role == Role::Server || is_begun {
            return Err(EncodeError::Unfit);
        }
        let peer = Peer {
            is_https: false,
            takes_extended_connect: self.state.peer.takes_extended_connect,
        };
        // An offer that cannot be made here ends with its head (RFC 8441 §5).
        let offers = !head.upgrade.is_empty();
        let is_made = offers && peer.takes_extended_connect;
        if offers && !self.state.peer.is_known {
            if let Some(stream) = self.state.streams.get_mut(id) {
                stream.held = Some(Box::new((head.clone(), end)));
            }
            return Ok(());
        }
        let left = length_to_send(head.body, end)?;
        let end_stream = end == End::Yes || (offers && !is_made);
        let number = match self.state.highest {
            0 => 1,
            highest => highest.saturating_add(2),
        };
        if number > STREAM_MAX {
            return Err(EncodeError::Unfit);
        }
        let block = Begin { stream: number, end_stream };
        let payload_max = self.state.peer.payload_bytes_max;
        let encoder = &mut self.state.encoder;
        let asked = block.write(payload_max, encoder, self.output.tail(), |mut field| {
            fields::write_request(head, peer, &mut field)
        })?;
        self.state.highest = number;
        self.state.streams.name(id, number);
        let window = self.state.peer.stream_window;
        self.state.budgets.content_went(&self.limits);
        if let Some(stream) = self.state.streams.get_mut(id) {
            stream.outbound = super::flow::Outbound::new(window);
            stream.sending = if end_stream { Sending::Ended } else { Sending::Body };
            stream.left = left;
            stream.asked = asked;
        }
        Ok(())
    }

    /// The peer has told what it takes: writes the heads that waited for that.
    pub(super) fn write_held(&mut self) {
        let held = self.state.streams.iter_mut();
        let held: Vec<_> =
            held.filter_map(|(id, stream)| Some((id, stream.held.take()?))).collect();
        for (id, held) in held {
            let (head, end) = &*held;
            if self.write_request(id, head, *end).is_err() {
                self.remove(id);
                self.state.due.push_back(Due::Reset(id, Reason::ProtocolError));
            }
        }
    }

    pub(super) fn write_response(
        &mut self,
        id: StreamId,
        head: &HttpResponse,
        end: End,
    ) -> Result<(), EncodeError> {
        let stream = self.state.streams.get(id).ok_or(EncodeError::UnknownStream)?;
        let asked = stream.asked;
        if self.role == Role::Client || stream.sending != Sending::Head {
            return Err(EncodeError::Unfit);
        }
        let accepts = match head.status {
            101 => asked.is_extended_connect,
            200..300 => asked.is_connect,
            _ => false,
        };
        let is_informational = head.status < 200 && !accepts;
        // RFC 9113 §8.6: 101 has no meaning here but that of RFC 8441.
        if is_informational && (head.status == 101 || end == End::Yes) {
            return Err(EncodeError::Unfit);
        }
        let has_no_body = asked.is_head || matches!(head.status, 204 | 304);
        let left = match head.body {
            _ if accepts || is_informational => None,
            _ if has_no_body => Some(0),
            body => length_to_send(body, end)?,
        };
        let end_stream = end == End::Yes;
        let block = Begin { stream: stream.id, end_stream };
        let payload_max = self.state.peer.payload_bytes_max;
        let encoder = &mut self.state.encoder;
        block.write(payload_max, encoder, self.output.tail(), |mut field| {
            fields::write_response(head, asked, &mut field)
        })?;
        self.state.budgets.content_went(&self.limits);
        if is_informational {
            return Ok(());
        }
        if let Some(stream) = self.state.streams.get_mut(id) {
            stream.sending = if end_stream { Sending::Ended } else { Sending::Body };
            stream.left = left;
            stream.is_tunnel = accepts;
        }
        self.settle(id);
        Ok(())
    }

    pub(super) fn write_data(
        &mut self,
        id: StreamId,
        data: &Data<'_>,
        end: End,
    ) -> Result<(), EncodeError> {
        let stream = self.state.streams.get_mut(id).ok_or(EncodeError::UnknownStream)?;
        if stream.sending != Sending::Body {
            return Err(EncodeError::Unfit);
        }
        if let Some(left) = &mut stream.left {
            let after = left.checked_sub(data.len() as u64);
            match after.filter(|it| *it == 0 || end == End::No) {
                Some(after) => *left = after,
                None => {
                    self.reset(id, super::ErrorCode::InternalError);
                    return Err(EncodeError::WrongLength);
                }
            }
        }
        if data.is_empty() && end == End::No {
            return Ok(());
        }
        if end == End::Yes {
            stream.sending = Sending::Ended;
        }
        let mut sent = 0;
        if stream.queue.is_none() {
            let payload_max = self.state.peer.payload_bytes_max as usize;
            let bytes = data.as_slice();
            let out = self.output.tail();
            loop {
                let rest = bytes.get(sent..).unwrap_or_default();
                let windows = stream.outbound.available().min(self.state.outbound.available());
                let count = rest.len().min(windows).min(payload_max);
                let is_last = count == rest.len();
                if count == 0 && !(is_last && end == End::Yes) {
                    break;
                }
                write_frame(stream.id, is_last && end == End::Yes, &[rest.get(..count)], out);
                stream.outbound.take(count);
                self.state.outbound.take(count);
                self.state.budgets.content_went(&self.limits);
                sent += count;
                if is_last {
                    self.settle(id);
                    return Ok(());
                }
            }
        }
        let queue = stream.queue.get_or_insert_default();
        match data {
            Data::Borrowed(bytes) => queue.data.put(bytes.get(sent..).unwrap_or_default()),
            Data::Owned(bytes) => queue.data.put_bytes(bytes.slice(sent.min(bytes.len())..)),
        }
        if end == End::Yes {
            queue.end = Some(QueuedEnd::Data);
        }
        self.wait(id);
        Ok(())
    }

    pub(super) fn write_trailers(
        &mut self,
        id: StreamId,
        trailers: &Fields,
    ) -> Result<(), EncodeError> {
        let stream = self.state.streams.get_mut(id).ok_or(EncodeError::UnknownStream)?;
        if stream.sending != Sending::Body {
            return Err(EncodeError::Unfit);
        }
        if stream.left.is_some_and(|it| it > 0) {
            self.reset(id, super::ErrorCode::InternalError);
            return Err(EncodeError::WrongLength);
        }
        // RFC 9113 §8.1: a field block without a field would be an end without meaning.
        if trailers.is_empty() {
            return self.write_data(id, &Data::Borrowed(b""), End::Yes);
        }
        if !are_sound(trailers) {
            return Err(EncodeError::Unfit);
        }
        if let Some(queue) = &mut stream.queue {
            queue.end = Some(QueuedEnd::Trailers(trailers.clone()));
            stream.sending = Sending::Ended;
            return Ok(());
        }
        stream.sending = Sending::Ended;
        let block = Begin { stream: stream.id, end_stream: true };
        self.write_trailer_block(block, trailers);
        self.settle(id);
        Ok(())
    }

    fn write_trailer_block(&mut self, block: Begin, trailers: &Fields) {
        let payload_max = self.state.peer.payload_bytes_max;
        let encoder = &mut self.state.encoder;
        // They were found sound when they were taken.
        let _ = block.write(payload_max, encoder, self.output.tail(), |mut field| {
            fields::write_trailers(trailers, &mut field)
        });
    }

    /// Answers a stream that has no response yet, and ends it.
    pub(super) fn write_reply(&mut self, id: StreamId, status: Status) {
        let Some(stream) = self.state.streams.get(id) else { return };
        if self.role == Role::Client || stream.sending != Sending::Head {
            return;
        }
        if stream.is_grpc {
            return self.write_grpc_reply(id, status);
        }
        let (code, _, body) = http1::reply_words(status);
        let mut head = HttpResponse { status: code, ..HttpResponse::default() };
        head.fields.push(b"content-type", b"text/plain; charset=utf-8");
        // What does not fit into the windows would have to wait, for a stream that nobody looks
        // after any more: the head says enough.
        let windows = stream.outbound.available().min(self.state.outbound.available());
        let fits = body.len() <= windows;
        let has_body = fits && !stream.asked.is_head;
        head.body = BodySize::Sized(if fits { body.len() as u64 } else { 0 });
        let end = if has_body { End::No } else { End::Yes };
        // Nothing of it is unfit.
        let _ = self.write_response(id, &head, end);
        if has_body {
            let _ = self.write_data(id, &Data::Borrowed(body.as_bytes()), End::Yes);
        }
    }

    /// gRPC over HTTP/2, "Responses": a head alone that carries what trailers would.
    fn write_grpc_reply(&mut self, id: StreamId, status: Status) {
        let (code, message) = grpc::status_of(status);
        let mut head = HttpResponse { status: 200, ..HttpResponse::default() };
        head.fields.push(b"content-type", b"application/grpc");
        head.fields.push(b"grpc-status", itoa::Buffer::new().format(code.number()).as_bytes());
        head.fields.push(b"grpc-message", message.as_bytes());
        let _ = self.write_response(id, &head, End::Yes);
    }

    // ---- what waits for windows ----------------------------------------------------------------

    /// A queue has something: if it is the connection's window that is shut, the stream is served
    /// in its turn when that opens; its own window tells itself.
    fn wait(&mut self, id: StreamId) {
        let Some(stream) = self.state.streams.get_mut(id) else { return };
        if stream.queue.is_some() && !stream.is_waiting && self.state.outbound.available() == 0 {
            stream.is_waiting = true;
            self.state.waiting.push_back(id);
        }
    }

    /// The window of a stream has opened: sends what waits for it.
    pub(super) fn flush(&mut self, id: StreamId, was_shut: bool) {
        let had_queue = self.state.streams.get(id).is_some_and(|it| it.queue.is_some());
        loop {
            match self.flush_frame(id) {
                Flushed::Frame => {}
                Flushed::Shut => return self.wait(id),
                Flushed::Empty => break,
            }
        }
        if was_shut || had_queue {
            self.tell_writable(id);
        }
    }

    /// The window of the connection has opened: one frame for each stream that waits, in turn, so
    /// that none is starved by another.
    pub(super) fn flush_waiting(&mut self, was_shut: bool) {
        while let Some(id) = self.state.waiting.pop_front() {
            if let Some(stream) = self.state.streams.get_mut(id) {
                stream.is_waiting = false;
            }
            match self.flush_frame(id) {
                Flushed::Frame => {
                    if let Some(stream) = self.state.streams.get_mut(id) {
                        stream.is_waiting = true;
                        self.state.waiting.push_back(id);
                    }
                }
                Flushed::Shut if self.state.outbound.available() == 0 => {
                    if let Some(stream) = self.state.streams.get_mut(id) {
                        stream.is_waiting = true;
                        self.state.waiting.push_front(id);
                    }
                    return;
                }
                // Those whose queue is empty are told with all others.
                Flushed::Shut | Flushed::Empty => {}
            }
        }
        if was_shut && self.state.outbound.available() > 0 {
            self.tell_all_writable();
        }
    }

    /// While the window of the connection was shut, every stream without a queue may have been
    /// told that nothing can go.
    fn tell_all_writable(&mut self) {
        for (id, stream) in self.state.streams.iter_mut() {
            if stream.takes_data() {
                self.state.due.push_back(Due::Writable(id));
            }
        }
    }

    fn tell_writable(&mut self, id: StreamId) {
        let takes_data = self.state.streams.get(id).is_some_and(Stream::takes_data);
        if takes_data && self.state.outbound.available() > 0 {
            self.state.due.push_back(Due::Writable(id));
        }
    }

    /// Sends one frame of what waits in a stream.
    fn flush_frame(&mut self, id: StreamId) -> Flushed {
        let Some(stream) = self.state.streams.get_mut(id) else { return Flushed::Empty };
        let Some(queue) = &mut stream.queue else { return Flushed::Empty };
        let windows = stream.outbound.available().min(self.state.outbound.available());
        let payload_max = self.state.peer.payload_bytes_max as usize;
        let count = queue.data.len().min(windows).min(payload_max);
        let is_last = count == queue.data.len();
        if count == 0 && !is_last {
            return Flushed::Shut;
        }
        let ends = is_last && matches!(queue.end, Some(QueuedEnd::Data));
        if count > 0 || ends {
            let mut left = count;
            let mut pieces = [None; PIECES_MAX];
            for (place, piece) in pieces.iter_mut().zip(queue.data.pieces()) {
                let taken = left.min(piece.len());
                *place = piece.get(..taken);
                left -= taken;
            }
            let count = count - left;
            let is_last = is_last && left == 0;
            write_frame(stream.id, ends && is_last, &pieces, self.output.tail());
            queue.data.advance(count);
            stream.outbound.take(count);
            self.state.outbound.take(count);
            self.state.budgets.content_went(&self.limits);
            if !is_last {
                return Flushed::Frame;
            }
        }
        let queue = stream.queue.take();
        let trailers = queue.and_then(|it| match it.end {
            Some(QueuedEnd::Trailers(fields)) => Some(fields),
            Some(QueuedEnd::Data) | None => None,
        });
        if let Some(fields) = trailers {
            let block = Begin { stream: stream.id, end_stream: true };
            self.write_trailer_block(block, &fields);
        }
        self.settle(id);
        Flushed::Empty
    }
}

/// What one attempt to send what waits did.
enum Flushed {
    /// A frame went, and something is left.
    Frame,
    /// Nothing can go.
    Shut,
    /// Nothing is left.
    Empty,
}

/// A field block that is about to be written.
#[derive(Clone, Copy)]
struct Begin {
    stream: u32,
    end_stream: bool,
}

impl Begin {
    /// Writes the fields that `write` gives, in one frame where they fit.
    ///
    /// # Errors
    /// Those of `write`, which come before its first field; nothing was written then.
    fn write<T>(
        self,
        payload_max: u32,
        encoder: &mut Encoder,
        out: &mut BytesMut,
        write: impl FnOnce(&mut dyn FnMut(&[u8], &[u8])) -> Result<T, EncodeError>,
    ) -> Result<T, EncodeError> {
        let block = headers::Block::begin(out);
        let mut is_begun = false;
        let written = write(&mut |name, value| {
            if !is_begun {
                encoder.begin(out);
                is_begun = true;
            }
            encoder.field(name, value, out);
        });
        match &written {
            Ok(_) => block.end(self.stream, self.end_stream, payload_max, out),
            Err(_) => block.abandon(out),
        }
        written
    }
}

/// A DATA frame of these pieces.
fn write_frame(stream: u32, end_stream: bool, pieces: &[Option<&[u8]>], out: &mut BytesMut) {
    let bytes: usize = pieces.iter().flatten().map(|it| it.len()).sum();
    out.reserve(HEADER_BYTES + bytes);
    data::write_header(stream, end_stream, u32::try_from(bytes).unwrap_or(u32::MAX), out);
    pieces.iter().flatten().for_each(|it| out.extend_from_slice(it));
}

/// What is to be sent of the length that a head says.
fn length_to_send(body: BodySize, end: End) -> Result<Option<u64>, EncodeError> {
    match (body, end) {
        (BodySize::Sized(left), End::Yes) if left > 0 => Err(EncodeError::WrongLength),
        (BodySize::Sized(left), _) => Ok(Some(left)),
        (BodySize::None | BodySize::Unknown, _) => Ok(None),
    }
}

/// Pieces of a queue that one frame carries at most.
const PIECES_MAX: usize = 8;
