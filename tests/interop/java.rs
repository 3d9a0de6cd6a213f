//! Real Java peers: SOFA-RPC and the plain Bolt client, against the gateway's binary.

use std::{net::SocketAddr, process::Command, time::Duration};

use hangu_tests::{
    Upstream,
    process::{Process, root},
    upstream::refused_address,
};
use serde_json::{Value, json};

use crate::gateway::{Running, ask, config, free_port};

/// A Java program may need that long on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn java(main: &str, options: &[&str], arguments: &[String]) -> Process {
    let home = root().join("tests/java");
    let classes = home.join("sofa/target/classes");
    assert!(
        classes.join("peer/SofaConsumer.class").exists(),
        "the Java peers are not built: run `tests/run java`"
    );
    let class_path = "common/target/classes:sofa/target/classes:sofa/target/dependency/*";
    Process::start(
        main,
        Command::new("java")
            .current_dir(home)
            .arg("@java.options")
            .args(options)
            .args(["-cp", class_path, main])
            .args(arguments),
    )
}

fn provider(name: &str) -> (Process, SocketAddr) {
    let port = free_port();
    let mut process = java("peer.SofaProvider", &[], &[port.to_string(), name.to_owned()]);
    process.wait_for("READY");
    (process, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Runs a client to its end; it must have found nothing wrong.
fn succeeds(mut client: Process) {
    let status = client.wait(PATIENCE);
    let output = client.output();
    let passed = output.lines().any(|it| it.ends_with(", 0 failed"));
    assert!(status.success() && passed, "{status}:\n{output}");
    for line in output.lines().filter(|it| it.starts_with("ok ") || it.starts_with("  ")) {
        println!("{line}");
    }
}

fn through(gateway: &Running) -> String {
    let view: Value = serde_json::from_str(&ask(gateway.admin, "/config").text()).expect("JSON");
    let address = view["listeners"][0]["address"].as_str().expect("an address");
    address.rsplit(':').next().expect("a port").to_owned()
}

fn here(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn java_consumers_call_in_every_mode() {
    let (_main, main) = provider("main");
    let (_canary, canary) = provider("canary");
    let hosts = json!([{"name": "rpc", "services": ["peer.*"], "routes": [
        {"match": {"rpc": {"method": {"exact": "name"},
                           "fields": [{"name": "x-gray", "exact": "canary"}]}},
         "route": {"cluster": "canary"}},
        {"match": {}, "route": {"cluster": "main"}},
    ]}]);
    let config = config(here(free_port()), "bolt", hosts, &[("main", main), ("canary", canary)]);
    let gateway = Running::start("java-modes", config);
    let port = through(&gateway);

    let consumer = java("peer.SofaConsumer", &[], &[port.clone(), "canary".to_owned()]);
    let beats = ["-Dbolt.tcp.heartbeat.interval=1000"];
    let plain = java("peer.BoltPlain", &beats, std::slice::from_ref(&port));
    succeeds(consumer);
    succeeds(plain);

    // Several processes at once, each with many threads.
    let crowd: Vec<_> = (0..2)
        .map(|_| {
            let arguments = [port.clone(), "24".to_owned(), "60".to_owned()];
            java("peer.SofaManyConsumers", &[], &arguments)
        })
        .collect();
    crowd.into_iter().for_each(succeeds);
}

#[test]
fn java_consumers_understand_each_failure() {
    let (_provider, provider) = provider("main");
    let garbage = Upstream::serve(|mut peer, _| {
        let _ = peer.try_read_frame();
        let _ = peer.try_send("this is no frame of any version, but it is long enough for one");
        let _ = peer.try_read_exactly(1 << 20);
    });
    let lost = Upstream::serve(|mut peer, _| {
        let _ = peer.try_read_frame();
        peer.reset();
    });
    let cases = [
        ("refused", refused_address(), "*"),
        ("no-route", provider, "elsewhere.*"),
        ("deadline", provider, "*"),
        ("busy", provider, "*"),
        ("garbage", garbage.address, "*"),
        ("lost", lost.address, "*"),
    ];
    let mut arguments = Vec::new();
    let (mut listeners, mut tables, mut clusters) = (Vec::new(), Vec::new(), Vec::new());
    for (name, upstream, services) in cases {
        let port = free_port();
        arguments.extend([name.to_owned(), port.to_string()]);
        listeners.push(json!({
            "name": name, "address": here(port).to_string(), "protocols": ["bolt"],
            "route_config": name,
        }));
        let route = json!({"match": {}, "route": {
            "cluster": name, "timeout": if name == "deadline" { "400ms" } else { "30s" },
        }});
        tables.push(json!({"name": name, "virtual_hosts": [
            {"name": name, "services": [services], "routes": [route]},
        ]}));
        clusters.push(json!({
            "name": name, "protocol": "bolt", "endpoints": [{"address": upstream.to_string()}],
            // None may wait for the connection that is dialled for the first request.
            "pending_max": if name == "busy" { 0 } else { 100 },
        }));
    }
    let config = json!({
        "workers": 1, "listeners": listeners, "route_configs": tables, "clusters": clusters,
    });
    let _gateway = Running::start("java-failures", config);
    succeeds(java("peer.SofaFailures", &[], &arguments));
}
