//! gRPC-Web made gRPC and back ([gRPC-Web][web]): browsers read no trailers, so these are the last
//! frame of the body; and some read no bytes, so the body is base64.
//!
//! Owns no buffer: what it keeps between two pieces of a body is part of one group of base64.
//!
//! [web]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::content::Content;
use super::status::status_of;
use crate::base64::{self, Decoder};
use crate::message::End;
use crate::{BodySize, Fields, HttpRequest, HttpResponse, Status};

/// The translation of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Web {
    request: Request,
    response: Response,
    /// The response is in base64, too.
    is_text_taken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Request {
    Bytes,
    Text(Decoder),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Response {
    /// Its head has not come, or is one of gRPC.
    Grpc,
    /// Its head is that of something else, a page of a proxy: it passes as it is.
    Other,
}

/// The body of a request is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is no base64")]
pub struct MalformedText;

impl Web {
    /// The translation of a request of gRPC-Web, whose head becomes one of gRPC; `None` for any
    /// other request, which stays as it is.
    pub fn begin(head: &mut HttpRequest) -> Option<Self> {
        let content_type = head.fields.find(CONTENT_TYPE)?;
        let content = Content::of(content_type);
        let request = match content {
            Content::Web => Request::Bytes,
            Content::WebText => Request::Text(Decoder::default()),
            Content::Grpc | Content::Other => return None,
        };
        let of_grpc = replaced(content_type, b"application/grpc");
        let accepted = accepted(&head.fields);
        let is_text_taken = accepted.unwrap_or(content) == Content::WebText;
        head.fields.set(CONTENT_TYPE, &of_grpc);
        if accepted.is_some() {
            head.fields.remove(b"accept");
        }
        head.fields.remove(b"x-grpc-web");
        // gRPC over HTTP/2, "Requests": a proxy that drops trailers is noticed by this.
        head.takes_trailers = true;
        if matches!(request, Request::Text(_)) && head.body != BodySize::None {
            head.body = BodySize::Unknown;
        }
        Some(Self { request, response: Response::Grpc, is_text_taken })
    }

    /// A piece of the request; `None` when it passes as it is.
    ///
    /// # Errors
    /// See [`MalformedText`]; so does a text that ends in the middle of a group.
    pub fn request_data(&mut self, data: &[u8], end: End) -> Result<Option<Bytes>, MalformedText> {
        let Request::Text(decoder) = &mut self.request else { return Ok(None) };
        let mut out = BytesMut::new();
        decoder.decode(data, &mut out).map_err(|_| MalformedText)?;
        if end == End::Yes && !decoder.is_at_end() {
            return Err(MalformedText);
        }
        Ok(Some(out.freeze()))
    }

    /// Whether a request may end after what came of it.
    ///
    /// # Errors
    /// See [`MalformedText`].
    pub fn request_end(&self) -> Result<(), MalformedText> {
        match self.request {
            Request::Text(decoder) if !decoder.is_at_end() => Err(MalformedText),
            Request::Text(_) | Request::Bytes => Ok(()),
        }
    }

    /// Makes the final head of a response one of gRPC-Web. Where the call ends with its head, the
    /// status that stands there is the body, which is given: the head then does not end.
    pub fn response_head(&mut self, head: &mut HttpResponse, end: End) -> Option<Bytes> {
        let content_type = head.fields.find(CONTENT_TYPE).unwrap_or_default();
        if Content::of(content_type) != Content::Grpc {
            self.response = Response::Other;
            return None;
        }
        let of_web = replaced(content_type, self.base());
        head.fields.set(CONTENT_TYPE, &of_web);
        head.body = BodySize::Unknown;
        if end == End::No {
            return None;
        }
        let mut trailers = Fields::new();
        for name in STATUS_FIELDS {
            if let Some(value) = head.fields.find(name) {
                trailers.push(name, value);
                head.fields.remove(name);
            }
        }
        Some(self.trailers(&trailers))
    }

    /// A piece of the response; `None` when it passes as it is. A text ends with each piece, in
    /// padding if need be, so that none waits for the next one.
    pub fn response_data(&self, data: &[u8]) -> Option<Bytes> {
        if !self.is_text_taken || self.response == Response::Other {
            return None;
        }
        let mut out = BytesMut::new();
        base64::encode(data, &mut out);
        Some(out.freeze())
    }

    /// The trailers of the response as its last piece of data; `None` when they pass as they are.
    pub fn response_trailers(&self, fields: &Fields) -> Option<Bytes> {
        (self.response == Response::Grpc).then(|| self.trailers(fields))
    }

    /// An answer of the gateway's own: its head, and the only piece of its body.
    pub fn reply(&self, status: Status) -> (HttpResponse, Bytes) {
        let (code, message) = status_of(status);
        let mut head = HttpResponse {
            status: 200,
            reason: b"OK".to_vec(),
            body: BodySize::Unknown,
            ..HttpResponse::default()
        };
        head.fields.push(CONTENT_TYPE, self.base());
        let mut trailers = Fields::new();
        trailers.push(b"grpc-status", code.digits().as_bytes());
        trailers.push(b"grpc-message", message.as_bytes());
        (head, self.trailers(&trailers))
    }

    /// A frame of its own kind: a flag, the length, and lines as in HTTP/1.1, names in lower case.
    fn trailers(&self, fields: &Fields) -> Bytes {
        let mut lines = BytesMut::with_capacity(fields.bytes().saturating_add(FRAME_HEAD_BYTES));
        lines.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        for (name, value) in fields.iter() {
            lines.extend(name.iter().map(u8::to_ascii_lowercase));
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value);
            lines.extend_from_slice(b"\r\n");
        }
        // Fields are far smaller: their codec bounds them.
        let length = lines.len().saturating_sub(FRAME_HEAD_BYTES);
        let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let head = [TRAILERS_FLAG, a, b, c, d];
        lines.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        if !self.is_text_taken {
            return lines.freeze();
        }
        let mut text = BytesMut::new();
        base64::encode(&lines, &mut text);
        text.freeze()
    }

    fn base(&self) -> &'static [u8] {
        if self.is_text_taken { b"application/grpc-web-text" } else { b"application/grpc-web" }
    }
}

