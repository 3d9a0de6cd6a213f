//! What two generations say to each other.
//!
//! ```text
//! new                                        old
//!  │ Hello ─────────────────────────────────► │  who, and what can be thawed
//!  │ ◄───────────────────────────── Welcome   │  configuration, names
//!  │ ◄───────────────────── Sockets (several) │  what is listened on
//!  │ Prepared ──────────────────────────────► │  workers stand, inert
//!  │ ◄──────────────────────────── Learnt     │  endpoints, health
//!  │ ◄─── Ahead, Received, Output (several)   │  descriptors, what rests; the old one serves
//!  │                                          │  all workers are held
//!  │ ◄──────── Frozen, Ahead, Worker, Thaw    │  values
//!  │ Thawed ────────────────────────────────► │  inert, and checked
//!  │ ◄───────────────────────────── Commit    │  from here on the new one owns all
//!  │ ◄─────────────────────────── LastWords   │  what was counted, how it went
//!  │ ◄──────────────────────── (Stop), end    │
//! ```
//! Either may say `Refused` before the commit. An enum's variants are only added at its end.

use hangu_config::Origin;
use serde::{Deserialize, Serialize};

use super::report::Report;
use crate::{
    exchange::{Away, FrozenConnection},
    snapshot::Learnt,
};

/// Versions of this conversation that this build speaks, in order. The two take the last one that
/// both speak; the layouts of what is frozen have versions of their own.
pub const FORMATS: &[u16] = &[1];

/// Names of the messages by the first byte of each, which is the place of its variant.
pub const KINDS: [&str; 16] = [
    "hello",
    "welcome",
    "sockets",
    "refused",
    "prepared",
    "learnt",
    "ahead",
    "received",
    "frozen",
    "worker",
    "thaw",
    "thawed",
    "commit",
    "last words",
    "stop",
    "output",
];

/// A message; see [`KINDS`].
#[derive(Serialize, Deserialize)]
pub(super) enum Message {
    /// The successor is there.
    Hello(Hello),
    /// The predecessor takes it as one.
    Welcome(Box<Welcome>),
    /// Descriptors of sockets, by name.
    Sockets(Vec<SocketName>),
    /// Why it is not to be; nothing has changed.
    Refused(String),
    /// The successor's workers stand.
    Prepared,
    /// What was learnt while running.
    Learnt(Learnt),
    /// Connections of a worker, before all workers are held or after.
    Ahead(Ahead),
    /// The last message was taken.
    Received,
    /// All workers are held.
    Frozen(FrozenAt),
    /// What one worker had; its bytes follow the message.
    Worker(Worker),
    /// That was all: thaw it.
    Thaw,
    /// It is thawed and inert.
    Thawed(Counts),
    /// It is the successor's.
    Commit,
    /// The predecessor's last words.
    LastWords(Box<LastWords>),
    /// The predecessor was told to stop when it owned nothing any more: what is in flight is to get
    /// so many milliseconds.
    Stop(u64),
    /// Output of a connection; its bytes follow the message.
    Output(OutputAhead),
}

/// Who the successor is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`FORMATS`].
    pub formats: Vec<u16>,
    /// Version of the program.
    pub build: String,
    /// Versions of the layout of frozen workers that it reads.
    pub layouts: Vec<u16>,
    /// Names of the protocols that it thaws, with the versions of their snapshots.
    pub protocols: Vec<(String, Vec<u16>)>,
}

/// What the successor begins with.
#[derive(Serialize, Deserialize)]
pub struct Welcome {
    /// The version of the conversation from here on.
    pub format: u16,
    /// Version of the predecessor's program.
    pub build: String,
    /// The configuration in force.
    pub origin: Origin,
    /// Names of listeners by place; empty where the configuration has none.
    pub listeners: Vec<String>,
    /// Names of clusters by place; empty where the configuration has none.
    pub clusters: Vec<String>,
    /// Successors that this one follows.
    pub generation: u64,
    /// The token of the admin API that was made at the start.
    pub admin_token: Option<String>,
    /// What only the demo has: where its upstreams are.
    pub demo: Option<String>,
}

