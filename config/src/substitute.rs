//! References in values: `${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}`, and `$${` for `${`.

use std::path::Path;

use crate::{
    Source,
    problem::Problems,
    text::Fault,
    tree::{Node, Value, child},
};

/// What references stand for; asked by [`crate::load`], answered by whoever may do IO.
pub trait Values {
    /// The variable of that name of the environment.
    fn env(&self, name: &str) -> Option<String>;

    /// The text of a file, of which no more than [`VALUE_BYTES_MAX`] and one more byte need be
    /// read. A relative path is one from the directory of the file that names it.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn file(&self, path: &Path) -> Result<String, String>;
}

/// Neither an environment nor files.
#[derive(Clone, Copy, Debug)]
pub struct NoValues;

impl Values for NoValues {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("files cannot be read here".to_owned())
    }
}

/// Bytes of a file that `${file:PATH}` stands for; certificates and keys have some KiB.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Replaces the references in all values; keys stay as they are. What comes by a reference is not
/// looked at for references again.
pub(crate) fn substitute(
    tree: &mut Node,
    sources: &[Source],
    values: &dyn Values,
    problems: &mut Problems<'_>,
) {
    let mut walk = Walk { sources, values, problems, bytes: 0 };
    walk.node(tree, "");
}

struct Walk<'a, 's> {
    sources: &'a [Source],
    values: &'a dyn Values,
    problems: &'a mut Problems<'s>,
    /// What came by references so far.
    bytes: usize,
}

impl Walk<'_, '_> {
    fn node(&mut self, node: &mut Node, path: &str) {
        match &mut node.value {
            Value::Map(entries) => {
                for entry in entries {
                    self.node(&mut entry.value, &child(path, &entry.key));
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, &format!("{path}[{index}]"));
                }
            }
            Value::Text(text) if text.contains("${") => {
                let written = std::mem::take(text);
                match self.expand(&written, node.place.source) {
                    Ok(expanded) => *text = expanded,
                    Err(fault) => {
                        self.problems.add(node.place, path, fault.what, fault.instead);
                    }
                }
                node.written = Some(written);
            }
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
            }
        }
    }

    fn expand(&mut self, written: &str, source: usize) -> Result<String, Fault> {
        let mut expanded = String::new();
        let mut rest = written;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = after;
                continue;
            }
            expanded.push_str(before);
            let Some((reference, after)) = after.split_once('}') else {
                return Err(Fault::new("a `${` has no `}` after it", FORMS));
            };
            let value = self.value(reference, source)?;
            self.bytes += value.len();
            if self.bytes > BYTES_MAX {
                let what = format!("all references together give more than {BYTES_MAX} bytes");
                return Err(Fault::new(what, "fewer of them"));
            }
            self.problems.hide(&value, &format!("${{{reference}}}"));
            expanded.push_str(&value);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn value(&self, reference: &str, source: usize) -> Result<String, Fault> {
        match reference.split_once(':') {
            Some(("env", rest)) => self.variable(rest),
            Some(("file", path)) if !path.is_empty() => self.file(path, source),
            _ => {
                let what = format!("`${{{reference}}}` is no reference that is known");
                Err(Fault::new(what, FORMS))
            }
        }
    }

    /// As in a shell (POSIX 2.6.2), the default also stands for an empty variable.
    fn variable(&self, rest: &str) -> Result<String, Fault> {
        let (name, default) = match rest.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (rest, None),
        };
        let is_name = name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
        if name.is_empty() || !is_name {
            return Err(Fault::new(format!("`{name}` is no name of a variable"), FORMS));
        }
        match (self.values.env(name), default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Fault::new(
                format!("the environment has no variable `{name}`"),
                &format!("`${{env:{name}:-default}}`, or set it"),
            )),
        }
    }

    fn file(&self, path: &str, source: usize) -> Result<String, Fault> {
        let wrong = |why: &str| Fault { what: format!("the file `{path}` {why}"), instead: None };
        if path.contains('\0') {
            return Err(wrong("has a NUL in its name"));
        }
        let beside = self.sources.get(source).and_then(|it| Path::new(&it.name).parent());
        let full = beside.unwrap_or(Path::new("")).join(path);
        let mut text = self.values.file(&full).map_err(|why| wrong(&why))?;
        if text.len() > VALUE_BYTES_MAX {
            return Err(wrong(&format!("has more than {VALUE_BYTES_MAX} bytes")));
        }
        if text.ends_with('\n') {
            text.pop();
            text.truncate(text.strip_suffix('\r').map_or(text.len(), str::len));
        }
        Ok(text)
    }
}

const FORMS: &str =
    "`${env:NAME}`, `${env:NAME:-default}` or `${file:PATH}`, or `$${` for `${` itself";

