//! gRPC as far as a gateway has to know it: which requests are calls, how long a call may last,
//! how it ended, and how browsers say the same ([gRPC over HTTP/2][spec], [gRPC-Web][web]).
//!
//! Owns no connection: a call is an HTTP exchange, and the codecs of HTTP carry it. Never looks
//! into a message.
//!
//! [spec]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
//! [web]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md

mod content;
mod message;
mod status;
mod timeout;
mod web;

pub use content::{Content, is_grpc};
pub use message::{decode_message, encode_message};
pub use status::{Code, status_of};
pub use timeout::{TimeoutText, parse_timeout};
pub use web::{MalformedText, Web};
