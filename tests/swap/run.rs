//! One run: backend, proxy and clients from the beginning to the end.

use std::{
    io,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    backend::{Backend, Upstreams},
    client::{Crowd, Finished, Stage, Targets},
    clock,
    group::Group,
    ledger::Ledger,
    plan::Plan,
    proxy::{self, Children, Proxy, Recipe},
    swapper::{self, Mode, Record},
    tally::{GroupTally, Tally},
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
    let backend = Backend::bind(plan.hold_max())?;
    let addresses =
        proxy::Upstreams { http: backend.http()?, http2: backend.http2()?, bolt: backend.bolt()? };
    let mut proxy = Proxy::start(recipe, directory, addresses, children, plan)?;
    // The proxy is asked to end when the connections of all clients are closed.
    perform(plan, mode, backend, proxy.targets(), |timeline| {
        swapper::run(&mut proxy, plan, timeline, mode)
    })
}

/// Whether a proxy keeps up with so many requests a second.
///
/// # Errors
/// As [`run`].
pub(crate) fn keeps_up(
    recipe: &Recipe,
    plan: &Plan,
    per_second: f64,
    directory: &Path,
    children: &Children,
) -> io::Result<bool> {
    let plan = Arc::new(plan.trial_of(per_second));
    let run = run(recipe, &plan, Mode::Baseline(Duration::ZERO), directory, children)?;
    let is_prompt = |group: Group| {
        let GroupTally { near, far, .. } = run.tally.group(group);
        let late = |it: &Histogram<u64>| it.len() - it.count_between(0, PROMPT_MICROS);
        ((late(near) + late(far)) as f64) <= (near.len() + far.len()) as f64 * LATE_MAX
    };
    Ok(is_prompt(Group::Http) && is_prompt(Group::Bolt) && is_prompt(Group::Http2))
}

/// An answer within this time since its request was due is no sign of more to do than can be done.
const PROMPT_MICROS: u64 = 60_000;

/// The share of later answers with which a proxy still keeps up: those to what was due while the
/// connections came about are late. With too much to do all become late, and ever more so.
const LATE_MAX: f64 = 0.4;

/// How many requests a second of a group a proxy can serve as fast as they are answered. With many
/// requests at once each costs less than with few, so it keeps up with less at a fixed rate.
///
/// # Errors
/// As [`run`].
pub(crate) fn capacity(
    recipe: &Recipe,
    plan: &Plan,
    group: Group,
    directory: &Path,
    children: &Children,
) -> io::Result<f64> {
    let plan = Arc::new(plan.capacity_of(group));
    let run = run(recipe, &plan, Mode::Baseline(Duration::ZERO), directory, children)?;
    let answered = run.ledger.counts(group).answered;
    Ok(answered as f64 / (run.over - run.ready).as_secs_f64())
}

/// Backend and clients with whatever is between them; `swap` swaps it again and again and tells
/// them when all is over.
fn perform(
    plan: &Arc<Plan>,
    mode: Mode,
    backend: Backend,
    targets: Targets,
    swap: impl FnOnce(&Timeline) -> io::Result<Vec<Record>>,
) -> io::Result<Run> {
    let ledger = Arc::new(Ledger::new(plan.requests_max()));
    let timeline = Arc::new(Timeline::new(plan.swaps, clock::now()));
    let upstreams = backend.upstreams();
    let serving = {
        let (ledger, timeline) = (Arc::clone(&ledger), Arc::clone(&timeline));
        std::thread::spawn(move || backend.run(&ledger, &timeline))
    };
    let start = |part| {
        let (plan, ledger) = (Arc::clone(plan), Arc::clone(&ledger));
        let stage = Stage { plan, targets, ledger, timeline: Arc::clone(&timeline) };
        std::thread::spawn(move || Crowd::new(stage, part)?.run())
    };
    let crowds: Vec<JoinHandle<io::Result<Finished>>> = (0..plan.threads).map(start).collect();
    let is_ready = || {
        let has_ended = crowds.iter().any(JoinHandle::is_finished) || serving.is_finished();
        (timeline.is_ready(plan.threads) || has_ended).then_some(!has_ended)
    };
    let swapped = match clock::retry(READY, is_ready) {
        Some(true) => {
            let ready = clock::now();
            swap(&timeline).map(|records| (ready, records))
        }
        _ => Err(io::Error::other("the connections do not come about")),
    };
    timeline.stop_sending();
    let finished: Vec<io::Result<Finished>> = crowds.into_iter().map(join).collect();
    let over = clock::now();
    timeline.close();
    join(serving)?;
    let mut tally = Tally::new();
    for finished in finished {
        // A thread's own error tells more than that there are no connections.
        tally.add(finished?.tally);
    }
    let (ready, records) = swapped?;
    let plan = Arc::clone(plan);
    Ok(Run { plan, mode, tally, ledger, timeline, records, upstreams, ready, over })
}

