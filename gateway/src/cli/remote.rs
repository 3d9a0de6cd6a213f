//! Commands to a running gateway, by its admin API.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use hangu_config::{Admin, LogLevel, Secret};
use serde_json::Value;

use super::{Exit, check, fail};
use crate::control::client::{Answer, Client, Target};
use crate::control::files;
use crate::control::reload::{Outcome, Report};
use crate::control::token;

/// Which gateway, and the token to show.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The configuration that the gateway runs with: tells where its admin API is.
    #[arg(long, value_name = "PATH", conflicts_with = "admin")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Where the admin API is, and the token to show.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Where the admin API is: IP:PORT or the path of a Unix socket. Default: what the configuration
    /// says, 127.0.0.1:9901 without one.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin: Option<Target>,
    /// A file with the token of the admin API. Default: HANGU_ADMIN_TOKEN, else the one that the
    /// configuration names, else the one that the gateway made at its start.
    #[arg(long, value_name = "PATH")]
    pub(super) token_file: Option<PathBuf>,
}

impl Remote {
    /// The gateway that is meant.
    pub(super) fn client(&self) -> Result<Client, Exit> {
        match &self.config {
            // What else stands in the configuration is the gateway's to judge.
            Some(path) => match files::admin(path) {
                Some(admin) => self.place.client_or(&admin),
                None => self.place.client_or(&check::load_or_refuse(path)?.admin),
            },
            None => self.place.client_at(Target::Tcp(USUAL)),
        }
    }
}

/// Where a gateway's admin API is unless its configuration says otherwise.
const USUAL: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

impl Place {
    /// The gateway that is meant; the one that a configuration tells of when none is named.
    pub(super) fn client_or(&self, admin: &Admin) -> Result<Client, Exit> {
        if self.admin.is_some() {
            return self.client_at(Target::from(admin));
        }
        let token = self.given_token()?.or_else(|| token::find(admin));
        Ok(Client { target: Target::from(admin), token })
    }

    fn client_at(&self, otherwise: Target) -> Result<Client, Exit> {
        let target = self.admin.clone().unwrap_or(otherwise);
        let usual = || match &target {
            Target::Tcp(address) => token::find_in_usual_place(*address),
            Target::Unix(_) => None,
        };
        let token = self.given_token()?.or_else(usual);
        Ok(Client { target, token })
    }

    fn given_token(&self) -> Result<Option<Secret>, Exit> {
        if let Some(path) = &self.token_file {
            let wrong = |error| fail(Exit::Usage, format!("{}: {error}", path.display()));
            return token::read_named(path).map(Some).map_err(wrong);
        }
        let token = std::env::var("HANGU_ADMIN_TOKEN").ok().filter(|it| !it.is_empty());
        Ok(token.map(Secret::new))
    }
}

/// What a gateway said instead of what was asked for.
pub(super) fn refusal(client: &Client, answer: &Answer) -> String {
    format!("{} answered {}: {}", client.target, answer.status, answer.body.trim())
}

/// `hangu reload`: lets a gateway load its configuration again, and says what came of it.
pub(super) fn reload(client: &Client, is_dry: bool, as_json: bool) -> Exit {
    let path = if is_dry { "/reload?dry_run=true" } else { "/reload" };
    let answer = match client.post(path, "") {
        Ok(answer) => answer,
        Err(error) => return fail(Exit::Unavailable, error),
    };
    let Ok(report) = serde_json::from_str::<Report>(&answer.body) else {
        return fail(Exit::Unavailable, refusal(client, &answer));
    };
    if as_json {
        print!("{}", answer.body);
    } else {
        tell(&report);
    }
    match (report.outcome, report.problems.is_empty()) {
        (Outcome::Applied | Outcome::Unchanged | Outcome::Valid, _) => Exit::Ok,
        (Outcome::Rejected, false) => Exit::Config,
        (Outcome::Rejected, true) => Exit::Unavailable,
    }
}

fn tell(report: &Report) {
    const STAYS: &str = "the old configuration stays in force";
    match report.outcome {
        Outcome::Applied => println!("the new configuration is in force ({})", report.hash),
        Outcome::Unchanged => println!("nothing to change ({})", report.hash),
        Outcome::Valid => println!("a reload would change this"),
        Outcome::Rejected if report.problems.is_empty() => {
            let why = report.error.as_deref().unwrap_or("rejected");
            eprintln!("error: {why}; {STAYS}");
        }
        Outcome::Rejected => eprint!("{}", check::render(&[], &report.problems, STAYS)),
    }
    print!("{}", report.diff);
}

/// `hangu log-level`: says or sets what a gateway logs.
pub(super) fn log_level(client: &Client, level: Option<LogLevel>) -> Exit {
    let answer = match level {
        None => client.get("/log"),
        Some(level) => client.post(&format!("/log?level={}", level.as_str()), ""),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return fail(Exit::Unavailable, error),
    };
    let now = serde_json::from_str::<Value>(&answer.body).ok();
    match now.as_ref().and_then(|it| it["level"].as_str()) {
        Some(level) => {
            println!("{level}");
            Exit::Ok
        }
        None => fail(Exit::Unavailable, refusal(client, &answer)),
    }
}

/// `hangu endpoint`: lets an endpoint get no new requests, or again.
pub(super) fn endpoint(
    client: &Client,
    cluster: &str,
    endpoint: SocketAddr,
    is_draining: bool,
) -> Exit {
    let verb = if is_draining { "drain" } else { "undrain" };
    let path = format!("/clusters/{}/endpoints/{endpoint}/{verb}", escaped(cluster));
    match client.post(&path, "") {
        Ok(answer) if answer.status == 200 => {
            println!("{endpoint} of {cluster}: {verb}ed");
            Exit::Ok
        }
        Ok(answer) => fail(Exit::Unavailable, refusal(client, &answer)),
        Err(error) => fail(Exit::Unavailable, error),
    }
}

/// A name as one step of a path (RFC 3986 §3.3).
pub(super) fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(byte.into());
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_cluster_fits_into_a_path() {
        assert_eq!(escaped("web-1.a"), "web-1.a");
        assert_eq!(escaped("a b/c?"), "a%20b%2Fc%3F");
    }
}
