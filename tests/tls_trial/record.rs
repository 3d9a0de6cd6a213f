//! TLS 1.3 records after the handshake, as a value that can be frozen: RFC 8446 §4.6.3, §5, §6, §7.
//!
//! A trial for the gateway's TLS. It will stand in `gateway/src/connection/`, between socket and
//! codec: what a read returns goes through [`Records::receive`] and [`Records::next`] to the
//! codec, what the codec has to send through [`Records::send`] to the socket. A `tls` field beside
//! `codec` in `FrozenConnection` (`gateway/src/exchange/frozen.rs`) will hold what
//! [`Records::freeze`] gives. rustls does the handshake, and is gone when this begins. Nothing
//! here does IO.
//!
//! ```text
//! record  bytes  meaning
//! 0       1      23: all records are application data to those who cannot read them
//! 1       2      3, 3
//! 3       2      length of the rest, at most 2^14 + 256
//! 5       ..     encrypted: content, its type (1 byte), zeros; then the tag (16 bytes)
//! ```

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use bytes::{Buf, Bytes, BytesMut};
use hangu_codecs::{Frozen, ThawError};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// Name of the state in a snapshot.
pub(crate) const PROTOCOL: &str = "tls13";

/// Version of the layout of the state.
pub(crate) const VERSION: u16 = 1;

/// Bytes of content in one record (§5.1).
pub(crate) const CONTENT_BYTES_MAX: usize = 1 << 14;

/// Encrypted bytes of one record (§5.2).
const ENCRYPTED_BYTES_MAX: usize = CONTENT_BYTES_MAX + 256;

/// Bytes before the encrypted ones.
pub(crate) const HEADER_BYTES: usize = 5;

/// Of every AEAD here.
const TAG_BYTES: usize = 16;

/// Bytes of one handshake message after the handshake: the longest ticket with its longest
/// extensions (§4.6.1).
const MESSAGE_BYTES_MAX: usize = 4 + 4 + 256 + 2 * (2 + 0xffff);

/// Bytes of handshake messages that are kept: one that lacks its last byte, and a record.
const MESSAGES_BYTES_MAX: usize = 4 + MESSAGE_BYTES_MAX + CONTENT_BYTES_MAX;

/// KeyUpdates in a row without data in between, before the peer is taken for one who only wants
/// to keep us busy.
const UPDATES_MAX: u8 = 32;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// The record layer of one connection.
pub(crate) struct Records {
    suite: Suite,
    role: Role,
    reading: Keys,
    writing: Keys,
    /// Received, not decrypted.
    input: BytesMut,
    /// Encrypted, not sent.
    output: BytesMut,
    /// The beginning of a handshake message that came in several records, or messages after one
    /// that was told.
    messages: BytesMut,
    /// KeyUpdates since the last data.
    updates: u8,
    /// The peer asked for new keys of ours and has not got them.
    update_owed: bool,
    /// The peer sends no more.
    input_ended: bool,
    /// The peer was told that no more comes.
    output_ended: bool,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Content, not empty.
    Data(Bytes),
    /// The peer writes with new keys from here on.
    KeysUpdated,
    /// A session ticket, for a client to keep or to drop.
    Ticket(Bytes),
    /// The peer sends no more (close_notify).
    Closed,
}

/// Why the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer broke the protocol, and this alert stands in the output for it.
    Broken(Alert),
    /// The peer says so, with this description (§6.2).
    Told(u8),
}

/// Descriptions of alerts (§6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Alert {
    CloseNotify = 0,
    UnexpectedMessage = 10,
    BadRecordMac = 20,
    RecordOverflow = 22,
    IllegalParameter = 47,
    DecodeError = 50,
    UserCanceled = 90,
}

/// The end of the connection that this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    Client,
    Server,
}

/// A cipher suite, by its number (§B.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    Aes128Gcm = 0x1301,
    Aes256Gcm = 0x1302,
    ChaCha20Poly1305 = 0x1303,
}

