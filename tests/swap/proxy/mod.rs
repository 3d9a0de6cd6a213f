//! The proxy under test, known by its commands alone: one that starts it, others that swap it.

mod children;
mod template;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) use children::{Children, Ended, Watched};
pub(crate) use template::Values;

use crate::{client::Targets, clock, plan::Plan};

/// How long a proxy has to begin to listen.
const START: Duration = Duration::from_secs(30);
/// How much of what a process said last is shown.
const WORDS_BYTES: u64 = 2000;

/// How to start, swap and find it, before ports are known.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Files into which ports are filled in.
    pub(crate) templates: Vec<PathBuf>,
    /// Starts it; stays with it or ends.
    pub(crate) start: String,
    /// Swap it, in turn.
    pub(crate) swaps: Vec<SwapCommand>,
    /// Prints the id of the process that serves.
    pub(crate) pid: Option<String>,
    /// Names that stand for a fixed value.
    pub(crate) set: Vec<(String, String)>,
    /// Names that stand for another value after each swap.
    pub(crate) vary: Vec<(String, Vec<String>)>,
}

/// A command that swaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SwapCommand {
    /// What the shell is given.
    pub(crate) command: String,
    /// It is to fail, and nothing else is to happen.
    pub(crate) fails: bool,
}

/// A running proxy. It ends with this value, and all that it started.
pub(crate) struct Proxy {
    recipe: Recipe,
    values: Values,
    directory: PathBuf,
    children: Children,
    targets: Targets,
    pid: Option<u32>,
}

/// What became of an order to swap.
#[derive(Clone, Debug)]
pub(crate) struct Swapped {
    /// The command, with all filled in.
    pub(crate) command: String,
    /// What the names that vary stood for.
    pub(crate) with: BTreeMap<String, String>,
    /// How it ended; `None` when it did not in time, and was killed.
    pub(crate) ended: Option<Ended>,
    /// When it was given.
    pub(crate) begin: Instant,
    /// When it ended.
    pub(crate) end: Instant,
    /// What it said, errors included.
    pub(crate) words: String,
    /// Connections that waited in the listener's queue for HTTP/1.1 at most, where that was looked
    /// at.
    pub(crate) queued_max: Option<u64>,
    /// The process that serves now, as far as is known.
    pub(crate) pid: Option<u32>,
}

/// Where the backend listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstreams {
    /// For HTTP/1.1.
    pub(crate) http: SocketAddr,
    /// For HTTP/2.
    pub(crate) http2: SocketAddr,
    /// For Bolt.
    pub(crate) bolt: SocketAddr,
}

