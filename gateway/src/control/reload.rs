//! Loading the configuration again: read, compare, put in force, and say what came of it.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hangu_codecs::Time;
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

/// While `watch` is on, good files that were rejected for a reason that may pass are tried again
/// after this long, then after twice as long and so on.
const AGAIN_FIRST: Duration = Duration::from_secs(2);

/// At most so long: reading a large configuration takes a core for seconds.
const AGAIN_MAX: Duration = Duration::from_secs(60);

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
    /// Whether the files were good when they were read last, and what kept them from being put in
    /// force may pass.
    may_pass: Cell<bool>,
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
            may_pass: Cell::new(false),
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
            self.may_pass.set(false);
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
            Err(error) => {
                self.may_pass.set(true);
                return Report { diff, ..self.rejected(error.to_string()) };
            }
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
            Ok(Err(refused)) => {
                self.may_pass.set(refused.may_pass);
                Report { diff, ..self.rejected(refused.why) }
            }
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

    /// Loads the files again whenever [`Watch`] says so. Ends never.
    pub(super) async fn watch(self: &Rc<Self>) {
        let mut watch = Watch::default();
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.gateway.config().watch {
                continue;
            }
            let Some(known) = self.seen.borrow().clone() else { return };
            let again = known.clone();
            let Ok(found) = spawn_blocking(move || again.again()).await else { continue };
            let may_pass = self.may_pass.get();
            if let Some(why) = watch.look(&known, found, may_pass, clock::now()) {
                self.reload(false, why).await;
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

/// When files that are watched are loaded: when they changed and then stayed as they are from one
/// look to the next, so that none is read while it is written; and again when they were good and
/// what kept them from being put in force may have passed.
#[derive(Default)]
struct Watch {
    changed: Option<Seen>,
    /// When they are loaded though they did not change, and after how long a pause.
    again: Option<(Time, Duration)>,
}

impl Watch {
    /// Takes what the files look like now, beside what they looked like when they were read. Says
    /// why they are to be loaded, if they are.
    fn look(
        &mut self,
        known: &Seen,
        found: Seen,
        may_pass: bool,
        now: Time,
    ) -> Option<&'static str> {
        if found != *known {
            self.again = None;
            if self.changed.as_ref() != Some(&found) {
                self.changed = Some(found);
                return None;
            }
            self.changed = None;
            return Some("its files changed");
        }
        self.changed = None;
        if !may_pass {
            self.again = None;
            return None;
        }
        let next = match self.again {
            Some((due, _)) if now < due => return None,
            Some((_, pause)) => (pause * 2).min(AGAIN_MAX),
            None => AGAIN_FIRST,
        };
        let is_due = self.again.is_some();
        self.again = Some((now.after(next), next));
        is_due.then_some("what kept it out may have passed")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_ever_more_rarely_and_a_bad_file_is_not() {
        let directory = std::env::temp_dir().join(format!("hangu-watch-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("a.yaml");
        let seen = |text: &str| {
            std::fs::write(&path, text).unwrap();
            load(&path).seen
        };
        let (old, new) = (seen("# old"), seen("# newer"));
        let mut watch = Watch::default();
        let mut look = |known: &Seen, found: &Seen, may_pass, second: u64| {
            let at = Time::from_micros(second * 1_000_000);
            watch.look(known, found.clone(), may_pass, at).is_some()
        };
        // A change is taken when it stays.
        assert!(!look(&old, &new, false, 1));
        assert!(look(&old, &new, false, 2));
        // It was rejected, for a reason that may pass.
        let tries: Vec<_> = (3..300).filter(|it| look(&new, &new, true, *it)).collect();
        assert_eq!(tries, [5, 9, 17, 33, 65, 125, 185, 245]);
        // Or for good: then only a change counts, after which it begins anew.
        assert!((300..900).all(|it| !look(&new, &new, false, it)));
        assert!(!look(&new, &old, false, 900));
        assert!(look(&new, &old, false, 901));
        let tries: Vec<_> = (902..910).filter(|it| look(&old, &old, true, *it)).collect();
        assert_eq!(tries, [904, 908]);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
