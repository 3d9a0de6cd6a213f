//! Handing the gateway over to another build of it: asked for by the admin API or SIGUSR2.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::desk::Desk;
use super::totals::Totals;
use crate::clock;
use crate::swap::{Farewell, Given, Gone, LastWords, Order, Report, SocketName, Words};

/// What this process needs to start a successor.
#[derive(Debug, Default)]
pub struct Lineage {
    /// The program that runs, as it was named at its start: the file may be another one since.
    pub program: PathBuf,
    /// Its arguments, without what only this process was told.
    pub arguments: Vec<OsString>,
    /// What a successor is told beside what the gateway knows.
    pub words: Words,
    /// What a successor gets beside listening sockets and that of the admin API.
    pub sockets: Vec<(SocketName, OwnedFd)>,
    /// How this process came to its gateway, if it took it over.
    pub birth: Option<Birth>,
}

/// How a process came to its gateway.
#[derive(Debug)]
pub struct Birth {
    /// The predecessor's last words.
    pub last_words: LastWords,
    /// From the order to freeze to the first writes, measured here.
    pub pause: Duration,
    /// The end of the predecessor.
    pub farewell: Farewell,
}

/// Who asks for an upgrade that is under way already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upgrade is under way already; GET /upgrade tells how far it is")]
pub(super) struct Busy;

/// The upgrades of this process.
#[derive(Debug)]
pub(super) struct Upgrader {
    program: PathBuf,
    arguments: Vec<OsString>,
    generation: u64,
    demo: Option<String>,
    sockets: Vec<(SocketName, OwnedFd)>,
    is_busy: Cell<bool>,
    /// Whether there is no predecessor, or none any more.
    is_alone: watch::Sender<bool>,
    /// The last try, or the one that is under way.
    report: RefCell<Option<Report>>,
    /// With what grace the predecessor was told to stop when it owned nothing any more.
    stop: Cell<Option<Duration>>,
    /// How this process came to its gateway: the last one that succeeded.
    success: Option<Report>,
    /// What was counted by the processes before.
    pub(super) totals: Totals,
    succeeded: Cell<u64>,
    failed: Cell<u64>,
}

/// Stops the gateway if its predecessor was told to when it was this process's already.
pub(super) async fn stop_if_meant(desk: Rc<Desk>) {
    desk.upgrader.wait_until_alone().await;
    if let Some(grace) = desk.upgrader.stop.take() {
        tracing::info!("stopping, as the process before was told to");
        desk.stop(grace);
    }
}

/// The predecessor ends within a fraction of a second; one that does not is told of.
const FAREWELL_WAIT: Duration = Duration::from_secs(30);

impl Upgrader {
    pub(super) fn new(lineage: Lineage) -> Rc<Self> {
        let Lineage { program, arguments, words, sockets, birth } = lineage;
        let (mut report, mut totals) = (None, Totals::default());
        let mut farewell = None;
        let succeeded = Cell::new(0);
        if let Some(birth) = birth {
            totals = Totals::read(&birth.last_words.metrics);
            let pause_us = u64::try_from(birth.pause.as_micros()).ok();
            report = Some(Report { pause_us, ..birth.last_words.report });
            farewell = Some(birth.farewell);
            succeeded.set(1);
        }
        let own = Rc::new(Self {
            program,
            arguments,
            generation: words.generation,
            demo: words.demo,
            sockets,
            is_busy: Cell::new(farewell.is_some()),
            is_alone: watch::Sender::new(farewell.is_none()),
            report: RefCell::new(report.clone()),
            success: report,
            stop: Cell::new(None),
            totals,
            succeeded,
            failed: Cell::new(0),
        });
        if let Some(farewell) = farewell {
            tokio::task::spawn_local(Rc::clone(&own).see_off(farewell));
        }
        own
    }

    /// Waits for the end of the predecessor.
    async fn see_off(self: Rc<Self>, farewell: Farewell) {
        let gone = spawn_blocking(move || farewell.wait(FAREWELL_WAIT)).await.unwrap_or_default();
        let Gone { after_us: gone, stop } = gone;
        self.stop.set(stop);
        self.is_busy.set(false);
        self.is_alone.send_replace(true);
        let mut report = self.report.borrow_mut();
        let Some(report) = report.as_mut() else { return };
        report.old_gone_us = gone;
        report.is_complete = gone.is_some();
        let pause = report.pause_us.unwrap_or(0) as f64 / 1e3;
        match gone {
            Some(gone) => tracing::info!(
                "took over from process {} (version {}): {} connections and {} requests in flight, \
                 pause {pause:.1} ms, gone after {:.1} ms; {}",
                report.old_pid,
                report.old_version,
                report.connections,
                report.exchanges,
                gone as f64 / 1e3,
                report.times()
            ),
            None => tracing::error!(
                "process {} still runs, though its gateway was taken over {} s ago",
                report.old_pid,
                FAREWELL_WAIT.as_secs()
            ),
        }
    }

    /// Waits until the predecessor is gone, or was waited for long enough.
    pub(super) async fn wait_until_alone(&self) {
        // The sender is here, so it does not fail.
        let _ = self.is_alone.subscribe().wait_for(|it| *it).await;
    }

    /// How the last upgrade went, or how far it is.
    pub(super) fn report(&self) -> Option<Report> {
        self.report.borrow().clone()
    }

