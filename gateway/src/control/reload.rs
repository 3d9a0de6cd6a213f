//! Loading the configuration again: read, compare, put in force, and say what came of it.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hangu_config::{Canonical, Config, Diff, Log, Problem, fingerprint};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::{spawn_blocking, spawn_local};

use super::admin::Place;
use super::files::{LoadError, Loaded, Seen, load};
use super::systemd::Service;
use super::{Inspect, ProcessLog};
use crate::clock;

/// How often the files are looked at while `watch` is on. A look costs some microseconds a file.
///
/// They are looked at, and not watched by the kernel (inotify), for that is not told of changes on
/// file systems of the network, loses the files when a directory is swapped by its link, as a
/// mounted ConfigMap is, and has limits of the whole machine.
const LOOK: Duration = Duration::from_secs(1);

/// Lines of changes or problems that go to the log; the answer of the admin API has all.
const LOG_LINES_MAX: usize = 20;

/// What came of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new configuration is in force.
    Applied,
    /// It is what is in force already.
    Unchanged,
    /// The old one stays.
    Rejected,
    /// It could be put in force, and nothing was done.
    Valid,
}

/// What came of a reload, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What came of it.
    pub outcome: Outcome,
    /// Fingerprint of the configuration that is in force now.
    pub hash: String,
    /// How the new configuration differs from the one that was in force.
    #[serde(flatten)]
    pub diff: Diff,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// Why it was rejected, when not for its problems.
    pub error: Option<String>,
}

/// Loads the configuration again when it is asked to, or when the files change.
pub(super) struct Reloader {
    gateway: Arc<dyn Inspect>,
    service: Rc<Service>,
    admin: Rc<Place>,
    log: Option<ProcessLog>,
    /// Where the configuration came from; `None` for one that came from no file.
    path: Option<PathBuf>,
    /// One reload at a time.
    turn: Arc<Mutex<()>>,
    seen: RefCell<Option<Seen>>,
    applied: Cell<u64>,
    unchanged: Cell<u64>,
    rejected: Cell<u64>,
    last: Cell<Option<Last>>,
    hash: RefCell<String>,
}

#[derive(Clone, Copy)]
struct Last {
    was_success: bool,
    unix_seconds: f64,
}

impl Reloader {
    pub(super) fn new(
        gateway: Arc<dyn Inspect>,
        service: Rc<Service>,
        admin: Rc<Place>,
        files: Option<(PathBuf, Seen)>,
        log: Option<ProcessLog>,
    ) -> Self {
        let hash = fingerprint(&gateway.config()).to_string();
        let (path, seen) = files.unzip();
        Self {
            gateway,
            service,
            admin,
            log,
            path,
            turn: Arc::default(),
            seen: RefCell::new(seen),
            applied: Cell::new(0),
            unchanged: Cell::new(0),
            rejected: Cell::new(0),
            last: Cell::new(None),
            hash: RefCell::new(hash),
        }
    }

    /// Loads the files and puts in force what they say, or says that it could be (`is_dry`). One
    /// that has begun comes to its end whether or not anyone waits for it: a client of the admin API
    /// may go away, and half a reload is none. One that waits for its turn has done nothing.
    pub(super) async fn reload(self: &Rc<Self>, is_dry: bool, asked_by: &'static str) -> Report {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let own = Rc::clone(self);
        let work = spawn_local(async move {
            let report = own.perform(is_dry, asked_by).await;
            drop(turn);
            report
        });
        work.await.unwrap_or_else(|_| self.rejected("the reload ended with a panic".to_owned()))
    }

    async fn perform(&self, is_dry: bool, asked_by: &str) -> Report {
        if is_dry {
            return self.try_reload(is_dry).await;
        }
        self.service.reloading();
        let report = self.try_reload(is_dry).await;
        self.count(report.outcome);
        log(&report, asked_by);
        self.service.reloaded(&*self.gateway, report.outcome);
        report
    }

    async fn try_reload(&self, is_dry: bool) -> Report {
        let Some(path) = self.path.clone() else {
            return self.rejected("this gateway's configuration came from no file".to_owned());
        };
        // Reading, checking and comparing large configurations takes long enough to keep probes
        // waiting.
        let gateway = Arc::clone(&self.gateway);
        let Ok((read, seen)) = spawn_blocking(move || read(&path, &*gateway)).await else {
            return self.rejected("the configuration could not be checked (a panic)".to_owned());
        };
        if !is_dry {
            *self.seen.borrow_mut() = Some(seen);
        }
        let (running, new, diff) = match read {
            Ok(Read { running, new, diff }) => (running, new, diff),
            Err(LoadError::Unreadable(why)) => return self.rejected(why),
            Err(LoadError::Wrong(_, problems)) => {
                return Report { problems, ..self.report(Outcome::Rejected, Diff::default()) };
            }
        };
        let Some(new) = new else { return self.report(Outcome::Unchanged, diff) };
        if is_dry {
            return self.report(Outcome::Valid, diff);
        }
        let admin = match self.admin.prepare(&running.admin, &new.admin) {
            Ok(admin) => (admin, new.admin.clone()),
            Err(error) => return Report { diff, ..self.rejected(error.to_string()) },
        };
        let gateway = Arc::clone(&self.gateway);
        // Waits for the workers.
        let applied = spawn_blocking(move || {
            let hash = fingerprint(&new).to_string();
            gateway.apply(*new).map(|()| hash)
        });
        match applied.await {
            Ok(Ok(hash)) => {
                *self.hash.borrow_mut() = hash;
                self.follow_log(&running);
                if admin.1 != running.admin {
                    self.admin.commit(admin.0, &admin.1);
                }
                self.report(Outcome::Applied, diff)
            }
            Ok(Err(why)) => Report { diff, ..self.rejected(why) },
            Err(_) => self.rejected("it could not be put in force (a panic)".to_owned()),
        }
    }