fn join<T>(thread: JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    };

    use clap::Parser;

    use super::*;
    use crate::{
        options::Options,
        report::{Allowed, Report},
        table,
    };

    /// Two swaps within two seconds, a few clients of each kind.
    fn plan() -> Arc<Plan> {
        let text = "hangu-swap --start=- --http=8 --bolt=4 --idle-http=2 --idle-bolt=2 --uploads=4 \
                    --downloads=4 --tunnels=2 --http2=4 --idle-http2=2 --calls=2 --sockets=2 --events=3 \
                    --swaps=2 --interval=0.5 --rate=400 --idle-every=0.2 \
                    --stream-seconds=0.8";
        let mut plan = Options::parse_from(text.split_whitespace()).plan();
        plan.warm_up = Duration::from_millis(300);
        Arc::new(plan)
    }

    /// Runs with a relay that does this to what clients send, by connection.
    fn run_with(spoil: fn(usize, &mut Vec<u8>, usize) -> bool) -> Report {
        let backend = Backend::bind(plan().hold_max()).unwrap();
        let http = relay(backend.http().unwrap(), spoil);
        let http2 = relay(backend.http2().unwrap(), spoil);
        let bolt = relay(backend.bolt().unwrap(), spoil);
        let plan = plan();
        let mode = Mode::Baseline(Duration::from_millis(100));
        let run = perform(&plan, mode, backend, Targets { http, http2, bolt }, |timeline| {
            swapper::pretend_all(&plan, timeline, Duration::from_millis(100))
        });
        let allowed = Allowed { gone_max: Duration::ZERO, refused_max: 0, pause_after: None };
        Report::new(&run.unwrap(), &allowed)
    }

    /// A relay, a thread for each direction; `spoil` is given the number of the connection, what
    /// came and how many reads came before, and ends the connection when it says `false`.
    fn relay(to: SocketAddr, spoil: fn(usize, &mut Vec<u8>, usize) -> bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (client, upstream) = (client.unwrap(), TcpStream::connect(to).unwrap());
                let (back, forth) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || pass(&client, &upstream, |it, n| spoil(number, it, n)));
                std::thread::spawn(move || pass(&back, &forth, |_, _| true));
            }
        });
        address
    }

    fn pass(mut from: &TcpStream, mut to: &TcpStream, spoil: impl Fn(&mut Vec<u8>, usize) -> bool) {
        let mut buffer = vec![0; 64 * 1024];
        for reads in 0.. {
            let Ok(count @ 1..) = from.read(&mut buffer) else { break };
            let mut bytes = buffer[..count].to_vec();
            if !spoil(&mut bytes, reads) || to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    #[test]
    fn nothing_is_wrong_when_nothing_is_spoilt() {
        let report = run_with(|_, _, _| true);
        assert_eq!(report.wrong, Vec::<String>::new(), "{}", table::run(&report.value));
        let groups = report.value["groups"].as_array().unwrap();
        let lasting = Group::ALL.iter().filter(|it| it.is_lasting()).count();
        assert_eq!(groups.len(), lasting, "{}", table::run(&report.value));
        for group in groups {
            assert!(group["answered"].as_u64() > Some(0), "{}", table::run(&report.value));
        }
    }

    #[test]
    fn a_connection_that_ends_with_a_request_in_flight_is_noticed() {
        let report = run_with(|number, _, reads| number % 7 != 3 || reads < 5);
        let text = table::run(&report.value);
        assert!(report.wrong.iter().any(|it| it.contains(" failed")), "{text}");
        assert!(report.wrong.iter().any(|it| it.contains("closed without a word")), "{text}");
        assert!(report.wrong.iter().any(|it| it.contains("connections changed")), "{text}");
    }

    #[test]
    fn a_request_that_is_sent_twice_is_noticed() {
        let report = run_with(|_, bytes, reads| {
            let is_small = bytes.starts_with(b"GET /one") || bytes.starts_with(&[1, 1]);
            if is_small && reads == 1 {
                bytes.extend_from_within(..);
            }
            true
        });
        assert!(
            report.wrong.iter().any(|it| it.contains("doubled")),
            "{}",
            table::run(&report.value)
        );
    }

    #[test]
    fn a_byte_that_changed_on_the_way_is_noticed() {
        let report = run_with(|_, bytes, reads| {
            if reads == 9 && bytes.len() > 600 {
                bytes[500] ^= 1;
            }
            true
        });
        let failed = |it: &String| it.starts_with("upload") && it.contains("failed");
        assert!(report.wrong.iter().any(failed), "{}", table::run(&report.value));
    }
}
