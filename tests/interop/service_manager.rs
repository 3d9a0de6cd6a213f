//! The binary as a service manager starts it.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    process::Command,
};

use hangu_tests::{Peer, Upstream, http, manager::Manager, process::Process, wait::PATIENCE};
use serde_json::json;

use crate::command_line::valid;
use crate::gateway::{Directory, binary, free_port};

/// Descriptors begin at 3, and `LISTEN_PID` is the process itself: only a shell in between can do
/// both.
const START: &str = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ exec "$0" run --config "$1""#;

#[test]
fn what_queued_on_a_socket_that_was_kept_is_served_and_the_manager_is_told() {
    let (upstream, _requests) = Upstream::http_echo();
    let kept = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = kept.local_addr().expect("its address");
    let mut waiting = Peer::connect(address);
    waiting.send(http::get("/early"));

    let directory = Directory::new("service-manager");
    let mut config = valid();
    config["clusters"][0]["endpoints"][0]["address"] = json!(upstream.address.to_string());
    config["listeners"][0]["address"] = json!(address.to_string());
    config["workers"] = json!(2);
    config["admin"] = json!({"path": directory.0.join("admin.sock").display().to_string()});
    let file = directory.write("hangu.yaml", &config.to_string());
    let manager = Manager::new();
    let mut command = Command::new("sh");
    command.args(["-c", START]).arg(binary()).arg(&file);
    command.env("NOTIFY_SOCKET", &manager.address).env("LISTEN_FDS", "1");
    command.env("LISTEN_FDNAMES", format!("listener-127.0.0.1_{}", address.port()));
    let stdin = OwnedFd::from(kept).into();
    let mut process = Process::start_with("hangu", &mut command, stdin);

    assert_eq!(waiting.read_response("GET").status(), 200);
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("workers: 2"), "{ready}");
    process.signal(libc::SIGHUP);
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    process.signal(libc::SIGTERM);
    manager.wait_for("FDSTOREREMOVE=1");
    manager.wait_for("STOPPING=1");
    assert!(process.wait(PATIENCE).success());
}

#[test]
fn a_socket_for_which_there_is_no_listener_is_told_and_closed() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = other.local_addr().expect("its address");
    let directory = Directory::new("service-manager-other");
    let mut config = valid();
    let own = SocketAddr::from(([127, 0, 0, 1], free_port()));
    config["listeners"][0]["address"] = json!(own.to_string());
    config["admin"] = json!({"path": directory.0.join("admin.sock").display().to_string()});
    let file = directory.write("hangu.yaml", &config.to_string());
    let mut command = Command::new("sh");
    command.args(["-c", START]).arg(binary()).arg(&file).env("LISTEN_FDS", "1");
    let mut process = Process::start_with("hangu", &mut command, OwnedFd::from(other).into());
    // It holds the socket too.
    drop(command);
    process.wait_for(&format!("no listener for the socket on {address}"));
    process.wait_for("admin on");
    assert!(std::net::TcpStream::connect(address).is_err());
}
