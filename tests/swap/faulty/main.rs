//! `hangu-faulty-successor`: a new process that takes over badly.
//!
//! A gateway starts it instead of a new binary (`hangu upgrade --binary`). It starts the real one,
//! stands between the two, hands on what they say to each other, descriptors included, and does one
//! thing wrong at one step ([`fault`]). Which one stands in a file `fault` beside the gateway's
//! configuration; with `--list` it says what can stand there. The real program is `hangu` beside
//! this one, or what `HANGU` names.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test program of its own process; no worker reaches it"
)]

mod fault;
mod frame;
mod relay;

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode},
    time::{Duration, Instant},
};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::{
    fault::{Fault, Kind, When},
    relay::Relay,
};

/// How long the real program has to come.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.iter().any(|it| it == "--list") {
        let names: Vec<_> = fault::all().iter().map(ToString::to_string).collect();
        println!("{}", names.join(","));
        return ExitCode::SUCCESS;
    }
    match take_over(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hangu-faulty-successor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn take_over(arguments: &[OsString]) -> io::Result<()> {
    let config = PathBuf::from(value_of(arguments, "--config")?);
    let theirs = PathBuf::from(value_of(arguments, "--take-over")?);
    let named = fs::read_to_string(config.with_file_name("fault"))?;
    let fault = named.trim().parse::<Fault>().map_err(io::Error::other)?;
    // Beside theirs, so that it goes with it.
    let ours = theirs.with_file_name("real");
    let listener = UnixListener::bind(&ours)?;
    let mut child = start(arguments, &theirs, &ours)?;
    let new = meet(&listener, &mut child)?;
    if fault.when == When::BeforeMeeting {
        match fault.kind {
            Kind::Kill => relay::kill(&mut child),
            _ => relay::exit(&mut child),
        }
    }
    let old = UnixStream::connect(&theirs)?;
    Relay { old, new, child, fault }.run()
}

fn value_of(arguments: &[OsString], name: &str) -> io::Result<OsString> {
    let at = arguments.iter().position(|it| it == name);
    let value = at.and_then(|at| arguments.get(at + 1)).cloned();
    value.ok_or_else(|| io::Error::other(format!("no {name}: to be started by a gateway")))
}

/// Starts the real program, which does not outlive this one.
fn start(arguments: &[OsString], theirs: &Path, ours: &Path) -> io::Result<Child> {
    let beside = || Ok::<_, io::Error>(std::env::current_exe()?.with_file_name("hangu"));
    let program = std::env::var_os("HANGU").map_or_else(beside, |it| Ok(it.into()))?;
    let mut command = Command::new(program);
    for argument in arguments {
        command.arg(if argument == theirs { ours.as_os_str() } else { argument });
    }
    let die_along = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: one system call, which allocates nothing and takes no lock.
    unsafe { command.pre_exec(die_along) };
    command.spawn()
}

fn meet(listener: &UnixListener, child: &mut Child) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("the real program ended: {status}")));
        }
        if Instant::now() > end {
            return Err(io::Error::other("the real program does not come"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
