//! A minimal proxy made of Pingora (`benches/peers/pingora`).

use std::path::PathBuf;
use std::process::Command;

use super::{Presence, Programs, Proxy, Role, speaks_http1, version_line};
use crate::workload::Route;

pub(super) const PINGORA: Proxy = Proxy {
    name: "pingora",
    role: Role::Peer,
    presence: Presence::Optional,
    // Pingora leaves routing to whoever uses it: a row of it would measure our own code.
    carries: |workload| speaks_http1(workload) && workload.route == Route::Only,
    version: |programs| version_line(&program(programs), "--version"),
    command: |plan| {
        let mut command = Command::new(program(&plan.programs));
        command.arg(plan.http.listen.to_string()).arg(plan.http.upstream.to_string());
        Ok(command)
    },
};

fn program(programs: &Programs) -> PathBuf {
    programs.peers.join("pingora/release/pingora-peer")
}
