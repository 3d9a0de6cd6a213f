//! The gateway itself: on the driver that it chooses, on epoll, and with all that it can tell.

use std::fmt::Write;
use std::io;
use std::process::Command;

use super::{Plan, Presence, Proxy, Role, version_line, versions};
use crate::workload::{Measure, ROUTE_FIELD, Route, Version, route_name};

pub(super) const HANGU: Proxy = Proxy {
    name: "hangu",
    role: Role::Own,
    presence: Presence::Required,
    carries: |_| true,
    version: |programs| version_line(&programs.hangu, "version"),
    command: |plan| command(plan, "auto", Log::Off),
};

/// The same with every line of the access log written to a file, and all metrics.
pub(super) const HANGU_LOGGED: Proxy = Proxy {
    name: "hangu-logged",
    role: Role::Own,
    presence: Presence::Required,
    carries: |workload| {
        workload.route == Route::Only && workload.measure != Measure::IdleConnections
    },
    version: |programs| version_line(&programs.hangu, "version"),
    command: |plan| command(plan, "auto", Log::On),
};

pub(super) const HANGU_EPOLL: Proxy = Proxy {
    name: "hangu-epoll",
    role: Role::Own,
    presence: Presence::OnRequest,
    carries: |_| true,
    version: |programs| version_line(&programs.hangu, "version"),
    command: |plan| command(plan, "epoll", Log::Off),
};

/// Whether the access log is written and calls are counted by their names.
#[derive(Clone, Copy, Debug)]
enum Log {
    Off,
    On,
}

fn command(plan: &Plan, driver: &str, log: Log) -> io::Result<Command> {
    let file = plan.write("hangu.yaml", &configuration(plan, driver, log))?;
    let mut command = Command::new(&plan.programs.hangu);
    command.arg("run").arg("--config").arg(file);
    Ok(command)
}

fn configuration(plan: &Plan, driver: &str, log: Log) -> String {
    let telemetry = match log {
        Log::Off => {
            "access_log: { enabled: false }\nmetrics: { rpc: { enabled: false } }".to_owned()
        }
        Log::On => {
            let path = plan.directory.join("access.log");
            format!("access_log: {{ path: {path:?} }}\nmetrics: {{ rpc: {{ enabled: true }} }}")
        }
    };
    let name = |version| match version {
        Version::Http1 => "http1",
        Version::Http2 => "http2",
    };
    let (from, to) = versions(&plan.workload);
    let (http_from, http_to) = (name(from), name(to));
    format!(
        "workers: 1
driver: {driver}
admin: {{ address: \"{admin}\" }}
{telemetry}
listeners:
  - {{ name: http, address: \"{http}\", protocols: [{http_from}], route_config: http }}
  - {{ name: bolt, address: \"{bolt}\", protocols: [bolt], route_config: bolt }}
route_configs:
  - name: http
    virtual_hosts:
      - name: all
        domains: [\"*\"]
        routes:
{routes}  - name: bolt
    virtual_hosts:
      - name: all
        services: [\"*\"]
        routes:
          - {{ match: {{}}, route: {{ cluster: bolt }} }}
clusters:
  - {{ name: http, protocol: {http_to}, endpoints: [{{ address: \"{http_upstream}\" }}] }}
  - {{ name: bolt, protocol: bolt, endpoints: [{{ address: \"{bolt_upstream}\" }}] }}
",
        admin = plan.admin,
        http = plan.http.listen,
        bolt = plan.bolt.listen,
        routes = routes(plan),
        http_upstream = plan.http.upstream,
        bolt_upstream = plan.bolt.upstream,
    )
}

fn routes(plan: &Plan) -> String {
    let mut text = String::new();
    for number in 0..plan.workload.routes() {
        let headers = match plan.workload.route {
            Route::Only => String::new(),
            Route::Numbered(_) => {
                let name = route_name(number);
                format!(", headers: [{{ name: {ROUTE_FIELD}, exact: {name} }}]")
            }
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "          - {{ match: {{ prefix: /{headers} }}, route: {{ cluster: http }} }}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use hangu_config::Source;

    use super::*;
    use crate::backend::Addresses;
    use crate::proxy::Programs;
    use crate::workload::WORKLOADS;

    #[test]
    fn the_configurations_are_ones_that_the_gateway_takes() {
        let upstream = "127.0.0.1:1".parse().unwrap();
        let upstreams = Addresses { http: upstream, http2: upstream, bolt: upstream };
        let none = PathBuf::new;
        let programs = Programs { bench: none(), hangu: none(), peers: none() };
        for workload in WORKLOADS {
            let plan = Plan::new(std::env::temp_dir(), upstreams, &programs, workload).unwrap();
            for (driver, log) in [("auto", Log::Off), ("auto", Log::On), ("epoll", Log::Off)] {
                let text = configuration(&plan, driver, log);
                let source = Source { name: "hangu.yaml".into(), text };
                let problems = hangu_config::load(&[source], &hangu_config::NoValues).err();
                assert!(problems.is_none(), "{}: {problems:#?}", workload.name);
            }
        }
    }
}
