//! SIGTERM and SIGINT: a graceful stop.
//!
//! Only the control thread takes them. Every other thread has them blocked, so that no system call
//! of a worker is interrupted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Inspect;

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
}

/// Lets this thread take the signals. One that came while they were blocked is not lost: it is
/// delivered now, to what was set up for it just before.
pub(super) fn take() -> io::Result<Taken> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    change_mask(libc::SIG_UNBLOCK);
    Ok(Taken { terminate, interrupt })
}

fn change_mask(how: libc::c_int) {
    // SAFETY: the set is initialised by sigemptyset before it is used, lives on this stack, and
    // only the mask of the calling thread changes. The calls fail for wrong numbers only.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Stops the gateway gracefully at the first signal and at once at the second.
pub(super) async fn stop_on_signal(mut taken: Taken, gateway: Arc<dyn Inspect>, grace: Duration) {
    let name = taken.next().await;
    tracing::info!(
        "{name}: stopping; requests in flight get {} s, another signal stops at once",
        grace.as_secs()
    );
    gateway.stop(grace);
    let name = taken.next().await;
    tracing::warn!("{name} again: stopping at once");
    gateway.stop(Duration::ZERO);
}

impl Taken {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
