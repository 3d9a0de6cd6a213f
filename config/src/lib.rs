//! The configuration of the Hangu gateway: text in, a valid [`Config`] or a list of problems out.
//!
//! Nothing here does IO: the caller reads the files and hands over their names and texts.
#![forbid(unsafe_code)]

pub mod model;
pub mod text;

pub use model::*;
