//! A flat JSON object, written member by member.

use std::net::SocketAddr;

use super::record::TIME_BYTES;
use super::room::Room;

/// The name of a member of a JSON object with all that stands around it, as a constant.
macro_rules! member {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}
pub(super) use member;

/// One JSON object, whose first member is a time. The others are named by [`member`].
pub(super) struct Object<'a> {
    room: Room<'a>,
}

impl<'a> Object<'a> {
    /// Begins an object.
    #[inline(always)]
    pub(super) fn begin(mut room: Room<'a>, time: &[u8; TIME_BYTES]) -> Self {
        room.put(b"{\"time\":\"");
        room.put(time);
        room.put(b"\"");
        Self { room }
    }

    /// Ends the object and the line; gives how many bytes it has.
    #[inline(always)]
    pub(super) fn end_line(mut self) -> usize {
        self.room.put(b"}\n");
        self.room.used()
    }

    /// A member that is a text.
    #[inline(always)]
    pub(super) fn text(&mut self, member: &[u8], value: &[u8]) {
        self.room.put(member);
        self.room.put(b"\"");
        self.room.escaped(value);
        self.room.put(b"\"");
    }

    /// A member that is a text; left out when it is empty.
    #[inline(always)]
    pub(super) fn text_if_any(&mut self, member: &[u8], value: &[u8]) {
        if !value.is_empty() {
            self.text(member, value);
        }
    }

    /// A member that is a number.
    #[inline(always)]
    pub(super) fn number(&mut self, member: &[u8], value: u64) {
        self.room.put(member);
        self.room.number(value);
    }

    /// A member that is an address; left out when there is none.
    #[inline(always)]
    pub(super) fn address(&mut self, member: &[u8], value: Option<SocketAddr>) {
        if let Some(address) = value {
            self.room.put(member);
            self.room.put(b"\"");
            self.room.address(address);
            self.room.put(b"\"");
        }
    }
}
