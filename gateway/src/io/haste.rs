//! Short turns on a core for a thread that others wait for.

use std::marker::PhantomData;

/// While this lives the thread that made it gets its core in short turns: when it is woken it does
/// not wait until whoever runs there has used up a turn of the usual length. Its share of the core
/// stays what it is, so this needs no privilege. A kernel that knows no such turns (before Linux
/// 6.12), or a sandbox that forbids the call, leaves everything as it is.
pub struct Haste {
    before: Option<Turns>,
    /// It is this thread's.
    thread: PhantomData<*const ()>,
}

impl Haste {
    /// Short turns from now on.
    pub fn begin() -> Self {
        let before = Turns::read().filter(|it| SHARED.contains(&it.policy));
        if let Some(before) = before {
            Turns { runtime: TURN_NANOS_MIN, ..before }.write();
        }
        Self { before, thread: PhantomData }
    }
}

impl Drop for Haste {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            before.write();
        }
    }
}

/// How the kernel shares a core with a thread: `struct sched_attr`, `sched_setattr(2)`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Turns {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Nanoseconds of a turn.
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Turns {
    /// Those of the calling thread.
    fn read() -> Option<Self> {
        let mut turns = Self::default();
        let size = size_of::<Self>();
        // SAFETY: the kernel writes at most `size` bytes, which are all integers.
        let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut turns, size, 0) };
        (read == 0).then_some(turns)
    }

    /// Lets the calling thread have them.
    fn write(self) {
        // In vain where it is not allowed, which does no harm.
        // SAFETY: the kernel reads as many bytes as `size` says, which it wrote itself.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const self, 0) };
    }
}

/// Policies under which threads share a core by weight: `SCHED_OTHER` and `SCHED_BATCH`.
const SHARED: [u32; 2] = [libc::SCHED_OTHER as u32, libc::SCHED_BATCH as u32];

/// The shortest turn that the kernel grants.
const TURN_NANOS_MIN: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_short_for_a_while_and_then_what_they_were() {
        let before = Turns::read().map(|it| (it.policy, it.nice, it.runtime));
        let haste = Haste::begin();
        let meanwhile = Turns::read().map(|it| (it.policy, it.nice));
        assert_eq!(meanwhile, before.map(|it| (it.0, it.1)));
        drop(haste);
        assert_eq!(Turns::read().map(|it| (it.policy, it.nice, it.runtime)), before);
    }
}
