//! Dependencies go in one direction: between crates, and between the modules of the gateway.

use std::{fs, path::Path};

use hangu_tests::process::root;

use crate::source::{paths, rust_files};

/// Crates of this workspace, each with those that it may name.
const CRATES: [(&str, &[&str]); 3] = [
    ("codecs", &[]),
    ("config", &["hangu_codecs"]),
    ("gateway", &["hangu_codecs", "hangu_config", "hangu"]),
];

/// Names of the crates of this workspace, as code names them.
const NAMES: [&str; 7] = [
    "hangu_codecs",
    "hangu_config",
    "hangu",
    "hangu_tests",
    "hangu_swap",
    "hangu_benches",
    "hangu_fuzz",
];

/// What the codecs may not name: they do no IO and read no clock.
const NOT_IN_CODECS: [&str; 14] = [
    "std::net",
    "std::io",
    "std::fs",
    "std::os",
    "std::env",
    "std::thread",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "monoio",
    "tokio",
    "libc",
    "rustix",
    "socket2",
];

/// What only the gateway's module `clock` may name. Sleeping is left to the drivers, which go by
/// `CLOCK_MONOTONIC`.
const CLOCKS: [&str; 7] = [
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio::time::Instant",
    "monoio::time::Instant",
    "libc::clock_gettime",
    "libc::gettimeofday",
    "libc::time",
];

/// What the configuration may not name: texts are handed to it.
const NOT_IN_CONFIG: [&str; 10] = [
    "std::io",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "monoio",
    "tokio",
    "libc",
];

/// The modules of the gateway: one may name only those before it.
const MODULES: [&str; 19] = [
    "clock",
    "telemetry",
    "io",
    "route",
    "filter",
    "cluster",
    "snapshot",
    "connection",
    "upstream",
    "exchange",
    "downstream",
    "listener",
    "worker",
    "start",
    "swap",
    "control",
    "demo",
    "cli",
    "main",
];

