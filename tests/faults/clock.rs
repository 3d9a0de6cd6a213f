//! A wall clock that is set while requests are in flight.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use hangu::telemetry::write_time;
use hangu_tests::{Peer, Upstream, binary::Directory, http::get, process::Process, wait};
use serde_json::{Value, json};

use crate::{
    process::{Scene, add_faulty},
    scene::{Bystander, took_patience},
};

/// What libfaketime says the time is, to a process that is started with it. The monotonic clock is
/// left as it is, as it is when a machine's clock is set.
struct WallClock(PathBuf);

impl WallClock {
    fn new(directory: &Directory) -> Self {
        let clock = Self(directory.0.join("offset"));
        clock.set(0);
        clock
    }

    /// Differs from the machine's by so many seconds from now on.
    fn set(&self, seconds: i64) {
        let next = self.0.with_extension("next");
        fs::write(&next, format!("{seconds:+}")).expect("a file");
        fs::rename(&next, &self.0).expect("a file that is whole at any time");
    }

    fn fool<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let asked =
            Command::new("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output();
        let library = asked.expect("the package faketime, which tests/run installs").stdout;
        command
            .env("LD_PRELOAD", String::from_utf8_lossy(&library).trim())
            .env("FAKETIME_TIMESTAMP_FILE", &self.0)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

/// Whether a time of the log is that of a wall clock with this offset, a minute more or less.
fn is_about(time: &str, seconds: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let at = |distance: i64| {
        let seconds = i64::try_from(now.as_secs()).expect("before the end") + seconds + distance;
        let mut text = Vec::new();
        write_time(u64::try_from(seconds).expect("after 1970") * 1000, &mut text);
        String::from_utf8(text).expect("digits")
    };
    (at(-60)..at(60)).contains(&time.to_owned())
}

#[test]
fn fault_35_a_wall_clock_that_jumps_moves_times_of_the_log_and_no_deadline() {
    const HOUR: i64 = 3600;
    let directory = Directory::new("fault-35-clock");
    let clock = WallClock::new(&directory);
    let log = directory.0.join("access.log");
    let silent = Upstream::serve(|mut peer, _| {
        peer.read_request();
        peer.expect_end();
    });
    let change = |config: &mut Value| {
        add_faulty(config, silent.address);
        config["access_log"] = json!({"path": log.display().to_string()});
    };
    let scene = Scene::start_by("fault-35", change, |command| {
        let mut gateway = Command::new(&command[0]);
        Process::start("hangu", clock.fool(gateway.args(&command[1..])))
    });
    let mut bystander = Bystander::start(scene.place);
    let times = || -> Vec<String> {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|it| it.ends_with('\n'));
        let records = whole.map(|it| serde_json::from_str::<Value>(it).expect("JSON"));
        let faulty = records.filter(|it| it["path"] == "/faulty");
        faulty.map(|it| it["time"].as_str().expect("a time").to_owned()).collect()
    };
    for (round, offset) in [HOUR, 0, -HOUR, 0].into_iter().enumerate() {
        let mut client = Peer::connect(scene.place);
        let began = Instant::now();
        client.send(get("/faulty"));
        let active = "hangu_upstream_requests_active{cluster=\"faulty\"}";
        wait::until("the request is in flight", || scene.metric(active) == 1.0);
        clock.set(offset);
        assert_eq!(client.read_response("GET").status(), 504);
        took_patience(began);
        wait::until("it is logged", || times().len() == round + 1);
        let time = times().pop().expect("its time");
        assert!(is_about(&time, offset), "{time} after a jump to {offset:+} s");
        scene.works();
    }
    bystander.noticed_nothing();
}
