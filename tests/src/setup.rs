//! A gateway for one test.

use std::{net::SocketAddr, ops::Deref, sync::Arc};

use crate::{Peer, wait};
use hangu::{
    control::{self, Control, systemd::Service},
    io::{Driver, DriverChoice},
    start::Gateway,
    telemetry::ProcessFacts,
};
use hangu_config::{Admin, Config, Secret, Source};
use serde_json::{Value, json};

pub use hangu::io::DriverKind;

/// Makes three tests of each function, one for each driver.
#[macro_export]
macro_rules! on_every_driver {
    ($($(#[$about:meta])* fn $name:ident($driver:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "not every test needs all")]
            use super::*;

            $(#[$about])*
            fn check($driver: $crate::setup::DriverKind) $body

            #[test]
            fn io_uring_defer_taskrun() {
                $crate::setup::run($crate::setup::DriverKind::IoUringDeferTaskrun, check);
            }

            #[test]
            fn io_uring_coop_taskrun() {
                $crate::setup::run($crate::setup::DriverKind::IoUringCoopTaskrun, check);
            }

            #[test]
            fn epoll() {
                $crate::setup::run($crate::setup::DriverKind::Epoll, check);
            }
        }
    )*};
}

/// Runs a test on a driver, unless the kernel or a filter of this machine refuses that driver;
/// epoll is never refused.
pub fn run(driver: DriverKind, check: fn(DriverKind)) {
    if let Err(why) = Driver::build(DriverChoice::Only(driver)) {
        assert_ne!(driver, DriverKind::Epoll, "epoll: {why}");
        eprintln!("left out, this machine has no {driver}: {why}");
        return;
    }
    check(driver);
}

/// A configuration in the making: one listener `in`, routes to a cluster `main`.
#[derive(Clone)]
pub struct Setup {
    driver: DriverKind,
    /// As it would stand in a file.
    pub config: Value,
}

impl Setup {
    /// HTTP/1.1 to one upstream.
    pub fn http(driver: DriverKind, upstream: SocketAddr) -> Self {
        Self::new(driver, &["http1"]).cluster("main", "http1", &[upstream])
    }

    /// Bolt to one upstream.
    pub fn bolt(driver: DriverKind, upstream: SocketAddr) -> Self {
        Self::new(driver, &["bolt"]).cluster("main", "bolt", &[upstream])
    }

    /// No cluster yet; everything goes to `main`.
    pub fn new(driver: DriverKind, protocols: &[&str]) -> Self {
        let mut hosts = Vec::new();
        if protocols.iter().any(|it| it.starts_with("http")) {
            let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "main"}});
            hosts.push(json!({"name": "http", "domains": ["*"], "routes": [route]}));
        }
        if protocols.contains(&"bolt") {
            let route = json!({"match": {}, "route": {"cluster": "main"}});
            hosts.push(json!({"name": "rpc", "services": ["*"], "routes": [route]}));
        }
        let listener = json!({
            "name": "in",
            "address": "127.0.0.1:0",
            "protocols": protocols,
            "route_config": "routes",
            // Most tests look at what is forwarded byte by byte.
            "trace_ids": "keep",
        });
        let config = json!({
            "workers": 1,
            "access_log": {"enabled": false},
            "listeners": [listener],
            "route_configs": [{"name": "routes", "virtual_hosts": hosts}],
            "clusters": [],
        });
        Self { driver, config }
    }

    /// With one more cluster.
    pub fn cluster(mut self, name: &str, protocol: &str, upstreams: &[SocketAddr]) -> Self {
        let endpoints: Vec<_> =
            upstreams.iter().map(|it| json!({"address": it.to_string()})).collect();
        let cluster = json!({"name": name, "protocol": protocol, "endpoints": endpoints});
        self.config["clusters"].as_array_mut().expect("clusters").push(cluster);
        self
    }

    /// With members of the listener set.
    pub fn listener(mut self, members: Value) -> Self {
        merge(&mut self.config["listeners"][0], members);
        self
    }

    /// With members of the cluster `main` set.
    pub fn main(mut self, members: Value) -> Self {
        merge(&mut self.config["clusters"][0], members);
        self
    }

    /// With these virtual hosts alone.
    pub fn hosts(mut self, hosts: Value) -> Self {
        self.config["route_configs"][0]["virtual_hosts"] = hosts;
        self
    }

    /// With a timeout on the route of the first virtual host.
    pub fn timeout(mut self, timeout: &str) -> Self {
        let hosts = &mut self.config["route_configs"][0]["virtual_hosts"];
        hosts[0]["routes"][0]["route"]["timeout"] = json!(timeout);
        self
    }

    /// With so many workers.
    pub fn workers(mut self, workers: usize) -> Self {
        self.config["workers"] = json!(workers);
        self
    }

    /// The configuration.
    pub fn load(&self) -> Config {
        // JSON is YAML.
        let source = Source { name: "test.yaml".into(), text: self.config.to_string() };
        hangu_config::load(&[source], &hangu_config::NoValues).unwrap_or_else(|problems| {
            let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
            panic!("{}\n{}", self.config, text.join("\n"))
        })
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let config = self.load();
        let gateway = Gateway::start(config, DriverChoice::Only(self.driver)).expect("it starts");
        let drivers = gateway.drivers();
        assert!(drivers.iter().all(|(kind, _)| *kind == self.driver), "{drivers:?}");
        Running { gateway: Some(gateway) }
    }
}

