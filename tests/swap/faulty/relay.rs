//! Between the old process and the new one.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    process::Child,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, getpid, kill_process},
};

use crate::{
    fault::{Fault, Kind, When},
    frame::Frame,
};

/// Longer than the old process waits where it waits with its workers held. Elsewhere it has more
/// patience, and sees the end of this one.
const HANG: Duration = Duration::from_millis(1500);

/// Bytes that are no frame: their length is beyond any limit.
const NOISE: [u8; 64] = [0xff; 64];

/// Stands between both.
pub(crate) struct Relay {
    /// To the gateway that runs.
    pub(crate) old: UnixStream,
    /// To the real successor.
    pub(crate) new: UnixStream,
    /// The real successor.
    pub(crate) child: Child,
    /// What is done wrong, once.
    pub(crate) fault: Fault,
}

/// Whether the frame at hand is handed on.
enum Goes {
    On,
    Nowhere,
}

impl Relay {
    /// Hands on until one of both ends.
    ///
    /// # Errors
    /// What a socket says.
    pub(crate) fn run(mut self) -> io::Result<()> {
        loop {
            let (from_old, from_new) = self.wait()?;
            // The old process first: it ends when all is said.
            let (from, to) = match (from_old, from_new) {
                (true, _) => (&self.old, &self.new),
                (false, true) => (&self.new, &self.old),
                (false, false) => continue,
            };
            let Some(mut frame) = Frame::read(from)? else { break };
            let to = to.try_clone()?;
            let kind = frame.kind();
            if self.fault.when == When::Before(kind)
                && let Goes::Nowhere = self.do_wrong(&mut frame)?
            {
                continue;
            }
            frame.write(&to)?;
            if self.fault.when == When::After(kind) {
                self.do_wrong(&mut frame)?;
            }
        }
        // The real one, which serves now or has ended by itself, sees the end.
        drop((self.old, self.new));
        self.child.wait()?;
        Ok(())
    }

    fn wait(&self) -> io::Result<(bool, bool)> {
        let mut both = [&self.old, &self.new].map(|it| PollFd::new(it, PollFlags::IN));
        match poll(&mut both, None) {
            Ok(_) => Ok((!both[0].revents().is_empty(), !both[1].revents().is_empty())),
            Err(rustix::io::Errno::INTR) => Ok((false, false)),
            Err(error) => Err(error.into()),
        }
    }

    fn do_wrong(&mut self, frame: &mut Frame) -> io::Result<Goes> {
        match self.fault.kind {
            Kind::Nothing => {}
            Kind::Kill => kill(&mut self.child),
            Kind::Exit => exit(&mut self.child),
            Kind::Hang => {
                std::thread::sleep(HANG);
                exit(&mut self.child);
            }
            Kind::Noise => {
                self.old.write_all(&NOISE)?;
                return Ok(Goes::Nowhere);
            }
            Kind::Nonsense => {
                Frame::new(vec![0xff; 40]).write(&self.old)?;
                return Ok(Goes::Nowhere);
            }
            Kind::OutOfTurn => {
                let other = if frame.kind() == "prepared" { "received" } else { "prepared" };
                bare(other).write(&self.old)?;
                return Ok(Goes::Nowhere);
            }
            Kind::EarlyCommit => bare("commit").write(&self.new)?,
            // After the kind of the message and the number of versions.
            Kind::Format => frame.message[2] = 99,
            // After the versions and the text of the build, which begins with its length.
            Kind::Layout => {
                let at = 5 + usize::from(frame.message[3]);
                frame.message[at] = 99;
            }
            Kind::Damage => {
                let half = frame.announced.len() / 2;
                frame.announced[half..].iter_mut().for_each(|it| *it ^= 0xff);
            }
            Kind::Cut => frame.halve(),
            Kind::Lost => drop(frame.descriptors.pop()),
        }
        // Once is enough, and each worker has a state of its own.
        self.fault.kind = Kind::Nothing;
        Ok(Goes::On)
    }
}

/// A message that is no more than its kind.
fn bare(name: &str) -> Frame {
    let kind = hangu::swap::KINDS.iter().position(|it| *it == name).expect("a kind");
    Frame::new(vec![kind as u8])
}

/// Both die at once, as in a crash.
pub(crate) fn kill(child: &mut Child) -> ! {
    // One that is gone already needs no signal.
    let _ = child.kill();
    let _ = kill_process(getpid(), Signal::KILL);
    unreachable!("a process that was killed");
}

/// Both end.
pub(crate) fn exit(child: &mut Child) -> ! {
    let _ = child.kill();
    let _ = child.wait();
    std::process::exit(3);
}
