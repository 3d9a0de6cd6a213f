//! Faults of processes and of the machine: the gateway's own binary.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use hangu_tests::{
    Peer, Upstream,
    binary::{Running, ask, config, free_port},
    http::get,
    process::Process,
    wait,
};
use serde_json::{Value, json};

use crate::scene::{Bystander, DELAY_MAX, PATIENCE, PATIENCE_TEXT, RECOVERY, took_patience};

/// A gateway before an upstream that answers everything with `healthy`.
pub(crate) struct Scene {
    /// The gateway.
    pub(crate) running: Running,
    /// Where it accepts connections.
    pub(crate) place: SocketAddr,
    _healthy: Upstream,
}

impl Scene {
    /// Starts it with a changed configuration.
    pub(crate) fn start(name: &str, change: impl FnOnce(&mut Value)) -> Self {
        Self::start_by(name, change, |command| {
            Process::start("hangu", Command::new(&command[0]).args(&command[1..]))
        })
    }

    /// As [`Scene::start`], where the test starts the process of this command itself.
    pub(crate) fn start_by(
        name: &str,
        change: impl FnOnce(&mut Value),
        start: impl FnOnce(&[OsString]) -> Process,
    ) -> Self {
        let healthy = Upstream::http_text("healthy");
        let place = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "main"}}]);
        let hosts = json!([{"name": "web", "domains": ["*"], "routes": routes}]);
        let mut config = config(place, "http1", hosts, &[("main", healthy.address)]);
        config["workers"] = json!(1);
        change(&mut config);
        Self { running: Running::start_by(name, config, start), place, _healthy: healthy }
    }

    /// The first sample whose line begins so; 0 without one.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = ask(self.running.admin, "/metrics").text();
        let line = text.lines().find(|it| it.starts_with(name) && !it.starts_with('#'));
        line.and_then(|it| it.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    fn hash(&self) -> String {
        let text = ask(self.running.admin, "/metrics").text();
        let line = text.lines().find(|it| it.starts_with("hangu_config_info{"));
        line.expect("the fingerprint").to_owned()
    }

    /// A new client is served.
    pub(crate) fn works(&self) {
        let mut client = Peer::connect(self.place);
        client.send(get("/"));
        assert_eq!(client.read_response("GET").text(), "healthy");
    }

    /// Reloads a configuration that is refused, then the right one with a change.
    fn refuses(mut self, wrong: &str) {
        let mut bystander = Bystander::start(self.place);
        let before = self.hash();
        self.running.directory.write("hangu.yaml", wrong);
        self.running.process.signal(libc::SIGHUP);
        let rejected = "hangu_config_reloads_total{result=\"rejected\"}";
        wait::until("the reload is refused", || self.metric(rejected) == 1.0);
        assert_eq!(self.hash(), before, "the old configuration stays");
        self.works();
        let mut config = self.running.config();
        config["drain_timeout"] = json!("77s");
        self.running.write(&config);
        let began = Instant::now();
        self.running.process.signal(libc::SIGHUP);
        wait::until("the right one is taken", || self.hash() != before);
        assert!(began.elapsed() < RECOVERY);
        self.works();
        bystander.noticed_nothing();
    }
}

#[test]
fn fault_29_a_half_written_configuration_changes_nothing() {
    let scene = Scene::start("fault-29", |_| ());
    let whole = scene.running.config().to_string();
    scene.refuses(&whole[..whole.len() / 2]);
}

#[test]
fn fault_30_a_configuration_that_cannot_be_bound_changes_nothing() {
    let scene = Scene::start("fault-30", |_| ());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut wrong = scene.running.config();
    let mut more = wrong["listeners"][0].clone();
    more["name"] = json!("more");
    more["address"] = json!(taken.local_addr().expect("an address").to_string());
    wrong["listeners"].as_array_mut().expect("a list").push(more);
    scene.refuses(&wrong.to_string());
}

