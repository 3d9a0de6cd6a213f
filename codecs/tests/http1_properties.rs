//! Properties of HTTP/1.1: what is written is read back, and neither cuts nor freezing matter.

mod support;

use hangu_codecs::message::End;
use hangu_codecs::{
    BodySize, Data, Fields, Head, HttpRequest, HttpResponse, Limits, Method, Part, Reason, Role,
    Status, http1,
};
use proptest::prelude::*;
use support::driver::Side;
use support::reader;
use support::seen::Seen;

/// A body and how it is announced.
#[derive(Clone, Debug)]
enum Content {
    Nothing,
    Sized(Vec<Vec<u8>>),
    Chunked(Vec<Vec<u8>>, Vec<(String, String)>),
}

impl Content {
    fn size(&self) -> BodySize {
        match self {
            Self::Nothing => BodySize::None,
            Self::Sized(pieces) => BodySize::Sized(pieces.iter().map(|it| it.len() as u64).sum()),
            Self::Chunked(..) => BodySize::Unknown,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Sized(pieces) | Self::Chunked(pieces, _) => pieces.concat(),
        }
    }

    fn trailers(&self) -> &[(String, String)] {
        if let Self::Chunked(_, trailers) = self { trailers } else { &[] }
    }

    /// Whether the head is the end.
    fn head_end(&self) -> End {
        match self {
            Self::Nothing => End::Yes,
            Self::Sized(_) if self.bytes().is_empty() => End::Yes,
            Self::Sized(_) | Self::Chunked(..) => End::No,
        }
    }

    /// Encodes what follows the head.
    fn send(&self, side: &mut Side) {
        let (Self::Sized(pieces) | Self::Chunked(pieces, _)) = self else { return };
        if self.head_end() == End::Yes {
            return;
        }
        for piece in pieces {
            side.encode(Part::Data(Data::Borrowed(piece), End::No)).unwrap();
        }
        let trailers = list(self.trailers());
        let end = if trailers.is_empty() {
            Part::Data(Data::Borrowed(b""), End::Yes)
        } else {
            Part::Trailers(&trailers)
        };
        side.encode(end).unwrap();
    }
}

fn list(pairs: &[(String, String)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in pairs {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    // Names that are passed on, whatever stands in `Connection`.
    let name = "X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}|Accept|cookie|ETag|Content-Language";
    let value = "([!-~]([\t !-~]{0,30}[!-~])?)?";
    prop::collection::vec((name, value), 0..8)
}

fn content() -> impl Strategy<Value = Content> {
    let pieces = || prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5);
    let trailers = prop::collection::vec(("X-[a-z]{1,8}", "[!-~]{0,12}"), 0..3);
    prop_oneof![
        Just(Content::Nothing),
        pieces().prop_map(Content::Sized),
        (pieces(), trailers).prop_map(|(pieces, trailers)| Content::Chunked(pieces, trailers)),
    ]
}

fn request() -> impl Strategy<Value = (HttpRequest, Content)> {
    let method = "GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|QUERY|M-SEARCH";
    let authority = "[a-z0-9][a-z0-9.-]{0,20}(:[1-9][0-9]{0,3})?|\\[::1\\]:80";
    let path = "/[a-zA-Z0-9/._~%-]{0,20}(\\?[a-z0-9=&%\\\\{}|^]{0,20})?";
    (method, authority, path, pairs(), content(), any::<bool>(), any::<bool>()).prop_map(
        |(method, authority, path, fields, content, expects, takes_trailers)| {
            let head = HttpRequest {
                method: Method::from_token(method.as_bytes()),
                authority: authority.into_bytes(),
                path: path.into_bytes(),
                fields: list(&fields),
                body: content.size(),
                expects_continue: expects && content.head_end() == End::No,
                takes_trailers,
                ..HttpRequest::default()
            };
            (head, content)
        },
    )
}

fn response() -> impl Strategy<Value = (HttpResponse, Content)> {
    let status = prop_oneof![200_u16..204, 205_u16..304, 305_u16..=999];
    (status, "[ -~]{0,20}", pairs(), content()).prop_map(|(status, reason, fields, content)| {
        let head = HttpResponse {
            status,
            reason: reason.into_bytes(),
            fields: list(&fields),
            // A response says its length one way or the other.
            body: match content.size() {
                BodySize::None => BodySize::Sized(0),
                size @ (BodySize::Sized(_) | BodySize::Unknown) => size,
            },
            ..HttpResponse::default()
        };
        (head, content)
    })
}

/// Feeds bytes in pieces of these sizes, over and over, with a freeze and thaw where asked.
fn feed(side: &mut Side, bytes: &[u8], sizes: &[usize]) {
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            return;
        }
        let (piece, after) = rest.split_at((*size).clamp(1, rest.len()));
        side.feed(piece);
        rest = after;
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1_usize..60, 1..6)
}

