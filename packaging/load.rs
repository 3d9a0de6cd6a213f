//! A small load for `packaging/test`: HTTP requests at a fixed rate, each sent with one write, none
//! repeated. Needs nothing but the standard library (`rustc -O packaging/load.rs`).
//!
//! ```text
//! load serve ADDRESS                        an upstream: answers each path with the path
//! load run ADDRESS RATE                     RATE requests a second until standard input ends
//! load queue ADDRESS COUNT                  COUNT connections with one request each; says `sent`,
//!                                           and how it ended when all are answered
//! ```

use std::io::{self, BufRead, BufReader, Error, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections that are kept; as many threads make a connection for each request.
const CONNECTIONS: u64 = 4;

static ENDS: AtomicBool = AtomicBool::new(false);
static SENT: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);
/// Connections that the gateway closed after an answer.
static CLOSED: AtomicU64 = AtomicU64::new(0);
static LONGEST_US: AtomicU64 = AtomicU64::new(0);

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", address] => serve(address),
        ["run", address, rate] => run(address, rate.parse().expect("a rate")),
        ["queue", address, count] => queue(address, count.parse().expect("a count")),
        _ => {
            eprintln!("load serve ADDRESS | run ADDRESS RATE | queue ADDRESS COUNT");
            exit(64);
        }
    }
}

fn serve(address: &str) {
    let listener = TcpListener::bind(address).expect("a free address");
    println!("serving");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer(stream));
    }
}

/// Answers until the connection ends.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some((first, _)) = read_head(&mut reader)? {
        let path = first.split(' ').nth(1).unwrap_or_default();
        let length = path.len();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}");
        stream.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn run(address: &str, rate: u64) {
    let threads = 2 * CONNECTIONS;
    let interval = Duration::from_micros(1_000_000 * threads / rate);
    let begin = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|index| {
            let (address, first) = (address.to_owned(), begin + interval * index as u32 / 8);
            thread::spawn(move || load(&address, index, first, interval))
        })
        .collect();
    println!("running");
    let _ = io::stdin().read_to_end(&mut Vec::new());
    ENDS.store(true, Relaxed);
    workers.into_iter().for_each(|it| it.join().expect("a thread"));
    tell();
}

fn tell() {
    let (sent, failed, closed) = (SENT.load(Relaxed), FAILED.load(Relaxed), CLOSED.load(Relaxed));
    let longest = LONGEST_US.load(Relaxed) as f64 / 1000.0;
    println!("sent {sent} failed {failed} closed {closed} longest {longest:.1} ms");
    exit(i32::from(failed > 0));
}

fn load(address: &str, index: u64, mut next: Instant, interval: Duration) {
    let keeps = index < CONNECTIONS;
    let mut kept: Option<BufReader<TcpStream>> = None;
    for number in 0.. {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += interval;
        if ENDS.load(Relaxed) {
            return;
        }
        let path = format!("/{index}/{number}");
        let sent = Instant::now();
        SENT.fetch_add(1, Relaxed);
        match request(address, kept.take(), &path, keeps) {
            Ok(connection) => {
                if keeps && connection.is_none() {
                    CLOSED.fetch_add(1, Relaxed);
                }
                kept = connection;
            }
            Err(error) => {
                FAILED.fetch_add(1, Relaxed);
                eprintln!("{path} after {:?}: {error}", sent.elapsed());
            }
        }
        LONGEST_US.fetch_max(sent.elapsed().as_micros() as u64, Relaxed);
    }
}

/// Sends a request and reads its answer; gives the connection back when it can be used again.
fn request(
    address: &str,
    kept: Option<BufReader<TcpStream>>,
    path: &str,
    keeps: bool,
) -> io::Result<Option<BufReader<TcpStream>>> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => connect(address)?,
    };
    send(connection.get_mut(), path, keeps)?;
    let stays = receive(&mut connection, path)?;
    Ok((keeps && stays).then_some(connection))
}

fn connect(address: &str) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

fn send(stream: &mut TcpStream, path: &str, keeps: bool) -> io::Result<()> {
    let connection = if keeps { "keep-alive" } else { "close" };
    let text = format!("GET {path} HTTP/1.1\r\nHost: load\r\nConnection: {connection}\r\n\r\n");
    match stream.write(text.as_bytes())? {
        written if written == text.len() => Ok(()),
        written => Err(Error::other(format!("{written} bytes written"))),
    }
}

/// Reads an answer, which must be 200 with the path; says whether another request may follow.
fn receive(reader: &mut BufReader<TcpStream>, path: &str) -> io::Result<bool> {
    let Some((first, fields)) = read_head(reader)? else {
        return Err(Error::other("closed without an answer"));
    };
    let field = |name: &str| {
        let named = fields.iter().filter_map(|it| it.split_once(':'));
        named.filter(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.trim()).next()
    };
    let length = field("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if !first.starts_with("HTTP/1.1 200 ") || body != path.as_bytes() {
        return Err(Error::other(format!("{first}: {}", String::from_utf8_lossy(&body))));
    }
    Ok(!field("connection").is_some_and(|it| it.eq_ignore_ascii_case("close")))
}

/// The first line of a head and its fields; nothing when the connection ended before.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<(String, Vec<String>)>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return if lines.is_empty() {
                Ok(None)
            } else {
                Err(Error::other("cut off in a head"))
            };
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((lines.remove(0), lines)));
        }
        lines.push(line.to_owned());
    }
}

/// All connections are made and all requests sent before an answer is looked for.
fn queue(address: &str, count: u64) {
    let waiting: Vec<_> = (0..count)
        .map(|index| {
            let path = format!("/queued/{index}");
            let mut connection = connect(address).expect("a connection");
            send(connection.get_mut(), &path, true).expect("it is sent");
            (connection, path)
        })
        .collect();
    println!("sent");
    for (mut connection, path) in waiting {
        SENT.fetch_add(1, Relaxed);
        if let Err(error) = receive(&mut connection, &path) {
            FAILED.fetch_add(1, Relaxed);
            eprintln!("{path}: {error}");
        }
    }
    tell();
}
