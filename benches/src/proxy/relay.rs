//! The byte relays of this crate, each in a process of its own.

use std::io;
use std::process::Command;

use super::{Plan, Presence, Proxy, Role};
use crate::workload::Measure;

pub(super) const RELAY: Proxy = Proxy {
    name: "relay",
    role: Role::Yardstick,
    presence: Presence::Required,
    carries: |_| true,
    version: |_| Ok(format!("byte relay on epoll {}", env!("CARGO_PKG_VERSION"))),
    command: |plan| command(plan, "epoll"),
};

/// A yardstick of CPU time alone: its buffers of 64 KiB say nothing about idle connections.
pub(super) const RELAY_MONOIO: Proxy = Proxy {
    name: "relay-monoio",
    role: Role::Yardstick,
    // Not every kernel has, or allows, io_uring.
    presence: Presence::Optional,
    carries: |workload| workload.measure != Measure::IdleConnections,
    version: |_| Ok(format!("byte relay on monoio 0.2 {}", env!("CARGO_PKG_VERSION"))),
    command: |plan| command(plan, "monoio"),
};

#[allow(clippy::unnecessary_wraps, reason = "the type of a proxy's command")]
fn command(plan: &Plan, driver: &str) -> io::Result<Command> {
    let mut command = Command::new(&plan.programs.bench);
    command.arg("relay").arg("--driver").arg(driver);
    for hop in [plan.straight, plan.bolt] {
        command.arg("--listen").arg(hop.listen.to_string());
        command.arg("--upstream").arg(hop.upstream.to_string());
    }
    Ok(command)
}