/// A traffic secret with the number of records that went with its keys.
pub(crate) struct Traffic {
    pub(crate) secret: Zeroizing<Vec<u8>>,
    pub(crate) sequence: u64,
}

impl Records {
    /// Goes on where a handshake ended; none when a secret does not fit the suite. `input` is
    /// what came behind the handshake.
    pub(crate) fn new(
        suite: Suite,
        role: Role,
        reading: Traffic,
        writing: Traffic,
        input: &[u8],
    ) -> Option<Self> {
        Some(Self {
            suite,
            role,
            reading: Keys::new(suite, reading)?,
            writing: Keys::new(suite, writing)?,
            input: input.into(),
            output: BytesMut::new(),
            messages: BytesMut::new(),
            updates: 0,
            update_owed: false,
            input_ended: false,
            output_ended: false,
        })
    }

    /// Takes what was read, cut anywhere.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// What came next; none when more must be read first. After a failure or
    /// [`Event::Closed`] nothing comes any more.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, Failure> {
        if self.input_ended {
            return Ok(None);
        }
        let next = self.next_event();
        match next {
            Ok(Some(Event::Closed)) | Err(Failure::Told(_)) => self.input_ended = true,
            Err(Failure::Broken(alert)) => {
                self.input_ended = true;
                self.end(alert);
            }
            Ok(_) => {}
        }
        next
    }

    fn next_event(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.message()? {
                return Ok(Some(event));
            }
            let Some(length) = self.record_bytes()? else { return Ok(None) };
            let record = self.input.split_to(length);
            let (kind, content) = self.reading.open(record)?;
            // §5.1: no other record between the parts of a handshake message.
            if kind != HANDSHAKE && !self.messages.is_empty() {
                return Err(Failure::Broken(Alert::UnexpectedMessage));
            }
            match kind {
                DATA if content.is_empty() => {}
                DATA => {
                    self.updates = 0;
                    return Ok(Some(Event::Data(content)));
                }
                // §5.1: handshake messages and alerts are never empty.
                HANDSHAKE if !content.is_empty() => self.messages.extend_from_slice(&content),
                ALERT => match content[..] {
                    [_, it] if it == Alert::CloseNotify as u8 => return Ok(Some(Event::Closed)),
                    // §6.1: a close_notify follows.
                    [_, it] if it == Alert::UserCanceled as u8 => {}
                    [_, it] => return Err(Failure::Told(it)),
                    _ => return Err(Failure::Broken(Alert::DecodeError)),
                },
                _ => return Err(Failure::Broken(Alert::UnexpectedMessage)),
            }
        }
    }

    /// Bytes of the record at the front of the input, when it is there as a whole.
    fn record_bytes(&self) -> Result<Option<usize>, Failure> {
        let [kind, _, _, high, low, ..] = self.input[..] else { return Ok(None) };
        // §5: after the handshake nothing comes in the clear.
        if kind != DATA {
            return Err(Failure::Broken(Alert::UnexpectedMessage));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > ENCRYPTED_BYTES_MAX {
            return Err(Failure::Broken(Alert::RecordOverflow));
        }
        Ok(Some(HEADER_BYTES + length).filter(|it| *it <= self.input.len()))
    }

    /// The next handshake message, when it is there as a whole.
    fn message(&mut self) -> Result<Option<Event>, Failure> {
        let [kind, a, b, c, ..] = self.messages[..] else { return Ok(None) };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        match (kind, self.role) {
            (KEY_UPDATE, _) if length == 1 => {}
            (KEY_UPDATE, _) => return Err(Failure::Broken(Alert::DecodeError)),
            (NEW_SESSION_TICKET, Role::Client) if length <= MESSAGE_BYTES_MAX => {}
            _ => return Err(Failure::Broken(Alert::UnexpectedMessage)),
        }
        if self.messages.len() < 4 + length {
            return Ok(None);
        }
        let message = self.messages.split_to(4 + length).freeze().split_off(4);
        if kind == NEW_SESSION_TICKET {
            return Ok(Some(Event::Ticket(message)));
        }
        // §5.1: messages do not span a change of keys.
        if !self.messages.is_empty() || self.updates == UPDATES_MAX {
            return Err(Failure::Broken(Alert::UnexpectedMessage));
        }
        let is_requested = match message[..] {
            [0] => false,
            [1] => true,
            _ => return Err(Failure::Broken(Alert::IllegalParameter)),
        };
        self.updates += 1;
        self.reading = self.reading.next(self.suite);
        self.update_owed |= is_requested;
        self.update_if_owed();
        Ok(Some(Event::KeysUpdated))
    }

    /// Encrypts content into the output.
    pub(crate) fn send(&mut self, content: &[u8]) {
        if self.output_ended {
            return;
        }
        if self.update_owed {
            self.update_keys(false);
        }
        for part in content.chunks(CONTENT_BYTES_MAX) {
            if self.writing.traffic.sequence >= self.suite.records_max() {
                self.update_keys(false);
            }
            self.writing.seal(DATA, part, 0, &mut self.output);
        }
    }

    /// Goes over to new keys for what we write, and asks the peer for the same if wanted
    /// (§4.6.3).
    pub(crate) fn update_keys(&mut self, asks_peer: bool) {
        if self.output_ended {
            return;
        }
        let message = [KEY_UPDATE, 0, 0, 1, u8::from(asks_peer)];
        self.writing.seal(HANDSHAKE, &message, 0, &mut self.output);
        self.writing = self.writing.next(self.suite);
        self.update_owed = false;
    }

    /// Many requests while we have unsent output get one answer (§4.6.3): the peer does not
    /// decide how much we owe it.
    fn update_if_owed(&mut self) {
        if self.update_owed && self.output.is_empty() {
            self.update_keys(false);
        }
    }

    /// Tells the peer that no more comes, and why.
    pub(crate) fn end(&mut self, alert: Alert) {
        if self.output_ended {
            return;
        }
        let level = if alert == Alert::CloseNotify { 1 } else { 2 };
        self.writing.seal(ALERT, &[level, alert as u8], 0, &mut self.output);
        self.output_ended = true;
    }

    /// What is to be written to the socket.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// So much of the output was written.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.output.advance(bytes);
        self.update_if_owed();
    }

    /// What came and is not decrypted.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// All of it as a value. The secrets in it are wiped by [`wipe`].
    pub(crate) fn freeze(&self) -> Frozen {
        let state = StateV1 {
            suite: self.suite as u16,
            role: self.role,
            reading: self.reading.freeze(),
            writing: self.writing.freeze(),
            input: self.input.to_vec(),
            output: self.output.to_vec(),
            messages: self.messages.to_vec(),
            updates: self.updates,
            update_owed: self.update_owed,
            input_ended: self.input_ended,
            output_ended: self.output_ended,
        };
        // Room for all at once: a buffer that grows leaves copies of secrets behind.
        let bytes = state.input.len() + state.output.len() + state.messages.len();
        let room = Vec::with_capacity(bytes + STATE_BYTES_MAX);
        let state = postcard::to_extend(&state, room).unwrap_or_default().into();
        Frozen { protocol: PROTOCOL.into(), version: VERSION, state, output: Vec::new() }
    }

    /// Goes on from a value.
    pub(crate) fn thaw(frozen: &Frozen) -> Result<Self, ThawError> {
        if frozen.protocol != PROTOCOL {
            return Err(ThawError::UnknownProtocol);
        }
        if frozen.version != VERSION {
            return Err(ThawError::UnknownVersion);
        }
        let mut state: StateV1 = frozen.read()?;
        let suite = Suite::from_number(state.suite).ok_or(ThawError::Damaged)?;
        let (reading, writing) = (state.reading.thaw(), state.writing.thaw());
        let records = Self::new(suite, state.role, reading, writing, &state.input);
        let mut records = records.ok_or(ThawError::Damaged)?;
        if state.updates > UPDATES_MAX || state.messages.len() > MESSAGES_BYTES_MAX {
            return Err(ThawError::Damaged);
        }
        records.output.extend_from_slice(&state.output);
        records.messages.extend_from_slice(&state.messages);
        records.updates = state.updates;
        records.update_owed = state.update_owed;
        records.input_ended = state.input_ended;
        records.output_ended = state.output_ended;
        Ok(records)
    }
}

