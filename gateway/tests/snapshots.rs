//! Snapshots of workers that earlier builds made are read by this one.
//!
//! Each `.bin` below `tests/snapshots/v<version>/` is the postcard of a `FrozenWorker` of that
//! version of the layout, made once by `tests/e2e/snapshots.rs`, which tells how; the `.txt` beside
//! it says what it holds. One that fails here means that a running gateway cannot be swapped for
//! this build: the layout has changed, and so it needs a new version. Where only a name of a field
//! has changed, `HANGU_WRITE_TEXTS=yes` writes the texts anew.
#![allow(missing_docs, reason = "a test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use hangu::exchange::{FROZEN_VERSION, FrozenWorker};
use hangu_codecs::{Limits, Protocol, Time};

/// Late enough for every age.
const NOW: Time = Time::from_micros(1_000_000_000_000);

fn snapshots() -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let directory = directory.join(format!("v{FROZEN_VERSION}"));
    let entries = fs::read_dir(&directory).expect("snapshots of this version of the layout");
    let mut found: Vec<_> = entries
        .map(|it| it.expect("an entry").path())
        .filter(|it| it.extension().is_some_and(|it| it == "bin"))
        .map(|path| (path.clone(), fs::read(path).expect("a file")))
        .collect();
    found.sort();
    found
}

fn read(bytes: &[u8]) -> FrozenWorker {
    let (worker, rest) = postcard::take_from_bytes(bytes).expect("it is of this layout");
    assert!(rest.is_empty(), "{} bytes are left", rest.len());
    worker
}

#[test]
fn kept_snapshots_are_read_as_they_were_written() {
    let all = snapshots();
    let names: Vec<_> = all.iter().filter_map(|it| it.0.file_stem()?.to_str()).collect();
    assert_eq!(names, ["bolt", "http1", "waiting"]);
    for (path, bytes) in all {
        let worker = read(&bytes);
        assert_eq!(postcard::to_stdvec(&worker).expect("it is written"), bytes);
        let text = format!("{worker:#?}\n");
        let path = path.with_extension("txt");
        if std::env::var_os("HANGU_WRITE_TEXTS").is_some() {
            fs::write(&path, &text).expect("a file");
        }
        let kept = fs::read_to_string(&path).expect("what it holds");
        let differs = kept.lines().zip(text.lines()).find(|(kept, now)| kept != now);
        assert_eq!(differs, None, "{}", path.display());
        assert_eq!(kept.len(), text.len(), "{}", path.display());
    }
}

#[test]
fn codecs_of_kept_snapshots_are_thawed_and_freeze_as_they_were() {
    let mut protocols = Vec::new();
    for (path, bytes) in snapshots() {
        for connection in read(&bytes).connections {
            let Some(frozen) = connection.codec else { continue };
            let thawed = Protocol::thaw(&frozen, &Limits::default(), NOW);
            let codec = thawed.unwrap_or_else(|error| {
                panic!("{}: connection {:?}: {error}", path.display(), connection.id)
            });
            let again = codec.freeze(NOW);
            assert_eq!(again, frozen, "{}: connection {:?}", path.display(), connection.id);
            protocols.push(frozen.protocol);
        }
    }
    protocols.sort();
    protocols.dedup();
    assert_eq!(protocols, ["bolt", "http1"]);
}
