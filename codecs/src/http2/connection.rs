//! One side of a connection: its state, and the trait around it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};

use super::abuse::Budgets;
use super::flow::{Inbound, Outbound};
use super::frame::settings::Setting;
use super::frame::{self, GoAway, Ping, RstStream, WindowUpdate, settings};
use super::hpack::{Decoder, Encoder};
use super::limits::{INITIAL_WINDOW, Limits};
use super::peer::Peer;
use super::receive::Step;
use super::stream::{Receiving, Sending, Stream};
use super::streams::Streams;
use super::{ErrorCode, NAME, PREFACE, SNAPSHOT_VERSION};
use crate::message::End;
use crate::{
    Codec, Data, EncodeError, Error, Event, Frozen, Head, OpenError, Output, Part, Reason, Role,
    Scratch, Status, StreamId, ThawError, Time,
};

/// A connection in either role; see the module's text.
pub(super) struct Connection {
    pub(super) role: Role,
    pub(super) limits: Limits,
    pub(super) now: Time,
    /// When it was made.
    born: Time,
    /// When the second GOAWAY is due although the peer has not shown that it saw the first.
    goaway_due: Option<Time>,
    pub(super) state: State,
    pub(super) output: Output,
}

/// All that a snapshot holds beside the role, times and the pending output.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) input: Input,
    /// Bytes at the front of the input that the last event borrowed.
    pub(super) skip: u32,
    /// A field block whose end has not come.
    pub(super) block: Option<Box<Block>>,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) peer: Peer,
    pub(super) announced: Announced,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    /// Bytes handed out and not given back, of all streams.
    pub(super) unreleased: u32,
    /// Those of them for which the peer got no credit for the connection.
    pub(super) owed: u32,
    pub(super) streams: Streams,
    /// Streams whose queue waits for the window of the connection, in turn.
    pub(super) waiting: VecDeque<StreamId>,
    /// What is to be told beside what the input says.
    pub(super) due: VecDeque<Due>,
    /// Server role: the highest id that the peer has used. Client role: the highest of our own.
    pub(super) highest: u32,
    /// Ids of streams that we gave up lately: what still comes for them was sent before the peer
    /// knew.
    pub(super) given_up: VecDeque<u32>,
    pub(super) closing: Closing,
    pub(super) budgets: Budgets,
}

/// What the peer was told of us. It holds as long as the connection, whatever the limits have become
/// where it is thawed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Announced {
    /// The window of a new stream.
    pub(super) stream_window: u32,
    /// Bytes of the table of field compression.
    pub(super) table_bytes_max: u32,
}

/// How far the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Input {
    /// Nothing was taken (server role: the preface has not come).
    Preface,
    /// The first frame, which must be SETTINGS (RFC 9113 §3.4), has not come.
    First,
    /// Frames come.
    Frames,
    /// The peer will send no more.
    Ended,
    /// The peer broke the protocol; the last word tells this code, if it is not said yet.
    Failed(ErrorCode),
    /// All is said.
    Finished,
}

/// Which words of goodbye were said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closing {
    /// The first GOAWAY, that names no stream, is sent.
    pub(super) is_announced: bool,
    /// The second is sent: streams of the peer above this id are not taken.
    pub(super) last_taken: Option<u32>,
    /// The peer has sent GOAWAY: no streams are opened any more.
    pub(super) peer_leaves: bool,
}

/// A field block that is gathered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) depends_on_itself: bool,
    pub(super) continuations: u16,
    pub(super) bytes: BytesMut,
}

/// What is still asked of a stream that was forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) id: u32,
    /// Whether the end of what was to be sent was written.
    pub(super) is_sent: bool,
}

/// Something that is to be told with the next call of decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Due {
    Writable(StreamId),
    Reset(StreamId, Reason),
    GoAway,
}

impl Connection {
    pub(super) fn new(role: Role, limits: &Limits, now: Time) -> Self {
        let decoder = Decoder::new(limits.table_bytes_max);
        let state = State {
            input: match role {
                Role::Server => Input::Preface,
                Role::Client => Input::First,
            },
            skip: 0,
            block: None,
            decoder,
            encoder: Encoder::new(),
            peer: Peer::default(),
            announced: Announced {
                stream_window: limits.stream_window(),
                table_bytes_max: limits.table_bytes_max,
            },
            inbound: Inbound::new(INITIAL_WINDOW, limits.connection_window()),
            outbound: Outbound::new(INITIAL_WINDOW),
            unreleased: 0,
            owed: 0,
            streams: Streams::default(),
            waiting: VecDeque::new(),
            due: VecDeque::new(),
            highest: 0,
            given_up: VecDeque::new(),
            closing: Closing::default(),
            budgets: Budgets::new(limits, now),
        };
        let mut connection = Self::with(role, limits, now, state);
        if role == Role::Client {
            connection.greet();
        }
        connection
    }

