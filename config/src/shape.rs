//! Checks a tree against the JSON schema of the [`crate::schema`] types, and tells all that is
//! wrong at once, in words for an operator.
//!
//! It reads those parts of JSON Schema that schemars writes for these types: `$ref`, `type`,
//! `properties`, `required`, `additionalProperties`, `items`, `enum`, `const`, `oneOf` of
//! constants, `anyOf` with null, `minimum`, `maximum`, `minItems` and `format`.

use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::{
    problem::{Place, Problems},
    schema::{self, describe_format, read_format},
    suggest::nearest,
    text,
    tree::{Node, Value, child},
};

/// Checks the shape of a whole configuration.
pub(crate) fn check(tree: &mut Node, problems: &mut Problems<'_>) {
    let mut shape = Shape { root: &SCHEMA, problems };
    shape.node(tree, &SCHEMA, "");
}

/// The schema of the whole configuration; making it takes longer than checking an ordinary one.
static SCHEMA: LazyLock<Json> = LazyLock::new(|| schemars::schema_for!(schema::File).to_value());

struct Shape<'a, 's> {
    root: &'a Json,
    problems: &'a mut Problems<'s>,
}

impl Shape<'_, '_> {
    fn node(&mut self, node: &mut Node, schema: &Json, path: &str) {
        let schema = resolve(self.root, schema);
        adopt(node, schema);
        if let Some(names) = constants(schema) {
            return self.constant(node, &names, path);
        }
        match &mut node.value {
            Value::Map(entries) if is_of(schema, "object") => {
                for entry in entries {
                    self.member(entry, schema, path);
                }
                return self.missing(node, schema, path);
            }
            Value::List(items) if is_of(schema, "array") => {
                for (index, item) in items.iter_mut().enumerate() {
                    let Some(of) = schema.get("items") else { continue };
                    self.node(item, of, &format!("{path}[{index}]"));
                }
                return self.empty(node, schema, path);
            }
            _ => {}
        }
        match &node.value {
            Value::Text(text) if is_of(schema, "string") => self.text(node, text, schema, path),
            Value::Integer(number) if is_of(schema, "integer") => {
                self.integer(node, *number, schema, path);
            }
            Value::Bool(_) if is_of(schema, "boolean") => {}
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => self.other_kind(node, schema, path),
        }
    }

    fn empty(&mut self, node: &Node, schema: &Json, path: &str) {
        let Value::List(items) = &node.value else { return };
        if items.is_empty() && schema.get("minItems").is_some() {
            let instead = Some("at least one entry".to_owned());
            self.wrong(node, path, "the list is empty".to_owned(), instead);
        }
    }

    fn member(&mut self, entry: &mut crate::tree::Entry, schema: &Json, path: &str) {
        let path = child(path, &entry.key);
        if let Some(of) = schema.get("properties").and_then(|it| it.get(&entry.key)) {
            return self.node(&mut entry.value, of, &path);
        }
        if let Some(of @ Json::Object(_)) = schema.get("additionalProperties") {
            return self.node(&mut entry.value, of, &path);
        }
        let known = keys(schema);
        let instead = match nearest(&entry.key, known.iter().copied()) {
            Some(name) => format!("`{name}`"),
            None if known.is_empty() => "nothing here".to_owned(),
            None => format!("one of {}", listed(&known)),
        };
        let what = format!("there is no key `{}` here", entry.key);
        self.problems.add(entry.place, &path, what, Some(instead));
    }

    fn missing(&mut self, node: &Node, schema: &Json, path: &str) {
        let required = schema.get("required").and_then(Json::as_array);
        for name in required.into_iter().flatten().filter_map(Json::as_str) {
            if node.get(name).is_some() {
                continue;
            }
            let of = schema.get("properties").and_then(|it| it.get(name));
            let instead = of.map(|it| {
                let example = describe(self.root, resolve(self.root, it));
                format!("`{name}:` with {example}")
            });
            self.wrong(node, path, format!("the key `{name}` is missing"), instead);
        }
    }

    fn constant(&mut self, node: &Node, names: &[&str], path: &str) {
        let text = match &node.value {
            Value::Text(text) if names.contains(&text.as_str()) => return,
            Value::Text(text) => format!("`{text}`"),
            other => other.kind().to_owned(),
        };
        let near = match &node.value {
            Value::Text(text) => nearest(text, names.iter().copied()),
            _ => None,
        };
        let instead =
            near.map_or_else(|| format!("one of {}", listed(names)), |it| format!("`{it}`"));
        self.wrong(
            node,
            path,
            format!("{text} is none of the values that can stand here"),
            Some(instead),
        );
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Json, path: &str) {
        let Some(format) = schema.get("format").and_then(Json::as_str) else { return };
        if let Err(fault) = read_format(format, text) {
            return self.wrong(node, path, fault.what, fault.instead);
        }
        if let (schema::SIZE, Ok(bytes)) = (format, text::read_size(text)) {
            self.integer(node, bytes.into(), schema, path);
        }
    }

