//! Nothing in the repository names a place that exists on one machine only.

use std::fs;

use hangu_tests::process::root;

use crate::source::files;

#[test]
fn no_file_names_a_path_of_one_machine() {
    // Written in two halves, so that this file does not name them.
    let places =
        [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("/tmp/ba", "sh")];
    let mut wrong = Vec::new();
    for file in files(&root()) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            for (first, second) in places {
                let place = format!("{first}{second}");
                if line.match_indices(&place).any(|(at, _)| begins_a_path(line, at)) {
                    let shown = file.strip_prefix(root()).expect("a file of ours").display();
                    wrong.push(format!("{shown}:{}: names {place}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// `/x/` in `a/x/b` is the middle of a relative path.
fn begins_a_path(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    before.is_none_or(|it| !(it.is_ascii_alphanumeric() || "./-_}".contains(it)))
}