    fn with(role: Role, limits: &Limits, now: Time, state: State) -> Self {
        let output = Output::default();
        Self { role, limits: limits.clone(), now, born: now, goaway_due: None, state, output }
    }

    pub(super) fn thaw(frozen: &Frozen, limits: &Limits, now: Time) -> Result<Self, ThawError> {
        let (role, age, budget_ages, goaway_left, mut state) =
            frozen.read::<(Role, u64, [u64; 2], Option<Duration>, State)>()?;
        if !state.streams.is_sound() {
            return Err(ThawError::Damaged);
        }
        state.budgets.set_ages(budget_ages, now);
        let mut connection = Self::with(role, limits, now, state);
        connection.born = Time::from_micros(now.as_micros().saturating_sub(age));
        connection.goaway_due = goaway_left.map(|it| now.after(it));
        connection.output = Output::of(&frozen.output);
        Ok(connection)
    }

    /// The first words of either side (RFC 9113 §3.4): what is taken here.
    pub(super) fn greet(&mut self) {
        let limits = &self.limits;
        let out = self.output.tail();
        let common = [
            Setting::HeaderTableSize(limits.table_bytes_max),
            Setting::InitialWindowSize(limits.stream_window()),
            Setting::MaxHeaderListSize(limits.fields_bytes_max),
        ];
        let [table, window, fields] = common;
        match self.role {
            Role::Client => {
                out.extend_from_slice(PREFACE);
                settings::write(&[Setting::EnablePush(false), table, window, fields], out);
            }
            Role::Server => {
                let streams = Setting::MaxConcurrentStreams(limits.streams());
                let extended_connect = Setting::EnableConnectProtocol(true);
                settings::write(&[streams, table, window, fields, extended_connect], out);
            }
        }
        self.announce();
    }

    /// Tells the peer of the credit for the connection, if it is worth a frame.
    pub(super) fn announce(&mut self) {
        if let Some(increment) = self.state.inbound.announce() {
            WindowUpdate { stream: 0, increment }.write(self.output.tail());
        }
    }

