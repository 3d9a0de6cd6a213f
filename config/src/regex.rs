//! Regular expressions of routes: linear time, matched as a whole, bounded in size.

use ::regex::bytes::{Regex, RegexBuilder};

/// How letters are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// As they stand.
    Kept,
    /// Upper and lower case alike.
    Ignored,
}

/// A compiled expression of at most this size. Patterns with large counted repetitions grow
/// beyond it; an ordinary route pattern takes some 10 KiB.
pub const COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// Compiles an expression that matches a text as a whole, as the sidecars do (RE2 full match).
///
/// A compiled expression keeps caches for the threads that use it; give each worker a clone, so
/// that they never meet at one.
///
/// # Errors
/// What is wrong, for an operator, on one line.
pub fn compile(pattern: &str, case: Case) -> Result<Regex, String> {
    // Alone first: what only turns into an expression inside the anchors, such as `a)(b`, is none.
    build(pattern, case)?;
    build(&format!(r"\A(?:{pattern})\z"), case)
}

fn build(pattern: &str, case: Case) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .case_insensitive(case == Case::Ignored)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            ::regex::Error::Syntax(text) => last_line(&text),
            ::regex::Error::CompiledTooBig(_) => {
                format!("compiled it would be larger than {} KiB", COMPILED_BYTES_MAX / 1024)
            }
            other => last_line(&other.to_string()),
        })
}

/// The regex crate draws the pattern over several lines; the last says what is wrong.
fn last_line(text: &str) -> String {
    let last = text.lines().last().unwrap_or(text);
    last.trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_as_a_whole() {
        let whole = compile("a|ab", Case::Kept).unwrap();
        assert!(whole.is_match(b"ab") && whole.is_match(b"a"));
        assert!(!whole.is_match(b"abc") && !whole.is_match(b"ab\n") && !whole.is_match(b"A"));
        assert!(compile("(?i)ab", Case::Kept).unwrap().is_match(b"AB"));
        assert!(compile("ab", Case::Ignored).unwrap().is_match(b"aB"));
    }

    #[test]
    fn what_is_wrong_is_told_on_one_line() {
        assert_eq!(compile("a(b", Case::Kept).unwrap_err(), "unclosed group");
        assert!(compile("a)(b", Case::Kept).is_err());
        assert!(compile("(?:a{1000}){1000}", Case::Kept).unwrap_err().contains("larger than"));
    }
}