impl Proxy {
    /// Starts it with files in this directory and waits until it listens, for Bolt and
    /// HTTP/2 if they are spoken.
    ///
    /// # Errors
    /// It cannot be started or does not listen; the error holds its own last words.
    pub(crate) fn start(
        recipe: &Recipe,
        directory: &Path,
        upstreams: Upstreams,
        children: &Children,
        plan: &Plan,
    ) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let [http, http2, bolt, admin] = free_addresses()?;
        let mut values = Values::default();
        let addresses = [
            ("http", http),
            ("http2", http2),
            ("bolt", bolt),
            ("admin", admin),
            ("upstream_http", upstreams.http),
            ("upstream_http2", upstreams.http2),
            ("upstream_bolt", upstreams.bolt),
        ];
        for (name, address) in addresses {
            values.set(name, address);
            values.set(&format!("{name}_port"), address.port());
        }
        values.set("directory", directory.display());
        for (name, value) in &recipe.set {
            values.set(name, value);
        }
        let mut proxy = Self {
            recipe: recipe.clone(),
            values,
            directory: directory.to_owned(),
            children: children.clone(),
            targets: Targets { http, http2, bolt },
            pid: None,
        };
        proxy.vary(0);
        proxy.render()?;
        let log = proxy.directory.join("start.log");
        let mut command = proxy.shell(&proxy.recipe.start, &log)?;
        let child = children.spawn(&mut command)?;
        let others = [plan.has_http2().then_some(http2), plan.has_bolt().then_some(bolt)];
        let needed: Vec<SocketAddr> =
            std::iter::once(http).chain(others.into_iter().flatten()).collect();
        let settled = clock::retry(START, || {
            let is_up = needed.iter().all(|it| TcpStream::connect(it).is_ok());
            let ended = children.ended(child).filter(|it| *it != Ended::Exited(0));
            (is_up || ended.is_some()).then_some(is_up)
        });
        if settled != Some(true) {
            return Err(io::Error::other(format!("the proxy is not up:\n{}", last_words(&log))));
        }
        proxy.pid = proxy.ask_pid().or(Some(child));
        Ok(proxy)
    }

    /// Where it listens.
    pub(crate) fn targets(&self) -> Targets {
        self.targets
    }

    /// The process that serves, as far as is known.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Prepares what a swap needs: files are written anew with the values of its turn.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn prepare(&mut self, swap: u32) -> io::Result<SwapCommand> {
        self.vary(swap as usize + 1);
        self.values.set("swap", swap);
        self.values.set("pid", self.pid.map_or_else(String::new, |it| it.to_string()));
        self.render()?;
        let commands = &self.recipe.swaps;
        let command = &commands[swap as usize % commands.len()];
        Ok(SwapCommand { command: self.values.render(&command.command), fails: command.fails })
    }

    /// Gives a prepared order and waits until it is carried out; looks meanwhile at the listener's
    /// queue if that is wanted.
    ///
    /// # Errors
    /// The shell cannot be started.
    pub(crate) fn swap(
        &mut self,
        swap: u32,
        command: &SwapCommand,
        patience: Duration,
        looks_at_queue: bool,
    ) -> io::Result<Swapped> {
        let log = self.directory.join(format!("swap-{swap}.log"));
        let mut shell = self.shell(&command.command, &log)?;
        let begin = clock::now();
        let child = self.children.spawn(&mut shell)?;
        let mut queued_max = None;
        if looks_at_queue {
            // Every few milliseconds, for reading the table of sockets takes about as long.
            let port = self.targets.http.port();
            clock::retry(patience, || {
                queued_max = queued_max.max(queued(port));
                self.children.ended(child)
            });
        }
        let ended = self.children.wait(child, patience);
        let end = clock::now();
        if ended.is_none() {
            children::send(child, rustix::process::Signal::KILL);
        }
        let words = last_words(&log);
        if ended == Some(Ended::Exited(0)) {
            let said = words.lines().last().and_then(|line| line.trim().parse().ok());
            self.pid = self.ask_pid().or(said);
        }
        let command = command.command.clone();
        let with = self.varied(swap as usize + 1);
        Ok(Swapped { command, with, ended, begin, end, words, queued_max, pid: self.pid })
    }

    fn varied(&self, turn: usize) -> BTreeMap<String, String> {
        let value = |values: &Vec<String>| values[turn % values.len()].clone();
        self.recipe.vary.iter().map(|(name, values)| (name.clone(), value(values))).collect()
    }

    fn vary(&mut self, turn: usize) {
        for (name, value) in self.varied(turn) {
            self.values.set(&name, value);
        }
    }

    fn render(&self) -> io::Result<()> {
        for template in &self.recipe.templates {
            let text = fs::read_to_string(template)?;
            let Some(name) = template.file_name() else { continue };
            // Whoever watches the file sees the whole of it.
            let (path, new) = (self.directory.join(name), self.directory.join("new"));
            fs::write(&new, self.values.render(&text))?;
            fs::set_permissions(&new, fs::metadata(template)?.permissions())?;
            fs::rename(new, path)?;
        }
        Ok(())
    }

    fn ask_pid(&self) -> Option<u32> {
        let log = self.directory.join("pid.log");
        let mut shell = self.shell(self.recipe.pid.as_ref()?, &log).ok()?;
        let child = self.children.spawn(&mut shell).ok()?;
        self.children.wait(child, START)?;
        last_words(&log).trim().parse().ok()
    }

    /// Its output goes to a file: a pipe would be kept open by whatever the command leaves behind.
    fn shell(&self, command: &str, log: &Path) -> io::Result<Command> {
        let output = File::create(log)?;
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(self.values.render(command)).stdin(Stdio::null());
        shell.stdout(output.try_clone()?).stderr(output);
        Ok(shell)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.children.end_all(self.pid);
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

/// Connections that wait to be accepted at a port, over all sockets that listen there.
fn queued(port: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let waiting = |line: &str| {
        // The number, local and remote address, the state, and the two queues; all hexadecimal. Of
        // a socket that listens, the second queue is that of connections.
        let mut fields = line.split_whitespace().skip(1);
        let here = fields.next()?.rsplit_once(':')?.1;
        let state = fields.nth(1)?;
        let queue = fields.next()?.split_once(':')?.1;
        let is_meant = state == "0A" && u16::from_str_radix(here, 16) == Ok(port);
        is_meant.then(|| u64::from_str_radix(queue, 16).unwrap_or(0))
    };
    table.lines().filter_map(waiting).reduce(|sum, it| sum + it)
}

fn last_words(log: &Path) -> String {
    let words = fs::read(log).unwrap_or_default();
    let start = words.len().saturating_sub(WORDS_BYTES as usize);
    String::from_utf8_lossy(&words[start..]).into_owned()
}
