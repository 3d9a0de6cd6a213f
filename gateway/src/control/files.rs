//! Reading the files of a configuration, and seeing that they changed.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hangu_config::{Admin, Config, Problem, SOURCE_BYTES_MAX, Source, VALUE_BYTES_MAX, Values};

/// Files that a directory of a configuration may have; more is a directory of something else.
const FILES_MAX: usize = 4096;

/// Why there is no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    Unreadable(String),
    /// It was read and is wrong.
    Wrong(Vec<Source>, Vec<Problem>),
}

/// A configuration as it was read.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, or what is wrong.
    pub result: Result<Config, LoadError>,
    /// The files that it came from.
    pub seen: Seen,
}

/// Reads and checks a configuration: a file, or a directory whose `.yaml` and `.yml` files are
/// joined in the order of their names.
pub fn load(path: &Path) -> Loaded {
    let mut seen = Seen::look(path, &[]);
    let surroundings = Surroundings::default();
    let result = match sources(path) {
        Err(why) => Err(LoadError::Unreadable(why)),
        Ok(sources) => hangu_config::load(&sources, &surroundings)
            .map_err(|problems| LoadError::Wrong(sources, problems)),
    };
    seen.named = surroundings.files.into_inner();
    Loaded { result, seen }
}

/// Where a configuration says that the admin API is; nothing if it does not say that.
pub fn admin(path: &Path) -> Option<Admin> {
    hangu_config::admin(&sources(path).ok()?, &Surroundings::default()).ok()
}

/// What the files of a configuration looked like just before they were read: another look tells
/// whether they changed.
///
/// Files are told apart by device, inode, size and time of change, all of what a link leads to. So
/// it does not matter whether a file is written anew, replaced by another, or reached by a link
/// that now leads elsewhere, as Kubernetes swaps a mounted ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    path: PathBuf,
    sources: Vec<(PathBuf, Option<Stamp>)>,
    /// Files that values refer to.
    named: Vec<(PathBuf, Option<Stamp>)>,
}

impl Seen {
    fn look(path: &Path, named: &[(PathBuf, Option<Stamp>)]) -> Self {
        let stamped = |path: PathBuf| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        };
        let is_directory = fs::metadata(path).is_ok_and(|it| it.is_dir());
        let sources = match is_directory {
            true => yaml_files(path).unwrap_or_default(),
            false => vec![path.to_owned()],
        };
        Self {
            path: path.to_owned(),
            sources: sources.into_iter().map(stamped).collect(),
            named: named.iter().map(|it| stamped(it.0.clone())).collect(),
        }
    }

    /// Looks at the same files again.
    pub fn again(&self) -> Self {
        Self::look(&self.path, &self.named)
    }
}

/// Tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            seconds: found.ctime(),
            nanoseconds: found.ctime_nsec(),
        })
    }
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

/// The environment and the files of this process, for references in the configuration.
#[derive(Default)]
struct Surroundings {
    /// Files that were asked for.
    files: RefCell<Vec<(PathBuf, Option<Stamp>)>>,
}

impl Values for Surroundings {
    /// A variable that is no Unicode counts as not there.
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        self.files.borrow_mut().push((path.to_owned(), Stamp::of(path)));
        let mut text = String::new();
        let limit = VALUE_BYTES_MAX as u64 + 1;
        let read = File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text));
        read.map_err(|error| format!("cannot be read: {error}"))?;
        Ok(text)
    }
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
    fn a_reference_to_a_file_is_one_from_the_directory_of_the_configuration() {
        let directory = scratch("reference");
        let text = "workers: ${file:workers}\nzone: ${env:HANGU_NO_SUCH_VARIABLE}\n";
        fs::write(directory.join("a.yaml"), text).unwrap();
        fs::write(directory.join("workers"), "none\n").unwrap();
        let Err(LoadError::Wrong(_, problems)) = load(&directory).result else {
            panic!("it is right")
        };
        let told: String = problems.iter().map(ToString::to_string).collect();
        assert!(told.contains("what `${file:workers}` gives cannot stand here"), "{told}");
        assert!(told.contains("no variable `HANGU_NO_SUCH_VARIABLE`"), "{told}");
        assert!(!told.contains("none"), "{told}");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_change_of_any_file_is_seen() {
        let directory = scratch("seen");
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        write("a.yaml", "zone: ${file:zone}\n");
        let changes: [(&str, &dyn Fn()); 5] = [
            ("a file that is named and was missing", &|| write("zone", "one")),
            ("a file of another name", &|| write("b.yaml", "# nothing")),
            ("a file with another text", &|| write("a.yaml", "zone: ${file:zone} \n")),
            ("a named file with another text", &|| write("zone", "other")),
            ("a link that leads elsewhere", &|| {
                write("data", "# nothing");
                let fresh = directory.join("fresh");
                std::os::unix::fs::symlink(directory.join("data"), &fresh).unwrap();
                fs::rename(fresh, directory.join("b.yaml")).unwrap();
            }),
        ];
        for (what, change) in changes {
            let seen = load(&directory).seen;
            assert_eq!(seen.again(), seen, "before {what}");
            change();
            assert_ne!(seen.again(), seen, "{what}");
        }
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
