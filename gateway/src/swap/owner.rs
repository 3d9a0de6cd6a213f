//! Who owns the connections: one state machine for each side, pure, so that all orders of events
//! can be tried.
//!
//! ```text
//! predecessor   Serving ──hold──► Offering ──Thawed──► Gone          (says Commit in between)
//!                  ▲                 │
//!                  └──anything else──┘
//!
//! successor     Waiting ──Values──► Inert ──Commit──► Serving
//!                  │                  │
//!                  └──anything else──►Ended
//! ```
//! There is no way back from `Gone`, and none into `Serving` of the successor but by the one
//! message that only a predecessor says that has ceased to serve. So both never serve; and neither
//! does only between the sending of `Commit` and its arrival, which no timeout can interrupt: the
//! message is in the kernel, and only the death of the successor, which owns by then, loses it.

/// What a side hears of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Predecessor: what was given is thawed. Successor: the values are there and thawed.
    Thawed,
    /// Successor: it is all yours.
    Commit,
    /// The other side refuses, is gone, is silent for too long, or says what it should not.
    Failed,
}

/// Who owns the connections, as one side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This side, and it serves.
    This,
    /// This side, and it stands still for the moment.
    ThisHeld,
    /// Not this side.
    Other,
}

/// The side that hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// It serves.
    Serving,
    /// Its workers are held, and their values with the successor.
    Offering,
    /// It has let go.
    Gone,
}

impl Predecessor {
    /// The workers are held.
    #[must_use]
    pub fn hold(self) -> Self {
        match self {
            Self::Serving => Self::Offering,
            Self::Offering | Self::Gone => self,
        }
    }

    /// Whether this event is the moment to say `Commit`. It is to be said before
    /// [`Predecessor::on`] is told, and if it cannot be said, [`Event::Failed`] is what happened.
    pub fn commits_on(self, event: Event) -> bool {
        self == Self::Offering && event == Event::Thawed
    }

    /// What becomes of it.
    #[must_use]
    pub fn on(self, event: Event) -> Self {
        match (self, event) {
            (Self::Offering, Event::Thawed) | (Self::Gone, _) => Self::Gone,
            (Self::Serving | Self::Offering, _) => Self::Serving,
        }
    }

    /// Who owns.
    pub fn owner(self) -> Owner {
        match self {
            Self::Serving => Owner::This,
            Self::Offering => Owner::ThisHeld,
            Self::Gone => Owner::Other,
        }
    }
}

/// The side that takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// It prepares.
    Waiting,
    /// It has all, and does nothing with it.
    Inert,
    /// It serves.
    Serving,
    /// It lets go of all without a word to any connection, and ends.
    Ended,
}

impl Successor {
    /// What becomes of it.
    #[must_use]
    pub fn on(self, event: Event) -> Self {
        match (self, event) {
            (Self::Waiting, Event::Thawed) => Self::Inert,
            (Self::Inert, Event::Commit) | (Self::Serving, _) => Self::Serving,
            (Self::Waiting | Self::Inert | Self::Ended, _) => Self::Ended,
        }
    }

