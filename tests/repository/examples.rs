//! Examples and commands that stand in the documentation work.

use std::{fs, os::unix::fs::PermissionsExt};

use hangu_tests::process::root;

use crate::source::files;

/// Lines of the code blocks marked `sh` or `console` in a page, prompts left out.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_shell = false;
    for line in page.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            is_shell = !is_shell && ["sh", "console", "bash"].contains(&language);
        } else if is_shell && !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            found.push(line.trim().trim_start_matches("$ ").to_owned());
        }
    }
    found
}

fn pages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in files(&root()) {
        if file.extension().is_some_and(|it| it == "md") {
            let name = file.strip_prefix(root()).expect("a file of ours").display().to_string();
            found.push((name, fs::read_to_string(&file).expect("a page")));
        }
    }
    found
}

/// Where scripts are.
const SCRIPTS: [&str; 5] = ["tests/", "fuzz/", ".ci/", "benches/", "packaging/"];

#[test]
fn every_script_that_a_page_tells_to_run_is_there() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, page) in pages() {
        for command in commands(&page) {
            let first = command.split_whitespace().next().unwrap_or_default();
            if !SCRIPTS.iter().any(|it| first.starts_with(it)) {
                continue;
            }
            seen += 1;
            let script = root().join(first);
            let runs = fs::metadata(&script)
                .is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
            if !runs {
                wrong.push(format!("{name}: `{command}`: {first} is no program"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 0, "no page names a script; does the reading of pages still work?");
}

#[test]
fn every_file_that_a_page_links_to_is_there() {
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        let directory = root().join(&name).parent().expect("a directory").to_owned();
        for link in page.split("](").skip(1) {
            let target = link.split([')', '#', ' ']).next().unwrap_or_default();
            let is_local = !target.is_empty() && !target.contains("://") && !target.contains('<');
            if is_local && !directory.join(target).exists() {
                wrong.push(format!("{name}: there is no {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
