//! What goes wrong in operation, one function per fault. Of each is shown that its client gets
//! the right answer in time, that a bystander on the same worker notices nothing, and that within
//! a second after its end its place serves again. `docs/faults.md` tells the same to operators.
//!
//! Upstreams (`upstream`): 1 reset before the head, 2 in the head, 3 in the body, 4 after the
//! response; 5 end before the head, 6 in the head, 7 in the body, 8 after the response; 9 never
//! answers; 10 deaf; 11 refuses; 12 slow head; 13 slow body; 14 garbage; 15 more than declared;
//! 16 answers before the request ends; 17 answers nobody; 18 huge head; 19 informational responses
//! without end; 20 closes the kept connection as it is used.
//!
//! Clients (`client`): 21 reset in the request's body; 22 reads nothing; 23 slow head.
//!
//! Bolt (`bolt`): 24 reset with requests in flight; 25 never answers; 26 garbage; 27 a wrong
//! length; 28 answers nobody.
//!
//! The process (`process`): 29 half-written configuration; 30 one that cannot be bound; 32 no
//! descriptors left; 33 the gateway itself stopped for a while; 34 an upstream's process stopped.
//!
//! Its logs (`log`): 31 full disk; 37 a pipe that nobody reads. The clock (`clock`): 35 the wall
//! clock jumps. Names (`dns`): 36 empty answers and failures.
#![allow(
    missing_docs,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests are ordinary blocking threads; no worker reaches them"
)]

#[macro_use]
extern crate hangu_tests;

mod bolt;
mod client;
mod clock;
mod dns;
mod log;
mod process;
mod scene;
mod upstream;
