//! A configuration as a set of named things with flat keys: two that mean the same have the same
//! one, whatever the order of their files and lists.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::{Action, Admin, Cluster, Config, Listener, Route, RouteConfig, Secret, VirtualHost};

/// A configuration without order. It holds no secret, only what tells one from another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Canonical(BTreeMap<Id, Keys>);

/// Which thing: its part and its names from the outermost on.
pub(crate) type Id = (Part, Vec<String>);

/// Keys of a thing, those of mappings within it joined by dots, and their values.
pub(crate) type Keys = BTreeMap<String, Json>;

/// Parts of a configuration that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What concerns the process as a whole; has no name.
    Process,
    /// By its name.
    Listener,
    /// A table of routes, by its name.
    RouteConfig,
    /// By the names of its table and its own.
    VirtualHost,
    /// By the names of its table, its virtual host and its own.
    Route,
    /// By its name.
    Cluster,
    /// By the name of its cluster and its address.
    Endpoint,
}

impl Part {
    /// What it is called in sentences.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Listener => "listener",
            Self::RouteConfig => "route table",
            Self::VirtualHost => "virtual host",
            Self::Route => "route",
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoint",
        }
    }
}

impl Canonical {
    /// That of a configuration.
    pub fn of(config: &Config) -> Self {
        let mut things = BTreeMap::new();
        things.insert((Part::Process, Vec::new()), process(config));
        for listener in &config.listeners {
            let id = (Part::Listener, vec![listener.name.clone()]);
            things.insert(id, listener_keys(listener, config));
        }
        for table in &config.route_configs {
            add_table(&mut things, table, config);
        }
        for cluster in &config.clusters {
            add_cluster(&mut things, cluster);
        }
        Self(things)
    }

    pub(crate) fn things(&self) -> &BTreeMap<Id, Keys> {
        &self.0
    }
}

/// One thing, as it is written and read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Thing {
    part: Part,
    names: Vec<String>,
    keys: Keys,
}

impl Serialize for Canonical {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let thing = |((part, names), keys): (&Id, &Keys)| Thing {
            part: *part,
            names: names.clone(),
            keys: keys.clone(),
        };
        serializer.collect_seq(self.0.iter().map(thing))
    }
}

impl<'de> Deserialize<'de> for Canonical {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let things = Vec::<Thing>::deserialize(deserializer)?;
        Ok(Self(things.into_iter().map(|it| ((it.part, it.names), it.keys)).collect()))
    }
}

/// Tells one configuration from another: SHA-256 over the canonical form. The same for two that
/// mean the same, in every process and on every machine; secrets go in as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl std::fmt::Display for Fingerprint {
    /// The first six bytes in hexadecimal digits: enough to tell apart what one site ever had.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The fingerprint of a configuration.
pub fn fingerprint(config: &Config) -> Fingerprint {
    let mut hash = Sha256::new();
    for ((part, names), keys) in Canonical::of(config).things() {
        hash_text(&mut hash, part.as_str());
        hash_count(&mut hash, names.len());
        names.iter().for_each(|it| hash_text(&mut hash, it));
        hash_count(&mut hash, keys.len());
        for (key, value) in keys {
            hash_text(&mut hash, key);
            hash_value(&mut hash, value);
        }
    }
    Fingerprint(hash.finalize().into())
}

/// Members of a mapping in the order of their names, each length before its bytes: no two values
/// give the same bytes.
fn hash_value(hash: &mut Sha256, value: &Json) {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => {
            hash.update(b"p");
            hash_text(hash, &value.to_string());
        }
        Json::String(text) => {
            hash.update(b"t");
            hash_text(hash, text);
        }
        Json::Array(items) => {
            hash.update(b"l");
            hash_count(hash, items.len());
            items.iter().for_each(|it| hash_value(hash, it));
        }
        Json::Object(members) => {
            hash.update(b"m");
            hash_count(hash, members.len());
            let members: BTreeMap<&String, &Json> = members.iter().collect();
            for (key, value) in members {
                hash_text(hash, key);
                hash_value(hash, value);
            }
        }
    }
}

fn hash_text(hash: &mut Sha256, text: &str) {
    hash_count(hash, text.len());
    hash.update(text);
}

fn hash_count(hash: &mut Sha256, count: usize) {
    hash.update((count as u64).to_le_bytes());
}

