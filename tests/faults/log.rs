//! Logs that cannot be written.

use std::{
    ffi::OsString,
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use hangu_tests::{
    Peer, binary::Directory, http::get, process::Process, upstream::refused_address, wait,
};
use serde_json::{Value, json};

use crate::{
    process::{Scene, add_faulty},
    scene::{Bystander, DELAY_MAX, RECOVERY},
};

#[test]
fn fault_31_a_full_log_disk_costs_records_and_no_request() {
    let directory = Directory::new("fault-31-log");
    let link = directory.0.join("access.log");
    // A device that says "no space left", as a full disk does.
    std::os::unix::fs::symlink("/dev/full", &link).expect("a link");
    let scene = Scene::start("fault-31", |config| {
        config["access_log"] = json!({"path": link.display().to_string()});
    });
    let mut bystander = Bystander::start(scene.place);
    wait::until("records are lost", || loses_records(&scene));
    fs::remove_file(&link).expect("the link");
    let began = Instant::now();
    scene.running.process.signal(libc::SIGUSR1);
    wait::until("records are written", || fs::read_to_string(&link).is_ok_and(|it| !it.is_empty()));
    assert!(began.elapsed() < RECOVERY);
    scene.works();
    bystander.noticed_nothing();
}

fn loses_records(scene: &Scene) -> bool {
    scene.metric("hangu_access_log_dropped_records_total") > 0.0
        && scene.metric("hangu_access_log_write_failures_total") > 0.0
}

/// A command in a mount namespace of its own, where a file system of 4 MiB is mounted on this
/// directory.
fn on_small_disk(directory: &Path, command: &[OsString]) -> Command {
    let mut unshare = Command::new("unshare");
    // SAFETY: geteuid(2) takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        // Whoever is not root is so in a user namespace, where the system allows that.
        unshare.arg("--map-root-user");
    }
    unshare.args(["--mount", "sh", "-c"]);
    unshare.arg("mount -t tmpfs -o size=4m hangu-test \"$0\" && exec \"$@\"");
    unshare.arg(directory).args(command);
    unshare
}

#[test]
fn fault_31_a_log_disk_that_has_room_again_is_written_to_without_a_reopening() {
    let directory = Directory::new("fault-31-disk");
    if !on_small_disk(&directory.0, &["true".into()]).status().is_ok_and(|it| it.success()) {
        return eprintln!("left out, for nothing may be mounted here");
    }
    let log = directory.0.join("access.log");
    let change = |config: &mut Value| {
        config["access_log"] = json!({"path": log.display().to_string()});
    };
    let scene = Scene::start_by("fault-31-room", change, |command| {
        Process::start("hangu", &mut on_small_disk(&directory.0, command))
    });
    let mut bystander = Bystander::start(scene.place);
    // The disk as the gateway sees it.
    let root = format!("/proc/{}/root", scene.running.process.id());
    let inside = |path: &Path| PathBuf::from(format!("{root}{}", path.display()));
    let (log, ballast) = (inside(&log), inside(&directory.0.join("ballast")));
    let written = || fs::metadata(&log).map_or(0, |it| it.len());
    wait::until("records are written", || written() > 0);
    let mut file = fs::File::create(&ballast).expect("a file");
    let full = loop {
        if let Err(error) = file.write(&[0; 4096]) {
            break error.kind();
        }
    };
    assert_eq!(full, ErrorKind::StorageFull);
    wait::until("records are lost", || loses_records(&scene));
    scene.works();
    let before = written();
    drop(file);
    fs::remove_file(&ballast).expect("the ballast");
    let began = Instant::now();
    wait::until("records are written again", || written() > before);
    assert!(began.elapsed() < RECOVERY);
    assert_eq!(scene.metric("hangu_access_log_reopened_total"), 0.0);
    let text = fs::read_to_string(&log).expect("the log");
    let last = text[..text.rfind('\n').expect("a line")].lines().last().expect("a line");
    serde_json::from_str::<Value>(last).expect("whole, after one that was cut off");
    scene.works();
    bystander.noticed_nothing();
}

#[test]
fn fault_37_logs_that_nobody_reads_hold_up_nobody() {
    let change = |config: &mut Value| {
        // Each request to an upstream that refuses is a line of both logs.
        add_faulty(config, refused_address());
        config["access_log"] = json!({"enabled": true});
        config["log"] = json!({"level": "debug"});
    };
    let mut scene = Scene::start_by("fault-37", change, |command| {
        Process::start_unread("hangu", Command::new(&command[0]).args(&command[1..]))
    });
    let mut bystander = Bystander::start(scene.place);
    let mut client = Peer::connect(scene.place);
    let mut ask = |path: &str| {
        let began = Instant::now();
        client.send(get(path));
        let status = client.read_response("GET").status();
        assert!(began.elapsed() < DELAY_MAX, "it took {:?}", began.elapsed());
        status
    };
    for _ in 0..LINES_MAX {
        assert_eq!(ask("/faulty"), 502);
    }
    let dropped = "hangu_access_log_dropped_records_total";
    let long = get(&format!("/healthy?{}", "x".repeat(1000)));
    let mut flood = Peer::connect(scene.place);
    wait::until("records are lost", || {
        const AT_ONCE: usize = 50;
        flood.send(long.repeat(AT_ONCE));
        for _ in 0..AT_ONCE {
            assert_eq!(flood.read_response("GET").status(), 200);
        }
        scene.metric(dropped) > 0.0
    });
    assert_eq!(ask("/healthy"), 200);
    scene.running.process.read();
    let began = Instant::now();
    wait::until("records are written again", || {
        assert_eq!(ask("/after"), 200);
        scene.running.process.has_said("/after")
    });
    assert!(began.elapsed() < RECOVERY, "it took {:?}", began.elapsed());
    wait::until("the process tells of what it lost", || {
        scene.running.process.has_said("lines of this log were lost")
    });
    let lost = scene.metric(dropped);
    assert_eq!(ask("/healthy"), 200);
    assert_eq!(scene.metric(dropped), lost, "nothing is lost any more");
    scene.works();
    bystander.noticed_nothing();
}

/// More lines of the process's log than a pipe and the queue before it hold.
const LINES_MAX: usize = 6000;
