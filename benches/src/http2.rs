//! HTTP/2 of the load and of the backend, on the gateway's own codec.
//!
//! Frames of Bolt and HTTP/1.1 are read by code of the bench's own. Of HTTP/2 that would be a
//! second codec; its mistakes show all the same where a peer, which has its own, carries it.

use bytes::BytesMut;
use hangu_codecs::{Codec, Event, Limits, Part, Role, Scratch, StreamId, Time, http2};

/// A message of gRPC begins with whether it is compressed, and its length.
pub const GRPC_PREFIX_BYTES: usize = 5;

/// One side of one connection.
pub struct Connection {
    codec: Box<dyn Codec>,
    input: BytesMut,
    scratch: Scratch,
}

/// What came is not HTTP/2, or the peer gives the connection up.
#[derive(Debug)]
pub struct Broken;

impl Connection {
    /// A connection that was just opened.
    #[must_use]
    pub fn new(role: Role) -> Self {
        let mut limits = Limits::default();
        // The bench trusts whom it measures, and so needs no clock to count by.
        limits.http2.idle_frames_max = u32::MAX;
        limits.http2.resets_max = u32::MAX;
        let codec = (http2::PROTOCOL.codec)(role, &limits, Time::default());
        Self { codec, input: BytesMut::new(), scratch: Scratch::default() }
    }

    /// The codec, to write by.
    pub fn codec(&mut self) -> &mut dyn Codec {
        &mut *self.codec
    }

    /// Takes all of `input`, and hands on each part, with the codec to answer by. Data counts as
    /// done with when that returns.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn receive(
        &mut self,
        input: &[u8],
        mut take: impl FnMut(&mut dyn Codec, StreamId, Part<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.input.extend_from_slice(input);
        let codec = &mut *self.codec;
        loop {
            let event = codec.decode(&mut self.input, &mut self.scratch, Time::default());
            match event.map_err(|_| Broken)? {
                None => return Ok(()),
                Some(Event::Part(stream, part)) => {
                    let bytes = if let Part::Data(data, _) = &part { data.len() } else { 0 };
                    take(codec, stream, part)?;
                    codec.release(stream, bytes);
                }
                Some(Event::Writable(_)) => {}
                Some(Event::GoAway | Event::Note(_)) => return Err(Broken),
            }
        }
    }

    /// Moves what is to be sent into `output`.
    pub fn take_output(&mut self, output: &mut Vec<u8>) {
        let pending = self.codec.output();
        pending.pieces().for_each(|piece| output.extend_from_slice(piece));
        pending.clear();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("input", &self.input).finish_non_exhaustive()
    }
}

/// A message of gRPC with this content.
#[must_use]
pub fn grpc_message(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&[0][..], &length, content].concat()
}
