//! nginx, with as many kept upstream connections as there are clients.

use std::path::Path;
use std::process::Command;

use super::{Presence, Proxy, version_line};
use crate::workload::Protocol;

pub(super) const NGINX: Proxy = Proxy {
    name: "nginx",
    presence: Presence::Optional,
    carries: |protocol| matches!(protocol, Protocol::Http1 { .. }),
    version: |_| version_line(Path::new("nginx"), "-v"),
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
    upstream backend {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_max_temp_file_size 0;
            proxy_buffers 8 64k;
            proxy_busy_buffers_size 128k;
        }}
    }}
}}
",
            upstream = plan.http.upstream,
            listen = plan.http.listen,
        );
        let file = plan.write("nginx.conf", &text)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).arg("-e").arg("stderr").arg("-p").arg(&plan.directory);
        Ok(command)
    },
};