    fn order(&self, desk: &Desk, program: Option<PathBuf>) -> std::io::Result<Order> {
        let again =
            |(name, socket): &(SocketName, OwnedFd)| Ok((name.clone(), socket.try_clone()?));
        let mut sockets: Vec<_> = self.sockets.iter().map(again).collect::<std::io::Result<_>>()?;
        sockets.extend(desk.admin.for_successor()?);
        Ok(Order {
            program: program.unwrap_or_else(|| self.program.clone()),
            arguments: self.arguments.clone(),
            words: Words {
                generation: self.generation + 1,
                admin_token: desk.admin.access().made_here(),
                demo: self.demo.clone(),
            },
            sockets,
            drain: desk.gateway.config().drain_timeout,
        })
    }

    /// Begins to hand over to `program`, or to the file that this program was started from. The
    /// process ends when that succeeds.
    ///
    /// # Errors
    /// One is under way.
    pub(super) fn begin(
        self: &Rc<Self>,
        desk: &Rc<Desk>,
        program: Option<PathBuf>,
        asked_by: &str,
    ) -> Result<(), Busy> {
        if self.is_busy.replace(true) {
            return Err(Busy);
        }
        tracing::info!("upgrade ({asked_by}): starting the new process");
        *self.report.borrow_mut() = Some(Report {
            old_pid: std::process::id(),
            old_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Report::default()
        });
        let (own, desk) = (Rc::clone(self), Rc::clone(desk));
        tokio::task::spawn_local(async move { own.hand_over(desk, program).await });
        Ok(())
    }

    async fn hand_over(self: Rc<Self>, desk: Rc<Desk>, program: Option<PathBuf>) {
        let order = match self.order(&desk, program) {
            Ok(order) => order,
            Err(error) => return self.fail(format!("no descriptors left: {error}")),
        };
        let (tell, mut told) = unbounded_channel();
        let gateway = Arc::clone(&desk.gateway);
        let mut giving = spawn_blocking(move || {
            // Nobody listens any more when the control thread ends.
            gateway.give(order, &mut |report| drop(tell.send(report.clone())))
        });
        let mut since = clock::now();
        let given = loop {
            tokio::select! {
                // What was told before the end is heard before it.
                biased;
                Some(report) = told.recv() => {
                    since = clock::now();
                    *self.report.borrow_mut() = Some(report);
                }
                given = &mut giving => break given,
            }
        };
        if !matches!(given, Ok(Ok(_))) {
            self.note_broken(since.since(clock::now()));
        }
        match given {
            Ok(Ok(given)) => self.leave(&desk, given).await,
            Ok(Err(refusal)) => self.fail(refusal.to_string()),
            Err(_) => self.fail("a panic in the hand-over".to_owned()),
        }
    }

    /// The phase that was under way is the last one, and took so long.
    fn note_broken(&self, took: Duration) {
        if let Some(report) = self.report.borrow_mut().as_mut()
            && report.new_pid != 0
            && let Some(phase) = report.under_way()
        {
            report.phases.push((phase, u64::try_from(took.as_micros()).unwrap_or(u64::MAX)));
        }
    }

    fn fail(&self, why: String) {
        tracing::error!("upgrade: {why}; this process goes on");
        self.failed.set(self.failed.get() + 1);
        if let Some(report) = self.report.borrow_mut().as_mut() {
            report.error = Some(why);
        }
        self.is_busy.set(false);
    }

    /// All is the successor's: says the last words and ends the process.
    async fn leave(&self, desk: &Desk, given: Given) {
        tracing::info!(
            "upgrade: process {} owns the gateway now; this one ends",
            given.report.new_pid
        );
        // The new process answers when it has heard the last words, and whoever asked here has his
        // answer by then: so nobody sees a counter fall.
        desk.doors.close().await;
        let metrics = super::api::render_metrics(desk);
        let level = desk.log.as_ref().map(|it| it.level().as_str().to_owned());
        let (log, notifier) = (desk.log.clone(), desk.service.notifier().clone());
        let successor = given.report.new_pid;
        let left = spawn_blocking(move || {
            given.leave(metrics, level, || {
                if let Err(error) = notifier.hand_over(successor) {
                    tracing::error!(%error, "the service manager does not follow to the new process");
                }
                if let Some(log) = log {
                    log.flush();
                }
            })
        });
        // It never comes back.
        let _ = left.await;
    }

    /// What is counted here, for Prometheus.
    pub(super) fn render(&self, text: &mut String) {
        // Writing to memory does not fail.
        let _ = self.write(text);
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let name = "hangu_upgrades_total";
        writeln!(text, "# HELP {name} Hand-overs to another process, or tries of them.")?;
        writeln!(text, "# TYPE {name} counter")?;
        writeln!(text, "{name}{{result=\"success\"}} {}", self.succeeded.get())?;
        writeln!(text, "{name}{{result=\"failure\"}} {}", self.failed.get())?;
        let name = "hangu_upgrade_generation";
        writeln!(text, "# HELP {name} Processes before this one since the first start.")?;
        writeln!(text, "# TYPE {name} gauge\n{name} {}", self.generation)?;
        let Some(report) = &self.success else { return Ok(()) };
        let Some(pause) = report.pause_us else { return Ok(()) };
        let name = "hangu_upgrade_pause_seconds";
        writeln!(
            text,
            "# HELP {name} From the order to freeze to the first write of this process."
        )?;
        writeln!(text, "# TYPE {name} gauge\n{name} {}", pause as f64 / 1e6)?;
        let name = "hangu_upgrade_moved";
        writeln!(text, "# HELP {name} What moved to this process.")?;
        writeln!(text, "# TYPE {name} gauge")?;
        writeln!(text, "{name}{{what=\"connections\"}} {}", report.connections)?;
        writeln!(text, "{name}{{what=\"requests\"}} {}", report.exchanges)
    }
}
