//! What the tests of all protocols share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod allocations;
pub mod driver;
pub mod http2;
pub mod reader;
pub mod script;
pub mod seen;
