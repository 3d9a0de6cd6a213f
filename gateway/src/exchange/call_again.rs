//! gRPC calls that are sent again because of how their upstream says that they ended.
//!
//! A cluster may name statuses (`retry.grpc_on`) after which a call is sent again, while the request
//! is still kept. A status comes last, so what comes before it has to wait:
//!
//! | what comes | what becomes of it |
//! |---|---|
//! | an informational head | goes on; the request stays at hand |
//! | a head with which the call ends | the call is sent again, or it goes on |
//! | any other head | is held back if the whole request is sent, else goes on |
//! | data | the head goes on, then the data: the call is not sent again any more |
//! | trailers after a head that is held back | the call is sent again, or head and trailers go on |
//!
//! A head that comes while the client is still sending is not held back: the client may wait for it
//! before it says more, and the upstream for that.

use hangu_codecs::{Fields, Head, HttpResponse, Part, grpc::Code, message::End};

use super::{Core, Exchange, ExchangeId};

/// What becomes of a part of an answer.
pub(super) enum Weighed {
    /// It goes to the client.
    GoesOn,
    /// So it does, after the head that was held back.
    GoesOnAfter(Box<HttpResponse>),
    /// It is held back, or its call was sent again.
    Stays,
}

impl Core {
    /// Finds out what becomes of a part of an answer, and sends the call again if it asks for that.
    pub(super) fn weigh(&mut self, id: ExchangeId, part: &Part<'_>) -> Weighed {
        let Some(exchange) = self.exchanges.get(id) else { return Weighed::GoesOn };
        let (Some(apart), Some((cluster, _))) = (&exchange.apart, exchange.target()) else {
            return Weighed::GoesOn;
        };
        if !apart.kept.is_call() && apart.answer.is_none() {
            return Weighed::GoesOn;
        }
        let codes = self.endpoints.calls_again_on(cluster, exchange.retries);
        let asks_for_more = |fields| status(fields).is_some_and(|it| codes.contains(it));
        let is_again = match part {
            Part::Head(Head::HttpResponse(head), End::No) => {
                let is_whole = exchange.progress.request_ended;
                if codes.is_empty() || head.status != 200 || !is_whole || apart.answer.is_some() {
                    return Weighed::GoesOn;
                }
                self.hold_answer(id, head);
                return Weighed::Stays;
            }
            Part::Head(Head::HttpResponse(head), End::Yes) => asks_for_more(&head.fields),
            Part::Trailers(fields) => apart.answer.is_some() && asks_for_more(fields),
            Part::Head(..) | Part::Data(..) | Part::Reset(_) => false,
        };
        if is_again && self.repeat_request(id) {
            return Weighed::Stays;
        }
        let answer = self.exchanges.get_mut(id).and_then(Exchange::take_answer);
        answer.map_or(Weighed::GoesOn, Weighed::GoesOnAfter)
    }

    fn hold_answer(&mut self, id: ExchangeId, head: &HttpResponse) {
        let apart = self.exchanges.get_mut(id).and_then(|it| it.apart.as_mut());
        if let Some(apart) = apart {
            apart.answer = Some(Box::new(head.clone()));
        }
    }
}

impl Exchange {
    /// Takes the head of an answer that is held back.
    pub(super) fn take_answer(&mut self) -> Option<Box<HttpResponse>> {
        self.apart.as_mut()?.answer.take()
    }

    /// Whether a part of an answer leaves open how a call ends that is kept.
    pub(super) fn is_awaited_call(&self, part: &Part<'_>) -> bool {
        let Part::Head(Head::HttpResponse(head), _) = part else { return false };
        let is_informational = head.status < 200 && head.status != 101;
        is_informational && self.apart.as_ref().is_some_and(|it| it.kept.is_call())
    }
}

/// How a call ended that its upstream lets be sent again at once; `None` where nobody says how, or
/// the upstream wants no further try, or none yet ([retry design][A6], "Pushback").
///
/// [A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
fn status(fields: &Fields) -> Option<Code> {
    let is_zero = |it: &[u8]| !it.is_empty() && it.iter().all(|it| *it == b'0');
    let may_be_now = fields.all(b"grpc-retry-pushback-ms").all(is_zero);
    fields.find(b"grpc-status").filter(|_| may_be_now).map(Code::of_field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_counts_unless_the_upstream_wants_no_try_now() {
        let unavailable = Some(Code::Unavailable);
        for (pushback, expected) in [
            (&[][..], unavailable),
            (&["0"], unavailable),
            (&["000"], unavailable),
            (&["10"], None),
            (&["-1"], None),
            (&[""], None),
            (&["soon"], None),
            (&["0", "-1"], None),
        ] {
            let mut fields = Fields::new();
            fields.push(b"grpc-status", b"14");
            for value in pushback {
                fields.push(b"Grpc-Retry-Pushback-Ms", value.as_bytes());
            }
            assert_eq!(status(&fields), expected, "{pushback:?}");
        }
        assert_eq!(status(&Fields::new()), None);
    }
}
