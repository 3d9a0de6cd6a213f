//! What kinds of clients there are: everything is counted for each of them apart.

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// HTTP/1.1, small requests on kept connections.
    Http,
    /// Bolt, several requests in flight on each connection, answered out of order.
    Bolt,
    /// HTTP/1.1 on connections that are silent for longer than any drain.
    IdleHttp,
    /// The same in Bolt.
    IdleBolt,
    /// HTTP/2, many small requests at once on each connection.
    Http2,
    /// The same on connections that are silent for longer than any drain.
    IdleHttp2,
    /// HTTP/1.1, long bodies of requests.
    Upload,
    /// HTTP/1.1, long bodies of responses.
    Download,
    /// HTTP/1.1 upgraded to raw bytes; what is counted are the blocks inside.
    Tunnel,
    /// HTTP/2, calls with messages both ways; what is counted are calls and messages.
    Call,
    /// WebSocket over HTTP/2; what is counted are streams and the blocks inside.
    Socket,
    /// Server-sent events over HTTP/1.1 and HTTP/2; what is counted are responses and events.
    Events,
    /// New connections at a fixed rate, each for one request.
    Storm,
    /// Many connections at the same instant, each for one request.
    Backlog,
}

impl Group {
    /// All of them, in the order of reports.
    pub(crate) const ALL: [Self; 14] = [
        Self::Http,
        Self::Bolt,
        Self::IdleHttp,
        Self::IdleBolt,
        Self::Http2,
        Self::IdleHttp2,
        Self::Upload,
        Self::Download,
        Self::Tunnel,
        Self::Call,
        Self::Socket,
        Self::Events,
        Self::Storm,
        Self::Backlog,
    ];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Bolt => "bolt",
            Self::IdleHttp => "idle-http",
            Self::IdleBolt => "idle-bolt",
            Self::Http2 => "http2",
            Self::IdleHttp2 => "idle-http2",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Tunnel => "tunnel",
            Self::Call => "call",
            Self::Socket => "websocket",
            Self::Events => "events",
            Self::Storm => "storm",
            Self::Backlog => "backlog",
        }
    }

    /// Its place in tables.
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Whether it speaks Bolt.
    pub(crate) fn is_bolt(self) -> bool {
        matches!(self, Self::Bolt | Self::IdleBolt)
    }

    /// Whether it speaks HTTP/2 alone.
    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::IdleHttp2 | Self::Call | Self::Socket)
    }

    /// Whether a late answer lets others go before it on the same connection.
    pub(crate) fn is_multiplexed(self) -> bool {
        self.is_bolt() || matches!(self, Self::Http2 | Self::IdleHttp2)
    }

    /// Whether its connections are to last for the whole run.
    pub(crate) fn is_lasting(self) -> bool {
        !matches!(self, Self::Storm | Self::Backlog)
    }
}
