//! What is done wrong, and when.

use std::{fmt, str::FromStr};

/// One thing that is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What.
    pub(crate) kind: Kind,
    /// When.
    pub(crate) when: When,
}

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: the swap succeeds.
    Nothing,
    /// `kill -9` of the real program and of this one.
    Kill,
    /// The end, without a word.
    Exit,
    /// Nothing is handed on any more.
    Hang,
    /// The old process gets bytes that are no frame.
    Noise,
    /// The old process gets a frame that holds no message.
    Nonsense,
    /// The old process gets a message that is not due.
    OutOfTurn,
    /// The new process gets the word that all is its own, which nobody said.
    EarlyCommit,
    /// The successor says that it hands over in another way.
    Format,
    /// The successor says that it reads another layout.
    Layout,
    /// The state of a worker is damaged on its way.
    Damage,
    /// The state of a worker ends early.
    Cut,
    /// The descriptor of a connection gets lost.
    Lost,
}

/// The instant at which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The old process knows of nobody yet.
    BeforeMeeting,
    /// A message of this name is there and was not handed on.
    Before(&'static str),
    /// It was handed on.
    After(&'static str),
}

/// The messages before the commit, in their order.
pub(crate) const STEPS: [&str; 11] = [
    "hello", "welcome", "sockets", "prepared", "learnt", "ahead", "received", "frozen", "worker",
    "thaw", "thawed",
];

const KINDS: [(Kind, &str); 13] = [
    (Kind::Nothing, "nothing"),
    (Kind::Kill, "kill"),
    (Kind::Exit, "exit"),
    (Kind::Hang, "hang"),
    (Kind::Noise, "noise"),
    (Kind::Nonsense, "nonsense"),
    (Kind::OutOfTurn, "out-of-turn"),
    (Kind::EarlyCommit, "early-commit"),
    (Kind::Format, "format"),
    (Kind::Layout, "layout"),
    (Kind::Damage, "damage"),
    (Kind::Cut, "cut"),
    (Kind::Lost, "lost"),
];

/// Everything that is worth trying: to be killed at each step, and all else where it makes a
/// difference.
pub(crate) fn all() -> Vec<Fault> {
    let mut all = vec![
        Fault { kind: Kind::Kill, when: When::BeforeMeeting },
        Fault { kind: Kind::Exit, when: When::BeforeMeeting },
    ];
    for step in STEPS {
        all.push(Fault { kind: Kind::Kill, when: When::Before(step) });
        // Once it has said that all is thawed, it may own all.
        if step != "thawed" {
            all.push(Fault { kind: Kind::Kill, when: When::After(step) });
        }
    }
    let others: [(Kind, &[&'static str]); 11] = [
        (Kind::Exit, &["hello", "prepared", "worker", "thawed"]),
        (Kind::Hang, &["hello", "ahead", "frozen", "worker", "thawed"]),
        (Kind::Noise, &["hello", "received", "thawed"]),
        (Kind::Nonsense, &["hello", "prepared", "thawed"]),
        (Kind::OutOfTurn, &["hello", "prepared", "received", "thawed"]),
        (Kind::EarlyCommit, &["learnt", "worker", "thaw"]),
        (Kind::Format, &["hello"]),
        (Kind::Layout, &["hello"]),
        (Kind::Damage, &["worker"]),
        (Kind::Cut, &["worker"]),
        (Kind::Lost, &["ahead"]),
    ];
    for (kind, steps) in others {
        all.extend(steps.iter().map(|step| Fault { kind, when: When::Before(step) }));
    }
    all
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|it| it.0 == self.kind).map_or("", |it| it.1);
        match self.when {
            When::BeforeMeeting => write!(f, "{name}-before-meeting"),
            When::Before(step) => write!(f, "{name}-before-{step}"),
            When::After(step) => write!(f, "{name}-after-{step}"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("no fault {text:?}");
        let cut = |word: &str| text.rsplit_once(word);
        let (name, step, is_before) = match (cut("-before-"), cut("-after-")) {
            (Some((name, step)), _) => (name, step, true),
            (None, Some((name, step))) => (name, step, false),
            (None, None) => return Err(unknown()),
        };
        let kind = KINDS.iter().find(|it| it.1 == name).ok_or_else(unknown)?.0;
        let when = match (STEPS.iter().find(|it| **it == step), is_before) {
            (Some(step), true) => When::Before(step),
            (Some(step), false) => When::After(step),
            (None, true) if step == "meeting" => When::BeforeMeeting,
            (None, _) => return Err(unknown()),
        };
        Ok(Self { kind, when })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_reads_as_it_is_written_and_is_listed_once() {
        let all = all();
        for (at, fault) in all.iter().enumerate() {
            assert_eq!(fault.to_string().parse(), Ok(*fault));
            assert!(!all[..at].contains(fault), "{fault}");
        }
        assert!("kill-before-lunch".parse::<Fault>().is_err());
        assert!("kill".parse::<Fault>().is_err());
    }

    #[test]
    fn each_step_is_a_message_and_each_message_before_the_commit_is_a_step() {
        let mut kinds = hangu::swap::KINDS.to_vec();
        kinds.retain(|it| !["refused", "commit", "last words", "stop", "output"].contains(it));
        kinds.sort_unstable();
        let mut steps = STEPS.to_vec();
        steps.sort_unstable();
        assert_eq!(steps, kinds);
    }
}
