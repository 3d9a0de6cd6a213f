//! Request smuggling: every kind of ambiguity in several spellings, each refused with its status or
//! passed on in such a way that nobody can read it otherwise.

mod support;

use hangu_codecs::message::End;
use hangu_codecs::{Data, Event, Head, Limits, Part, Role, http1};
use support::driver::Side;
use support::reader::{self, Message};
use support::seen::quote;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Answered with this status code, and nothing behind it is read.
    Refused(u16),
    /// Passed on with this body.
    Forwarded(&'static str),
}
use Verdict::{Forwarded, Refused};

/// A request to `/` with these field lines (each with its own end) and what follows the head.
fn with_fields(method: &str, fields: &str, rest: &str) -> Vec<u8> {
    latin1(&format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{rest}"))
}

/// Characters up to U+00FF as the bytes that they number, so that tables can hold any byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|it| u8::try_from(u32::from(it)).expect("a byte")).collect()
}

const FRAMING: &[(&str, &str, Verdict)] = &[
    // Both fields, in either order.
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n", Refused(400)),
    ("transfer-encoding: CHUNKED\r\nX: y\r\ncontent-length: 0\r\n", "0\r\n\r\n", Refused(400)),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Content-Length: 6\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\nG", Refused(400)),
    // Codings that are unknown, repeated, misplaced or misspelt.
    ("Transfer-Encoding: identity\r\n", "", Refused(400)),
    ("Transfer-Encoding: gzip\r\n", "", Refused(400)),
    ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", Refused(501)),
    ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(501)),
    ("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n", Refused(501)),
    ("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunkedx\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunk\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: 'chunked'\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked;\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: \r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chun ked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: \u{b}chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked\u{b}\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: \u{c}chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: \0chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked\0\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: \u{ff}chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: \u{a0}chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding\u{b}: chunked\r\n", "0\r\n\r\n", Refused(400)),
    (" Transfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("X: y\r\n Transfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("X: y\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked\r\n\tgzip\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked\r\r\n", "0\r\n\r\n", Refused(400)),
    ("Transfer-Encoding: chunked\n", "0\r\n\r\n", Refused(400)),
    ("Transfer_Encoding: chunked\r\n", "", Refused(400)),
    ("transfer_encoding: chunked\r\nContent-Length: 0\r\n", "", Refused(400)),
    ("Transfer-Encoding: chunked\r\nTransfer_Encoding: x\r\n", "0\r\n\r\n", Refused(400)),
    ("Content_Length: 5\r\n", "", Refused(400)),
    ("CONTENT_LENGTH: 5\r\nContent-Length: 0\r\n", "", Refused(400)),
    ("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n", Forwarded("ok")),
    ("Transfer-Encoding: Chunked\r\n", "2\r\nok\r\n0\r\n\r\n", Forwarded("ok")),
    ("tRANSFER-eNCODING:cHuNkEd\r\n", "2\r\nok\r\n0\r\n\r\n", Forwarded("ok")),
    ("Transfer-Encoding:\tchunked \t\r\n", "2\r\nok\r\n0\r\n\r\n", Forwarded("ok")),
    // Content-Length.
    ("Content-Length: 2\r\nContent-Length: 2\r\n", "ok", Refused(400)),
    ("Content-Length: 2\r\nContent-Length: 0\r\n", "ok", Refused(400)),
    ("Content-Length: 0\r\ncontent-length: 2\r\n", "ok", Refused(400)),
    ("Content-Length: 2, 2\r\n", "ok", Refused(400)),
    ("Content-Length: 2,0\r\n", "ok", Refused(400)),
    ("Content-Length: 2,\r\n", "ok", Refused(400)),
    ("Content-Length: ,2\r\n", "ok", Refused(400)),
    ("Content-Length: +2\r\n", "ok", Refused(400)),
    ("Content-Length: -2\r\n", "ok", Refused(400)),
    ("Content-Length: -0\r\n", "", Refused(400)),
    ("Content-Length: 2 \r\n", "ok", Forwarded("ok")),
    ("Content-Length: 2 2\r\n", "ok", Refused(400)),
    ("Content-Length: 0x2\r\n", "ok", Refused(400)),
    ("Content-Length: 2h\r\n", "ok", Refused(400)),
    ("Content-Length: a\r\n", "ok", Refused(400)),
    ("Content-Length: 2.0\r\n", "ok", Refused(400)),
    ("Content-Length: 2e0\r\n", "ok", Refused(400)),
    ("Content-Length: 2;\r\n", "ok", Refused(400)),
    ("Content-Length: \"2\"\r\n", "ok", Refused(400)),
    ("Content-Length: 1_0\r\n", "0123456789", Refused(400)),
    ("Content-Length: 02\r\n", "ok", Refused(400)),
    ("Content-Length: 010\r\n", "0123456789", Refused(400)),
    ("Content-Length: 00\r\n", "", Refused(400)),
    ("Content-Length: 9223372036854775808\r\n", "ok", Refused(400)),
    ("Content-Length: 18446744073709551616\r\n", "ok", Refused(400)),
    ("Content-Length: 18446744073709551618\r\n", "ok", Refused(400)),
    ("Content-Length: 99999999999999999999999999\r\n", "ok", Refused(400)),
    ("Content-Length: 4294967298000000000000000\r\n", "ok", Refused(400)),
    ("Content-Length:\r\n", "", Refused(400)),
    ("Content-Length: \t\r\n", "", Refused(400)),
    ("Content-Length: \u{b}2\r\n", "ok", Refused(400)),
    ("Content-Length: 2\0\r\n", "ok", Refused(400)),
    ("Content-Length: \u{b2}\r\n", "ok", Refused(400)),
    ("Content-Length : 2\r\n", "ok", Refused(400)),
    ("Content-Length\t: 2\r\n", "ok", Refused(400)),
    (" Content-Length: 2\r\n", "ok", Refused(400)),
    ("\tContent-Length: 2\r\n", "ok", Refused(400)),
    ("Content-Length: 2\r\n 0\r\n", "ok", Refused(400)),
    ("Content-Length:\r\n 2\r\n", "ok", Refused(400)),
    ("Content-Length: 2\rContent-Length: 0\r\n", "ok", Refused(400)),
    ("Content-Length: 2\nX: y\r\n", "ok", Refused(400)),
    ("Content-Length: 2\r\n", "ok", Forwarded("ok")),
    ("Content-Length:2\r\n", "ok", Forwarded("ok")),
    ("CONTENT-LENGTH:\t 2\t\r\n", "ok", Forwarded("ok")),
    ("Content-Length: 0\r\n", "", Forwarded("")),
    ("X-Content-Length: 2\r\n", "", Forwarded("")),
    ("Content-Lengths: 2\r\n", "", Forwarded("")),
    // Connection that names what frames or routes.
    ("Connection: Content-Length\r\nContent-Length: 2\r\n", "ok", Refused(400)),
    ("Content-Length: 2\r\nConnection: close, content-length\r\n", "ok", Refused(400)),
    ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused(400)),
    ("Connection: x,TRANSFER-ENCODING ,y\r\n", "", Refused(400)),
    ("Connection: Transfer_Encoding\r\n", "", Refused(400)),
    ("Connection: Host\r\n", "", Refused(400)),
    ("Connection: close\r\nConnection: hOST\r\n", "", Refused(400)),
    ("Connection: \"close\"\r\n", "", Refused(400)),
    ("Connection: a b\r\n", "", Refused(400)),
    ("Connection: X-One\r\nX-One: Transfer-Encoding\r\n", "", Forwarded("")),
    // Fields that make the receiver wait or change.
    ("Expect: 100-continue, x\r\nContent-Length: 2\r\n", "ok", Refused(417)),
    ("Expect: 100-continued\r\n", "", Refused(417)),
    ("Expect: 100 continue\r\n", "", Refused(417)),
    ("Expect:\r\n", "", Refused(417)),
    ("Expect: x\r\nContent-Length: 2\r\n", "ok", Refused(417)),
    ("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n", "ok", Forwarded("ok")),
    ("Connection: Upgrade\r\nUpgrade: foo, H2C\r\n", "", Forwarded("")),
    ("Connection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", "", Refused(400)),
    // Lines that are none.
    ("X\r\n", "", Refused(400)),
    (": x\r\n", "", Refused(400)),
    (" : x\r\n", "", Refused(400)),
    ("X Y: z\r\n", "", Refused(400)),
    ("X[]: z\r\n", "", Refused(400)),
    ("X\u{e9}: z\r\n", "", Refused(400)),
    ("X\u{7f}: z\r\n", "", Refused(400)),
    ("X\0: z\r\n", "", Refused(400)),
    ("X\r: z\r\n", "", Refused(400)),
    ("X(a): z\r\n", "", Refused(400)),
    ("X@Y: z\r\n", "", Refused(400)),
    ("X: \0\r\n", "", Refused(400)),
    ("X: y\0z\r\n", "", Refused(400)),
    ("X: \u{1}\r\n", "", Refused(400)),
    ("X: \u{8}\r\n", "", Refused(400)),
    ("X: \u{1b}[31m\r\n", "", Refused(400)),
    ("X: \u{1f}\r\n", "", Refused(400)),
    ("X: \u{7f}\r\n", "", Refused(400)),
    (
        "X: 0123456789012345678901234567890\u{7f}1234567890123456789012345678901234567890\r\n",
        "",
        Refused(400),
    ),
    (
        "X: 0123456789012345678901234567890\u{1}1234567890123456789012345678901234567890\r\n",
        "",
        Refused(400),
    ),
    ("X: y\rz\r\n", "", Refused(400)),
    ("X: y\r\r\n", "", Refused(400)),
    ("X: y\n", "", Refused(400)),
    ("X: y\n\n", "", Refused(400)),
    ("X: y\n\r\n", "", Refused(400)),
    ("X: y\r\n\n", "", Refused(400)),
    ("X: y\r\n\r", "", Refused(400)),
    ("X: y\r\n z\r\n", "", Refused(400)),
    ("X: y\r\n\tz\r\n", "", Refused(400)),
    ("X: y\r\n \r\n", "", Refused(400)),
    ("GET / HTTP/1.1\r\n", "", Refused(400)),
    ("X: \u{e9}\t\"y\"\r\n", "", Forwarded("")),
    // Host.
    ("Host: a\r\n", "", Refused(400)),
    ("Host: b\r\n", "", Refused(400)),
    ("hOST: b\r\n", "", Refused(400)),
    ("Host : b\r\n", "", Refused(400)),
    (" Host: b\r\n", "", Refused(400)),
];