#[test]
fn crates_name_only_those_before_them() {
    let mut wrong = Vec::new();
    for (name, may) in CRATES {
        for (file, line, path) in named_in(&root().join(name).join("src")) {
            let first = path.split("::").next().unwrap_or_default();
            if NAMES.contains(&first) && !may.contains(&first) {
                wrong.push(format!("{file}:{line}: {name} may not name {path}"));
            }
        }
        let manifest = root().join(name).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let normal = text.split("[dev-dependencies]").next().unwrap_or_default();
        for line in normal.lines().filter(|it| it.starts_with("hangu")) {
            let crate_name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !may.contains(&crate_name.replace('-', "_").as_str()) {
                wrong
                    .push(format!("{}: {name} may not depend on {crate_name}", manifest.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "codecs <- config <- gateway:\n{}", wrong.join("\n"));
}

#[test]
fn codecs_do_no_io_and_read_no_clock() {
    nothing_names("codecs", &NOT_IN_CODECS);
}

#[test]
fn the_configuration_does_no_io() {
    nothing_names("config", &NOT_IN_CONFIG);
}

#[test]
fn one_module_of_the_gateway_reads_the_clock_and_takes_the_one_that_nobody_sets() {
    let sources = root().join("gateway/src");
    let mut wrong = Vec::new();
    for file in rust_files(&sources) {
        let inside = file.strip_prefix(&sources).expect("a file below the sources");
        let is_clock = inside == Path::new("clock.rs");
        for (line, path) in paths(&file) {
            let may_be_named = match path.rsplit_once("ClockId::") {
                Some((_, "Monotonic" | "ThreadCPUTime")) => is_clock,
                // The time that the processor spent is no clock.
                Some((_, name)) => name == "ProcessCPUTime",
                None => is_clock || !CLOCKS.iter().any(|it| is_or_is_in(&path, it)),
            };
            if !may_be_named {
                wrong.push(format!("gateway/src/{}:{line}: {path}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "only `clock` reads clocks:\n{}", wrong.join("\n"));
}

#[test]
fn modules_of_the_gateway_name_only_those_before_them() {
    let sources = root().join("gateway/src");
    let mut wrong = Vec::new();
    for file in rust_files(&sources) {
        let inside = file.strip_prefix(&sources).expect("a file below the sources");
        let module = top_module(inside);
        if module == "lib" {
            continue;
        }
        let Some(rank) = MODULES.iter().position(|it| *it == module) else {
            wrong.push(format!("{}: {module} has no place in the order", inside.display()));
            continue;
        };
        for (line, path) in paths(&file) {
            let Some(named) = named_module(inside, &path) else { continue };
            if MODULES.iter().position(|it| *it == named).is_some_and(|it| it > rank) {
                let file = inside.display();
                wrong.push(format!(
                    "gateway/src/{file}:{line}: {module} may not name {named} ({path})"
                ));
            }
        }
    }
    let order = MODULES.join(", ");
    assert!(
        wrong.is_empty(),
        "a module may name only those before it ({order}):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_architecture_page_tells_the_same_order() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let rows = page.lines().skip_while(|it| !it.starts_with("| `clock`"));
    let rows = rows.take_while(|it| it.starts_with("| `"));
    let named: Vec<_> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    let mut known: Vec<_> = MODULES.to_vec();
    known.retain(|it| named.contains(it));
    let mut there: Vec<_> = named.clone();
    there.sort_by_key(|it| MODULES.iter().position(|module| module == it));
    assert_eq!(named, there, "the order of MODULES is {MODULES:?}");
    assert_eq!(named.len(), known.len(), "a module that is in no order: {named:?}");
    let sources = root().join("gateway/src");
    for file in rust_files(&sources) {
        let module = top_module(file.strip_prefix(&sources).expect("a file below the sources"));
        let is_told = module == "lib" || named.contains(&module.as_str());
        assert!(is_told, "ARCHITECTURE.md does not tell of {module}");
    }
}

fn is_or_is_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|it| it.is_empty() || it.starts_with("::"))
}

fn nothing_names(name: &str, forbidden: &[&str]) {
    let mut wrong = Vec::new();
    for (file, line, path) in named_in(&root().join(name).join("src")) {
        for not in forbidden {
            if is_or_is_in(&path, not) {
                wrong.push(format!("{file}:{line}: {name} may not name {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn named_in(directory: &Path) -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    for file in rust_files(directory) {
        let shown = file.strip_prefix(root()).expect("a file of ours").display().to_string();
        found.extend(paths(&file).into_iter().map(|(line, path)| (shown.clone(), line, path)));
    }
    found
}

/// `route` of `route/table.rs` and of `route.rs`.
fn top_module(inside: &Path) -> String {
    let first = inside.components().next().expect("a component").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The module of the gateway that a path names, seen from a file; `None` when it names something
/// else.
fn named_module(inside: &Path, path: &str) -> Option<String> {
    let mut words = path.split("::");
    let root = words.next()?;
    let mut depth = inside.components().count() - usize::from(inside.ends_with("mod.rs"));
    match root {
        "crate" | "hangu" => words.next().map(str::to_owned),
        "super" => loop {
            depth = depth.checked_sub(1)?;
            match words.next()? {
                "super" => {}
                word if depth == 0 => return Some(word.to_owned()),
                _ => return None,
            }
        },
        _ => None,
    }
}

#[test]
fn a_module_is_found_by_each_way_to_name_it() {
    let at = |inside: &str, path: &str| named_module(Path::new(inside), path);
    assert_eq!(at("route/path.rs", "crate::io::read"), Some("io".to_owned()));
    assert_eq!(at("clock.rs", "super::io::read"), Some("io".to_owned()));
    assert_eq!(at("route/mod.rs", "super::io"), Some("io".to_owned()));
    assert_eq!(at("route/path.rs", "super::super::io"), Some("io".to_owned()));
    assert_eq!(at("route/path.rs", "super::table"), None);
    assert_eq!(at("route/mod.rs", "table::find"), None);
}