fn process(config: &Config) -> Keys {
    let mut whole = to_json(config);
    remove(&mut whole, &["listeners", "route_configs", "clusters"]);
    let mut keys = flat(&whole);
    if let Admin::Tcp { token: Some(token), .. } = &config.admin {
        keys.insert("admin.token".to_owned(), disguised(token).into());
    }
    keys
}

/// What tells one secret from another.
fn disguised(secret: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update(b"hangu secret ");
    hash.update(secret.reveal());
    let digits: String = hash.finalize().iter().map(|it| format!("{it:02x}")).collect();
    format!("{SECRET}{digits}")
}

/// Begin of a value that stands for a secret.
pub(crate) const SECRET: &str = "<hidden> sha256:";

fn listener_keys(listener: &Listener, config: &Config) -> Keys {
    let mut whole = to_json(listener);
    remove(&mut whole, &["name"]);
    let mut keys = flat(&whole);
    let table = config.route_configs.get(listener.route_config).map(|it| it.name.as_str());
    keys.insert("route_config".to_owned(), table.into());
    keys
}

fn add_table(things: &mut BTreeMap<Id, Keys>, table: &RouteConfig, config: &Config) {
    let mut whole = to_json(table);
    remove(&mut whole, &["name", "virtual_hosts"]);
    let names = vec![table.name.clone()];
    things.insert((Part::RouteConfig, names.clone()), flat(&whole));
    for host in &table.virtual_hosts {
        let names = with(&names, &host.name);
        things.insert((Part::VirtualHost, names.clone()), host_keys(host));
        for route in &host.routes {
            things.insert((Part::Route, with(&names, &route.name)), route_keys(route, config));
        }
    }
}

fn host_keys(host: &VirtualHost) -> Keys {
    let mut whole = to_json(host);
    remove(&mut whole, &["name", "routes", "patterns"]);
    let mut keys = flat(&whole);
    let mut patterns: Vec<String> = host.patterns.iter().map(ToString::to_string).collect();
    patterns.sort();
    keys.insert("patterns".to_owned(), patterns.into());
    let order: Vec<&str> = host.routes.iter().map(|it| it.name.as_str()).collect();
    keys.insert("order of routes".to_owned(), order.into());
    keys
}

fn route_keys(route: &Route, config: &Config) -> Keys {
    let mut whole = to_json(route);
    remove(&mut whole, &["name"]);
    let mut keys = flat(&whole);
    let Action::Forward(forward) = &route.action;
    let name = |index: usize| config.clusters.get(index).map(|it| it.name.as_str());
    let clusters = forward.clusters.iter();
    let clusters: Vec<Json> =
        clusters.map(|it| json!({ "name": name(it.cluster), "weight": it.weight })).collect();
    keys.insert("route.clusters".to_owned(), clusters.into());
    keys
}

fn add_cluster(things: &mut BTreeMap<Id, Keys>, cluster: &Cluster) {
    let mut whole = to_json(cluster);
    remove(&mut whole, &["name", "endpoints"]);
    let names = vec![cluster.name.clone()];
    for endpoint in &cluster.endpoints {
        let mut whole = to_json(endpoint);
        remove(&mut whole, &["address"]);
        let id = (Part::Endpoint, with(&names, &endpoint.address.to_string()));
        things.insert(id, flat(&whole));
    }
    things.insert((Part::Cluster, names), flat(&whole));
}

fn with(names: &[String], name: &str) -> Vec<String> {
    names.iter().cloned().chain([name.to_owned()]).collect()
}

fn to_json(value: &impl Serialize) -> Json {
    // The types of the model serialise; a test of all examples would show one that does not.
    serde_json::to_value(value).unwrap_or_default()
}

fn remove(whole: &mut Json, keys: &[&str]) {
    let Json::Object(members) = whole else { return };
    members.retain(|key, _| !keys.contains(&key.as_str()));
}

fn flat(whole: &Json) -> Keys {
    let mut keys = Keys::new();
    flatten(whole, "", &mut keys);
    keys
}

fn flatten(value: &Json, path: &str, keys: &mut Keys) {
    match value {
        Json::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                flatten(value, &crate::tree::child(path, key), keys);
            }
        }
        Json::Object(_) if path.is_empty() => {}
        other => {
            keys.insert(path.to_owned(), other.clone());
        }
    }
}
