//! One HTTP request by a codec of our own, in whatever version the endpoints speak.

use bytes::BytesMut;
use hangu_codecs::{
    Codec, Data, Event, Fields, Head, HttpRequest, Limits, Part, Protocol, Role, Scratch,
    message::End,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock;

/// Bytes of a body that are kept, and that may come in all; what a health check is answered has
/// some ten.
const BODY_BYTES_MAX: usize = 16 * 1024;
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What a request was answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The status; 0 before the head has come.
    pub(super) status: u16,
    /// Fields of the head and of the trailers.
    pub(super) fields: Fields,
    /// The body, or its beginning.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Takes a part in; says whether it was the last one.
    fn take(&mut self, part: &Part<'_>) -> Result<bool, String> {
        match part {
            Part::Head(Head::HttpResponse(head), end) if head.status >= 200 => {
                self.status = head.status;
                self.note(&head.fields);
                Ok(*end == End::Yes)
            }
            Part::Head(..) => Ok(false),
            Part::Data(data, end) => {
                let room = BODY_BYTES_MAX.saturating_sub(self.body.len());
                self.body.extend(data.as_slice().iter().take(room));
                Ok(*end == End::Yes)
            }
            Part::Trailers(fields) => {
                self.note(fields);
                Ok(true)
            }
            Part::Reset(reason) => Err(format!("the request was reset: {reason:?}")),
        }
    }

    fn note(&mut self, fields: &Fields) {
        fields.iter().for_each(|(name, value)| self.fields.push(name, value));
    }
}

/// Sends a request and waits for the whole answer.
pub(super) async fn ask(
    mut stream: TcpStream,
    protocol: &Protocol,
    request: &mut HttpRequest,
    body: &[u8],
) -> Result<Answer, String> {
    let mut codec = (protocol.codec)(Role::Client, &Limits::default(), clock::now());
    send(codec.as_mut(), request, body)?;
    let (mut input, mut scratch) = (BytesMut::new(), Scratch::default());
    let (mut answer, mut received) = (Answer::default(), 0);
    loop {
        let output: Vec<u8> = codec.output().pieces().flatten().copied().collect();
        codec.output().clear();
        stream.write_all(&output).await.map_err(|error| error.to_string())?;
        let count = stream.read_buf(&mut input).await.map_err(|error| error.to_string())?;
        received += count;
        if count == 0 {
            codec.end_input();
        }
        loop {
            let event = codec.decode(&mut input, &mut scratch, clock::now());
            let Some(event) = event.map_err(|error| error.reason.to_owned())? else { break };
            let Event::Part(stream, part) = event else { continue };
            if answer.take(&part)? {
                return Ok(answer);
            }
            if let Part::Data(data, _) = &part {
                let bytes = data.len();
                codec.release(stream, bytes);
            }
        }
        if count == 0 {
            return Err("closed before the answer".to_owned());
        }
        if received > ANSWER_BYTES_MAX {
            return Err("an answer of too many bytes".to_owned());
        }
    }
}

fn send(codec: &mut dyn Codec, request: &mut HttpRequest, body: &[u8]) -> Result<(), String> {
    let stream = codec.open().map_err(|error| error.to_string())?;
    let end = if body.is_empty() { End::Yes } else { End::No };
    let head = Part::Head(Head::HttpRequest(request), end);
    codec.encode(stream, &head).map_err(|error| error.to_string())?;
    if end == End::No {
        let data = Part::Data(Data::Borrowed(body), End::Yes);
        codec.encode(stream, &data).map_err(|error| error.to_string())?;
    }
    Ok(())
}