fn merge(object: &mut Value, members: Value) {
    let Value::Object(members) = members else { panic!("no object: {members}") };
    for (name, value) in members {
        object[name] = value;
    }
}

/// A running gateway. A worker that died fails the test.
pub struct Running {
    gateway: Option<Gateway>,
}

impl Deref for Running {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        self.gateway.as_ref().expect("it runs")
    }
}

impl Running {
    /// Where the listener `in` accepts connections.
    pub fn place(&self) -> SocketAddr {
        self.address("in").expect("the listener")
    }

    /// A new client connection.
    pub fn connect(&self) -> Peer {
        Peer::connect(self.place())
    }

    /// The sum of all samples of a metric whose labels contain each of these texts.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.handle().metrics().render(&ProcessFacts::default());
        assert!(text.contains(name), "no metric {name}:\n{text}");
        sum(&text, name, labels)
    }

    /// Waits until a metric has a value; one that is not there counts as zero.
    pub fn wait_for_metric(&self, name: &str, labels: &[&str], value: f64) {
        wait::until(&format!("{name}{labels:?} is {value}"), || {
            let text = self.handle().metrics().render(&ProcessFacts::default());
            sum(&text, name, labels) == value
        });
    }

    /// Waits until a metric has a value above zero; it need not be there before.
    pub fn wait_for_some(&self, name: &str, labels: &[&str]) {
        wait::until(&format!("{name}{labels:?} is above zero"), || {
            let text = self.handle().metrics().render(&ProcessFacts::default());
            sum(&text, name, labels) > 0.0
        });
    }

    /// Starts the control thread of the gateway, with an admin API on a port of its own.
    pub fn control(&self) -> (Control, SocketAddr) {
        self.control_under(Service::default())
    }

    /// The same under a service manager.
    pub fn control_under(&self, service: Service) -> (Control, SocketAddr) {
        let admin = Admin::Tcp {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            allow_remote: false,
            token: Some(Secret::new("only for this test".to_owned())),
            token_path: None,
        };
        let bound = control::bind(&admin).expect("a free port");
        let address = bound.address().expect("on TCP");
        let access = control::token::provide(&admin, Some(address), None).expect("a token");
        let settings = control::Settings {
            admin: bound,
            access,
            with_signals: false,
            files: None,
            log: None,
            service,
            lineage: control::Lineage::default(),
        };
        let handle = Arc::new(self.handle().clone());
        (control::start(settings, handle).expect("the control thread"), address)
    }

    /// The gateway itself, to be stopped by the test.
    pub fn into_gateway(mut self) -> Gateway {
        self.gateway.take().expect("it runs")
    }
}

/// The sum of all samples of a metric whose labels contain each of these texts.
fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = text.lines().filter(|line| {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        line[..end] == *name && labels.iter().all(|it| line.contains(it))
    });
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(gateway) = self.gateway.take() else { return };
        let stopped = gateway.stop(std::time::Duration::ZERO);
        if !std::thread::panicking() {
            stopped.expect("no worker died");
        }
    }
}
