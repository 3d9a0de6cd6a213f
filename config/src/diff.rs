//! What a reload would do: the differences of two configurations, and what becomes of connections.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    Config,
    canonical::{Canonical, Id, Keys, Part, SECRET},
};

/// All differences of two configurations, in the order of [`Part`] and names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// Empty when both mean the same.
    pub changes: Vec<Change>,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What it is.
    pub part: Part,
    /// Its names from the outermost on; empty for the process.
    pub names: Vec<String>,
    /// How it differs.
    pub kind: Kind,
    /// What a reload would do with it.
    pub effect: Effect,
    /// The keys that differ; empty for what is added or removed.
    pub keys: Vec<KeyChange>,
}

/// How a thing differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is in the new one alone.
    Added,
    /// It is in the old one alone.
    Removed,
    /// It is in both, with other values.
    Changed,
}

/// What a reload does with a thing that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// New requests and new connections follow it; open connections are kept.
    Kept,
    /// It begins to take connections or requests.
    Opened,
    /// New sockets or connections take its place; the old connections end with the requests that
    /// are in flight on them.
    Replaced,
    /// It takes nothing new; its connections end with the requests that are in flight on them.
    Drained,
    /// Other workers take over all connections, with all that is in flight.
    Moved,
}

/// A key with other values. Those of secrets are not shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyChange {
    /// Keys of mappings are joined by dots: `timeouts.idle`.
    pub key: String,
    /// What it was; `None` when there was no such key.
    pub old: Option<Json>,
    /// What it is; `None` when there is no such key.
    pub new: Option<Json>,
}

/// What a reload from `old` to `new` would do.
pub fn diff(old: &Config, new: &Config) -> Diff {
    Canonical::of(old).diff(&Canonical::of(new))
}

/// Gives `to` what `from` says of workers and of the admin API, with which a process that takes
/// over from another one can begin at once.
pub fn copy_process_keys(from: &Config, to: &mut Config) {
    to.workers = from.workers;
    to.driver = from.driver;
    to.admin = from.admin.clone();
    to.access_log = from.access_log.clone();
    to.metrics = from.metrics;
    to.zone = from.zone.clone();
}

/// Keys of the process without which the workers are other ones.
const OF_WORKERS: [&str; 4] = ["workers", "driver", "access_log", "metrics"];

/// Keys of the process without which the admin API is another one.
const OF_ADMIN: [&str; 1] = ["admin"];

/// Keys without which a listener is another one: its sockets and connections are replaced.
const OF_SOCKETS: [&str; 2] = ["address", "protocols"];

/// Keys without which a cluster is another one: its connections are replaced.
const OF_CONNECTIONS: [&str; 1] = ["protocol"];

impl Canonical {
    /// What a reload from this to another would do.
    pub fn diff(&self, new: &Self) -> Diff {
        let ids: BTreeSet<&Id> = self.things().keys().chain(new.things().keys()).collect();
        let mut changes = Vec::new();
        for id in ids {
            match (self.things().get(id), new.things().get(id)) {
                (None, Some(_)) => changes.push(whole(id, Kind::Added)),
                (Some(_), None) => changes.push(whole(id, Kind::Removed)),
                (Some(old), Some(new)) => changes.extend(changed(id, old, new)),
                (None, None) => {}
            }
        }
        Diff { changes }
    }
}

fn whole((part, names): &Id, kind: Kind) -> Change {
    let effect = match kind {
        Kind::Added => Effect::Opened,
        Kind::Removed => Effect::Drained,
        Kind::Changed => Effect::Kept,
    };
    Change { part: *part, names: names.clone(), kind, effect, keys: Vec::new() }
}

