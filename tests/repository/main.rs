//! What holds for the repository as a whole.
#![allow(missing_docs, reason = "a test")]

mod direction;
mod examples;
mod licences;
mod places;
mod source;
