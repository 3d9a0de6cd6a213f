//! nginx, with as many kept upstream connections as there are clients.

use std::fmt::Write;
use std::process::Command;

use super::{Plan, Presence, Programs, Proxy, Role, speaks_http, version_line, versions};
use crate::workload::{Asks, Protocol, Route, Version, Workload, route_name};

pub(super) const NGINX: Proxy = Proxy {
    name: "nginx",
    role: Role::Peer,
    presence: Presence::Optional,
    carries: is_carried,
    version: |_| version_line(&Programs::of_system("nginx"), "-v"),
    command: |plan| {
        let directory = plan.directory.display();
        // Bodies stay in memory: a temporary file would make 1 MiB dearer. Buffers for them are
        // larger than nginx's default, which costs it a factor there.
        let text = format!(
            "daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {map}
    upstream backend {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {listen}{http2};
        location / {{
            {pass}
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_max_temp_file_size 0;
            proxy_buffers 8 64k;
            proxy_busy_buffers_size 128k;
        }}
    }}
}}
",
            map = map(plan),
            http2 = match plan.workload.protocol {
                Protocol::Http2 { .. } => " http2",
                Protocol::Http1 { .. } | Protocol::Bolt { .. } => "",
            },
            pass = match plan.workload.route {
                Route::Only if is_grpc(&plan.workload) => "grpc_pass grpc://backend;",
                Route::Only => "proxy_pass http://backend;",
                Route::Numbered(_) =>
                    "if ($route = \"\") { return 404; } proxy_pass http://$route;",
            },
            upstream = plan.http.upstream,
            listen = plan.http.listen,
        );
        let file = plan.write("nginx.conf", &text)?;
        let mut command = Command::new(Programs::of_system("nginx"));
        command.arg("-c").arg(file).arg("-e").arg("stderr").arg("-p").arg(&plan.directory);
        Ok(command)
    },
};

/// To a backend it speaks HTTP/1.1, and HTTP/2 only where that is gRPC.
fn is_carried(workload: &Workload) -> bool {
    speaks_http(workload) && (versions(workload).1 == Version::Http1 || is_grpc(workload))
}

fn is_grpc(workload: &Workload) -> bool {
    matches!(workload.protocol, Protocol::Http2 { asks: Asks::Grpc { .. }, .. })
}

/// Many routes as nginx has them cheapest: a hash table from the field to the upstream.
fn map(plan: &Plan) -> String {
    let Route::Numbered(_) = plan.workload.route else { return String::new() };
    let mut text = String::from("map_hash_max_size 8192; map $http_x_route $route { default \"\";");
    for number in 0..plan.workload.routes() {
        // Writing to a String does not fail.
        let _ = write!(text, " {} backend;", route_name(number));
    }
    text.push_str(" }");
    text
}
