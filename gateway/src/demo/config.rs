//! The configuration of the demo, and what to try with it.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::Addresses;

/// Ports of the demo, all on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// HTTP/1.1 listener.
    pub http: u16,
    /// Bolt listener.
    pub bolt: u16,
    /// Admin API.
    pub admin: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { http: 8080, bolt: 12_200, admin: 9901 }
    }
}

/// Connections of a listener: what any machine has descriptors for.
const CONNECTIONS_MAX: u32 = 4096;

/// The demo's configuration. Without the upstreams' addresses, which the system chooses when they
/// start, it shows others and says so.
pub fn yaml(ports: Ports, upstreams: Option<Addresses>) -> String {
    let shown = Addresses {
        http: SocketAddr::from(([127, 0, 0, 1], 18_080)),
        bolt: SocketAddr::from(([127, 0, 0, 1], 22_200)),
    };
    let note = match upstreams {
        Some(_) => "",
        None => "   # the demo puts the port here that its upstream got from the system",
    };
    let Addresses { http: http_upstream, bolt: bolt_upstream } = upstreams.unwrap_or(shown);
    let Ports { http, bolt, admin } = ports;
    format!(
        r#"# What `hangu demo` runs.
admin:
  address: 127.0.0.1:{admin}

access_log:
  path: "-"

listeners:
  - name: http
    address: 127.0.0.1:{http}
    protocols: [http2, http1]
    route_config: http
    connections_max: {CONNECTIONS_MAX}
  - name: bolt
    address: 127.0.0.1:{bolt}
    protocols: [bolt]
    route_config: bolt
    connections_max: {CONNECTIONS_MAX}

route_configs:
  - name: http
    virtual_hosts:
      - name: everything
        domains: ["*"]
        routes:
          - name: echo
            match: {{ prefix: / }}
            route: {{ cluster: http-echo }}
  - name: bolt
    virtual_hosts:
      - name: every-service
        services: ["*"]
        routes:
          - name: echo
            match: {{ rpc: {{}} }}
            route: {{ cluster: bolt-echo }}

clusters:
  - name: http-echo
    protocol: http1
    endpoints:
      - address: {http_upstream}{note}
  - name: bolt-echo
    protocol: bolt
    endpoints:
      - address: {bolt_upstream}{note}
"#
    )
}

/// What to try next: commands that work as they are printed. `program` is the path of this
/// program.
pub fn hints(ports: Ports, program: &str) -> String {
    let Ports { http, bolt, admin } = ports;
    let program = quoted(program);
    let mut text = format!(
        "hangu {} demo: HTTP on 127.0.0.1:{http}, Bolt on 127.0.0.1:{bolt}, admin on \
         127.0.0.1:{admin}\n\nTry, in another terminal:\n",
        env!("CARGO_PKG_VERSION")
    );
    for (command, about) in commands(ports, &program) {
        // Writing to memory does not fail.
        let _ = writeln!(text, "  # {about}\n  {command}");
    }
    text.push_str("\nCtrl-C stops the demo. Below is its access log, one line per request.\n");
    text
}

fn commands(ports: Ports, program: &str) -> [(String, &'static str); 8] {
    let Ports { http, bolt, admin } = ports;
    [
        (
            format!("curl -i 'http://127.0.0.1:{http}/hello?name=you'"),
            "an HTTP request; the upstream shows what it received",
        ),
        (
            format!("curl -i --http2-prior-knowledge http://127.0.0.1:{http}/hello"),
            "the same over HTTP/2, on the same port",
        ),
        (
            format!("curl -s --data-binary 'some text' http://127.0.0.1:{http}/upload"),
            "a body; the upstream shows its SHA-256",
        ),
        (
            format!("{program} demo --try-bolt --bolt-port {bolt}"),
            "a Bolt request, with both frames shown",
        ),
        (format!("curl -s http://127.0.0.1:{admin}/clusters"), "what the gateway knows of them"),
        (format!("curl -s http://127.0.0.1:{admin}/metrics"), "counters for Prometheus"),
        (
            format!("{program} demo --print-config"),
            "the configuration of the demo, to begin your own with",
        ),
        (format!("{program} stop --admin 127.0.0.1:{admin}"), "stop, gracefully"),
    ]
}

/// A path as a word of the shell.
fn quoted(path: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-+".contains(it);
    if !path.is_empty() && path.chars().all(is_plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_and_quotes_is_one_word_of_the_shell() {
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {}", quoted("/a b/it's $HOME/x"))])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"/a b/it's $HOME/x");
        assert_eq!(quoted("/usr/bin/hangu"), "/usr/bin/hangu");
    }

    #[test]
    fn the_configuration_is_valid_with_and_without_its_upstreams() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses { http: address(41), bolt: address(42) };
        for upstreams in [None, Some(addresses)] {
            let text = yaml(Ports::default(), upstreams);
            let source = hangu_config::Source { name: "demo.yaml".to_owned(), text };
            let config = hangu_config::load(&[source], &hangu_config::NoValues)
                .expect("a valid configuration");
            let ports: Vec<_> = config.listeners.iter().map(|it| it.address.port()).collect();
            assert_eq!(ports, [8080, 12_200]);
        }
    }

    #[test]
    fn the_hints_name_the_ports_that_were_chosen() {
        let text = hints(Ports { http: 1, bolt: 2, admin: 3 }, "/bin/hangu");
        for part in ["127.0.0.1:1/hello", "--bolt-port 2", "127.0.0.1:3/metrics"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn addresses_that_are_not_known_yet_are_noted_as_such() {
        let upstreams = Addresses {
            http: SocketAddr::from(([127, 0, 0, 1], 41)),
            bolt: SocketAddr::from(([127, 0, 0, 1], 42)),
        };
        let known = yaml(Ports::default(), Some(upstreams));
        assert!(known.contains("address: 127.0.0.1:41\n") && known.contains("127.0.0.1:42\n"));
        let unknown = yaml(Ports::default(), None);
        assert_eq!(unknown.matches("got from the system").count(), 2);
    }
}
