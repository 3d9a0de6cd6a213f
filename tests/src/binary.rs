//! The gateway's binary.

use std::{ffi::OsString, fs, net::SocketAddr, net::TcpListener, path::PathBuf, process::Command};

use crate::{
    http::Message,
    process::{Process, root},
    wait,
};
use serde_json::Value;

use crate::Peer;

/// The release binary; `tests/run` builds it, and `HANGU` may name another one.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("HANGU") {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let binary = target.join("release/hangu");
    assert!(
        binary.exists(),
        "there is no {}: build it with `cargo build --release`, or run `tests/run`",
        binary.display()
    );
    binary
}

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A directory of one test, removed at its end.
pub struct Directory(pub PathBuf);

impl Directory {
    /// Makes it, empty, below the directory for temporary files.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hangu-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    /// Writes a file in it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `hangu run` with a configuration; ended when dropped.
pub struct Running {
    /// The process.
    pub process: Process,
    /// Where its admin API listens.
    pub admin: SocketAddr,
    /// Holds `hangu.yaml`.
    pub directory: Directory,
    config: Value,
}

impl Running {
    /// Starts it and waits until it is ready. The configuration is completed with an admin
    /// address.
    pub fn start(name: &str, config: Value) -> Self {
        let start = |command: &[OsString]| {
            Process::start("hangu", Command::new(&command[0]).args(&command[1..]))
        };
        Self::start_by(name, config, start)
    }

    /// As [`Running::start`], where the test starts the process of this command itself.
    pub fn start_by(
        name: &str,
        mut config: Value,
        start: impl FnOnce(&[OsString]) -> Process,
    ) -> Self {
        let directory = Directory::new(name);
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        config["admin"] = serde_json::json!({"address": admin.to_string()});
        if config["access_log"].is_null() {
            config["access_log"] = serde_json::json!({"enabled": false});
        }
        // JSON is YAML.
        let file = directory.write("hangu.yaml", &config.to_string());
        let process =
            start(&[binary().into(), "run".into(), "--config".into(), file.into_os_string()]);
        let mut running = Self { process, admin, directory, config };
        running.wait_until_ready();
        running
    }

    /// Its configuration as it was written last.
    pub fn config(&self) -> Value {
        self.config.clone()
    }

    /// Writes another configuration in the place of its own.
    pub fn write(&mut self, config: &Value) {
        self.config = config.clone();
        self.directory.write("hangu.yaml", &config.to_string());
    }

    fn wait_until_ready(&mut self) {
        let admin = self.admin;
        wait::until("the gateway is ready", || {
            std::net::TcpStream::connect(admin).is_ok() && ask(admin, "/ready").status() == 200
        });
    }
}

/// Asks the admin API.
pub fn ask(admin: SocketAddr, path: &str) -> Message {
    let mut client = Peer::connect(admin);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    client.read_response("GET")
}

/// A configuration with one listener.
pub fn config(
    address: SocketAddr,
    protocol: &str,
    hosts: Value,
    clusters: &[(&str, SocketAddr)],
) -> Value {
    let clusters: Vec<_> = clusters
        .iter()
        .map(|(name, upstream)| {
            let endpoint = serde_json::json!({"address": upstream.to_string()});
            serde_json::json!({"name": name, "protocol": protocol, "endpoints": [endpoint]})
        })
        .collect();
    serde_json::json!({
        "workers": 2,
        "listeners": [{
            "name": "in",
            "address": address.to_string(),
            "protocols": [protocol],
            "route_config": "routes",
        }],
        "route_configs": [{"name": "routes", "virtual_hosts": hosts}],
        "clusters": clusters,
    })
}
