//! A server's handshake by rustls, driven by hand, and what remains of it: keys and sequence
//! numbers.

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ConnectionTrafficSecrets, KeyLog, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::PrivatePkcs8KeyDer,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
    version::TLS13,
};
use zeroize::Zeroizing;

use crate::record::{Records, Role, Suite, Traffic, key_and_iv};

/// Server and client with one suite, and a certificate for `localhost` that the client trusts.
pub(crate) fn configs(suite: Suite) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = own.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let mut server = ServerConfig::builder_with_provider(provider(suite))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .expect("a key of the certificate");
    server.enable_secret_extraction = true;
    server.key_log = Arc::new(Keep);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let client = ClientConfig::builder_with_provider(provider(suite))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn provider(suite: Suite) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|it| u16::from(it.suite()) == suite as u16);
    assert_eq!(provider.cipher_suites.len(), 1);
    Arc::new(provider)
}

thread_local! {
    /// Traffic secrets of client and server of the handshake that this thread just drove.
    static KEPT: RefCell<[Option<Zeroizing<Vec<u8>>>; 2]> = const { RefCell::new([None, None]) };
}

/// Keeps the traffic secrets, which rustls gives away nowhere else. It logs while it processes
/// records, on the thread that called it: what stands in [`KEPT`] is of that connection.
#[derive(Debug)]
struct Keep;

const LABELS: [&str; 2] = ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"];

impl KeyLog for Keep {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if let Some(place) = LABELS.iter().position(|it| *it == label) {
            KEPT.with_borrow_mut(|it| it[place] = Some(secret.to_vec().into()));
        }
    }

    fn will_log(&self, label: &str) -> bool {
        LABELS.contains(&label)
    }
}

/// What a handshake leaves.
pub(crate) struct Accepted {
    pub(crate) records: Records,
    /// Content that came right behind the handshake, in one read with its end: rustls has
    /// decrypted it.
    pub(crate) content: Vec<u8>,
    /// Records that rustls sent with the traffic keys: session tickets.
    pub(crate) tickets: u64,
}

/// Shakes hands on a blocking socket.
pub(crate) fn accept(mut socket: &TcpStream, config: &Arc<ServerConfig>) -> Accepted {
    KEPT.take();
    let mut connection = UnbufferedServerConnection::new(Arc::clone(config)).expect("a connection");
    let (mut input, mut output, mut content) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_complete = false;
    while !is_complete {
        let mut wants_more = false;
        let UnbufferedStatus { discard, state } = connection.process_tls_records(&mut input);
        match state.expect("a handshake") {
            ConnectionState::EncodeTlsData(mut part) => {
                let begin = output.len();
                if let Err(EncodeError::InsufficientSize(it)) = part.encode(&mut []) {
                    output.resize(begin + it.required_size, 0);
                }
                part.encode(&mut output[begin..]).expect("room");
            }
            ConnectionState::TransmitTlsData(it) => {
                socket.write_all(&output).expect("a client that reads");
                output.clear();
                it.done();
            }
            ConnectionState::ReadTraffic(mut it) => {
                while let Some(record) = it.next_record() {
                    content.extend_from_slice(record.expect("a record").payload);
                }
            }
            ConnectionState::BlockedHandshake => wants_more = true,
            ConnectionState::WriteTraffic(_) => is_complete = true,
            other => panic!("unexpected in a handshake: {other:?}"),
        }
        input.drain(..discard);
        if wants_more {
            let mut room = [0; 4096];
            let read = socket.read(&mut room).expect("a client that writes");
            assert!(read > 0, "the client went away");
            input.extend_from_slice(&room[..read]);
        }
    }
    let (secrets, kernel) = connection.dangerous_into_kernel_connection().expect("secrets");
    let number = u16::from(kernel.negotiated_cipher_suite().suite());
    let suite = Suite::from_number(number).expect("one of ours");
    let [client, server] = KEPT.take().map(|it| it.expect("it was logged"));
    assert_follows(suite, &client, &secrets.rx.1);
    assert_follows(suite, &server, &secrets.tx.1);
    let (reading, writing) = (
        Traffic { secret: client, sequence: secrets.rx.0 },
        Traffic { secret: server, sequence: secrets.tx.0 },
    );
    let records = Records::new(suite, Role::Server, reading, writing, &input).expect("keys");
    Accepted { records, content, tickets: secrets.tx.0 }
}

/// The keys that rustls used are those that follow from the secret that it logged.
fn assert_follows(suite: Suite, secret: &[u8], used: &ConnectionTrafficSecrets) {
    let (key, iv) = key_and_iv(suite, secret).expect("a secret of the suite");
    let used: (&[u8], &[u8]) = match used {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
        _ => panic!("another suite"),
    };
    assert!((&key[..], &iv[..]) == used);
}