    /// The event that is due beside what the input says.
    fn due(&mut self) -> Option<Event<'static>> {
        Some(match self.state.due.pop_front()? {
            Due::Writable(stream) => Event::Writable(stream),
            Due::Reset(stream, reason) => Event::Part(stream, Part::Reset(reason)),
            Due::GoAway => Event::GoAway,
        })
    }

    /// Gives up a stream with a word to the peer, and forgets it.
    pub(super) fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        let Some(removed) = self.remove(stream) else { return };
        if removed.id > 0 {
            self.reset_id(removed.id, code);
        }
    }

    /// Tells the peer that a stream is given up, and remembers it for what is under way.
    pub(super) fn reset_id(&mut self, id: u32, code: ErrorCode) {
        RstStream { stream: id, code }.write(self.output.tail());
        if self.state.given_up.len() >= GIVEN_UP_KEPT {
            self.state.given_up.pop_front();
        }
        self.state.given_up.push_back(id);
    }

    /// Forgets a stream: what its receiver did not take is given back for the connection.
    pub(super) fn remove(&mut self, stream: StreamId) -> Option<Gone> {
        let removed = self.state.streams.remove(stream)?;
        if removed.is_waiting {
            self.state.waiting.retain(|it| *it != stream);
        }
        self.give_back(removed.unreleased);
        let gone = Gone { id: removed.id, is_sent: removed.is_sent() };
        self.state.streams.keep(removed);
        Some(gone)
    }

    /// Bytes not taken above which the peer gets no more credit for the connection. An upstream
    /// carries streams of many clients, and those that are slow must not stop the others: what
    /// bounds it is the windows of its streams together.
    pub(super) fn unreleased_max(&self) -> u32 {
        match self.role {
            Role::Server => self.limits.unreleased_bytes_max,
            Role::Client => u32::MAX,
        }
    }

    /// Bytes are done with: the peer gets credit for the connection where it had none.
    pub(super) fn give_back(&mut self, bytes: u32) {
        self.state.unreleased = self.state.unreleased.saturating_sub(bytes);
        let above = self.state.unreleased.saturating_sub(self.unreleased_max());
        let due = self.state.owed.saturating_sub(above);
        if due > 0 {
            self.state.owed -= due;
            self.state.inbound.give_back(due);
            self.announce();
        }
    }

    /// Looks whether a stream has come to its end.
    pub(super) fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.state.streams.get(id) else { return };
        let (is_sent, is_read) = (stream.is_sent(), stream.receiving == Receiving::Ended);
        match self.role {
            _ if is_sent && is_read => {
                self.state.budgets.stream_ended(&self.limits);
                self.remove(id);
            }
            // RFC 9113 §8.1: a whole response may go before the request is read; what is left of
            // that is not wanted.
            Role::Server if is_sent && !stream.is_tunnel => self.reset(id, ErrorCode::NoError),
            // The rest of a request whose response is whole is of no use to anyone.
            Role::Client if is_read && !stream.is_tunnel => self.reset(id, ErrorCode::NoError),
            Role::Server | Role::Client => {}
        }
    }

    /// The first of two words of goodbye (RFC 9113 §6.8): no stream is refused by it, so none that
    /// is under way is lost. When the peer has seen it the second follows.
    fn announce_goodbye(&mut self) {
        self.state.closing.is_announced = true;
        self.write_goaway(frame::STREAM_MAX, ErrorCode::NoError);
        Ping { is_ack: false, payload: GOODBYE_PING }.write(self.output.tail());
        self.goaway_due =
            Some(self.now.after(Duration::from_millis(u64::from(self.limits.goaway_wait_ms))));
    }

    /// The second word of goodbye: streams above the last that came are not taken.
    pub(super) fn say_goodbye(&mut self) {
        if !self.state.closing.is_announced || self.state.closing.last_taken.is_some() {
            return;
        }
        self.goaway_due = None;
        self.state.closing.last_taken = Some(self.state.highest);
        self.write_goaway(self.state.highest, ErrorCode::NoError);
    }

    fn write_goaway(&mut self, last_stream: u32, code: ErrorCode) {
        let goaway = GoAway { last_stream, code, debug: b"" };
        // Without debug data it always fits.
        let _ = goaway.write(self.output.tail());
    }

    /// Whether no stream is to be opened any more (client role).
    fn is_leaving(&self) -> bool {
        let is_old = self.age_due().is_some_and(|due| due <= self.now);
        self.state.closing.is_announced
            || self.state.closing.peer_leaves
            || is_old
            || self.state.highest >= frame::STREAM_MAX - 1
            || matches!(self.state.input, Input::Ended | Input::Failed(_) | Input::Finished)
    }

    fn age_due(&self) -> Option<Time> {
        let age_max = Duration::from_millis(self.limits.age_max_ms);
        (!age_max.is_zero()).then(|| self.born.after(age_max))
    }

    pub(super) fn fail(&mut self, code: ErrorCode, error: Error) -> Error {
        self.state.input = Input::Failed(code);
        self.state.block = None;
        self.state.due.clear();
        self.goaway_due = None;
        match self.role {
            Role::Server => error,
            Role::Client => Error { status: Status::UpstreamFailed, ..error },
        }
    }
}

