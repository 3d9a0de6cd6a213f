//! What is counted of exchanges.

use hangu_tests::{
    Upstream,
    bolt::{self, Frame},
};
use serde_json::json;

use crate::support::Setup;

/// Bolt's status for a service that nobody has.
const NO_PROCESSOR: u16 = 6;

fn request(id: u32, service: &str, method: &str, app: &str) -> Frame {
    bolt::request(id, service, method, b"x").with("app", app)
}

on_every_driver! {
    fn rpc_requests_are_counted_by_service_method_caller_and_result(driver) {
        let (upstream, _requests) = Upstream::bolt_echo();
        let route = json!({"match": {}, "route": {"cluster": "main"}});
        let hosts = json!([{"name": "rpc", "services": ["demo.*"], "routes": [route]}]);
        let gateway = Setup::bolt(driver, upstream.address).hosts(hosts).start();
        let mut client = gateway.connect();
        let calls = [("demo.A:1.0", "get", "shop"), ("demo.A:1.0", "get", "bank")];
        for (id, (service, method, app)) in calls.into_iter().cycle().take(6).enumerate() {
            client.send_frame(&request(id as u32, service, method, app));
            client.read_frame();
        }
        client.send_frame(&request(7, "other.B:1.0", "get", "shop"));
        assert_eq!(client.read_frame().status, NO_PROCESSOR);
        for app in ["shop", "bank"] {
            let caller = format!(r#"service="demo.A:1.0",method="get",caller="{app}",result="success""#);
            gateway.wait_for_metric("hangu_rpc_requests_total", &[&caller], 3.0);
        }
        let method = r#"service="demo.A:1.0",method="get""#;
        gateway.wait_for_metric("hangu_rpc_request_duration_seconds_count", &[method], 6.0);
        let unrouted = r#"service="_no_route",method="",caller="",result="gateway""#;
        gateway.wait_for_metric("hangu_rpc_requests_total", &[unrouted], 1.0);
        assert_eq!(gateway.metric("hangu_rpc_requests_total", &["other.B"]), 0.0);
    }
}
