//! Child processes that never outlive the test.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::wait::{until_some, until_some_within};

/// A child process; ended when dropped. Its output is gathered.
pub struct Process {
    child: Child,
    name: String,
    output: Arc<Mutex<String>>,
    unread: Option<(ChildStdout, ChildStderr)>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Starts a command. Its standard input is a pipe that stays open as long as this value lives.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::start_with(name, command, Stdio::piped())
    }

    /// The same with another standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with(name: &str, command: &mut Command, stdin: Stdio) -> Self {
        let mut process = Self::spawn(name, command, stdin);
        process.read();
        process
    }

    /// As [`Process::start`], but nobody reads its output until [`Process::read`].
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_unread(name: &str, command: &mut Command) -> Self {
        Self::spawn(name, command, Stdio::piped())
    }

    fn spawn(name: &str, command: &mut Command, stdin: Stdio) -> Self {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().expect("a pipe");
        let unread = Some((stdout, stderr));
        Self { child, name: name.to_owned(), output, unread, readers: Vec::new() }
    }

    /// Gathers its output from now on.
    pub fn read(&mut self) {
        let Some((stdout, stderr)) = self.unread.take() else { return };
        self.readers = vec![gather(stdout, &self.output), gather(stderr, &self.output)];
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that the process wrote so far, standard error included.
    pub fn output(&self) -> String {
        self.output.lock().expect("no poison").clone()
    }

    /// Whether what it wrote so far contains the text.
    pub fn has_said(&self, text: &str) -> bool {
        self.output.lock().expect("no poison").contains(text)
    }

    /// Waits for a line that contains the text, and gives it back.
    ///
    /// # Panics
    /// When the process ends or the time is over before.
    pub fn wait_for(&mut self, text: &str) -> String {
        let what = format!("{} says {text:?}", self.name);
        let name = self.name.clone();
        let output = Arc::clone(&self.output);
        let child = &mut self.child;
        until_some(&what, || {
            let ended = child.try_wait().expect("its state");
            let said = output.lock().expect("no poison").clone();
            if let Some(line) = said.lines().find(|it| it.contains(text)) {
                return Some(line.to_owned());
            }
            assert!(ended.is_none(), "{name} ended ({ended:?}) before it said {text:?}:\n{said}");
            None
        })
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let (name, child) = (self.name.clone(), &mut self.child);
        let status = until_some_within(patience, &format!("{name} ends"), || {
            child.try_wait().expect("its state")
        });
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: kill(2) takes two integers; the process is our child and not yet reaped.
        unsafe { libc::kill(id, signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- output of {}:\n{}---", self.name, self.output());
        }
    }
}

fn gather(
    pipe: impl Read + Send + 'static,
    output: &Arc<Mutex<String>>,
) -> std::thread::JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            output.lock().expect("no poison").push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("a parent directory").to_owned()
}
