//! The texts of a configuration, kept so that another process can read the same one.

use std::{cell::RefCell, collections::BTreeMap, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Config, Problem, Source, Values, load};

/// The texts that a configuration was read from, and what its references stood for then. Cloning
/// shares. Holds secrets: it is shown nowhere, and written nowhere but to a successor of the
/// process.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Origin(Arc<Texts>);

#[derive(Default, Serialize, Deserialize)]
struct Texts {
    sources: Vec<Source>,
    variables: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

impl Origin {
    /// Reads the configuration again, as it was.
    ///
    /// # Errors
    /// What this build finds wrong with it; one of the same version finds nothing.
    pub fn load(&self) -> Result<Config, Vec<Problem>> {
        load(&self.0.sources, self)
    }

    /// Whether there is a text.
    pub fn is_empty(&self) -> bool {
        self.0.sources.is_empty()
    }
}

/// Two configurations that say the same are the same, wherever they came from.
impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.sources.iter().map(|it| &it.name);
        formatter.debug_list().entries(names).finish()
    }
}

impl Values for Origin {
    fn env(&self, name: &str) -> Option<String> {
        self.0.variables.get(name).cloned()
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        let text = path.to_str().and_then(|it| self.0.files.get(it));
        text.cloned().ok_or_else(|| "it was not read before".to_owned())
    }
}

/// Remembers what values stood for.
pub(crate) struct Recorder<'v> {
    values: &'v dyn Values,
    texts: RefCell<Texts>,
}

impl<'v> Recorder<'v> {
    pub(crate) fn new(values: &'v dyn Values) -> Self {
        Self { values, texts: RefCell::default() }
    }

    pub(crate) fn into_origin(self, sources: &[Source]) -> Origin {
        let texts = self.texts.into_inner();
        Origin(Arc::new(Texts { sources: sources.to_vec(), ..texts }))
    }
}

impl Values for Recorder<'_> {
    fn env(&self, name: &str) -> Option<String> {
        let value = self.values.env(name)?;
        self.texts.borrow_mut().variables.insert(name.to_owned(), value.clone());
        Some(value)
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        let text = self.values.file(path)?;
        if let Some(path) = path.to_str() {
            self.texts.borrow_mut().files.insert(path.to_owned(), text.clone());
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given;

    impl Values for Given {
        fn env(&self, name: &str) -> Option<String> {
            (name == "ZONE").then(|| "north".to_owned())
        }

        fn file(&self, path: &Path) -> Result<String, String> {
            (path.ends_with("token"))
                .then(|| "secret-of-16-characters".to_owned())
                .ok_or_else(String::new)
        }
    }

    #[test]
    fn a_configuration_is_read_again_without_the_files_and_variables_that_it_came_from() {
        let text = "zone: ${env:ZONE}\nadmin: {address: 127.0.0.1:9901, token: '${file:token}'}\n\
            listeners: [{name: a, address: 127.0.0.1:0, protocols: [http1], route_config: r}]\n\
            route_configs: [{name: r, virtual_hosts: [{name: h, domains: ['*'], routes: \
            [{match: {prefix: /}, route: {cluster: c}}]}]}]\n\
            clusters: [{name: c, protocol: http1, endpoints: [{address: 127.0.0.1:1}]}]";
        let source = Source { name: "a.yaml".to_owned(), text: text.to_owned() };
        let config = load(&[source], &Given).unwrap();
        assert_eq!(config.zone.as_deref(), Some("north"));
        let bytes = serde_json::to_vec(&config.origin).unwrap();
        let again: Origin = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(again.load().unwrap(), config);
        assert!(!format!("{again:?}").contains("secret"));
    }
}
