//! HTTP/2 for both ends: the codec of the gateway over a plain socket, and what it says in values
//! that last. It is held against another implementation elsewhere (`fuzz`).

use std::time::Instant;

use bytes::BytesMut;
use hangu_codecs::{
    BodySize, Codec, Data, Event, Fields, Head, HttpRequest, HttpResponse, Limits, Part, Role,
    Scratch, StreamId, Time,
    codec::Note,
    http2::PROTOCOL,
    message::{End, Method},
};

use crate::clock;

/// What paths begin with that lead to the backend's HTTP/2; all others lead to its HTTP/1.1.
pub(crate) const TO_HTTP2: &str = "/two";

/// One end of a connection.
pub(crate) struct Side {
    codec: Box<dyn Codec>,
    input: BytesMut,
    scratch: Scratch,
    base: Instant,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// The head of a request: its path.
    Request(StreamId, Vec<u8>),
    /// The head of a response: its status. 101 is an accepted WebSocket.
    Response(StreamId, u16),
    /// A piece of a body.
    Data(StreamId, Vec<u8>),
    /// Fields at the end.
    Trailers(StreamId, Fields),
    /// Nothing more comes on the stream.
    End(StreamId),
    /// The stream was given up.
    Reset(StreamId),
    /// The peer takes no more streams.
    GoAway,
}

/// What came, or was to be sent, is no HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Side {
    /// The side that asks.
    pub(crate) fn client() -> Self {
        Self::new(Role::Client)
    }

    /// The side that answers.
    pub(crate) fn server() -> Self {
        Self::new(Role::Server)
    }

    fn new(role: Role) -> Self {
        let codec = (PROTOCOL.codec)(role, &Limits::default(), Time::default());
        Self { codec, input: BytesMut::new(), scratch: Scratch::default(), base: clock::now() }
    }

    /// Takes all of the input. Bytes of bodies are given back to the peer by [`Side::release`].
    ///
    /// # Errors
    /// It is not HTTP/2, on one stream or on all.
    pub(crate) fn receive(&mut self, input: &[u8], came: &mut Vec<Came>) -> Result<(), Malformed> {
        self.input.extend_from_slice(input);
        let now = Time::default().after(clock::now() - self.base);
        while let Some(event) =
            self.codec.decode(&mut self.input, &mut self.scratch, now).map_err(|_| Malformed)?
        {
            let (stream, end) = match event {
                Event::Part(stream, part) => {
                    let end = match part {
                        Part::Head(Head::HttpRequest(head), end) => {
                            came.push(Came::Request(stream, head.path.clone()));
                            end
                        }
                        Part::Head(Head::HttpResponse(head), end) => {
                            came.push(Came::Response(stream, head.status));
                            end
                        }
                        Part::Data(data, end) => {
                            if !data.is_empty() {
                                came.push(Came::Data(stream, data.as_slice().to_vec()));
                            }
                            end
                        }
                        Part::Trailers(fields) => {
                            came.push(Came::Trailers(stream, fields.clone()));
                            End::Yes
                        }
                        Part::Reset(_) => {
                            came.push(Came::Reset(stream));
                            End::No
                        }
                        Part::Head(..) => return Err(Malformed),
                    };
                    (stream, end)
                }
                Event::GoAway => {
                    came.push(Came::GoAway);
                    continue;
                }
                Event::Note(Note::StreamError(_)) => return Err(Malformed),
                Event::Note(_) | Event::Writable(_) => continue,
            };
            if end == End::Yes {
                came.push(Came::End(stream));
            }
        }
        Ok(())
    }

    /// Lets the peer send so many more bytes on a stream.
    pub(crate) fn release(&mut self, stream: StreamId, bytes: usize) {
        self.codec.release(stream, bytes);
    }

    /// How much a stream takes without letting it wait here.
    pub(crate) fn capacity(&self, stream: StreamId) -> usize {
        self.codec.capacity(stream)
    }

    /// Asks on a new stream.
    ///
    /// # Errors
    /// There can be none now.
    pub(crate) fn ask(&mut self, path: &str, how: How) -> Result<StreamId, Malformed> {
        let stream = self.codec.open().map_err(|_| Malformed)?;
        let mut head = HttpRequest {
            authority: b"swap.test".to_vec(),
            path: path.as_bytes().to_vec(),
            ..HttpRequest::default()
        };
        let end = match how {
            How::Get => End::Yes,
            How::Call => {
                head.method = Method::Post;
                head.body = BodySize::Unknown;
                head.takes_trailers = true;
                head.fields.push(b"content-type", b"application/grpc");
                End::No
            }
            How::WebSocket => {
                head.upgrade = WEBSOCKET.to_vec();
                head.fields.push(b"sec-websocket-version", b"13");
                End::No
            }
        };
        self.put(stream, &Part::Head(Head::HttpRequest(&mut head), end))?;
        Ok(stream)
    }

    /// Begins a response.
    ///
    /// # Errors
    /// The stream is gone.
    pub(crate) fn answer(
        &mut self,
        stream: StreamId,
        status: u16,
        content_type: &str,
    ) -> Result<(), Malformed> {
        let mut head = HttpResponse { status, body: BodySize::Unknown, ..HttpResponse::default() };
        if status == 101 {
            head.upgrade = WEBSOCKET.to_vec();
            head.body = BodySize::None;
        } else {
            head.fields.push(b"content-type", content_type.as_bytes());
        }
        self.put(stream, &Part::Head(Head::HttpResponse(&mut head), End::No))
    }

    /// Sends a piece of a body.
    ///
    /// # Errors
    /// The stream is gone.
    pub(crate) fn send(&mut self, stream: StreamId, bytes: &[u8]) -> Result<(), Malformed> {
        self.put(stream, &Part::Data(Data::Borrowed(bytes), End::No))
    }

    /// Sends nothing more on a stream.
    ///
    /// # Errors
    /// The stream is gone.
    pub(crate) fn end(&mut self, stream: StreamId) -> Result<(), Malformed> {
        self.put(stream, &Part::Data(Data::Borrowed(&[]), End::Yes))
    }

    /// The same with fields.
    ///
    /// # Errors
    /// The stream is gone.
    pub(crate) fn end_with(&mut self, stream: StreamId, fields: &Fields) -> Result<(), Malformed> {
        self.put(stream, &Part::Trailers(fields))
    }

    fn put(&mut self, stream: StreamId, part: &Part<'_>) -> Result<(), Malformed> {
        self.codec.encode(stream, part).map_err(|_| Malformed)
    }

    /// Moves what is to be sent to the end of `out`.
    pub(crate) fn take_output(&mut self, out: &mut Vec<u8>) {
        let output = self.codec.output();
        output.pieces().for_each(|piece| out.extend_from_slice(piece));
        output.clear();
    }
}

/// How a request goes on behind its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It ends.
    Get,
    /// With messages, and so does its answer, as in gRPC.
    Call,
    /// It is an extended CONNECT (RFC 8441).
    WebSocket,
}

/// What an extended CONNECT leads to.
pub(crate) const WEBSOCKET: &[u8] = b"websocket";
