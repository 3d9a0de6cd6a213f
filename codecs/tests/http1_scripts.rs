//! Dialogues of HTTP/1.1, each as it is, cut at every byte, and frozen and thawed at every step.

mod support;

use std::path::{Path, PathBuf};

use support::script::run_all_ways;

#[test]
fn every_dialogue_goes_as_its_script_says_however_it_is_cut_or_frozen() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/http1");
    let mut scripts: Vec<PathBuf> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|it| it == "script"));
    scripts.sort();
    assert!(scripts.len() >= 15, "only {} scripts", scripts.len());
    let failed: Vec<&PathBuf> = scripts
        .iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let run = || run_all_ways(&hangu_codecs::http1::PROTOCOL, &text);
            std::panic::catch_unwind(run).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
