//! Answers Bolt requests with their own content, each when it asks for it.

use super::{Around, Refused, Serve};
use crate::{
    ask::{ASK_BYTES, Ask},
    bolt::{self, Frame, Kind},
};

/// One connection.
pub(super) struct Bolt;

impl Serve for Bolt {
    fn receive(&mut self, input: &[u8], around: &mut Around<'_>) -> Result<usize, Refused> {
        let mut taken = 0;
        while let Some(frame) = bolt::frame(&input[taken..]).map_err(|bolt::Malformed| Refused)? {
            taken += frame.bytes;
            match frame.kind {
                Kind::Request => {
                    let (number, ask) = asked(&frame).ok_or(Refused)?;
                    around.ledger.see(number);
                    around.answers.push((ask, bolt::answer(&frame, frame.content)));
                }
                Kind::Heartbeat => around.answers.push((Ask::Now, bolt::answer(&frame, &[]))),
                Kind::Oneway | Kind::Response | Kind::HeartbeatAnswer => return Err(Refused),
            }
        }
        Ok(taken)
    }
}

fn asked(frame: &Frame<'_>) -> Option<(u64, Ask)> {
    let (number, rest) = frame.content.split_first_chunk::<8>()?;
    let ask = rest.first_chunk::<ASK_BYTES>()?;
    Some((u64::from_be_bytes(*number), Ask::from_bytes(*ask)?))
}
