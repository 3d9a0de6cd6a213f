//! SIGTERM and SIGINT: a graceful stop. SIGHUP: the configuration is loaded again; one that came
//! from no file (the demo) ends with its terminal. SIGUSR1: the log files are opened anew. SIGUSR2: the gateway is handed over to
//! the program that stands where this one was started from.
//!
//! Only the control thread takes them. Every other thread has them blocked, so that no system call
//! of a worker is interrupted.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::desk::Desk;

/// Blocks the signals in this thread and those that it starts from now on. To be called before any
/// thread is started.
pub fn block() {
    change_mask(libc::SIG_BLOCK);
}

/// The signals, taken by this thread.
#[derive(Debug)]
pub(super) struct Taken {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// With the name of the signal.
    Stop(&'static str),
    Reload,
    Reopen,
    Upgrade,
}

/// All signals that are taken.
const TAKEN: [libc::c_int; 5] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// Lets this thread take the signals. One that came while they were blocked is not lost: it is
/// delivered now, to what was set up for it just before.
pub(super) fn take() -> io::Result<Taken> {
    let taken = Taken {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
        user1: signal(SignalKind::user_defined1())?,
        user2: signal(SignalKind::user_defined2())?,
    };
    change_mask(libc::SIG_UNBLOCK);
    Ok(taken)
}

fn change_mask(how: libc::c_int) {
    // SAFETY: the set is initialised by sigemptyset before it is used, lives on this stack, and
    // only the mask of the calling thread changes. The calls fail for wrong numbers only.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        for number in TAKEN {
            libc::sigaddset(set.as_mut_ptr(), number);
        }
        libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Does what signals ask for. The first that asks for a stop gets a graceful one, the second one at
/// once.
pub(super) async fn obey(mut taken: Taken, desk: Rc<Desk>) {
    let hangup = Rc::new(Notify::new());
    spawn_local(reload(Rc::clone(&hangup), Rc::clone(&desk)));
    let mut is_stopping = false;
    loop {
        let name = match taken.next().await {
            Asked::Reopen => {
                desk.reopen("SIGUSR1");
                continue;
            }
            Asked::Upgrade => {
                if let Err(busy) = desk.upgrader.begin(&desk, None, "SIGUSR2") {
                    tracing::warn!("SIGUSR2: {busy}");
                }
                continue;
            }
            Asked::Reload if desk.reloader.has_files() => {
                hangup.notify_one();
                continue;
            }
            Asked::Reload => "SIGHUP",
            Asked::Stop(name) => name,
        };
        if is_stopping {
            tracing::warn!("{name} again: stopping at once");
            desk.stop(Duration::ZERO);
            continue;
        }
        is_stopping = true;
        let grace = desk.gateway.config().drain_timeout;
        tracing::info!(
            "{name}: stopping; requests in flight get {} s, another signal stops at once",
            grace.as_secs()
        );
        desk.stop(grace);
    }
}

/// Loads the configuration whenever it is asked to, beside all else, for that may take seconds. Who
/// asks during a reload gets one more after it, for its files may have been read before they
/// changed; any number of them get the same one.
async fn reload(asked: Rc<Notify>, desk: Rc<Desk>) {
    loop {
        asked.notified().await;
        desk.reloader.reload(false, "SIGHUP").await;
    }
}

impl Taken {
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user1.recv() => Asked::Reopen,
            _ = self.user2.recv() => Asked::Upgrade,
        }
    }
}
