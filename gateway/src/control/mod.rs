//! The control thread: the admin API and the process's signals.
//!
//! One thread with a tokio runtime of its own. It never touches a request: what it tells it reads
//! from counters or asks of the workers through [`Inspect`], and what it is told (to stop) it
//! passes on the same way.
//!
//! ```text
//!   hyper ── api::answer ──► Inspect ──► counters, workers' mailboxes
//!   SIGTERM, SIGINT ───────► Inspect::stop
//! ```

mod api;
mod bind;
pub mod client;
mod facts;
mod gateway;
mod inspect;
mod server;
pub mod signals;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use bind::{BindError, Bound, bind};
pub use inspect::{Answer, ClusterView, ConnectionView, EndpointView, Inspect, Side};

/// The running control thread. Ends when it is dropped.
#[derive(Debug)]
pub struct Control {
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What the control thread is to do.
#[derive(Debug)]
pub struct Settings {
    /// Where the admin API listens, from [`bind`].
    pub admin: Bound,
    /// Whether SIGTERM and SIGINT stop the gateway. The threads that started before must have them
    /// blocked ([`signals::block`]). A gateway inside another process (tests) leaves signals alone.
    pub with_signals: bool,
    /// How long a graceful stop waits when the caller does not say.
    pub drain_timeout: Duration,
}

/// Starts the control thread.
///
/// # Errors
/// No thread or no runtime can be made.
pub fn start(settings: Settings, gateway: Arc<dyn Inspect>) -> io::Result<Control> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (end, ended) = watch::channel(false);
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, run(settings, gateway, ended));
    })?;
    Ok(Control { end, thread: Some(thread) })
}

async fn run(settings: Settings, gateway: Arc<dyn Inspect>, ended: watch::Receiver<bool>) {
    if settings.with_signals {
        let gateway = Arc::clone(&gateway);
        match signals::take() {
            Ok(taken) => {
                let stop = signals::stop_on_signal(taken, gateway, settings.drain_timeout);
                tokio::task::spawn_local(stop);
            }
            Err(error) => tracing::warn!("signals are not taken ({error}): use `hangu stop`"),
        }
    }
    server::serve(settings.admin, gateway, settings.drain_timeout, ended).await;
}

impl Drop for Control {
    fn drop(&mut self) {
        // The thread may have ended by itself.
        let _ = self.end.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
