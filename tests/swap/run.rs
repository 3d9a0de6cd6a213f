//! One run: backend, proxy and clients from the beginning to the end.

use std::{
    io,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    backend::{Backend, Upstreams},
    client::{Crowd, Finished, Stage},
    clock,
    ledger::Ledger,
    plan::Plan,
    proxy::{self, Children, Proxy, Recipe},
    swapper::{self, Mode, Record},
    tally::Tally,
    timeline::Timeline,
};

/// How long all connections have to come about.
const READY: Duration = Duration::from_secs(60);

/// What a run has shown.
pub(crate) struct Run {
    /// What it did.
    pub(crate) plan: Arc<Plan>,
    /// Whether there were swaps in it.
    pub(crate) mode: Mode,
    /// What the clients counted.
    pub(crate) tally: Tally,
    /// Which requests were seen and answered.
    pub(crate) ledger: Arc<Ledger>,
    /// When swaps were, and what was noticed near them.
    pub(crate) timeline: Arc<Timeline>,
    /// The swaps.
    pub(crate) records: Vec<Record>,
    /// What became of connections from the proxy to the backend.
    pub(crate) upstreams: Arc<Upstreams>,
    /// When all connections had come about.
    pub(crate) ready: Instant,
    /// When all that was in flight had ended.
    pub(crate) over: Instant,
}

/// Does a run, with its files in this directory.
///
/// # Errors
/// The proxy does not come up, or the process has no descriptor left.
pub(crate) fn run(
    recipe: &Recipe,
    plan: &Arc<Plan>,
    mode: Mode,
    directory: &Path,
    children: &Children,
) -> io::Result<Run> {
    let backend = Backend::bind()?;
    let addresses = proxy::Upstreams { http: backend.http()?, bolt: backend.bolt()? };
    let mut proxy = Proxy::start(recipe, directory, addresses, children, plan.has_bolt())?;
    let ledger = Arc::new(Ledger::new(plan.requests_max()));
    let timeline = Arc::new(Timeline::new(plan.swaps, clock::now()));
    let stage = Stage {
        plan: Arc::clone(plan),
        targets: proxy.targets(),
        ledger: Arc::clone(&ledger),
        timeline: Arc::clone(&timeline),
    };
    let upstreams = backend.upstreams();
    let serving = {
        let (ledger, timeline) = (Arc::clone(&ledger), Arc::clone(&timeline));
        std::thread::spawn(move || backend.run(&ledger, &timeline))
    };
    let crowds: Vec<_> = (0..plan.threads).map(|part| start(stage.clone(), part)).collect();
    let is_ready = || {
        let has_ended = crowds.iter().any(JoinHandle::is_finished) || serving.is_finished();
        (timeline.is_ready(plan.threads) || has_ended).then_some(!has_ended)
    };
    let swapped = match clock::retry(READY, is_ready) {
        Some(true) => Ok(clock::now())
            .and_then(|ready| Ok((ready, swapper::run(&mut proxy, plan, &timeline, mode)?))),
        _ => Err(io::Error::other("the connections do not come about")),
    };
    timeline.stop_sending();
    let finished: Vec<io::Result<Finished>> = crowds.into_iter().map(join).collect();
    let over = clock::now();
    timeline.close();
    join(serving)?;
    // The first error is the one that tells most: a thread's own.
    let mut tally = Tally::new();
    for finished in finished {
        // Their connections are closed before the proxy is asked to end.
        tally.add(finished?.tally);
    }
    let (ready, records) = swapped?;
    let (plan, upstreams) = (Arc::clone(plan), Arc::clone(&upstreams));
    Ok(Run { plan, mode, tally, ledger, timeline, records, upstreams, ready, over })
}

fn start(stage: Stage, part: u32) -> JoinHandle<io::Result<Finished>> {
    std::thread::spawn(move || Crowd::new(stage, part)?.run())
}

fn join<T>(thread: JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}
