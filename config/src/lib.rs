//! The configuration of the Hangu gateway: text in, a valid [`Config`] or a list of problems out.
//!
//! Nothing here does IO: the caller reads the files and hands over their names and texts as
//! [`Source`]s, and says by [`Values`] what `${env:NAME}` and `${file:PATH}` stand for. [`load`] gives either a [`Config`], in which every name is resolved and every rule
//! of this crate holds, or *all* [`Problem`]s, each with its place, what is wrong and what to
//! write instead.
//!
//! The way of a configuration: text → tree of values with places (`tree`) → references replaced
//! (`substitute`) → shape held against the JSON schema (`shape`) → types as written ([`schema`]) →
//! types as used ([`model`], by `check`). What two of them have in common and not is told by
//! [`fn@diff`], over a form that does not depend on order ([`Canonical`]).
#![forbid(unsafe_code)]

pub mod model;
pub mod regex;
pub mod schema;
pub mod text;

mod admin;
mod canonical;
mod check;
mod diff;
mod origin;
mod problem;
mod shape;
mod substitute;
mod suggest;
mod tree;

pub use admin::admin;
pub use canonical::{Canonical, Fingerprint, Part, fingerprint};
pub use diff::{Change, Diff, Effect, KeyChange, Kind, copy_process_keys, diff};
pub use model::*;
pub use origin::Origin;
pub use problem::{Problem, Source};
pub use substitute::{NoValues, VALUE_BYTES_MAX, Values};
pub use tree::SOURCE_BYTES_MAX;

use problem::{Place, Problems};

/// Reads a configuration from its files, in this order: lists of the same name are joined,
/// everything else may stand once. `values` says what references stand for; what came by one is
/// never shown in a problem.
///
/// # Errors
/// Everything that is wrong, in the order of the text. What can only be seen once the shape is
/// right (names, weights, shadowed routes) is told when the shape is right.
pub fn load(sources: &[Source], values: &dyn Values) -> Result<Config, Vec<Problem>> {
    let mut problems = Problems::new(sources);
    let mut tree = tree::read(sources, &mut problems);
    let values = origin::Recorder::new(values);
    substitute::substitute(&mut tree, sources, &values, &mut problems);
    shape::check(&mut tree, &mut problems);
    if !problems.is_empty() {
        return Err(problems.into_sorted());
    }
    let file: schema::File = match serde_json::from_value(tree.to_json()) {
        Ok(file) => file,
        Err(error) => {
            // The schema lets nothing pass that the types refuse; if it ever does, say so.
            problems.add(Place::default(), "", error.to_string(), None);
            return Err(problems.into_sorted());
        }
    };
    let mut config = check::resolve(&file, &tree, &mut problems);
    config.origin = values.into_origin(sources);
    if problems.is_empty() { Ok(config) } else { Err(problems.into_sorted()) }
}

/// The JSON schema of the configuration, as it stands in `schema.json`.
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(schema::File);
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    format!("{text}\n")
}
