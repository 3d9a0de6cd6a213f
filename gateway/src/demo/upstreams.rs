//! The process of the demo's upstreams.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use super::{bolt, http};

/// Where the upstreams listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The HTTP one.
    pub http: SocketAddr,
    /// The Bolt one.
    pub bolt: SocketAddr,
}

/// After `accept` failed for want of descriptors it is tried again after this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Runs the upstreams: reports their addresses as one line of JSON on standard output, then serves
/// until standard input ends.
///
/// # Errors
/// The system gives no runtime, port or thread.
pub fn run() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let bolt = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        report(Addresses { http: http.local_addr()?, bolt: bolt.local_addr()? })?;
        tokio::task::spawn_local(accept(http, http::serve));
        tokio::task::spawn_local(accept(bolt, bolt::serve));
        end_of_life().await
    })
}

fn report(addresses: Addresses) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&addresses)?)?;
    out.flush()
}

/// Comes back when no gateway holds the other end of standard input any more.
async fn end_of_life() -> io::Result<()> {
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("life".to_owned()).spawn(move || {
        let mut ignored = [0; 64];
        while matches!(io::stdin().read(&mut ignored), Ok(1..)) {}
        // The receiver lives until this is sent.
        let _ = end.send(());
    })?;
    let _ = ended.await;
    Ok(())
}

/// Serves each connection in a task of its own. Who connects is the gateway on the same machine,
/// whose own limits bound the number.
async fn accept<F: Future<Output = io::Result<()>> + 'static>(
    listener: TcpListener,
    serve: fn(TcpStream) -> F,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                // A connection that breaks concerns nobody else.
                tokio::task::spawn_local(async move { drop(serve(stream).await) });
            }
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
}
