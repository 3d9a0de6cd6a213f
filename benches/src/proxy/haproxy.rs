//! HAProxy, with one thread and idle upstream connections shared by all clients.

use std::fmt::Write;
use std::io;
use std::process::Command;

use super::{Plan, Presence, Programs, Proxy, Role, speaks_http, version_line, versions};
use crate::workload::{ROUTE_FIELD, Route, Version, route_name};

pub(super) const HAPROXY: Proxy = Proxy {
    name: "haproxy",
    role: Role::Peer,
    presence: Presence::Optional,
    carries: speaks_http,
    version: |_| version_line(&Programs::of_system("haproxy"), "-v"),
    command: |plan| {
        let proto = |version| match version {
            Version::Http1 => "",
            Version::Http2 => " proto h2",
        };
        let (from, to) = versions(&plan.workload);
        let (proto_from, proto_to) = (proto(from), proto(to));
        let text = format!(
            "global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    http-reuse always
frontend all
    bind {listen}{proto_from}
    {choice}
backend nothing
backend http
    server one {upstream}{proto_to} pool-purge-delay 1h
",
            listen = plan.http.listen,
            choice = choice(plan)?,
            upstream = plan.http.upstream,
        );
        let file = plan.write("haproxy.cfg", &text)?;
        let mut command = Command::new(Programs::of_system("haproxy"));
        command.arg("-db").arg("-f").arg(file);
        Ok(command)
    },
};

/// Many routes as HAProxy has them cheapest: a map, which it looks up in a tree.
fn choice(plan: &Plan) -> io::Result<String> {
    let Route::Numbered(_) = plan.workload.route else {
        return Ok("default_backend http".to_owned());
    };
    let mut lines = String::new();
    for number in 0..plan.workload.routes() {
        // Writing to a String does not fail.
        let _ = writeln!(lines, "{} http", route_name(number));
    }
    let file = plan.write("routes.map", &lines)?;
    Ok(format!("use_backend %[req.hdr({ROUTE_FIELD}),map_str({},nothing)]", file.display()))
}
