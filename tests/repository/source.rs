//! A small reading of Rust sources: which paths a file names.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every file below a directory, directories that hold no sources left out.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let is_generated = ["target", ".git", "corpus", "artifacts", "node_modules", "book"];
            if path.is_symlink() || is_generated.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The Rust files below a directory.
pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = files(directory);
    found.retain(|it| it.extension().is_some_and(|it| it == "rs"));
    assert!(!found.is_empty(), "no Rust file below {}", directory.display());
    found
}

/// Every path that the code names (`a::b::c`), with its line. Groups of a `use` are written out
/// (`use std::{io, net}` names `std::io` and `std::net`). Comments and literals are no code, and
/// neither is the test module at the end of a file.
pub(crate) fn paths(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    named(&tokens(&without_tests(&text)))
}

fn without_tests(text: &str) -> String {
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(at) => text[..at].to_owned(),
        None => text.to_owned(),
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Colons,
    Open,
    Comma,
    Close,
    Other,
}

/// Words and the signs that paths are made of, with their lines.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let bytes = text.as_bytes();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while at < bytes.len() {
        let rest = &text[at..];
        let taken = match bytes[at] {
            b'\n' => {
                line += 1;
                1
            }
            byte if byte.is_ascii_whitespace() => 1,
            b'/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |it| it + 2),
            b'r' | b'b' if raw_string(rest).is_some() => raw_string(rest).unwrap_or(1),
            b'"' => string(rest),
            b'\'' => character(rest),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                let word = |it: char| !(it.is_ascii_alphanumeric() || it == '_');
                let end = rest.find(word).unwrap_or(rest.len());
                found.push((line, Token::Word(rest[..end].to_owned())));
                end
            }
            b':' if rest.starts_with("::") => {
                found.push((line, Token::Colons));
                2
            }
            b'{' => {
                found.push((line, Token::Open));
                1
            }
            b'}' => {
                found.push((line, Token::Close));
                1
            }
            b',' => {
                found.push((line, Token::Comma));
                1
            }
            _ => {
                found.push((line, Token::Other));
                rest.chars().next().map_or(1, char::len_utf8)
            }
        };
        if bytes[at] != b'\n' {
            line += rest[..taken].matches('\n').count();
        }
        at += taken;
    }
    found
}

fn string(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or(rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let start = rest.len() - body.len() + hashes;
    rest[start..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(start + 1 + rest[start + 1..].find(&end)? + end.len())
}

/// A character literal, or the quote of a lifetime.
fn character(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    match (letters.next(), letters.next()) {
        (Some((_, '\\')), _) => rest[2..]
            .find('\'')
            .map_or(1, |it| if rest[2..].starts_with('\'') { 4 } else { it + 3 }),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

fn named(tokens: &[(usize, Token)]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match (&tokens[at].1, tokens.get(at + 1).map(|it| &it.1)) {
            (Token::Word(_), Some(Token::Colons)) => at = path(tokens, at, "", &mut found),
            _ => at += 1,
        }
    }
    found
}

/// Reads one path, with its groups, from the token at `at`; gives the place after it.
fn path(
    tokens: &[(usize, Token)],
    mut at: usize,
    before: &str,
    found: &mut Vec<(usize, String)>,
) -> usize {
    let mut path = before.to_owned();
    while let Some((line, Token::Word(word))) = tokens.get(at) {
        path = if path.is_empty() { word.clone() } else { format!("{path}::{word}") };
        at += 1;
        match (tokens.get(at).map(|it| &it.1), tokens.get(at + 1).map(|it| &it.1)) {
            (Some(Token::Colons), Some(Token::Word(_))) => at += 1,
            (Some(Token::Colons), Some(Token::Open)) => {
                return group(tokens, at + 2, &path, found);
            }
            _ => {
                found.push((*line, path));
                return at;
            }
        }
    }
    at
}

/// Reads a group of paths up to its closing brace; gives the place after it.
fn group(
    tokens: &[(usize, Token)],
    mut at: usize,
    before: &str,
    found: &mut Vec<(usize, String)>,
) -> usize {
    while at < tokens.len() {
        match &tokens[at].1 {
            Token::Close => return at + 1,
            Token::Word(word) if word == "as" => at += 2,
            Token::Word(_) => at = path(tokens, at, before, found),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        named(&tokens(&without_tests(text))).into_iter().map(|(_, path)| path).collect()
    }

    #[test]
    fn groups_are_written_out() {
        let text = "use std::{io, net::{TcpStream, self as n}};\nfn f() -> crate::a::B { b::c() }";
        assert_eq!(
            names(text),
            ["std::io", "std::net::TcpStream", "std::net::self", "crate::a::B", "b::c"]
        );
    }

    #[test]
    fn comments_and_literals_and_tests_are_no_code() {
        let text = "//! std::net\nfn f<'a>() { \"std::io\"; 'x'; '\\''; r#\"std::fs\"#; } /* a::b */\n\
                    #[cfg(test)]\nmod tests { use std::net; }";
        assert!(names(text).is_empty(), "{:?}", names(text));
    }

    #[test]
    fn lines_are_counted() {
        let found = named(&tokens("\n/* \n */ a::b; \"\n\" ; c::d"));
        assert_eq!(found, [(3, "a::b".to_owned()), (4, "c::d".to_owned())]);
    }
}
