//! What a gateway tells the service manager.

use std::{ffi::OsStr, sync::mpsc, time::Duration};

use hangu::control::systemd::Service;
use hangu_tests::{Upstream, binary::free_port, manager::Manager};
use serde_json::json;

use crate::support::Setup;

/// Short, so that the test need not wait long; much longer than a worker needs for an answer.
const WATCHDOG: Duration = Duration::from_secs(2);

on_every_driver! {
    fn it_says_that_it_serves_once_its_sockets_are_kept_and_keeps_those_of_the_next_configuration(driver) {
        let upstream = Upstream::http_text("here");
        let at = |port: u16| json!({"address": format!("127.0.0.1:{port}")});
        let (first, second) = (free_port(), free_port());
        let setup = Setup::http(driver, upstream.address).listener(at(first)).workers(2);
        let gateway = setup.clone().start();
        let manager = Manager::new();
        let service = Service::new(OsStr::new(&manager.address), None).expect("a manager");
        let (control, _) = gateway.control_under(service);
        let message = || manager.hear(hangu_tests::wait::PATIENCE).expect("a message");
        assert_eq!(message(), format!("FDSTORE=1\nFDNAME=listener-127.0.0.1_{first}"));
        let ready = message();
        assert!(ready.starts_with("READY=1\nSTATUS=Serving: listeners: 1, workers: 2"), "{ready}");
        gateway.handle().apply(setup.listener(at(second)).load()).expect("it is applied");
        assert_eq!(message(), format!("FDSTOREREMOVE=1\nFDNAME=listener-127.0.0.1_{first}"));
        assert_eq!(message(), format!("FDSTORE=1\nFDNAME=listener-127.0.0.1_{second}"));
        drop(control);
    }

    fn a_worker_that_is_stuck_trips_the_watchdog(driver) {
        let gateway = Setup::http(driver, Upstream::http_text("here").address).workers(2).start();
        let manager = Manager::new();
        let service = Service::new(OsStr::new(&manager.address), Some(WATCHDOG)).expect("one");
        let (control, _) = gateway.control_under(service);
        manager.wait_for("WATCHDOG=1");
        manager.wait_for("WATCHDOG=1");
        let (go, may_go) = mpsc::channel::<()>();
        let (stuck, is_stuck) = mpsc::channel();
        gateway.handle().order(1, move |_| {
            stuck.send(()).expect("the test waits");
            let _ = may_go.recv();
        });
        is_stuck.recv().expect("the worker has it");
        // One message may have been on its way.
        manager.hear(WATCHDOG / 2);
        assert_eq!(manager.hear(WATCHDOG), None);
        drop(go);
        manager.wait_for("WATCHDOG=1");
        drop(control);
    }
}
