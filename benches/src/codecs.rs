//! What the codecs cost by themselves: instructions and allocations for a request and its answer.
//!
//! Both are exact. The program `hangu-bench-codecs` does the rounds; valgrind counts, twice, with
//! different numbers of rounds, and the difference leaves out what is done once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What passes through the codecs.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The name on the command line and in the table.
    pub name: &'static str,
    /// The protocol and, for HTTP, the size.
    pub spoken: Spoken,
}

/// A protocol with its variant.
#[derive(Clone, Copy, Debug)]
pub enum Spoken {
    /// GET with a body of this size in the answer.
    Http1 {
        /// Bytes of the body.
        body_bytes: usize,
    },
    /// Bolt v1.
    BoltV1,
    /// Bolt v2 without a checksum.
    BoltV2,
    /// Bolt v2 with a CRC-32.
    BoltV2Crc,
}

/// All cases.
pub const CASES: &[Case] = &[
    Case { name: "http1-100b", spoken: Spoken::Http1 { body_bytes: 100 } },
    Case { name: "http1-10k", spoken: Spoken::Http1 { body_bytes: 10 * 1024 } },
    Case { name: "bolt-v1", spoken: Spoken::BoltV1 },
    Case { name: "bolt-v2", spoken: Spoken::BoltV2 },
    Case { name: "bolt-v2-crc", spoken: Spoken::BoltV2Crc },
];

/// What `hangu-bench-codecs` says on its standard output.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Rounds that were counted.
    pub rounds: u64,
    /// Allocations in them.
    pub allocations: u64,
    /// Bytes of these.
    pub allocated_bytes: u64,
    /// Bytes of a request.
    pub request_bytes: usize,
    /// Bytes of an answer.
    pub answer_bytes: usize,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Line {
    /// The case's name.
    pub case: &'static str,
    /// Instructions for a request and its answer; `None` without valgrind.
    pub instructions: Option<u64>,
    /// The rest.
    pub counted: Counted,
}

const FEW: u64 = 1000;
const MANY: u64 = 3000;
/// The function of `hangu-bench-codecs` that is counted.
const COUNTED_FUNCTION: &str = "*carry_message*";

/// Counts all cases with the program at `program`; files of valgrind's go into `directory`.
///
/// # Errors
/// The program or valgrind fails. That valgrind is not installed is no error.
pub fn count(program: &Path, directory: &Path) -> io::Result<Vec<Line>> {
    fs::create_dir_all(directory)?;
    let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok();
    let line = |case: &Case| {
        let counted = allocations(program, case)?;
        let instructions = match has_valgrind {
            true => Some(instructions(program, case, directory)?),
            false => None,
        };
        Ok(Line { case: case.name, instructions, counted })
    };
    CASES.iter().map(line).collect()
}

/// The table.
#[must_use]
pub fn markdown(lines: &[Line]) -> String {
    let mut text = String::from(
        "| case | instructions | allocations | bytes allocated | request bytes | answer bytes |\n\
         |:--|--:|--:|--:|--:|--:|\n",
    );
    for Line { case, instructions, counted } in lines {
        let instructions = instructions.map_or("no valgrind".to_owned(), |it| it.to_string());
        let per_round = |count: u64| count as f64 / counted.rounds as f64;
        text.push_str(&format!(
            "| {case} | {instructions} | {:.3} | {:.1} | {} | {} |\n",
            per_round(counted.allocations),
            per_round(counted.allocated_bytes),
            counted.request_bytes,
            counted.answer_bytes,
        ));
    }
    text
}

fn rounds_of(program: &Path, case: &Case, rounds: u64) -> Vec<std::ffi::OsString> {
    let rounds = rounds.to_string();
    let own = ["--case", case.name, "--rounds", &rounds].map(Into::into);
    [program.into()].into_iter().chain(own).collect()
}

fn allocations(program: &Path, case: &Case) -> io::Result<Counted> {
    let command = rounds_of(program, case, MANY);
    let output = Command::new(&command[0]).args(&command[1..]).output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("{}: {words}", case.name)));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn instructions(program: &Path, case: &Case, directory: &Path) -> io::Result<u64> {
    let few = total(program, case, FEW, directory)?;
    let many = total(program, case, MANY, directory)?;
    Ok((many - few) / (MANY - FEW))
}

/// Instructions within the counted function, of the warm-up and of so many rounds.
fn total(program: &Path, case: &Case, rounds: u64, directory: &Path) -> io::Result<u64> {
    let file: PathBuf = directory.join(format!("{}-{rounds}.callgrind", case.name));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={COUNTED_FUNCTION}"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .args(rounds_of(program, case, rounds))
        .output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("{}: {words}", case.name)));
    }
    let text = fs::read_to_string(&file)?;
    let found = summary(&text).filter(|total| *total > 0);
    found.ok_or_else(|| io::Error::other(format!("{}: no sum", file.display())))
}

/// The sum of a file that callgrind wrote.
fn summary(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|it| it.strip_prefix("summary:").or(it.strip_prefix("totals:")))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_file_is_read_and_its_absence_seen() {
        assert_eq!(summary("events: Ir\nsummary: 1234\n"), Some(1234));
        assert_eq!(summary("events: Ir\ntotals: 5\n"), Some(5));
        assert_eq!(summary("events: Ir\n"), None);
    }
}
