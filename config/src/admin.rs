//! Where the admin API is, whatever else stands in a configuration.

use serde::Deserialize;

use crate::{
    Admin, Problem, Source, Values, check, problem::Place, problem::Problems, schema, substitute,
    tree,
};

/// What is read of a file.
#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    admin: schema::Admin,
}

/// Reads of a configuration where the admin API is, and nothing else: what is wrong elsewhere, or
/// refers to something that whoever asks may not read, keeps nobody from a gateway that runs.
///
/// # Errors
/// The files are no YAML, or what they say of the admin API is wrong.
pub fn admin(sources: &[Source], values: &dyn Values) -> Result<Admin, Vec<Problem>> {
    let mut problems = Problems::new(sources);
    let mut tree = tree::read(sources, &mut problems);
    if let tree::Value::Map(entries) = &mut tree.value {
        entries.retain(|it| it.key == "admin");
    }
    substitute::substitute(&mut tree, sources, values, &mut problems);
    let part: Part = match serde_json::from_value(tree.to_json()) {
        Ok(part) => part,
        Err(error) => {
            problems.add(Place::default(), "admin", error.to_string(), None);
            return Err(problems.into_sorted());
        }
    };
    let admin = check::admin(&part.admin, &tree, &mut problems);
    if problems.is_empty() { Ok(admin) } else { Err(problems.into_sorted()) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::NoValues;

    fn read(text: &str) -> Result<Admin, Vec<Problem>> {
        admin(&[Source { name: "test.yaml".to_owned(), text: text.to_owned() }], &NoValues)
    }

    #[test]
    fn what_is_wrong_elsewhere_or_cannot_be_read_does_not_matter() {
        let found = read(
            "admin: { path: /run/hangu/admin.sock }\nnonsense: true\nlisteners: 7\n\
             zone: ${file:/secret}\n",
        );
        let Ok(Admin::Unix { path }) = found else { panic!("{found:?}") };
        assert_eq!(path, Path::new("/run/hangu/admin.sock"));
    }

    #[test]
    fn without_a_word_it_is_where_it_usually_is() {
        let Ok(Admin::Tcp { address, .. }) = read("listeners: []\n") else { panic!() };
        assert_eq!(address, "127.0.0.1:9901".parse().unwrap());
    }

    #[test]
    fn what_is_wrong_with_the_admin_api_is_told() {
        for text in ["admin: { path: relative }\n", "admin: { port: 1 }\n", "admin: [\n"] {
            assert!(read(text).is_err(), "{text}");
        }
        let secret = read("admin: { address: '127.0.0.1:1', token: '${env:TOKEN}' }\n");
        assert!(secret.is_err());
    }
}
