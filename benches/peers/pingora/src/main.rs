//! The least proxy that can be made of Pingora: one upstream, its connections kept, no log.
//!
//! `pingora-peer LISTEN UPSTREAM`

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct One {
    upstream: String,
}

#[async_trait]
impl ProxyHttp for One {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("--version") {
        println!("minimal proxy on pingora-proxy 0.9.1");
        return;
    }
    let (Some(listen), Some(upstream)) = (first, arguments.next()) else {
        eprintln!("usage: pingora-peer LISTEN UPSTREAM");
        std::process::exit(64);
    };
    let conf = ServerConf {
        threads: 1,
        // One thread has nobody to steal from.
        work_stealing: false,
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, One { upstream });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
