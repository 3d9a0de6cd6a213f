//! The second yardstick: the same relay on monoio, with io_uring as the gateway sets it up.
//!
//! One thread, a ring with `SINGLE_ISSUER` and `DEFER_TASKRUN`, one upstream connection for each
//! client connection, a task and a buffer of 64 KiB for each direction, no parsing. What the
//! gateway costs above it is the gateway's own, and not its runtime's.

use std::io;
use std::net::SocketAddr;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

use super::{BUFFER_BYTES, Hop};

/// Entries of the submission queue: as many as the gateway's.
const RING_ENTRIES: u32 = 4096;

/// Relays until the process ends.
///
/// # Errors
/// The kernel has no io_uring of this kind or forbids it, an address cannot be listened on, or the
/// process has no descriptor left.
pub fn run(hops: &[Hop]) -> io::Result<()> {
    let bind = |hop: &Hop| Ok((std::net::TcpListener::bind(hop.listen)?, hop.upstream));
    relay(hops.iter().map(bind).collect::<io::Result<_>>()?)
}

/// Relays what comes to each listener to the address beside it.
fn relay(listeners: Vec<(std::net::TcpListener, SocketAddr)>) -> io::Result<()> {
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .uring_builder(ring)
        .build()?;
    runtime.block_on(async {
        let mut listening = Vec::with_capacity(listeners.len());
        for (listener, upstream) in listeners {
            let listener = TcpListener::from_std(listener)?;
            listening.push(monoio::spawn(accept(listener, upstream)));
        }
        for task in listening {
            task.await?;
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener, upstream: SocketAddr) -> io::Result<()> {
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        monoio::spawn(join(client, upstream));
    }
}

/// A refused upstream drops the client: the relay has no words of its own.
async fn join(client: TcpStream, upstream: SocketAddr) {
    let Ok(upstream) = TcpStream::connect(upstream).await else { return };
    if client.set_nodelay(true).and_then(|()| upstream.set_nodelay(true)).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_upstream, to_upstream) = upstream.into_split();
    monoio::spawn(carry(from_client, to_upstream));
    monoio::spawn(carry(from_upstream, to_client));
}

/// Moves bytes until one side ends or breaks.
async fn carry(mut source: impl AsyncReadRent, mut sink: impl AsyncWriteRent) {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (read, filled) = source.read(buffer).await;
        match read {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        // A read leaves the buffer as long as what it brought.
        let (written, used) = sink.write_all(filled).await;
        if written.is_err() {
            break;
        }
        buffer = used;
    }
    // Whoever is at the other end sees the end as well; a broken connection shows there too.
    let _ = sink.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;
    use crate::body::{BODY_BYTES_MAX, body};

    #[test]
    fn bytes_and_ends_cross_both_ways_whole() {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let hops = vec![(listener, upstream.local_addr().unwrap())];
        // It ends only where the kernel has no such ring; the client is then refused.
        let relay = std::thread::spawn(move || relay(hops));
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(body(1000)).unwrap();
        upstream.set_nonblocking(true).unwrap();
        let accepted = crate::clock::retry(std::time::Duration::from_secs(20), || {
            if relay.is_finished() { Some(None) } else { Some(Some(upstream.accept().ok()?.0)) }
        });
        let Some(mut server) = accepted.expect("the relay connects or ends") else {
            eprintln!("this kernel has no ring for it: {:?}", relay.join());
            return;
        };
        server.set_nonblocking(false).unwrap();
        let mut seen = vec![0; 1000];
        server.read_exact(&mut seen).unwrap();
        assert_eq!(seen, body(1000));
        let sending = std::thread::spawn(move || {
            for _ in 0..16 {
                server.write_all(body(BODY_BYTES_MAX)).unwrap();
            }
            server.shutdown(Shutdown::Write).unwrap();
            server.read_to_end(&mut Vec::new()).unwrap()
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), 16 * BODY_BYTES_MAX);
        assert!(received.chunks(BODY_BYTES_MAX).all(|chunk| chunk == body(BODY_BYTES_MAX)));
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(sending.join().unwrap(), 0);
    }
}
