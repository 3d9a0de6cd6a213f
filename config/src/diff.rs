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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Nothing until the process is started anew.
    NextStart,
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

/// Gives `new` those values of the running configuration that only a restart changes, so that what
/// is left of it can be put in force.
pub fn keep_until_restart(running: &Config, new: &mut Config) {
    new.workers = running.workers;
    new.driver = running.driver;
    new.admin = running.admin.clone();
    new.access_log = running.access_log.clone();
    new.metrics = running.metrics;
    new.zone = running.zone.clone();
}

/// Keys of the process that only a restart changes; [`keep_until_restart`] names the same.
const UNTIL_RESTART: [&str; 6] = ["workers", "driver", "admin", "access_log", "metrics", "zone"];

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
    let mut by_effect: BTreeMap<bool, Vec<KeyChange>> = BTreeMap::new();
    for key in keys.into_iter().filter(|it| old.get(*it) != new.get(*it)) {
        let waits = *part == Part::Process && is_below(key, &UNTIL_RESTART);
        let change =
            KeyChange { key: key.clone(), old: shown(old.get(key)), new: shown(new.get(key)) };
        by_effect.entry(waits).or_default().push(change);
    }
    let change = |(waits, keys): (bool, Vec<KeyChange>)| Change {
        part: *part,
        names: names.clone(),
        kind: Kind::Changed,
        effect: if waits { Effect::NextStart } else { effect(*part, &keys) },
        keys,
    };
    by_effect.into_iter().map(change).collect()
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

    /// Whether something of it waits for a restart.
    pub fn needs_restart(&self) -> bool {
        self.changes.iter().any(|it| it.effect == Effect::NextStart)
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
        (Effect::NextStart, _) => "needs a restart",
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