    fn integer(&mut self, node: &Node, number: i128, schema: &Json, path: &str) {
        let bound = |name| schema.get(name).and_then(Json::as_u64).map(i128::from);
        let of_format = match schema.get("format").and_then(Json::as_str) {
            Some("uint8") => u8::MAX.into(),
            Some("uint16") => u16::MAX.into(),
            Some("uint32") => u32::MAX.into(),
            _ => i128::from(u64::MAX),
        };
        let least = bound("minimum").unwrap_or(0);
        let most = bound("maximum").unwrap_or(of_format).min(of_format);
        if number < least {
            let what = if number == 0 {
                "0 makes no sense here".to_owned()
            } else {
                format!("{number} is too small")
            };
            self.wrong(node, path, what, Some(format!("at least {least}, or leave the key out")));
        } else if number > most {
            self.wrong(
                node,
                path,
                format!("{number} is too large"),
                Some(format!("at most {most}")),
            );
        }
    }

    fn other_kind(&mut self, node: &Node, schema: &Json, path: &str) {
        let format = schema.get("format").and_then(Json::as_str);
        let wanted = describe(self.root, schema);
        let (what, instead) = match &node.value {
            Value::Null => {
                ("there is no value here".to_owned(), format!("{wanted}, or leave the key out"))
            }
            Value::Integer(number) if format == Some(schema::DURATION) => (
                format!("the duration {number} has no unit"),
                format!("`{number}s` for seconds or `{number}ms` for milliseconds"),
            ),
            Value::Integer(number) if is_of(schema, "string") && !is_described(format) => {
                (format!("the number {number} is no text"), format!("it in quotes: `\"{number}\"`"))
            }
            Value::Bool(value) if is_of(schema, "string") && !is_described(format) => {
                (format!("`{value}` is no text"), format!("it in quotes: `\"{value}\"`"))
            }
            other => (format!("{} cannot stand here", other.kind()), wanted),
        };
        self.wrong(node, path, what, Some(instead));
    }

    fn wrong(&mut self, node: &Node, path: &str, what: String, instead: Option<String>) {
        let place: Place = node.place;
        let Some(written) = &node.written else {
            return self.problems.add(place, path, what, instead);
        };
        // The words for a wrong value quote parts of it, and it may be a secret.
        let what = format!("what `{written}` gives cannot stand here");
        self.problems.add(place, path, what, None);
    }
}

/// A value that came by a reference is read as if it stood there: as a number or a truth value where
/// the schema asks for one.
fn adopt(node: &mut Node, schema: &Json) {
    let (Value::Text(text), Some(_)) = (&node.value, &node.written) else { return };
    if is_of(schema, "string") {
        return;
    }
    let number = text.parse().ok().filter(|_| is_of(schema, "integer")).map(Value::Integer);
    let truth = text.parse().ok().filter(|_| is_of(schema, "boolean")).map(Value::Bool);
    if let Some(value) = number.or(truth) {
        node.value = value;
    }
}

fn is_described(format: Option<&str>) -> bool {
    format.and_then(describe_format).is_some()
}

/// Follows references and leaves out the null of what may be left out.
fn resolve<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
        let target = reference.strip_prefix('#').and_then(|it| root.pointer(it));
        return target.map_or(schema, |it| resolve(root, it));
    }
    let choices = schema.get("anyOf").and_then(Json::as_array);
    match choices.into_iter().flatten().find(|it| !is_of(it, "null")) {
        Some(choice) => resolve(root, choice),
        None => schema,
    }
}

/// The texts of an enumeration.
fn constants(schema: &Json) -> Option<Vec<&str>> {
    if let Some(names) = schema.get("enum").and_then(Json::as_array) {
        return Some(names.iter().filter_map(Json::as_str).collect());
    }
    let choices = schema.get("oneOf").and_then(Json::as_array)?;
    Some(choices.iter().flat_map(|it| constants(it).or_else(|| constant(it))).flatten().collect())
}

fn constant(schema: &Json) -> Option<Vec<&str>> {
    Some(vec![schema.get("const")?.as_str()?])
}

fn is_of(schema: &Json, kind: &str) -> bool {
    match schema.get("type") {
        Some(Json::String(name)) => name == kind,
        Some(Json::Array(names)) => names.iter().any(|it| it == kind),
        _ => false,
    }
}

fn keys(schema: &Json) -> Vec<&str> {
    let members = schema.get("properties").and_then(Json::as_object);
    members.into_iter().flat_map(|it| it.keys()).map(String::as_str).collect()
}

fn describe(root: &Json, schema: &Json) -> String {
    if let Some(text) = schema.get("format").and_then(Json::as_str).and_then(describe_format) {
        return text.to_owned();
    }
    if let Some(names) = constants(schema) {
        return format!("one of {}", listed(&names));
    }
    if is_of(schema, "object") {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Json::as_array)
            .map(|it| it.iter().filter_map(Json::as_str).collect())
            .unwrap_or_default();
        let names = if required.is_empty() { keys(schema) } else { required };
        if names.is_empty() && schema.get("additionalProperties") == Some(&Json::Bool(false)) {
            return "`{}`".to_owned();
        }
        if names.is_empty() {
            return "a mapping of names to texts".to_owned();
        }
        return format!("a mapping with {}", listed(&names));
    }
    if let Some(of) = schema.get("items") {
        return format!("a list, each entry {}", describe(root, resolve(root, of)));
    }
    let kinds = [
        ("string", "a text"),
        ("integer", "a whole number"),
        ("boolean", "`true` or `false`"),
        ("array", "a list"),
    ];
    let found = kinds.iter().find(|(kind, _)| is_of(schema, kind));
    found.map_or("another value", |(_, text)| text).to_owned()
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
}