/// The events after a head: data joined, then trailers.
fn check_content(events: &[Seen], content: &Content) {
    let body = content.bytes();
    let expected_trailers = list(content.trailers());
    match events {
        [] => assert_eq!(content.head_end(), End::Yes),
        [Seen::Data(_, bytes, is_end)] => {
            assert!(*is_end && expected_trailers.is_empty());
            assert_eq!(bytes, &body);
        }
        [Seen::Other(trailers)] => {
            assert!(body.is_empty() && !expected_trailers.is_empty());
            assert!(trailers.starts_with("trailers "));
        }
        [Seen::Data(_, bytes, false), Seen::Other(trailers)] => {
            assert_eq!(bytes, &body);
            let lines = content.trailers().iter();
            let lines: String =
                lines.map(|(n, v)| format!(" ({n}: {})", v.escape_default())).collect();
            assert_eq!(trailers, &format!("trailers{lines}"));
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_request_that_is_written_is_read_back(
        (mut head, content) in request(),
        sizes in sizes(),
        freezes in any::<bool>(),
    ) {
        let limits = Limits::default();
        let mut client = Side::new(&http1::PROTOCOL, Role::Client, &limits);
        client.stream = client.codec.open().unwrap();
        let sent = head.clone();
        client.encode(Part::Head(Head::HttpRequest(&mut head), content.head_end())).unwrap();
        content.send(&mut client);
        client.take();

        // A plain reader sees one message.
        let (message, rest) = reader::request(&client.written).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(&message.body, &content.bytes());
        prop_assert_eq!(message.trailers.len(), content.trailers().len());

        // The other role reads the same head.
        let mut server = Side::new(&http1::PROTOCOL, Role::Server, &limits);
        server.freezes = freezes;
        feed(&mut server, &client.written, &sizes);
        prop_assert_eq!(server.error, None);
        prop_assert_eq!(&server.scratch.request, &sent);
        prop_assert!(matches!(&server.events.0[0], Seen::Other(line) if line.starts_with("request ")));
        check_content(&server.events.0[1..], &content);
        prop_assert_eq!(server.codec.in_flight(), 1);
    }

    #[test]
    fn a_response_that_is_written_is_read_back(
        (mut head, content) in response(),
        sizes in sizes(),
        freezes in any::<bool>(),
    ) {
        let limits = Limits::default();
        let mut server = Side::new(&http1::PROTOCOL, Role::Server, &limits);
        server.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let sent = head.clone();
        let end = if sent.body == BodySize::Sized(0) { End::Yes } else { End::No };
        server.encode(Part::Head(Head::HttpResponse(&mut head), end)).unwrap();
        content.send(&mut server);
        server.take();

        let mut client = Side::new(&http1::PROTOCOL, Role::Client, &limits);
        client.stream = client.codec.open().unwrap();
        let (mut request, request_end) = support::script::request("GET a / end");
        client.encode(Part::Head(Head::HttpRequest(&mut request), request_end)).unwrap();
        client.freezes = freezes;
        feed(&mut client, &server.written, &sizes);
        prop_assert_eq!(client.error, None);
        prop_assert_eq!(&client.scratch.response, &sent);
        check_content(&client.events.0[1..], &content);
        prop_assert_eq!((client.codec.in_flight(), client.codec.is_finished()), (0, false));
        prop_assert_eq!(server.codec.in_flight(), 0);
    }

    #[test]
    fn damaged_bytes_mean_the_same_however_they_are_cut_or_frozen(
        mut bytes in prop::sample::select(SAMPLES),
        damage in prop::collection::vec((any::<prop::sample::Index>(), damage()), 0..4),
        sizes in sizes(),
        is_server in any::<bool>(),
    ) {
        let mut damaged = std::mem::take(&mut bytes).as_bytes().to_vec();
        for (at, change) in &damage {
            let at = at.index(damaged.len());
            match change {
                Damage::Replace(byte) => damaged[at] = *byte,
                Damage::Insert(text) => drop(damaged.splice(at..at, text.bytes())),
                Damage::Remove => drop(damaged.remove(at)),
            }
        }
        let role = if is_server { Role::Server } else { Role::Client };
        let whole = run(role, &damaged, &[damaged.len()], false);
        prop_assert_eq!(&run(role, &damaged, &sizes, true), &whole);
        prop_assert_eq!(&run(role, &damaged, &[1], false), &whole);
    }

    #[test]
    fn no_order_of_calls_panics_or_writes_more_than_was_encoded(
        is_server in any::<bool>(),
        steps in prop::collection::vec((0_u8..14, any::<prop::sample::Index>()), 1..40),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let mut side = Side::new(&http1::PROTOCOL, role, &Limits::default());
        side.freezes = true;
        for (step, index) in steps {
            let sample = SAMPLES[index.index(SAMPLES.len())];
            let (mut request, _) = support::script::request("POST a / unknown");
            let (mut response, _) = support::script::response(
                ["200 \"\" sized(3)", "200 \"\" unknown", "101 \"\" upgrade(x)", "100 \"\"", "204 \"\""]
                    [index.index(5)],
            );
            let refused = side.codec.is_finished();
            let before = side.codec.output().len() + side.written.len();
            let encoded = match step {
                0 | 1 => { side.feed(&sample.as_bytes()[..index.index(sample.len())]); Ok(()) }
                2 => { side.feed(sample.as_bytes()); Ok(()) }
                3 => { side.end(); Ok(()) }
                4 => { if let Ok(stream) = side.codec.open() { side.stream = stream; } Ok(()) }
                5 => side.encode(Part::Head(Head::HttpRequest(&mut request), End::No)),
                6 => side.encode(Part::Head(Head::HttpResponse(&mut response), End::No)),
                7 => side.encode(Part::Head(Head::HttpResponse(&mut response), End::Yes)),
                8 => side.encode(Part::Data(Data::Borrowed(b"abc"), End::No)),
                9 => side.encode(Part::Data(Data::Borrowed(b""), End::Yes)),
                10 => side.encode(Part::Trailers(&Fields::new())),
                11 => side.encode(Part::Reset(Reason::Cancelled)),
                12 => { side.codec.reply(side.stream, Status::NoRoute); Ok(()) }
                _ => { side.codec.drain(); Ok(()) }
            };
            if encoded.is_err() || (refused && (5..=12).contains(&step)) {
                let after = side.codec.output().len() + side.written.len();
                prop_assert_eq!(after, before, "step {}", step);
            }
            prop_assert!(side.codec.in_flight() <= 1);
            side.pump();
        }
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Replace(u8),
    Insert(&'static str),
    Remove,
}

fn damage() -> impl Strategy<Value = Damage> {
    const TEXTS: &[&str] = &[
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        "\t",
        ":",
        ",",
        ";",
        "chunked",
        "0\r\n\r\n",
        "5\r\nhello\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Upgrade: x\r\nConnection: upgrade\r\n",
        "Host: b\r\n",
        "Expect: 100-continue\r\n",
    ];
    prop_oneof![
        any::<u8>().prop_map(Damage::Replace),
        prop::sample::select(TEXTS).prop_map(Damage::Insert),
        Just(Damage::Remove),
    ]
}

const SAMPLES: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw bytes",
    "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    "HTTP/1.0 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
];

type Run = (Vec<Seen>, Option<&'static str>, Vec<u8>, bool);

/// What a codec makes of bytes that come in pieces; each request is answered at its end.
fn run(role: Role, bytes: &[u8], sizes: &[usize], freezes: bool) -> Run {
    let mut side = Side::new(&http1::PROTOCOL, role, &Limits::default());
    side.freezes = freezes;
    if role == Role::Client {
        side.stream = side.codec.open().unwrap();
        let (mut head, end) = support::script::request("GET a / end");
        side.encode(Part::Head(Head::HttpRequest(&mut head), end)).unwrap();
    }
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
        side.input.extend_from_slice(piece);
        rest = after;
        answer_all(&mut side);
        if rest.is_empty() {
            break;
        }
    }
    side.codec.end_input();
    answer_all(&mut side);
    (side.events.0, side.error.map(|it| it.reason), side.written, side.codec.is_finished())
}

fn answer_all(side: &mut Side) {
    loop {
        side.pump();
        // A request that was read to its end, and so wants no input, is answered.
        let is_asked = side.codec.in_flight() == 1
            && !side.codec.wants_input()
            && side.error.is_none()
            && matches!(side.events.0.last(), Some(Seen::Data(_, _, true) | Seen::Other(_)));
        let before = side.codec.output().len() + side.written.len();
        if is_asked {
            side.codec.reply(side.stream, Status::NoRoute);
        }
        side.take();
        if side.written.len() == before {
            return;
        }
    }
}
