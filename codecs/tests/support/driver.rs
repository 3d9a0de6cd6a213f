//! Drives one codec as the owner of a socket would.

use bytes::BytesMut;
use hangu_codecs::{
    Codec, Error, Event, Frozen, Limits, Part, Protocol, Role, Scratch, StreamId, Time,
};

use super::seen::Events;

/// One side of a connection: the codec, its unread input, what it gave and what it wrote.
pub struct Side {
    pub codec: Box<dyn Codec>,
    pub input: BytesMut,
    pub scratch: Scratch,
    pub limits: Limits,
    pub now: Time,
    pub events: Events,
    pub error: Option<Error>,
    pub written: Vec<u8>,
    /// The stream of the last event or of the last one opened.
    pub stream: StreamId,
    /// Whether the codec is replaced by its thawed snapshot before each step.
    pub freezes: bool,
}

impl Side {
    pub fn new(protocol: &Protocol, role: Role, limits: &Limits) -> Self {
        let now = Time::from_micros(1_000_000);
        Self {
            codec: (protocol.codec)(role, limits, now),
            input: BytesMut::new(),
            scratch: Scratch::default(),
            limits: limits.clone(),
            now,
            events: Events::default(),
            error: None,
            written: Vec::new(),
            stream: StreamId { slot: 0, generation: 0 },
            freezes: false,
        }
    }

    /// Bytes come from the peer.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.pump();
    }

    /// The peer will send no more.
    pub fn end(&mut self) {
        self.codec.end_input();
        self.pump();
    }

    /// Decodes all that can be decoded, then takes the output.
    pub fn pump(&mut self) {
        while self.error.is_none() {
            self.freeze_and_thaw();
            match self.codec.decode(&mut self.input, &mut self.scratch, self.now) {
                Ok(Some(event)) => {
                    if let Event::Part(stream, _) = &event {
                        self.stream = *stream;
                    }
                    self.events.push(event);
                }
                Ok(None) => break,
                Err(error) => {
                    self.error = Some(error);
                    self.freeze_and_thaw();
                    self.codec.refuse(&error);
                }
            }
        }
        self.freeze_and_thaw();
        self.take();
    }

    /// Takes the output.
    pub fn take(&mut self) {
        let output = self.codec.output().take(BytesMut::new());
        self.written.extend_from_slice(&output);
    }

    /// Encodes a part of the current stream.
    pub fn encode(&mut self, part: Part<'_>) -> Result<(), hangu_codecs::EncodeError> {
        self.freeze_and_thaw();
        self.codec.encode(self.stream, &part)
    }

    /// Replaces the codec by what its snapshot, as bytes, thaws into.
    pub fn freeze_and_thaw(&mut self) {
        if self.freezes {
            self.thaw_anew();
        }
    }

    /// See [`Side::freeze_and_thaw`].
    pub fn thaw_anew(&mut self) {
        let bytes = self.codec.freeze(self.now).to_bytes();
        let frozen = Frozen::from_bytes(&bytes).expect("a snapshot reads as bytes");
        // Time goes on elsewhere from another origin.
        self.codec = Protocol::thaw(&frozen, &self.limits, self.now).expect("a snapshot thaws");
        assert_eq!(self.codec.freeze(self.now).to_bytes(), bytes, "a thawed codec freezes alike");
    }
}
