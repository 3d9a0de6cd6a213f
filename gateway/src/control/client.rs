//! A client of the admin API for the command line: one request per connection, blocking.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hangu_config::{Admin, Secret};

/// How long a gateway may take to accept, to take the request and to answer, each. A reload of a
/// very large configuration takes some seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read; what commands ask for is far smaller.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a gateway's admin API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// At a TCP address.
    Tcp(SocketAddr),
    /// At a Unix socket.
    Unix(PathBuf),
}

impl From<&Admin> for Target {
    /// Where a configuration says. An address of all interfaces is reached over loopback.
    fn from(admin: &Admin) -> Self {
        match admin {
            Admin::Unix { path } => Self::Unix(path.clone()),
            Admin::Tcp { address, .. } if address.ip().is_unspecified() => {
                let loopback: std::net::IpAddr = match address {
                    SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                    SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                };
                Self::Tcp((loopback, address.port()).into())
            }
            Admin::Tcp { address, .. } => Self::Tcp(*address),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// `127.0.0.1:9901`, `[::1]:9901`, a path that begins with `/` or `./`, or `unix:PATH`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with('/') || text.starts_with("./") {
            return Ok(Self::Unix(text.into()));
        }
        let with_host = text.replacen("localhost:", "127.0.0.1:", 1);
        with_host.parse().map(Self::Tcp).map_err(|_| {
            format!("`{text}` is neither IP:PORT (127.0.0.1:9901) nor the path of a Unix socket")
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => path.display().fmt(formatter),
        }
    }
}

/// An answer of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no gateway answers at {0}: {1}")]
    NoGateway(Target, #[source] io::Error),
    /// It was reached and broke off.
    #[error("the gateway at {0} did not answer: {1}")]
    NoAnswer(Target, #[source] io::Error),
    /// It answers in another protocol.
    #[error("what answers at {0} is not the admin API of a gateway")]
    NotAdmin(Target),
}

/// A gateway's admin API, and the token to show there.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it is.
    pub target: Target,
    /// What to show with requests that change something; nothing at a Unix socket.
    pub token: Option<Secret>,
}

impl Client {
    /// Asks for something that anyone may see.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.request(&format!("GET {path}"), None, "")
    }

    /// Asks for something to be done, with the token.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post(&self, path: &str, body: &str) -> Result<Answer, ClientError> {
        self.request(&format!("POST {path}"), self.token.as_ref(), body)
    }

    fn request(
        &self,
        line: &str,
        token: Option<&Secret>,
        body: &str,
    ) -> Result<Answer, ClientError> {
        let target = &self.target;
        let stream =
            connect(target).map_err(|error| ClientError::NoGateway(target.clone(), error))?;
        let shown = token
            .map_or_else(String::new, |it| format!("Authorization: Bearer {}\r\n", it.reveal()));
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{shown}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(stream, &request)
            .map_err(|error| ClientError::NoAnswer(target.clone(), error))?;
        parse(&answer).ok_or_else(|| ClientError::NotAdmin(target.clone()))
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn connect(target: &Target) -> io::Result<Box<dyn Stream>> {
    match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(Box::new(stream))
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(Box::new(stream))
        }
    }
}

fn exchange(mut stream: Box<dyn Stream>, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The admin API answers with a sized body and closes, so the rest is the body.
fn parse(answer: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_or_a_path() {
        let tcp = |text: &str| Target::Tcp(text.parse().unwrap());
        assert_eq!("127.0.0.1:9901".parse(), Ok(tcp("127.0.0.1:9901")));
        assert_eq!("localhost:9901".parse(), Ok(tcp("127.0.0.1:9901")));
        assert_eq!("[::1]:1".parse(), Ok(tcp("[::1]:1")));
        assert_eq!("/run/a.sock".parse(), Ok(Target::Unix("/run/a.sock".into())));
        assert_eq!("unix:a.sock".parse(), Ok(Target::Unix("a.sock".into())));
        assert!("9901".parse::<Target>().is_err());
    }

    #[test]
    fn an_admin_api_on_all_addresses_is_reached_over_loopback() {
        let admin = |text: &str| Admin::Tcp {
            address: text.parse().unwrap(),
            allow_remote: true,
            token: None,
            token_path: None,
        };
        assert_eq!(Target::from(&admin("0.0.0.0:9")).to_string(), "127.0.0.1:9");
        assert_eq!(Target::from(&admin("[::]:9")).to_string(), "[::1]:9");
        assert_eq!(Target::from(&admin("192.0.2.1:9")).to_string(), "192.0.2.1:9");
    }

    #[test]
    fn what_is_no_http_is_not_taken_for_an_answer() {
        assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(parse(b"\xff"), None);
        let answer = Answer { status: 204, body: String::new() };
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(answer));
    }
}