/// Overwrites the secrets of a snapshot that nobody needs any more.
pub(crate) fn wipe(frozen: Frozen) {
    if let Ok(mut state) = frozen.state.try_into_mut() {
        state.zeroize();
    }
}

/// What is frozen. Version 1.
#[derive(Serialize, Deserialize)]
struct StateV1 {
    suite: u16,
    role: Role,
    reading: TrafficV1,
    writing: TrafficV1,
    input: Vec<u8>,
    output: Vec<u8>,
    messages: Vec<u8>,
    updates: u8,
    update_owed: bool,
    input_ended: bool,
    output_ended: bool,
}

/// Keys follow from the secret (§7.3), and do not travel.
#[derive(Serialize, Deserialize)]
struct TrafficV1 {
    secret: Vec<u8>,
    sequence: u64,
}

impl Drop for TrafficV1 {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Bytes of [`StateV1`] without its buffers, at most.
const STATE_BYTES_MAX: usize = 256;

impl TrafficV1 {
    fn thaw(&mut self) -> Traffic {
        Traffic { secret: std::mem::take(&mut self.secret).into(), sequence: self.sequence }
    }
}

/// What one direction is encrypted with (§7.3).
struct Keys {
    traffic: Traffic,
    key: LessSafeKey,
    iv: Iv,
}

type Iv = Zeroizing<[u8; aead::NONCE_LEN]>;

impl Keys {
    fn new(suite: Suite, traffic: Traffic) -> Option<Self> {
        let (key, iv) = key_and_iv(suite, &traffic.secret)?;
        let (aead, _) = suite.algorithms();
        let key = LessSafeKey::new(UnboundKey::new(aead, &key).ok()?);
        Some(Self { traffic, key, iv })
    }

