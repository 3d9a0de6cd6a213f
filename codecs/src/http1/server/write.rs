//! What the server role writes of a response.

use crate::message::End;
use crate::{BodySize, Data, EncodeError, Fields, HttpResponse, StreamId};

use super::super::body::Body;
use super::super::encode::{self, Length, Persistence};
use super::super::state::{Asked, Framing, Incoming, Outgoing};
use super::super::websocket::{ACCEPT, is_websocket};
use super::{Exchange, Server, State};

impl Server {
    pub(super) fn write_head(
        &mut self,
        stream: StreamId,
        head: &HttpResponse,
        end: End,
    ) -> Result<(), EncodeError> {
        let is_draining = self.core.is_draining;
        let discard_max = self.limits.discard_bytes_max;
        let current = self.stream();
        let State::Exchange(exchange) = &mut self.core.state else {
            return Err(EncodeError::UnknownStream);
        };
        if stream != current {
            return Err(EncodeError::UnknownStream);
        }
        if exchange.outgoing.is_some() {
            return Err(EncodeError::Unfit);
        }
        if exchange.asked.accepts_raw(head.status) {
            return self.write_raw_head(head, end);
        }
        if head.status < 200 {
            return self.write_informational(head, end);
        }
        let keep = exchange.keep && !is_draining && !exchange.leaves_too_much(end, discard_max);
        let (length, outgoing) = framing(exchange.asked, head, end)?;
        let keep = keep && outgoing != Outgoing::Body(Framing::UntilClose);
        let persistence = persistence(exchange.asked, keep);
        encode::response(head, length, persistence, &mut self.output)?;
        exchange.keep = keep;
        exchange.outgoing = Some(outgoing);
        self.settle();
        Ok(())
    }

    /// RFC 9110 §15.2: informational responses are passed on, but not to a client of HTTP/1.0.
    fn write_informational(&mut self, head: &HttpResponse, end: End) -> Result<(), EncodeError> {
        let State::Exchange(exchange) = &mut self.core.state else { return Ok(()) };
        if head.status == 101 || end == End::Yes {
            return Err(EncodeError::Unfit);
        }
        if exchange.asked.is_http10 {
            return Ok(());
        }
        encode::response(head, Length::Unsaid, Persistence::Unsaid, &mut self.output)?;
        if head.status == 100 {
            exchange.asked.awaits_continue = false;
        }
        Ok(())
    }

    /// RFC 9110 §7.8 and §9.3.6: from here on the bytes of another protocol.
    fn write_raw_head(&mut self, head: &HttpResponse, end: End) -> Result<(), EncodeError> {
        let State::Exchange(exchange) = &mut self.core.state else { return Ok(()) };
        let persistence = match head.status {
            101 if head.upgrade.is_empty() => return Err(EncodeError::Unfit),
            // RFC 6455 §4.2.2: a server that was asked in HTTP/2 has not answered the key.
            101 if is_websocket(&head.upgrade) && head.fields.find(ACCEPT).is_none() => {
                Persistence::Upgrade { answers: exchange.asked.websocket_key }
            }
            101 => Persistence::Upgrade { answers: None },
            _ => Persistence::Unsaid,
        };
        encode::response(head, Length::Unsaid, persistence, &mut self.output)?;
        exchange.keep = false;
        exchange.incoming = Incoming::Raw;
        exchange.outgoing = Some(if end == End::Yes { Outgoing::Ended } else { Outgoing::Raw });
        self.settle();
        Ok(())
    }

    pub(super) fn write_data(
        &mut self,
        stream: StreamId,
        data: &Data<'_>,
        end: End,
    ) -> Result<(), EncodeError> {
        let current = self.stream();
        let State::Exchange(exchange) = &mut self.core.state else {
            return Err(EncodeError::UnknownStream);
        };
        if stream != current {
            return Err(EncodeError::UnknownStream);
        }
        let outgoing = exchange.outgoing.as_mut().ok_or(EncodeError::Unfit)?;
        match outgoing.send(data, end, &mut self.output) {
            Ok(()) => self.settle(),
            Err(EncodeError::WrongLength) => {
                self.core.state = State::Finished;
                return Err(EncodeError::WrongLength);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn write_trailers(
        &mut self,
        stream: StreamId,
        fields: &Fields,
    ) -> Result<(), EncodeError> {
        let exchange = self.exchange(stream).ok_or(EncodeError::UnknownStream)?;
        if exchange.outgoing != Some(Outgoing::Body(Framing::Chunked)) {
            // RFC 9110 §6.5.1: where they cannot be sent, trailers are dropped.
            return self.write_data(stream, &Data::Borrowed(b""), End::Yes);
        }
        exchange.outgoing = Some(Outgoing::Ended);
        if let Err(error) = encode::trailers(fields, &mut self.output) {
            if let Some(exchange) = self.exchange(stream) {
                exchange.outgoing = Some(Outgoing::Body(Framing::Chunked));
            }
            return Err(error);
        }
        self.settle();
        Ok(())
    }
}

impl Exchange {
    /// Whether a response that begins now (and perhaps ends) leaves the connection unusable,
    /// because of what is left of the request.
    pub(super) fn leaves_too_much(&self, end: End, discard_bytes_max: u32) -> bool {
        // RFC 9110 §10.1.1: a client that was not told to go on may or may not send the body.
        if self.asked.awaits_continue {
            return true;
        }
        match self.incoming {
            Incoming::Body(Body::Sized { left }) => {
                end == End::Yes && left > u64::from(discard_bytes_max)
            }
            Incoming::Body(Body::Chunked(_) | Body::UntilClose)
            | Incoming::Offered
            | Incoming::Raw
            | Incoming::Ended => false,
        }
    }
}

/// RFC 9112 §6: how the body of a response is framed.
fn framing(asked: Asked, head: &HttpResponse, end: End) -> Result<(Length, Outgoing), EncodeError> {
    let ended_or =
        |framing| if end == End::Yes { Outgoing::Ended } else { Outgoing::Body(framing) };
    if !asked.allows_body(head.status) {
        // RFC 9110 §8.6: no Content-Length in a 204; else that of the response to a GET.
        let length = match head.body {
            BodySize::Sized(bytes) if head.status != 204 => Length::Bytes(bytes),
            BodySize::Sized(_) | BodySize::None | BodySize::Unknown => Length::Unsaid,
        };
        return Ok((length, ended_or(Framing::Sized { left: 0 })));
    }
    match head.body {
        BodySize::Sized(left) if end == End::Yes && left > 0 => Err(EncodeError::WrongLength),
        BodySize::Sized(left) => Ok((Length::Bytes(left), ended_or(Framing::Sized { left }))),
        BodySize::None => Ok((Length::Bytes(0), ended_or(Framing::Sized { left: 0 }))),
        BodySize::Unknown if end == End::Yes => Ok((Length::Bytes(0), Outgoing::Ended)),
        // RFC 9112 §6.1: no chunks for HTTP/1.0.
        BodySize::Unknown if asked.is_http10 => {
            Ok((Length::Unsaid, Outgoing::Body(Framing::UntilClose)))
        }
        BodySize::Unknown => Ok((Length::Chunked, Outgoing::Body(Framing::Chunked))),
    }
}

/// RFC 9112 §9.3, §9.6.
pub(super) fn persistence(asked: Asked, keep: bool) -> Persistence {
    match (keep, asked.is_http10) {
        (false, _) => Persistence::Close,
        (true, true) => Persistence::KeepAlive,
        (true, false) => Persistence::Unsaid,
    }
}