#[test]
fn framing_and_fields_have_one_reading() {
    for (fields, rest, verdict) in FRAMING {
        judge(&with_fields("POST", fields, rest), *verdict);
    }
}

const CHUNKS: &[(&str, Verdict)] = &[
    ("2\r\nok\r\n0\r\n\r\n", Forwarded("ok")),
    ("02\r\nok\r\n000\r\n\r\n", Forwarded("ok")),
    ("1\r\no\r\n1\r\nk\r\n0\r\n\r\n", Forwarded("ok")),
    ("2;a\r\nok\r\n0;b=c\r\n\r\n", Forwarded("ok")),
    ("2;a=\"b;\\\" c\"\r\nok\r\n0\r\n\r\n", Forwarded("ok")),
    ("2\r\nok\r\n0\r\nX: y\r\n\r\n", Forwarded("ok")),
    ("a\r\n0123456789\r\n0\r\n\r\n", Forwarded("0123456789")),
    ("A\r\n0123456789\r\n0\r\n\r\n", Forwarded("0123456789")),
    // Sizes.
    ("\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("g\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("0x2\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("0X2\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("x2\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("+2\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("-2\r\nok\r\n0\r\n\r\n", Refused(400)),
    (" 2\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("\t2\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2 \r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2\t\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2 2\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2_0\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2\0\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2.0\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2,2\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2h\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("\"2\"\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("\u{b2}\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("00000000000000002\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("10000000000000002\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("fffffffffffffffff\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("ffffffffffffffff\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("8000000000000000\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("00000000000000000\r\n\r\n", Refused(400)),
    // Line ends.
    ("2\nok\r\n0\r\n\r\n", Refused(400)),
    ("2\rok\r\n0\r\n\r\n", Refused(400)),
    ("2\r\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2\n\rok\r\n0\r\n\r\n", Refused(400)),
    ("2\r\nok\n0\r\n\r\n", Refused(400)),
    ("2\r\nok\r0\r\n\r\n", Refused(400)),
    ("2\r\nok0\r\n\r\n", Refused(400)),
    ("2\r\nok\r\r\n0\r\n\r\n", Refused(400)),
    ("2\r\nok \r\n0\r\n\r\n", Refused(400)),
    ("2\r\nokXX0\r\n\r\n", Refused(400)),
    ("2\r\nok more\r\n0\r\n\r\n", Refused(400)),
    ("2\r\nok\r\n\r\n0\r\n\r\n", Refused(400)),
    ("1\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("3\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2\r\nok\r\n0\n\n", Refused(400)),
    ("2\r\nok\r\n0\n\r\n", Refused(400)),
    ("2\r\nok\r\n0\r\n\n", Refused(400)),
    ("2\r\nok\r\n0\r\rX", Refused(400)),
    ("0\r\n\rX", Refused(400)),
    // Extensions.
    ("2;\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;;a\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2 ;a\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2; a\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;a =b\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;a=\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;a=\"b\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;a=\"\n\"\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;a=\"\r\"\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;a=\"\r\n\"\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;a\nxx\r\n0\r\n\r\n", Refused(400)),
    ("2;a\rb\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;\0\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("2;\u{e9}\r\nok\r\n0\r\n\r\n", Refused(400)),
    ("0;\n\r\n", Refused(400)),
    // Trailers.
    ("0\r\nContent-Length: 5\r\n\r\n", Refused(400)),
    ("0\r\ncontent-length: 0\r\n\r\n", Refused(400)),
    ("0\r\nTransfer-Encoding: chunked\r\n\r\n", Refused(400)),
    ("0\r\nTransfer_Encoding: chunked\r\n\r\n", Refused(400)),
    ("0\r\nContent_Length: 5\r\n\r\n", Refused(400)),
    ("0\r\nHost: b\r\n\r\n", Refused(400)),
    ("0\r\nConnection: close\r\n\r\n", Refused(400)),
    ("0\r\nUpgrade: h2c\r\n\r\n", Refused(400)),
    ("0\r\nTE: trailers\r\n\r\n", Refused(400)),
    ("0\r\nTrailer: x\r\n\r\n", Refused(400)),
    ("0\r\nExpect: 100-continue\r\n\r\n", Refused(400)),
    ("0\r\nAuthorization: x\r\n\r\n", Refused(400)),
    ("0\r\nCookie: x\r\n\r\n", Refused(400)),
    ("0\r\nContent-Type: x\r\n\r\n", Refused(400)),
    ("0\r\nContent-Encoding: x\r\n\r\n", Refused(400)),
    ("0\r\nX: y\n\r\n", Refused(400)),
    ("0\r\nX: y\r\n\n", Refused(400)),
    ("0\r\nX : y\r\n\r\n", Refused(400)),
    ("0\r\nX\r\n\r\n", Refused(400)),
    ("0\r\n X: y\r\n\r\n", Refused(400)),
    ("0\r\nX: y\r\n z\r\n\r\n", Refused(400)),
    ("0\r\nX: \0\r\n\r\n", Refused(400)),
    ("0\r\nGET /victim HTTP/1.1\r\nHost: v\r\n\r\n", Refused(400)),
];

#[test]
fn chunks_have_one_reading() {
    for (body, verdict) in CHUNKS {
        judge(&with_fields("POST", "Transfer-Encoding: chunked\r\n", body), *verdict);
    }
}

/// Request lines and first fields; each is a whole head.
const HEADS: &[(&str, Verdict)] = &[
    // Words and spaces.
    ("GET /\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Refused(400)),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\rHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /\u{b}HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\0\r\nHost: a\r\n\r\n", Refused(400)),
    ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET: / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    // Empty lines and field lines before it.
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("Host: a\r\nGET / HTTP/1.1\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\n\r\nHost: a\r\n\r\n", Refused(400)),
    // Versions.
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Refused(505)),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refused(505)),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refused(505)),
    ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", Refused(505)),
    ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/2\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/11\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / Http/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP 1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1,1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTPS/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / XTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / ICY/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    // Targets.
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Refused(400)),
    ("GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET file:///etc HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n", Refused(400)),
    ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", Refused(400)),
    ("GET http://a:b@c/ HTTP/1.1\r\nHost: c\r\n\r\n", Refused(400)),
    ("GET http://a/ HTTP/1.1\r\n\r\n", Refused(400)),
    ("GET http://a\\@b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET #a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET \\a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /\u{c3}\u{a9} HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /\u{ff} HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /\" HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded("")),
    ("GET HTTP://A/ HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded("")),
    ("GET /%2e%2e/%2f/..;/./ HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded("")),
    ("GET //b/ HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded("")),
    ("GET /http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded("")),
    ("GET /?a=\\b|c^d{} HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded("")),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded("")),
    ("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    // Methods with what they do not take.
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("CONNECT * HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("CONNECT http://a:80/ HTTP/1.1\r\nHost: a:80\r\n\r\n", Refused(400)),
    ("CONNECT a:80 HTTP/1.1\r\nHost: b:80\r\n\r\n", Refused(400)),
    ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 2\r\n\r\nok", Refused(400)),
    (
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    ("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", Refused(400)),
    ("TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", Forwarded("ok")),
    ("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", Forwarded("ok")),
    (
        "DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Forwarded("ok"),
    ),
    ("AMETHODTHATISFARTOOLONGTOBEONE / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(501)),
    // Host.
    ("GET / HTTP/1.1\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: \t\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:80:81\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a:80@b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a%00b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: \"a\"\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", Forwarded("")),
    ("GET / HTTP/1.1\r\nHost:a.b:1\r\n\r\n", Forwarded("")),
    // HTTP/1.0.
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (
        "POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    ("POST / HTTP/1.0\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", Refused(400)),
    ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Refused(400)),
    ("GET / HTTP/1.0\r\nHost:\r\n\r\n", Refused(400)),
    (
        "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        Forwarded("ok"),
    ),
    ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Forwarded("")),
];

#[test]
fn request_lines_and_hosts_have_one_reading() {
    for (head, verdict) in HEADS {
        judge(&latin1(head), *verdict);
    }
}

#[test]
fn the_tables_hold_enough_spellings() {
    let verdicts = FRAMING.iter().map(|it| it.2).chain(CHUNKS.iter().map(|it| it.1));
    let verdicts: Vec<Verdict> = verdicts.chain(HEADS.iter().map(|it| it.1)).collect();
    let refused = verdicts.iter().filter(|it| matches!(it, Refused(_))).count();
    assert!(refused >= 250, "only {refused} are refused");
    assert!(verdicts.len() - refused >= 25, "only {} are passed on", verdicts.len() - refused);
}

/// What a connection made of the bytes: the requests passed on, as an origin reads them, and what
/// it answered.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    forwarded: Vec<Message>,
    answered: Vec<u8>,
    is_finished: bool,
}

/// A request that must not be swallowed by the one before it, nor come out of one that is refused.
const VICTIM: &str = "GET /victim HTTP/1.1\r\nHost: v\r\n\r\n";

fn judge(request: &[u8], verdict: Verdict) {
    let bytes = [request, VICTIM.as_bytes()].concat();
    let shown = quote(request);
    let outcome = pass(&[&bytes]);
    for cut in 1..bytes.len() {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(pass(&[first, second]), outcome, "cut at {cut}: {shown}");
    }
    assert_eq!(pass(&bytes.chunks(1).collect::<Vec<_>>()), outcome, "byte by byte: {shown}");
    match verdict {
        Refused(code) => {
            let answer = format!("HTTP/1.1 {code} ");
            assert!(outcome.answered.starts_with(answer.as_bytes()), "{shown}: {outcome:?}");
            let says_close =
                String::from_utf8_lossy(&outcome.answered).contains("Connection: close");
            assert!(says_close && outcome.is_finished, "{shown}: {outcome:?}");
            assert_eq!(outcome.forwarded.len(), 0, "{shown}: {outcome:?}");
        }
        Forwarded(body) => {
            assert!(outcome.answered.is_empty() && !outcome.is_finished, "{shown}: {outcome:?}");
            let [first, second] = &outcome.forwarded[..] else { panic!("{shown}: {outcome:?}") };
            assert_eq!(first.body, body.as_bytes(), "{shown}: {first:?}");
            assert_eq!(second.first[1], b"/victim", "{shown}: {second:?}");
            assert_eq!(second.all("host"), [b"v"], "{shown}: {second:?}");
        }
    }
}

/// Reads what was passed on, which must be one request and nothing else.
fn read_whole(bytes: &[u8]) -> Message {
    let read = reader::request(bytes);
    let (message, rest) = read.unwrap_or_else(|error| panic!("{error}: {}", quote(bytes)));
    assert!(rest.is_empty(), "{} behind {message:?}", quote(rest));
    for (name, _) in &message.fields {
        assert!(!name.contains(&b'_'), "{message:?}");
    }
    message
}

/// Gives the pieces to a server codec and passes each whole request on through a client codec.
fn pass(pieces: &[&[u8]]) -> Outcome {
    let limits = Limits::default();
    let mut server = Side::new(&http1::PROTOCOL, Role::Server, &limits);
    let mut forwarded = Vec::new();
    let mut upstream: Option<Side> = None;
    for piece in pieces {
        server.input.extend_from_slice(piece);
        loop {
            let decoded = server.codec.decode(&mut server.input, &mut server.scratch, server.now);
            let (stream, part) = match decoded {
                Ok(Some(Event::Part(stream, part))) => (stream, part),
                Ok(Some(event)) => panic!("{event:?}"),
                Ok(None) => break,
                Err(error) => {
                    server.codec.refuse(&error);
                    break;
                }
            };
            if matches!(part, Part::Head(..)) {
                let mut side = Side::new(&http1::PROTOCOL, Role::Client, &limits);
                side.stream = side.codec.open().expect("a new connection takes a stream");
                upstream = Some(side);
            }
            let side = upstream.as_mut().expect("a head comes first");
            let is_end = match &part {
                Part::Head(_, end) | Part::Data(_, end) => *end == End::Yes,
                Part::Trailers(_) => true,
                Part::Reset(_) => panic!("no server codec resets"),
            };
            let stream_up = side.stream;
            side.codec.encode(stream_up, &part).expect("what was read can be written");
            if is_end {
                side.take();
                forwarded.push(read_whole(&side.written));
                let mut head = hangu_codecs::HttpResponse { status: 200, ..Default::default() };
                let head = Part::Head(Head::HttpResponse(&mut head), End::No);
                server.codec.encode(stream, &head).expect("a response fits");
                let end = Part::Data(Data::Borrowed(b""), End::Yes);
                server.codec.encode(stream, &end).expect("its end fits");
                server.codec.output().clear();
            }
        }
    }
    server.take();
    Outcome { forwarded, answered: server.written, is_finished: server.codec.is_finished() }
}
