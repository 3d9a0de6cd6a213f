//! Reading the files of a configuration.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hangu_config::{Config, Problem, SOURCE_BYTES_MAX, Source};

/// Files that a directory of a configuration may have; more is a directory of something else.
const FILES_MAX: usize = 4096;

/// Why there is no configuration.
#[derive(Debug)]
pub(super) enum LoadError {
    /// It cannot be read.
    Unreadable(String),
    /// It was read and is wrong.
    Wrong(Vec<Source>, Vec<Problem>),
}

/// Reads and checks a configuration: a file, or a directory whose `.yaml` and `.yml` files are
/// joined in the order of their names.
pub(super) fn load(path: &Path) -> Result<Config, LoadError> {
    let sources = sources(path).map_err(LoadError::Unreadable)?;
    hangu_config::load(&sources).map_err(|problems| LoadError::Wrong(sources, problems))
}

fn sources(path: &Path) -> Result<Vec<Source>, String> {
    let at = |error| cannot_read(path, &error);
    if fs::metadata(path).map_err(at)?.is_dir() {
        let files = yaml_files(path)?;
        return files.iter().map(|file| source(file)).collect();
    }
    Ok(vec![source(path)?])
}

fn yaml_files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let at = |error| cannot_read(directory, &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let is_hidden = path.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b"."));
        let is_yaml = path.extension().is_some_and(|it| it == "yaml" || it == "yml");
        if is_yaml && !is_hidden && path.is_file() {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} YAML files", directory.display()));
        }
    }
    if files.is_empty() {
        let what = "the directory has no file that ends in .yaml or .yml";
        return Err(format!("{}: {what}", directory.display()));
    }
    files.sort();
    Ok(files)
}

fn source(path: &Path) -> Result<Source, String> {
    let mut bytes = Vec::new();
    let limit = SOURCE_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| cannot_read(path, &error))?;
    let name = path.display().to_string();
    if bytes.len() > SOURCE_BYTES_MAX {
        return Err(format!(
            "{name}: more than {SOURCE_BYTES_MAX} bytes, which is no configuration"
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(format!("{name}: no text: the byte at {at} is not UTF-8"))
        }
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("{}: cannot be read: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hangu-files-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn the_files_of_a_directory_come_in_the_order_of_their_names() {
        let directory = scratch("order");
        for name in ["b.yaml", "a.yml", "c.yaml", "notes.txt", ".hidden.yaml"] {
            fs::write(directory.join(name), format!("# {name}")).unwrap();
        }
        fs::create_dir(directory.join("d.yaml")).unwrap();
        let read = sources(&directory).unwrap();
        let texts: Vec<_> = read.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, ["# a.yml", "# b.yaml", "# c.yaml"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_reason() {
        let directory = scratch("unreadable");
        let of = |path: &Path| sources(path).unwrap_err();
        assert!(of(&directory).contains("no file that ends in .yaml"));
        assert!(of(&directory.join("none.yaml")).contains("none.yaml: cannot be read: No such"));
        let binary = directory.join("binary.yaml");
        fs::write(&binary, b"ok\xff").unwrap();
        assert!(of(&binary).contains("the byte at 2 is not UTF-8"));
        let large = directory.join("large.yaml");
        fs::write(&large, vec![b'#'; SOURCE_BYTES_MAX + 1]).unwrap();
        assert!(of(&large).contains("which is no configuration"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