    /// The keys after these (§7.2).
    fn next(&self, suite: Suite) -> Self {
        let mut secret = Zeroizing::new(vec![0; suite.secret_bytes()]);
        let (_, hash) = suite.algorithms();
        expand(hash, &self.traffic.secret, "traffic upd", &mut secret)
            .and_then(|()| Self::new(suite, Traffic { secret, sequence: 0 }))
            .expect("a secret of the suite's own length")
    }

    /// §5.3. The sequence never comes near its end: keys are changed before, and a peer would
    /// need centuries.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = *self.iv;
        for (byte, it) in nonce[4..].iter_mut().zip(self.traffic.sequence.to_be_bytes()) {
            *byte ^= it;
        }
        self.traffic.sequence = self.traffic.sequence.wrapping_add(1);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Appends a record of a type with content and padding (§5.2, §5.4).
    fn seal(&mut self, kind: u8, content: &[u8], padding: usize, to: &mut BytesMut) {
        let bytes = content.len() + 1 + padding;
        let [high, low] = ((bytes + TAG_BYTES) as u16).to_be_bytes();
        let header = [DATA, 3, 3, high, low];
        to.reserve(HEADER_BYTES + bytes + TAG_BYTES);
        to.extend_from_slice(&header);
        let begin = to.len();
        to.extend_from_slice(content);
        to.extend_from_slice(&[kind]);
        to.resize(begin + bytes, 0);
        let nonce = self.nonce();
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), &mut to[begin..])
            .expect("a record is no longer than an AEAD takes");
        to.extend_from_slice(tag.as_ref());
    }

    /// Type and content of a record.
    fn open(&mut self, mut record: BytesMut) -> Result<(u8, Bytes), Failure> {
        let mut header = [0; HEADER_BYTES];
        record.copy_to_slice(&mut header);
        let nonce = self.nonce();
        let inner = self
            .key
            .open_in_place(nonce, Aad::from(header), &mut record)
            .map_err(|_| Failure::Broken(Alert::BadRecordMac))?;
        if inner.len() > CONTENT_BYTES_MAX + 1 {
            return Err(Failure::Broken(Alert::RecordOverflow));
        }
        // §5.4: the last byte that is not zero is the type; there must be one.
        let Some(last) = inner.iter().rposition(|it| *it != 0) else {
            return Err(Failure::Broken(Alert::UnexpectedMessage));
        };
        let kind = inner[last];
        record.truncate(last);
        Ok((kind, record.freeze()))
    }

    fn freeze(&self) -> TrafficV1 {
        TrafficV1 { secret: self.traffic.secret.to_vec(), sequence: self.traffic.sequence }
    }
}

