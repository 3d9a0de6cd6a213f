//! From the configuration as it is written to the one that the gateway uses: names are resolved,
//! and whatever takes more than one value to see is checked.
//!
//! Every function gives a value even when it found problems, so that one run finds them all; the
//! value is dropped when there was any.

use std::collections::HashMap;

use hangu_codecs::{Protocol, protocol::Kind};

use crate::{
    model,
    problem::{Place, Problems},
    schema,
    suggest::nearest,
    tree::Node,
};

mod cluster;
mod dns;
mod field;
mod health;
mod listener;
mod process;
mod route;
mod shadow;
mod tcp;

/// Resolves a configuration.
pub(crate) fn resolve(
    file: &schema::File,
    tree: &Node,
    problems: &mut Problems<'_>,
) -> model::Config {
    let mut check = Check { tree, problems };
    let clusters = cluster::resolve_all(&file.clusters, &mut check);
    let names =
        Names::collect("clusters", file.clusters.iter().map(|it| it.name.as_str()), &mut check);
    let protocols: Vec<&'static Protocol> = clusters.iter().map(|it| it.protocol).collect();
    let route_configs =
        route::resolve_all(&file.route_configs, &Clusters { names, protocols }, &mut check);
    let tables = Names::collect(
        "route_configs",
        file.route_configs.iter().map(|it| it.name.as_str()),
        &mut check,
    );
    let listeners = listener::resolve_all(&file.listeners, &tables, &mut check);
    let config = model::Config {
        workers: file.workers.and_then(process::workers),
        driver: file.driver,
        admin: process::admin(&file.admin, &mut check),
        log: process::log(&file.log, &mut check),
        access_log: process::access_log(&file.access_log, &mut check),
        metrics: process::metrics(&file.metrics),
        zone: process::zone(file.zone.as_ref(), &mut check),
        watch: file.watch,
        drain_delay: process::drain_delay(file),
        drain_timeout: process::drain_timeout(file),
        listeners,
        route_configs,
        clusters,
        origin: crate::Origin::default(),
    };
    listener::check_addresses(&config, &mut check);
    listener::check_protocols(&config, file, &mut check);
    config
}

/// Resolves what is said of the admin API alone.
pub(crate) fn admin(
    admin: &schema::Admin,
    tree: &Node,
    problems: &mut Problems<'_>,
) -> model::Admin {
    process::admin(admin, &mut Check { tree, problems })
}

/// Where problems are put, and where the values that they are about stand.
struct Check<'a, 's> {
    tree: &'a Node,
    problems: &'a mut Problems<'s>,
}

impl Check<'_, '_> {
    /// Something is wrong with the value of this path.
    fn wrong(&mut self, path: &str, what: impl Into<String>, instead: impl Into<String>) {
        let place = self.tree.place_of(path);
        self.problems.add(place, path, what.into(), Some(instead.into()));
    }

    /// The place of a value, to be named within a sentence.
    fn place(&self, path: &str) -> String {
        let place: Place = self.tree.place_of(path);
        self.problems.name(place)
    }
}

/// The names of a list of things, to be looked up.
struct Names<'f> {
    indices: HashMap<&'f str, usize>,
    list: &'static str,
}

impl<'f> Names<'f> {
    /// Collects names and refuses empty and repeated ones.
    fn collect(
        list: &'static str,
        names: impl Iterator<Item = &'f str>,
        check: &mut Check<'_, '_>,
    ) -> Self {
        let mut indices = HashMap::new();
        for (index, name) in names.enumerate() {
            let path = format!("{list}[{index}].name");
            check_name(name, &path, check);
            let Some(first) = indices.get(name) else {
                indices.insert(name, index);
                continue;
            };
            let first = check.place(&format!("{list}[{first}].name"));
            check.wrong(
                &path,
                format!("the name `{name}` is already taken at {first}"),
                "another name",
            );
        }
        Self { indices, list }
    }

    /// The index of a name; 0 and a problem at `path` when nothing has it.
    fn find(&self, name: &str, path: &str, check: &mut Check<'_, '_>) -> usize {
        if let Some(index) = self.indices.get(name) {
            return *index;
        }
        let instead = match nearest(name, self.indices.keys().copied()) {
            Some(near) => format!("`{near}`"),
            None if self.indices.is_empty() => {
                format!("a name from the list `{}`, which is empty", self.list)
            }
            None => self.listed(),
        };
        check.wrong(path, format!("nothing in `{}` is named `{name}`", self.list), instead);
        0
    }

    /// The first names of the list, in the order of the alphabet.
    fn listed(&self) -> String {
        let mut names: Vec<&str> = self.indices.keys().copied().collect();
        names.sort_unstable();
        let more = if names.len() > NAMES_LISTED_MAX { " and others" } else { "" };
        names.truncate(NAMES_LISTED_MAX);
        let names: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
        format!("one of {}{more}", names.join(", "))
    }
}

/// The clusters that routes may name.
struct Clusters<'f> {
    names: Names<'f>,
    protocols: Vec<&'static Protocol>,
}

/// Names stand as labels in metrics and logs.
fn check_name(name: &str, path: &str, check: &mut Check<'_, '_>) {
    if name.is_empty() || name.chars().any(char::is_control) {
        check.wrong(path, "the name is empty or has control characters", "a name such as `users`");
    } else if name.len() > NAME_BYTES_MAX {
        check.wrong(
            path,
            format!("the name is longer than {NAME_BYTES_MAX} bytes"),
            "a shorter name",
        );
    }
}

/// What requests of a kind are called in sentences.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "HTTP",
        Kind::Rpc => "RPC",
    }
}

/// So many fit on a line of a terminal.
const NAMES_LISTED_MAX: usize = 8;

/// Names are repeated in every metric and log line.
const NAME_BYTES_MAX: usize = 256;