/// The content type with another name before its serialisation and parameters.
fn replaced(content_type: &[u8], base: &[u8]) -> Vec<u8> {
    let end = content_type.iter().position(|it| matches!(it, b'+' | b';'));
    let rest = end.and_then(|at| content_type.get(at..)).unwrap_or_default();
    [base, rest].concat()
}

/// What of gRPC-Web the client says that it takes, if anything.
fn accepted(fields: &Fields) -> Option<Content> {
    let ranges = fields.all(b"accept").flat_map(|it| it.split(|byte| *byte == b','));
    let mut found = ranges.map(Content::of);
    found.find(|it| matches!(it, Content::Web | Content::WebText))
}

const CONTENT_TYPE: &[u8] = b"content-type";

/// What says the outcome in the head of a call that ends with it.
const STATUS_FIELDS: [&[u8]; 3] = [b"grpc-status", b"grpc-message", b"grpc-status-details-bin"];

/// The bit in the first byte of a frame that tells trailers from a message.
const TRAILERS_FLAG: u8 = 0x80;

/// A flag and a length of 32 bits.
const FRAME_HEAD_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(content_type: &str, accept: &str) -> HttpRequest {
        let mut head = HttpRequest { body: BodySize::Sized(8), ..HttpRequest::default() };
        head.fields.push(b"Content-Type", content_type.as_bytes());
        head.fields.push(b"X-Grpc-Web", b"1");
        if !accept.is_empty() {
            head.fields.push(b"Accept", accept.as_bytes());
        }
        head
    }

    fn response(fields: &[(&str, &str)]) -> HttpResponse {
        let mut head = HttpResponse { status: 200, ..HttpResponse::default() };
        fields.iter().for_each(|(name, value)| head.fields.push(name.as_bytes(), value.as_bytes()));
        head
    }

    fn web(content_type: &str, accept: &str) -> Web {
        Web::begin(&mut request(content_type, accept)).unwrap()
    }

    #[test]
    fn a_request_of_grpc_web_becomes_one_of_grpc() {
        for (of_web, of_grpc, body) in [
            ("application/grpc-web", "application/grpc", BodySize::Sized(8)),
            ("application/grpc-web+proto", "application/grpc+proto", BodySize::Sized(8)),
            ("application/grpc-web+json; v=1", "application/grpc+json; v=1", BodySize::Sized(8)),
            ("application/grpc-web-text", "application/grpc", BodySize::Unknown),
            ("application/grpc-web-text+proto", "application/grpc+proto", BodySize::Unknown),
        ] {
            let mut head = request(of_web, "*/*");
            assert!(Web::begin(&mut head).is_some());
            assert_eq!(head.fields.find(b"content-type"), Some(of_grpc.as_bytes()));
            assert_eq!((head.body, head.takes_trailers), (body, true));
            assert_eq!(head.fields.find(b"x-grpc-web"), None);
            assert_eq!(head.fields.find(b"accept"), Some(&b"*/*"[..]));
        }
    }

    #[test]
    fn other_requests_stay_as_they_are() {
        for content_type in ["application/grpc", "application/grpc-webfoo", "text/plain"] {
            let mut head = request(content_type, "application/grpc-web");
            let before = head.clone();
            assert_eq!(Web::begin(&mut head), None);
            assert_eq!(head, before);
        }
        assert_eq!(Web::begin(&mut HttpRequest::default()), None);
    }

    #[test]
    fn a_text_is_decoded_however_it_is_cut() {
        // Two texts, each padded, one after the other.
        let text = b"AAAAAAJoaQ==AAAAAAE=IQ==";
        let bytes = b"\0\0\0\0\x02hi\0\0\0\0\x01!";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut web = web("application/grpc-web-text", "");
                let mut all = Vec::new();
                for piece in [&text[..first], &text[first..second]] {
                    all.extend(web.request_data(piece, End::No).unwrap().unwrap());
                }
                all.extend(web.request_data(&text[second..], End::Yes).unwrap().unwrap());
                assert_eq!(all, bytes);
            }
        }
    }

    #[test]
    fn a_text_that_is_none_or_is_cut_off_is_refused() {
        let mut web = web("application/grpc-web-text", "");
        assert_eq!(web.request_data(b"AA-A", End::No), Err(MalformedText));
        let mut web = super::tests::web("application/grpc-web-text", "");
        assert!(web.request_data(b"AAA", End::No).is_ok());
        assert_eq!(web.request_end(), Err(MalformedText));
        assert_eq!(web.request_data(b"", End::Yes), Err(MalformedText));
    }

    #[test]
    fn bytes_pass_as_they_are_and_trailers_follow_as_a_frame() {
        let mut web = web("application/grpc-web+proto", "");
        assert_eq!(web.request_data(b"\0\0\0\0\0", End::Yes), Ok(None));
        let mut head = response(&[("content-type", "application/grpc+proto")]);
        assert_eq!(web.response_head(&mut head, End::No), None);
        assert_eq!(head.fields.find(b"content-type"), Some(&b"application/grpc-web+proto"[..]));
        assert_eq!(head.body, BodySize::Unknown);
        assert_eq!(web.response_data(b"\0\0\0\0\0"), None);
        let mut trailers = Fields::new();
        trailers.push(b"Grpc-Status", b"0");
        trailers.push(b"x", b"");
        let frame = web.response_trailers(&trailers).unwrap();
        assert_eq!(&frame[..], b"\x80\0\0\0\x15grpc-status: 0\r\nx: \r\n");
    }

    #[test]
    fn each_piece_of_a_text_can_be_read_without_the_next_one() {
        let mut web = web("application/grpc-web-text", "");
        let mut head = response(&[("content-type", "application/grpc")]);
        web.response_head(&mut head, End::No);
        assert_eq!(head.fields.find(b"content-type"), Some(&b"application/grpc-web-text"[..]));
        assert_eq!(&web.response_data(b"\0\0\0\0\x02hi").unwrap()[..], b"AAAAAAJoaQ==");
        assert_eq!(&web.response_trailers(&Fields::new()).unwrap()[..], b"gAAAAAA=");
    }

    #[test]
    fn what_is_accepted_goes_before_what_was_sent() {
        let answer = |web: Web| web.base();
        assert_eq!(answer(web("application/grpc-web", "application/grpc-web-text")), TEXT);
        assert_eq!(answer(web("application/grpc-web-text", "application/grpc-web+proto")), BYTES);
        assert_eq!(answer(web("application/grpc-web-text", "text/plain, */*")), TEXT);
        assert_eq!(answer(web("application/grpc-web", "")), BYTES);
    }

    const TEXT: &[u8] = b"application/grpc-web-text";
    const BYTES: &[u8] = b"application/grpc-web";

    #[test]
    fn the_status_of_a_call_that_ends_with_its_head_is_its_body() {
        let mut web = web("application/grpc-web", "");
        let mut head = response(&[
            ("content-type", "application/grpc"),
            ("grpc-status", "5"),
            ("grpc-message", "no such thing"),
            ("x-more", "1"),
        ]);
        let body = web.response_head(&mut head, End::Yes).unwrap();
        let lines = b"grpc-status: 5\r\ngrpc-message: no such thing\r\n";
        assert_eq!(&body[..5], [0x80, 0, 0, 0, lines.len() as u8]);
        assert_eq!(&body[5..], lines);
        let names: Vec<_> = head.fields.iter().map(|it| it.0).collect();
        assert_eq!(names, [&b"x-more"[..], b"content-type"]);
    }

    #[test]
    fn an_answer_that_is_not_grpc_passes_as_it_is() {
        let mut web = web("application/grpc-web-text", "");
        let mut head = response(&[("content-type", "text/html")]);
        head.body = BodySize::Sized(2);
        let before = head.clone();
        assert_eq!(web.response_head(&mut head, End::No), None);
        assert_eq!(head, before);
        assert_eq!(web.response_data(b"no"), None);
        assert_eq!(web.response_trailers(&Fields::new()), None);
    }

    #[test]
    fn our_own_answer_is_one_of_grpc_web() {
        let (head, body) = web("application/grpc-web", "").reply(Status::TimedOut);
        assert_eq!((head.status, head.fields.find(b"content-type")), (200, Some(BYTES)));
        assert!(body.starts_with(b"\x80\0\0\0"));
        assert!(
            body.ends_with(
                b"grpc-status: 4\r\ngrpc-message: the upstream did not answer in time\r\n"
            )
        );
    }

    #[test]
    fn a_translation_freezes_in_the_middle_of_a_group() {
        let mut web = web("application/grpc-web-text", "");
        web.request_data(b"AAAAAAJ", End::No).unwrap();
        let frozen = postcard::to_stdvec(&web).unwrap();
        let mut thawed: Web = postcard::from_bytes(&frozen).unwrap();
        assert_eq!(thawed, web);
        assert_eq!(&thawed.request_data(b"oaQ==", End::Yes).unwrap().unwrap()[..], b"\0\x02hi");
    }
}