    /// Who owns.
    pub fn owner(self) -> Owner {
        match self {
            Self::Serving => Owner::This,
            Self::Waiting | Self::Inert | Self::Ended => Owner::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// SplitMix64: a failure prints its seed.
    struct Random(u64);

    impl Random {
        fn next(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)) % below
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Said {
        Values,
        Thawed,
        Refused,
        Commit,
    }

    /// Two processes and the socket between them. What one wrote before it died still arrives;
    /// then the other sees the end.
    struct World {
        predecessor: Predecessor,
        successor: Successor,
        to_successor: VecDeque<Said>,
        to_predecessor: VecDeque<Said>,
        successor_lives: bool,
        /// The predecessor ended the conversation.
        is_hung_up: bool,
        offers: u32,
    }

    impl World {
        fn new() -> Self {
            Self {
                predecessor: Predecessor::Serving,
                successor: Successor::Waiting,
                to_successor: VecDeque::new(),
                to_predecessor: VecDeque::new(),
                successor_lives: true,
                is_hung_up: false,
                offers: 0,
            }
        }

        fn tell_predecessor(&mut self, event: Event) {
            if self.predecessor.commits_on(event) {
                // Writing to a process that is dead fails, or succeeds if it dies just after.
                if !self.successor_lives {
                    return self.tell_predecessor(Event::Failed);
                }
                self.to_successor.push_back(Said::Commit);
            }
            let before = self.predecessor;
            self.predecessor = before.on(event);
            if event == Event::Failed && before == Predecessor::Offering {
                self.is_hung_up = true;
            }
        }

        fn tell_successor(&mut self, event: Event) {
            self.successor = self.successor.on(event);
            if self.successor == Successor::Ended {
                self.successor_lives = false;
            }
        }

        fn step(&mut self, random: &mut Random) {
            match random.next(9) {
                0 if self.predecessor == Predecessor::Serving && self.offers == 0 => {
                    self.predecessor = self.predecessor.hold();
                    self.offers += 1;
                    self.to_successor.push_back(Said::Values);
                }
                // The predecessor's patience ends, whatever is under way.
                1 if self.predecessor == Predecessor::Offering => {
                    self.tell_predecessor(Event::Failed);
                }
                // The successor dies, by a panic or from outside.
                2 if random.next(4) == 0 => self.successor_lives = false,
                3 | 4 => match self.to_predecessor.pop_front() {
                    Some(Said::Thawed) => self.tell_predecessor(Event::Thawed),
                    Some(Said::Refused | Said::Values | Said::Commit) => {
                        self.tell_predecessor(Event::Failed);
                    }
                    None if !self.successor_lives => self.tell_predecessor(Event::Failed),
                    None => {}
                },
                5..=7 if self.successor_lives => match self.to_successor.pop_front() {
                    Some(Said::Values) if random.next(5) == 0 => {
                        self.to_predecessor.push_back(Said::Refused);
                        self.tell_successor(Event::Failed);
                    }
                    Some(Said::Values) => {
                        self.tell_successor(Event::Thawed);
                        self.to_predecessor.push_back(Said::Thawed);
                        // One that talks twice, or out of turn.
                        if random.next(10) == 0 {
                            self.to_predecessor.push_back(Said::Thawed);
                        }
                    }
                    Some(Said::Commit) => self.tell_successor(Event::Commit),
                    Some(Said::Thawed | Said::Refused) => self.tell_successor(Event::Failed),
                    None if self.is_hung_up => self.tell_successor(Event::Failed),
                    None => {}
                },
                // The successor's own patience. It never gives up once it has said that it is ready:
                // it does not know whether it owns already. Only the end of the conversation tells.
                8 if self.successor_lives && self.successor == Successor::Waiting => {
                    self.tell_successor(Event::Failed);
                }
                _ => {}
            }
        }

        fn check(&self, seed: u64) {
            let both =
                self.predecessor.owner() != Owner::Other && self.successor.owner() == Owner::This;
            assert!(!both, "both own, seed {seed}");
            let neither =
                self.predecessor.owner() == Owner::Other && self.successor.owner() == Owner::Other;
            let is_under_way = self.to_successor.contains(&Said::Commit);
            assert!(
                !neither || is_under_way || !self.successor_lives,
                "neither owns, seed {seed}: {:?} {:?}",
                self.predecessor,
                self.successor
            );
        }
    }

    #[test]
    fn never_both_and_never_neither_owns_whatever_is_lost_or_dies_when() {
        let (mut committed, mut rolled_back, mut died_before) = (0, 0, 0);
        for seed in 0..10_000 {
            let mut random = Random(seed);
            let mut world = World::new();
            for _ in 0..200 {
                world.step(&mut random);
                world.check(seed);
            }
            // Everything comes to rest: what is under way arrives.
            for _ in 0..50 {
                if let Some(Said::Commit) = world.to_successor.front()
                    && world.successor_lives
                {
                    world.to_successor.pop_front();
                    world.tell_successor(Event::Commit);
                }
                world.check(seed);
            }
            match world.predecessor.owner() {
                Owner::Other if world.successor.owner() == Owner::This => committed += 1,
                // The owner died after the commit, as any process may.
                Owner::Other => assert!(!world.successor_lives, "seed {seed}"),
                Owner::This if world.offers > 0 => rolled_back += 1,
                Owner::This | Owner::ThisHeld => died_before += 1,
            }
        }
        assert!(committed > 500 && rolled_back > 500, "{committed} {rolled_back} {died_before}");
    }
}