impl Suite {
    /// All that TLS 1.3 clients offer in practice.
    pub(crate) const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// By its number.
    pub(crate) fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|it| *it as u16 == number)
    }

    fn algorithms(self) -> (&'static aead::Algorithm, hkdf::Algorithm) {
        match self {
            Self::Aes128Gcm => (&aead::AES_128_GCM, hkdf::HKDF_SHA256),
            Self::Aes256Gcm => (&aead::AES_256_GCM, hkdf::HKDF_SHA384),
            Self::ChaCha20Poly1305 => (&aead::CHACHA20_POLY1305, hkdf::HKDF_SHA256),
        }
    }

    /// Bytes of a traffic secret: those of the suite's hash.
    pub(crate) fn secret_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => 32,
            Self::Aes256Gcm => 48,
        }
    }

    /// Records that one key may encrypt (§5.5: 2^24.5 with AES-GCM, no limit below the sequence
    /// number's with ChaCha20). What we read needs no limit: the first record that does not open
    /// ends the connection.
    pub(crate) fn records_max(self) -> u64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 1 << 23,
            Self::ChaCha20Poly1305 => 1 << 62,
        }
    }
}

/// What follows from a traffic secret of the suite (§7.3).
pub(crate) fn key_and_iv(suite: Suite, secret: &[u8]) -> Option<(Zeroizing<Vec<u8>>, Iv)> {
    let (aead, hash) = suite.algorithms();
    if secret.len() != suite.secret_bytes() {
        return None;
    }
    let mut key = Zeroizing::new(vec![0; aead.key_len()]);
    let mut iv = Iv::default();
    expand(hash, secret, "key", &mut key)?;
    expand(hash, secret, "iv", &mut *iv)?;
    Some((key, iv))
}

