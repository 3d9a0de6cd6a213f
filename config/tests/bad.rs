//! Each `bad/NAME.yaml` gives exactly the problems of `bad/NAME.txt`, as an operator sees them.
//!
//! A file may hold several, divided by a line `--- NAME.yaml`; they are then read as a directory.

use std::{fs, path::Path};

use hangu_config::{NoValues, Source, load};

#[test]
fn every_bad_configuration_is_refused_with_the_words_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    paths.retain(|it| it.extension().is_some_and(|it| it == "yaml"));
    paths.sort();
    assert!(paths.len() >= 20);
    let mut differing = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let sources = split(&name, &fs::read_to_string(&path).unwrap());
        let problems = load(&sources, &NoValues).expect_err(&name);
        let told: String = problems.iter().map(|it| format!("{it}\n")).collect();
        let expected = path.with_extension("txt");
        if std::env::var_os("HANGU_WRITE_EXPECTED").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != told {
            differing.push(format!("{name}:\n{told}"));
        }
    }
    assert!(
        differing.is_empty(),
        "these are told in other words than in tests/bad/*.txt; if they are better, write them with \
         HANGU_WRITE_EXPECTED=1 and read the difference:\n{}",
        differing.join("\n")
    );
}

fn split(name: &str, text: &str) -> Vec<Source> {
    let mut sources = vec![Source { name: name.to_owned(), text: String::new() }];
    for line in text.lines() {
        match line.strip_prefix("--- ") {
            Some(name) => sources.push(Source { name: name.to_owned(), text: String::new() }),
            None => {
                let source = sources.last_mut().unwrap();
                source.text.push_str(line);
                source.text.push('\n');
            }
        }
    }
    sources
}
