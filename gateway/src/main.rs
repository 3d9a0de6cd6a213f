//! The command line of Hangu.
fn main() {}