/// As much as a configuration file may have: aliases of YAML repeat what they name.
const BYTES_MAX: usize = crate::SOURCE_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Problem, load};

    struct Given;

    impl Values for Given {
        fn env(&self, name: &str) -> Option<String> {
            match name {
                "WORKERS" => Some("3".to_owned()),
                "WATCH" => Some("true".to_owned()),
                "DRAIN" => Some("7s".to_owned()),
                "EMPTY" => Some(String::new()),
                "TOKEN" => Some("correct horse battery".to_owned()),
                "DIGITS" => Some("1234567890123456".to_owned()),
                _ => None,
            }
        }

        fn file(&self, path: &Path) -> Result<String, String> {
            match path.to_str() {
                Some("/etc/hangu/token") => Ok("0123456789abcdef\r\n".to_owned()),
                Some("/run/two") => Ok("${env:WORKERS}\n\n".to_owned()),
                Some("/run/large") => Ok("x".repeat(VALUE_BYTES_MAX + 1)),
                _ => Err("cannot be read: it is not there".to_owned()),
            }
        }
    }

    const REST: &str = r#"
listeners: [{ name: a, address: "127.0.0.1:80", protocols: [http1], route_config: r }]
route_configs:
  - name: r
    virtual_hosts: [{ name: v, domains: ["*"], routes: [{ match: {}, route: { cluster: c } }] }]
clusters:
  - { name: c, protocol: http1, endpoints: [{ address: "127.0.0.1:81", labels: { l: LABEL } }] }
"#;

    fn loaded(head: &str, label: &str) -> Result<crate::Config, Vec<Problem>> {
        let text = format!("{head}{}", REST.replace("LABEL", label));
        load(&[Source { name: "/etc/hangu/a.yaml".to_owned(), text }], &Given)
    }

    fn label(written: &str) -> String {
        let config = loaded("", written).unwrap_or_else(|it| panic!("{it:?}"));
        config.clusters[0].endpoints[0].labels["l"].clone()
    }

    #[test]
    fn a_value_is_read_as_if_it_stood_there() {
        let head = "workers: ${env:WORKERS}\nwatch: ${env:WATCH}\ndrain_timeout: ${env:DRAIN}\n\
                    admin: { token: '${file:token}' }\nzone: ${env:DIGITS}\n";
        let config = loaded(head, "'a'").unwrap();
        assert_eq!(config.workers.map(|it| it.get()), Some(3));
        assert!(config.watch);
        assert_eq!(config.drain_timeout, std::time::Duration::from_secs(7));
        assert_eq!(config.zone.as_deref(), Some("1234567890123456"));
        let crate::Admin::Tcp { token: Some(token), .. } = &config.admin else { panic!() };
        assert_eq!(token.reveal(), "0123456789abcdef");
    }

    #[test]
    fn texts_are_joined_defaults_taken_and_escapes_kept() {
        assert_eq!(label("'a ${env:WORKERS}${env:DRAIN} b'"), "a 37s b");
        assert_eq!(label("'${env:NONE:-x:-y}'"), "x:-y");
        assert_eq!(label("'${env:EMPTY:-x}${env:EMPTY}'"), "x");
        assert_eq!(label("'$${env:WORKERS} $$ {}'"), "${env:WORKERS} $$ {}");
    }

    #[test]
    fn what_a_reference_gives_is_no_reference() {
        assert_eq!(label("'${file:/run/two}'"), "${env:WORKERS}\n");
    }

    #[test]
    fn what_is_not_there_is_told_with_its_line() {
        for (written, told) in [
            ("'${env:NONE}'", "the environment has no variable `NONE`"),
            ("'${file:none}'", "the file `none` cannot be read: it is not there"),
            ("'${file:/run/large}'", "has more than 65536 bytes"),
            ("'${env:}'", "is no name of a variable"),
            ("'${env:A B}'", "is no name of a variable"),
            ("'${vault:x}'", "is no reference that is known"),
            ("'${WORKERS}'", "is no reference that is known"),
            ("'${env:WORKERS'", "has no `}` after it"),
        ] {
            let problems = loaded("", written).unwrap_err();
            assert_eq!(problems.len(), 1, "{written}: {problems:?}");
            assert!(problems[0].what.contains(told), "{written}: {}", problems[0]);
            assert_eq!(problems[0].line, 7, "{written}");
        }
    }

    #[test]
    fn no_problem_shows_what_a_reference_gives() {
        for head in [
            "workers: ${env:TOKEN}\n",
            "driver: ${env:TOKEN}\n",
            "drain_timeout: ${env:TOKEN}\n",
            "admin: { address: '${env:TOKEN}' }\n",
            "admin: { address: '${env:TOKEN}:80' }\n",
            "admin: { token: '${env:TOKEN}' }\n",
            "access_log: { format: '%{${env:TOKEN}}' }\n",
            "access_log: { format: '%{x${env:TOKEN}}' }\n",
        ] {
            let problems = loaded(head, "a").unwrap_err();
            let told: String = problems.iter().map(ToString::to_string).collect();
            assert!(!problems.is_empty() && !told.contains("horse"), "{head}: {told}");
        }
    }
}
