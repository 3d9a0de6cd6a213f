//! A name server whose answers the test chooses (RFC 1035), on UDP.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What the server says of a name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These addresses, with this time to live in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// These services: priority, weight, port, host; with a time to live in seconds.
    Services(Vec<(u16, u16, u16, String)>, u32),
    /// These addresses for IPv4; of other kinds the server cannot tell (SERVFAIL).
    Half(Vec<Ipv4Addr>, u32),
    /// The server cannot tell (SERVFAIL).
    Failure,
    /// There is no such name.
    NoName,
    /// Bytes that are no answer.
    Garbage,
    /// Nothing at all.
    Silence,
}

/// A name server on a free port of 127.0.0.1.
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_stopping: AtomicBool,
    answers: Mutex<HashMap<String, Answer>>,
    queries: Mutex<HashMap<String, usize>>,
}

impl NameServer {
    /// A server that knows no names yet.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let address = socket.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while !shared.is_stopping.load(Ordering::SeqCst) {
                let Ok((bytes, from)) = socket.recv_from(&mut query) else { continue };
                if let Some(answer) = shared.answer(&query[..bytes]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, state }
    }

    /// Sets what it says of a name from now on.
    pub fn say(&self, name: &str, answer: Answer) {
        self.state.answers.lock().expect("no poison").insert(name.to_owned(), answer);
    }

    /// How often it was asked for a name.
    pub fn queries(&self, name: &str) -> usize {
        self.state.queries.lock().expect("no poison").get(name).copied().unwrap_or(0)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.is_stopping.store(true, Ordering::SeqCst);
    }
}

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

impl State {
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = read_name(query.get(12..)?)?;
        let question = query.get(12..12 + end + 4)?;
        let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
        *self.queries.lock().expect("no poison").entry(name.clone()).or_default() += 1;
        let known = self.answers.lock().expect("no poison").get(&name).cloned();
        let (mut records, mut code) = (Vec::new(), 0);
        match known.unwrap_or(Answer::NoName) {
            Answer::Addresses(all, ttl) => {
                for address in all {
                    match (address, kind) {
                        (IpAddr::V4(it), A) => records.push((A, ttl, it.octets().to_vec())),
                        (IpAddr::V6(it), AAAA) => records.push((AAAA, ttl, it.octets().to_vec())),
                        _ => {}
                    }
                }
            }
            Answer::Services(all, ttl) => {
                for (priority, weight, port, host) in all.into_iter().filter(|_| kind == SRV) {
                    let mut data = Vec::new();
                    for number in [priority, weight, port] {
                        data.extend(number.to_be_bytes());
                    }
                    write_name(&host, &mut data);
                    records.push((SRV, ttl, data));
                }
            }
            Answer::Half(all, ttl) if kind == A => {
                records.extend(all.iter().map(|it| (A, ttl, it.octets().to_vec())));
            }
            Answer::Half(..) | Answer::Failure => code = 2,
            Answer::NoName => code = 3,
            Answer::Garbage => return Some(vec![0xff; 7]),
            Answer::Silence => return None,
        }
        let mut answer = query.get(..2)?.to_vec();
        answer.extend([0x84, 0x80 | code, 0, 1]);
        answer.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(question);
        for (kind, ttl, data) in records {
            // The name of the question, by a pointer to it.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1]);
            answer.extend(ttl.to_be_bytes());
            answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}

/// A name in lower case without its last dot, and how many bytes it takes.
fn read_name(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = bytes.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}

fn write_name(name: &str, into: &mut Vec<u8>) {
    for label in name.split('.').filter(|it| !it.is_empty()) {
        into.push(u8::try_from(label.len()).expect("a short label"));
        into.extend(label.as_bytes());
    }
    into.push(0);
}