/// Sends `/faulty` to another upstream, which has [`PATIENCE`] to answer.
pub(crate) fn add_faulty(config: &mut Value, upstream: SocketAddr) {
    let endpoints = json!([{"address": upstream.to_string()}]);
    let cluster = json!({"name": "faulty", "protocol": "http1", "endpoints": endpoints});
    config["clusters"].as_array_mut().expect("a list").push(cluster);
    let route = json!({"cluster": "faulty", "timeout": PATIENCE_TEXT});
    let route = json!({"match": {"path": "/faulty"}, "route": route});
    let routes = &mut config["route_configs"][0]["virtual_hosts"][0]["routes"];
    routes.as_array_mut().expect("a list").insert(0, route);
}

/// Lets a process have descriptors below this number.
fn limit_descriptors(process: u32, limit: u64) {
    let process = i32::try_from(process).expect("a process id");
    let kind = libc::RLIMIT_NOFILE;
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: no new limit is given, and the old one goes to a value that outlives the call.
    let read = unsafe { libc::prlimit(process, kind, std::ptr::null(), &raw mut limits) };
    limits.rlim_cur = limit.min(limits.rlim_max);
    // SAFETY: the new limit is a valid value, and the old one is not asked for.
    let set = unsafe { libc::prlimit(process, kind, &raw const limits, std::ptr::null_mut()) };
    assert_eq!((read, set), (0, 0), "{}", std::io::Error::last_os_error());
}

fn highest_descriptor(process: u32) -> u64 {
    let all = fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors");
    let numbers = all.map(|it| it.expect("one").file_name().to_string_lossy().parse::<u64>());
    numbers.map(|it| it.expect("a number")).max().expect("some")
}

#[test]
fn fault_32_without_descriptors_new_clients_are_refused_at_once_and_others_go_on() {
    let scene = Scene::start("fault-32", |_| ());
    let mut bystander = Bystander::start(scene.place);
    let process = scene.running.process.id();
    limit_descriptors(process, highest_descriptor(process) + 1);
    // There may be gaps below the highest one; each of these fills one.
    let mut held = Vec::new();
    let refused = loop {
        let began = Instant::now();
        let mut client = Peer::connect(scene.place);
        if client.try_send(get("/")).is_err() || client.try_read_head().is_none() {
            break began.elapsed();
        }
        held.push(client);
        assert!(held.len() < 1000, "no client was refused");
    };
    let limit = Duration::from_millis(50);
    assert!(refused < limit, "refused after {refused:?}");
    for _ in 0..20 {
        let began = Instant::now();
        let mut client = Peer::connect(scene.place);
        client.read_to_end();
        assert!(began.elapsed() < limit, "refused after {:?}", began.elapsed());
    }
    drop(held);
    limit_descriptors(process, 1024);
    let began = Instant::now();
    scene.works();
    assert!(began.elapsed() < RECOVERY);
    assert!(scene.metric("hangu_downstream_connections_refused_total") >= 21.0);
    bystander.noticed_nothing();
}

#[test]
fn fault_33_a_stopped_gateway_goes_on_where_it_was() {
    let scene = Scene::start("fault-33", |_| ());
    let mut bystander = Bystander::start(scene.place);
    scene.running.process.signal(libc::SIGSTOP);
    std::thread::sleep(PATIENCE);
    scene.running.process.signal(libc::SIGCONT);
    let began = Instant::now();
    scene.works();
    assert!(began.elapsed() < RECOVERY);
    // It waited as long as the gateway stood, and its connection and request lived on.
    let slowest = bystander.slowest();
    assert!((PATIENCE / 2..PATIENCE + DELAY_MAX).contains(&slowest), "it waited {slowest:?}");
}

#[test]
fn fault_34_a_stopped_upstream_process_is_a_timeout_until_it_goes_on() {
    // A second gateway is the upstream.
    let upstream = Scene::start("fault-34-upstream", |_| ());
    let scene = Scene::start("fault-34", |config| add_faulty(config, upstream.place));
    let mut bystander = Bystander::start(scene.place);
    let status = || {
        let mut client = Peer::connect(scene.place);
        client.send(get("/faulty"));
        client.read_response("GET").status()
    };
    assert_eq!(status(), 200);
    upstream.running.process.signal(libc::SIGSTOP);
    let began = Instant::now();
    assert_eq!(status(), 504);
    took_patience(began);
    upstream.running.process.signal(libc::SIGCONT);
    let began = Instant::now();
    assert_eq!(status(), 200);
    assert!(began.elapsed() < RECOVERY);
    bystander.noticed_nothing();
}