/// The changes of a thing that is in both, those of one effect together.
fn changed((part, names): &Id, old: &Keys, new: &Keys) -> Vec<Change> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut by_effect: BTreeMap<Effect, Vec<KeyChange>> = BTreeMap::new();
    for key in keys.into_iter().filter(|it| old.get(*it) != new.get(*it)) {
        let effect = of_process(*part, key);
        let change =
            KeyChange { key: key.clone(), old: shown(old.get(key)), new: shown(new.get(key)) };
        by_effect.entry(effect).or_default().push(change);
    }
    let change = |(of_process, keys): (Effect, Vec<KeyChange>)| Change {
        part: *part,
        names: names.clone(),
        kind: Kind::Changed,
        effect: if of_process == Effect::Kept { effect(*part, &keys) } else { of_process },
        keys,
    };
    by_effect.into_iter().map(change).collect()
}

/// What becomes of workers and of the admin API.
fn of_process(part: Part, key: &str) -> Effect {
    let is_below = |tops: &[&str]| part == Part::Process && is_below(key, tops);
    match (is_below(&OF_WORKERS), is_below(&OF_ADMIN)) {
        (true, _) => Effect::Moved,
        (false, true) => Effect::Replaced,
        (false, false) => Effect::Kept,
    }
}

fn effect(part: Part, keys: &[KeyChange]) -> Effect {
    let replacing: &[&str] = match part {
        Part::Listener => &OF_SOCKETS,
        Part::Cluster => &OF_CONNECTIONS,
        Part::Process | Part::RouteConfig | Part::VirtualHost | Part::Route | Part::Endpoint => &[],
    };
    match keys.iter().any(|it| is_below(&it.key, replacing)) {
        true => Effect::Replaced,
        false => Effect::Kept,
    }
}

fn is_below(key: &str, tops: &[&str]) -> bool {
    tops.contains(&key.split('.').next().unwrap_or_default())
}

fn shown(value: Option<&Json>) -> Option<Json> {
    match value {
        Some(Json::String(text)) if text.starts_with(SECRET) => Some("<hidden>".into()),
        other => other.cloned(),
    }
}

impl Diff {
    /// Whether both mean the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl std::fmt::Display for Diff {
    /// For people, one thing per line and its keys below it; each line ends with a line break.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for change in &self.changes {
            writeln!(formatter, "{change}")?;
            for key in &change.keys {
                writeln!(formatter, "    {key}")?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.part.as_str())?;
        if !self.names.is_empty() {
            write!(formatter, " `{}`", self.names.join("` / `"))?;
        }
        let kind = match self.kind {
            Kind::Added => "added",
            Kind::Removed => "removed",
            Kind::Changed => "changed",
        };
        write!(formatter, ": {kind}")?;
        match consequence(self.part, self.effect) {
            "" => Ok(()),
            text => write!(formatter, "; {text}"),
        }
    }
}

/// What becomes of connections, where there is something to tell.
fn consequence(part: Part, effect: Effect) -> &'static str {
    match (effect, part) {
        (Effect::Moved, _) => "workers are replaced, and connections move to the new ones",
        (Effect::Replaced, Part::Process) => "the admin API is served so from now on",
        (Effect::Kept, Part::Listener | Part::Cluster | Part::Endpoint) => {
            "open connections are kept"
        }
        (Effect::Replaced, Part::Listener) => "new sockets; its old connections are drained",
        (Effect::Replaced, _) => "new connections; its old ones are drained",
        (Effect::Drained, Part::Listener) => "accepts no more; its connections are drained",
        (Effect::Drained, Part::Cluster | Part::Endpoint) => "its connections are drained",
        (Effect::Kept | Effect::Opened | Effect::Drained, _) => "",
    }
}

impl std::fmt::Display for KeyChange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {} -> {}", self.key, Shown(&self.old), Shown(&self.new))
    }
}

struct Shown<'a>(&'a Option<Json>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None | Some(Json::Null) => formatter.write_str("none"),
            Some(Json::String(text)) => formatter.write_str(text),
            Some(other) => write!(formatter, "{other}"),
        }
    }
}
