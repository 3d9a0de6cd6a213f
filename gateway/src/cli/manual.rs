//! `hangu man` and `hangu completions`, from the definition of the command line.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Exit, Line, fail};

/// Writes the completions of a shell to standard output.
pub(super) fn completions(shell: Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Line::command(), "hangu", &mut text);
    write(&text)
}

/// Writes the manual page of the program to standard output, or one page of each command too into a
/// directory.
pub(super) fn man(directory: Option<&Path>) -> Exit {
    let Some(directory) = directory else {
        let mut text = Vec::new();
        return match clap_mangen::Man::new(Line::command()).render(&mut text) {
            Ok(()) => write(&text),
            Err(error) => fail(Exit::Unavailable, error),
        };
    };
    let made = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Line::command(), directory));
    match made {
        Ok(()) => Exit::Ok,
        Err(error) => fail(Exit::Unavailable, format!("{}: {error}", directory.display())),
    }
}

/// A reader that goes away early (`| head`) is no fault.
fn write(text: &[u8]) -> Exit {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(Exit::Unavailable, error),
        Ok(()) | Err(_) => Exit::Ok,
    }
}
