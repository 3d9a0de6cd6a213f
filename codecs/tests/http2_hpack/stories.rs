//! Stories of real traffic, as an independent encoder wrote them and as we do. They are not part of
//! the project; where they lie beside it, or where `HANGU_HPACK_STORIES` points to them, they are
//! read.

use std::path::{Path, PathBuf};

use hangu_codecs::http2::hpack::{Decoder, Encoder};
use serde_json::Value;

use super::*;

/// Header lists that share one connection.
struct Case {
    table_bytes_max: Option<u32>,
    wire: Vec<u8>,
    fields: Vec<(String, String)>,
}

fn directory(name: &str) -> Option<PathBuf> {
    let place = std::env::var_os("HANGU_HPACK_STORIES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/hpack"),
        PathBuf::from,
    );
    Some(place.join(name)).filter(|it| it.exists())
}

/// Calls `check` with each story of a directory and its name.
fn each(directory_name: &str, mut check: impl FnMut(&str, Vec<Case>)) {
    let Some(place) = directory(directory_name) else { return eprintln!("no stories here") };
    let mut files: Vec<_> =
        std::fs::read_dir(place).unwrap().map(|it| it.unwrap().path()).collect();
    files.retain(|it| it.extension().is_some_and(|it| it == "json"));
    files.sort();
    assert!(files.len() > 30, "{} stories", files.len());
    for file in files {
        let story: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let cases = story["cases"].as_array().unwrap().iter().map(case).collect();
        check(&file.display().to_string(), cases);
    }
}

fn case(json: &Value) -> Case {
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    let pairs = json["headers"].as_array().unwrap().iter();
    let pairs = pairs.flat_map(|it| it.as_object().unwrap());
    Case {
        table_bytes_max: json["header_table_size"].as_u64().map(|it| u32::try_from(it).unwrap()),
        wire: bytes_of(json["wire"].as_str().unwrap_or_default()),
        fields: pairs.map(|(name, value)| (name.clone(), text(value))).collect(),
    }
}

fn expected(case: &Case) -> Vec<Pair> {
    case.fields.iter().map(|it| (it.0.clone().into_bytes(), it.1.clone().into_bytes())).collect()
}

#[test]
fn every_block_of_another_encoder_is_read() {
    for name in ["nghttp2", "nghttp2-change-table-size"] {
        let mut blocks = 0;
        each(name, |file, cases| {
            let mut decoder = Decoder::new(4096);
            for (number, case) in cases.iter().enumerate() {
                if let Some(bytes_max) = case.table_bytes_max {
                    decoder.set_table_bytes_max(bytes_max);
                }
                let fields = decode_pairs(&mut decoder, &case.wire);
                assert_eq!(fields, Ok(expected(case)), "{file}, block {number}");
                decoder = thawed(&decoder);
                blocks += 1;
            }
        });
        println!("{name}: {blocks} blocks");
    }
}

/// Sizes that a peer asks for, by the number of the block.
const SIZES: [&dyn Fn(usize) -> u32; 6] = [
    &|_| 0,
    &|_| 256,
    &|_| 4096,
    &|_| 65536,
    &|block| [4096, 4096, 256, 256, 0, 1000][block % 6],
    &|block| (block * 97 % 1500) as u32,
];

#[test]
fn every_story_is_read_back_as_it_was_written_with_any_size_of_the_table() {
    for size in SIZES {
        each("raw-data", |file, cases| {
            let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
            let mut current = 4096;
            for (number, case) in cases.iter().enumerate() {
                if size(number) != current {
                    current = size(number);
                    encoder.set_table_bytes_max(current);
                    decoder.set_table_bytes_max(current);
                }
                let block = encode(&mut encoder, &case.fields);
                let fields = decode_pairs(&mut decoder, &block);
                assert_eq!(fields, Ok(expected(case)), "{file}, block {number}");
                encoder = thawed(&encoder);
                decoder = thawed(&decoder);
            }
        });
    }
}

/// The other encoder puts most cookies into its table, which ours never does; ours keeps what comes
/// once out of it.
#[test]
fn stories_become_about_as_small_as_with_another_encoder() {
    let (mut plain, mut ours, mut theirs) = (0, 0, 0);
    each("nghttp2", |_, cases| {
        let mut encoder = Encoder::new();
        for case in &cases {
            plain += case.fields.iter().map(|it| it.0.len() + it.1.len()).sum::<usize>();
            ours += encode(&mut encoder, &case.fields).len();
            theirs += case.wire.len();
        }
    });
    println!("{plain} bytes became {ours}, and {theirs} with the other encoder");
    assert!(ours * 100 <= theirs * 105, "{ours} bytes, {theirs} with the other encoder");
}
