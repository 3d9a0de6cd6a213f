//! The second yardstick: the same relay on monoio, with io_uring as the gateway sets it up.
//!
//! One thread, a ring with `SINGLE_ISSUER` and `DEFER_TASKRUN`, one upstream connection for each
//! client connection, a task and a buffer of 64 KiB for each direction, no parsing. What the
//! gateway costs above it is the gateway's own, and not its runtime's.

use std::io;

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
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .uring_builder(ring)
        .build()?;
    runtime.block_on(async {
        let mut listening = Vec::with_capacity(hops.len());
        for hop in hops {
            let listener = TcpListener::bind(hop.listen)?;
            listening.push(monoio::spawn(accept(listener, *hop)));
        }
        for task in listening {
            task.await?;
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener, hop: Hop) -> io::Result<()> {
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        monoio::spawn(join(client, hop));
    }
}

/// A refused upstream drops the client: the relay has no words of its own.
async fn join(client: TcpStream, hop: Hop) {
    let Ok(upstream) = TcpStream::connect(hop.upstream).await else { return };
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