impl Codec for Connection {
    fn decode<'a>(
        &mut self,
        input: &'a mut BytesMut,
        scratch: &'a mut Scratch,
        now: Time,
    ) -> Result<Option<Event<'a>>, Error> {
        self.now = now;
        let skip = std::mem::take(&mut self.state.skip) as usize;
        input.advance(skip.min(input.len()));
        let step = loop {
            if let Some(event) = self.due() {
                return Ok(Some(event));
            }
            match self.step(input, scratch)? {
                Step::Again => {}
                step => break step,
            }
        };
        let part = |stream, part| Ok(Some(Event::Part(stream, part)));
        match step {
            Step::Again | Step::Nothing => Ok(None),
            Step::Note(note) => Ok(Some(Event::Note(note))),
            Step::Request(stream, end) => {
                part(stream, Part::Head(Head::HttpRequest(&mut scratch.request), end))
            }
            Step::Response(stream, end) => {
                part(stream, Part::Head(Head::HttpResponse(&mut scratch.response), end))
            }
            Step::Trailers(stream) => part(stream, Part::Trailers(&scratch.trailers)),
            Step::Data(stream, range, end) => {
                let data = input.get(range).unwrap_or_default();
                part(stream, Part::Data(Data::Borrowed(data), end))
            }
            Step::Gathered(stream, end) => {
                part(stream, Part::Data(Data::Borrowed(&scratch.gathered), end))
            }
        }
    }

    fn end_input(&mut self) {
        if matches!(self.state.input, Input::Preface | Input::First | Input::Frames) {
            self.state.input = Input::Ended;
        }
    }

    fn wants_input(&self) -> bool {
        match self.state.input {
            Input::Preface | Input::First | Input::Frames => true,
            Input::Ended | Input::Failed(_) | Input::Finished => false,
        }
    }

    fn release(&mut self, id: StreamId, bytes: usize) {
        let Some(stream) = self.state.streams.get_mut(id) else { return };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(stream.unreleased);
        stream.unreleased -= bytes;
        stream.inbound.give_back(bytes);
        if stream.receiving != Receiving::Ended
            && let Some(increment) = stream.inbound.announce()
        {
            let stream = stream.id;
            WindowUpdate { stream, increment }.write(self.output.tail());
        }
        self.give_back(bytes);
    }

    fn open(&mut self) -> Result<StreamId, OpenError> {
        if self.role == Role::Server || self.is_leaving() {
            return Err(OpenError::Closing);
        }
        let streams_max = self.state.peer.streams_max.min(self.limits.streams());
        if self.state.streams.len() >= streams_max {
            return Err(OpenError::Full);
        }
        let window = self.state.announced.stream_window;
        let inbound = Inbound::new(window, window);
        let stream = Stream::new(0, inbound, Outbound::new(self.state.peer.stream_window));
        Ok(self.state.streams.insert(stream))
    }

    fn capacity(&self, stream: StreamId) -> usize {
        let Some(stream) = self.state.streams.get(stream) else { return 0 };
        if stream.queue.is_some() || stream.sending == Sending::Ended {
            return 0;
        }
        // Nothing is known of the window of a stream before its head is written.
        stream.outbound.available().min(self.state.outbound.available())
    }

    fn encode(&mut self, stream: StreamId, part: &Part<'_>) -> Result<(), EncodeError> {
        match part {
            Part::Head(Head::HttpRequest(head), end) => self.write_request(stream, head, *end),
            Part::Head(Head::HttpResponse(head), end) => self.write_response(stream, head, *end),
            Part::Head(Head::RpcRequest(_) | Head::RpcResponse(_), _) => Err(EncodeError::Unfit),
            Part::Data(data, end) => self.write_data(stream, data, *end),
            Part::Trailers(fields) => self.write_trailers(stream, fields),
            Part::Reset(reason) => {
                self.state.streams.get(stream).ok_or(EncodeError::UnknownStream)?;
                self.reset(stream, code_of(*reason));
                Ok(())
            }
        }
    }

    fn reply(&mut self, stream: StreamId, status: Status) {
        self.write_reply(stream, status);
    }

    fn refuse(&mut self, error: &Error) {
        let code = match self.state.input {
            Input::Failed(code) => code,
            // Not an error that was found here: time, or a limit of the caller's.
            _ if error.status == Status::RequestTimedOut => ErrorCode::NoError,
            _ => ErrorCode::EnhanceYourCalm,
        };
        if self.state.input == Input::Finished {
            return;
        }
        // RFC 9113 §6.8: what was taken may have been acted upon.
        let last = match self.role {
            Role::Server => self.state.highest,
            Role::Client => 0,
        };
        self.write_goaway(last, code);
        self.state.input = Input::Finished;
        self.goaway_due = None;
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn next_timeout(&self) -> Option<Time> {
        let age_due = self.age_due().filter(|_| !self.state.closing.is_announced);
        match (age_due, self.goaway_due) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn timeout(&mut self, now: Time) -> Result<(), Error> {
        self.now = now;
        if self.goaway_due.is_some_and(|due| due <= now) {
            self.say_goodbye();
        }
        if self.age_due().is_some_and(|due| due <= now) {
            self.drain();
        }
        Ok(())
    }

    fn drain(&mut self) {
        let is_over = matches!(self.state.input, Input::Failed(_) | Input::Finished);
        if self.state.closing.is_announced || is_over {
            return;
        }
        match self.role {
            // Nothing was said yet, so nothing is under way that could be lost.
            Role::Server if self.state.input == Input::Preface => {
                self.state.input = Input::Finished;
            }
            Role::Server => self.announce_goodbye(),
            // The server learns it by our closing.
            Role::Client => self.state.closing.is_announced = true,
        }
    }

    fn is_parting(&self) -> bool {
        self.goaway_due.is_some() && self.wants_input()
    }

    fn in_flight(&self) -> usize {
        self.state.streams.len() as usize
    }

    fn is_finished(&self) -> bool {
        let has_gone = match self.role {
            Role::Server => self.state.closing.last_taken.is_some(),
            Role::Client => self.state.closing.is_announced || self.state.closing.peer_leaves,
        };
        match self.state.input {
            Input::Failed(_) | Input::Finished => true,
            Input::Preface | Input::First | Input::Frames | Input::Ended => {
                has_gone && self.state.streams.len() == 0 && self.state.due.is_empty()
            }
        }
    }

    fn freeze(&self, now: Time) -> Frozen {
        let age = self.born.micros_since(now);
        let goaway_left = self.goaway_due.map(|it| it.until(now));
        let budget_ages = self.state.budgets.ages(now);
        let state = (self.role, age, budget_ages, goaway_left, &self.state);
        Frozen::new(NAME, SNAPSHOT_VERSION, &state, &self.output)
    }
}

/// The code that tells a reason (RFC 9113 §7).
fn code_of(reason: Reason) -> ErrorCode {
    match reason {
        Reason::Cancelled | Reason::TimedOut | Reason::SlowReader => ErrorCode::Cancel,
        Reason::ConnectionLost | Reason::ProtocolError => ErrorCode::InternalError,
        Reason::TooLarge => ErrorCode::EnhanceYourCalm,
        Reason::Refused => ErrorCode::RefusedStream,
    }
}

/// The reason that a code of the peer tells.
pub(super) fn reason_of(code: ErrorCode) -> Reason {
    match code {
        ErrorCode::RefusedStream => Reason::Refused,
        ErrorCode::Cancel | ErrorCode::NoError => Reason::Cancelled,
        ErrorCode::EnhanceYourCalm => Reason::TooLarge,
        ErrorCode::InternalError | ErrorCode::ConnectError => Reason::ConnectionLost,
        ErrorCode::ProtocolError
        | ErrorCode::FlowControlError
        | ErrorCode::SettingsTimeout
        | ErrorCode::StreamClosed
        | ErrorCode::FrameSizeError
        | ErrorCode::CompressionError
        | ErrorCode::InadequateSecurity
        | ErrorCode::Http11Required
        | ErrorCode::Unknown(_) => Reason::ProtocolError,
    }
}

/// Whether a part is the last one of its direction.
pub(super) fn end_if(is_end: bool) -> End {
    if is_end { End::Yes } else { End::No }
}

/// Ids of streams given up that are remembered. As many as are open at once by default: what comes
/// for an older one is answered as if it had ended.
const GIVEN_UP_KEPT: usize = 256;

/// What the PING behind the first GOAWAY carries: its answer tells that both were seen.
pub(super) const GOODBYE_PING: [u8; 8] = *b"goodbye!";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BodySize, HttpRequest, Method};

    fn ask(client: &mut Connection) -> Result<(), EncodeError> {
        let stream = client.open().map_err(|_| EncodeError::UnknownStream)?;
        let mut head = HttpRequest {
            method: Method::Get,
            authority: b"a".to_vec(),
            path: b"/".to_vec(),
            body: BodySize::None,
            ..HttpRequest::default()
        };
        client.encode(stream, &Part::Head(Head::HttpRequest(&mut head), End::Yes))
    }

    #[test]
    fn a_client_that_has_used_all_ids_opens_no_more_streams() {
        let mut client = Connection::new(Role::Client, &Limits::default(), Time::default());
        // RFC 9113 §5.1.1: the last one is 2^31-1.
        client.state.highest = frame::STREAM_MAX - 4;
        ask(&mut client).unwrap();
        ask(&mut client).unwrap();
        assert_eq!(client.state.highest, frame::STREAM_MAX);
        assert_eq!(client.open(), Err(OpenError::Closing));
    }

    #[test]
    fn streams_that_are_open_when_ids_run_out_write_nothing() {
        let mut client = Connection::new(Role::Client, &Limits::default(), Time::default());
        client.state.highest = frame::STREAM_MAX - 2;
        let early = client.open().unwrap();
        ask(&mut client).unwrap();
        let before = client.output.len();
        let mut head = HttpRequest { path: b"/".to_vec(), ..HttpRequest::default() };
        let part = Part::Head(Head::HttpRequest(&mut head), End::Yes);
        assert_eq!(client.encode(early, &part), Err(EncodeError::Unfit));
        assert_eq!(client.output.len(), before);
    }
}
