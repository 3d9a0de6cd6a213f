//! The gateway itself, on the driver that it chooses and on epoll.

use std::io;
use std::process::Command;

use super::{Plan, Presence, Proxy, version_line};

pub(super) const HANGU: Proxy = Proxy {
    name: "hangu",
    presence: Presence::Required,
    carries: |_| true,
    version: |programs| version_line(&programs.hangu, "version"),
    command: |plan| command(plan, "auto"),
};

pub(super) const HANGU_EPOLL: Proxy = Proxy {
    name: "hangu-epoll",
    presence: Presence::Required,
    carries: |_| true,
    version: |programs| version_line(&programs.hangu, "version"),
    command: |plan| command(plan, "epoll"),
};

fn command(plan: &Plan, driver: &str) -> io::Result<Command> {
    let file = plan.write("hangu.yaml", &configuration(plan, driver))?;
    let mut command = Command::new(&plan.programs.hangu);
    command.arg("run").arg("--config").arg(file);
    Ok(command)
}

fn configuration(plan: &Plan, driver: &str) -> String {
    format!(
        "workers: 1
driver: {driver}
admin: {{ address: \"{admin}\" }}
access_log: {{ enabled: false }}
listeners:
  - {{ name: http, address: \"{http}\", protocols: [http1], route_config: http }}
  - {{ name: bolt, address: \"{bolt}\", protocols: [bolt], route_config: bolt }}
route_configs:
  - name: http
    virtual_hosts:
      - name: all
        domains: [\"*\"]
        routes:
          - {{ match: {{ prefix: / }}, route: {{ cluster: http }} }}
  - name: bolt
    virtual_hosts:
      - name: all
        services: [\"*\"]
        routes:
          - {{ match: {{}}, route: {{ cluster: bolt }} }}
clusters:
  - {{ name: http, protocol: http1, endpoints: [{{ address: \"{http_upstream}\" }}] }}
  - {{ name: bolt, protocol: bolt, endpoints: [{{ address: \"{bolt_upstream}\" }}] }}
",
        admin = plan.admin,
        http = plan.http.listen,
        bolt = plan.bolt.listen,
        http_upstream = plan.http.upstream,
        bolt_upstream = plan.bolt.upstream,
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use hangu_config::Source;

    use super::*;
    use crate::proxy::{Programs, Upstreams};

    #[test]
    fn the_configuration_is_one_that_the_gateway_takes() {
        let upstream = "127.0.0.1:1".parse().unwrap();
        let upstreams = Upstreams { http: upstream, bolt: upstream };
        let programs = Programs { bench: PathBuf::new(), hangu: PathBuf::new() };
        let plan = Plan::new(std::env::temp_dir(), upstreams, &programs).unwrap();
        for driver in ["auto", "epoll"] {
            let text = configuration(&plan, driver);
            let source = Source { name: "hangu.yaml".into(), text };
            let problems = hangu_config::load(&[source], &hangu_config::NoValues).err();
            assert!(problems.is_none(), "{problems:#?}");
        }
    }
}
