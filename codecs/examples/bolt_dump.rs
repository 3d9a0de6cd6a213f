//! Prints the Bolt frames in a file, or in what comes on standard input: one direction of a
//! connection, as a relay or `tcpflow` records it.
//!
//! ```text
//! cargo run -p hangu-codecs --example bolt_dump -- capture.bin
//! ```

use std::io::{Read, Write};
use std::process::ExitCode;

use hangu_codecs::bolt::{Frame, Header};

fn main() -> ExitCode {
    let input = match read(std::env::args().nth(1)) {
        Ok(input) => input,
        Err(error) => {
            eprintln!("bolt_dump: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut output = std::io::stdout().lock();
    let mut at = 0;
    while at < input.len() {
        match Frame::parse(&input[at..]) {
            Ok(Some((frame, bytes))) => {
                if print(&mut output, at, &frame).is_err() {
                    return ExitCode::SUCCESS; // nobody reads any more
                }
                at += bytes;
            }
            Ok(None) => {
                eprintln!(
                    "bolt_dump: cut off: {} bytes at {at} are no whole frame",
                    input.len() - at
                );
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("bolt_dump: at {at}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn read(path: Option<String>) -> std::io::Result<Vec<u8>> {
    let Some(path) = path else {
        let mut input = Vec::new();
        std::io::stdin().read_to_end(&mut input)?;
        return Ok(input);
    };
    std::fs::read(path)
}

fn print(output: &mut impl Write, at: usize, frame: &Frame<'_>) -> std::io::Result<()> {
    writeln!(
        output,
        "{at}: id {} {:?} {:?} codec {}",
        frame.id, frame.kind, frame.version, frame.codec
    )?;
    if !frame.class_name.is_empty() {
        writeln!(output, "  class {}", frame.class_name.escape_ascii())?;
    }
    match &frame.header {
        Header::Opaque(bytes) => writeln!(output, "  header {}", bytes.escape_ascii())?,
        Header::Fields(fields) => {
            for field in fields {
                let text = |it: Option<&[u8]>| {
                    it.map_or("(null)".to_owned(), |it| it.escape_ascii().to_string())
                };
                writeln!(output, "  {} = {}", text(field.name), text(field.value))?;
            }
        }
    }
    writeln!(output, "  content {} bytes", frame.content.len())
}
