//! The command line of Hangu.

use std::process::ExitCode;

/// Each worker allocates from pages of its own, without locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for pages of 2 MiB, each of which is resident as a whole once a byte of
    // it is used: measured, twice the memory of the process and of each idle connection, for no
    // request that was cheaper. A kernel that knows no such pages refuses, and needs nothing.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    hangu::cli::main().into()
}
