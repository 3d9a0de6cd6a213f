//! The proxy under test, where it is started here: known by its templates alone.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

pub(crate) use crate::children::{Children, Ended};
use crate::{clock, template::Values};

/// How long a proxy has to begin to listen.
const START: Duration = Duration::from_secs(30);
/// How much of what a process said last is shown.
const WORDS_BYTES: usize = 2000;

/// How to start it, before ports are known.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// A directory with `start`, which `sh` runs, and other templates.
    pub(crate) templates: PathBuf,
    /// Names that stand for a fixed value.
    pub(crate) set: Vec<(String, String)>,
    /// Where the upstream listens.
    pub(crate) upstream: SocketAddr,
}

/// A running proxy. It ends with this value.
pub(crate) struct Proxy {
    children: Children,
    /// The process that was started.
    pub(crate) process: u32,
    /// Where it listens for HTTP/2.
    pub(crate) h2: SocketAddr,
    /// Where it listens for HTTP/1.1.
    pub(crate) http: SocketAddr,
    log: PathBuf,
}

impl Proxy {
    /// Starts it with files in this directory and waits until it listens.
    ///
    /// # Errors
    /// It cannot be started or does not listen; the error holds its own last words.
    pub(crate) fn start(
        recipe: &Recipe,
        directory: &Path,
        children: &Children,
    ) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let [h2, http, grpc, admin] = free_addresses()?;
        let mut values = Values::default();
        let addresses = [
            ("h2", h2),
            ("http", http),
            ("grpc", grpc),
            ("admin", admin),
            ("upstream_http", recipe.upstream),
            ("upstream_h2", recipe.upstream),
        ];
        for (name, address) in addresses {
            values.set(name, address);
            values.set(&format!("{name}_port"), address.port());
        }
        values.set("directory", directory.display());
        values.set("workers", 1);
        for (name, value) in &recipe.set {
            values.set(name, value);
        }
        for entry in fs::read_dir(&recipe.templates)? {
            let entry = entry?;
            let text = fs::read_to_string(entry.path())?;
            fs::write(directory.join(entry.file_name()), values.render(&text))?;
        }
        let log = directory.join("start.log");
        let output = File::create(&log)?;
        let mut command = Command::new("sh");
        command.arg(directory.join("start")).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let process = children.spawn(&mut command)?;
        let proxy = Self { children: children.clone(), process, h2, http, log };
        let settled = clock::retry(START, || {
            let is_up = [h2, http].iter().all(|it| TcpStream::connect(it).is_ok());
            let ended: Option<Ended> = children.ended(process);
            (is_up || ended.is_some()).then_some(is_up)
        });
        match settled {
            Some(true) => Ok(proxy),
            _ => Err(io::Error::other(format!("the proxy is not up:\n{}", proxy.last_words()))),
        }
    }

    /// What it said last.
    pub(crate) fn last_words(&self) -> String {
        let words = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&words[words.len().saturating_sub(WORDS_BYTES)..]).into_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.children.end_all(Some(self.process));
    }
}

fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    // All are held until all are known, so that they differ.
    let held: Vec<_> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&held) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}
