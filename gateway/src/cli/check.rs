//! `hangu check`: all that is wrong with a configuration, with its lines.

use std::fmt::Write as _;
use std::path::Path;

use hangu_config::{Config, Problem, Source};
use serde_json::json;

use super::{Exit, fail};
use crate::control::files::{LoadError, load};

/// Checks a configuration and says what is wrong, or what there is.
pub(super) fn check(path: &Path, as_json: bool) -> Exit {
    match (load(path).result, as_json) {
        (Ok(config), false) => {
            println!("{}: ok: {}", path.display(), summary(&config));
            Exit::Ok
        }
        (Ok(_), true) => {
            println!("{}", json!({ "valid": true, "problems": [] }));
            Exit::Ok
        }
        (Err(LoadError::Wrong(_, problems)), true) => {
            println!("{}", json!({ "valid": false, "problems": problems }));
            Exit::Config
        }
        (Err(LoadError::Unreadable(why)), true) => {
            let problem = json!({ "file": path.display().to_string(), "what": why });
            println!("{}", json!({ "valid": false, "problems": [problem] }));
            Exit::Config
        }
        (Err(error), false) => refuse(error),
    }
}

/// Loads a configuration for a command that needs it, or says what is wrong.
pub(super) fn load_or_refuse(path: &Path) -> Result<Config, Exit> {
    load(path).result.map_err(refuse)
}

pub(super) fn refuse(error: LoadError) -> Exit {
    match error {
        LoadError::Unreadable(why) => fail(Exit::Config, why),
        LoadError::Wrong(sources, problems) => {
            eprint!("{}", render(&sources, &problems, "nothing was started"));
            Exit::Config
        }
    }
}

fn summary(config: &Config) -> String {
    let routes = config.route_configs.iter().flat_map(|it| &it.virtual_hosts);
    let routes = routes.map(|it| it.routes.len()).sum();
    let endpoints = config.clusters.iter().map(|it| it.endpoints.len()).sum();
    [
        counted(config.listeners.len(), "listener"),
        counted(routes, "route"),
        counted(config.clusters.len(), "cluster"),
        counted(endpoints, "endpoint"),
    ]
    .join(", ")
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The problems as they are shown to people, each with its line of the text where the text is at
/// hand, and what becomes of it.
pub(super) fn render(sources: &[Source], problems: &[Problem], end: &str) -> String {
    let mut text = String::new();
    for problem in problems {
        // Writing to memory does not fail.
        let _ = render_one(&mut text, sources, problem);
    }
    let _ = writeln!(text, "{} found; {end}", counted(problems.len(), "problem"));
    text
}

fn render_one(text: &mut String, sources: &[Source], problem: &Problem) -> std::fmt::Result {
    let subject =
        if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
    writeln!(text, "error: {subject}{}", problem.what)?;
    if let Some(line) = line_of(sources, problem) {
        let (number, column) = (problem.line, problem.column.max(1) as usize);
        let margin = " ".repeat(number.to_string().len());
        // Tabs stay tabs, so that the mark stands under its column on every terminal.
        let before = line.chars().take(column - 1);
        let indent: String = before.map(|it| if it == '\t' { '\t' } else { ' ' }).collect();
        writeln!(text, "{margin}--> {}:{number}:{column}", problem.file)?;
        writeln!(text, "{margin} |\n{number} | {line}\n{margin} | {indent}^")?;
    } else if sources.is_empty() && problem.line > 0 {
        writeln!(text, " --> {}:{}:{}", problem.file, problem.line, problem.column)?;
    } else if !problem.file.is_empty() {
        writeln!(text, " --> {}", problem.file)?;
    }
    match &problem.instead {
        Some(instead) => writeln!(text, "  write instead: {instead}\n"),
        None => writeln!(text),
    }
}

fn line_of<'a>(sources: &'a [Source], problem: &Problem) -> Option<&'a str> {
    let source = sources.iter().find(|it| it.name == problem.file)?;
    let index = (problem.line as usize).checked_sub(1)?;
    source.text.lines().nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u32, column: u32) -> Problem {
        Problem {
            file: "a.yaml".to_owned(),
            line,
            column,
            path: "listeners[0].adress".to_owned(),
            what: "is not known here".to_owned(),
            instead: Some("address".to_owned()),
        }
    }

    fn source() -> Source {
        Source { name: "a.yaml".to_owned(), text: "one\n\tadress: x\nthree".to_owned() }
    }

    #[test]
    fn a_problem_is_shown_under_its_line() {
        let text = render(&[source()], &[problem(2, 2)], "nothing was started");
        assert_eq!(
            text,
            "error: listeners[0].adress: is not known here\n \
             --> a.yaml:2:2\n  |\n2 | \tadress: x\n  | \t^\n  write instead: address\n\n\
             1 problem found; nothing was started\n"
        );
    }

    #[test]
    fn a_problem_of_another_process_is_shown_with_its_place_alone() {
        let text = render(&[], &[problem(2, 2)], "the old configuration stays in force");
        assert!(text.contains(" --> a.yaml:2:2\n"), "{text}");
        assert!(
            text.ends_with("1 problem found; the old configuration stays in force\n"),
            "{text}"
        );
    }

    #[test]
    fn a_problem_without_a_line_or_beyond_the_text_is_shown_all_the_same() {
        for line in [0, 4, u32::MAX] {
            let text = render(&[source()], &[problem(line, 1)], "");
            assert!(text.contains("is not known here\n --> a.yaml\n"), "{text}");
        }
        let beyond_its_line = render(&[source()], &[problem(1, 99)], "");
        assert!(beyond_its_line.contains("1 | one\n"), "{beyond_its_line}");
    }
}
