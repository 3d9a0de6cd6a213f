//! `hangu check --diff`: what a reload of a configuration would change.

use std::path::Path;

use hangu_config::{Canonical, Diff, diff};

use super::{Exit, check, fail, remote::Place};
use crate::control::client::Client;

/// With what a configuration is compared.
pub(super) enum Other<'a> {
    /// Another one in files.
    Files(&'a Path),
    /// The one that a gateway runs with; by default the one that the new one is for.
    Running(&'a Place),
}

/// Says how a configuration differs from another one, and what a reload would do.
pub(super) fn compare(path: &Path, other: &Other<'_>, as_json: bool) -> Exit {
    let new = match check::load_or_refuse(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let found = match other {
        Other::Files(path) => check::load_or_refuse(path).map(|old| diff(&old, &new)),
        Other::Running(place) => {
            place.client_or(&new.admin).and_then(|client| ask(&client, &Canonical::of(&new)))
        }
    };
    match found {
        Ok(diff) => {
            show(&diff, as_json);
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// The gateway compares, for it alone knows its secrets; it gets hashes of those of the other.
fn ask(client: &Client, new: &Canonical) -> Result<Diff, Exit> {
    let unavailable = |why: String| fail(Exit::Unavailable, why);
    let body = serde_json::to_string(new).map_err(|error| unavailable(error.to_string()))?;
    let answer =
        client.post("/config/diff", &body).map_err(|error| unavailable(error.to_string()))?;
    let diff = serde_json::from_str(&answer.body).ok().filter(|_| answer.status == 200);
    diff.ok_or_else(|| unavailable(super::remote::refusal(client, &answer)))
}

fn show(diff: &Diff, as_json: bool) {
    if as_json {
        println!("{}", serde_json::json!({ "valid": true, "changes": diff.changes }));
    } else if diff.is_empty() {
        println!("nothing would change");
    } else {
        print!("{diff}");
    }
}
