//! Content types of gRPC and gRPC-Web.

/// What the content type of a request says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, bytes as they are.
    Web,
    /// gRPC-Web in base64.
    WebText,
    /// Something else.
    Other,
}

/// Whether this content type is that of gRPC: `application/grpc`, perhaps with `+` and the name of
/// a serialisation, perhaps with parameters. Not `application/grpcfoo`, and not gRPC-Web.
pub fn is_grpc(content_type: &[u8]) -> bool {
    Content::of(content_type) == Content::Grpc
}

impl Content {
    /// What a content type says. Media types have no case (RFC 9110 §8.3.1).
    pub fn of(content_type: &[u8]) -> Self {
        let end = content_type.iter().position(|it| *it == b';').unwrap_or(content_type.len());
        let media = content_type.get(..end).unwrap_or_default().trim_ascii();
        // Only a suffix that names something: `application/grpc+` is none.
        let base = match media.iter().position(|it| *it == b'+') {
            Some(at) if at + 1 < media.len() => media.get(..at).unwrap_or_default(),
            Some(_) => return Self::Other,
            None => media,
        };
        let is = |name: &[u8]| base.eq_ignore_ascii_case(name);
        match () {
            () if is(b"application/grpc") => Self::Grpc,
            () if is(b"application/grpc-web") => Self::Web,
            () if is(b"application/grpc-web-text") => Self::WebText,
            () => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_itself_and_its_serialisations_are_grpc() {
        for of_grpc in [
            &b"application/grpc"[..],
            b"application/grpc+proto",
            b"application/grpc+x",
            b"Application/GRPC+JSON",
            b"application/grpc; charset=utf-8",
            b"application/grpc+proto ;v=1",
        ] {
            assert!(is_grpc(of_grpc), "{}", of_grpc.escape_ascii());
        }
        for other in [
            &b""[..],
            b"application/grpcfoo",
            b"application/grp",
            b"application/grpc+",
            b"application/grpc/x",
            b"application/grpc-web",
            b"application/grpc-web+proto",
            b"application/json",
            b"text/plain; application/grpc",
        ] {
            assert!(!is_grpc(other), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn what_browsers_send_is_told_apart() {
        assert_eq!(Content::of(b"application/grpc-web"), Content::Web);
        assert_eq!(Content::of(b"application/grpc-web+proto"), Content::Web);
        assert_eq!(Content::of(b"application/grpc-web-text"), Content::WebText);
        assert_eq!(Content::of(b"application/grpc-web-text+proto"), Content::WebText);
        assert_eq!(Content::of(b"application/grpc-websocket"), Content::Other);
    }
}