    /// Whether there are files to load.
    pub(super) fn has_files(&self) -> bool {
        self.path.is_some()
    }

    /// A level that was set by command stays unless the configuration names another one.
    fn follow_log(&self, before: &Config) {
        let (Some(log), now) = (&self.log, self.gateway.config()) else { return };
        if now.log == before.log {
            return;
        }
        let level = if now.log.level == before.log.level { log.level() } else { now.log.level };
        log.apply(&Log { level, ..now.log.clone() });
    }

    /// How a configuration differs from the one in force.
    pub(super) fn compare(&self, other: &Canonical) -> Diff {
        Canonical::of(&self.gateway.config()).diff(other)
    }

    fn report(&self, outcome: Outcome, diff: Diff) -> Report {
        let hash = self.hash.borrow().clone();
        Report { outcome, hash, diff, problems: Vec::new(), error: None }
    }

    fn rejected(&self, why: String) -> Report {
        Report { error: Some(why), ..self.report(Outcome::Rejected, Diff::default()) }
    }

    fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Applied => &self.applied,
            Outcome::Unchanged | Outcome::Valid => &self.unchanged,
            Outcome::Rejected => &self.rejected,
        };
        counter.set(counter.get() + 1);
        let since_epoch = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let was_success = outcome != Outcome::Rejected;
        self.last.set(Some(Last { was_success, unix_seconds: since_epoch.as_secs_f64() }));
    }

    /// Loads the files again whenever they changed and then stayed as they are for a second, so
    /// that none is read while it is written. Ends never.
    pub(super) async fn watch(self: &Rc<Self>) {
        let mut changed: Option<Seen> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.gateway.config().watch {
                continue;
            }
            let Some(seen) = self.seen.borrow().clone() else { return };
            let known = seen.clone();
            let Ok(now) = spawn_blocking(move || seen.again()).await else { continue };
            if now == known {
                changed = None;
            } else if changed.as_ref() == Some(&now) {
                changed = None;
                self.reload(false, "its files changed").await;
            } else {
                changed = Some(now);
            }
        }
    }

    /// What is counted here, for Prometheus.
    pub(super) fn render(&self, text: &mut String) {
        // Writing to memory does not fail.
        let _ = self.write(text);
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "# HELP hangu_config_info The configuration in force, by its fingerprint.")?;
        writeln!(text, "# TYPE hangu_config_info gauge")?;
        writeln!(text, "hangu_config_info{{hash=\"{}\"}} 1", self.hash.borrow())?;
        writeln!(text, "# HELP hangu_config_reloads_total Reloads of the configuration.")?;
        writeln!(text, "# TYPE hangu_config_reloads_total counter")?;
        for (result, count) in [
            ("applied", &self.applied),
            ("unchanged", &self.unchanged),
            ("rejected", &self.rejected),
        ] {
            writeln!(text, "hangu_config_reloads_total{{result=\"{result}\"}} {}", count.get())?;
        }
        // The start was a success, else nobody would ask.
        let success = self.last.get().is_none_or(|it| it.was_success);
        let name = "hangu_config_last_reload_success";
        writeln!(text, "# HELP {name} Whether the last reload was not rejected.")?;
        writeln!(text, "# TYPE {name} gauge\n{name} {}", u8::from(success))?;
        let Some(last) = self.last.get() else { return Ok(()) };
        let name = "hangu_config_last_reload_timestamp_seconds";
        writeln!(text, "# HELP {name} Time of the last reload since the Unix epoch.")?;
        writeln!(text, "# TYPE {name} gauge\n{name} {:.3}", last.unix_seconds)
    }
}

/// A configuration that was read and compared with the one in force.
struct Read {
    running: Arc<Config>,
    /// What would be put in force; `None` when that would change nothing.
    new: Option<Box<Config>>,
    diff: Diff,
}

fn read(path: &Path, gateway: &dyn Inspect) -> (Result<Read, LoadError>, Seen) {
    let Loaded { result, seen } = load(path);
    let read = result.map(|new| {
        let running = gateway.config();
        let diff = hangu_config::diff(&running, &new);
        Read { running, new: (!diff.is_empty()).then(|| Box::new(new)), diff }
    });
    (read, seen)
}

fn log(report: &Report, asked_by: &str) {
    match report.outcome {
        Outcome::Applied => {
            let count = report.diff.changes.len();
            tracing::info!("reload ({asked_by}): changes: {count}; configuration {}", report.hash);
        }
        Outcome::Unchanged | Outcome::Valid => {
            tracing::info!("reload ({asked_by}): nothing changed; configuration {}", report.hash);
        }
        Outcome::Rejected => {
            let why = report.error.clone().unwrap_or_default();
            let count = report.problems.len();
            let why = if why.is_empty() { format!("problems found: {count}") } else { why };
            tracing::error!("reload ({asked_by}): rejected, the old configuration stays: {why}");
        }
    }
    for problem in report.problems.iter().take(LOG_LINES_MAX) {
        tracing::info!("  {}", problem.to_string().replace("\n    ", "; "));
    }
    for change in report.diff.changes.iter().take(LOG_LINES_MAX) {
        tracing::info!("  {change}");
    }
}
