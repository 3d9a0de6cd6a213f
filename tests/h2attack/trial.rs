//! One attack: healthy clients alone, then with the attack, then alone again.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    attacker::{self, Order, Outcome},
    attacks::Attack,
    clock,
    flow::Asked,
    healthy::{self, Answers, Group, Schedule, Seen, Speech},
    target::Target,
};

/// Healthy requests before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long after the attack memory is looked at once more.
const AFTER: Duration = Duration::from_secs(2);
/// From one look at the memory to the next.
const LOOK: Duration = Duration::from_millis(100);
/// Connections of the healthy client in HTTP/2.
const H2_CONNECTIONS: u32 = 4;
/// Connections of the one in HTTP/1.1.
const HTTP1_CONNECTIONS: u32 = 2;

/// What is attacked.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// Where it speaks HTTP/2.
    pub(crate) h2: SocketAddr,
    /// Where it speaks HTTP/1.1.
    pub(crate) http: Option<SocketAddr>,
    /// Its processes.
    pub(crate) target: Target,
    /// What is asked for.
    pub(crate) answers: Arc<Answers>,
    /// What the attacker asks for.
    pub(crate) asked: Asked,
}

/// How much and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// Bytes a second of the attack.
    pub(crate) bytes_per_second: f64,
    /// Of the attack, and of the time before it.
    pub(crate) lasts: Duration,
    /// Requests a second of the healthy client in HTTP/2.
    pub(crate) healthy_per_second: f64,
    /// From which everything random follows.
    pub(crate) seed: u64,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// The attack.
    pub(crate) attack: Attack,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// What the client in HTTP/2 saw.
    pub(crate) h2: Seen,
    /// What the client in HTTP/1.1 saw.
    pub(crate) http1: Option<Seen>,
    /// Time on a processor without the attack.
    pub(crate) cpu_before: Duration,
    /// With it, for as long.
    pub(crate) cpu_during: Duration,
    /// Resident memory before the attack, in bytes.
    pub(crate) resident_before: u64,
    /// The most during it.
    pub(crate) resident_max: u64,
    /// Two seconds after it.
    pub(crate) resident_after: u64,
    /// Whether the target lived on.
    pub(crate) is_alive: bool,
    /// How long the attack lasted.
    pub(crate) lasts: Duration,
}

/// Carries out one attack.
///
/// # Errors
/// A thread cannot be started.
pub(crate) fn run(attack: &Attack, scene: &Scene, measure: &Measure) -> io::Result<Trial> {
    let begin = clock::now();
    let counted = begin + WARM_UP;
    let start = counted + measure.lasts;
    let calm = start + measure.lasts;
    let schedule = Schedule { begin, counted, attack: start, calm, end: calm + AFTER };
    let group = |speech, target, connections, per_second| Group {
        speech,
        target,
        connections,
        per_second,
        answers: Arc::clone(&scene.answers),
    };
    let rate = measure.healthy_per_second;
    let h2 = healthy::start(&group(Speech::H2, scene.h2, H2_CONNECTIONS, rate), schedule);
    let http1 = scene.http.map(|target| {
        healthy::start(&group(Speech::Http1, target, HTTP1_CONNECTIONS, rate / 2.0), schedule)
    });
    let order = Order {
        target: scene.h2,
        asked: scene.asked.clone(),
        bytes_per_second: measure.bytes_per_second,
        begin: start,
        end: calm,
        seed: measure.seed,
    };
    clock::wait_until(counted);
    let cpu_counted = scene.target.cpu();
    clock::wait_until(start);
    let cpu_start = scene.target.cpu();
    let resident_before = scene.target.resident_bytes();
    let attackers = attacker::start(attack, &order)?;
    let resident_max = watch(scene.target, calm).max(resident_before);
    let cpu_end = scene.target.cpu();
    let outcome = attacker::finish(attackers);
    clock::wait_until(calm + AFTER);
    let resident_after = scene.target.resident_bytes();
    Ok(Trial {
        attack: *attack,
        outcome,
        h2: healthy::finish(h2),
        http1: http1.map(healthy::finish),
        cpu_before: cpu_start.saturating_sub(cpu_counted),
        cpu_during: cpu_end.saturating_sub(cpu_start),
        resident_before,
        resident_max,
        resident_after,
        is_alive: scene.target.is_alive(),
        lasts: measure.lasts,
    })
}

/// The most memory until an instant.
fn watch(target: Target, until: Instant) -> u64 {
    let mut most = 0;
    loop {
        most = most.max(target.resident_bytes());
        let now = clock::now();
        if now >= until {
            return most;
        }
        clock::wait_until((now + LOOK).min(until));
    }
}
