//! What is wrong with a configuration, and where.

use serde::{Deserialize, Serialize};

/// The text of one file, read by the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Name of the file, as problems are to show it.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

/// Something that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// [`Source::name`]; empty when the problem is in no file.
    pub file: String,
    /// Line, counted from 1; 0 when the problem is in no line.
    pub line: u32,
    /// Column in characters, counted from 1; 0 when the problem is in no line.
    pub column: u32,
    /// The value, `listeners[0].address`; empty for the whole configuration.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.file.is_empty() {
            write!(formatter, "{}:", self.file)?;
        }
        if self.line > 0 {
            write!(formatter, "{}:{}:", self.line, self.column)?;
        }
        if !self.file.is_empty() || self.line > 0 {
            formatter.write_str(" ")?;
        }
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.what)?;
        match &self.instead {
            Some(instead) => write!(formatter, "\n    write instead: {instead}"),
            None => Ok(()),
        }
    }
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index into the sources.
    pub(crate) source: usize,
    /// Counted from 1; 0 for nowhere.
    pub(crate) line: u32,
    /// Counted from 1; 0 for nowhere.
    pub(crate) column: u32,
}

/// The problems found so far.
pub(crate) struct Problems<'a> {
    sources: &'a [Source],
    found: Vec<(Place, Problem)>,
    /// Values that no problem may show, each with what is shown instead.
    hidden: Vec<(String, String)>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(sources: &'a [Source]) -> Self {
        Self { sources, found: Vec::new(), hidden: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// From now on no problem shows this value, also not in other letters or escaped; `shown`
    /// stands in its place. Values of less than four bytes are no secrets and would garble words.
    pub(crate) fn hide(&mut self, value: &str, shown: &str) {
        let forms = [
            value.to_owned(),
            value.escape_debug().to_string(),
            value.to_ascii_lowercase(),
            value.to_ascii_uppercase(),
        ];
        for form in forms.into_iter().filter(|it| it.len() >= HIDDEN_BYTES_MIN) {
            let form = (form, shown.to_owned());
            if !self.hidden.contains(&form) {
                self.hidden.push(form);
            }
        }
    }

    fn without_hidden(&self, text: String) -> String {
        self.hidden.iter().fold(text, |text, (value, shown)| text.replace(value, shown))
    }

    /// Adds a problem.
    pub(crate) fn add(&mut self, place: Place, path: &str, what: String, instead: Option<String>) {
        let file = self.sources.get(place.source).map(|it| it.name.clone()).unwrap_or_default();
        let (line, column) = (place.line, place.column);
        let what = self.without_hidden(what);
        let instead = instead.map(|it| self.without_hidden(it));
        let problem = Problem { file, line, column, path: path.to_owned(), what, instead };
        self.found.push((place, problem));
    }

    /// A place as it is named within a sentence.
    pub(crate) fn name(&self, place: Place) -> String {
        let file = self.sources.get(place.source).map_or("?", |it| it.name.as_str());
        format!("{file}:{}:{}", place.line, place.column)
    }

    /// The problems in the order of the text.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(place, _)| (place.source, place.line, place.column));
        self.found.dedup();
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }
}

const HIDDEN_BYTES_MIN: usize = 4;
