//! The end of this program by a signal: what it started ends with it.

use std::{mem::MaybeUninit, path::PathBuf, ptr};

use crate::proxy::Children;

/// Signals that ask for an end.
const SIGNALS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// The signals that are waited for.
pub(crate) struct Signals(libc::sigset_t);

/// Keeps the signals from ending this thread, and all that it starts from now on.
pub(crate) fn block() -> Signals {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset makes the set a valid one; the others are given valid pointers to it.
    let set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        let mut set = set.assume_init();
        for signal in SIGNALS {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        set
    };
    Signals(set)
}

/// When one comes: ends all children, removes the directory and ends this process.
pub(crate) fn end_on(signals: Signals, children: Children, removed: Option<PathBuf>) {
    std::thread::spawn(move || {
        let mut signal = 0;
        // SAFETY: both pointers are valid for the call.
        while unsafe { libc::sigwait(&raw const signals.0, &raw mut signal) } != 0 {}
        children.end_all(None);
        if let Some(directory) = removed {
            let _ = std::fs::remove_dir_all(directory);
        }
        std::process::exit(128 + signal);
    });
}
