//! The byte relay of this crate, in a process of its own.

use std::process::Command;

use super::{Presence, Proxy};

pub(super) const RELAY: Proxy = Proxy {
    name: "relay",
    presence: Presence::Required,
    carries: |_| true,
    version: |_| Ok(format!("byte relay {}", env!("CARGO_PKG_VERSION"))),
    command: |plan| {
        let mut command = Command::new(&plan.programs.bench);
        command.arg("relay");
        for hop in [plan.http, plan.bolt] {
            command.arg("--listen").arg(hop.listen.to_string());
            command.arg("--upstream").arg(hop.upstream.to_string());
        }
        Ok(command)
    },
};
