//! Name servers whose answers become useless.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use hangu_tests::{
    Upstream,
    binary::ask,
    dns::{Answer, NameServer},
    http::post,
    wait,
};
use serde_json::json;

use crate::scene::{DELAY_MAX, Kind, RECOVERY, Scene};

const SERVICE: &str = "_http._tcp.test";
const HOST: &str = "host.test";

fn service(upstream: &Upstream) -> Answer {
    Answer::Services(vec![(1, 1, upstream.address.port(), HOST.to_owned())], 0)
}

on_every_driver! {
    fn fault_36_answers_of_dns_that_become_useless_change_nothing(driver) {
        let server = NameServer::start();
        let ((first, _), (second, _)) = (Upstream::http_echo(), Upstream::http_echo());
        server.say(SERVICE, service(&first));
        server.say(HOST, Answer::Addresses(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 0));
        let dns = json!({
            "names": [{"service": SERVICE}],
            "servers": [server.address.to_string()],
            "timeout": "200ms",
            "ttl_min": "50ms",
            // Also the longest pause after a failure.
            "ttl_max": "200ms",
        });
        let change = json!({"endpoints": [], "dns": dns});
        let scene = Scene::at(driver, Kind::Http, first.address, |it| it.main(change));
        let (_control, admin) = scene.control();
        let counted = |result: &str| {
            let text = ask(admin, "/metrics").text();
            let series = format!("hangu_dns_queries_total{{cluster=\"main\",result=\"{result}\"}} ");
            let line = text.lines().find_map(|it| it.strip_prefix(&series));
            line.map_or(0.0, |it| it.parse::<f64>().expect("a number"))
        };
        wait::until("the names are found", || counted("ok") > 0.0);
        let mut client = scene.connect();
        let useless = [(Answer::Services(Vec::new(), 0), "empty"), (Answer::Failure, "error")];
        for (answer, result) in useless {
            server.say(SERVICE, answer);
            while counted(result) < 3.0 {
                let began = Instant::now();
                client.send(post("/faulty", b"x"));
                assert_eq!(client.read_response("POST").text(), "x");
                assert!(began.elapsed() < DELAY_MAX);
            }
        }
        assert_eq!(second.accepted(), 0);
        server.say(SERVICE, service(&second));
        let began = Instant::now();
        wait::until("traffic follows the new answer", || {
            client.send(post("/faulty", b"x"));
            assert_eq!(client.read_response("POST").text(), "x");
            second.accepted() > 0
        });
        assert!(began.elapsed() < RECOVERY, "it took {:?}", began.elapsed());
        scene.ends();
    }
}
