//! What the figures were taken on.

use std::fs;

use serde::Serialize;

/// A machine, in its own words.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that the bench may use.
    pub cores: usize,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The kernel's name and version.
    pub kernel: String,
}

impl Machine {
    /// The machine that this runs on; what it does not tell is empty.
    #[must_use]
    pub fn this() -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|it| it.split_once(':')).map(|it| it.1.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kibibytes: Option<u64> =
            memory.split_whitespace().next().and_then(|number| number.parse().ok());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: crate::process::cores().map_or(0, |cores| cores.len()),
            memory_bytes: kibibytes.unwrap_or(0) * 1024,
            kernel: format!("Linux {}", release.trim()),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gibibytes = self.memory_bytes as f64 / f64::from(1 << 30);
        let Self { processor, cores, kernel, .. } = self;
        write!(f, "{processor}, {cores} cores, {gibibytes:.0} GiB, {kernel}")
    }
}