/// HKDF-Expand-Label with an empty context (§7.1).
fn expand(hash: hkdf::Algorithm, secret: &[u8], label: &str, to: &mut [u8]) -> Option<()> {
    let length = u16::try_from(to.len()).ok()?.to_be_bytes();
    let prefix = b"tls13 ";
    let label_bytes = u8::try_from(prefix.len() + label.len()).ok()?;
    let info = [&length[..], &[label_bytes], prefix, label.as_bytes(), &[0]];
    let key = hkdf::Prk::new_less_safe(hash, secret);
    key.expand(&info, Length(to.len())).ok()?.fill(to).ok()
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8448 §3: the application traffic secrets of the client and of the server.
    const CLIENT: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
    const SERVER: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";

    /// RFC 8448 §3: the client's first record of application data, 0 to 49.
    const RECORD: &str = "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b\
         9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.chars().filter_map(|it| it.to_digit(16)).collect();
        digits.chunks(2).map(|it| (it[0] * 16 + it[1]) as u8).collect()
    }

    fn traffic(secret: &[u8], sequence: u64) -> Traffic {
        Traffic { secret: secret.to_vec().into(), sequence }
    }

    /// Both ends of a connection.
    fn pair(suite: Suite, sequence: u64) -> (Records, Records) {
        let (client, server) = ([1; 48], [2; 48]);
        let client = || traffic(&client[..suite.secret_bytes()], sequence);
        let server = || traffic(&server[..suite.secret_bytes()], sequence);
        (
            Records::new(suite, Role::Client, server(), client(), &[]).expect("keys"),
            Records::new(suite, Role::Server, client(), server(), &[]).expect("keys"),
        )
    }

    fn pass(from: &mut Records, to: &mut Records) {
        to.receive(from.output());
        from.sent(from.output().len());
    }

    fn events(records: &mut Records) -> Vec<Event> {
        std::iter::from_fn(|| records.next().expect("no failure")).collect()
    }

    fn data(text: &[u8]) -> Event {
        Event::Data(Bytes::copy_from_slice(text))
    }

    fn moved(records: Records) -> Records {
        let bytes = records.freeze().to_bytes();
        Records::thaw(&Frozen::from_bytes(&bytes).expect("a snapshot")).expect("it thaws")
    }

    /// What the server makes of a record that the client seals.
    fn verdict(records: &[(u8, &[u8])]) -> Result<(), Failure> {
        let (mut client, mut server) = pair(Suite::Aes128Gcm, 0);
        for (kind, content) in records {
            client.writing.seal(*kind, content, 0, &mut client.output);
        }
        verdict_of_output(&mut client, &mut server)
    }

    /// The client is told what the server finds.
    fn verdict_of_output(client: &mut Records, server: &mut Records) -> Result<(), Failure> {
        pass(client, server);
        loop {
            match server.next() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(failure) => {
                    if let Failure::Broken(alert) = failure {
                        pass(server, client);
                        assert_eq!(client.next(), Err(Failure::Told(alert as u8)));
                    }
                    assert_eq!(server.next(), Ok(None), "nothing follows a failure");
                    return Err(failure);
                }
            }
        }
    }

    #[test]
    fn the_example_of_rfc_8448_is_read_and_written() {
        let (client, server) = (bytes(CLIENT), bytes(SERVER));
        let (key, iv) = key_and_iv(Suite::Aes128Gcm, &server).expect("keys");
        assert_eq!(key[..], bytes("9f02283b6c9c07efc26bb9f2ac92e356")[..]);
        assert_eq!(iv[..], bytes("cf782b88dd83549aadf1e984")[..]);
        let (reading, writing) = (traffic(&client, 0), traffic(&server, 0));
        let content: Vec<u8> = (0..50).collect();
        let mut records =
            Records::new(Suite::Aes128Gcm, Role::Server, reading, writing, &bytes(RECORD))
                .expect("keys");
        assert_eq!(events(&mut records), [data(&content)]);
        let (reading, writing) = (traffic(&server, 0), traffic(&client, 0));
        let mut records =
            Records::new(Suite::Aes128Gcm, Role::Client, reading, writing, &[]).expect("keys");
        records.send(&content);
        assert_eq!(records.output(), bytes(RECORD));
    }

    #[test]
    fn it_moves_at_every_byte_of_either_direction() {
        for suite in Suite::ALL {
            let (mut client, mut server) = pair(suite, 0);
            let ticket = [NEW_SESSION_TICKET, 0, 0, 3, 7, 7, 7, NEW_SESSION_TICKET, 0];
            server.send(b"one");
            server.writing.seal(HANDSHAKE, &ticket, 0, &mut server.output);
            server.writing.seal(HANDSHAKE, &[0, 2, 8, 8], 9, &mut server.output);
            server.update_keys(true);
            server.writing.seal(DATA, b"", 40, &mut server.output);
            server.send(&[5; 100]);
            server.writing.seal(HANDSHAKE, &[KEY_UPDATE, 0], 0, &mut server.output);
            server.writing.seal(HANDSHAKE, &[0, 1, 0], 3, &mut server.output);
            server.writing = server.writing.next(suite);
            server.send(b"two");
            server.end(Alert::CloseNotify);
            let mut came = Vec::new();
            while !server.output().is_empty() {
                client.receive(&server.output()[..1]);
                server.sent(1);
                (client, server) = (moved(client), moved(server));
                came.extend(client.next().expect("no failure"));
                client = moved(client);
                came.extend(events(&mut client));
            }
            let ticket = |it: &[u8]| Event::Ticket(Bytes::copy_from_slice(it));
            assert_eq!(
                came,
                [
                    data(b"one"),
                    ticket(&[7; 3]),
                    ticket(&[8; 2]),
                    Event::KeysUpdated,
                    data(&[5; 100]),
                    Event::KeysUpdated,
                    data(b"two"),
                    Event::Closed
                ]
            );
            client.send(b"an answer");
            pass(&mut client, &mut server);
            assert_eq!(events(&mut server), [Event::KeysUpdated, data(b"an answer")]);
        }
    }

    #[test]
    fn content_is_cut_at_the_limit_of_a_record() {
        let (mut client, mut server) = pair(Suite::ChaCha20Poly1305, 0);
        client.send(&[3; CONTENT_BYTES_MAX + 1]);
        pass(&mut client, &mut server);
        assert_eq!(events(&mut server), [data(&[3; CONTENT_BYTES_MAX]), data(&[3])]);
    }

    #[test]
    fn a_record_over_a_limit_or_in_the_clear_is_refused() {
        let broken = |it| Err(Failure::Broken(it));
        let much = [3; CONTENT_BYTES_MAX + 1];
        assert_eq!(verdict(&[(DATA, &much)]), broken(Alert::RecordOverflow));
        for (header, alert) in [
            ([DATA, 3, 3, 0x41, 1], Alert::RecordOverflow),
            ([HANDSHAKE, 3, 3, 0, 1], Alert::UnexpectedMessage),
            ([20, 3, 3, 0, 1], Alert::UnexpectedMessage),
            ([DATA, 3, 3, 0, 0], Alert::BadRecordMac),
        ] {
            let (mut client, mut server) = pair(Suite::Aes128Gcm, 0);
            client.output.extend_from_slice(&header);
            assert_eq!(verdict_of_output(&mut client, &mut server), broken(alert), "{header:?}");
        }
    }

    #[test]
    fn a_record_that_was_tampered_with_is_refused() {
        for at in 1..40 {
            let (mut client, mut server) = pair(Suite::Aes256Gcm, 0);
            client.send(&[3; 40]);
            client.output[at] ^= 1;
            // A longer one is waited for.
            client.output.extend_from_slice(&[0; 300]);
            let refused = verdict_of_output(&mut client, &mut server);
            assert!(refused.is_err(), "byte {at}: {refused:?}");
        }
    }

    #[test]
    fn a_message_that_does_not_belong_there_is_refused() {
        let broken = |it| Err(Failure::Broken(it));
        let unexpected = broken(Alert::UnexpectedMessage);
        let update = [KEY_UPDATE, 0, 0, 1, 0];
        assert_eq!(verdict(&[(HANDSHAKE, &update[..3]), (DATA, b"x")]), unexpected);
        assert_eq!(verdict(&[(HANDSHAKE, &[&update[..], &update[..1]].concat())]), unexpected);
        assert_eq!(verdict(&[(HANDSHAKE, b"")]), unexpected);
        assert_eq!(verdict(&[(HANDSHAKE, &[NEW_SESSION_TICKET, 0, 0, 1, 1])]), unexpected);
        assert_eq!(verdict(&[(HANDSHAKE, &[1, 0, 0, 0])]), unexpected);
        assert_eq!(verdict(&[(20, &[1])]), unexpected);
        assert_eq!(verdict(&[(0, &[0; 20])]), unexpected, "a record without a type");
        let update = [KEY_UPDATE, 0, 0, 1, 2];
        assert_eq!(verdict(&[(HANDSHAKE, &update)]), broken(Alert::IllegalParameter));
        assert_eq!(verdict(&[(HANDSHAKE, &[KEY_UPDATE, 0, 0, 2])]), broken(Alert::DecodeError));
        assert_eq!(verdict(&[(ALERT, &[1])]), broken(Alert::DecodeError));
        assert_eq!(verdict(&[(ALERT, &[2, 80])]), Err(Failure::Told(80)));
        assert_eq!(verdict(&[(ALERT, &[1, 90]), (ALERT, &[1, 0])]), Ok(()));
    }

    #[test]
    fn keys_may_not_change_for_ever_without_data() {
        let (mut client, mut server) = pair(Suite::Aes128Gcm, 0);
        for round in 0..2 {
            (0..UPDATES_MAX).for_each(|_| client.update_keys(false));
            client.send(&[round]);
        }
        pass(&mut client, &mut server);
        assert_eq!(events(&mut server).len(), 2 * (usize::from(UPDATES_MAX) + 1));
        (0..=UPDATES_MAX).for_each(|_| client.update_keys(false));
        let refused = verdict_of_output(&mut client, &mut server);
        assert_eq!(refused, Err(Failure::Broken(Alert::UnexpectedMessage)));
    }

    #[test]
    fn many_requests_for_new_keys_get_one_answer_while_output_is_unsent() {
        let (mut client, mut server) = pair(Suite::Aes128Gcm, 0);
        server.send(b"unsent");
        (0..20).for_each(|_| client.update_keys(true));
        pass(&mut client, &mut server);
        assert_eq!(events(&mut server).len(), 20);
        let mut server = moved(server);
        pass(&mut server, &mut client);
        pass(&mut server, &mut client);
        assert_eq!(events(&mut client), [data(b"unsent"), Event::KeysUpdated]);
    }

    #[test]
    fn a_key_is_changed_before_it_has_encrypted_too_much() {
        for suite in [Suite::Aes128Gcm, Suite::Aes256Gcm] {
            let (mut client, mut server) = pair(suite, suite.records_max() - 1);
            client.send(b"last");
            client = moved(client);
            client.send(b"first");
            assert_eq!(client.writing.traffic.sequence, 1);
            pass(&mut client, &mut server);
            assert_eq!(events(&mut server), [data(b"last"), Event::KeysUpdated, data(b"first")]);
        }
    }

    #[test]
    fn an_idle_connection_is_some_hundred_bytes() {
        for suite in Suite::ALL {
            let (_, server) = pair(suite, 1 << 20);
            let bytes = server.freeze().state.len();
            assert!((64..128).contains(&bytes), "{bytes} bytes with {suite:?}");
        }
    }

    #[test]
    fn a_damaged_or_unknown_snapshot_is_refused() {
        let (mut client, mut server) = pair(Suite::Aes256Gcm, 5);
        server.send(b"unsent");
        client.send(b"in the middle");
        server.receive(&client.output()[..20]);
        let frozen = server.freeze();
        let thaw = |it: &Frozen| Records::thaw(it).err();
        assert_eq!(thaw(&frozen), None);
        let other = Frozen { version: VERSION + 1, ..frozen.clone() };
        assert_eq!(thaw(&other), Some(ThawError::UnknownVersion));
        let other = Frozen { protocol: "tls14".into(), ..frozen.clone() };
        assert_eq!(thaw(&other), Some(ThawError::UnknownProtocol));
        for cut in 0..frozen.state.len() {
            let other = Frozen { state: frozen.state.slice(..cut), ..frozen.clone() };
            assert_eq!(thaw(&other), Some(ThawError::Damaged), "cut at {cut}");
        }
        let bytes = frozen.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(other) = Frozen::from_bytes(&bytes) else { continue };
            let Ok(mut records) = Records::thaw(&other) else { continue };
            // Nothing tells another secret from the right one but the peer.
            records.receive(&client.output()[20..]);
            while let Ok(Some(_)) = records.next() {}
            records.send(b"more");
        }
        wipe(frozen);
    }
}
