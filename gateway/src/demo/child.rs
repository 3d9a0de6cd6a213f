//! The child process in which the upstreams of the demo run.

use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};

use super::Addresses;

/// The subcommand that runs the upstreams.
pub const SUBCOMMAND: &str = "demo-upstreams";

/// The running upstreams. Dropping this lets them end, unless another gateway holds the life
/// descriptor too.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    life: ChildStdin,
    /// Where the upstreams listen.
    pub addresses: Addresses,
}

impl Child {
    /// The descriptor whose last copy keeps the upstreams alive; a gateway that hands over to
    /// another passes it on with its sockets. Close-on-exec is set.
    pub fn life(&self) -> BorrowedFd<'_> {
        self.life.as_fd()
    }

    /// Process id of the upstreams.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Starts the upstreams and waits until they have said where they listen.
///
/// # Errors
/// The program cannot be started or fails before it reports.
pub fn start() -> io::Result<Child> {
    // The program that runs, even if its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
    // A group of its own: Ctrl-C in the terminal is for the gateway, which ends the child when the
    // last request is answered.
    command.process_group(0);
    let mut process = command.spawn()?;
    let (Some(life), Some(report)) = (process.stdin.take(), process.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut line = String::new();
    BufReader::new(report).read_line(&mut line)?;
    let addresses = serde_json::from_str(&line).map_err(|_| {
        io::Error::other(format!("the demo's upstreams did not start: they said `{}`", line.trim()))
    })?;
    Ok(Child { process, life, addresses })
}
