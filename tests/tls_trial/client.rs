//! Clients that others wrote: rustls, and `openssl s_client`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hangu_tests::wait::PATIENCE;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::{exchange, record::Suite};

/// A client and its connection.
pub(crate) trait Client: Send {
    /// Requests that may be under way at once.
    fn requests_max(&self) -> u32;
    fn write(&mut self, request: &[u8]);
    fn read(&mut self, answer: &mut [u8]);
    /// Changes its keys, and asks the server for the same.
    fn update_keys(&mut self);
    /// Closes, and sees the server close.
    fn close(self: Box<Self>);
}

/// Talks until told that it is enough, and then a little more; the number of requests.
pub(crate) fn talk(mut client: Box<dyn Client>, is_enough: &AtomicBool) -> u32 {
    let (mut number, mut rounds, mut rounds_left) = (0, 0, 3);
    while rounds_left > 0 {
        if is_enough.load(Ordering::Relaxed) {
            rounds_left -= 1;
        }
        rounds += 1;
        if rounds % 5 == 0 {
            client.update_keys();
        }
        let numbers = number..number + 1 + rounds % client.requests_max();
        number = numbers.end;
        for it in numbers.clone() {
            client.write(&exchange::message(it, sizes(it).0, sizes(it).1));
        }
        for it in numbers {
            let expected = exchange::message(it, sizes(it).1, 0);
            let mut answer = vec![0; expected.len()];
            client.read(&mut answer);
            assert!(answer == expected, "the answer to request {it} is damaged");
        }
    }
    client.close();
    number
}

/// Bytes of the bodies of a request and of its answer.
fn sizes(number: u32) -> (usize, usize) {
    const SIZES: [usize; 7] = [0, 20_000, 1, 5_000, 40_000, 300, 16_384 - 88];
    (SIZES[number as usize % 7], SIZES[number as usize / 3 % 7])
}

pub(crate) struct Rustls(StreamOwned<ClientConnection, TcpStream>);

impl Rustls {
    pub(crate) fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).expect("a listener");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let name = "localhost".try_into().expect("a name");
        Self(StreamOwned::new(ClientConnection::new(config, name).expect("a client"), socket))
    }

    /// What comes is to be an error.
    pub(crate) fn fails_after(mut self, raw: &[u8]) -> String {
        self.write(b"0");
        self.0.sock.write_all(raw).expect("a server that reads");
        self.0.read(&mut [0]).expect_err("an alert").to_string()
    }
}

impl Client for Rustls {
    fn requests_max(&self) -> u32 {
        11
    }

    fn write(&mut self, request: &[u8]) {
        self.0.write_all(request).expect("a server that reads");
    }

    fn read(&mut self, answer: &mut [u8]) {
        self.0.read_exact(answer).expect("an answer");
    }

    fn update_keys(&mut self) {
        self.0.conn.refresh_traffic_keys().expect("new keys");
    }

    fn close(mut self: Box<Self>) {
        self.0.conn.send_close_notify();
        // Nothing but a close_notify makes this an end and no error.
        assert_eq!(self.0.read(&mut [0]).expect("a close_notify"), 0);
    }
}

pub(crate) struct Openssl {
    process: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: BufReader<ChildStderr>,
}

impl Openssl {
    /// None when there is no such program here.
    pub(crate) fn connect(address: SocketAddr, suite: Suite) -> Option<Self> {
        let suite = match suite {
            Suite::Aes128Gcm => "TLS_AES_128_GCM_SHA256",
            Suite::Aes256Gcm => "TLS_AES_256_GCM_SHA384",
            Suite::ChaCha20Poly1305 => "TLS_CHACHA20_POLY1305_SHA256",
        };
        let mut process = Command::new("openssl")
            .args(["s_client", "-brief", "-tls1_3", "-ciphersuites", suite, "-connect"])
            .arg(address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let input = process.stdin.take()?;
        let output = process.stdout.take()?;
        let errors = BufReader::new(process.stderr.take()?);
        Some(Self { process, input, output, errors })
    }
}

impl Client for Openssl {
    /// It writes nothing while what it read is not taken: what is under way must fit a pipe.
    fn requests_max(&self) -> u32 {
        1
    }

    fn write(&mut self, request: &[u8]) {
        self.input.write_all(request).expect("openssl reads");
    }

    fn read(&mut self, answer: &mut [u8]) {
        self.output.read_exact(answer).expect("openssl writes");
    }

    fn update_keys(&mut self) {
        self.input.write_all(b"K\n").expect("openssl reads");
        let mut line = String::new();
        while !line.contains("KEYUPDATE") {
            line.clear();
            assert_ne!(self.errors.read_line(&mut line).expect("a line"), 0, "openssl ended");
        }
    }

    fn close(mut self: Box<Self>) {
        drop(self.input);
        let status = self.process.wait().expect("its end");
        let mut errors = String::new();
        self.errors.read_to_string(&mut errors).expect("text");
        assert!(status.success() && !errors.contains(":error:"), "openssl: {status}, {errors}");
    }
}
