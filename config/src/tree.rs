//! YAML as a tree of values that know where they stand.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

use crate::{
    Source,
    problem::{Place, Problems},
};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
    /// The text as it is written, when the value came by a reference in it.
    pub(crate) written: Option<String>,
}

/// A YAML value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

/// A text longer than this is not read: a configuration of a hundred thousand routes is some
/// 30 MiB.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads the sources and joins them to one tree.
pub(crate) fn read(sources: &[Source], problems: &mut Problems<'_>) -> Node {
    let mut whole = Node::new(Place::default(), Value::Map(Vec::new()));
    for (index, source) in sources.iter().enumerate() {
        let Some(mut node) = parse(index, source, problems) else { continue };
        refuse_repeated_keys(&mut node, "", problems);
        match node.value {
            Value::Map(_) => join(&mut whole, node, "", problems),
            // A file of comments alone.
            Value::Null => {}
            _ => problems.add(
                node.place,
                "",
                format!("the file is {}, not a mapping of keys to values", node.value.kind()),
                Some("for example `listeners:` and below it a list".to_owned()),
            ),
        }
    }
    whole
}

fn parse(index: usize, source: &Source, problems: &mut Problems<'_>) -> Option<Node> {
    let start = Place { source: index, line: 1, column: 1 };
    if source.text.len() > SOURCE_BYTES_MAX {
        let what = format!("the file is larger than {} MiB", SOURCE_BYTES_MAX >> 20);
        problems.add(start, "", what, Some("several files in a directory".to_owned()));
        return None;
    }
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            // Enough for SOURCE_BYTES_MAX; depth and aliases keep their tight defaults.
            max_events: 20_000_000,
            max_nodes: 10_000_000,
            max_documents: 1,
        },
    };
    if source.text.trim().is_empty() {
        return Some(Node::new(start, Value::Null));
    }
    match serde_saphyr::from_str_with_options::<Spanned<Plain>>(&source.text, options) {
        Ok(plain) => Some(plant(plain, index)),
        Err(error) => {
            let place = error.location().map_or(start, |it| place_of(&it, index));
            let what = error.to_string();
            let what = what.lines().next().unwrap_or_default();
            problems.add(place, "", format!("this is no YAML: {what}"), None);
            None
        }
    }
}

/// Adds the entries of one mapping to another: mappings are joined, lists are appended, and
/// anything else may stand only once.
fn join(whole: &mut Node, part: Node, path: &str, problems: &mut Problems<'_>) {
    let before = whole.place;
    match (&mut whole.value, part.value) {
        (Value::Map(entries), Value::Map(more)) => {
            for entry in more {
                let path = child(path, &entry.key);
                match entries.iter_mut().find(|it| it.key == entry.key) {
                    Some(known) => join(&mut known.value, entry.value, &path, problems),
                    None => entries.push(entry),
                }
            }
        }
        (Value::List(items), Value::List(more)) => items.extend(more),
        _ => {
            let what = format!("this is already given at {}", problems.name(before));
            problems.add(part.place, path, what, Some("it in one of the two places".to_owned()));
        }
    }
}

fn refuse_repeated_keys(node: &mut Node, path: &str, problems: &mut Problems<'_>) {
    match &mut node.value {
        Value::Map(entries) => {
            let mut seen: HashMap<String, Place> = HashMap::with_capacity(entries.len());
            entries.retain_mut(|entry| {
                let path = child(path, &entry.key);
                refuse_repeated_keys(&mut entry.value, &path, problems);
                let Some(first) = seen.get(&entry.key) else {
                    seen.insert(entry.key.clone(), entry.place);
                    return true;
                };
                let first = problems.name(*first);
                let what = format!("the key `{}` is already given at {first}", entry.key);
                problems.add(entry.place, &path, what, Some("it once".to_owned()));
                false
            });
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                refuse_repeated_keys(item, &format!("{path}[{index}]"), problems);
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {}
    }
}

/// The path of a member.
pub(crate) fn child(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Value {
    /// The kind of value with its article, as problems name it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    pub(crate) fn new(place: Place, value: Value) -> Self {
        Self { place, value, written: None }
    }

    /// The member of that key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|it| it.key == key).map(|it| &it.value)
    }

    /// Where the value of a path (`listeners[0].address`) stands; when it is not there, where the
    /// nearest value around it stands.
    pub(crate) fn place_of(&self, path: &str) -> Place {
        let mut node = self;
        for step in path.split(['.', '[']) {
            let next = match step.strip_suffix(']') {
                Some(index) => match &node.value {
                    Value::List(items) => index.parse().ok().and_then(|it: usize| items.get(it)),
                    _ => None,
                },
                None => node.get(step),
            };
            let Some(next) = next else { break };
            node = next;
        }
        node.place
    }

    /// The value without places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(it) => (*it).into(),
            Value::Integer(it) => match u64::try_from(*it) {
                Ok(it) => it.into(),
                Err(_) => i64::try_from(*it).map_or(serde_json::Value::Null, Into::into),
            },
            Value::Float(it) => (*it).into(),
            Value::Text(it) => it.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|it| (it.key.clone(), it.value.to_json())).collect()
            }
        }
    }
}

/// A value as the YAML reader gives it.
enum Plain {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Plain>>),
    Map(Vec<(Spanned<String>, Spanned<Plain>)>),
}

fn plant(plain: Spanned<Plain>, source: usize) -> Node {
    let place = place_of(&plain.referenced, source);
    let value = match plain.value {
        Plain::Null => Value::Null,
        Plain::Bool(it) => Value::Bool(it),
        Plain::Integer(it) => Value::Integer(it),
        Plain::Float(it) => Value::Float(it),
        Plain::Text(it) => Value::Text(it),
        Plain::List(items) => Value::List(items.into_iter().map(|it| plant(it, source)).collect()),
        Plain::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    place: place_of(&key.referenced, source),
                    key: key.value,
                    value: plant(value, source),
                })
                .collect(),
        ),
    };
    Node::new(place, value)
}

fn place_of(location: &serde_saphyr::Location, source: usize) -> Place {
    let bounded = |it: u64| u32::try_from(it).unwrap_or(u32::MAX);
    Place { source, line: bounded(location.line()), column: bounded(location.column()) }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor)
    }
}

struct PlainVisitor;

impl<'de> de::Visitor<'de> for PlainVisitor {
    type Value = Plain;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain::Null)
    }

    fn visit_none<E>(self) -> Result<Plain, E> {
        Ok(Plain::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Plain, E> {
        Ok(Plain::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Plain, E> {
        Ok(Plain::Integer(it.into()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Plain, E> {
        Ok(Plain::Integer(it.into()))
    }

    fn visit_i128<E>(self, it: i128) -> Result<Plain, E> {
        Ok(Plain::Integer(it))
    }

    fn visit_u128<E>(self, it: u128) -> Result<Plain, E> {
        Ok(Plain::Integer(i128::try_from(it).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Plain, E> {
        Ok(Plain::Float(it))
    }

    fn visit_str<E>(self, it: &str) -> Result<Plain, E> {
        Ok(Plain::Text(it.to_owned()))
    }

    fn visit_string<E>(self, it: String) -> Result<Plain, E> {
        Ok(Plain::Text(it))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Plain, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Plain::List(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Plain, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Plain::Map(map))
    }
}
