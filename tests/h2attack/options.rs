//! The command line.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;

use crate::attacks::{ATTACKS, Attack};

/// Attacks an HTTP/2 proxy on loopback at a bounded rate, and tells what its healthy clients notice
/// and what it costs the proxy.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// A directory with templates, among them `start`, which is run with `sh`; the proxy is started
    /// anew for each attack.
    #[arg(long, value_name = "DIRECTORY", required_unless_present_any = ["target", "list"])]
    pub(crate) proxy: Option<PathBuf>,
    /// What a name in the templates stands for.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// A proxy that runs already and speaks HTTP/2 by prior knowledge.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "proxy", requires = "pid")]
    pub(crate) target: Option<SocketAddr>,
    /// Where the same proxy speaks HTTP/1.1; without it no client does.
    #[arg(long, value_name = "ADDRESS", requires = "target")]
    pub(crate) target_http: Option<SocketAddr>,
    /// Its process; those below it count too.
    #[arg(long, value_name = "PID", requires = "target")]
    pub(crate) pid: Option<u32>,
    /// What is asked for, where the upstream is another than ours; all answers are to be the same.
    #[arg(long, value_name = "PATH", requires = "target")]
    pub(crate) path: Option<String>,
    /// What has a large answer, where the upstream is another than ours.
    #[arg(long, value_name = "PATH", requires = "path")]
    pub(crate) large_path: Option<String>,
    /// Where our upstream listens; without it at a port that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) backend: SocketAddr,

    /// Bytes a second of each attack.
    #[arg(long, value_name = "N", default_value_t = 1_000_000.0)]
    pub(crate) rate: f64,
    /// How long each attack lasts, and the same time without it before.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(crate) seconds: f64,
    /// Requests a second of the healthy client in HTTP/2; the one in HTTP/1.1 asks half as often.
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    pub(crate) healthy_rate: f64,
    /// Only these attacks.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Prints the attacks.
    #[arg(long)]
    pub(crate) list: bool,
    /// From which everything random follows; without it another one each time.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The exit code tells whether all targets were reached.
    #[arg(long)]
    pub(crate) judge: bool,
    /// Writes all that was measured.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Where configurations and logs are kept; without it they are removed.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) keep: Option<PathBuf>,
}

/// The most that is ever sent: more than any test needs.
const BYTES_PER_SECOND_MAX: f64 = 50_000_000.0;
/// The longest that one attack may last.
const SECONDS_MAX: f64 = 600.0;
/// The highest rate of healthy clients: they have one request in flight on each connection.
const HEALTHY_RATE_MAX: f64 = 2000.0;

impl Options {
    /// Refuses what is not meant to be attacked, and what has no bound.
    ///
    /// # Errors
    /// With the reason.
    pub(crate) fn check(&self) -> io::Result<()> {
        let wrong = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        let mut addresses = [Some(self.backend), self.target, self.target_http].into_iter();
        if !addresses.by_ref().flatten().all(|it| it.ip().is_loopback()) {
            return wrong("only what listens on loopback may be attacked");
        }
        let ranges = [
            ("--rate", self.rate, BYTES_PER_SECOND_MAX),
            ("--seconds", self.seconds, SECONDS_MAX),
            ("--healthy-rate", self.healthy_rate, HEALTHY_RATE_MAX),
        ];
        for (name, value, max) in ranges {
            if !(1.0..=max).contains(&value) {
                return wrong(&format!("{name} is to be from 1 to {max}"));
            }
        }
        Ok(())
    }

    /// The attacks that are wanted.
    ///
    /// # Errors
    /// There is none of a name.
    pub(crate) fn attacks(&self) -> io::Result<Vec<Attack>> {
        for name in &self.only {
            if !ATTACKS.iter().any(|it| it.name == name) {
                let text = format!("there is no attack {name}; see --list");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        let is_wanted =
            |it: &&Attack| self.only.is_empty() || self.only.iter().any(|name| name == it.name);
        Ok(ATTACKS.iter().filter(is_wanted).copied().collect())
    }

    /// How long an attack lasts.
    pub(crate) fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a name, `=` and a value")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(more: &[&str]) -> Options {
        Options::parse_from(["hangu-h2attack"].iter().chain(more))
    }

    #[test]
    fn only_loopback_may_be_attacked() {
        let check = |target: &str| options(&["--target", target, "--pid", "1"]).check();
        assert!(check("127.0.0.1:80").is_ok() && check("[::1]:80").is_ok());
        assert!(check("10.0.0.1:80").is_err() && check("192.0.2.1:80").is_err());
        assert!(check("0.0.0.0:80").is_err());
        let other = options(&["--proxy", "p", "--backend", "10.0.0.1:80"]);
        assert!(other.check().is_err());
    }

    #[test]
    fn rates_and_times_are_bounded() {
        for wrong in ["--rate=1e9", "--seconds=3600", "--healthy-rate=0", "--rate=nan"] {
            assert!(options(&["--proxy", "p", wrong]).check().is_err(), "{wrong}");
        }
    }

    #[test]
    fn attacks_are_chosen_by_name() {
        let names = |more: &[&str]| -> Vec<_> {
            options(more).attacks().unwrap().iter().map(|it| it.name).collect()
        };
        assert_eq!(names(&["--proxy", "p", "--only", "ping,churn"]), ["ping", "churn"]);
        assert_eq!(names(&["--proxy", "p"]).len(), ATTACKS.len());
        assert!(options(&["--proxy", "p", "--only", "none"]).attacks().is_err());
    }
}
