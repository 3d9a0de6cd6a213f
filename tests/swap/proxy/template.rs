//! Placeholders in commands and configurations: `{name}` becomes what the name stands for, and what
//! is no known name stays as it is.

use std::collections::BTreeMap;

/// Names and what they stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(BTreeMap<String, String>);

impl Values {
    /// From now on the name stands for this.
    pub(crate) fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// The text with every placeholder replaced.
    pub(crate) fn render(&self, text: &str) -> String {
        let mut rendered = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, open) = rest.split_at(at);
            rendered.push_str(before);
            let name = open[1..].split('}').next().unwrap_or_default();
            match self.0.get(name) {
                Some(value) if open.len() > name.len() + 1 => {
                    rendered.push_str(value);
                    rest = &open[name.len() + 2..];
                }
                _ => {
                    rendered.push('{');
                    rest = &open[1..];
                }
            }
        }
        rendered.push_str(rest);
        rendered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_replaced_and_other_braces_stay() {
        let mut values = Values::default();
        values.set("http", "127.0.0.1:8080");
        values.set("workers", 2);
        let text = "events { } listen {http}; n {workers}{workers} {unknown} {http";
        let expected = "events { } listen 127.0.0.1:8080; n 22 {unknown} {http";
        assert_eq!(values.render(text), expected);
    }
}