/// What a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketName {
    /// Listens for the listener of this place.
    Listener(u32),
    /// Listens for the admin API; the path of its Unix socket if it is one.
    Admin(Option<String>),
    /// Keeps the demo's upstreams alive.
    DemoLife,
}

/// Connections that are passed before all of what a worker has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Ahead {
    /// The worker.
    pub(super) worker: u32,
    /// Index and generation of the connections whose descriptors travel along.
    pub(super) names: Vec<(u32, u32)>,
    /// Values of connections at rest, whose descriptors travel along or have before.
    pub(super) values: Vec<FrozenConnection>,
}

/// What a worker had, but for the values that were passed ahead and still hold.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Worker {
    /// The worker.
    pub(super) worker: u32,
    /// So many bytes follow the message: postcard of `FrozenWorker`.
    pub(super) bytes: u64,
    /// Large output that is left out there and follows after it, in order.
    pub(super) output: Vec<Large>,
}

/// Large output of a connection.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Large {
    /// Position among the connections of the snapshot.
    pub(super) at: u32,
    /// Index and generation of the connection.
    pub(super) id: (u32, u32),
    /// What of the output that was passed ahead is sent by now; the rest of that stands in front.
    /// `None` if none of it is of use.
    pub(super) skip: Option<u64>,
    /// So many bytes follow.
    pub(super) bytes: u64,
}

/// Large output of a connection, before all workers are held.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct OutputAhead {
    /// The worker.
    pub(super) worker: u32,
    /// Index and generation of the connection.
    pub(super) id: (u32, u32),
    /// So many bytes follow the message.
    pub(super) bytes: u64,
}

/// When the workers were ordered to be held, and what they have.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FrozenAt {
    /// Microseconds of the machine's monotonic clock.
    pub(super) at: u64,
    /// By worker: number of exchanges, and those that others refer to.
    pub(super) workers: Vec<(u32, Away)>,
}

/// What the predecessor says when it owns nothing any more.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct LastWords {
    /// The last rendering of its metrics.
    pub metrics: String,
    /// The level of the log, which may have been set by command.
    pub log_level: Option<String>,
    /// How it went so far.
    pub report: Report,
}

/// How much was thawed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Connections of either side.
    pub(super) connections: u64,
    /// Exchanges in flight.
    pub(super) exchanges: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another build may be the one that reads it.
    #[test]
    fn a_message_begins_with_the_place_of_its_kind_and_a_hello_tells_what_is_understood() {
        let hello = Hello {
            formats: vec![1, 2],
            build: "1.0".to_owned(),
            layouts: vec![3],
            protocols: vec![("a".to_owned(), vec![4, 5])],
        };
        let welcome = Welcome {
            format: 1,
            build: String::new(),
            origin: Origin::default(),
            listeners: Vec::new(),
            clusters: Vec::new(),
            generation: 0,
            admin_token: None,
            demo: None,
        };
        let messages = [
            Message::Hello(hello),
            Message::Welcome(Box::new(welcome)),
            Message::Sockets(Vec::new()),
            Message::Refused(String::new()),
            Message::Prepared,
            Message::Learnt(Learnt::default()),
            Message::Ahead(Ahead::default()),
            Message::Received,
            Message::Frozen(FrozenAt { at: 0, workers: Vec::new() }),
            Message::Worker(Worker { worker: 5, bytes: 7, output: Vec::new() }),
            Message::Thaw,
            Message::Thawed(Counts::default()),
            Message::Commit,
            Message::LastWords(Box::default()),
            Message::Stop(0),
            Message::Output(OutputAhead::default()),
        ];
        assert_eq!(messages.len(), KINDS.len());
        let bytes = messages.map(|it| postcard::to_stdvec(&it).unwrap());
        for (place, bytes) in bytes.iter().enumerate() {
            assert_eq!(usize::from(bytes[0]), place, "{}", KINDS[place]);
        }
        assert_eq!(bytes[0], b"\0\x02\x01\x02\x031.0\x01\x03\x01\x01a\x02\x04\x05");
        assert_eq!(bytes[9], b"\x09\x05\x07\x00");
        for empty in ["prepared", "received", "thaw", "commit"] {
            let place = KINDS.iter().position(|it| *it == empty).unwrap();
            assert_eq!(bytes[place].len(), 1, "{empty}");
        }
    }
}
