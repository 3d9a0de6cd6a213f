//! The command line of Hangu.

use std::process::ExitCode;

/// Each worker allocates from pages of its own, without locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hangu::cli::main().into()
}
